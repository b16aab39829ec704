"""Keys, key derivation, sealing, sharing, masks and digests: against published vectors and slow, independent twins."""

import ast
import copy
import hashlib
import hmac
import itertools
import os
import pickle
import re
from pathlib import Path

import cryptography_vectors
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import example, given
from hypothesis import strategies as st

import privfl
from privfl.errors import ConfigurationError, DecodeError, ReconstructionError, RemoteProtocolError
from privfl.primitives import aead, prg, shamir
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.keys import KeyPair, check_public_key, derive
from privfl.primitives.labels import Label
from privfl.primitives.prg import CHUNK_BYTES, Mask, apply_masks, public_words
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import Identity, check_identity, verify
from privfl.primitives.transcript import check_inclusion, digest, inclusion_proofs, merkle_root, session_id
from privfl.testing import UnsafeFixedEntropy

KEY = Secret(bytes(range(32)))
PRG_KEYS = [Secret(bytes(range(start, start + 16))) for start in (0, 16, 99)]
SALT = bytes(range(100, 132))


class ScriptedEntropy:
    """Hands out the bytes it was given, and nothing else."""

    def __init__(self, script: bytes) -> None:
        self._left = script

    def token_bytes(self, length: int) -> bytes:
        assert length == len(self._left), "another number of bytes was asked for than scripted"
        taken, self._left = self._left, b""
        return taken


# Secret


def whatever_comes_of(action) -> str:
    """What a reader of logs would see: the representation of the result, or the text of the exception."""
    try:
        return repr(action())
    except TypeError as error:
        return f"{error!r} {error.args}"


@pytest.mark.parametrize("show", [repr, str, "{}".format, "{!r:>40}".format, lambda s: str([s, (s,), {1: s}])])
def test_a_secret_does_not_print(show):
    value = b"correct horse battery"
    shown = show(Secret(value))
    assert "secret bytes" in shown
    assert "correct" not in shown
    assert value.hex() not in shown


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda s: copy.deepcopy([s])], ids=["copy", "deep", "list"])
def test_copying_a_secret_does_not_print_it(make):
    assert "correct" not in whatever_comes_of(lambda: make(Secret(b"correct horse")))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("holder", [lambda s: s, lambda s: [s], Mask], ids=["bare", "list", "mask"])
def test_a_secret_is_not_pickled(protocol, holder):
    with pytest.raises(TypeError) as refusal:
        pickle.dumps(holder(Secret(b"correct horse")), protocol)
    assert "correct" not in str(refusal.value)


def test_a_secret_gives_no_state_to_dump():
    """Whoever dumps objects without pickle's protocol asks for their state: that is refused as well."""
    with pytest.raises(TypeError, match=r"^a secret is not pickled$"):
        Secret(b"correct horse").__getstate__()


def test_a_secret_is_no_dictionary_key():
    with pytest.raises(TypeError, match="unhashable"):
        hash(Secret(b"x"))


def test_secrets_compare_by_value_and_only_with_secrets():
    assert Secret(b"abc") == Secret(b"abc")
    assert Secret(b"abc") != Secret(b"abd")
    assert Secret(b"abc") != Secret(b"abcd")
    assert Secret(b"abc") != b"abc"
    assert Secret(b"abc").reveal() == b"abc"
    assert len(Secret(b"abc")) == 3


def test_secrets_are_compared_in_constant_time(monkeypatch):
    asked = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: asked.append((a, b)) or True)
    assert Secret(b"abc") == Secret(b"xyz")
    assert asked == [(b"abc", b"xyz")]


def test_what_holds_a_secret_does_not_print_it():
    private = bytes(range(32))
    pair = KeyPair(Secret(private))
    assert private.hex() not in repr(pair)
    assert pair.public.hex() in repr(pair)
    assert "secret bytes" in repr(Mask(Secret(b"correct horse...")))
    assert "correct" not in repr(Mask(Secret(b"correct horse...")))


# Entropy


def test_system_entropy_gives_the_length_asked_for_and_never_the_same():
    drawn = [OsEntropy().token_bytes(32) for _ in range(20)]
    assert {len(one) for one in drawn} == {32}
    assert len(set(drawn)) == 20
    assert OsEntropy().token_bytes(0) == b""


@given(st.lists(st.integers(0, 200), max_size=8))
def test_fixed_entropy_is_one_stream_however_it_is_cut(lengths):
    whole, cut = UnsafeFixedEntropy(bytes(16)), UnsafeFixedEntropy(bytes(16))
    assert b"".join(cut.token_bytes(length) for length in lengths) == whole.token_bytes(sum(lengths))


def test_fixed_entropy_continues_its_stream_across_spans():
    cut, whole = UnsafeFixedEntropy(b"s" * 16), UnsafeFixedEntropy(b"s" * 16).token_bytes(200_000)
    pieces = [cut.token_bytes(length) for length in (65_535, 1, 1, 65_535, 68_928)]
    assert b"".join(pieces) == whole == keystream(Secret(b"s" * 16), 200_000)


def test_fixed_entropy_differs_by_seed():
    assert UnsafeFixedEntropy(bytes(16)).token_bytes(32) != UnsafeFixedEntropy(bytes(15) + b"\1").token_bytes(32)


# Labels


def test_labels_are_distinct_and_bound_to_library_and_version():
    values = [label.value for label in Label.__members__.values()]  # `__members__` shows aliases as well
    assert len(set(values)) == len(values) == len(Label)
    assert all(re.fullmatch(rb"privfl/v1/[a-z/-]+", value) for value in values)


def test_no_label_with_ends_reads_as_another_label_with_other_ends():
    """`info` = label ‖ 4 bytes for each end: a label that continues another by a multiple of 4 bytes could collide."""
    for shorter, longer in itertools.permutations([label.value for label in Label], 2):
        assert not (longer.startswith(shorter) and (len(longer) - len(shorter)) % 4 == 0), (shorter, longer)


# X25519

RFC_7748_6_1 = {
    "alice_private": "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    "alice_public": "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    "bob_private": "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    "bob_public": "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    "shared": "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
}
P = 2**255 - 19
# The u-coordinates of order 1, 2, 4 and 8 on curve25519 and its twist, and the two that have a second encoding below
# 2^255. The list is Bernstein's (cr.yp.to/ecdh.html); X25519 ignores the top bit, which doubles it. His further five
# (sums that reach 2^255) are of low order only where that bit is *not* ignored.
ORDER_8 = (
    0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
    0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
)
LOW_ORDER = [u | top << 255 for u in (0, 1, *ORDER_8, P - 1, P, P + 1) for top in (0, 1)]
LOW_ORDER_WITH_TOP_BIT_READ = [ORDER_8[0] + P, ORDER_8[1] + P, 2 * P - 1, 2 * P, 2 * P + 1]


def encoded(u: int) -> bytes:
    return u.to_bytes(32, "little")


def is_of_low_order(u: int) -> bool:
    """Three doublings on the x-line of y² = x³ + 486662x² + x: low order is what 8 sends to infinity (or to 0)."""
    x, z = u % 2**255 % P, 1
    for _ in range(3):
        x, z = (x * x - z * z) ** 2 % P, 4 * x * z * (x * x + 486662 * x * z + z * z) % P
    return z == 0


def vector_blocks(path: str):
    """Yield the blocks of a `KEY = value` vector file as dictionaries."""
    with cryptography_vectors.open_vector_file(path, "r") as lines:
        block: dict[str, str] = {}
        for line in itertools.chain(lines, [""]):
            key, equals, value = line.strip().partition(" =")
            if equals:
                block[key] = value.strip()
            elif block:
                yield block
                block = {}


@pytest.mark.parametrize("vector", list(vector_blocks("asymmetric/X25519/rfc7748.txt")), ids=lambda v: v["COUNT"])
def test_x25519_agrees_with_rfc_7748_section_5_2(vector):
    pair = KeyPair(Secret(bytes.fromhex(vector["INPUT_SCALAR"])))
    assert pair.agree(bytes.fromhex(vector["INPUT_U"])).reveal().hex() == vector["OUTPUT_U"]


def test_x25519_iterated_agrees_with_rfc_7748_section_5_2():
    scalar = point = encoded(9)
    for _ in range(1000):
        scalar, point = KeyPair(Secret(scalar)).agree(point).reveal(), scalar
    assert scalar.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_x25519_agrees_with_rfc_7748_section_6_1():
    alice = KeyPair(Secret(bytes.fromhex(RFC_7748_6_1["alice_private"])))
    bob = KeyPair(Secret(bytes.fromhex(RFC_7748_6_1["bob_private"])))
    assert alice.public.hex() == RFC_7748_6_1["alice_public"]
    assert bob.public.hex() == RFC_7748_6_1["bob_public"]
    assert alice.agree(bob.public).reveal().hex() == RFC_7748_6_1["shared"]
    assert bob.agree(alice.public).reveal().hex() == RFC_7748_6_1["shared"]


def test_generated_pairs_are_drawn_from_the_entropy_given_and_agree():
    entropy = UnsafeFixedEntropy(bytes(16))
    one, other = KeyPair.generate(entropy), KeyPair.generate(entropy)
    assert one.private_bytes().reveal() == UnsafeFixedEntropy(bytes(16)).token_bytes(32)
    assert one.public != other.public
    assert one.agree(other.public) == other.agree(one.public)
    assert KeyPair(one.private_bytes()).public == one.public


def test_the_list_of_low_order_keys_is_right():
    """By an independent computation; the refusal tests below rest on it."""
    assert len(set(LOW_ORDER)) == 14
    assert all(is_of_low_order(u) for u in LOW_ORDER)
    assert not any(is_of_low_order(u) for u in LOW_ORDER_WITH_TOP_BIT_READ)
    assert not is_of_low_order(9)


@pytest.mark.parametrize("u", LOW_ORDER, ids=hex)
def test_every_low_order_public_key_is_refused(u):
    with pytest.raises(RemoteProtocolError, match="low order"):
        check_public_key(encoded(u))
    for private in (bytes(32), bytes(range(32)), b"\xff" * 32, UnsafeFixedEntropy(b"k" * 16).token_bytes(32)):
        with pytest.raises(RemoteProtocolError, match="low order"):
            KeyPair(Secret(private)).agree(encoded(u))


@given(st.integers(0, 2**256 - 1))
@example(LOW_ORDER_WITH_TOP_BIT_READ[0])
@example(LOW_ORDER_WITH_TOP_BIT_READ[1])
@example(LOW_ORDER_WITH_TOP_BIT_READ[2])
@example(LOW_ORDER_WITH_TOP_BIT_READ[3])
@example(LOW_ORDER_WITH_TOP_BIT_READ[4])
@example(P + 2)
@example(2**255 - 1)
@example(2**256 - 1)
@example(2)
def test_public_keys_of_high_order_are_accepted_by_the_check_and_by_every_agreement(u):
    if is_of_low_order(u):
        return
    check_public_key(encoded(u))
    for private in (bytes(32), bytes(range(32))):
        assert any(KeyPair(Secret(private)).agree(encoded(u)).reveal())


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_public_keys_of_wrong_length_are_refused(length):
    for take in (check_public_key, KeyPair(KEY).agree):
        with pytest.raises(RemoteProtocolError, match="wrong length"):
            take(b"\x09" + bytes(length - 1) if length else b"")


# HKDF


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, §2.2 and §2.3, word for word."""
    key = hmac.digest(salt, secret, "sha256")
    block = output = b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        output += block
    return output[:length]


def test_the_independent_hkdf_agrees_with_rfc_5869_test_case_1():
    made = hkdf_sha256(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert made.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"


@given(
    secret=st.binary(min_size=1, max_size=64),
    salt=st.binary(min_size=32, max_size=32),
    label=st.sampled_from(Label),
    ends=st.lists(st.integers(0, 2**32 - 1), max_size=3).map(tuple),
    length=st.integers(1, 100),
)
def test_derive_is_hkdf_sha256_with_label_and_ends_as_info(secret, salt, label, ends, length):
    info = label.value + b"".join(bytes([end >> 24, end >> 16 & 255, end >> 8 & 255, end & 255]) for end in ends)
    made = derive(Secret(secret), salt=salt, label=label, ends=ends, length=length)
    assert isinstance(made, Secret)
    assert made.reveal() == hkdf_sha256(secret, salt, info, length)


def test_derived_keys_are_separated_by_secret_salt_label_and_ends():
    salts = (SALT, SALT[:-1] + b"\0", bytes(32))
    ends = ((), (0,), (1,), (256,), (1, 2), (2, 1), (0, 0), (0, 0, 0), (2**32 - 1, 0))
    made = [
        derive(secret, salt=salt, label=label, ends=pair, length=16).reveal()
        for secret in (KEY, Secret(bytes(32)))
        for salt in salts
        for label in Label
        for pair in ends
    ]
    assert len(made) == 2 * 3 * len(Label) * 9
    assert len(set(made)) == len(made)


def test_a_longer_derivation_continues_a_shorter_one():
    """HKDF gives prefixes: two keys of one derivation must never differ in length alone. Each label has one length."""
    short, long = (derive(KEY, salt=SALT, label=Label.MASKING_PAIR, ends=(1, 2), length=n).reveal() for n in (16, 32))
    assert (len(short), len(long)) == (16, 32)
    assert long.startswith(short)


def test_each_label_is_derived_with_one_length_and_one_number_of_ends_only():
    """What `derive` asks of its callers, read off all of them."""
    used = {}
    for path in Path(privfl.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "derive":
                said = {keyword.arg: keyword.value for keyword in node.keywords}
                ends = len(said["ends"].elts) if "ends" in said else 0
                used.setdefault(ast.unparse(said["label"]), set()).add((ast.unparse(said["length"]), ends))
    assert set(used) >= {"Label.MASKING_CHANNEL", "Label.MASKING_PAIR", "Label.MASKING_SELF"}
    assert all(len(ways) == 1 for ways in used.values()), used


@pytest.mark.parametrize("end", [-1, 2**32])
def test_an_end_that_does_not_fit_its_four_bytes_is_refused(end):
    with pytest.raises(OverflowError):
        derive(KEY, salt=SALT, label=Label.MASKING_PAIR, ends=(0, end), length=16)


# AES-GCM


@pytest.mark.parametrize(
    ("plaintext", "sealed"),
    [
        ("", "530f8afbc74536b9a963b4f1c4cb738b"),
        ("00" * 16, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"),
    ],
    ids=["case-13", "case-14"],
)
def test_sealing_agrees_with_the_gcm_specification(plaintext, sealed):
    """McGrew and Viega, *The Galois/Counter Mode of Operation*, appendix B: zero key, zero nonce, 256 bits."""
    key = Secret(bytes(32))
    assert aead.seal_once(key, bytes.fromhex(plaintext), b"").hex() == sealed
    assert aead.open_once(key, bytes.fromhex(sealed), b"").hex() == plaintext


def test_sealing_agrees_with_nist_vectors_under_their_nonces(monkeypatch):
    """CAVS gcmEncryptExtIV256.rsp: those with 96-bit nonces, 128-bit tags, associated data and plaintext."""
    checked, section = 0, {}
    for block in vector_blocks("ciphers/AES/GCM/gcmEncryptExtIV256.rsp"):
        section |= {name: value.rstrip("]") for name, value in block.items() if name.startswith("[")}
        wanted = {"[IVlen": "96", "[Taglen": "128", "[PTlen": "408", "[AADlen": "160"}
        if "Count" not in block or any(section.get(name) != value for name, value in wanted.items()):
            continue
        plaintext, associated = bytes.fromhex(block["PT"]), bytes.fromhex(block["AAD"])
        monkeypatch.setattr(aead, "_SINGLE_USE_NONCE", bytes.fromhex(block["IV"]))
        sealed = aead.seal_once(Secret(bytes.fromhex(block["Key"])), plaintext, associated)
        assert sealed.hex() == block["CT"] + block["Tag"]
        checked += 1
    assert checked == 15


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_what_was_sealed_opens_to_the_same(plaintext, associated):
    sealed = aead.seal_once(KEY, plaintext, associated)
    assert len(sealed) == len(plaintext) + aead.TAG_BYTES
    assert aead.open_once(KEY, sealed, associated) == plaintext


def test_every_flipped_bit_of_key_context_or_ciphertext_is_refused():
    plaintext, associated = b"two shares of a neighbour's secrets", b"session, from, to"
    sealed = aead.seal_once(KEY, plaintext, associated)
    original = (KEY.reveal(), sealed, associated)
    tried = 0
    for part, whole in enumerate(original):
        for bit in range(8 * len(whole)):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            key, received, context = (bytes(changed) if i == part else one for i, one in enumerate(original))
            with pytest.raises(DecodeError, match="does not open"):
                aead.open_once(Secret(key), received, context)
            tried += 1
    assert tried == 8 * sum(map(len, original))


def test_every_truncation_and_extension_of_a_sealed_message_is_refused():
    sealed = aead.seal_once(KEY, b"two shares", b"context")
    for changed in [sealed[:end] for end in range(len(sealed))] + [sealed + b"\0", b"\0" + sealed, sealed[1:]]:
        with pytest.raises(DecodeError):
            aead.open_once(KEY, changed, b"context")


@pytest.mark.parametrize("length", [0, 1, 16, 24, 31, 33, 64])
def test_sealing_keys_that_are_not_256_bits_are_refused(length):
    """AES-GCM itself would take 128 and 192 bits."""
    key, sealed = Secret(bytes(length)), aead.seal_once(KEY, b"two shares", b"context")
    with pytest.raises(ValueError, match=f"^an AEAD key of {length} bytes where 32 are due$"):
        aead.seal_once(key, b"two shares", b"context")
    with pytest.raises(ValueError, match=f"^an AEAD key of {length} bytes where 32 are due$"):
        aead.open_once(key, sealed, b"context")


# Shamir


def slow_product(a: int, b: int) -> int:
    """Multiplication in GF(2^8) by shifts, reduced by x⁸ + x⁴ + x³ + x + 1 (FIPS 197 §4.2)."""
    product = 0
    for bit in range(8):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x11B << bit - 8
    return product


SLOW_PRODUCTS = [[slow_product(a, b) for b in range(256)] for a in range(256)]


def test_field_multiplication_agrees_with_bitwise_multiplication_for_all_pairs():
    assert slow_product(0x57, 0x13) == 0xFE  # the example of FIPS 197 §4.2.1
    assert shamir._PRODUCTS.dtype == np.uint8
    assert shamir._PRODUCTS.reshape(256, 256).tolist() == SLOW_PRODUCTS


@given(st.lists(st.integers(1, 255), min_size=1, max_size=40, unique=True))
def test_lagrange_weights_are_the_products_of_their_definition(points):
    def inverse(x):
        return SLOW_PRODUCTS[x].index(1)

    expected = []
    for own in points:
        weight = 1
        for other in points:
            if other != own:
                weight = SLOW_PRODUCTS[weight][SLOW_PRODUCTS[other][inverse(other ^ own)]]
        expected.append(weight)
    assert shamir._lagrange_at_zero(tuple(points)).tolist() == expected


@given(
    secret=st.binary(min_size=1, max_size=5),
    points=st.lists(st.integers(1, 255), min_size=1, max_size=8, unique=True),
    coefficients=st.binary(min_size=35, max_size=35),
    choice=st.randoms(use_true_random=False),
)
def test_shares_are_values_of_a_polynomial_and_any_threshold_of_them_rebuild(secret, points, coefficients, choice):
    for threshold in range(1, len(points) + 1):
        script = coefficients[: (threshold - 1) * len(secret)]
        shares = shamir.deal(secret, points=points, threshold=threshold, entropy=ScriptedEntropy(script))
        assert shares.shape == (len(points), len(secret))
        assert shares.dtype == np.uint8
        for column, constant in enumerate(secret):
            polynomial = [*script[column :: len(secret)], constant]
            for row, point in enumerate(points):
                value = 0
                for coefficient in polynomial:
                    value = SLOW_PRODUCTS[value][point] ^ coefficient
                assert shares[row, column] == value
        chosen = choice.sample(range(len(points)), threshold)
        assert shamir.reconstruct([points[i] for i in chosen], shares[chosen]) == secret


def test_every_choice_of_threshold_shares_rebuilds_and_so_does_every_larger_one():
    secret, points = bytes(range(64)), [1, 2, 7, 100, 254, 255]
    shares = shamir.deal(secret, points=points, threshold=4, entropy=OsEntropy())
    for size in (4, 5, 6):
        for chosen in itertools.permutations(range(6), size) if size == 4 else itertools.combinations(range(6), size):
            assert shamir.reconstruct([points[i] for i in chosen], shares[list(chosen)]) == secret


def test_all_255_holders_can_be_dealt_to():
    secret, points = b"\x00\xff\x5a", list(range(1, 256))
    shares = shamir.deal(secret, points=points, threshold=255, entropy=UnsafeFixedEntropy(bytes(16)))
    assert shamir.reconstruct(points, shares) == secret
    assert shamir.reconstruct(points[:254], shares[:254]) != secret


@pytest.mark.parametrize("secret_byte", [0, 1, 0x53, 255])
@pytest.mark.parametrize("holders", [(1, 2), (2, 3), (1, 255), (77, 200)])
def test_fewer_shares_than_the_threshold_say_nothing(secret_byte, holders):
    """Exact count for t = 3: over all 65 536 polynomials, two holders see each of the 65 536 pairs of values once,
    whatever the secret: given what they see, every secret is equally possible.
    """
    every = np.array(list(itertools.product(range(256), repeat=2)), np.uint8)
    entropy = ScriptedEntropy(every.T.tobytes())
    shares = shamir.deal(bytes([secret_byte]) * 65_536, points=(*holders, 5), threshold=3, entropy=entropy)
    seen = shares[0].astype(np.intp) << 8 | shares[1]
    assert (np.bincount(seen, minlength=65_536) == 1).all()


def test_one_share_of_two_says_nothing_at_any_point():
    """Exact count for t = 2: over all 256 polynomials, a holder sees each value once, for every point and secret."""
    for secret_byte in range(256):
        shares = shamir.deal(
            bytes([secret_byte]) * 256, points=range(1, 256), threshold=2, entropy=ScriptedEntropy(bytes(range(256)))
        )
        assert (np.sort(shares, axis=1) == np.arange(256)).all()


@given(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
def test_sharing_is_linear(one, other, seed):
    points, entropy = [3, 9, 200, 13], UnsafeFixedEntropy(seed)
    dealt = [shamir.deal(secret, points=points, threshold=3, entropy=entropy) for secret in (one, other)]
    together = dealt[0] ^ dealt[1]
    expected = bytes(a ^ b for a, b in zip(one, other, strict=True))
    for chosen in itertools.combinations(range(4), 3):
        assert shamir.reconstruct([points[i] for i in chosen], together[list(chosen)]) == expected


def test_a_wrong_share_changes_the_secret():
    shares = shamir.deal(b"secret", points=[1, 2, 3], threshold=3, entropy=OsEntropy())
    for row, column in itertools.product(range(3), range(6)):
        wrong = shares.copy()
        wrong[row, column] ^= 0x40
        rebuilt = shamir.reconstruct([1, 2, 3], wrong)
        assert [a == b for a, b in zip(rebuilt, b"secret", strict=True)] == [i != column for i in range(6)]


@pytest.mark.parametrize("points", [[0, 1], [1, 256], [-1, 2], [1, 1], [5, 7, 5]])
def test_dealing_to_impossible_points_is_refused(points):
    with pytest.raises(ValueError, match="distinct and lie in 1 … 255"):
        shamir.deal(b"x", points=points, threshold=2, entropy=OsEntropy())


@pytest.mark.parametrize("threshold", [-1, 0, 4])
def test_dealing_with_an_impossible_threshold_is_refused(threshold):
    with pytest.raises(ValueError, match=f"threshold of {threshold} does not suit 3 holders"):
        shamir.deal(b"x", points=[1, 2, 3], threshold=threshold, entropy=OsEntropy())


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([1, 1], "^shares need distinct evaluation points$"),
        ([5, 7, 5], "^shares need distinct evaluation points$"),
        ([0, 1], "^evaluation points lie in 1 … 255$"),
        ([1, 256], "^evaluation points lie in 1 … 255$"),
        ([-1, 1], "^evaluation points lie in 1 … 255$"),
    ],
)
def test_reconstruction_from_impossible_points_is_refused(points, reason):
    with pytest.raises(ReconstructionError, match=reason):
        shamir.reconstruct(points, np.zeros((len(points), 4), np.uint8))


@pytest.mark.parametrize(
    ("points", "shares"),
    [
        ([], np.zeros((0, 4), np.uint8)),
        ([1, 2], np.zeros((3, 4), np.uint8)),
        ([1, 2, 3], np.zeros((2, 4), np.uint8)),
        ([1, 2], np.zeros(2, np.uint8)),
        ([1, 2], np.zeros((2, 4, 1), np.uint8)),
        *(([1, 2], np.zeros((2, 4), dtype)) for dtype in (bool, np.int8, np.uint16, np.int64, np.float64, object)),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else str(len(value)),
)
def test_shares_that_are_not_one_row_of_bytes_for_each_point_are_refused(points, shares):
    with pytest.raises(ReconstructionError, match=r"^shares are rows of bytes, one for each evaluation point$"):
        shamir.reconstruct(points, shares)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_points_may_be_whole_numbers_of_numpy_one_by_one_or_in_an_array(dtype):
    points, array = [2, 100, 127], np.array([2, 100, 127], dtype)
    shares = shamir.deal(b"secret", points=points, threshold=3, entropy=UnsafeFixedEntropy(bytes(16)))
    for same in (array, list(array)):
        again = shamir.deal(b"secret", points=same, threshold=3, entropy=UnsafeFixedEntropy(bytes(16)))
        assert np.array_equal(again, shares)
        assert shamir.reconstruct(same, shares) == b"secret"


# PRG

CHUNK_WORDS = CHUNK_BYTES // 4
LENGTHS = [0, 1, 3, 5, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 3 * CHUNK_WORDS + 5]


def keystream(key: Secret, length: int) -> bytes:
    """AES-128-CTR from counter zero, in one go."""
    return Cipher(algorithms.AES(key.reveal()), modes.CTR(bytes(16))).encryptor().update(bytes(length))


def expected_words(start, masks):
    total = start.copy()
    for mask in masks:
        words = np.frombuffer(keystream(mask.key, total.nbytes), total.dtype.newbyteorder("<"))
        total = total - words if mask.negative else total + words
    return total


def some_words(length, dtype):
    return np.random.default_rng(length).integers(0, np.iinfo(dtype).max, length, dtype, endpoint=True)


SOME_MASKS = [Mask(PRG_KEYS[0]), Mask(PRG_KEYS[1], negative=True), Mask(PRG_KEYS[2])]


def test_the_stream_is_aes_128_ctr_of_sp_800_38a_f_5_1():
    key = Secret(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))
    counter = int.from_bytes(bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"), "big")
    plaintext = (
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    ciphertext = (
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
        "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"
    )
    assert prg._stream(key, 16 * counter).update(bytes.fromhex(plaintext)).hex() == ciphertext


@pytest.mark.parametrize("first_byte", [0, 16, CHUNK_BYTES, 5 * CHUNK_BYTES])
def test_a_stream_begun_inside_continues_the_whole_one(first_byte):
    begun_inside = prg._stream(PRG_KEYS[0], first_byte).update(bytes(64))
    assert begun_inside == keystream(PRG_KEYS[0], first_byte + 64)[first_byte:]


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("length", LENGTHS)
def test_masking_is_a_straightforward_expansion_for_every_number_of_workers(length, dtype):
    start = some_words(length, dtype)
    expected = expected_words(start, SOME_MASKS)
    for workers in (1, 2, 3, 7):
        words = start.copy()
        apply_masks(words, SOME_MASKS, workers=workers)
        assert words.dtype == dtype
        assert np.array_equal(words, expected), f"{workers} workers"


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_a_positive_and_a_negative_mask_cancel(dtype):
    start = some_words(CHUNK_WORDS + 3, dtype)
    words = start.copy()
    apply_masks(words, [Mask(PRG_KEYS[0]), Mask(PRG_KEYS[1])], workers=2)
    assert not np.array_equal(words, start)
    apply_masks(words, [Mask(PRG_KEYS[1], negative=True), Mask(PRG_KEYS[0], negative=True)])
    assert np.array_equal(words, start)


def test_the_order_of_masks_is_irrelevant():
    results = set()
    for order in itertools.permutations(SOME_MASKS):
        words = some_words(1000, np.uint32)
        apply_masks(words, order)
        results.add(words.tobytes())
    assert len(results) == 1


def test_the_order_in_which_pieces_are_masked_is_irrelevant():
    length = 3 * CHUNK_WORDS + 5
    words, expected = np.zeros(length, np.uint32), np.zeros(length, np.uint32)
    apply_masks(expected, SOME_MASKS)
    for start, stop in reversed(prg._ranges(length, CHUNK_WORDS, 4)):
        prg._Expansion(SOME_MASKS, words.dtype, start, CHUNK_WORDS).add(words[start:stop])
    assert np.array_equal(words, expected)


@given(
    length=st.integers(0, 10**9),
    chunks=st.integers(1, 9),
    itemsize=st.sampled_from([4, 8]),
    workers=st.integers(-1, 70),
)
def test_ranges_cover_the_vector_once_and_begin_at_whole_chunks(length, chunks, itemsize, workers):
    pieces = prg._ranges(length, chunks * CHUNK_BYTES // itemsize, workers)
    assert 1 <= len(pieces) <= max(1, workers)
    assert pieces[0][0] == 0
    assert pieces[-1][1] == length
    assert all(left[1] == right[0] for left, right in itertools.pairwise(pieces))
    assert all(start * itemsize % CHUNK_BYTES == 0 for start, _ in pieces)
    assert length == 0 or all(start < stop for start, stop in pieces)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_a_sweep_visits_every_piece_once_with_the_masks_of_its_place(chunks, workers):
    length = 7 * CHUNK_WORDS + 11
    words, expected = np.zeros(length, np.uint32), np.zeros(length, np.uint32)
    apply_masks(expected, SOME_MASKS)
    visited = []

    def visit(start, stop, add_masks):
        visited.append((start, stop))
        add_masks(words[start:stop])

    prg.sweep(length, np.uint32, SOME_MASKS, visit, piece=chunks * CHUNK_WORDS, workers=workers)
    step = max(chunks, 1) * CHUNK_WORDS
    assert sorted(visited) == [(start, min(start + step, length)) for start in range(0, length, step)]
    assert np.array_equal(words, expected)


def test_a_sweep_over_pieces_that_are_no_whole_chunks_is_refused():
    with pytest.raises(ValueError, match="whole chunks"):
        prg.sweep(10, np.uint32, SOME_MASKS, lambda *_: None, piece=100)


def test_no_mask_changes_nothing_and_different_keys_mask_differently():
    words = some_words(100, np.uint32)
    kept = words.copy()
    apply_masks(words, [])
    assert np.array_equal(words, kept)
    assert len({keystream(key, 64) for key in PRG_KEYS}) == 3
    masked = {public_words(key.reveal(), 4).tobytes() for key in PRG_KEYS}
    assert len(masked) == 3


NO_WORDS = {
    "no dimension": np.array(7, np.uint32),
    "two dimensions": np.zeros((2, 8), np.uint32),
    "every other word": np.zeros(16, np.uint32)[::2],
    "backwards": np.zeros(16, np.uint64)[::-1],
    "big-endian": np.zeros(16, ">u4"),
    **{str(np.dtype(dtype)): np.zeros(16, dtype) for dtype in (np.uint8, np.uint16, np.int32, np.int64, np.float32)},
}


@pytest.mark.parametrize("words", NO_WORDS.values(), ids=NO_WORDS)
@pytest.mark.parametrize("masks", [[], SOME_MASKS], ids=["no mask", "masks"])
def test_what_is_no_contiguous_vector_of_words_is_refused_and_left_alone(words, masks):
    kept = words.copy()
    for workers in (1, 2):
        with pytest.raises(ValueError, match=r"^masks go over a contiguous one-dimensional array of uint32 or uint64$"):
            apply_masks(words, masks, workers=workers)
    assert np.array_equal(words, kept)


@pytest.mark.parametrize("length", [0, 1, 15, 17, 24, 32])
def test_stream_keys_that_are_not_128_bits_are_refused(length):
    """AES itself would take 192 and 256 bits: another stream under the same name."""
    words = some_words(100, np.uint32)
    kept, refusal = words.copy(), f"^a stream key of {length} bytes where 16 are due$"
    with pytest.raises(ValueError, match=refusal):
        apply_masks(words, [Mask(PRG_KEYS[0]), Mask(Secret(bytes(length)))])
    assert np.array_equal(words, kept), "not even the mask before it was added"
    for expand in (lambda seed: public_words(seed, 4), lambda seed: UnsafeFixedEntropy(seed).token_bytes(4)):
        with pytest.raises(ValueError, match=refusal):
            expand(bytes(length))


@pytest.mark.parametrize("count", [0, 1, 7, 32_769])
def test_public_words_are_the_stream_of_the_seed(count):
    words = public_words(bytes(range(16)), count)
    assert words.dtype == np.uint64
    assert words.tobytes() == keystream(PRG_KEYS[0], 8 * count)


# Digests


def slow_digest(label: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in (label, *parts))).digest()


def slow_root(leaves) -> bytes:
    """RFC 9162 §2.1.1, by its recursion: split at the largest power of two below n."""
    if len(leaves) == 1:
        return slow_digest(b"privfl/v1/merkle-leaf", leaves[0])
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return slow_digest(b"privfl/v1/merkle-node", slow_root(leaves[:split]), slow_root(leaves[split:]))


def numbered_leaves(count):
    return [b"leaf" + bytes([number]) for number in range(count)]


PARTS = st.lists(st.binary(max_size=4), max_size=4)


@given(st.sampled_from(Label), PARTS)
def test_a_digest_is_sha_256_over_parts_with_their_lengths(label, parts):
    assert digest(label, *parts) == slow_digest(label.value, *parts)


@given(PARTS, st.data())
def test_regrouped_parts_hash_differently(parts, draw):
    whole = b"".join(parts)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    regrouped = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
    assert (digest(Label.CONTEXT, *parts) == digest(Label.CONTEXT, *regrouped)) == (parts == regrouped)


def test_digests_are_separated_by_label_and_by_empty_parts():
    made = [digest(label, *parts) for label in Label for parts in [(), (b"",), (b"", b""), (b"x",), (b"x", b"")]]
    assert len(set(made)) == 5 * len(Label)
    assert {len(one) for one in made} == {32}


def test_the_session_id_binds_parameters_and_root_in_their_places():
    one, other = bytes(32), b"\1" * 32
    made = [session_id(a, b) for a in (one, other) for b in (one, other)]
    assert len(set(made)) == 4
    assert made[1] == slow_digest(b"privfl/v1/session", one, other)


@pytest.mark.parametrize("count", range(1, 41))
def test_the_merkle_root_is_the_recursive_one_of_rfc_9162(count):
    leaves = numbered_leaves(count)
    assert merkle_root(leaves) == slow_root(leaves)


@pytest.mark.parametrize("leaves", [[], ()])
def test_a_merkle_tree_without_a_leaf_is_refused(leaves):
    with pytest.raises(ValueError, match=r"^a Merkle tree has at least one leaf$"):
        merkle_root(leaves)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 11, 16, 17])
def test_the_merkle_root_depends_on_each_leaf_their_order_and_their_number(count):
    leaves = numbered_leaves(count)
    variants = [leaves, [*leaves, leaves[-1]], [*leaves, b""], [b"", *leaves]]
    variants += [leaves[:-1]] if count > 1 else []
    variants += [[*leaves[:i], leaves[i] + b"\0", *leaves[i + 1 :]] for i in range(count)]
    for i, j in itertools.combinations(range(count), 2):
        swapped = list(leaves)
        swapped[i], swapped[j] = swapped[j], swapped[i]
        variants.append(swapped)
    assert len({merkle_root(variant) for variant in variants}) == len(variants)


def test_an_inner_node_cannot_pose_as_a_leaf():
    leaves = numbered_leaves(4)
    left, right = merkle_root(leaves[:2]), merkle_root(leaves[2:])
    root = merkle_root(leaves)
    assert root == digest(Label.MERKLE_NODE, left, right)
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in (left, right))
    for posing in ([left, right], [left + right], [framed], [left, *leaves[2:]], [root]):
        assert merkle_root(posing) != root


# Inclusion


def not_included():
    return pytest.raises(RemoteProtocolError, match=r"^a key that is not included under the root of all keys$")


def slow_proof(leaves, index) -> list[bytes]:
    """RFC 9162 §2.1.3.1, by its recursion: what stands beside the path from a leaf to the root, lowest first."""
    if len(leaves) == 1:
        return []
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    left, right = leaves[:split], leaves[split:]
    if index < split:
        return [*slow_proof(left, index), slow_root(right)]
    return [*slow_proof(right, index - split), slow_root(left)]


EVERY_TREE = pytest.mark.parametrize("count", range(1, 41))


@EVERY_TREE
def test_every_leaf_is_proved_as_in_rfc_9162_and_its_proof_holds(count):
    leaves = numbered_leaves(count)
    root, proofs = merkle_root(leaves), inclusion_proofs(leaves)
    assert len(proofs) == count
    for index, (leaf, proof) in enumerate(zip(leaves, proofs, strict=True)):
        assert proof == b"".join(slow_proof(leaves, index))
        assert len(proof) <= 32 * (count - 1).bit_length()
        check_inclusion(root, leaf, index=index, leaves=count, proof=proof)


@EVERY_TREE
def test_a_proof_holds_at_no_other_place_and_for_no_other_leaf(count):
    leaves = numbered_leaves(count)
    root, proofs = merkle_root(leaves), inclusion_proofs(leaves)
    for index, other in itertools.permutations(range(count), 2):
        for at, leaf, proof in [
            (other, leaves[index], proofs[index]),
            (index, leaves[other], proofs[index]),
            (index, leaves[index], proofs[other]),
            (index, leaves[other], proofs[other]),
        ]:
            if (leaf, proof) != (leaves[at], proofs[at]):
                with not_included():
                    check_inclusion(root, leaf, index=at, leaves=count, proof=proof)
    for index, (leaf, proof) in enumerate(zip(leaves, proofs, strict=True)):
        for wrong in (b"", leaf + b"\0", leaf[:-1], root, proof[:32], b"\0" + leaf):
            with not_included():
                check_inclusion(root, wrong, index=index, leaves=count, proof=proof)


@EVERY_TREE
def test_a_proof_holds_under_no_other_root(count):
    leaves = numbered_leaves(count)
    root, proofs = merkle_root(leaves), inclusion_proofs(leaves)
    others = [bytes(32), b"", root[:-1], root + b"\0", merkle_root([*leaves, b"one more"])]
    others += [bytes([*root[:at], root[at] ^ 1, *root[at + 1 :]]) for at in range(32)]
    others += [merkle_root([*leaves[:-1], b"another"]), merkle_root([*leaves[::-1], b""])]
    for index, (leaf, proof) in enumerate(zip(leaves, proofs, strict=True)):
        for wrong in others:
            with not_included():
                check_inclusion(wrong, leaf, index=index, leaves=count, proof=proof)


@EVERY_TREE
def test_truncated_extended_and_damaged_proofs_are_refused(count):
    """The shape is fixed by place and number of leaves: a proof with anything behind it is refused as well."""
    leaves = numbered_leaves(count)
    root, proofs = merkle_root(leaves), inclusion_proofs(leaves)
    for index, (leaf, proof) in enumerate(zip(leaves, proofs, strict=True)):
        wrongs = {proof[:end] for end in {*range(0, len(proof), 32), *range(max(0, len(proof) - 33), len(proof))}}
        wrongs |= {proof + extra for extra in (b"\0", bytes(32), root, leaf, proof[-32:] or bytes(64))}
        wrongs |= {extra + proof for extra in (b"\0", bytes(32), proof[:32] or root)}
        wrongs |= {proof[32:], proof[32:64] + proof[:32] + proof[64:] if len(proof) >= 64 else proof + b"\1"}
        for wrong in wrongs - {proof}:
            with not_included():
                check_inclusion(root, leaf, index=index, leaves=count, proof=wrong)
        for position in range(0, len(proof), 5):
            changed = bytearray(proof)
            changed[position] ^= 1 << position % 8
            with not_included():
                check_inclusion(root, leaf, index=index, leaves=count, proof=bytes(changed))


def test_every_flipped_bit_of_a_proof_is_refused():
    leaves = numbered_leaves(7)
    root, proofs = merkle_root(leaves), inclusion_proofs(leaves)
    for index in (0, 5, 6):
        for bit in range(8 * len(proofs[index])):
            changed = bytearray(proofs[index])
            changed[bit // 8] ^= 1 << bit % 8
            with not_included():
                check_inclusion(root, leaves[index], index=index, leaves=7, proof=bytes(changed))


@EVERY_TREE
def test_a_proof_of_another_shape_than_the_number_of_leaves_gives_is_refused(count):
    """The number of leaves is agreed; where it would give another path, a proof made for the true one does not hold."""

    def path(index, width):
        steps = []
        while width > 1:
            steps += [index & 1] if index ^ 1 < width else []
            index, width = index // 2, (width + 1) // 2
        return steps

    leaves = numbered_leaves(count)
    root, proofs = merkle_root(leaves), inclusion_proofs(leaves)
    for index, told in itertools.product(range(count), range(1, 45)):
        assert len(proofs[index]) == 32 * len(path(index, count))
        if index < told and path(index, told) != path(index, count):
            with not_included():
                check_inclusion(root, leaves[index], index=index, leaves=told, proof=proofs[index])


def test_an_inner_node_is_not_included_as_a_leaf():
    leaves = numbered_leaves(4)
    left, right = merkle_root(leaves[:2]), merkle_root(leaves[2:])
    for posing in (left, leaves[0] + leaves[1], digest(Label.MERKLE_LEAF, leaves[0])):
        with not_included():
            check_inclusion(merkle_root(leaves), posing, index=0, leaves=2, proof=right)


# Signatures

RFC_8032_7_1 = [  # private, public, message, signature: TEST 1 to TEST 3
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
            "655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
            "b00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
            "c027beceea1ec40a"
        ),
    ),
]
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
IDENTITY, OTHER_IDENTITY = (Identity(Secret(bytes([fill]) * 32)) for fill in (7, 8))


def does_not_hold():
    return pytest.raises(RemoteProtocolError, match=r"^a signature that does not hold$")


@pytest.mark.parametrize(("private", "public", "message", "signature"), RFC_8032_7_1, ids=["1", "2", "3"])
def test_an_identity_is_the_ed25519_key_of_rfc_8032(private, public, message, signature):
    identity = Identity(Secret(bytes.fromhex(private)))
    assert identity.public.hex() == public
    assert identity._private.sign(bytes.fromhex(message)).hex() == signature


def test_identities_agree_with_the_ed25519_vectors():
    with cryptography_vectors.open_vector_file("asymmetric/Ed25519/sign.input", "r") as lines:
        vectors = [line.strip().split(":") for line in lines if line.strip()]
    assert len(vectors) == 1024
    for private, public, message, signature, *_ in vectors:
        identity = Identity(Secret(bytes.fromhex(private)[:32]))
        assert identity.public.hex() == public
        assert (identity._private.sign(bytes.fromhex(message)).hex() + message) == signature


@given(st.sampled_from(Label), PARTS, st.binary(min_size=32, max_size=32))
def test_what_is_signed_is_the_digest_of_label_and_parts_and_it_verifies(label, parts, private):
    identity = Identity(Secret(private))
    signature = identity.sign(label, *parts)
    assert len(signature) == 64
    assert signature == identity.sign(label, *parts)
    raw = ed25519.Ed25519PrivateKey.from_private_bytes(private)
    assert signature == raw.sign(slow_digest(label.value, *parts))
    verify(identity.public, signature, label, *parts)


def test_a_signature_holds_under_no_other_label():
    for one, other in itertools.permutations(Label, 2):
        with does_not_hold():
            verify(IDENTITY.public, IDENTITY.sign(one, b"part"), other, b"part")


@given(PARTS, PARTS)
def test_a_signature_holds_for_no_other_parts(parts, others):
    signature = IDENTITY.sign(Label.CONTEXT, *parts)
    if parts == others:
        verify(IDENTITY.public, signature, Label.CONTEXT, *others)
    else:
        with does_not_hold():
            verify(IDENTITY.public, signature, Label.CONTEXT, *others)


@pytest.mark.parametrize(
    "regrouped", [(b"ab", b"c"), (b"abc",), (b"a", b"b", b"c"), (b"", b"abc"), (b"a", b"bc", b""), (b"bc", b"a"), ()]
)
def test_a_signature_does_not_hold_for_regrouped_parts(regrouped):
    signature = IDENTITY.sign(Label.CONTEXT, b"a", b"bc")
    verify(IDENTITY.public, signature, Label.CONTEXT, b"a", b"bc")
    with does_not_hold():
        verify(IDENTITY.public, signature, Label.CONTEXT, *regrouped)


def test_a_signature_does_not_hold_under_another_identity():
    signature = IDENTITY.sign(Label.CONTEXT, b"part")
    unusable = [bytes(31), bytes(33), b"", b"\xff" * 32, IDENTITY.public + b"\0", IDENTITY.public[:-1]]
    for public in (OTHER_IDENTITY.public, bytes([*IDENTITY.public[:31], IDENTITY.public[31] ^ 0x80]), *unusable):
        with does_not_hold():
            verify(public, signature, Label.CONTEXT, b"part")


def test_no_damaged_signature_holds():
    signature = IDENTITY.sign(Label.CONTEXT, b"part")
    for bit in range(512):
        changed = bytearray(signature)
        changed[bit // 8] ^= 1 << bit % 8
        with does_not_hold():
            verify(IDENTITY.public, bytes(changed), Label.CONTEXT, b"part")
    lengths = [b"", signature[:32], signature[:63], signature + b"\0", signature * 2]
    for wrong in (*lengths, bytes(64), b"\xff" * 64, signature[32:] + signature[:32]):
        with does_not_hold():
            verify(IDENTITY.public, wrong, Label.CONTEXT, b"part")


def test_a_signature_has_one_encoding():
    """RFC 8032 §5.1.7: S lies below the order; S + order would verify by the equation alone."""
    signature = IDENTITY.sign(Label.CONTEXT, b"part")
    scalar = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    with does_not_hold():
        verify(IDENTITY.public, signature[:32] + scalar.to_bytes(32, "little"), Label.CONTEXT, b"part")


def test_identities_are_drawn_from_the_entropy_given():
    identity = Identity.generate(UnsafeFixedEntropy(bytes(16)))
    assert identity.public == Identity(Secret(UnsafeFixedEntropy(bytes(16)).token_bytes(32))).public
    assert Identity.generate(OsEntropy()).public != Identity.generate(OsEntropy()).public


def test_an_identity_comes_back_from_its_pem():
    pem = IDENTITY.to_pem()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    again = Identity.from_pem(pem)
    assert again.public == IDENTITY.public
    assert again.to_pem() == pem
    assert again.sign(Label.CONTEXT, b"part") == IDENTITY.sign(Label.CONTEXT, b"part")


def pem_of(key, encryption=None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    "make",
    [
        x25519.X25519PrivateKey.generate,
        ed448.Ed448PrivateKey.generate,
        lambda: ec.generate_private_key(ec.SECP256R1()),
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["X25519", "Ed448", "EC", "RSA"],
)
def test_pems_of_other_keys_are_refused(make):
    with pytest.raises(ConfigurationError, match=r"^not an Ed25519 key: `privfl identity new` makes one$"):
        Identity.from_pem(pem_of(make()))


def test_what_is_no_unencrypted_private_key_is_refused():
    key, pem = ed25519.Ed25519PrivateKey.generate(), IDENTITY.to_pem()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    encrypted = pem_of(key, serialization.BestAvailableEncryption(b"password"))
    for wrong in (b"", b"garbage", pem[:-40], pem[40:], public, encrypted, bytes(32)):
        with pytest.raises(ConfigurationError, match=r"^not an unencrypted PEM private key: ") as refusal:
            Identity.from_pem(wrong)
        assert refusal.value.__cause__ is None


def test_an_identity_shows_its_public_key_only_and_is_not_pickled():
    identity = Identity(Secret(bytes(range(32))))
    assert repr(identity) == str(identity) == f"Identity(public={identity.public.hex()})"
    assert bytes(range(32)).hex() not in repr(identity)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(identity, protocol)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_identities_of_wrong_length_are_refused(length):
    with pytest.raises(ConfigurationError, match=f"^an identity of {length} bytes where 32 are due$"):
        check_identity(bytes(length))
    check_identity(IDENTITY.public)


def test_a_processor_that_is_not_to_be_had_costs_nothing(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    words, expected = (np.zeros(3 * CHUNK_WORDS, np.uint32) for _ in range(2))
    apply_masks(expected, SOME_MASKS)
    apply_masks(words, SOME_MASKS, workers=3)
    assert np.array_equal(words, expected)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux alone lets threads choose processors")
def test_threads_keep_apart_and_the_callers_stays_where_it_may_be():
    before = os.sched_getaffinity(0)
    apply_masks(np.zeros(8 * CHUNK_WORDS, np.uint32), SOME_MASKS, workers=2)
    assert os.sched_getaffinity(0) == before
    shares = prg._processors(2)
    assert shares[0] | shares[1] == before
    assert not shares[0] & shares[1]
    assert [len(share) for share in prg._processors(len(before) + 1)].count(0) == 1
