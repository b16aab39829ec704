"""Signatures of requests: what one is good for, and what none is."""

import base64
import hashlib

import pytest
from harness import identity_of

from privfl.errors import RemoteProtocolError
from privfl.integrations.http.signing import MOST_COUNT, Gate, Signer, Unsigned, digest_header, read_digest
from privfl.simulate import roster_of
from privfl.testing import UnsafeFixedEntropy

ROSTER = roster_of({number: identity_of(number) for number in range(3)})
BODY = b"what an answer says"


def pair(number=0, *, identity=None):
    gate = Gate(ROSTER)
    signer = Signer(identity or identity_of(number), number)
    signer.take_over(gate.epoch, 0)
    return gate, signer


def raw(headers):
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def refused(gate, method, target, headers):
    with pytest.raises(Unsigned) as caught:
        gate.admit(method, target, raw(headers) if isinstance(headers, dict) else headers)
    return caught.value


def test_a_signed_request_is_admitted_and_its_body_named():
    gate, signer = pair(2)
    admitted = gate.admit("PUT", "/v1/x?offset=0", raw(signer.headers("PUT", "/v1/x?offset=0", BODY)))
    assert admitted.client == 2
    assert admitted.body_digest == hashlib.sha256(BODY).digest()
    assert gate.admit("GET", "/", raw(signer.headers("GET", "/"))).body_digest == hashlib.sha256(b"").digest()


def test_guarantee_1_a_request_is_admitted_once():
    gate, signer = pair()
    first, second = (signer.headers("GET", "/v1/offer") for _ in range(2))
    gate.admit("GET", "/v1/offer", raw(second))
    for headers in (second, first):
        refusal = refused(gate, "GET", "/v1/offer", headers)
        assert (refusal.kind, refusal.count) == ("replayed", 2)


def test_guarantee_1_counts_of_clients_are_apart():
    gate, signer = pair(0)
    other = Signer(identity_of(1), 1)
    other.take_over(gate.epoch, 0)
    for _ in range(3):
        gate.admit("GET", "/", raw(signer.headers("GET", "/")))
    assert gate.admit("GET", "/", raw(other.headers("GET", "/"))).client == 1


@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/v1/offer?wait=1"), ("GET", "/v1/offer?wait=2"), ("GET", "/v1/offer")]
)
def test_guarantee_2_another_method_or_target_is_refused(method, target):
    gate, signer = pair()
    headers = signer.headers("GET", "/v1/offer?wait=1")
    assert refused(gate, method, target, headers).kind == "forged"
    gate.admit("GET", "/v1/offer?wait=1", raw(headers))  # what is refused uses no count up


def test_guarantee_2_another_body_is_refused():
    gate, signer = pair()
    headers = signer.headers("PUT", "/", BODY)
    assert refused(gate, "PUT", "/", headers | {"content-digest": digest_header(bytes(32))}).kind == "forged"
    del headers["content-digest"]
    assert refused(gate, "PUT", "/", headers).kind == "forged"


def test_guarantee_2_another_client_count_or_epoch_is_refused():
    gate, signer = pair(0)
    headers = signer.headers("GET", "/")
    assert refused(gate, "GET", "/", headers | {"privfl-client": "1"}).kind == "forged"
    assert refused(gate, "GET", "/", headers | {"privfl-count": "2"}).kind == "forged"
    assert refused(gate, "GET", "/", headers | {"privfl-epoch": bytes(16).hex()}).kind == "epoch"


def test_guarantee_2_a_request_to_one_process_is_no_request_to_the_next():
    gate, signer = pair()
    headers = signer.headers("GET", "/")
    later = Gate(ROSTER)
    assert later.epoch != gate.epoch
    assert refused(later, "GET", "/", headers).kind == "epoch"
    later.epoch = gate.epoch  # even with the same epoch, a signature under another is none
    later.admit("GET", "/", raw(headers))


def test_an_epoch_that_is_claimed_is_not_the_one_that_was_signed():
    _, signer = pair()
    later = Gate(ROSTER)
    headers = signer.headers("GET", "/") | {"privfl-epoch": later.epoch.hex()}
    assert refused(later, "GET", "/", headers).kind == "forged"


def test_guarantee_3_nobody_but_a_client_is_told_how_much_it_has_asked():
    gate, signer = pair()
    for _ in range(3):
        headers = signer.headers("GET", "/")
        gate.admit("GET", "/", raw(headers))
    assert refused(gate, "GET", "/", headers).count == 3
    forged = {"privfl-signature": base64.b64encode(bytes(64)).decode()}
    for changes in (forged, {"privfl-count": "1"}, {"privfl-epoch": bytes(16).hex()}, {"content-digest": "none"}):
        assert refused(gate, "GET", "/", headers | changes).count == 0


def test_guarantee_3_strangers_are_refused_before_cryptography(monkeypatch):
    gate, _ = pair()
    stranger = Signer(identity_of(9), 9)
    stranger.take_over(gate.epoch, 0)

    def verify(*_):
        raise AssertionError("a signature was looked at")

    monkeypatch.setattr("privfl.integrations.http.signing.verify", verify)
    assert refused(gate, "GET", "/", stranger.headers("GET", "/")).kind == "unknown"
    assert refused(gate, "GET", "/", {}).kind == "unsigned"


def test_a_key_that_is_not_on_the_roster_signs_nothing():
    gate, signer = pair(0, identity=identity_of(1))
    assert refused(gate, "GET", "/", signer.headers("GET", "/")).kind == "forged"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("privfl-client", ""), ("privfl-client", "00"), ("privfl-client", "-1"), ("privfl-client", "0x1"),
        ("privfl-client", "٣"), ("privfl-count", "01"), ("privfl-count", "1.0"), ("privfl-count", str(2**64)),
        ("privfl-count", str(MOST_COUNT + 1)), ("privfl-count", "9" * 5000), ("privfl-epoch", "zz" * 16),
        ("privfl-epoch", "AB" * 16), ("privfl-epoch", "ab"), ("privfl-signature", "x"), ("privfl-signature", "=" * 88),
        ("privfl-signature", "é" * 44), ("content-digest", "sha-256=:=:"), ("content-digest", "md5=:aa:"),
    ],
)  # fmt: skip
def test_headers_have_one_spelling(name, value):
    gate, signer = pair()
    assert refused(gate, "GET", "/", signer.headers("GET", "/") | {name: value}).kind == "unsigned"


def test_a_signature_has_one_spelling():
    gate, signer = pair()
    headers = signer.headers("GET", "/")
    text = headers["privfl-signature"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = text[:-3] + letters[letters.index(text[-3]) ^ 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(text)
    assert refused(gate, "GET", "/", headers | {"privfl-signature": other}).kind == "unsigned"


def test_headers_come_once():
    gate, signer = pair()
    headers = raw(signer.headers("GET", "/"))
    assert refused(gate, "GET", "/", [*headers, headers[0]]).kind == "unsigned"


def test_digests_are_read_as_they_are_written():
    assert read_digest(digest_header(bytes(range(32))).encode()) == bytes(range(32))
    assert read_digest(b"sha-256=:AAAA:") is None


def test_a_signer_never_goes_back_within_an_epoch():
    gate, signer = pair()
    for _ in range(5):
        signer.headers("GET", "/")
    signer.take_over(gate.epoch, 2)
    assert signer.headers("GET", "/")["privfl-count"] == "6"
    signer.take_over(gate.epoch, 40)
    assert signer.headers("GET", "/")["privfl-count"] == "41"
    signer.take_over(bytes(16), 0)
    assert signer.headers("GET", "/")["privfl-count"] == "1"


@pytest.mark.parametrize(("epoch", "count"), [(b"short", 0), (bytes(16), -1), (bytes(16), MOST_COUNT)])
def test_a_signer_takes_over_what_can_be(epoch, count):
    with pytest.raises(RemoteProtocolError):
        Signer(identity_of(0), 0).take_over(epoch, count)


def test_epochs_come_from_the_entropy_that_is_given():
    assert Gate(ROSTER, entropy=UnsafeFixedEntropy(b"1" * 16)).epoch == UnsafeFixedEntropy(b"1" * 16).token_bytes(16)
