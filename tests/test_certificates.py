"""A consortium's own certificates: who is let in under them, over real sockets, and who is not."""

import copy
import pickle
import shutil
import socket
import ssl
import subprocess
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from privfl.errors import ConfigurationError
from privfl.primitives.certificates import MOST_DAYS, Authority, common_name

LONG_AGO = datetime(2020, 5, 17, 12, 30, tzinfo=UTC)
OURS = Authority.generate("Five hospitals")


def read(issued):
    return x509.load_pem_x509_certificate(issued.certificate_pem)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def put(folder, name, issued):
    """Both PEM files; the private key's path is named first."""
    paths = folder / f"{name}.pem", folder / f"{name}.crt"
    paths[0].write_bytes(issued.key_pem)
    paths[1].write_bytes(issued.certificate_pem)
    return paths


# Handshakes.


def trusting(authority, **options):
    context = ssl.create_default_context(cadata=authority.issued.certificate_pem.decode(), **options)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


def loaded(context, folder, issued):
    key, certificate = put(folder, f"of-{len(list(folder.iterdir()))}", issued)
    context.load_cert_chain(certificate, key)
    return context


def shake_hands(server, client, host):
    """One handshake over loopback, and a byte each way; raises what the client meets, or else what the server does."""
    listener = socket.create_server(("127.0.0.1", 0))
    said = []

    def serve():
        try:
            with listener, listener.accept()[0] as raw, server.wrap_socket(raw, server_side=True) as channel:
                channel.sendall(channel.recv(1))
        except (ssl.SSLError, OSError) as error:
            said.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(listener.getsockname(), timeout=30) as raw,
            client.wrap_socket(raw, server_hostname=host) as channel,
        ):
            channel.sendall(b"x")
            assert channel.recv(1) == b"x"  # in TLS 1.3 a client hears only now that it was refused
    except (ssl.SSLError, OSError) as error:
        thread.join(30)
        # The server's own word on a client it refuses: what the client reads may be no more than a lost connection.
        raise (said[0] if said and not isinstance(error, ssl.SSLCertVerificationError) else error) from None
    finally:
        thread.join(30)


def meet(folder, issued, host, *, trusted=OURS):
    server = loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), folder, issued)
    shake_hands(server, trusting(trusted), host)


@pytest.mark.parametrize("host", ["fl.hospital.example", "192.0.2.7", "2001:db8::7", "localhost"])
def test_a_client_takes_a_server_under_the_names_it_was_issued_for(tmp_path, host):
    """Guarantee 1 of `Authority`."""
    issued = OURS.issue(["fl.hospital.example", "192.0.2.7", "2001:db8::7", "LocalHost"], name="coordinator", days=30)
    meet(tmp_path, issued, host)


@pytest.mark.parametrize("host", ["hospital.example", "evil.fl.hospital.example", "192.0.2.8", "coordinator.example"])
def test_a_client_refuses_a_server_under_any_other_name(tmp_path, host):
    issued = OURS.issue(["fl.hospital.example", "192.0.2.7"], name="coordinator.example", days=30)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        meet(tmp_path, issued, host)


def test_a_servers_name_is_never_taken_for_a_host(tmp_path):
    """Readers fall back on common names where only addresses are listed."""
    issued = OURS.issue(["192.0.2.7"], name="other.example", days=30)
    meet(tmp_path, issued, "192.0.2.7")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        meet(tmp_path, issued, "other.example")


def test_a_client_refuses_a_server_of_another_authority(tmp_path):
    issued = OURS.issue(["localhost"], name="coordinator", days=30)
    for other in (Authority.generate("Five hospitals"), Authority.generate("Another")):
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
            meet(tmp_path, issued, "localhost", trusted=other)


def test_a_client_refuses_an_expired_server(tmp_path):
    old = Authority.generate("Five hospitals", now=LONG_AGO)
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        meet(tmp_path, old.issue(["localhost"], name="c", days=30, now=LONG_AGO), "localhost", trusted=old)


def test_a_client_refuses_what_an_expired_authority_issued(tmp_path):
    """Also in the last second that it issues anything in."""
    now = datetime.now(UTC)
    old = Authority.generate("Five hospitals", 1, now=now - timedelta(days=1, minutes=1))
    issued = old.issue(["localhost"], name="c", days=300, now=now - timedelta(minutes=2))
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate has expired"):
        meet(tmp_path, issued, "localhost", trusted=old)


def test_a_client_refuses_a_client_that_plays_the_server(tmp_path):
    issued = OURS.issue(["localhost"], name="client 3", days=30, client=True)
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        meet(tmp_path, issued, "localhost")


def test_a_client_refuses_a_server_whose_certificate_a_server_issued(tmp_path):
    """Guarantee 2 of `Authority`: what is issued issues nothing."""
    issued = OURS.issue(["localhost"], name="coordinator", days=30)
    posing = Authority(serialization.load_pem_private_key(issued.key_pem, None), read(issued))
    forged = posing.issue(["localhost"], name="forged", days=30)
    key, chain = put(tmp_path, "forged", forged)
    chain.write_bytes(forged.certificate_pem + issued.certificate_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        shake_hands(server, trusting(OURS), "localhost")


def mutual(folder, shown):
    """A server that wants certificates of clients, and a client that shows one, or none."""
    server = loaded(trusting(OURS, purpose=ssl.Purpose.CLIENT_AUTH), folder, OURS.issue(["::1"], name="s", days=30))
    server.verify_mode = ssl.CERT_REQUIRED
    client = trusting(OURS)
    shake_hands(server, loaded(client, folder, shown) if shown else client, "::1")


def test_a_server_that_wants_certificates_takes_a_clients(tmp_path):
    mutual(tmp_path, OURS.issue([], name="client 3", days=30, client=True))
    mutual(tmp_path, OURS.issue(["localhost"], name="Five hospitals", days=30, client=True))  # as the authority is


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        (None, "peer did not return a certificate"),
        (OURS.issue(["localhost"], name="client 3", days=30), "certificate verify failed"),
        (Authority.generate("Five hospitals").issue([], name="client 3", days=30, client=True), "verify failed"),
        (OURS.issue([], name="client 3", days=30, client=True, now=LONG_AGO), "certificate has expired"),
    ],
    ids=["none", "of a server", "of another authority", "expired"],
)
def test_a_server_that_wants_certificates_refuses_all_others(tmp_path, shown, why):
    with pytest.raises(ssl.SSLError, match=why):
        mutual(tmp_path, shown)


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed: apt-get install openssl")
def test_certificates_pass_openssls_strict_reading(tmp_path):
    _, ca = put(tmp_path, "ca", OURS.issued)
    for client in (False, True):
        _, leaf = put(tmp_path, "leaf", OURS.issue(["localhost", "::1"], name="x", days=30, client=client))
        for purpose, good in (("sslserver", not client), ("sslclient", client)):
            outcome = subprocess.run(
                ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, leaf],
                capture_output=True,
                text=True,
                check=False,
            )
            assert (outcome.returncode == 0) == good, outcome.stderr


# What stands in them.


def test_an_authority_signs_certificates_and_nothing_else():
    certificate = read(OURS.issued)
    assert extension(certificate, x509.BasicConstraints).critical
    assert extension(certificate, x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    usage = extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, False, False)
    assert certificate.subject == certificate.issuer
    assert OURS.expires - datetime.now(UTC) > timedelta(days=MOST_DAYS - 1)


@pytest.mark.parametrize("client", [False, True])
def test_what_is_issued_is_for_handshakes_of_one_kind(client):
    """Guarantees 1 and 2 of `Authority`."""
    certificate = read(OURS.issue(["localhost"], name="x", days=30, client=client))
    assert extension(certificate, x509.BasicConstraints).critical
    assert extension(certificate, x509.BasicConstraints).value == x509.BasicConstraints(ca=False, path_length=None)
    usage = extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (False, False, True)
    kind = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    assert list(extension(certificate, x509.ExtendedKeyUsage).value) == [kind]
    own = extension(read(OURS.issued), x509.SubjectKeyIdentifier).value
    assert extension(certificate, x509.AuthorityKeyIdentifier).value.key_identifier == own.digest
    assert extension(certificate, x509.SubjectKeyIdentifier).value.digest != own.digest
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)
    assert certificate.signature_hash_algorithm.name == "sha256"


def test_a_host_is_named_once_in_small_letters():
    certificate = read(OURS.issue(["B.example", "192.0.2.7", "b.example", "xn--bcher-kva.example"], name="x", days=1))
    names = extension(certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["b.example", "xn--bcher-kva.example"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7"]


def test_serial_numbers_and_keys_are_fresh():
    """Guarantee 3 of `Authority`."""
    certificates = [read(OURS.issue(["localhost"], name="x", days=1)) for _ in range(20)]
    serials = {one.serial_number for one in certificates}
    assert len(serials) == len({one.public_key().public_numbers() for one in certificates}) == 20
    assert max(serials).bit_length() <= 159
    assert min(serials).bit_length() > 100  # 20 serials of 159 random bits: one in 10^16 runs would have a smaller one


def test_times_allow_for_slow_clocks_and_end_with_the_authority():
    """Guarantee 2 of `Authority`: nothing outlives it."""
    authority = Authority.generate("x", 10, now=LONG_AGO)
    short, long = (authority.issue(["a"], name="x", days=days, now=LONG_AGO) for days in (3, 100))
    assert read(short).not_valid_before_utc == LONG_AGO - timedelta(minutes=5)
    assert read(short).not_valid_after_utc == short.expires == LONG_AGO + timedelta(days=3)
    assert read(long).not_valid_after_utc == long.expires == authority.expires == LONG_AGO + timedelta(days=10)
    assert read(authority.issued).not_valid_after_utc == authority.expires


def test_an_expired_authority_issues_nothing():
    authority = Authority.generate("x", 10, now=LONG_AGO)
    for now in (LONG_AGO + timedelta(days=10), None):
        with pytest.raises(ConfigurationError, match="the authority expired on 2020-05-27: `privfl identity ca` makes"):
            authority.issue(["a"], name="x", days=1, now=now)


# What is refused.


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        "*.example",
        "-a.example",
        "a-.example",
        "a..example",
        "example.",
        ".example",
        "a_b",
        "bücher.example",
        "\u212a.example",  # the sign for kelvin, a small k in lower case
        "https://a.example",
        "a.example:443",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.7/24",
        "fe80::1%eth0",
        "[::1]",
        "a\0.example",
        "a" * 64 + ".example",
        ".".join(["a" * 50] * 5),
    ],
)
def test_what_is_no_host_is_not_certified(host):
    with pytest.raises(ConfigurationError, match=r"'hospital\.example' or '192\.0\.2\.7' works"):
        OURS.issue([host], name="x", days=1)


@pytest.mark.parametrize("hosts", [[], (), "localhost"])
def test_a_server_has_a_list_of_hosts(hosts):
    with pytest.raises(ConfigurationError, match=r"such as \['localhost'\]"):
        OURS.issue(hosts, name="x", days=1)


@pytest.mark.parametrize("days", [0, -1, MOST_DAYS + 1, 1.5, True, "3"])
def test_days_are_whole_and_few_enough(days):
    for make in (lambda: Authority.generate("x", days), lambda: OURS.issue(["a"], name="x", days=days)):
        with pytest.raises(ConfigurationError, match="a whole number from 1 to 3650 works"):
            make()


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\0"])
def test_names_are_short_and_printable(name):
    for make in (lambda: Authority.generate(name), lambda: OURS.issue(["a"], name=name, days=1)):
        with pytest.raises(ConfigurationError, match="1 to 64 printable characters work"):
            make()


def test_times_have_zones():
    with pytest.raises(ConfigurationError, match="without a zone"):
        Authority.generate("x", now=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


LEAF = OURS.issue(["a"], name="x", days=1)
OTHER = Authority.generate("Five hospitals").issued


@pytest.mark.parametrize(
    ("key", "certificate", "why"),
    [
        (b"nothing", OURS.issued.certificate_pem, "not an unencrypted PEM private key"),
        (OURS.issued.certificate_pem, OURS.issued.certificate_pem, "not an unencrypted PEM private key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), OURS.issued.certificate_pem, "not a P-256 private key"),
        (pem(ec.generate_private_key(ec.SECP384R1())), OURS.issued.certificate_pem, "not a P-256 private key"),
        (OURS.issued.key_pem, b"nothing", "not a PEM certificate"),
        (OURS.issued.key_pem, OURS.issued.key_pem, "not a PEM certificate"),
        (LEAF.key_pem, LEAF.certificate_pem, "not an authority's"),
        (OURS.issued.key_pem, OTHER.certificate_pem, "is of another key than the one given"),
        (OTHER.key_pem, OURS.issued.certificate_pem, "is of another key than the one given"),
    ],
)
def test_what_is_no_authority_is_not_read_as_one(key, certificate, why):
    with pytest.raises(ConfigurationError, match=why):
        Authority.from_pem(key, certificate)


def test_an_authority_is_read_as_it_was_written(tmp_path):
    again = Authority.from_pem(OURS.issued.key_pem, OURS.issued.certificate_pem)
    assert again.issued == OURS.issued
    meet(tmp_path, again.issue(["localhost"], name="x", days=1), "localhost")


def test_private_keys_are_neither_printed_nor_pickled():
    for one in (OURS, LEAF):
        assert "PRIVATE" not in repr(one)
        for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="pickled"):
                attempt(one)
    assert repr(OURS) == f"Authority(CN=Five hospitals, until {OURS.expires:%Y-%m-%d})"


def test_whom_a_certificate_names():
    issued = OURS.issue([], name="Größe 3", days=1, client=True)
    assert common_name(issued.certificate_pem) == "Größe 3"
    server = OURS.issue(["localhost"], name="localhost", days=1)
    for bad, why in ((server.certificate_pem, "names no client"), (b"", "not a PEM"), (issued.key_pem, "not a PEM")):
        with pytest.raises(ConfigurationError, match=f"{why}.*privfl identity cert --client"):
            common_name(bad)
