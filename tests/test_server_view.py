"""What the server receives and derives says nothing about a single client: asserted on the bytes themselves.

False-alarm rates are stated where a test is statistical. Searches are for runs of 16 numbers or for secrets of 16
bytes and more: one that is not there is found with a probability below 2^−40.
"""

import os

import numpy as np
import pytest
from harness import ACTIVE, HONEST, KeptEntropy, Play, contents, identity_of, library, make_params, reachable, read
from known_answers import reference_kahe
from scipy import stats

from privfl import MemoryGuard, Phase, WireForm, suite, wake
from privfl.ckks import sharing
from privfl.ckks.cipher import ERRORS
from privfl.ckks.planner import modulus_of
from privfl.ckks.seal import seal_ring
from privfl.encoding import bitpack
from privfl.errors import ReconstructionError
from privfl.kahe import cipher
from privfl.kahe.client import KEY_BYTES
from privfl.kahe.ring import HALF, N
from privfl.lockstep.sleep import open_slept
from privfl.masking import secrets
from privfl.masking.graph import Graph
from privfl.masking.messages import AdvertiseKeys, DroppedShare, ShareKeys, Unmask
from privfl.masking.recovery import ShareTable
from privfl.primitives import shamir
from privfl.primitives.prg import Stream, apply_masks
from privfl.primitives.sampling import TERNARY, Sampler
from privfl.primitives.secret import Secret
from privfl.roster import Credentials
from privfl.wire import SuiteCode

WORDS = 4096
RUN = 16
SLEEP_KEY = bytes(range(32))
SUITES = pytest.mark.parametrize("suite_name", ["masking", "kahe"])
"""`ckks` has neither masks nor shares of clients' secrets: what holds of it stands at the end."""
WIRES = pytest.mark.parametrize("wire", list(WireForm))


class Watched(Play):
    """A session of which is kept what the server derives, and what the clients draw and hold."""

    def __init__(self, params, vectors=None, *, seed=None):
        seed = os.urandom(12) if seed is None else seed
        self.entropy = {number: KeptEntropy(seed + number.to_bytes(4, "big")) for number in (0, *params.cohort)}
        super().__init__(params, vectors)
        self.server = suite(params.suite).server(params, roster=self.roster, entropy=self.entropy[0])
        self.payload = self.server._step._book.payload  # the server forgets it with its last phase
        self.derived, self.secrets = set(), {}

    def fresh_client(self, number, **options):
        return super().fresh_client(number, entropy=self.entropy[number], guard=MemoryGuard(), **options)

    def deliver(self, number):
        super().deliver(number)
        self.derived |= contents(reachable(self.server, self.payload))

    def step(self, *, silent=()):
        if self.server.phase is Phase.UNMASK:
            self.secrets = {number: session._state for number, session in self.clients.items()}
        super().step(silent=silent)
        self.derived |= contents(reachable(self.server, self.payload))

    def one_time_key(self, number):
        """A client's key and its errors, from the four streams whose keys it drew last."""
        *_, coarse, fine, error_coarse, error_fine = self.entropy[number].drawn
        key = np.array(reference_kahe.gaussian(coarse, fine, N))
        return key, np.array(reference_kahe.gaussian(error_coarse, error_fine, WORDS))


def recorded(vectors=None, *, silent=None, n=6, length=WORDS, **options):
    """Play a whole session; who is silent in a phase is silent from there on."""
    play, gone = Watched(make_params(n=n, length=length, **options), vectors), set()
    while play.server.phase is not Phase.FINISHED:
        gone |= (silent or {}).get(play.server.phase, set())
        play.step(silent=gone)
    return play


def received(play, phases=None):
    return b"".join(frame for (phase, _), frame in play.responses.items() if phases is None or phase in phases)


# What is not there


BEFORE_UNMASK = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT)


@SUITES
def test_no_seed_key_or_share_is_in_what_the_server_receives_before_unmask(suite_name):
    play = recorded(suite_name=suite_name)
    view = received(play, BEFORE_UNMASK)
    for state in play.secrets.values():
        assert state.self_seed.reveal() not in view
        for seed in state.pair_seeds.values():
            assert seed.reveal() not in view
        for shares in state.held.values():
            assert shares.self_seed not in view
            assert shares.mask_key not in view


@SUITES
def test_without_dropouts_no_pair_seed_and_no_share_of_a_mask_key_ever_reaches_the_server(suite_name):
    play = recorded(suite_name=suite_name)
    view = received(play)
    for state in play.secrets.values():
        for seed in state.pair_seeds.values():
            assert seed.reveal() not in view
        for shares in state.held.values():
            assert shares.mask_key not in view


def encodings(numbers, ring):
    """Arrays that hold the numbers: of every type that can, as residues, and packed into the ring's bits."""
    numbers = np.asarray(numbers, np.int64)
    for kind in (np.int8, np.int16, np.int32, np.int64, np.float32, np.float64):
        typed = numbers.astype(kind)
        if np.array_equal(typed, numbers):
            yield typed
    yield (numbers % 2**ring.bits).astype(np.uint32)
    if ring.packed:
        block = np.resize(numbers, -(-len(numbers) // 32) * 32).astype(np.uint32)
        packed = np.empty(bitpack.packed_words(len(numbers), ring.bits, 32), np.uint32)
        bitpack.pack_block(block, ring.bits, packed)
        yield packed


def runs(numbers, ring):
    """Runs of numbers from the beginning, the middle and the end, in all these encodings."""
    for typed in encodings(numbers, ring):
        for start in (0, len(typed) // 2, len(typed) - RUN):
            yield typed[start : start + RUN].tobytes()


def numbers_of(play, number):
    """What may be nowhere in the open: a client's vector, scaled and not, its one-time key and its errors."""
    vector = play.vectors[number].astype(np.int64)
    if play.params.suite != "kahe":
        return [vector]
    scaled = vector << play.params.setting.scale_bits
    if len(play.entropy[number].drawn) < 8:
        return [vector, scaled]
    key, errors = play.one_time_key(number)
    return [vector, scaled, key, -key, np.array(reference_kahe.natural(key)), errors, scaled[:N] + errors[:N]]


@SUITES
@WIRES
@pytest.mark.parametrize("silent", [{}, {Phase.MASKED_INPUT: {12}}, {Phase.UNMASK: {13}}], ids=["all", "late", "later"])
def test_no_secret_and_no_vector_is_in_what_the_server_receives_or_derives(suite_name, wire, silent):
    """But for survivors' self-mask seeds, and for the seeds of pairs of which one dropped, all of which it is told."""
    play = recorded(suite_name=suite_name, wire=wire, silent=silent)
    survivors = set(play.params.cohort) - silent.get(Phase.MASKED_INPUT, set())
    view = b"".join([received(play), *play.derived])
    for number in play.params.cohort:
        channel, mask, self_seed, *others = play.entropy[number].drawn
        for drawn in (channel, mask, *others, *([] if number in survivors else [self_seed])):
            for piece in (drawn[i : i + 32] for i in range(0, len(drawn), 32)):
                assert piece not in view
        for peer in survivors - {number} if number in survivors else ():
            assert play.secrets[number].pair_seeds[peer].reveal() not in view
        for numbers in numbers_of(play, number):
            for run in runs(numbers, play.params.ring):
                assert run not in view
    # What is there is found: a seed that was told, the sum, and the sum of the keys.
    assert play.entropy[10].drawn[2] in view
    assert play.exact_sum(survivors).tobytes() in view
    if suite_name == "kahe":
        assert sum(play.one_time_key(number)[0] for number in survivors).astype(np.int32).tobytes() in view


@SUITES
@WIRES
def test_of_what_clients_send_nothing_but_the_hidden_vector_depends_on_the_vector(suite_name, wire):
    """The same entropy twice, with other vectors and weights: all messages are equal, up to the upload's last part."""
    params = make_params(n=6, length=WORDS, suite_name=suite_name, wire=wire)
    sessions = []
    for sign in (1, -1):
        vectors = {number: np.arange(1, WORDS + 1, dtype=np.int32) % number * sign for number in params.cohort}
        sessions.append(Watched(params, vectors, seed=bytes(12)).to(Phase.FINISHED).responses)
    hidden, [first, second] = params.ring.vector_bytes(WORDS), sessions
    assert {key: len(frame) for key, frame in first.items()} == {key: len(frame) for key, frame in second.items()}
    for key, frame in first.items():
        differs = [i for i, (a, b) in enumerate(zip(frame, second[key], strict=True)) if a != b]
        if key[0] is Phase.MASKED_INPUT:
            assert differs[0] >= len(frame) - hidden
        else:
            assert not differs


def transforms(array):
    """Rows of a key's length that a complex array holds, as they are and transformed back."""
    if array.dtype == np.complex128 and array.size and array.size % HALF == 0:
        turned = np.exp(-1j * np.pi * np.arange(HALF) / N)
        for row in array.reshape(-1, HALF):
            yield row.view(np.float64)
            yield (np.fft.ifft(row) * turned).view(np.float64)


def assert_nowhere(play, number, objects):
    """Neither key nor errors nor vector is in objects, and no stream from which they could be drawn again.

    Transforms count as the key if they correlate with it: |r| > ½ is 22 deviations for a row of other numbers.
    """
    view, (key, _) = b"".join(contents(objects)), play.one_time_key(number)
    for stream_key in play.entropy[number].drawn[-4:]:
        assert stream_key not in view
    for numbers in numbers_of(play, number):
        for run in runs(numbers, play.params.ring):
            assert run not in view
    for array in (item for item in objects if isinstance(item, np.ndarray)):
        assert not any(
            abs(np.vdot(row, key)) > np.linalg.norm(row) * np.linalg.norm(key) / 2 for row in transforms(array)
        )
    assert not any(isinstance(item, Stream) for item in objects)


def empty_caches():
    """What other tests left in them is no session's; after a thousand tests, to search it takes ten seconds."""
    for item in library():
        if hasattr(item, "cache_clear"):
            item.cache_clear()


@pytest.mark.parametrize("server", [HONEST, ACTIVE])
@WIRES
def test_a_client_of_kahe_holds_its_one_time_key_nowhere_once_it_has_answered(server, wire):
    """Guarantee 1: not in its session, in no cache of the library, not in its state at rest, and not when woken."""
    empty_caches()
    play = Watched(make_params(n=6, length=WORDS, suite_name="kahe", server=server, wire=wire)).to(Phase.MASKED_INPUT)
    play.deliver(10)
    session = play.clients[10]
    objects = reachable(session, *library())
    assert session._state.self_seed.reveal() in contents(objects)  # the walk reaches what is held
    assert_nowhere(play, 10, objects)
    asleep = session.to_bytes(SLEEP_KEY)
    slept = open_slept(asleep, SLEEP_KEY, suite=SuiteCode.KAHE)
    assert slept.last[1] == play.responses[Phase.MASKED_INPUT, 10]
    assert_nowhere(play, 10, reachable(slept, session, *library()))
    credentials = Credentials(identity_of(10), play.roster) if session._witness else None
    play.clients[10] = wake(asleep, key=SLEEP_KEY, guard=MemoryGuard(), credentials=credentials)
    assert_nowhere(play, 10, reachable(play.clients[10]))
    play.to(Phase.FINISHED)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))
    # The key that was searched for is the one: with the others it makes the sum that the server opened.
    total = sum(play.one_time_key(number)[0] for number in play.params.cohort)
    assert total.astype(np.int32).tobytes() in play.derived


# What is there is noise


def uniformity(words):
    """p-value of a chi-square test of all bytes of 32-bit words against the uniform distribution."""
    counts = np.bincount(words.view(np.uint8), minlength=256)
    return stats.chisquare(counts).pvalue


def parts(play, frame):
    """The parts of an upload that must be uniform: masked vector; or masked key, and ciphertext."""
    hidden = play.params.ring.vector_bytes(play.params.vector.length)
    kahe = play.params.suite == "kahe"
    tail = np.frombuffer(frame[-hidden - (KEY_BYTES if kahe else 0) :], np.uint32)
    return np.split(tail, [N]) if kahe else [tail]


def uploads(play):
    return {
        number: parts(play, frame) for (phase, number), frame in play.responses.items() if phase is Phase.MASKED_INPUT
    }


@SUITES
@WIRES
def test_every_upload_is_uniform_whatever_the_vector(suite_name, wire):
    """Bytes of each part of each upload: 72 chi-square tests at 10^-6 in all; false alarms below 10^-4."""
    for value in (0, 1000):
        vectors = {number: np.full(WORDS, value, np.int32) for number in range(10, 16)}
        for both in uploads(recorded(vectors, suite_name=suite_name, wire=wire)).values():
            for words in both:
                assert uniformity(words) > 1e-6


@SUITES
def test_an_upload_does_not_correlate_with_its_vector(suite_name):
    """|r| < 6/√m for six uploads of m = 4096 coordinates, and six keys of 2048: false alarms below 5·10^-8."""
    play = recorded(suite_name=suite_name)
    for number, both in uploads(play).items():
        clear = [play.vectors[number]]
        if suite_name == "kahe":
            clear.insert(0, play.one_time_key(number)[0])
        for words, numbers in zip(both, clear, strict=True):
            r = np.corrcoef(words.view(np.int32).astype(float), numbers.astype(float))[0, 1]
            assert abs(r) < 6 / np.sqrt(len(words))


@SUITES
@WIRES
def test_swapping_two_clients_vectors_leaves_the_sum_equal_and_uploads_uniform(suite_name, wire):
    """24 chi-square tests at 10^-6 in all."""
    play = recorded(suite_name=suite_name, wire=wire)
    swapped = dict(play.vectors)
    swapped[10], swapped[11] = swapped[11], swapped[10]
    other = recorded(swapped, suite_name=suite_name, wire=wire)
    assert play.server.result.error_std == 0
    assert np.array_equal(play.server.result.vector, other.server.result.vector)
    assert np.array_equal(play.server.result.vector, play.exact_sum(play.params.cohort))
    for number in (10, 11):
        for before, after in zip(uploads(play)[number], uploads(other)[number], strict=True):
            assert uniformity(after) > 1e-6
            # The difference between two sessions' uploads of one client is itself uniform: nothing carries over.
            assert uniformity(after - before) > 1e-6


def test_pair_seeds_alone_do_not_open_an_upload_that_came_late():
    """The self mask: a client declared dropped whose upload arrives after all is still hidden (CCS 2017, §4.0.2)."""
    params = make_params(n=6, length=WORDS)
    play = Play(params, {number: np.zeros(WORDS, np.int32) for number in params.cohort})
    play.to(Phase.MASKED_INPUT)
    late = play.answer(15)
    play.step(silent={15})
    view = np.frombuffer(late[-4 * WORDS :], np.uint32).copy()
    for number in (10, 11, 12, 13, 14):  # all neighbours tell the pair seeds with the dropped client
        told = read(play.answer(number), Unmask)
        (entry,) = [entry for entry in told.entries if isinstance(entry, DroppedShare)]
        mask = secrets.pairwise_mask(Secret(entry.pair_seed), me=15, peer=number, context=params.context, crowd=b"")
        apply_masks(view, [secrets.opposite(mask)])
    assert view.any()
    assert uniformity(view) > 1e-6


# What colluders add to it


def advertised(play):
    """Public mask keys by client."""
    frames = {number: frame for (phase, number), frame in play.responses.items() if phase is Phase.ADVERTISE_KEYS}
    return {number: read(frame, AdvertiseKeys).mask_key for number, frame in frames.items()}


def shares_of(play, victim, colluders):
    """The shares of a client's mask key that others hold; who knows the cohort knows the graph, which is complete."""
    table = ShareTable(Graph(play.params.cohort, len(play.params.cohort) - 1, root=bytes(32)))
    for colluder in colluders:
        table.add(colluder, {victim: play.secrets[colluder].held[victim].mask_key})
    return table


@SUITES
def test_the_server_and_fewer_than_t_neighbours_cannot_rebuild_a_third_partys_secrets(suite_name):
    """t − 1 neighbours hand over all they hold: every value of the secret remains equally possible."""
    threshold = 4
    play = recorded(suite_name=suite_name, n=6, threshold=threshold)
    victim, colluders = 10, (11, 12, 13)
    assert len(colluders) == threshold - 1
    table, public = shares_of(play, victim, colluders), advertised(play)[victim]
    with pytest.raises(ReconstructionError, match="3 shares"):
        table.rebuild_mask_key(victim, threshold=threshold, public=public)
    with pytest.raises(ReconstructionError, match="contradict"):
        table.rebuild_mask_key(victim, threshold=threshold - 1, public=public)
    # With one guessed share, every guess gives another key: nothing tells which is right.
    points = [play.params.cohort.index(colluder) + 1 for colluder in colluders]
    known = np.frombuffer(
        b"".join(play.secrets[colluder].held[victim].mask_key for colluder in colluders), np.uint8
    ).reshape(3, 32)
    candidates = set()
    for guess in range(256):
        rows = np.vstack([known, np.full((1, 32), guess, np.uint8)])
        candidates.add(shamir.reconstruct([*points, 6], rows)[0])
    assert len(candidates) == 256


class Colluders:
    """A server and some neighbours of client 10 that tell it whatever they hold, in a session of kahe that is over."""

    victim = 10

    def __init__(self, play, numbers):
        self.play, self.numbers, self.session = play, numbers, play.secrets[self.victim].session
        self.key, self.ciphertext = (part.copy() for part in uploads(play)[self.victim])

    def pair_seeds(self):
        """Those with the neighbours that collude; with all, if there are enough shares of the victim's mask key."""
        play, victim, threshold = self.play, self.victim, self.play.params.masking.threshold
        if len(self.numbers) < threshold:
            return {number: play.secrets[number].pair_seeds[victim] for number in self.numbers}
        keys = advertised(play)
        table = shares_of(play, victim, self.numbers)
        pair = table.rebuild_mask_key(victim, threshold=threshold, public=keys.pop(victim))
        return {
            number: secrets.pair_seed(pair, key, session=self.session, me=victim, peer=number)
            for number, key in keys.items()
        }

    def masked_key(self):
        """The victim's key under the masks that nobody told: its self mask the victim told itself."""
        told = read(self.play.responses[Phase.UNMASK, self.victim], Unmask)
        masks = [secrets.self_mask(Secret(told.self_seed), session=self.session, me=self.victim)]
        masks += [
            secrets.pairwise_mask(seed, me=self.victim, peer=number, context=self.play.params.context, crowd=b"")
            for number, seed in self.pair_seeds().items()
        ]
        words = self.key.copy()
        apply_masks(words, [secrets.opposite(mask) for mask in masks])
        return words

    def opened(self, key, scale_bits=0):
        """The victim's ciphertext under what they take for its key."""
        return cipher.decrypt(
            self.ciphertext, key, ring=self.play.params.ring, scale_bits=scale_bits, session=self.session
        )


def test_the_server_and_fewer_than_t_neighbours_learn_neither_key_nor_vector_of_a_client_of_kahe():
    """They know all sums, keys and seeds but those of three honest clients. Four tests, false alarms below 10^-5.

    With one neighbour more they rebuild the key and read the vector, so that it is not for want of trying.
    """
    play = recorded(suite_name="kahe", n=6, threshold=4)
    few, enough = Colluders(play, (11, 12, 13)), Colluders(play, (11, 12, 13, 14))
    assert uniformity(few.masked_key()) > 1e-6
    opened_sum = sum(play.one_time_key(number)[0] for number in play.params.cohort)
    of_three = opened_sum - sum(play.one_time_key(number)[0] for number in few.numbers)
    for guess in (np.zeros(N, np.int64), np.rint(of_three / 3).astype(np.int64), of_three):
        assert uniformity(few.opened(guess).astype(np.uint32)) > 1e-6
    key = enough.masked_key().view(np.int32).astype(np.int64)
    assert np.array_equal(key, play.one_time_key(10)[0])
    assert np.array_equal(enough.opened(key, play.params.setting.scale_bits), play.vectors[10])


@SUITES
def test_sealed_shares_say_nothing_without_the_channel_key(suite_name):
    """All sealed bytes of a session against uniform: one test at 10^-6."""
    play = recorded(suite_name=suite_name, n=9, length=4)
    sealed = b"".join(
        read(frame, ShareKeys).sealed for (phase, _), frame in play.responses.items() if phase is Phase.SHARE_KEYS
    )
    assert uniformity(np.frombuffer(sealed, np.uint8)) > 1e-6


@SUITES
def test_message_sizes_do_not_depend_on_the_vector(suite_name):
    params = make_params(n=5, length=64, suite_name=suite_name)
    sizes = []
    for value in (0, 1, -1000, 1000):
        play = Play(params, {number: np.full(64, value, np.int32) for number in params.cohort}).to(Phase.FINISHED)
        sizes.append({key: len(frame) for key, frame in play.responses.items()})
    assert all(size == sizes[0] for size in sizes)


# ckks: its server receives ciphertexts and answers, and derives the sum


class WatchedCommittee(Play):
    """A session of `ckks` of which is kept what the server derives, and what clients and members draw."""

    def __init__(self, vectors=None, *, seed=None, params=None, **options):
        self.params = params or make_params(suite_name="ckks", n=6, length=WORDS, **options)
        seed = os.urandom(11) if seed is None else seed
        numbers = [(b"c", number) for number in self.params.cohort] + [(b"m", number) for number in range(5)]
        self.entropy = {key: KeptEntropy(seed + key[0] + key[1].to_bytes(4, "big")) for key in numbers}
        self.derived = set()
        super().__init__(self.params, vectors)

    def fresh_client(self, number, **options):
        return super().fresh_client(number, entropy=self.entropy[b"c", number], **options)

    def fresh_member(self, number, **options):
        return super().fresh_member(number, entropy=self.entropy[b"m", number], **options)

    def deliver(self, number):
        super().deliver(number)
        self.derived |= contents(reachable(self.server))

    def step(self, *, silent=()):
        super().step(silent=silent)
        self.derived |= contents(reachable(self.server))

    @property
    def modulus(self):
        return modulus_of(self.params.setting.epoch)

    def draws(self, number):
        """What a client drew for its one polynomial: u, e₀ and e₁, from the six stream keys that it took in order."""
        coarse_and_fine = self.entropy[b"c", number].drawn
        return [
            Sampler(kind, Stream(Secret(coarse)), Stream(Secret(fine)), largest_batch=16 * 4096).draw(4096)
            for kind, coarse, fine in zip(
                (TERNARY, ERRORS, ERRORS), coarse_and_fine[::2], coarse_and_fine[1::2], strict=True
            )
        ]

    def tails(self, phase):
        """The residues that parties sent in a phase, of c₀ alone in Upload."""
        size = self.modulus.vector_bytes(WORDS)
        frames = {number: frame for (when, number), frame in self.responses.items() if when is phase}
        return {number: self.modulus.unpack(frame[-size:], WORDS) for number, frame in frames.items()}


def uniform_residues(modulus, residues):
    """p-value of a chi-square test of residues, in 64 bins, against the uniform distribution."""
    counts = np.histogram(residues / np.array(modulus.primes)[:, None], bins=64, range=(0, 1))[0]
    return stats.chisquare(counts).pvalue


def test_no_secret_and_no_vector_is_in_what_the_server_of_ckks_receives_or_derives():
    """Neither vector nor errors nor stream keys of a client, neither share nor pair nor flood of a member."""
    play = WatchedCommittee().to(Phase.FINISHED)
    view, modulus = b"".join([*play.responses.values(), *play.derived]), play.modulus
    for entropy in play.entropy.values():
        for drawn in entropy.drawn:
            assert drawn not in view
    for number in play.params.cohort:
        mask, own_errors, common_errors = play.draws(number)
        vector = play.vectors[number].astype(np.int64)
        scaled = modulus.residues_of(vector.astype(np.int64))
        for numbers in (vector, mask, own_errors, common_errors):
            for kind in (np.int8, np.int16, np.int32, np.int64, np.float64):
                typed = numbers.astype(kind)
                if np.array_equal(typed, numbers):
                    for start in (0, 2000, WORDS - RUN):
                        assert typed[start : start + RUN].tobytes() not in view
        assert modulus.packed(scaled)[:80] not in view
    for key in play.committee.members.values():
        assert all(pair.reveal() not in view for pair in key.pairs.values())
        assert modulus.packed(key.share)[:80] not in view
        assert all(row[:RUN].tobytes() not in view for row in key.share)
    # What is there is found: the sum, and an answer. And what was searched for is what made the ciphertexts.
    assert play.exact_sum(play.params.cohort).tobytes() in view
    assert modulus.packed(play.tails(Phase.OPEN)[0]) in view
    mask, own_errors, _ = play.draws(10)
    product = seal_ring(modulus).multiply(
        modulus.unpack(play.key.statement.own, 4096)[:, None], modulus.residues_of(mask.astype(np.int64))
    )[:, 0]
    modulus.add(product, modulus.residues_of(own_errors.astype(np.int64)))
    modulus.negate(product)
    modulus.add(product, play.tails(Phase.UPLOAD)[10])
    scale = 2.0**play.params.setting.scale_bits
    assert np.array_equal(modulus.centred(product) / scale, play.vectors[10])


def test_of_what_clients_of_ckks_send_nothing_but_c0_depends_on_the_vector():
    """The same entropy twice, with other vectors: all messages are equal, up to the upload's last part."""
    params, sessions = make_params(suite_name="ckks", n=6, length=WORDS), []
    for sign in (1, -1):
        vectors = {number: np.arange(1, WORDS + 1, dtype=np.int32) % number * sign for number in params.cohort}
        sessions.append(WatchedCommittee(vectors, seed=bytes(11), params=params).to(Phase.FINISHED))
    first, second = (play.responses for play in sessions)
    assert {key: len(frame) for key, frame in first.items()} == {key: len(frame) for key, frame in second.items()}
    hidden = sessions[0].modulus.vector_bytes(WORDS)
    for (phase, number), frame in first.items():
        other = second[phase, number]
        if phase is Phase.UPLOAD:
            assert frame[:-hidden] == other[:-hidden]
            assert (frame == other) is False
        else:
            assert (frame == other) is True  # members see c₁, and no more


def test_every_upload_and_every_answer_of_ckks_is_uniform_whatever_the_vector():
    """2 · (6 uploads of c₀ and c₁, 3 answers): 30 chi-square tests at 10^-6."""
    for value in (0, 1000):
        play = WatchedCommittee({number: np.full(WORDS, value, np.int32) for number in range(10, 16)}).to(Phase.OPEN)
        commons = [
            play.modulus.unpack(frame[64 : 64 + 2 * 4096 * 5], 4096)
            for frame in play.responses.values()
            if len(frame) > 2 * 4096 * 5
        ]
        play.to(Phase.FINISHED)
        seen = [*play.tails(Phase.UPLOAD).values(), *commons, *play.tails(Phase.OPEN).values()]
        assert len(seen) == 6 + 6 + 3
        for residues in seen:
            assert uniform_residues(play.modulus, residues) > 1e-6


def test_an_upload_of_ckks_does_not_correlate_with_its_vector():
    """|r| < 6/√m for both residues of six uploads of m = 4096 coordinates: false alarms below 3·10^-8."""
    play = WatchedCommittee().to(Phase.CONVENE)
    for number, residues in play.tails(Phase.UPLOAD).items():
        for row in residues:
            r = np.corrcoef(row.astype(float), play.vectors[number].astype(float))[0, 1]
            assert abs(r) < 6 / np.sqrt(WORDS)


def test_swapping_two_clients_vectors_leaves_the_sum_of_ckks_equal():
    play = WatchedCommittee().to(Phase.FINISHED)
    swapped = dict(play.vectors)
    swapped[10], swapped[11] = swapped[11], swapped[10]
    other = WatchedCommittee(swapped).to(Phase.FINISHED)
    assert play.server.result.error_std == 0
    assert np.array_equal(play.server.result.vector, other.server.result.vector)
    for number in (10, 11):
        difference = play.tails(Phase.UPLOAD)[number]
        play.modulus.negate(difference)
        play.modulus.add(difference, other.tails(Phase.UPLOAD)[number])
        assert uniform_residues(play.modulus, difference) > 1e-6  # nothing carries over: two tests at 10^-6


def opened_by(play, numbers, upload):
    """What the server reads of one upload with these members' shares, whatever the others would say."""
    modulus = play.modulus
    raw = upload[-2 * modulus.vector_bytes(4096) :]
    common, own = (modulus.unpack(part, 4096) for part in (raw[: len(raw) // 2], raw[len(raw) // 2 :]))
    for number in numbers:
        share = sharing.scaled(modulus, play.committee.members[number].share, sharing.at_zero(modulus, number, numbers))
        modulus.add(own, seal_ring(modulus).multiply(common[:, None], share)[:, 0])
    return own


def test_the_server_and_fewer_than_t_members_of_a_committee_cannot_open_an_upload():
    """Two of five members give all they hold: what they make of an upload is uniform (a test at 10^-6).

    With one more they read the vector, so that it is not for want of trying.
    """
    play = WatchedCommittee().to(Phase.CONVENE)
    upload, scale = play.responses[Phase.UPLOAD, 10], 2.0**play.params.setting.scale_bits
    assert uniform_residues(play.modulus, opened_by(play, (0, 3), upload)) > 1e-6
    opened = np.rint(play.modulus.centred(opened_by(play, (0, 3, 4), upload)) / scale)
    assert np.array_equal(opened, play.vectors[10])


def test_message_sizes_of_ckks_do_not_depend_on_the_vector():
    params, sizes = make_params(suite_name="ckks", length=64), []
    for value in (0, 1, -1000, 1000):
        play = Play(params, {number: np.full(64, value, np.int32) for number in params.cohort}).to(Phase.FINISHED)
        sizes.append({key: len(frame) for key, frame in play.responses.items()})
    assert all(size == sizes[0] for size in sizes)
