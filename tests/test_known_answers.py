"""Known answers: published vectors through privfl's own primitives, and scripted sessions replayed byte for byte.

Three wrappers fix what a published vector varies: `aead` its nonce, `signatures` that a digest is signed, `derive`
what `info` looks like. There the test puts the vector's nonce, message or info in that one place, and everything else,
errors included, is the library's.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from known_answers import files, recomputed, reference, reference_kahe, values
from known_answers.published import ed25519_lines, records, wycheproof
from known_answers.recomputed import ELSEWHERE, recompute
from known_answers.recording import framed
from known_answers.script import Cast, abridged, abridged_bytes, outputs

from privfl import ConfigurationError, DecodeError, DisclosureRefused, LocalProtocolError, Phase, RemoteProtocolError
from privfl import client as party
from privfl.masking.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyRequest,
    MaskedInput,
    ShareKeys,
    Unmask,
    UnmaskRequest,
)
from privfl.primitives import aead, shamir, signatures
from privfl.primitives.keys import KeyPair, check_public_key, derive
from privfl.primitives.labels import Label
from privfl.primitives.prg import CHUNK_BYTES, Mask, apply_masks
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import Identity, check_identity, verify
from privfl.wire import SuiteCode

PUBLISHED = files.read_file(files.PUBLISHED)
unhex = bytes.fromhex


# -- X25519 -----------------------------------------------------------------------------------------------------------

X25519 = wycheproof("Protocol/wycheproof/x25519_test.json", count=518)


@pytest.mark.parametrize(
    "vector", records("asymmetric/X25519/rfc7748.txt", count=3), ids=["first", "second", "iterated once"]
)
def test_x25519_of_rfc_7748(vector):
    pair = KeyPair(Secret(unhex(vector["INPUT_SCALAR"])))
    assert pair.agree(unhex(vector["INPUT_U"])).reveal() == unhex(vector["OUTPUT_U"])


@pytest.mark.parametrize("vector", PUBLISHED["x25519_iterated"], ids=lambda v: str(v["steps"]))
def test_x25519_iterated(vector):
    k = u = (9).to_bytes(32, "little")
    for _ in range(vector["steps"]):
        k, u = KeyPair(Secret(k)).agree(u).reveal(), k
    assert k.hex() == vector["result"]


def test_x25519_wycheproof_agrees_twists_and_non_canonical_points_included():
    """RFC 7748 takes every 32 bytes as a point; what Wycheproof calls acceptable but for zero results has an answer."""
    vectors = [vector for vector in X25519 if "ZeroSharedSecret" not in vector["flags"]]
    assert len(vectors) == 487
    for vector in vectors:
        shared = KeyPair(Secret(unhex(vector["private"]))).agree(unhex(vector["public"]))
        assert shared.reveal().hex() == vector["shared"], vector["tcId"]
        check_public_key(unhex(vector["public"]))


def test_x25519_wycheproof_low_order_points_are_refused_whoever_meets_them():
    vectors = [vector for vector in X25519 if "ZeroSharedSecret" in vector["flags"]]
    assert len(vectors) == 31
    for vector in vectors:
        with pytest.raises(RemoteProtocolError, match="low order"):
            KeyPair(Secret(unhex(vector["private"]))).agree(unhex(vector["public"]))
        with pytest.raises(RemoteProtocolError, match="low order"):
            check_public_key(unhex(vector["public"]))


# -- HKDF-SHA256 ------------------------------------------------------------------------------------------------------

HKDF = [
    *(
        {"ikm": v["IKM"], "salt": v["salt"], "info": v["info"], "size": int(v["L"]), "okm": v["OKM"], "result": "valid"}
        for path, count in (("KDF/rfc-5869-HKDF-SHA256.txt", 3), ("KDF/hkdf-generated.txt", 1))
        for v in records(path, count=count)
    ),
    *wycheproof("Protocol/wycheproof/hkdf_sha256_test.json", count=86),
]


def derive_with(vector):
    """`derive` reads nothing of a label but its value: here it is the vector's whole info."""
    label = SimpleNamespace(value=unhex(vector["info"]))
    return derive(Secret(unhex(vector["ikm"])), salt=unhex(vector["salt"]), label=label, length=vector["size"]).reveal()


def test_hkdf_through_derive_and_by_the_reference():
    valid = [vector for vector in HKDF if vector["result"] == "valid"]
    assert len(valid) == 87
    for vector in valid:
        assert derive_with(vector).hex() == vector["okm"]
        arguments = {key: unhex(vector[key]) for key in ("salt", "info")}
        assert reference.hkdf(unhex(vector["ikm"]), **arguments, length=vector["size"]).hex() == vector["okm"]


def test_hkdf_refuses_more_than_255_blocks():
    invalid = [vector for vector in HKDF if vector["result"] == "invalid"]
    assert len(invalid) == 3
    for vector in invalid:
        with pytest.raises(ValueError, match="derive"):
            derive_with(vector)


# -- AES-128-CTR ------------------------------------------------------------------------------------------------------

BLOCKS = [
    vector
    for name, count in (("VarKey", 128), ("KeySbox", 21), ("GFSbox", 7), ("VarTxt", 128))
    for vector in records(f"ciphers/AES/ECB/ECB{name}128.rsp", count=count, section="ENCRYPT")
]
STREAMS = [
    *({key.upper(): value for key, value in vector.items()} for vector in PUBLISHED["aes_128_ctr"]),
    *(vector | {"COUNTER": vector["IV"]} for vector in records("ciphers/AES/CTR/aes-128-ctr.txt", count=3)),
]


def stream_of(key, length, **options):
    """The library's stream: what apply_masks adds to zeros."""
    zeros = np.zeros(-(-length // 4), np.uint32)
    apply_masks(zeros, [Mask(Secret(key))], **options)
    return zeros.tobytes()[:length]


def test_the_stream_begins_with_the_cipher_of_the_zero_block():
    """The counter begins at zero, and so 149 of NIST's answers, those to the zero block, are beginnings of streams."""
    zero = [vector for vector in BLOCKS if int(vector["PLAINTEXT"], 16) == 0]
    assert len(zero) == 149
    for vector in zero:
        assert stream_of(unhex(vector["KEY"]), 16) == unhex(vector["CIPHERTEXT"])


def test_the_reference_counter_mode_gives_the_published_answers():
    for vector in BLOCKS:
        counter = int(vector["PLAINTEXT"], 16)
        assert reference.aes_ctr(unhex(vector["KEY"]), counter, 16) == unhex(vector["CIPHERTEXT"])
    for vector in STREAMS:
        plaintext, counter = unhex(vector["PLAINTEXT"]), int(vector["COUNTER"], 16)
        stream = reference.aes_ctr(unhex(vector["KEY"]), counter, len(plaintext))
        assert bytes(a ^ b for a, b in zip(plaintext, stream, strict=True)) == unhex(vector["CIPHERTEXT"])


@pytest.mark.parametrize("workers", [1, 3])
def test_the_stream_is_the_references_across_chunks_and_workers(workers):
    """The counter carries past 2^8 and 2^16 blocks, and each worker begins in the middle of the stream."""
    length = 4 * CHUNK_BYTES + 36
    for vector in STREAMS:
        key = unhex(vector["KEY"])
        assert stream_of(key, length, workers=workers) == reference.aes_ctr(key, 0, length)


# -- AES-256-GCM ------------------------------------------------------------------------------------------------------

GCM = wycheproof("Cipher/wycheproof/aes_gcm_test.json", count=66, keySize=256, ivSize=96, tagSize=128)
CAVS = {"Keylen": "256", "IVlen": "96", "Taglen": "128"}


@pytest.fixture
def nonce(monkeypatch):
    """A vector's nonce in the place of the fixed one; restored after the test."""
    return lambda value: monkeypatch.setattr(aead, "_SINGLE_USE_NONCE", value)


def test_aes_gcm_wycheproof(nonce):
    assert sum(vector["result"] == "invalid" for vector in GCM) == 27
    for vector in GCM:
        nonce(unhex(vector["iv"]))
        key, aad = Secret(unhex(vector["key"])), unhex(vector["aad"])
        plaintext, sealed = unhex(vector["msg"]), unhex(vector["ct"] + vector["tag"])
        if vector["result"] == "valid":
            assert aead.seal_once(key, plaintext, aad) == sealed
            assert aead.open_once(key, sealed, aad) == plaintext
        else:
            with pytest.raises(DecodeError, match="does not open"):
                aead.open_once(key, sealed, aad)


def test_aes_gcm_of_nist_seals(nonce):
    for vector in records("ciphers/AES/GCM/gcmEncryptExtIV256.rsp", count=375, **CAVS):
        nonce(unhex(vector["IV"]))
        sealed = aead.seal_once(Secret(unhex(vector["Key"])), unhex(vector["PT"]), unhex(vector["AAD"]))
        assert sealed == unhex(vector["CT"] + vector["Tag"])


def test_aes_gcm_of_nist_opens_what_is_whole_and_nothing_else(nonce):
    opened = 0
    for vector in records("ciphers/AES/GCM/gcmDecrypt256.rsp", count=375, **CAVS):
        nonce(unhex(vector["IV"]))
        arguments = Secret(unhex(vector["Key"])), unhex(vector["CT"] + vector["Tag"]), unhex(vector["AAD"])
        if "FAIL" in vector:
            with pytest.raises(DecodeError, match="does not open"):
                aead.open_once(*arguments)
        else:
            opened += 1
            assert aead.open_once(*arguments) == unhex(vector["PT"])
    assert 0 < opened < 375


def test_the_nonce_is_zero_when_nobody_meddles():
    """The first block of a ciphertext is masked by the counter block nonce ‖ 2 (SP 800-38D, 7.1, with a 96-bit IV)."""
    key = bytes(range(32))
    assert aead.seal_once(Secret(key), bytes(16), b"")[:16] == reference.aes_ctr(key, 2, 16)


# -- Ed25519 ----------------------------------------------------------------------------------------------------------

ED25519 = wycheproof("Signature/wycheproof/ed25519_test.json", count=210)
RFC_8032 = ("9d61b19deffd5a60", "4ccd089b28ff96da", "c5aa8df43f9f837b", "f5e5767cf1533195")
"""How the private keys of RFC 8032, section 7.1, begin: tests 1, 2, 3 and 1024."""


@pytest.fixture
def signs_messages(monkeypatch):
    """What is signed is the message itself, and not a digest of label and parts; restored after the test."""
    monkeypatch.setattr(signatures, "digest", lambda _label, message: message)


def test_ed25519_of_rfc_8032_and_its_authors(signs_messages):
    lines = ed25519_lines(count=1024)
    assert sum(private.hex().startswith(RFC_8032) for private, *_ in lines) == len(RFC_8032)
    for private, public, message, signature in lines:
        identity = Identity(Secret(private))
        assert identity.public == public
        assert identity.sign(Label.SESSION, message) == signature
        verify(public, signature, Label.SESSION, message)


def holds(vector):
    try:
        verify(unhex(vector["group"]["publicKey"]["pk"]), unhex(vector["sig"]), Label.SESSION, unhex(vector["msg"]))
    except RemoteProtocolError:
        return False
    return True


def test_ed25519_wycheproof(signs_messages):
    """No signature that must not hold does, and none raises anything but RemoteProtocolError."""
    verdicts = {"valid": [], "invalid": [], "acceptable": []}
    for vector in ED25519:
        verdicts[vector["result"]].append(holds(vector))
    assert {verdict: len(held) for verdict, held in verdicts.items()} == {"valid": 117, "invalid": 64, "acceptable": 29}
    assert all(verdicts["valid"])
    assert not any(verdicts["invalid"])


def test_ed25519_wycheproof_keys_of_small_order_are_no_identities():
    """Under some of them a signature holds that nobody made: they are kept off the roster."""
    small = {vector["group"]["publicKey"]["pk"] for vector in ED25519 if "SmallOrderPublicKey" in vector["flags"]}
    others = {vector["group"]["publicKey"]["pk"] for vector in ED25519 if vector["result"] == "valid"}
    assert len(small) == 8
    for key in small:
        with pytest.raises(ConfigurationError, match="small order"):
            check_identity(unhex(key))
    for key in others - small:
        check_identity(unhex(key))


# -- GF(2^8) ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", PUBLISHED["gf256_products"], ids=lambda v: "·".join(v["factors"]))
def test_products_of_fips_197_are_shares(vector):
    """The share at x of the polynomial 0 + a·x is the product of a and x."""
    a, x = (int(factor, 16) for factor in vector["factors"])
    dealt = shamir.deal(
        b"\0", points=[x, 1], threshold=2, entropy=SimpleNamespace(token_bytes=lambda length: bytes([a]) * length)
    )
    assert bytes(dealt[0]).hex() == vector["product"]
    assert reference.gf_product(a, x) == int(vector["product"], 16)


# -- scripts of sessions and tables of values -------------------------------------------------------------------------

MADE = sorted(path.name for path in files.VECTORS.glob("*.json") if path.name != files.PUBLISHED)
CONTENTS = {name: files.read_file(name) for name in MADE}
SESSIONS = [name for name in MADE if "operations" in CONTENTS[name]]
TABLES = [name for name in MADE if "cases" in CONTENTS[name]]
BAD_SESSIONS = [name for name in SESSIONS if "_bad_" in name]


def replay(script):
    """Play a script and compare every outcome; return the parties as it left them."""
    cast = Cast(script)
    assert cast.params.digest.hex() == script["params_digest"]
    for step, operation in enumerate(script["operations"], 1):
        assert cast.perform(operation) == outputs(operation), f"step {step}: {operation['do']}"
    return cast


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_is_replayed_byte_for_byte(name):
    replay(CONTENTS[name])


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_evaluated_byte_for_byte(name):
    for case in CONTENTS[name]["cases"]:
        came_out, _ = values.evaluate(case)
        assert came_out == {key: case[key] for key in ("gives", "fails") if key in case}


def test_all_files_are_made_anew_without_a_difference():
    made = files.all_files()
    assert sorted(made) == MADE
    for name, text in made.items():
        assert (files.VECTORS / name).read_text(encoding="utf-8") == text, f"{name}: run tests/known_answers"


@pytest.mark.parametrize("name", MADE)
def test_a_bad_file_fails_at_its_step_and_nowhere_else_and_a_good_one_nowhere(name):
    content = CONTENTS[name]
    rows = content.get("operations") or content["cases"]
    failing = {step: row["fails"] for step, row in enumerate(rows, 1) if "fails" in row}
    if "_bad_" in name:
        assert failing == {content["step"]: content["expect"]}
    else:
        assert content["expect"] == ("sum" if "operations" in content else "values")
        assert not failing


@pytest.mark.parametrize("name", BAD_SESSIONS)
def test_after_a_failure_comes_what_the_file_says(name):
    script = CONTENTS[name]
    cast, failed = replay(script), script["operations"][script["step"] - 1]
    if script["then"] == "silence":
        number = failed["client"]
        seen = [
            unhex(operation["bytes"])
            for operation in script["operations"]
            if operation["do"] == "request" and operation["client"] == number
        ]
        for request in (cast.server.request_for(party(number)), unhex(failed["given"]), *seen):
            with pytest.raises(DisclosureRefused, match="the session is over"):
                cast.clients[number].respond(request)
    elif script["then"] == "nothing":
        assert cast.server.phase is Phase.ABORTED
        with pytest.raises(LocalProtocolError, match="no sum"):
            _ = cast.server.result
    else:
        assert script["then"] == "sum"
        assert cast.server.phase is Phase.FINISHED


def taken_uploads(script):
    """Whose upload the server took."""
    upload = "MaskedInput" if "entropy" in script else "Upload"
    phase, taken = "AdvertiseKeys" if "entropy" in script else upload, set()
    for operation in script["operations"]:
        if operation["do"] == "advance":
            phase = operation.get("phase")
        elif operation["do"] == "receive" and phase == upload and "fails" not in operation:
            taken.add(operation["client"])
    return taken


RESULTS = {name: CONTENTS[name]["operations"][-1] for name in SESSIONS if CONTENTS[name].get("then", "sum") == "sum"}


@pytest.mark.parametrize("name", [name for name, result in RESULTS.items() if "error_std" not in result])
def test_the_sum_is_that_of_exactly_the_uploads_that_were_taken(name):
    script = CONTENTS[name]
    taken = taken_uploads(script)
    total = np.sum([recomputed.submitted(script, number) for number in taken], axis=0)
    assert RESULTS[name] == {"do": "result", "vector": abridged(total.tolist()), "contributors": len(taken)}


# -- the same once more, by the reference -----------------------------------------------------------------------------

HONEST = [name for name in SESSIONS if "entropy" in CONTENTS[name] and "_bad_" not in name]
HONEST_KAHE = [name for name in HONEST if name.startswith("kahe")]
HONEST_MASKING = [name for name in HONEST if name not in HONEST_KAHE]


@pytest.mark.parametrize("name", [name for name in TABLES if "_bad_" not in name])
def test_a_table_equals_the_reference(name):
    for case in CONTENTS[name]["cases"]:
        if case["function"] not in ELSEWHERE:
            assert values.to_json(recompute(case)) == case["gives"], case


@pytest.mark.parametrize("name", HONEST)
def test_advertised_keys_and_dealt_shares_follow_from_the_entropy_alone(name):
    script = CONTENTS[name]
    params, clients = Cast(script).params, recomputed.clients(script)
    points = {number: place for place, number in enumerate(params.cohort, 1)}
    advertised = recomputed.responses(script, "AdvertiseKeys", AdvertiseKeys)
    for me, response in advertised.items():
        mine, said = clients[me], response.message
        assert (said.channel_key, said.mask_key, said.key_id) == (mine.channel_key, mine.mask_key, mine.key_id)
    shared = recomputed.responses(script, "ShareKeys", ShareKeys)
    assert len(shared) >= 4
    for me, response in shared.items():
        peers = {number: clients[number] for number in advertised if number != me}
        commitment, sealed, confirmations = clients[me].share_keys(
            response.session, params.masking.threshold, peers, points
        )
        assert response.message == ShareKeys(
            commitment=commitment, peers=tuple(peers), sealed=sealed, confirmations=confirmations
        )


def shown_to(script, sharing):
    """What pairwise masks follow from beside the pair's seed: context and, in the active model, participants."""
    cohort = Cast(script).params.cohort
    crowd = reference.set_bits(cohort, sharing) if "identities" in script else b""
    return {"context": recomputed.context(script), "crowd": crowd}


@pytest.mark.parametrize("name", HONEST_MASKING)
def test_masked_inputs_follow_the_formula_of_the_papers(name):
    script = CONTENTS[name]
    params, clients = Cast(script).params, recomputed.clients(script)
    sharing = recomputed.responses(script, "ShareKeys", ShareKeys)
    uploads = recomputed.responses(script, "MaskedInput", MaskedInput)
    assert len(uploads) >= 3
    shown = shown_to(script, sharing)
    for me, upload in uploads.items():
        session, peers = sharing[me].session, {number: clients[number] for number in sharing if number != me}
        vector, bits = script["vectors"][str(me)], params.ring.word_bits
        masked = clients[me].masked_input(session, vector, bits, peers, **shown)
        assert upload.session == reference.bound_session(session, shown["context"])
        sent = recomputed.unpacked(upload.tail, params.ring.bits, params.vector.length)
        assert sent == [value % 2**params.ring.bits for value in masked]


@pytest.mark.parametrize("name", HONEST_KAHE)
def test_uploads_of_kahe_are_masked_keys_and_ciphertexts_under_them(name):
    """Made again from each client's entropy: own draws, own public polynomials, products of whole numbers."""
    script = CONTENTS[name]
    params, clients = Cast(script).params, recomputed.clients(script)
    sharing = recomputed.responses(script, "ShareKeys", ShareKeys)
    uploads = recomputed.written(script, "respond", "MaskedInput")
    assert len(uploads) >= 3
    shown = shown_to(script, sharing)
    for me, upload in uploads.items():
        session, peers = sharing[me].session, {number: clients[number] for number in sharing if number != me}
        key, ciphertext = recomputed.encrypted(script, me, session)
        masked = [word % 2**32 for word in clients[me].masked_input(session, key, 32, peers, **shown)]
        tail = reference_kahe.pack(masked, 32) + reference_kahe.pack(ciphertext, params.setting.modulus_bits)
        bound = reference.bound_session(session, shown["context"])
        frame = framed(MaskedInput(), session=bound, sender=party(me), tail=tail, suite=SuiteCode.KAHE)
        assert upload == abridged_bytes(frame)


@pytest.mark.parametrize("name", HONEST_KAHE)
def test_the_sum_of_ciphertexts_opens_with_the_sum_of_keys_by_whole_numbers(name):
    """To what the script says: the sum of the vectors, off by one in places where Δ has no room for the errors."""
    script = CONTENTS[name]
    setting, taken = Cast(script).params.setting, taken_uploads(script)
    session = next(iter(recomputed.responses(script, "ShareKeys", ShareKeys).values())).session
    keys, ciphertexts = zip(*(recomputed.encrypted(script, number, session) for number in taken), strict=True)
    total, key_sum = (np.sum(parts, axis=0).tolist() for parts in (ciphertexts, keys))
    opened = reference_kahe.decrypt(total, key_sum, session, setting.modulus_bits, setting.scale_bits)
    assert RESULTS[name]["vector"] == abridged(opened)
    error = np.array(opened) - np.sum([recomputed.submitted(script, number) for number in taken], axis=0)
    assert set(error.tolist()) == ({-1, 0, 1} if "error_std" in RESULTS[name] else {0})


def test_draws_of_the_table_are_settled_by_further_bits_to_either_side_and_far_out():
    cases = [case for case in CONTENTS["kahe_draws.json"]["cases"] if case["function"] == "gaussian"]
    found = [
        draw
        for case in cases
        for draw in reference_kahe.unsettled(unhex(case["coarse"]), unhex(case["fine"]), case["count"])
    ]
    assert any(value == low for low, value, _ in found)
    assert any(value == high for _, value, high in found)
    assert any(high > low + 1 for low, _, high in found)


HONEST_ACTIVE = [name for name in HONEST if "identities" in CONTENTS[name]]


@pytest.mark.parametrize("name", HONEST_ACTIVE)
def test_witnesses_sign_who_shared_keys_and_who_uploaded_and_all_unmask_on_a_quorums_word(name):
    """Of fewer than 100 clients all are witnesses, and with one corrupt among n, ⌊(n + 1) / 2⌋ + 1 are a quorum."""
    script = CONTENTS[name]
    cohort = Cast(script).params.cohort
    sharing = recomputed.responses(script, "ShareKeys", ShareKeys)
    uploads = recomputed.written(script, "respond", "MaskedInput")
    sets = reference.set_bits(cohort, sharing), reference.set_bits(cohort, uploads)
    asked = recomputed.requests(script, "ConsistencyCheck", ConsistencyRequest)
    answers = recomputed.responses(script, "ConsistencyCheck", ConsistencyCheck)
    assert set(answers) == set(asked) <= set(uploads)
    for request in asked.values():
        assert (request.message.participants, request.message.survivors) == sets
    made = {me: answer.message.signature for me, answer in answers.items()}
    for me, signature in made.items():
        private = unhex(script["identities"][str(me)])
        session = sharing[me].session
        assert signature == reference.signature_of_sets(private, session, me, recomputed.context(script), *sets)
        assert answers[me].session == reference.bound_session(session, recomputed.context(script))
    signers = tuple(sorted(made))[: (len(cohort) + 1) // 2 + 1]
    assert len(signers) == (len(cohort) + 1) // 2 + 1
    unmasking = recomputed.requests(script, "Unmask", UnmaskRequest)
    assert set(unmasking) == set(recomputed.responses(script, "Unmask", Unmask)) <= set(uploads)
    for me, request in unmasking.items():
        assert request.message == UnmaskRequest(
            contributors=len(uploads),
            survivors=tuple(number for number in uploads if number != me),
            dropped=tuple(number for number in sharing if number not in uploads),
            participant_bits=sets[0],
            survivor_bits=sets[1],
            signers=signers,
            signatures=b"".join(made[number] for number in signers),
        )


@pytest.mark.parametrize("name", [name for name in HONEST if name not in HONEST_ACTIVE])
def test_no_sets_and_no_signatures_travel_where_the_server_is_honest_but_curious(name):
    assert not recomputed.requests(CONTENTS[name], "ConsistencyCheck", ConsistencyRequest)
    for request in recomputed.requests(CONTENTS[name], "Unmask", UnmaskRequest).values():
        said = request.message
        assert (said.participant_bits, said.survivor_bits, said.signers, said.signatures) == (b"", b"", (), b"")
