"""What the server receives and derives says nothing about a single client: asserted on the bytes themselves.

False-alarm rates are stated where a test is statistical. Tests with fixed entropy say the same thing every time.
"""

import numpy as np
import pytest
from harness import Play, make_params
from scipy import stats

from privfl import Phase, WireForm, suite
from privfl.lockstep.server import LockstepServer
from privfl.masking import secrets
from privfl.masking.messages import DroppedShare, ShareKeys, Unmask
from privfl.masking.recovery import ShareTable
from privfl.primitives.prg import apply_masks
from privfl.primitives.secret import Secret
from privfl.testing import UnsafeFixedEntropy

WORDS = 4096


def recorded(vectors=None, *, n=6, length=WORDS, entropy=False, threshold=None, wire=WireForm.WORDS):
    """Play a session and keep all bytes that reach the server, with each client's secrets beside them."""
    params = make_params(n=n, length=length, threshold=threshold, wire=wire)
    play = Play(params, vectors)
    if entropy:
        for i, number in enumerate(params.cohort):
            play.clients[number] = suite("masking").client(params, number, entropy=UnsafeFixedEntropy(bytes([i]) * 16))
            play.clients[number].submit(play.vectors[number])
    play.secrets = {}
    while play.server.phase is not Phase.FINISHED:
        if play.server.phase is Phase.UNMASK:
            for number, session in play.clients.items():
                play.secrets[number] = session._state
        play.step()
    return play


def received(play, phases=None):
    return b"".join(frame for (phase, _), frame in play.responses.items() if phases is None or phase in phases)


BEFORE_UNMASK = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT)


def test_no_seed_key_or_share_is_in_what_the_server_receives_before_unmask():
    play = recorded()
    view = received(play, BEFORE_UNMASK)
    for state in play.secrets.values():
        assert state.self_seed.reveal() not in view
        for seed in state.pair_seeds.values():
            assert seed.reveal() not in view
        for shares in state.held.values():
            assert shares.self_seed not in view
            assert shares.mask_key not in view


def test_without_dropouts_no_pair_seed_and_no_share_of_a_mask_key_ever_reaches_the_server():
    play = recorded()
    view = received(play)
    for state in play.secrets.values():
        for seed in state.pair_seeds.values():
            assert seed.reveal() not in view
        for shares in state.held.values():
            assert shares.mask_key not in view


def test_no_clear_vector_or_weight_is_in_what_the_server_receives_or_keeps():
    chance = np.random.default_rng(1)
    n = 6
    params = make_params(n=n, length=WORDS)
    vectors = {number: chance.integers(-1000, 1001, WORDS).astype(np.int32) for number in params.cohort}
    kept = []
    original = LockstepServer.receive

    def watching(self, sender, response):
        original(self, sender, response)
        step = self._step
        if step.phase in {Phase.MASKED_INPUT, Phase.UNMASK}:
            kept.append(step._book.payload.masked.copy())

    LockstepServer.receive = watching
    try:
        play = recorded(vectors, n=n)
    finally:
        LockstepServer.receive = original
    view = received(play)
    final = kept.pop()  # the opened sum itself
    assert (final.view(np.int32) == sum(vectors.values())).all()
    for vector in vectors.values():
        for width in (np.int32, np.int64, np.int16):
            assert vector[:8].astype(width).tobytes() not in view
        # Nor is any state of the accumulator before the end a vector or a partial sum of few.
        assert not any((state.view(np.int32) == vector).mean() > 0.01 for state in kept)


def uniformity(words):
    """p-value of a chi-square test of all bytes of 32-bit words against the uniform distribution."""
    counts = np.bincount(words.view(np.uint8), minlength=256)
    return stats.chisquare(counts).pvalue


def uploads(play):
    tail = play.params.ring.vector_bytes(play.params.vector.length)
    return {
        number: np.frombuffer(frame[-tail:], np.uint32)
        for (phase, number), frame in play.responses.items()
        if phase is Phase.MASKED_INPUT
    }


@pytest.mark.parametrize("wire", list(WireForm))
def test_every_upload_is_uniform_whatever_the_vector(wire):
    """Bytes of each upload against uniform: 24 chi-square tests at 10^-6 each; false alarms below 3·10^-5."""
    params = make_params(n=6, length=WORDS)
    for value in (0, 1000):
        play = recorded({number: np.full(WORDS, value, np.int32) for number in params.cohort}, wire=wire)
        for words in uploads(play).values():
            assert uniformity(words) > 1e-6


def test_an_upload_does_not_correlate_with_its_vector():
    """|r| < 6/√m for six uploads of m = 4096 coordinates: false alarms below 2·10^-8."""
    play = recorded()
    for number, words in uploads(play).items():
        r = np.corrcoef(words.view(np.int32).astype(float), play.vectors[number].astype(float))[0, 1]
        assert abs(r) < 6 / np.sqrt(WORDS)


def test_swapping_two_clients_vectors_leaves_the_sum_equal_and_uploads_uniform():
    play = recorded()
    swapped = dict(play.vectors)
    swapped[10], swapped[11] = swapped[11], swapped[10]
    other = recorded(swapped)
    assert (play.server.result.vector == other.server.result.vector).all()
    for number in (10, 11):
        assert uniformity(uploads(other)[number]) > 1e-6
        # The difference between two sessions' uploads of one client is itself uniform: nothing carries over.
        assert uniformity(uploads(other)[number] - uploads(play)[number]) > 1e-6


def test_pair_seeds_alone_do_not_open_an_upload_that_came_late():
    """The self mask: a client declared dropped whose upload arrives after all is still hidden (CCS 2017, §4.0.2)."""
    params = make_params(n=6, length=WORDS)
    play = Play(params, {number: np.zeros(WORDS, np.int32) for number in params.cohort})
    play.to(Phase.MASKED_INPUT)
    late = play.answer(15)
    play.step(silent={15})
    view = np.frombuffer(late[-4 * WORDS :], np.uint32).copy()
    for number in (10, 11, 12, 13, 14):  # all neighbours tell the pair seeds with the dropped client
        from harness import read

        told = read(play.answer(number), Unmask)
        (entry,) = [entry for entry in told.entries if isinstance(entry, DroppedShare)]
        mask = secrets.pairwise_mask(Secret(entry.pair_seed), me=15, peer=number, crowd=b"")
        apply_masks(view, [secrets.opposite(mask)])
    assert view.any()
    assert uniformity(view) > 1e-6


def test_the_server_and_fewer_than_t_neighbours_cannot_rebuild_a_third_partys_secrets():
    """t − 1 neighbours hand over all they hold: every value of the secret remains equally possible."""
    threshold = 4
    play = recorded(n=6, threshold=threshold)
    victim, colluders = 10, (11, 12, 13)
    assert len(colluders) == threshold - 1
    table = ShareTable()
    graph = play.server  # the session is over; the colluders know the graph from the cohort alone (it is complete)
    assert graph.phase is Phase.FINISHED
    for colluder in colluders:
        table.add(victim, play.params.cohort.index(colluder) + 1, play.secrets[colluder].held[victim].mask_key)
    from privfl.errors import ReconstructionError

    with pytest.raises(ReconstructionError, match="3 shares"):
        table.rebuild_mask_key(victim, threshold=threshold, public=bytes(32))
    # With one guessed share, every guess gives another key: nothing tells which is right.
    from privfl.primitives import shamir

    points = [play.params.cohort.index(colluder) + 1 for colluder in colluders]
    known = np.frombuffer(
        b"".join(play.secrets[colluder].held[victim].mask_key for colluder in colluders), np.uint8
    ).reshape(3, 32)
    candidates = set()
    for guess in range(256):
        rows = np.vstack([known, np.full((1, 32), guess, np.uint8)])
        candidates.add(shamir.reconstruct([*points, 6], rows)[0])
    assert len(candidates) == 256


def test_sealed_shares_say_nothing_without_the_channel_key():
    """All sealed bytes of a session against uniform: one test at 10^-6."""
    from harness import read

    play = recorded(n=9, length=4)
    sealed = b"".join(
        read(frame, ShareKeys).sealed for (phase, _), frame in play.responses.items() if phase is Phase.SHARE_KEYS
    )
    assert uniformity(np.frombuffer(sealed, np.uint8)) > 1e-6


def test_message_sizes_do_not_depend_on_the_vector():
    params = make_params(n=5, length=64)
    sizes = []
    for value in (0, 1, -1000, 1000):
        play = Play(params, {number: np.full(64, value, np.int32) for number in params.cohort})
        while play.server.phase is not Phase.FINISHED:
            play.step()
        sizes.append({key: len(frame) for key, frame in play.responses.items()})
    assert all(size == sizes[0] for size in sizes)
