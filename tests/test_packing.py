"""Vectors of b bits a coordinate: the table layout, the exact bytes, and sessions that speak it."""

import math

import numpy as np
import pytest
from harness import ACTIVE, HONEST, Play, identity_of, make_params, make_vectors
from hypothesis import given
from hypothesis import strategies as st

from privfl import ConfigurationError, DecodeError, Phase, RoundAborted, VectorSpec, WireForm, client, plan_session
from privfl.encoding import bitpack
from privfl.encoding.residues import Ring, sum_bits
from privfl.lockstep.client import VectorInChunks
from privfl.lockstep.server import finish_sum
from privfl.params import SessionParams, ThreatModel
from privfl.simulate import simulate
from privfl.wire import HEADER_BYTES

WORDS = {32: np.uint32, 64: np.uint64}
RINGS = [1, 2, 5, 13, 16, 26, 31, 33, 40, 52, 63]
LENGTHS = [1, 31, 32, 33, 64, 65, 1000, bitpack.BLOCK - 1, bitpack.BLOCK, bitpack.BLOCK + 1, 2 * bitpack.BLOCK + 70]


def random_words(length, ring, seed=0):
    return np.random.default_rng((seed, length, ring.bits)).integers(0, 2**63, length, np.uint64).astype(ring.dtype)


def pack(words, ring):
    """Pack a vector as a client does, block by block."""
    out = np.zeros(ring.vector_bytes(len(words)) * 8 // ring.word_bits, ring.dtype)
    for start in range(0, len(words), bitpack.BLOCK):
        part = words[start : start + bitpack.BLOCK]
        block = np.zeros(-(-len(part) // ring.word_bits) * ring.word_bits, ring.dtype)
        block[: len(part)] = part
        first = bitpack.packed_words(start, ring.bits, ring.word_bits)
        last = bitpack.packed_words(start + len(part), ring.bits, ring.word_bits)
        bitpack.pack_block(block, ring.bits, out[first:last])
    return memoryview(out.tobytes())


def by_hand(words, ring):
    """The layout as its description says it, with whole numbers instead of shifted rows."""
    rows = ring.word_bits
    columns = -(-len(words) // rows)
    table = [[int(words[r * columns + c]) if r * columns + c < len(words) else 0 for c in range(columns)]
             for r in range(rows)]  # fmt: skip
    packed = np.zeros((ring.bits, columns), ring.dtype)
    for c in range(columns):
        number = sum((table[r][c] % 2**ring.bits) << (r * ring.bits) for r in range(rows))
        for w in range(ring.bits):
            packed[w, c] = (number >> (w * ring.word_bits)) % 2**ring.word_bits
    return packed.tobytes()


@pytest.mark.parametrize("bits", RINGS)
@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 65, 200])
def test_a_block_is_laid_out_as_described(bits, length):
    ring = Ring(bits)
    words = random_words(length, ring)
    assert bytes(pack(words, ring)) == by_hand(words, ring)


@pytest.mark.parametrize("bits", RINGS)
@pytest.mark.parametrize("length", LENGTHS)
def test_what_is_packed_is_received(bits, length):
    ring = Ring(bits)
    words = random_words(length, ring)
    received = ring.received(pack(words, ring), length)
    assert np.array_equal(received, words & ring.dtype.type(2**bits - 1))


@given(
    bits=st.sampled_from(RINGS), rows=st.lists(st.integers(0, 2**63), min_size=1, max_size=70), count=st.integers(1, 9)
)
def test_sums_over_packed_vectors_are_sums_modulo_the_ring(bits, rows, count):
    ring, total = Ring(bits), None
    vectors = [np.array(rows, np.uint64).astype(ring.dtype) + ring.dtype.type(7 * i) for i in range(count)]
    total = np.full(len(rows), 2**32 - 1, ring.dtype)  # whatever stands above the ring's bits must not matter
    expected = [(2**32 - 1 + sum(int(vector[i]) for vector in vectors)) % 2**bits for i in range(len(rows))]
    for vector in vectors:
        ring.add(pack(vector, ring), total)
    assert (total & ring.dtype.type(2**bits - 1)).tolist() == expected


@pytest.mark.parametrize("bits", [b for b in range(2, 64) if b != 32])
def test_centred_reads_signed_numbers_whatever_stands_above_the_ring(bits):
    ring = Ring(bits)
    values = [-(2 ** (bits - 1)), -1, 0, 1, 2 ** (bits - 1) - 1]
    for above in (0, 1, 2 ** (ring.word_bits - bits) - 1):
        words = np.array([value % 2**bits + (above << bits) for value in values], ring.dtype)
        assert ring.centred(words).tolist() == values


@pytest.mark.parametrize("length", [1, 33, bitpack.BLOCK + 5])
@pytest.mark.parametrize("bits", [5, 26, 40])
def test_padding_that_is_not_zero_is_refused_and_changes_nothing(bits, length):
    """A vector has one encoding: otherwise a client could say something that the digest of its message does not."""
    ring = Ring(bits)
    raw = bytearray(pack(random_words(length, ring), ring))
    raw[-1] |= 0x80  # the highest bit of the last value of the table, which is padding
    total = random_words(length, ring, seed=1)
    kept = total.copy()
    with pytest.raises(DecodeError, match="padding"):
        ring.add(memoryview(bytes(raw)), total)
    assert np.array_equal(total, kept)


@given(contributors=st.integers(1, 10**6), bound=st.integers(1, 2**31 - 1))
def test_a_packed_ring_has_just_the_bits_of_the_sum(contributors, bound):
    bits, values = Ring.for_sum(contributors, bound, packed=True).bits, 2 * contributors * bound + 1
    needed = sum_bits(contributors, bound)
    assert 2 ** (needed - 1) < values <= 2**needed
    assert bits in {needed, needed + 1}
    assert (bits == needed + 1) == (values > 0.99 * 2**needed and needed >= 20 and needed != 32)


@pytest.mark.parametrize(("clients", "bits"), [(16, 21), (64, 23), (1024, 27), (1000, 26), (8, 19)])
def test_a_ring_that_sums_would_fill_gets_a_spare_bit_where_five_percent_allow_it(clients, bits):
    """Otherwise noise, from masks that did not cancel, would pass for a sum."""
    ring = Ring.for_sum(clients, 2**15 - 1, packed=True)
    assert ring.bits == bits
    assert bits <= 1.05 * math.ceil(math.log2(clients * (2**16 - 1) + 1))
    if clients == 8:
        return
    noise = random_words(1000, ring)
    with pytest.raises(RoundAborted, match="out of range"):
        finish_sum(noise, ring, contributors=clients, vector=VectorSpec(length=len(noise), bound=2**15 - 1))


# Sessions


@pytest.mark.parametrize("server", [HONEST, ACTIVE])
@pytest.mark.parametrize(("bound", "length"), [(1, 1), (1000, 33), (2**31 - 1, 70), (32_767, 3000)])
def test_packed_sessions_give_the_exact_sum_with_clients_lost_in_every_phase(server, bound, length):
    params = make_params(
        n=11,
        threat=ThreatModel(corrupt=0.1, dropout=0.3, server=server),
        wire=WireForm.PACKED,
        bound=bound,
        length=length,
    )
    vectors = make_vectors(params)
    identities = {number: identity_of(number) for number in params.cohort} if server is ACTIVE else None
    drops = {Phase.SHARE_KEYS: {11}, Phase.MASKED_INPUT: {13}, Phase.UNMASK: {17}}
    outcome = simulate(params, vectors, drops=drops, identities=identities)
    assert outcome.aborted is None
    assert outcome.aggregate.contributors == 9
    assert np.array_equal(outcome.aggregate.vector, sum(vectors[n].astype(np.int64) for n in outcome.contributors))


def test_extreme_sums_do_not_wrap_in_the_packed_ring():
    params = make_params(n=7, bound=9, wire=WireForm.PACKED)
    for sign in (1, -1):
        vectors = {number: np.full(16, sign * 9, np.int32) for number in params.cohort}
        assert simulate(params, vectors).aggregate.vector.tolist() == [sign * 63] * 16


@pytest.mark.parametrize("wire", list(WireForm))
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_and_chunks_of_any_length_change_no_byte_of_the_sum(wire, workers):
    length = 2 * bitpack.BLOCK + 77
    params = make_params(n=3, length=length, wire=wire, threat=ThreatModel(corrupt=0.1, dropout=0.0))
    vectors = make_vectors(params)
    play = Play(params, vectors)
    for number in params.cohort:
        play.clients[number] = play.fresh_client(number, workers=workers)
    first, second, third = params.cohort
    play.clients[first].submit(vectors[first])
    play.clients[second].submit(np.split(vectors[second], [1, 1, 70_000, bitpack.BLOCK + 3]))
    play.clients[third].submit(iter([vectors[third].astype(np.int64)]))
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(params.cohort))


@pytest.mark.parametrize("wire", list(WireForm))
@pytest.mark.parametrize(
    ("lengths", "says"),
    [([10, 5], "hold 15 "), ([], "hold 0 "), ([16, 1], "more than 16"), ([10, 0, 7], "more than 16")],
)
def test_chunks_that_hold_too_few_or_too_many_are_the_callers_slip(wire, lengths, says):
    play = Play(wire=wire)
    play.clients[10] = play.fresh_client(10)
    play.clients[10].submit([np.zeros(length, np.int32) for length in lengths])
    play.to(Phase.MASKED_INPUT)
    with pytest.raises(ConfigurationError, match=says):
        play.deliver(10)
    play.clients[10].submit(play.vectors[10])  # nothing left the client: it may try again
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))


def test_chunks_are_read_once_and_not_ahead():
    taken = []

    def chunks():
        for i in range(4):
            taken.append(i)
            yield np.full(3, i, np.int32)

    source, out = VectorInChunks(chunks(), VectorSpec(length=12, bound=5)), np.zeros(4, np.uint32)
    source.store(Ring(32), 0, out)
    assert (out.tolist(), taken) == ([0, 0, 0, 1], [0, 1])


def test_packed_uploads_of_another_length_or_with_dirty_padding_cost_their_sender_its_place():
    play = Play(n=5, length=33, wire=WireForm.PACKED, threat=ThreatModel(corrupt=0.2, dropout=0.2)).to(
        Phase.MASKED_INPUT
    )
    good = play.answer(10)
    words_bytes = 4 * 33
    for bad in (
        good[:-4],
        good + bytes(4),
        good[:-1] + bytes([good[-1] | 0x80]),
        good[: HEADER_BYTES + 16] + bytes(words_bytes),
    ):
        with pytest.raises(DecodeError):
            play.server.receive(client(10), bad)
    play.step(silent={10})
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum([11, 12, 13, 14]))


def test_parameters_that_differ_in_the_wire_form_alone_have_other_digests():
    words, packed = (make_params(wire=wire) for wire in WireForm)
    assert SessionParams.from_bytes(packed.to_bytes()) == packed
    assert packed.ring.bits == sum_bits(5, 1000)
    assert words.ring.bits == 32
    assert packed.setting != words.setting


# Bytes


def upload_limit_bytes(clients, bits, parameters):
    """The promise: 1.05 × ⌈log₂(n(2^bits − 1) + 1)⌉ bits for each parameter, and a frame."""
    ideal = math.ceil(math.log2(clients * (2**bits - 1) + 1))
    return 1.05 * ideal * parameters / 8 + 64


def test_exact_bytes_of_packed_uploads():
    """Every MaskedInput of a session of 100 clients on the ring graph, counted as sent."""
    parameters, clients = 20_000, 100
    params = plan_session(
        "masking",
        cohort=tuple(range(clients)),
        vector=VectorSpec(length=parameters, bound=2**15 - 1),
        wire=WireForm.PACKED,
        nonce=bytes(16),
        context=bytes(32),
    )
    sent = {}

    def watch(number, phase, message):
        if phase is Phase.MASKED_INPUT:
            sent[number] = len(message)

    vectors = make_vectors(params)
    outcome = simulate(params, vectors, watch=watch)
    assert np.array_equal(outcome.aggregate.vector, sum(vectors[n].astype(np.int64) for n in params.cohort))
    bits = 23  # ⌈log₂(100 · (2^16 − 1) + 1)⌉
    assert params.ring.bits == bits
    assert set(sent.values()) == {HEADER_BYTES + 16 + bits * parameters // 8}
    assert max(sent.values()) <= upload_limit_bytes(clients, 16, parameters)


@pytest.mark.parametrize(("clients", "bits"), [(1000, 26), (3, 18), (10_000, 30), (64, 23)])
def test_packed_uploads_keep_the_promise_at_a_million_parameters(clients, bits):
    """The server takes no other length than this one, so it is what every client sends."""
    parameters = 1_000_000
    ring = Ring.for_sum(clients, 2**15 - 1, packed=True)
    assert ring.bits == bits
    assert HEADER_BYTES + 16 + ring.vector_bytes(parameters) <= upload_limit_bytes(clients, 16, parameters)
    assert ring.vector_bytes(parameters) == bits * parameters // 8
