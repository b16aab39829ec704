"""`privfl identity ca` and `cert`: what lies in the files, who may read them, and what is never overwritten."""

import json
import os
import resource
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from privfl.cli.main import main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(capsys, *arguments):
    assert main(["identity", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def contents():
    return {path.name: path.read_bytes() for path in Path().iterdir()}


def names():
    return sorted(path.name for path in Path().iterdir())


def hosts_in(path):
    certificate = x509.load_pem_x509_certificate(Path(path).read_bytes())
    named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return named.get_values_for_type(x509.DNSName), [str(one) for one in named.get_values_for_type(x509.IPAddress)]


def test_an_authority_and_certificates_under_it_are_made(capsys):
    told = made(capsys, "ca", "ca.pem", "--name", "Five hospitals")
    assert (told["private"], told["certificate"]) == ("ca.pem", "ca.crt")
    assert told["expires"] == f"{datetime.now(UTC) + timedelta(days=3650):%Y-%m-%d}"
    told = made(capsys, "cert", "s.pem", "--ca", "ca.pem", "--host", "fl.example.org", "--host", "192.0.2.7")
    assert (told["for"], told["hosts"]) == ("server", ["fl.example.org", "192.0.2.7"])
    assert told["expires"] == f"{datetime.now(UTC) + timedelta(days=365):%Y-%m-%d}"
    assert hosts_in("s.crt") == (["fl.example.org"], ["192.0.2.7"])
    assert made(capsys, "cert", "c3.pem", "--ca", "ca.pem", "--client", "--days", "9")["for"] == "client"
    assert x509.load_pem_x509_certificate(Path("c3.crt").read_bytes()).subject.rfc4514_string() == "CN=c3"
    made(capsys, "cert", "long.pem", "--ca", "ca.pem", "--host", ".".join(["a" * 40] * 3))
    context = ssl.create_default_context(cafile="ca.crt")
    for name in ("s", "c3", "long"):
        context.load_cert_chain(f"{name}.crt", f"{name}.pem")  # raises unless the key is the certificate's


def test_private_keys_are_their_owners_whatever_the_umask(capsys):
    before = os.umask(0)
    try:
        made(capsys, "ca", "ca.pem")
        made(capsys, "cert", "s.pem", "--ca", "ca.pem", "--host", "localhost")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in Path().iterdir()}
    assert modes == {"ca.pem": 0o600, "ca.crt": 0o644, "s.pem": 0o600, "s.crt": 0o644}


def test_people_are_told_what_to_keep_secret(capsys):
    assert main(["identity", "ca", "ca.pem", "--days", "30"]) == 0
    until = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}"
    assert capsys.readouterr().out == f"wrote ca.pem (keep it secret) and ca.crt, good until {until}\n"


def test_nothing_is_overwritten_and_no_half_is_left(capsys):
    made(capsys, "ca", "ca.pem")
    Path("s.crt").write_text("another's")
    Path("link.pem").symlink_to("elsewhere")
    before = {name: Path(name).read_bytes() for name in ("ca.pem", "ca.crt", "s.crt")}
    for arguments in (
        ["ca", "ca.pem"],
        ["ca", "ca.key"],  # whose certificate would be that of ca.pem
        ["ca", "link.pem"],
        ["cert", "s.pem", "--ca", "ca.pem", "--host", "localhost"],
        ["cert", "ca.pem", "--ca", "ca.pem", "--host", "localhost"],
    ):
        assert main(["identity", *arguments]) == 64
        assert "exists already: name another file" in capsys.readouterr().err
    assert names() == ["ca.crt", "ca.pem", "link.pem", "s.crt"]
    assert {name: Path(name).read_bytes() for name in before} == before


def test_a_full_disk_leaves_no_half(capsys):
    made(capsys, "ca", "ca.pem")
    before = contents()
    # The private key has some 240 bytes, the certificate some 600: the second file does not fit.
    code = (
        f"import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"from privfl.cli.main import main\n"
        f"import privfl.primitives.certificates\n"
        f"resource.setrlimit({resource.RLIMIT_FSIZE}, (400, 400))\n"
        f"sys.exit(main(['identity', 'cert', 's.pem', '--ca', 'ca.pem', '--host', 'localhost']))"
    )
    outcome = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert (outcome.returncode, outcome.stderr) == (64, "privfl: s.crt cannot be written: File too large\n")
    assert contents() == before


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda: Path("ca.crt").unlink(), "ca.crt cannot be read: No such file or directory"),
        (lambda: Path("ca.crt").write_text("nothing"), "not a PEM certificate"),
        (lambda: Path("ca.pem").write_bytes(Path("other.pem").read_bytes()), "is of another key than the one given"),
    ],
)
def test_an_authority_whose_files_are_not_right_issues_nothing(capsys, damage, why):
    made(capsys, "ca", "ca.pem")
    made(capsys, "ca", "other.pem")
    damage()
    before = names()
    assert main(["identity", "cert", "s.pem", "--ca", "ca.pem", "--host", "localhost"]) == 64
    err = capsys.readouterr().err
    assert err.startswith("privfl: --ca ca.pem: ")
    assert why in err
    assert names() == before


def test_a_certificate_is_no_authority(capsys):
    made(capsys, "ca", "ca.pem")
    made(capsys, "cert", "s.pem", "--ca", "ca.pem", "--host", "localhost")
    assert main(["identity", "cert", "t.pem", "--ca", "s.pem", "--host", "localhost"]) == 64
    assert "the certificate is not an authority's" in capsys.readouterr().err


def test_no_certificates_code_is_loaded_by_other_verbs():
    code = (
        "import sys, privfl.cli.main\n"
        "privfl.cli.main.make_parser()\n"
        "try: privfl.cli.main.main(['identity', 'cert', '--help'])\n"
        "except SystemExit: print('cryptography.x509' in sys.modules, file=sys.stderr)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stderr == "False\n"
    assert "example: privfl identity cert" in outcome.stdout
