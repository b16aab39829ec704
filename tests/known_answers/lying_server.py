"""Sessions in which the server lies to one client, which must refuse at that step, and nowhere else.

What must not be answered ends the client's session (`then: silence`). What does not decode leaves it waiting: it
answers the honest request, and the session ends in the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from known_answers.recording import (
    Recording,
    altered,
    flipped,
    framed,
    identity_of,
    long_form,
    of_suite,
    opened,
    recoded,
    seeded,
)
from privfl import Phase, ServerModel
from privfl import client as party
from privfl.masking import agreement, secrets
from privfl.masking.messages import (
    AdvertiseKeys,
    AdvertiseKeysRequest,
    ConsistencyRequest,
    MaskedInputRequest,
    ShareKeysRequest,
    UnmaskRequest,
)
from privfl.plain.messages import UploadRequest
from privfl.primitives.keys import KeyPair
from privfl.primitives.secret import Secret
from privfl.primitives.signatures import SIGNATURE_BYTES
from privfl.primitives.transcript import inclusion_proofs, merkle_root, session_id
from privfl.wire import Message, SuiteCode

Scenario = Callable[[str], dict[str, Any]]
Forgery = Callable[[Recording], bytes]
Silence = Mapping[Phase, set[int]]
Sets = tuple[set[int], set[int]]
"""Participants and survivors."""

ACTIVE = ServerModel.ACTIVE
LIED_TO = 10
"""The client that the server turns to."""
POSED_AS = 11
"""The client whose keys the server replaces by its own."""
ACCOMPLICE = 13
LOW_ORDER = (2**255 - 20).to_bytes(32, "little")
"""u = −1 modulo 2^255 − 19, a point of order 4: every agreement with it gives zero."""

SIGNATURE_PLACES = (
    slice(SIGNATURE_BYTES),
    slice(SIGNATURE_BYTES, 2 * SIGNATURE_BYTES),
    slice(2 * SIGNATURE_BYTES, None),
)

OTHER_CONTEXT = seeded("another context")
"""Of another model than that of all others."""

REQUESTS: dict[Phase, type[Message]] = {
    Phase.UPLOAD: UploadRequest,
    Phase.ADVERTISE_KEYS: AdvertiseKeysRequest,
    Phase.SHARE_KEYS: ShareKeysRequest,
    Phase.MASKED_INPUT: MaskedInputRequest,
    Phase.CONSISTENCY_CHECK: ConsistencyRequest,
    Phase.UNMASK: UnmaskRequest,
}


def scripts() -> dict[str, dict[str, Any]]:
    """All scripts in which a server lies."""
    return {name: play(name) for name, play in SCENARIOS.items()}


def refused(
    text: str,
    phase: Phase,
    forge: Forgery,
    match: str,
    *,
    fails: str = "DisclosureRefused",
    silent: Silence | None = None,
    **agreed: Any,
) -> Scenario:
    """What a client must not answer: it ends its session."""

    def play(name: str) -> dict[str, Any]:
        recording = Recording(name, text, **agreed)
        recording.to(phase, silent=silent)
        recording.do("respond", LIED_TO, forge(recording), fails=fails, match=match)
        return recording.script()

    return play


def unread(text: str, phase: Phase, forge: Forgery, match: str, **agreed: Any) -> Scenario:
    """What does not decode: the client waits on, answers the honest request, and the session ends in the sum."""

    def play(name: str) -> dict[str, Any]:
        recording = Recording(name, text, **agreed)
        recording.to(phase)
        recording.do("respond", LIED_TO, forge(recording), fails="DecodeError", match=match)
        return recording.finish()

    return play


# -- any suite --------------------------------------------------------------------------------------------------------


def request(recording: Recording) -> bytes:
    """The honest request of this phase."""
    return recording.cast.server.request_for(party(LIED_TO))


def asked(recording: Recording) -> Any:
    """The same, decoded."""
    return opened(request(recording), REQUESTS[recording.cast.server.phase]).message


def asks(**fields: Any) -> Forgery:
    """Ask honestly but for these fields; `session` is the one in the header."""
    return lambda recording: altered(request(recording), REQUESTS[recording.cast.server.phase], **fields)


def another_session(recording: Recording) -> bytes:
    honest = opened(request(recording), REQUESTS[recording.cast.server.phase])
    return asks(session=flipped(honest.session))(recording)


def trailing_byte(recording: Recording) -> bytes:
    return request(recording) + b"\0"


def cut_short(recording: Recording) -> bytes:
    return request(recording)[:-1]


def endless(recording: Recording) -> bytes:
    """A header that announces a struct of 2^32 − 1 bytes."""
    honest = request(recording)
    return honest[:44] + b"\xff" * 4 + honest[48:]


def encoded_longer(recording: Recording) -> bytes:
    return long_form(request(recording), REQUESTS[recording.cast.server.phase])


def of_another_suite(recording: Recording) -> bytes:
    """The honest request under the number of masking."""
    return of_suite(request(recording), SuiteCode.MASKING)


# -- masking ----------------------------------------------------------------------------------------------------------


def unmask_before_upload(recording: Recording) -> bytes:
    session = opened(request(recording), REQUESTS[recording.cast.server.phase]).session
    return framed(UnmaskRequest(contributors=4, survivors=(11, 12, 13), dropped=()), session=session)


def neighbour(number: int, **fields: Any) -> Forgery:
    """Ask honestly but for one neighbour's keys, signature or proof."""

    def forge(recording: Recording) -> bytes:
        shown = [
            msgspec.structs.replace(keys, **fields) if keys.number == number else keys
            for keys in asked(recording).neighbours
        ]
        return asks(neighbours=tuple(shown))(recording)

    return forge


def stranger(recording: Recording) -> bytes:
    honest = asked(recording).neighbours
    return asks(neighbours=(*honest, msgspec.structs.replace(honest[-1], number=99)))(recording)


def wrong_root(recording: Recording) -> bytes:
    return asks(root=flipped(asked(recording).root))(recording)


def sealed_anew(recording: Recording) -> bytes:
    """Two of three sealed shares altered: one opens, two are the threshold."""
    sealed = asked(recording).sealed
    return asks(sealed=flipped(flipped(sealed), len(sealed) - 1))(recording)


def named_twice(recording: Recording) -> bytes:
    names, twice = bytes([0x93, 11, 12, 13]), bytes([0x93, 11, 12, 12])
    return recoded(request(recording), UnmaskRequest, lambda body: body.replace(names, twice))


def second_unmask(text: str, **agreed: Any) -> Scenario:
    """A second UnmaskRequest, another one, when the first was answered."""

    def play(name: str) -> dict[str, Any]:
        recording = Recording(name, text, n=5, **agreed)
        recording.to(Phase.UNMASK)
        recording.answer(LIED_TO)
        other = asks(contributors=4, survivors=(11, 12, 13), dropped=(14,))(recording)
        recording.do("respond", LIED_TO, other, fails="DisclosureRefused", match="the session is over")
        return recording.script()

    return play


def earlier_request(name: str) -> dict[str, Any]:
    recording = Recording(name, "masking: the ShareKeysRequest byte for byte again, when MaskedInput was answered")
    recording.to(Phase.SHARE_KEYS)
    recording.step()
    earlier = recording.cast.requests[LIED_TO]
    recording.answer(LIED_TO)
    recording.do("respond", LIED_TO, earlier, fails="DisclosureRefused", match="no place in state Masked")
    return recording.script()


def other_context(text: str, **agreed: Any) -> Scenario:
    """One client was shown another model than the server and all others."""

    def play(name: str) -> dict[str, Any]:
        recording = Recording(name, text, late=True, **agreed)
        recording.to(Phase.MASKED_INPUT)
        recording.bind(OTHER_CONTEXT, LIED_TO)
        recording.do("bind", None, seeded(name, "context"))
        recording.do("respond", LIED_TO, request(recording), fails="DisclosureRefused", match="of another session")
        return recording.script()

    return play


def too_early(name: str) -> dict[str, Any]:
    recording = Recording(name, "masking: the vectors are asked for while the context is to come", late=True)
    recording.to(Phase.MASKED_INPUT)
    recording.do("bind", None, seeded(name, "context"))
    recording.do("respond", LIED_TO, request(recording), fails="LocalProtocolError", match="call bind")
    recording.bind(seeded(name, "context"), *recording.cast.params.cohort)
    return recording.finish()


def second_context(name: str) -> dict[str, Any]:
    recording = Recording(name, "masking: a client that is bound to one context is to be bound to another", late=True)
    recording.bind(seeded(name, "context"))
    recording.do("bind", LIED_TO, OTHER_CONTEXT, fails="LocalProtocolError", match="bound to another context")
    return recording.finish()


# -- masking, active model --------------------------------------------------------------------------------------------


def server_keys(recording: Recording, *, owner: int, signer: int, session: bytes | None = None) -> AdvertiseKeys:
    """Keys of the server's own that pose as a client's."""
    channel, mask = (KeyPair(Secret(seeded("the server's own", what))) for what in ("channel", "mask"))
    key_id = seeded("the server's own", "key id", length=16)
    signature = agreement.sign_advertisement(
        identity_of(signer),
        session=session or recording.cast.params.keys_digest,
        number=owner,
        key_id=key_id,
        channel_key=channel.public,
        mask_key=mask.public,
    )
    return AdvertiseKeys(channel_key=channel.public, mask_key=mask.public, key_id=key_id, signature=signature)


def key_fields(keys: AdvertiseKeys) -> dict[str, bytes]:
    return {name: getattr(keys, name) for name in ("channel_key", "mask_key", "key_id", "signature")}


def beside_the_root(recording: Recording) -> bytes:
    """Keys that the client's own identity signed, in the place of those that stand under the root."""
    keys = server_keys(recording, owner=POSED_AS, signer=POSED_AS)
    return neighbour(POSED_AS, **key_fields(keys))(recording)


def under_a_root_of_its_own(owner: int, signer: int, session: bytes | None = None) -> Forgery:
    """The server's own keys for one client, with the root, session id and proofs that go with them."""

    def forge(recording: Recording) -> bytes:
        cohort, responses = recording.cast.params.cohort, recording.cast.responses
        keys = {number: opened(responses[number], AdvertiseKeys).message for number in cohort}
        keys[owner] = server_keys(recording, owner=owner, signer=signer, session=session)
        leaves = [secrets.key_leaf(number, keys[number].channel_key, keys[number].mask_key) for number in cohort]
        leaves.append(secrets.server_leaf(seeded("the server's own", "leaf")))
        root, proofs = merkle_root(leaves), dict(zip(cohort, inclusion_proofs(leaves), strict=False))
        shown = tuple(
            msgspec.structs.replace(honest, **key_fields(keys[honest.number]), proof=proofs[honest.number])
            for honest in asked(recording).neighbours
        )
        made = session_id(recording.cast.params.keys_digest, root)
        return asks(root=root, neighbours=shown, own_proof=proofs[LIED_TO], session=made)(recording)

    return forge


def wrong_proof(recording: Recording) -> bytes:
    [proof] = [keys.proof for keys in asked(recording).neighbours if keys.number == POSED_AS]
    return neighbour(POSED_AS, proof=flipped(proof, len(proof) - 1))(recording)


def proof_of_another(recording: Recording) -> bytes:
    return asks(own_proof=asked(recording).neighbours[0].proof)(recording)


def bits(recording: Recording, members: Collection[int]) -> bytes:
    return agreement.to_bits(recording.cast.params.cohort, members)


def shows(participants: set[int] | None = None, survivors: set[int] | None = None) -> Forgery:
    """Other sets to sign."""

    def forge(recording: Recording) -> bytes:
        sets = {"participants": participants, "survivors": survivors}
        return asks(**{name: bits(recording, members) for name, members in sets.items() if members})(recording)

    return forge


def session_of(recording: Recording) -> bytes:
    """The session id that keys follow from; from MaskedInput on, messages carry another."""
    session: bytes = vars(recording.cast.server)["_book"].session
    return session


def signed(recording: Recording, signers: Collection[int], sets: Sets, context: bytes | None = None) -> dict[str, Any]:
    """Those clients' signatures of any sets, as an UnmaskRequest carries them: lies can find signers, too."""
    participants, survivors = (bits(recording, members) for members in sets)
    made = (
        agreement.sign_sets(
            identity_of(number),
            session=session_of(recording),
            number=number,
            context=context or recording.cast.params.context,
            participants=participants,
            survivors=survivors,
        )
        for number in signers
    )
    return {"signers": tuple(signers), "signatures": b"".join(made)}


def unmask(signers: Collection[int], sets: Sets, over: Sets | None = None, context: bytes | None = None) -> Forgery:
    """Ask, in whatever phase, to unmask these participants and survivors, or with signatures `over` other ones.

    The signatures are of the session's context unless another is given.
    """

    def forge(recording: Recording) -> bytes:
        participants, survivors = sets
        return framed(
            UnmaskRequest(
                contributors=len(survivors),
                survivors=tuple(sorted(survivors - {LIED_TO})),
                dropped=tuple(sorted(participants - survivors)),
                participant_bits=bits(recording, participants),
                survivor_bits=bits(recording, survivors),
                **signed(recording, signers, over or sets, context),
            ),
            session=opened(request(recording), REQUESTS[recording.cast.server.phase]).session,
        )

    return forge


def set_bits(name: str, members: Collection[int]) -> Forgery:
    """Ask honestly but for one of the sets."""
    return lambda recording: asks(**{name: bits(recording, members)})(recording)


def spare_bit(name: str) -> Forgery:
    """The highest bit of a set of five, which stands for nobody."""
    return lambda recording: asks(**{name: bytes([getattr(asked(recording), name)[0] | 0x80])})(recording)


def one_signer_fewer(recording: Recording) -> bytes:
    honest = asked(recording)
    return asks(signers=honest.signers[:-1], signatures=honest.signatures[:-SIGNATURE_BYTES])(recording)


def stranger_signs(*, replaced: int) -> Forgery:
    """Client 99, on no roster, signs the same sets, in the place of so many witnesses."""

    def forge(recording: Recording) -> bytes:
        honest, everybody = asked(recording), set(recording.cast.params.cohort)
        kept = len(honest.signers) - replaced
        own = signed(recording, (99,), (everybody, everybody))
        return asks(
            signers=(*honest.signers[:kept], *own["signers"]),
            signatures=honest.signatures[: kept * SIGNATURE_BYTES] + own["signatures"],
        )(recording)

    return forge


def signers_exchanged(recording: Recording) -> bytes:
    """The first two signatures, each in the other's place."""
    first, second, rest = (asked(recording).signatures[part] for part in SIGNATURE_PLACES)
    return asks(signatures=second + first + rest)(recording)


def signer_twice(recording: Recording) -> bytes:
    names, twice = bytes([0x93, 10, 11, 12]), bytes([0x93, 10, 11, 11])
    return recoded(request(recording), UnmaskRequest, lambda body: body.replace(names, twice))


def signed_elsewhere(recording: Recording) -> bytes:
    """The same clients' signatures of the same sets, made in another session."""
    elsewhere = Recording("another session", "never written", server=ACTIVE)
    elsewhere.to(Phase.UNMASK)
    return asks(signatures=asked(elsewhere).signatures)(recording)


def one_signature_altered(recording: Recording) -> bytes:
    return asks(signatures=flipped(asked(recording).signatures))(recording)


def unsigned(recording: Recording) -> bytes:
    return asks(signers=(), signatures=b"")(recording)


def stripped(recording: Recording) -> bytes:
    """What an honest-but-curious server would ask."""
    return asks(participant_bits=b"", survivor_bits=b"", signers=(), signatures=b"")(recording)


def two_survivor_sets(name: str) -> dict[str, Any]:
    recording = Recording(name, "active: a second, smaller set of survivors to sign", n=5, server=ACTIVE)
    recording.to(Phase.CONSISTENCY_CHECK)
    recording.answer(LIED_TO)
    smaller = shows(survivors={10, 11, 12, 13})(recording)
    recording.do("respond", LIED_TO, smaller, fails="DisclosureRefused", match="no place in state Agreed")
    return recording.script()


# -- all of them ------------------------------------------------------------------------------------------------------

UNMASK = Phase.UNMASK
SIGNED = Phase.CONSISTENCY_CHECK
FOUR, FIVE = {10, 11, 12, 13}, {10, 11, 12, 13, 14}
OTHERS = (11, 12, 13, 14)
"""Of five witnesses those that the server does not turn to: a quorum."""
HAS_NOT_SIGNED: Silence = {SIGNED: {LIED_TO}}
"""The client is left out in ConsistencyCheck: it has signed no sets itself, and has the quorum's word alone."""

SCENARIOS: dict[str, Scenario] = {
    "plain_bad_session": refused(
        "plain: a request for another session",
        Phase.UPLOAD, another_session, "of another session", suite_name="plain",
    ),
    "masking_bad_trailing_byte": unread(
        "masking: one byte behind a request", Phase.SHARE_KEYS, trailing_byte, "bytes where"
    ),
    "masking_bad_cut_short": unread(
        "masking: a request without its last byte", UNMASK, cut_short, "bytes where"
    ),
    "masking_bad_endless": unread(
        "masking: a header that announces a struct of 2^32 − 1 bytes", Phase.MASKED_INPUT, endless, "exceeds the limit"
    ),
    "masking_bad_encoding": unread(
        "masking: a request in a longer msgpack encoding of the same values",
        Phase.MASKED_INPUT, encoded_longer, "not canonically encoded",
    ),
    "masking_bad_id_twice": unread(
        "masking: UnmaskRequest with survivors 11, 12, 12", UNMASK, named_twice, "ascending"
    ),
    "masking_bad_session_before_keys": refused(
        "masking: AdvertiseKeysRequest with another keys digest in its header",
        Phase.ADVERTISE_KEYS, another_session, "of another session",
    ),
    "masking_bad_session": refused(
        "masking: UnmaskRequest of another session", UNMASK, another_session, "of another session"
    ),
    "masking_bad_context": other_context("masking: MaskedInputRequest to a client that is bound to another context"),
    "active_bad_context": other_context(
        "active: MaskedInputRequest to a client that is bound to another context", server=ACTIVE
    ),
    "masking_bad_context_before_it_is_known": too_early,
    "masking_bad_second_context": second_context,
    "masking_bad_root": refused(
        "masking: a root that the session id does not follow from", Phase.SHARE_KEYS, wrong_root, "of another session"
    ),
    "masking_bad_neighbour": refused(
        "masking: keys of client 99, who is no neighbour",
        Phase.SHARE_KEYS, stranger, "no neighbours in the agreed graph",
    ),
    "masking_bad_neighbour_zero_key": refused(
        "masking: a neighbour's mask key of 32 zero bytes",
        Phase.SHARE_KEYS, neighbour(11, mask_key=bytes(32)), "low order", fails="RemoteProtocolError",
    ),
    "masking_bad_neighbour_low_order_key": refused(
        "masking: a neighbour's channel key of order 4",
        Phase.SHARE_KEYS, neighbour(11, channel_key=LOW_ORDER), "low order", fails="RemoteProtocolError",
    ),
    "masking_bad_sealed_shares": refused(
        "masking: fewer sealed shares open than the threshold", Phase.MASKED_INPUT, sealed_anew, "1 shares open"
    ),
    "masking_bad_participants": refused(
        "masking: three participants, where the client sees three neighbours and itself",
        Phase.MASKED_INPUT, asks(participants=3), "fewer than the 3 neighbours and the client itself",
    ),
    "masking_bad_order": refused(
        "masking: UnmaskRequest in the place of MaskedInputRequest",
        Phase.MASKED_INPUT, unmask_before_upload, "no place in state Shared",
    ),
    "masking_bad_earlier_request": earlier_request,
    "masking_bad_not_disjoint": refused(
        "masking: client 13 among survivors and dropped: both its shares would open its vector",
        UNMASK, asks(dropped=(13,)), "survivors and as dropped",
    ),
    "masking_bad_self_dropped": refused(
        "masking: the client itself among the dropped", UNMASK, asks(dropped=(10,)), "who is being asked"
    ),
    "masking_bad_self_survivor": refused(
        "masking: the client itself among its surviving neighbours",
        UNMASK, asks(survivors=(10, 11, 12, 13)), "its own surviving neighbour",
    ),
    "masking_bad_unknown_dropped": refused(
        "masking: client 99, unknown, among the dropped", UNMASK, asks(dropped=(99,)), r"\[99\] were not masked with"
    ),
    "masking_bad_unknown_survivor": refused(
        "masking: client 99, unknown, among the survivors",
        UNMASK, asks(survivors=(11, 12, 13, 99)), r"\[99\] were not masked with",
    ),
    "masking_bad_dropped_before": refused(
        "masking: client 14, which never shared keys, among the dropped",
        UNMASK, asks(dropped=(14,)), r"\[14\] were not masked with", n=5, silent={Phase.SHARE_KEYS: {14}},
    ),
    "masking_bad_left_out": refused(
        "masking: client 13 neither survived nor dropped",
        UNMASK, asks(contributors=3, survivors=(11, 12)), "neither survived nor dropped",
    ),
    "masking_bad_too_few_survivors": refused(
        "masking: two surviving neighbours where the threshold is three",
        UNMASK, asks(contributors=3, survivors=(11, 12), dropped=(13, 14)), "fewer than the threshold of 3",
        n=5, threshold=3,
    ),
    "masking_bad_too_few_contributors": refused(
        "masking: three contributors where the minimum is four",
        UNMASK, asks(contributors=3, survivors=(11, 12), dropped=(13, 14)), "minimum of 4", n=5, minimum=4,
    ),
    "masking_bad_contributors": refused(
        "masking: more contributors than the cohort has clients", UNMASK, asks(contributors=5), "in a cohort of 4"
    ),
    "masking_bad_second_unmask": second_unmask(
        "masking: a second UnmaskRequest, another one, when the first was answered"
    ),
    "kahe_bad_request_suite": unread(
        "kahe: a request that calls itself one of masking",
        Phase.MASKED_INPUT, of_another_suite, "a request of MASKING", suite_name="kahe",
    ),
    "kahe_bad_second_unmask": second_unmask(
        "kahe: a second UnmaskRequest, about another set: the difference of two sums of keys would be one client's",
        suite_name="kahe",
    ),
    "kahe_active_bad_unsigned": refused(
        "kahe, active: UnmaskRequest without anybody's signature of the sets",
        UNMASK, unsigned, "0 of the witnesses signed", server=ACTIVE, suite_name="kahe",
    ),
    "active_bad_key_beside_the_root": refused(
        "active: other keys for client 11, which its own identity signed, under the same root",
        Phase.SHARE_KEYS, beside_the_root, "not included under the root", fails="RemoteProtocolError", server=ACTIVE,
    ),
    "active_bad_proof": refused(
        "active: one bit of a neighbour's inclusion proof",
        Phase.SHARE_KEYS, wrong_proof, "not included under the root", fails="RemoteProtocolError", server=ACTIVE,
    ),
    "active_bad_own_proof": refused(
        "active: another client's inclusion proof for the client's own keys",
        Phase.SHARE_KEYS, proof_of_another, "not included under the root", fails="RemoteProtocolError", server=ACTIVE,
    ),
    "active_bad_own_keys": refused(
        "active: the client's own keys replaced, under a root, session id and proofs that go with it",
        Phase.SHARE_KEYS, under_a_root_of_its_own(LIED_TO, LIED_TO), "not included under the root",
        fails="RemoteProtocolError", server=ACTIVE,
    ),
    "active_bad_sybil": refused(
        "active: the server's keys for client 11, which the server's accomplice 13 signed, under a fitting root",
        Phase.SHARE_KEYS, under_a_root_of_its_own(POSED_AS, ACCOMPLICE), "client 11 has not signed",
        fails="RemoteProtocolError", server=ACTIVE,
    ),
    "active_bad_keys_of_another_session": refused(
        "active: keys for client 11 that its identity signed for another session, under a fitting root",
        Phase.SHARE_KEYS, under_a_root_of_its_own(POSED_AS, POSED_AS, seeded("another session")),
        "client 11 has not signed", fails="RemoteProtocolError", server=ACTIVE,
    ),
    "active_bad_signature_stripped": refused(
        "active: a neighbour's keys without their signature",
        Phase.SHARE_KEYS, neighbour(POSED_AS, key_id=b"", signature=b""), "client 11 has not signed",
        fails="RemoteProtocolError", server=ACTIVE,
    ),
    "active_bad_participant_set": refused(
        "active: a set of participants without client 13, whom the client masked with",
        SIGNED, shows(participants={10, 11, 12}, survivors={10, 11, 12}), "differ from those that this client",
        server=ACTIVE,
    ),
    "active_bad_survivor_set": refused(
        "active: a set of survivors without the client itself, who is asked to sign it",
        SIGNED, shows(survivors={11, 12, 13}), "the client itself, whose vector was taken", server=ACTIVE,
    ),
    "active_bad_second_survivor_set": two_survivor_sets,
    "active_bad_spare_bit": refused(
        "active: a set of survivors with a bit beyond the five of the cohort",
        SIGNED, spare_bit("survivors"), "does not fit the cohort", fails="RemoteProtocolError", n=5, server=ACTIVE,
    ),
    "active_bad_order": refused(
        "active: UnmaskRequest with a quorum's signatures in the place of MaskedInputRequest",
        Phase.MASKED_INPUT, unmask(OTHERS, (FIVE, FIVE)), "no place in state Shared", n=5, server=ACTIVE,
    ),
    "active_bad_unmask_too_early": refused(
        "active: UnmaskRequest in the place of ConsistencyRequest, when two witnesses have signed where three must",
        SIGNED, unmask((11, 12), (FOUR, FOUR)), "2 of the witnesses signed", server=ACTIVE,
    ),
    "active_bad_unsigned": refused(
        "active: UnmaskRequest without anybody's signature of the sets",
        UNMASK, unsigned, "0 of the witnesses signed", server=ACTIVE,
    ),
    "active_bad_unsigned_to_a_client_that_signed_nothing": refused(
        "active: UnmaskRequest without anybody's signature, to a witness that was not asked to sign",
        UNMASK, unsigned, "0 of the witnesses signed", n=5, silent=HAS_NOT_SIGNED, server=ACTIVE,
    ),
    "active_bad_stripped": refused(
        "active: UnmaskRequest without sets and signatures, as an honest-but-curious server sends it, to a witness",
        UNMASK, stripped, "differs from the sets that this client signed", server=ACTIVE,
    ),
    "active_bad_stripped_to_a_client_that_signed_nothing": refused(
        "active: UnmaskRequest without sets and signatures, to a witness that was not asked to sign",
        UNMASK, stripped, "differ from those that this client",
        n=5, silent=HAS_NOT_SIGNED, server=ACTIVE,
    ),
    "active_bad_one_signature_fewer": refused(
        "active: two signatures of the sets where a quorum is three", UNMASK, one_signer_fewer,
        "2 of the witnesses signed", server=ACTIVE,
    ),
    "active_bad_one_signature": refused(
        "active: one of the three signatures that are needed does not hold",
        UNMASK, one_signature_altered, "2 of the witnesses signed", server=ACTIVE,
    ),
    "active_bad_signatures_exchanged": refused(
        "active: two witnesses' signatures of the sets, each in the other's place",
        UNMASK, signers_exchanged, "1 of the witnesses signed", server=ACTIVE,
    ),
    "active_bad_signer_twice": unread(
        "active: UnmaskRequest with signers 10, 11, 11", UNMASK, signer_twice, "signers .*ascending", server=ACTIVE
    ),
    "active_bad_signer_outside": refused(
        "active: client 99, on no roster, in the place of one of the witnesses that signed",
        UNMASK, stranger_signs(replaced=1), r"\[99\], who are no witnesses", server=ACTIVE,
    ),
    "active_bad_signer_outside_beside_a_quorum": refused(
        "active: client 99, on no roster, beside a quorum",
        UNMASK, stranger_signs(replaced=0), r"\[99\], who are no witnesses", server=ACTIVE,
    ),
    "active_bad_signatures_of_another_session": refused(
        "active: UnmaskRequest with the signatures that the same clients gave to the same sets in another session",
        UNMASK, signed_elsewhere, "0 of the witnesses signed", server=ACTIVE,
    ),
    "active_bad_signatures_of_another_context": refused(
        "active: UnmaskRequest with a quorum's signatures of the same sets under another context, as shown to others",
        UNMASK, unmask(OTHERS, (FIVE, FIVE), context=OTHER_CONTEXT), "0 of the witnesses signed",
        n=5, silent=HAS_NOT_SIGNED, server=ACTIVE,
    ),
    "active_bad_signatures_of_other_survivors": refused(
        "active: UnmaskRequest with a quorum's signatures of the same participants and fewer survivors",
        UNMASK, unmask(OTHERS, (FIVE, FIVE), over=(FIVE, FOUR)), "0 of the witnesses signed", n=5, server=ACTIVE,
    ),
    "active_bad_signatures_of_other_participants": refused(
        "active: UnmaskRequest with a quorum's signatures of the same survivors and fewer participants",
        UNMASK, unmask((10, 11, 12, 13), (FIVE, FOUR), over=(FOUR, FOUR)), "0 of the witnesses signed",
        n=5, silent={Phase.MASKED_INPUT: {14}}, server=ACTIVE,
    ),
    "active_bad_quorum_of_two_sets": refused(
        "active: UnmaskRequest to a witness about other sets than it signed, although a quorum signed those",
        UNMASK, unmask(OTHERS, (FIVE, FOUR)), "differs from the sets that this client signed", n=5, server=ACTIVE,
    ),
    "active_bad_participant_bits": refused(
        "active: UnmaskRequest with other participants than the witness signed, all else honest",
        UNMASK, set_bits("participant_bits", FOUR), "differs from the sets that this client signed",
        n=5, server=ACTIVE,
    ),
    "active_bad_survivor_bits": refused(
        "active: UnmaskRequest with other survivors than the witness signed, all else honest",
        UNMASK, set_bits("survivor_bits", FOUR), "differs from the sets that this client signed", n=5, server=ACTIVE,
    ),
    "active_bad_survivor_bits_to_a_client_that_signed_nothing": refused(
        "active: UnmaskRequest with survivors that differ from those it asks about, to a witness that was not asked",
        UNMASK, set_bits("survivor_bits", FOUR), "differs from the set of survivors",
        n=5, silent=HAS_NOT_SIGNED, server=ACTIVE,
    ),
    "active_bad_spare_bit_in_unmask": refused(
        "active: UnmaskRequest with participants that have a bit beyond the five of the cohort",
        UNMASK, spare_bit("participant_bits"), "differ from those that this client",
        n=5, silent=HAS_NOT_SIGNED, server=ACTIVE,
    ),
    "active_bad_quorum_of_other_participants": refused(
        "active: a quorum signed participants without client 14, whom the client masked with",
        UNMASK, unmask(OTHERS, (FOUR, FOUR)), "differ from those that this client",
        n=5, silent=HAS_NOT_SIGNED, server=ACTIVE,
    ),
    "active_bad_quorum_without_the_client": refused(
        "active: a quorum signed survivors without the client itself, who is asked to unmask them",
        UNMASK, unmask(OTHERS, (FIVE, set(OTHERS))), "the client itself, whose vector was taken",
        n=5, silent=HAS_NOT_SIGNED, server=ACTIVE,
    ),
    "active_bad_quorum_of_too_few": refused(
        "active: a quorum signed three survivors of five: two neighbours where the threshold is three",
        UNMASK, unmask(OTHERS, (FIVE, {10, 11, 12})), "fewer than the threshold of 3",
        n=5, silent=HAS_NOT_SIGNED, server=ACTIVE,
    ),
    "active_bad_other_survivors": refused(
        "active: UnmaskRequest about a set of survivors other than the signed one",
        UNMASK, asks(contributors=4, survivors=(11, 12, 13), dropped=(14,)), "differs from the set of survivors",
        n=5, server=ACTIVE,
    ),
}  # fmt: skip
