"""Messages as bytes: one encoding each, exact sizes, and nothing but DecodeError for whatever else arrives."""

import copy
import itertools
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

import privfl
from privfl.errors import DecodeError, RemoteProtocolError
from privfl.masking import messages as masking
from privfl.plain import messages as plain
from privfl.wire import (
    CONTROL_BODY_LIMIT_BYTES,
    HEADER_BYTES,
    SERVER,
    Message,
    OutgoingFrame,
    PartyId,
    Role,
    SecretMessage,
    SuiteCode,
    client,
    decode_message,
    encode_message,
    envelope_bytes,
    message_type,
    open_envelope,
    require_ascending,
)

SESSION = bytes(range(32))
LIMIT = 2**16
NUMBERS = st.integers(0, 2**32 - 1) | st.integers(0, 300)
COLUMNS = st.lists(NUMBERS, max_size=6, unique=True).map(lambda numbers: tuple(sorted(numbers)))
BYTES_16 = st.binary(min_size=16, max_size=16)
BYTES_32 = st.binary(min_size=32, max_size=32)
SHARES = BYTES_32 | st.just(b"")
SIGNED = st.just({}) | st.builds(
    lambda key_id, signature: {"key_id": key_id, "signature": signature},
    BYTES_16,
    st.binary(min_size=64, max_size=64),
)
SETS = st.binary(max_size=300)
PROOFS = st.just(b"") | st.binary(max_size=640) | st.just(bytes(640))
ADVERTISED = st.builds(
    lambda signed, **keys: masking.AdvertiseKeys(**keys, **signed), SIGNED, channel_key=BYTES_32, mask_key=BYTES_32
)
NEIGHBOURS = st.builds(
    lambda signed, **keys: masking.NeighbourKeys(**keys, **signed),
    SIGNED,
    number=NUMBERS,
    channel_key=BYTES_32,
    mask_key=BYTES_32,
    proof=PROOFS,
)
SURVIVOR_SHARES = st.builds(masking.SurvivorShare, number=NUMBERS, share=SHARES)
DROPPED_SHARES = st.builds(masking.DroppedShare, number=NUMBERS, share=SHARES, pair_seed=BYTES_16)


def records(strategy):
    """Make tuples of records in strictly ascending order of their numbers."""
    by_number = st.lists(strategy, max_size=4, unique_by=lambda record: record.number)
    return by_number.map(lambda them: tuple(sorted(them, key=lambda record: record.number)))


@st.composite
def with_columns(draw, kind, *, confirmed, **fields):
    """Make a message whose columns of records fit its peers."""
    peers = draw(COLUMNS)
    columns = {"peers": peers, "sealed": draw(st.binary(min_size=80 * len(peers), max_size=80 * len(peers)))}
    if confirmed:
        columns["confirmations"] = draw(st.binary(min_size=16 * len(peers), max_size=16 * len(peers)))
    return kind(**columns, **{name: draw(strategy) for name, strategy in fields.items()})


@st.composite
def unmask_requests(draw):
    signers = draw(COLUMNS)
    return masking.UnmaskRequest(
        contributors=draw(NUMBERS),
        survivors=draw(COLUMNS),
        dropped=draw(COLUMNS),
        participant_bits=draw(SETS),
        survivor_bits=draw(SETS),
        signers=signers,
        signatures=draw(st.binary(min_size=64 * len(signers), max_size=64 * len(signers))),
    )


MESSAGES = {
    plain.UploadRequest: st.builds(plain.UploadRequest),
    plain.Upload: st.builds(plain.Upload),
    masking.AdvertiseKeysRequest: st.builds(masking.AdvertiseKeysRequest),
    masking.AdvertiseKeys: ADVERTISED,
    masking.NeighbourKeys: NEIGHBOURS,
    masking.ShareKeysRequest: st.builds(
        masking.ShareKeysRequest, root=BYTES_32, neighbours=records(NEIGHBOURS), own_proof=PROOFS
    ),
    masking.ShareKeys: with_columns(masking.ShareKeys, confirmed=True, commitment=BYTES_32),
    masking.MaskedInputRequest: with_columns(
        masking.MaskedInputRequest, confirmed=False, participants=NUMBERS, participant_bits=SETS
    ),
    masking.MaskedInput: st.builds(masking.MaskedInput),
    masking.ConsistencyRequest: st.builds(masking.ConsistencyRequest, participants=SETS, survivors=SETS),
    masking.ConsistencyCheck: st.builds(masking.ConsistencyCheck, signature=st.binary(min_size=64, max_size=64)),
    masking.UnmaskRequest: unmask_requests(),
    masking.SurvivorShare: SURVIVOR_SHARES,
    masking.DroppedShare: DROPPED_SHARES,
    masking.Unmask: st.builds(
        masking.Unmask, self_seed=BYTES_32, entries=records(st.one_of(SURVIVOR_SHARES, DROPPED_SHARES))
    ),
}
ANY_MESSAGE = st.one_of(*MESSAGES.values())
SENDERS = st.builds(PartyId, st.sampled_from([Role.CLIENT, Role.COMMITTEE]), NUMBERS) | st.just(SERVER)
TAILS = {message_type(kind): 0 for kind in MESSAGES}

KEYS = masking.AdvertiseKeys(channel_key=b"c" * 32, mask_key=b"m" * 32)
NEIGHBOUR = masking.NeighbourKeys(number=70_000, channel_key=b"c" * 32, mask_key=b"m" * 32)
KEY_ID, SIGNATURE = b"i" * 16, b"g" * 64
SIGNED_KEYS = masking.AdvertiseKeys(channel_key=b"c" * 32, mask_key=b"m" * 32, key_id=KEY_ID, signature=SIGNATURE)
SIGNED_NEIGHBOUR = masking.NeighbourKeys(
    number=70_000, channel_key=b"c" * 32, mask_key=b"m" * 32, key_id=KEY_ID, signature=SIGNATURE, proof=b"p" * 96
)
EXAMPLES = [
    plain.Upload(),
    KEYS,
    SIGNED_KEYS,
    masking.ShareKeysRequest(root=SESSION, neighbours=(NEIGHBOUR,)),
    masking.ShareKeysRequest(root=SESSION, neighbours=(SIGNED_NEIGHBOUR,), own_proof=b"o" * 64),
    masking.ConsistencyRequest(participants=b"\xff\x01", survivors=b"\x7f\x01"),
    masking.ConsistencyCheck(signature=SIGNATURE),
    masking.UnmaskRequest(
        contributors=2,
        survivors=(1, 2),
        dropped=(),
        participant_bits=b"\xff\x01",
        survivor_bits=b"\x7f\x01",
        signers=(1, 300),
        signatures=b"g" * 128,
    ),
    masking.ShareKeys(commitment=SESSION, peers=(3, 300), sealed=b"s" * 160, confirmations=b"k" * 32),
    masking.MaskedInputRequest(participants=9, peers=(0, 2**32 - 1), sealed=b"s" * 160),
    masking.MaskedInputRequest(participants=9, peers=(), sealed=b"", participant_bits=b"\xff\x01"),
    masking.UnmaskRequest(contributors=200, survivors=(1, 2, 300), dropped=(4,)),
    masking.Unmask(
        self_seed=SESSION,
        entries=(
            masking.SurvivorShare(number=1, share=SESSION),
            masking.DroppedShare(number=2, share=b"", pair_seed=bytes(16)),
        ),
    ),
]
each_example = pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)


def frame_of(message, *, sender=SERVER, tail_bytes=0) -> bytes:
    frame = encode_message(message, suite=SuiteCode.MASKING, session=SESSION, sender=sender, tail_bytes=tail_bytes)
    return frame.finish()


def frame_around(body: bytes, kind) -> bytes:
    """Frame any bytes as if they were the struct of a message."""
    return OutgoingFrame(
        suite=SuiteCode.MASKING, type_number=message_type(kind), sender=client(7), session=SESSION, body=body
    ).finish()


def body_of(message) -> bytes:
    raw = frame_of(message)
    return bytes(open_envelope(raw, body_limit_bytes=LIMIT, tail_bytes_of=TAILS).body)


def read(raw, kind):
    """Do what a session does with bytes: open the frame, decode the struct."""
    envelope = open_envelope(raw, body_limit_bytes=LIMIT, tail_bytes_of=TAILS)
    return envelope, decode_message(envelope, kind)


def body_from(*fields) -> bytes:
    """Encode fields that the message class itself would not take."""
    return msgspec.msgpack.encode(fields)


def refused(body: bytes, kind) -> str:
    with pytest.raises(DecodeError) as refusal:
        read(frame_around(body, kind), kind)
    assert refusal.value.peer == client(7)
    return str(refusal.value)


# Round trips and layout


def test_every_message_class_is_covered_here_and_type_numbers_are_distinct():
    defined = {
        kind
        for module in (plain, masking)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Message) and kind not in {Message, SecretMessage}
    }
    assert defined == set(MESSAGES)
    assert len(TAILS) == len(MESSAGES)
    assert all(1 <= number <= 255 for number in TAILS)


@given(ANY_MESSAGE, SENDERS, BYTES_32, st.sampled_from(SuiteCode))
def test_every_message_comes_back_as_it_went(message, sender, session, suite):
    raw = encode_message(message, suite=suite, session=session, sender=sender).finish()
    envelope, decoded = read(raw, type(message))
    assert decoded == message
    assert type(decoded) is type(message)
    assert (envelope.suite, envelope.sender, envelope.session) == (suite, sender, session)
    assert envelope.type_number == message_type(type(message))
    assert bytes(envelope.tail) == b""
    assert encode_message(decoded, suite=suite, session=session, sender=sender).finish() == raw


def test_a_frame_is_laid_out_as_documented_byte_by_byte():
    message = masking.UnmaskRequest(contributors=3, survivors=(1, 300), dropped=(70_000,))
    raw = encode_message(
        message, suite=SuiteCode.MASKING, session=SESSION, sender=PartyId(Role.CLIENT, 0x01020304), tail_bytes=8
    ).finish()
    body = b"\x98\x16\x03\x92\x01\xcd\x01\x2c\x91\xce\x00\x01\x11\x70\xc4\x00\xc4\x00\x90\xc4\x00"
    assert raw[0:4] == b"PVFL"
    assert raw[4] == 1  # version
    assert raw[5] == 2  # suite
    assert raw[6] == 0x16  # message type
    assert raw[7] == 1  # role
    assert raw[8:12] == b"\x04\x03\x02\x01"
    assert raw[12:44] == SESSION
    assert raw[44:48] == b"\x15\x00\x00\x00"
    assert raw[48:69] == body
    assert raw[69:80] == bytes(11)  # up to a multiple of 16
    assert raw[80:] == bytes(8)
    assert HEADER_BYTES == 48


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (plain.UploadRequest(), "9101"),
        (plain.Upload(), "9102"),
        (masking.AdvertiseKeysRequest(), "9110"),
        (KEYS, "9511c420" + "63" * 32 + "c420" + "6d" * 32 + "c400c400"),
        (SIGNED_KEYS, "9511c420" + "63" * 32 + "c420" + "6d" * 32 + "c410" + "69" * 16 + "c440" + "67" * 64),
        (
            masking.ShareKeysRequest(root=SESSION, neighbours=(NEIGHBOUR,)),
            "9412c420"
            + SESSION.hex()
            + "91"
            + ("9720ce00011170c420" + "63" * 32 + "c420" + "6d" * 32 + "c400c400c400")
            + "c400",
        ),
        (
            masking.ShareKeysRequest(root=SESSION, neighbours=(SIGNED_NEIGHBOUR,), own_proof=b"o" * 640),
            "9412c420"
            + SESSION.hex()
            + "91"
            + ("9720ce00011170c420" + "63" * 32 + "c420" + "6d" * 32)
            + ("c410" + "69" * 16 + "c440" + "67" * 64 + "c460" + "70" * 96)
            + ("c50280" + "6f" * 640),
        ),
        (
            masking.ShareKeys(commitment=SESSION, peers=(200,), sealed=b"s" * 80, confirmations=b"k" * 16),
            "9513c420" + SESSION.hex() + "91ccc8" + "c450" + "73" * 80 + "c410" + "6b" * 16,
        ),
        (
            masking.MaskedInputRequest(participants=9, peers=(), sealed=b""),
            "951409" + "90" + "c400c400",
        ),
        (masking.MaskedInput(), "9115"),
        (masking.ConsistencyRequest(participants=b"\xff\x01", survivors=b"\x7f\x01"), "9318c402ff01c4027f01"),
        (masking.ConsistencyRequest(participants=b"", survivors=b""), "9318c400c400"),
        (masking.ConsistencyCheck(signature=SIGNATURE), "9219c440" + "67" * 64),
        (
            masking.UnmaskRequest(contributors=2, survivors=(1,), dropped=()),
            "981602" + "9101" + "90" + "c400c400" + "90c400",
        ),
        (
            masking.UnmaskRequest(
                contributors=2,
                survivors=(1,),
                dropped=(4,),
                participant_bits=b"\x13",
                survivor_bits=b"\x03",
                signers=(1,),
                signatures=SIGNATURE,
            ),
            "981602" + "9101" + "9104" + "c40113" + "c40103" + "9101c440" + "67" * 64,
        ),
        (
            EXAMPLES[-1],
            "9317c420" + SESSION.hex() + "92" + "932101c420" + SESSION.hex() + "942202c400c410" + "00" * 16,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)
def test_structs_are_encoded_as_they_always_were(message, body):
    """Known answers, written by hand: a change here is a change of the wire format, and needs a new type number."""
    assert body_of(message).hex() == body


def test_codes_of_suites_and_roles_are_what_they_always_were():
    assert {code.name: int(code) for code in SuiteCode} == {"PLAIN": 1, "MASKING": 2, "KAHE": 3, "CKKS": 4}
    assert {role.name: int(role) for role in Role} == {"CLIENT": 1, "SERVER": 2, "COMMITTEE": 3}


def test_parties_are_named_for_people():
    assert str(client(3)) == "client 3"
    assert str(SERVER) == "the server"
    assert str(PartyId(Role.COMMITTEE, 4)) == "committee 4"


@given(ANY_MESSAGE, st.integers(0, 100))
def test_sizes_are_exact(message, tail_bytes):
    body = msgspec.msgpack.encode(message)
    raw = frame_of(message, tail_bytes=tail_bytes)
    padded = 48 + len(body) + (-(48 + len(body))) % 16
    assert len(raw) == envelope_bytes(len(body), tail_bytes) == padded + tail_bytes
    assert (len(raw) - tail_bytes) % 16 == 0


@pytest.mark.parametrize(("body", "size"), [(0, 48), (1, 64), (16, 64), (17, 80), (4096, 4144)])
def test_envelope_bytes_of_some_structs(body, size):
    assert envelope_bytes(body) == size
    assert envelope_bytes(body, 12) == size + 12


# Tails


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
@pytest.mark.parametrize("length", [1, 2, 1000, 70_001])
def test_the_tail_holds_exactly_the_words_that_were_written(dtype, length):
    written = np.random.default_rng(length).integers(0, 2**32, length).astype(dtype) * 3
    frame = encode_message(
        masking.MaskedInput(), suite=SuiteCode.MASKING, session=SESSION, sender=client(7), tail_bytes=written.nbytes
    )

    def write(words):
        assert words.shape == (length,)
        assert words.dtype == np.dtype(dtype)
        assert not words.any()
        words[:] = written

    frame.write_tail(dtype, write)
    raw = frame.finish()
    header = struct.pack("<4sBBBBI32sI", b"PVFL", 1, 2, 0x15, 1, 7, SESSION, 2)
    assert raw == header + b"\x91\x15" + bytes(14) + written.tobytes()
    assert frame.finish() == raw

    envelope = open_envelope(raw, body_limit_bytes=16, tail_bytes_of={0x15: written.nbytes})
    assert decode_message(envelope, masking.MaskedInput) == masking.MaskedInput()
    received = np.frombuffer(envelope.tail, dtype)
    assert np.array_equal(received, written)
    assert np.shares_memory(received, np.frombuffer(raw, np.uint8)), "the tail is read without a copy"
    assert envelope.tail.readonly


def test_a_tail_can_be_written_in_several_goes():
    frame = encode_message(
        masking.MaskedInput(), suite=SuiteCode.MASKING, session=SESSION, sender=client(7), tail_bytes=12
    )

    def add(words):
        words += np.array([1, 2, 3], np.uint32)

    frame.write_tail("<u4", add)
    frame.write_tail("<u4", add)
    assert frame.finish()[-12:] == np.array([2, 4, 6], "<u4").tobytes()


def test_a_tail_nobody_writes_is_zero():
    assert frame_of(masking.MaskedInput(), tail_bytes=40)[64:] == bytes(40)


def test_a_frame_is_allocated_once_and_handed_out_without_a_copy():
    tail_bytes = 16 * 2**20
    tracemalloc.start()
    frame = encode_message(
        masking.MaskedInput(), suite=SuiteCode.MASKING, session=SESSION, sender=client(7), tail_bytes=tail_bytes
    )
    frame.write_tail("<u4", lambda words: words.fill(7))
    raw = frame.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(raw) == 64 + tail_bytes
    assert peak < 1.01 * tail_bytes + 2**16


@pytest.mark.parametrize("difference", [-80, -48, -16, -8, -1, 1, 4, 16])
def test_a_tail_of_another_length_than_agreed_is_refused(difference):
    raw = frame_of(masking.MaskedInput(), sender=client(7), tail_bytes=96 + difference)
    with pytest.raises(DecodeError, match="were agreed") as refusal:
        open_envelope(raw, body_limit_bytes=LIMIT, tail_bytes_of={0x15: 96})
    assert refusal.value.peer == client(7)


# Garbage


@given(st.binary(max_size=300), st.sampled_from(sorted(MESSAGES, key=message_type)))
def test_random_bytes_are_refused(raw, kind):
    with pytest.raises(DecodeError):
        read(raw, kind)


@given(st.binary(max_size=120), st.sampled_from(sorted(MESSAGES, key=message_type)))
def test_random_structs_in_a_good_frame_decode_canonically_or_are_refused(body, kind):
    raw = frame_around(body, kind)
    try:
        _, decoded = read(raw, kind)
    except DecodeError:
        return
    assert body_of(decoded) == body


@given(ANY_MESSAGE, st.data())
def test_mutated_structs_decode_canonically_or_are_refused(message, draw):
    """Damage as a fuzzer does it: bytes put in, taken out, or replaced, with a liking for msgpack's own markers."""
    body = bytearray(body_of(message))
    markers = st.sampled_from([*range(0xC0, 0xE0), 0x7F, 0x80, 0x90, 0x91, 0xA0, 0xFF]) | st.integers(0, 255)
    for _ in range(draw.draw(st.integers(1, 3))):
        position = draw.draw(st.integers(0, len(body)))
        removed = draw.draw(st.integers(0, 3))
        body[position : position + removed] = bytes(draw.draw(st.lists(markers, max_size=3)))
    raw = frame_around(bytes(body), type(message))
    try:
        _, decoded = read(raw, type(message))
    except DecodeError:
        return
    assert body_of(decoded) == body


@each_example
def test_every_truncation_and_every_extension_is_refused(message):
    raw = frame_of(message)
    for end in range(len(raw)):
        with pytest.raises(DecodeError):
            read(raw[:end], type(message))
    for extra in (b"\0", b"\1", bytes(16), raw):
        with pytest.raises(DecodeError):
            read(raw + extra, type(message))


@each_example
def test_every_flipped_bit_of_magic_version_type_length_or_padding_is_refused(message):
    raw = frame_of(message)
    padding_start = 48 + len(body_of(message))
    for position in [*range(5), 6, *range(44, 48), *range(padding_start, len(raw))]:
        for bit in range(8):
            changed = bytearray(raw)
            changed[position] ^= 1 << bit
            with pytest.raises(DecodeError):
                read(bytes(changed), type(message))


@each_example
@pytest.mark.parametrize("sender", [SERVER, client(0), client(7), PartyId(Role.COMMITTEE, 0)], ids=str)
def test_every_flipped_bit_of_suite_sender_or_session_is_refused_or_shows(message, sender):
    """Those fields have other lawful values; what the frame says must then be what the envelope tells the session."""
    raw = frame_of(message, sender=sender)
    for position in [5, *range(7, 44)]:
        for bit in range(8):
            changed = bytearray(raw)
            changed[position] ^= 1 << bit
            role, number = changed[7], int.from_bytes(changed[8:12], "little")
            lawful = changed[5] in set(SuiteCode) and role in set(Role) and (role != Role.SERVER or number == 0)
            try:
                envelope, decoded = read(bytes(changed), type(message))
            except DecodeError:
                assert not lawful, "only suites, roles and the server's number have unlawful values"
                continue
            assert lawful
            assert decoded == message
            assert (envelope.suite, envelope.sender, envelope.session) == (
                changed[5],
                (role, number),
                changed[12:44],
            )


@each_example
def test_a_flipped_bit_of_the_struct_gives_another_message_or_is_refused(message):
    raw, body = frame_of(message), body_of(message)
    refusals = 0
    for position, bit in itertools.product(range(48, 48 + len(body)), range(8)):
        changed = bytearray(raw)
        changed[position] ^= 1 << bit
        try:
            _, decoded = read(bytes(changed), type(message))
        except DecodeError:
            refusals += 1
        else:
            assert decoded != message
            assert frame_of(decoded) == changed
    assert refusals >= 8  # whatever the message, its first byte, the array's length, cannot change


@pytest.mark.parametrize("message", [None, "PVFL", 7, [1], bytearray(frame_of(KEYS)), memoryview(frame_of(KEYS))])
def test_what_is_not_bytes_is_refused(message):
    with pytest.raises(DecodeError, match="a message is bytes, not"):
        open_envelope(message, body_limit_bytes=LIMIT, tail_bytes_of=TAILS)


def test_a_frame_without_room_for_a_header_is_refused():
    for length in range(HEADER_BYTES):
        with pytest.raises(DecodeError, match=f"{length} bytes is shorter than its header of 48"):
            open_envelope(frame_of(KEYS)[:length], body_limit_bytes=LIMIT, tail_bytes_of=TAILS)


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (0, 0x51, "PVFL"),
        (4, 0, "wire version 0 is not 1"),
        (4, 2, "wire version 2 is not 1"),
        (5, 0, "unknown suite or role"),
        (5, 5, "unknown suite or role"),
        (7, 0, "unknown suite or role"),
        (7, 4, "unknown suite or role"),
        (6, 0x00, "type 0x00 has no place"),
        (6, 0xFF, "type 0xff has no place"),
        (6, 0x10, "type 0x10 where AdvertiseKeys is expected"),
    ],
)
def test_unknown_headers_are_refused_with_the_reason(position, value, reason):
    raw = bytearray(frame_of(KEYS))
    raw[position] = value
    with pytest.raises(DecodeError, match=reason):
        read(bytes(raw), masking.AdvertiseKeys)


@pytest.mark.parametrize("number", [1, 7, 2**31, 2**32 - 1])
def test_there_is_one_server_and_its_number_is_0(number):
    with pytest.raises(ValueError, match="one server"):
        frame_of(KEYS, sender=PartyId(Role.SERVER, number))
    raw = bytearray(frame_of(KEYS, sender=SERVER))
    raw[8:12] = number.to_bytes(4, "little")
    raw = bytes(raw)
    with pytest.raises(DecodeError, match=f"server {number}, where there is one server, of number 0"):
        read(raw, masking.AdvertiseKeys)
    for sender in (SERVER, client(number), PartyId(Role.COMMITTEE, number)):
        assert read(frame_of(KEYS, sender=sender), masking.AdvertiseKeys)[0].sender == sender


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_frame_takes_a_session_id_of_32_bytes_only(length):
    """A shorter one would be filled up with zeros, a longer one cut, without a word."""
    with pytest.raises(ValueError, match=r"^a frame takes a session id of 32 bytes"):
        encode_message(KEYS, suite=SuiteCode.MASKING, session=bytes(length), sender=client(7))


@pytest.mark.parametrize("tail_bytes", [-1, -16, -1000])
def test_a_frame_takes_no_negative_tail(tail_bytes):
    with pytest.raises(ValueError, match=r"no negative tail$"):
        frame_of(KEYS, tail_bytes=tail_bytes)


def test_types_that_have_no_place_in_a_session_are_refused():
    with pytest.raises(DecodeError, match="no place in this session") as refusal:
        open_envelope(frame_of(KEYS, sender=client(5)), body_limit_bytes=LIMIT, tail_bytes_of={0x12: 0})
    assert refusal.value.peer == client(5)
    assert isinstance(refusal.value, RemoteProtocolError)


def test_a_message_is_not_read_as_another_of_the_same_shape():
    """Even if the header lies about the type, the tag inside the struct does not."""
    for lying, true in itertools.permutations([plain.Upload, plain.UploadRequest, masking.MaskedInput], 2):
        assert "Invalid value" in refused(body_of(true()), lying)


@pytest.mark.parametrize("padding", [b"\1" + bytes(13), bytes(13) + b"\1", b"\xff" * 14])
def test_padding_that_is_not_zero_is_refused(padding):
    raw = frame_of(plain.Upload())
    assert raw[50:] == bytes(14)
    with pytest.raises(DecodeError, match="padding"):
        read(raw[:50] + padding, plain.Upload)


def test_bytes_behind_the_struct_inside_its_declared_length_are_refused():
    for message in EXAMPLES:
        for extra in (b"\0", b"\xc0", body_of(message)):
            refused(body_of(message) + extra, type(message))


def test_a_struct_over_the_limit_is_refused_and_one_at_the_limit_is_not():
    size = len(body_of(KEYS))
    raw = frame_of(KEYS)
    assert open_envelope(raw, body_limit_bytes=size, tail_bytes_of=TAILS).sender == SERVER
    with pytest.raises(DecodeError, match=f"{size} bytes exceeds the limit of {size - 1}"):
        open_envelope(raw, body_limit_bytes=size - 1, tail_bytes_of=TAILS)
    assert size <= CONTROL_BODY_LIMIT_BYTES


# Claimed sizes

HUGE = [2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1]


def peak_of_refusal(attempt) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            attempt()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("claimed", HUGE)
@pytest.mark.parametrize("limit", [CONTROL_BODY_LIMIT_BYTES, 2**32])
def test_a_claimed_struct_length_allocates_nothing(claimed, limit):
    raw = bytearray(frame_of(KEYS))
    raw[44:48] = struct.pack("<I", claimed)
    frame = bytes(raw)
    peak = peak_of_refusal(lambda: open_envelope(frame, body_limit_bytes=limit, tail_bytes_of=TAILS))
    assert peak < 2**20


@pytest.mark.parametrize("claimed", HUGE)
@pytest.mark.parametrize(
    ("kind", "before", "behind"),
    [
        (masking.UnmaskRequest, b"", b"\x16\x05\x90\x90\xc4\x00\xc4\x00\x90\xc4\x00"),
        (masking.UnmaskRequest, b"\x98\x16\x05", b"\x01\x02\x03"),
        (masking.UnmaskRequest, b"\x98\x16\x05\x90", b""),
        (masking.UnmaskRequest, b"\x98\x16\x05\x90\x90\xc4\x00\xc4\x00", b"\x01\x02"),
        (masking.ShareKeysRequest, b"\x94\x12\xc4\x20" + SESSION, b"\x97\x20\x07"),
        (masking.Unmask, b"\x93\x17\xc4\x20" + SESSION, b"\x93\x21\x01\xc4\x00"),
        (masking.ShareKeys, b"\x95\x13\xc4\x20" + SESSION, bytes(2000)),
    ],
)
def test_a_claimed_array_length_allocates_nothing(kind, before, behind, claimed):
    raw = frame_around(before + b"\xdd" + struct.pack(">I", claimed) + behind, kind)
    assert peak_of_refusal(lambda: read(raw, kind)) < 2**20


@pytest.mark.parametrize("claimed", HUGE)
@pytest.mark.parametrize("marker", [b"\xc6", b"\xdb", b"\xdf", b"\xc9"], ids=["bin", "str", "map", "ext"])
@pytest.mark.parametrize(
    ("kind", "before"),
    [
        (masking.AdvertiseKeys, b"\x95\x11"),
        (masking.AdvertiseKeys, b"\x95\x11\xc4\x20" + SESSION + b"\xc4\x20" + SESSION),
        (masking.AdvertiseKeys, b"\x95\x11\xc4\x20" + SESSION + b"\xc4\x20" + SESSION + b"\xc4\x10" + KEY_ID),
        (masking.ShareKeysRequest, b"\x94\x12\xc4\x20" + SESSION + b"\x90"),
        (masking.UnmaskRequest, b"\x98\x16\x05\x90\x90"),
        (masking.UnmaskRequest, b"\x98\x16\x05\x90\x90\xc4\x00"),
        (masking.UnmaskRequest, b"\x98\x16\x05\x90\x90\xc4\x00\xc4\x00\x90"),
        (masking.ConsistencyRequest, b"\x93\x18"),
        (masking.ConsistencyRequest, b"\x93\x18\xc4\x00"),
        (masking.ConsistencyCheck, b"\x92\x19"),
        (masking.ShareKeys, b"\x95\x13\xc4\x20" + SESSION + b"\x90"),
        (masking.Unmask, b""),
    ],
)
def test_a_claimed_length_of_bytes_allocates_nothing(kind, before, marker, claimed):
    raw = frame_around(before + marker + struct.pack(">I", claimed) + bytes(50), kind)
    assert peak_of_refusal(lambda: read(raw, kind)) < 2**20


def test_deep_nesting_is_refused():
    for marker in (b"\x91", b"\x81", b"\xdc\x00\x01"):
        for before in (
            b"",
            b"\x98\x16\x05",
            b"\x98\x16\x05\x91",
            b"\x98\x16\x05\x90\x90",
            b"\x98\x16\x05\x90\x90\xc4\x00\xc4\x00\x91",
        ):
            refused(before + marker * 5000, masking.UnmaskRequest)


# One encoding


def tokens(body: bytes):
    """Split canonical msgpack, as the messages use it, into (start, head length, kind, value)."""
    at = 0
    while at < len(body):
        head = body[at]
        if head <= 0x7F:
            token, step = (at, 1, "uint", head), 1
        elif head in {0xCC, 0xCD, 0xCE}:
            size = {0xCC: 1, 0xCD: 2, 0xCE: 4}[head]
            token, step = (at, 1 + size, "uint", int.from_bytes(body[at + 1 : at + 1 + size], "big")), 1 + size
        elif 0x90 <= head <= 0x9F:
            token, step = (at, 1, "array", head & 0x0F), 1
        elif head == 0xC4:
            token, step = (at, 2, "bin", body[at + 1]), 2 + body[at + 1]
        else:
            assert head == 0xC5
            length = int.from_bytes(body[at + 1 : at + 3], "big")
            token, step = (at, 3, "bin", length), 3 + length
        yield token
        at += step


def other_heads(kind: str, value: int):
    """Every other way of msgpack to write that head: wider, signed, or of a related type."""
    forms = {
        "uint": [(0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8), (0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)],
        "array": [(0xDC, 2), (0xDD, 4), (0xDE, 2), (0xDF, 4)],
        "bin": [(0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)],
    }[kind]
    for marker, size in forms:
        if value < 256**size:
            yield bytes([marker]) + value.to_bytes(size, "big")
    if kind == "uint":
        yield b"\xca" + struct.pack(">f", value)
        yield b"\xcb" + struct.pack(">d", value)
        yield from {0: [b"\xc2", b"\xc0"], 1: [b"\xc3"]}.get(value, [])
    if kind == "array" and value <= 15:
        yield bytes([0x80 | value])
    if kind == "bin" and value <= 31:
        yield bytes([0xA0 | value])


@given(ANY_MESSAGE)
def test_every_other_encoding_of_a_message_is_refused(message):
    body = body_of(message)
    tried = 0
    for at, length, kind, value in tokens(body):
        for head in other_heads(kind, value):
            if head != body[at : at + length]:
                refused(body[:at] + head + body[at + length :], type(message))
                tried += 1
    assert tried >= 3


@pytest.mark.parametrize(
    "body",
    [
        b"\xdc\x00\x08\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",  # array16 where a fixarray does
        b"\x98\x16\xcc\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",  # uint8 where a fixint does
        b"\x98\x16\xd0\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",  # int8
        b"\x98\x16\x03\xdc\x00\x01\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",
        b"\x98\x16\x03\x91\xcd\x00\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",
        b"\x98\x16\xcb\x40\x08\x00\x00\x00\x00\x00\x00\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",  # 3.0
        b"\x98\x16\xc3\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",  # true
        b"\x98\x16\x03\x91\x01\xc0\xc4\x00\xc4\x00\x90\xc4\x00",  # nil
        b"\x98\x16\x03\x91\x01\x90\xc0\xc4\x00\x90\xc4\x00",
        b"\x98\x16\x03\x91\x01\x90\xc4\x00\xc0\x90\xc4\x00",
        b"\x98\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\xc0\xc4\x00",
        b"\x98\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc0",
        b"\x98\x16\x03\x91\x01\x90\xa0\xc4\x00\x90\xc4\x00",  # text
        b"\x98\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xa0",
        b"\x98\x16\x03\x91\x01\x90\xc4\x00\xc5\x00\x00\x90\xc4\x00",  # bin16
        b"\x98\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc5\x00\x00",
        b"\x98\xcc\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",  # a wide tag
        b"\x93\x16\x03\x91\x01",  # fields too few
        b"\x94\x16\x03\x91\x01\x90",  # without the fields of the active model
        b"\x95\x16\x03\x91\x01\x90\xc4\x00",
        b"\x96\x16\x03\x91\x01\x90\xc4\x00\xc4\x00",
        b"\x96\x16\x03\x91\x01\x90\x90\xc4\x00",  # without the two sets
        b"\x97\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90",
        b"\x99\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00\x90",  # a field too many
        b"\x88\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00",
    ],
)
def test_some_encodings_that_are_not_canonical_are_refused(body):
    canonical = b"\x98\x16\x03\x91\x01\x90\xc4\x00\xc4\x00\x90\xc4\x00"
    assert body_of(masking.UnmaskRequest(contributors=3, survivors=(1,), dropped=())) == canonical
    refused(body, masking.UnmaskRequest)


@pytest.mark.parametrize("marker", [b"\xd9\x20", b"\xda\x00\x20", b"\xc5\x00\x20", b"\xc6\x00\x00\x00\x20"])
def test_text_or_a_wider_head_where_bytes_belong_is_refused(marker):
    good = body_of(KEYS)
    assert good[2:4] == b"\xc4\x20"
    refused(good[:2] + marker + good[4:], masking.AdvertiseKeys)


# What a message shows

SECRET_FIELDS = {"self_seed", "share", "pair_seed"}


def test_every_message_that_tells_a_secret_is_a_secret_message():
    telling = {kind for kind in MESSAGES if SECRET_FIELDS & set(kind.__struct_fields__)}
    assert telling == {masking.SurvivorShare, masking.DroppedShare, masking.Unmask}
    assert telling == {kind for kind in MESSAGES if issubclass(kind, SecretMessage)}


SEED, SHARE, PAIR_SEED = b"correct horse battery staple 32B", b"Tr0ub4dor&3, or another share...", b"pair seed, 16 by"


@pytest.mark.parametrize(
    "show", [repr, str, "{}".format, lambda m: str([m, {1: m}]), pretty_repr, lambda m: repr((m,))]
)
@pytest.mark.parametrize(
    "message",
    [
        masking.SurvivorShare(number=77, share=SHARE),
        masking.DroppedShare(number=77, share=SHARE, pair_seed=PAIR_SEED),
        masking.Unmask(self_seed=SEED, entries=()),
        masking.Unmask(
            self_seed=SEED,
            entries=(
                masking.SurvivorShare(number=1, share=SHARE),
                masking.DroppedShare(number=77, share=SHARE, pair_seed=PAIR_SEED),
            ),
        ),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_that_tells_secrets_shows_its_name_and_nothing_else(message, show):
    name = type(message).__name__
    bare = re.sub(r"\W", "", show(message).replace("<secret>", "").replace(name, "@").replace("1:", ""))
    assert bare == "", show(message)
    assert name in show(message)


@pytest.mark.parametrize("holder", [lambda m: m, lambda m: [m], lambda m: {"sent": (m,)}], ids=["bare", "list", "dict"])
@pytest.mark.parametrize(
    "message",
    [
        masking.SurvivorShare(number=77, share=SHARE),
        masking.DroppedShare(number=77, share=SHARE, pair_seed=PAIR_SEED),
        masking.Unmask(self_seed=SEED, entries=(masking.SurvivorShare(number=1, share=SHARE),)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_that_tells_secrets_is_neither_pickled_nor_copied(message, holder):
    ways = [lambda held, n=n: pickle.dumps(held, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)]
    ways += [copy.deepcopy, lambda held: copy.copy(held) if held is message else copy.deepcopy(held)]
    for way in ways:
        with pytest.raises(TypeError, match=r"^a message that tells secrets is not (pickled|copied)$"):
            way(holder(message))


def test_messages_that_tell_no_secret_are_copied_like_any_other():
    for message in EXAMPLES:
        if not isinstance(message, SecretMessage):
            assert copy.copy(message) == message


def test_a_message_that_tells_secrets_is_read_and_compared_like_any_other():
    one, other = (masking.Unmask(self_seed=seed, entries=()) for seed in (SEED, SHARE))
    assert one != other
    assert read(frame_of(one), masking.Unmask)[1] == one
    assert repr(one) == repr(other) == "Unmask(<secret>)"


# What a message may say


def neighbour_from(number, *, keys=(b"c" * 32, b"m" * 32), signed=(b"", b""), proof=b"") -> list:
    """Fields of one neighbour's keys, as they lie in a `ShareKeysRequest`."""
    return [0x20, number, *keys, *signed, proof]


@pytest.mark.parametrize("numbers", [(1, 1), (2, 1), (0, 1, 1), (5, 6, 5)])
def test_columns_out_of_order_or_with_repeats_are_refused(numbers):
    for kind, *fields in [
        (masking.ShareKeys, SESSION, numbers, bytes(80 * len(numbers)), bytes(16 * len(numbers))),
        (masking.MaskedInputRequest, 9, numbers, bytes(80 * len(numbers)), b""),
        (masking.UnmaskRequest, 9, numbers, (), b"", b"", (), b""),
        (masking.UnmaskRequest, 9, (), numbers, b"", b"", (), b""),
        (masking.UnmaskRequest, 9, (), (), b"", b"", numbers, bytes(64 * len(numbers))),
        (masking.ShareKeysRequest, SESSION, [neighbour_from(number) for number in numbers], b""),
        (masking.Unmask, SESSION, [[0x21, number, b""] for number in numbers]),
    ]:
        assert "strictly ascending" in refused(body_from(message_type(kind), *fields), kind)


@given(st.lists(NUMBERS, max_size=6))
def test_ascending_means_sorted_and_none_twice(numbers):
    if numbers == sorted(set(numbers)):
        require_ascending(numbers, "numbers")
    else:
        with pytest.raises(ValueError, match="numbers are not in strictly ascending order"):
            require_ascending(numbers, "numbers")


@pytest.mark.parametrize(("first", "second"), list(itertools.product([0x21, 0x22], repeat=2)))
def test_both_shares_of_one_peer_cannot_be_said(first, second):
    entry = {0x21: [0x21, 7, b"s" * 32], 0x22: [0x22, 7, b"d" * 32, bytes(16)]}
    assert "strictly ascending" in refused(body_from(0x17, SESSION, [entry[first], entry[second]]), masking.Unmask)
    kinds = {
        0x21: masking.SurvivorShare(number=7, share=b"s" * 32),
        0x22: masking.DroppedShare(number=7, share=b"d" * 32, pair_seed=bytes(16)),
    }
    with pytest.raises(ValueError, match="strictly ascending"):
        masking.Unmask(self_seed=SESSION, entries=(kinds[first], kinds[second]))


@pytest.mark.parametrize("peers", [0, 1, 3])
@pytest.mark.parametrize("difference", [-80, -16, -1, 1, 16, 80])
def test_columns_of_records_must_fit_the_peers(peers, difference):
    numbers, sealed, confirmations = tuple(range(peers)), 80 * peers, 16 * peers
    if sealed + difference >= 0:
        wrong = bytes(sealed + difference)
        assert "sealed shares" in refused(
            body_from(0x13, SESSION, numbers, wrong, bytes(confirmations)), masking.ShareKeys
        )
        assert "sealed shares" in refused(body_from(0x14, 9, numbers, wrong, b""), masking.MaskedInputRequest)
    if confirmations + difference >= 0:
        wrong = bytes(confirmations + difference)
        assert "confirmations" in refused(body_from(0x13, SESSION, numbers, bytes(sealed), wrong), masking.ShareKeys)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_keys_digests_and_seeds_of_wrong_length_are_refused(length):
    wrong, right = bytes(length), bytes(32)
    for kind, *fields in [
        (masking.AdvertiseKeys, wrong, right, b"", b""),
        (masking.AdvertiseKeys, right, wrong, b"", b""),
        (masking.ShareKeysRequest, wrong, [], b""),
        (masking.ShareKeysRequest, right, [neighbour_from(1, keys=(wrong, right))], b""),
        (masking.ShareKeysRequest, right, [neighbour_from(1, keys=(right, wrong))], b""),
        (masking.ShareKeys, wrong, [], b"", b""),
        (masking.Unmask, wrong, []),
    ]:
        refused(body_from(message_type(kind), *fields), kind)


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_pair_seeds_of_wrong_length_are_refused(length):
    refused(body_from(0x17, SESSION, [[0x22, 1, b"", bytes(length)]]), masking.Unmask)


@pytest.mark.parametrize("length", [1, 16, 31, 33])
def test_a_share_is_whole_or_absent(length):
    for entry in ([0x21, 1, bytes(length)], [0x22, 1, bytes(length), bytes(16)]):
        refused(body_from(0x17, SESSION, [entry]), masking.Unmask)


@pytest.mark.parametrize("number", [-1, 2**32, 2**63, 2**64 - 1, 1.0, True, None, "1", b"1"])
def test_numbers_outside_32_bits_or_of_another_type_are_refused(number):
    for kind, *fields in [
        (masking.UnmaskRequest, number, [], [], b"", b"", [], b""),
        (masking.UnmaskRequest, 1, [number], [], b"", b"", [], b""),
        (masking.UnmaskRequest, 1, [], [number], b"", b"", [], b""),
        (masking.UnmaskRequest, 1, [], [], b"", b"", [number], bytes(64)),
        (masking.MaskedInputRequest, number, [], b"", b""),
        (masking.MaskedInputRequest, 1, [number], bytes(80), b""),
        (masking.ShareKeys, SESSION, [number], bytes(80), bytes(16)),
        (masking.ShareKeysRequest, SESSION, [neighbour_from(number)], b""),
        (masking.Unmask, SESSION, [[0x21, number, b""]]),
    ]:
        refused(body_from(message_type(kind), *fields), kind)


@pytest.mark.parametrize("signature", [0, 1, 16, 63, 64, 65, 128])
@pytest.mark.parametrize("key_id", [0, 1, 15, 16, 17, 64])
def test_a_key_id_and_a_signature_are_whole_and_together_or_both_absent(key_id, signature):
    signed = bytes(key_id), bytes(signature)
    advertised = body_from(0x11, SESSION, SESSION, *signed)
    shown = body_from(0x12, SESSION, [neighbour_from(1, signed=signed)], b"")
    if (key_id, signature) in {(0, 0), (16, 64)}:
        assert body_of(read(frame_around(advertised, masking.AdvertiseKeys), masking.AdvertiseKeys)[1]) == advertised
        assert body_of(read(frame_around(shown, masking.ShareKeysRequest), masking.ShareKeysRequest)[1]) == shown
        return
    refused(advertised, masking.AdvertiseKeys)
    refused(shown, masking.ShareKeysRequest)
    if key_id <= 16 and signature <= 64:  # longer ones are refused before they are looked at together
        assert "come together" in refused(advertised, masking.AdvertiseKeys)
        assert "come together" in refused(shown, masking.ShareKeysRequest)
    fields = {"channel_key": SESSION, "mask_key": SESSION, "key_id": signed[0], "signature": signed[1]}
    for make in (masking.AdvertiseKeys, lambda **keys: masking.NeighbourKeys(number=1, **keys)):
        with pytest.raises(ValueError, match=r"^a key id of 16 bytes and a signature of 64 come together$"):
            make(**fields)


def test_fields_of_the_active_model_are_not_left_out_where_they_are_empty():
    """That would be a second encoding of the same message."""
    neighbour, whole = neighbour_from(1), (1, [], [], b"", b"", [], b"")
    for kind, *fields in [
        (masking.AdvertiseKeys, SESSION, SESSION),
        (masking.AdvertiseKeys, SESSION, SESSION, b""),
        (masking.ShareKeysRequest, SESSION, []),
        *((masking.ShareKeysRequest, SESSION, [neighbour[:kept]], b"") for kept in (4, 5, 6)),
        *((masking.UnmaskRequest, *whole[:kept]) for kept in (3, 4, 5, 6)),
    ]:
        assert "canonical" in refused(body_from(message_type(kind), *fields), kind)


@pytest.mark.parametrize("length", [0, 1, 32, 255, 256, 639, 640])
def test_proofs_may_be_as_long_as_a_million_clients_need(length):
    """How long one must be is its place's affair: the check of inclusion refuses every other length."""
    proof = b"p" * length
    for body in (
        body_from(0x12, SESSION, [], proof),
        body_from(0x12, SESSION, [neighbour_from(1, proof=proof)], b""),
    ):
        assert body_of(read(frame_around(body, masking.ShareKeysRequest), masking.ShareKeysRequest)[1]) == body


@pytest.mark.parametrize("length", [641, 672, 10_000])
def test_longer_proofs_are_refused(length):
    proof = bytes(length)
    refused(body_from(0x12, SESSION, [], proof), masking.ShareKeysRequest)
    refused(body_from(0x12, SESSION, [neighbour_from(1, proof=proof)], b""), masking.ShareKeysRequest)


@pytest.mark.parametrize("signers", [0, 1, 3])
@pytest.mark.parametrize("difference", [-64, -16, -1, 1, 16, 64])
def test_signatures_must_fit_the_signers(signers, difference):
    if 64 * signers + difference < 0:
        return
    wrong = bytes(64 * signers + difference)
    body = body_from(0x16, 9, [], [], b"", b"", tuple(range(signers)), wrong)
    assert "signatures of" in refused(body, masking.UnmaskRequest)
    with pytest.raises(ValueError, match=r"^signatures of "):
        masking.UnmaskRequest(contributors=9, survivors=(), dropped=(), signers=tuple(range(signers)), signatures=wrong)


@pytest.mark.parametrize("length", [0, 1, 32, 63, 65, 128])
def test_a_consistency_check_is_one_signature_of_64_bytes(length):
    refused(body_from(0x19, bytes(length)), masking.ConsistencyCheck)


@pytest.mark.parametrize("wrong", [None, 1, "ff", [1, 2]])
def test_sets_and_signatures_are_bytes(wrong):
    refused(body_from(0x18, wrong, b""), masking.ConsistencyRequest)
    refused(body_from(0x18, b"", wrong), masking.ConsistencyRequest)
    refused(body_from(0x19, wrong), masking.ConsistencyCheck)
    for fields in ((wrong, b"", [], b""), (b"", wrong, [], b""), (b"", b"", [], wrong)):
        refused(body_from(0x16, 9, [], [], *fields), masking.UnmaskRequest)
    refused(body_from(0x12, SESSION, [], wrong), masking.ShareKeysRequest)


@pytest.mark.parametrize("tag", [0x20, 0x23, 0, -1, 2**32, "!", None, 0x21 + 256])
def test_an_unmask_entry_of_unknown_kind_is_refused(tag):
    refused(body_from(0x17, SESSION, [[tag, 1, b""]]), masking.Unmask)


def test_a_message_class_without_a_type_number_cannot_be_sent():
    class Untyped(Message, frozen=True):
        """Its author forgot `tag=`."""

    with pytest.raises(TypeError, match="Untyped has no type number"):
        frame_of(Untyped())


AT_ONCE = """
import threading, time
import msgspec
from privfl.wire.typed import converted, decoder_of

looking = threading.Event()

def slow():
    looking.set()
    time.sleep(0.3)  # msgspec looks at the inner type, and has marked the outer one as known
    return int

class Inner(msgspec.Struct, array_like=True):
    number: "slow()"

class Outer(msgspec.Struct, array_like=True):
    inner: Inner

class Other(msgspec.Struct, array_like=True):
    outer: Outer

decoded = []
first = threading.Thread(target=lambda: decoded.append(FIRST))
first.start()
looking.wait()
decoded.append(SECOND)
first.join()
print(sorted(map(repr, decoded)))
"""
ASKED = {
    "decoders": ('decoder_of(Outer).decode(b"\\x91\\x91\\x01")', 'decoder_of(Other).decode(b"\\x91\\x91\\x91\\x02")'),
    "values": ("converted([[1]], Outer)", "converted([[[2]]], Other)"),
    "both": ("converted([[1]], Outer)", 'decoder_of(Other).decode(b"\\x91\\x91\\x91\\x02")'),
}


@pytest.mark.parametrize("asked", ASKED)
def test_guarantee_1_a_type_may_be_decoded_first_by_several_threads_at_once(asked):
    first, second = ASKED[asked]
    program = AT_ONCE.replace("FIRST", first).replace("SECOND", second)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Outer(inner=Inner(number=1))" in done.stdout
    assert "Other(outer=Outer(inner=Inner(number=2)))" in done.stdout


def test_every_decoder_is_made_in_one_place():
    """What would make one elsewhere could meet a type while another thread does."""
    package = Path(privfl.__file__).parent
    making = re.compile(r"msgspec\.(msgpack\.decode|msgpack\.Decoder\(|json\.decode|convert)")
    found = {str(path.relative_to(package)) for path in package.rglob("*.py") if making.search(path.read_text())}
    assert found == {"wire/typed.py"}
