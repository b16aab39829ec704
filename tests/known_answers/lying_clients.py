"""Sessions in which a client lies to the server, which must refuse at that step, and nowhere else.

The sender of what is not as agreed counts as silent from there on, and the session ends in the sum of the others; if
it could not be read, the honest response may still come. Or too few are left, and nothing is released
(`then: nothing`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from known_answers import recomputed, reference_kahe
from known_answers.lying_server import (
    ACCOMPLICE,
    ACTIVE,
    LOW_ORDER,
    Forgery,
    Scenario,
    Silence,
    key_fields,
    server_keys,
    session_of,
)
from known_answers.recording import Recording, altered, flipped, identity_of, long_form, of_suite, opened
from privfl import Phase
from privfl.kahe.client import KEY_BYTES
from privfl.masking import agreement
from privfl.masking.messages import (
    CONFIRMATION_BYTES,
    SEALED_BYTES,
    AdvertiseKeys,
    ConsistencyCheck,
    DroppedShare,
    MaskedInput,
    ShareKeys,
    SurvivorShare,
    Unmask,
)
from privfl.params import WireForm
from privfl.plain.messages import Upload
from privfl.wire import Message, SuiteCode

LIAR = 11

RESPONSES: dict[Phase, type[Message]] = {
    Phase.UPLOAD: Upload,
    Phase.ADVERTISE_KEYS: AdvertiseKeys,
    Phase.SHARE_KEYS: ShareKeys,
    Phase.MASKED_INPUT: MaskedInput,
    Phase.CONSISTENCY_CHECK: ConsistencyCheck,
    Phase.UNMASK: Unmask,
}


def scripts() -> dict[str, dict[str, Any]]:
    """All scripts in which a client lies, or too many vanish."""
    return {name: play(name) for name, play in SCENARIOS.items()}


def left_out(
    text: str,
    phase: Phase,
    forge: Forgery,
    match: str,
    *,
    fails: str = "RemoteProtocolError",
    silent: Silence | None = None,
    **agreed: Any,
) -> Scenario:
    """The server refuses; the sender is silent from there on, and the session ends in a sum."""

    def play(name: str) -> dict[str, Any]:
        recording = Recording(name, text, **agreed)
        recording.to(phase, silent=silent)
        recording.answer(LIAR)
        recording.do("receive", LIAR, forge(recording), fails=fails, match=match)
        return recording.finish(silent={LIAR})

    return play


def sent_again(text: str, phase: Phase, forge: Forgery, match: str, **agreed: Any) -> Scenario:
    """The server cannot read it; the honest response comes after all, and the session ends in everybody's sum."""

    def play(name: str) -> dict[str, Any]:
        recording = Recording(name, text, **agreed)
        recording.to(phase)
        recording.answer(LIAR)
        recording.do("receive", LIAR, forge(recording), fails="DecodeError", match=match)
        recording.do("receive", LIAR)
        return recording.finish()

    return play


def aborted(
    text: str, match: str, *, at: Phase, silent: Silence, lies: dict[Phase, Forgery] | None = None, **agreed: Any
) -> Scenario:
    """Lies that nobody can see at once, or too many vanish: closing that phase ends the round."""

    def play(name: str) -> dict[str, Any]:
        recording = Recording(name, text, **agreed)
        while (now := recording.cast.server.phase) is not at:
            lie(recording, now)
            recording.step(silent=silent.get(now, ()))
        lie(recording, now)
        recording.answers(silent=silent.get(now, ()))
        recording.do("advance", fails="RoundAborted", match=match)
        return recording.script()

    def lie(recording: Recording, now: Phase) -> None:
        if lies and now in lies:
            recording.answer(LIAR)
            recording.do("receive", LIAR, lies[now](recording))

    return play


# -- forgeries --------------------------------------------------------------------------------------------------------


def told(recording: Recording) -> Any:
    """The liar's honest response, taken apart."""
    return opened(recording.cast.responses[LIAR], RESPONSES[recording.cast.server.phase])


def says(**fields: Any) -> Forgery:
    """Answer honestly but for these fields; `tail` is the vector."""
    return lambda recording: altered(recording.cast.responses[LIAR], RESPONSES[recording.cast.server.phase], **fields)


def trailing_byte(recording: Recording) -> bytes:
    return recording.cast.responses[LIAR] + b"\0"


def encoded_longer(recording: Recording) -> bytes:
    return long_form(recording.cast.responses[LIAR], RESPONSES[recording.cast.server.phase])


def of_another_client(recording: Recording) -> bytes:
    recording.answer(12)
    return recording.cast.responses[12]


def of_another_session(recording: Recording) -> bytes:
    return says(session=flipped(told(recording).session))(recording)


def vector_of(words: int) -> Forgery:
    """A vector of another length."""
    return lambda recording: says(tail=(told(recording).tail + bytes(64))[: 4 * words])(recording)


def out_of_bound(recording: Recording) -> bytes:
    words = np.frombuffer(told(recording).tail, "<i4").copy()
    words[-1] = recording.cast.params.vector.bound + 1
    return says(tail=words.tobytes())(recording)


def far_out_of_range(recording: Recording) -> bytes:
    """2^30 in the last coordinate, under masks that show nothing of it."""
    tail = told(recording).tail
    return says(tail=tail[:-1] + bytes([tail[-1] ^ 0x40]))(recording)


def padding(recording: Recording) -> bytes:
    """The highest bit of the last word of a packed vector of 8 coordinates, which carries none of them."""
    tail = told(recording).tail
    return says(tail=tail[:-1] + bytes([tail[-1] | 0x80]))(recording)


def fewer_peers(recording: Recording) -> bytes:
    honest = told(recording).message
    return says(
        peers=honest.peers[1:],
        sealed=honest.sealed[SEALED_BYTES:],
        confirmations=honest.confirmations[CONFIRMATION_BYTES:],
    )(recording)


def wrong_self_seed(recording: Recording) -> bytes:
    return says(self_seed=flipped(told(recording).message.self_seed))(recording)


def entries(change: Callable[[Any], Any]) -> Forgery:
    """Other entries in Unmask."""
    return lambda recording: says(entries=tuple(map(change, told(recording).message.entries)))(recording)


def wrong_pair_seed(entry: Any) -> Any:
    if not isinstance(entry, DroppedShare):
        return entry
    return msgspec.structs.replace(entry, pair_seed=flipped(entry.pair_seed))


def as_survivor(entry: Any) -> Any:
    return SurvivorShare(number=entry.number, share=entry.share)


def wrong_share(entry: Any) -> Any:
    return msgspec.structs.replace(entry, share=flipped(entry.share))


def signed_by_another(recording: Recording) -> bytes:
    """Keys that client 13 signed for the liar."""
    return says(**key_fields(server_keys(recording, owner=LIAR, signer=ACCOMPLICE)))(recording)


def other_survivors(recording: Recording) -> bytes:
    """A signature of a smaller set of survivors than was shown."""
    cohort = recording.cast.params.cohort
    signature = agreement.sign_sets(
        identity_of(LIAR),
        session=session_of(recording),
        number=LIAR,
        context=recording.cast.params.context,
        participants=agreement.to_bits(cohort, cohort),
        survivors=agreement.to_bits(cohort, cohort[:-1]),
    )
    return says(signature=signature)(recording)


# -- forgeries of kahe ------------------------------------------------------------------------------------------------


def tail_of(change: Callable[[bytes, bytes], bytes]) -> Forgery:
    """An upload made anew from masked key and ciphertext."""

    def forge(recording: Recording) -> bytes:
        tail = told(recording).tail
        return says(tail=change(tail[:KEY_BYTES], tail[KEY_BYTES:]))(recording)

    return forge


def added(place: int, number: int) -> Callable[[bytes], bytes]:
    """Words with a number added to one of them."""

    def change(tail: bytes) -> bytes:
        words = np.frombuffer(tail, "<u4")
        difference = np.zeros_like(words)
        difference[place] = number
        return (words + difference).tobytes()

    return change


def of_another_suite(recording: Recording) -> bytes:
    """The liar's response under the number of masking."""
    return of_suite(recording.cast.responses[LIAR], SuiteCode.MASKING)


def encrypted_elsewhere(recording: Recording) -> bytes:
    """The liar's vector under its true key, and under another session's public polynomials."""
    elsewhere = recomputed.encrypted(recording.script(), LIAR, flipped(told(recording).session)).ciphertext
    return tail_of(lambda key, _: key + reference_kahe.pack(elsewhere, 32))(recording)


# -- all of them ------------------------------------------------------------------------------------------------------

DROPPED = {Phase.MASKED_INPUT: {12}}
HALF_THE_ROOM = 1100
"""A bound under which the sums of four clients take half of what 32 bits hold: the other half shows that they are none.
"""

SCENARIOS: dict[str, Scenario] = {
    "plain_bad_bound": left_out(
        "plain: a coordinate one beyond the bound", Phase.UPLOAD, out_of_bound, "outside its bound", suite_name="plain"
    ),
    "plain_bad_length": left_out(
        "plain: a vector of nine coordinates where eight are agreed",
        Phase.UPLOAD, vector_of(9), "bytes where", fails="DecodeError", suite_name="plain",
    ),
    "masking_bad_response_trailing_byte": sent_again(
        "masking: one byte behind a response", Phase.SHARE_KEYS, trailing_byte, "bytes where"
    ),
    "masking_bad_response_encoding": sent_again(
        "masking: a response in a longer msgpack encoding of the same values",
        Phase.UNMASK, encoded_longer, "not canonically encoded",
    ),
    "masking_bad_response_session": sent_again(
        "masking: a response to another session", Phase.MASKED_INPUT, of_another_session, "another session"
    ),
    "masking_bad_response_sender": sent_again(
        "masking: client 12's response delivered as client 11's",
        Phase.ADVERTISE_KEYS, of_another_client, "message of client 12",
    ),
    "masking_bad_zero_key": left_out(
        "masking: a channel key of 32 zero bytes is advertised",
        Phase.ADVERTISE_KEYS, says(channel_key=bytes(32)), "low order",
    ),
    "masking_bad_low_order_key": left_out(
        "masking: a mask key of order 4 is advertised", Phase.ADVERTISE_KEYS, says(mask_key=LOW_ORDER), "low order"
    ),
    "masking_bad_peers": left_out(
        "masking: shares for fewer peers than were named", Phase.SHARE_KEYS, fewer_peers, "other peers than were named"
    ),
    "masking_bad_vector_too_short": left_out(
        "masking: a masked vector of seven coordinates where eight are agreed",
        Phase.MASKED_INPUT, vector_of(7), "bytes where", fails="DecodeError",
    ),
    "masking_bad_vector_too_long": left_out(
        "masking: a masked vector of nine coordinates where eight are agreed",
        Phase.MASKED_INPUT, vector_of(9), "bytes where", fails="DecodeError",
    ),
    "masking_bad_padding": left_out(
        "masking: a packed vector with a bit set behind its last coordinate",
        Phase.MASKED_INPUT, padding, "padding", fails="DecodeError", wire=WireForm.PACKED,
    ),
    "masking_bad_self_mask_seed": left_out(
        "masking: a self-mask seed other than the committed one; the true one is rebuilt from shares",
        Phase.UNMASK, wrong_self_seed, "not the committed one",
    ),
    "masking_bad_pair_seed": left_out(
        "masking: a seed with dropped client 12 other than the confirmed one; it is derived from 12's rebuilt key",
        Phase.UNMASK, entries(wrong_pair_seed), "not the confirmed one", n=5, silent=DROPPED,
    ),
    "masking_bad_entries": left_out(
        "masking: an entry that calls dropped client 12 a survivor",
        Phase.UNMASK, entries(as_survivor), "entries for other peers", n=5, silent=DROPPED,
    ),
    "masking_bad_too_many_dropped": aborted(
        "masking: two of four drop before MaskedInput where three contributors are the minimum",
        "2 clients are left", at=Phase.MASKED_INPUT, silent={Phase.MASKED_INPUT: {12, 13}},
    ),
    "masking_bad_too_few_shares": aborted(
        "masking: two vanish after their uploads, and the three who answer hold one wrong share of each",
        "contradict", at=Phase.UNMASK, silent={Phase.UNMASK: {12, 13}}, lies={Phase.UNMASK: entries(wrong_share)},
        n=5, threshold=3,
    ),
    "masking_bad_out_of_range": aborted(
        "masking: a vector far out of its bound, unseen under its masks: the opened sum cannot be one",
        "out of range", at=Phase.UNMASK, silent={}, lies={Phase.MASKED_INPUT: far_out_of_range},
    ),
    "kahe_bad_response_suite": sent_again(
        "kahe: an upload that calls itself one of masking",
        Phase.MASKED_INPUT, of_another_suite, "delivered a MASKING message", suite_name="kahe",
    ),
    "kahe_bad_response_session": left_out(
        "kahe: an upload to another session",
        Phase.MASKED_INPUT, of_another_session, "another session", fails="DecodeError", suite_name="kahe",
    ),
    "kahe_bad_ciphertext_too_short": left_out(
        "kahe: a ciphertext of seven coordinates where eight are agreed",
        Phase.MASKED_INPUT, tail_of(lambda key, words: key + words[:-4]), "bytes where",
        fails="DecodeError", suite_name="kahe",
    ),
    "kahe_bad_ciphertext_too_long": left_out(
        "kahe: a ciphertext of nine coordinates where eight are agreed",
        Phase.MASKED_INPUT, tail_of(lambda key, words: key + words + bytes(4)), "bytes where",
        fails="DecodeError", suite_name="kahe",
    ),
    "kahe_bad_padding": left_out(
        "kahe: a packed ciphertext with a bit set behind its last coordinate",
        Phase.MASKED_INPUT, padding, "padding", fails="DecodeError", suite_name="kahe", wire=WireForm.PACKED,
    ),
    "kahe_bad_key_out_of_range": aborted(
        "kahe: a masked key with 2^30 added to its first coordinate: the opened sum of keys cannot be one",
        "sum of keys is out of range", at=Phase.UNMASK, silent={},
        lies={Phase.MASKED_INPUT: tail_of(lambda key, words: added(0, 2**30)(key) + words)}, suite_name="kahe",
    ),
    "kahe_bad_key": aborted(
        "kahe: a masked key with one added to a coordinate, within range, but not the key that was encrypted under",
        "sent another's key", at=Phase.UNMASK, silent={},
        lies={Phase.MASKED_INPUT: tail_of(lambda key, words: added(5, 1)(key) + words)},
        suite_name="kahe", bound=HALF_THE_ROOM,
    ),
    "kahe_bad_ciphertext_of_another_session": aborted(
        "kahe: a ciphertext under the public polynomials of another session, unseen until the sum is opened",
        "opened sum is out of range", at=Phase.UNMASK, silent={}, lies={Phase.MASKED_INPUT: encrypted_elsewhere},
        suite_name="kahe", bound=HALF_THE_ROOM,
    ),
    "kahe_bad_out_of_range": aborted(
        "kahe: a ciphertext of a vector far out of its bound, unseen until the sum is opened",
        "opened sum is out of range", at=Phase.UNMASK, silent={},
        lies={Phase.MASKED_INPUT: tail_of(lambda key, words: key + added(-1, 2**31)(words))},
        suite_name="kahe", bound=HALF_THE_ROOM,
    ),
    "active_bad_unsigned_keys": left_out(
        "active: keys are advertised without a signature",
        Phase.ADVERTISE_KEYS, says(key_id=b"", signature=b""), "has not signed", n=5, server=ACTIVE,
    ),
    "active_bad_signer": left_out(
        "active: keys are advertised that another client signed",
        Phase.ADVERTISE_KEYS, signed_by_another, "has not signed", n=5, server=ACTIVE,
    ),
    "active_bad_signature": left_out(
        "active: a signature of other survivors than were shown; the liar's vector counts all the same",
        Phase.CONSISTENCY_CHECK, other_survivors, "does not hold", n=5, server=ACTIVE,
    ),
    "active_bad_too_few_signatures": aborted(
        "active: two of four witnesses sign nothing: nobody would find a quorum of three",
        "2 witnesses signed who survived and 3 are needed",
        at=Phase.CONSISTENCY_CHECK, silent={Phase.CONSISTENCY_CHECK: {12, 13}}, server=ACTIVE,
    ),
}  # fmt: skip
