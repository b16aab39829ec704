"""What is released has the noise that the ledger says, measured on known inputs through whole runs.

Trainers here return updates that are known, so that a released sum less the sum of clipped updates is noise and nothing
else. Twenty clients, four rounds of 32 768 coordinates: 131 072 draws. The sample variance of N normal numbers has a
standard error of √(2/N), here 0.39 %, so that the 2 % which a variance may be off are 5.1 standard errors: over fresh
randomness a run fails by chance with a probability of 3·10⁻⁷ for its variance, and one of all the runs of this file for
one of all its reasons with about 10⁻⁴. Randomness is fixed here, but for that of suites, which cancels (`masking`,
`kahe`) or is far below the noise (`ckks`).

Besides noise there is rounding: at most 1/4 unit² for each client and coordinate, where noise has several hundred
thousand; its share is checked to be below 10⁻⁴. Released weights are float32, off by some 10⁻⁷ of the noise.
"""

import itertools
import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from loop_stubs import alike, same

pytest.importorskip("torch")
pytest.importorskip("dp_accounting")

from privfl.compression.rotation import rotate
from privfl.dp.accountants import account
from privfl.dp.events import DiscreteGaussian, Gaussian, Relation, Repeated, Skellam
from privfl.dp.ledger import read_ledger
from privfl.dp.noise import IntegerNoise
from privfl.dp.records import Charge
from privfl.learning.books import LEDGER
from privfl.learning.job import job_from_table
from privfl.learning.private import _seed
from privfl.learning.rounds import FederatedRun
from privfl.learning.trainer import Evaluation, LocalResult
from privfl.primitives.entropy import OsEntropy
from privfl.testing import UnsafeFixedEntropy

LENGTH = 1 << 15
CLIENTS = 20
ROUNDS = 4
CLIP = 2.0
MULTIPLIER = 1.0
FEWEST = 14
"""Contributors of a round that completes: threat.dropout is 0.3."""
CORRUPT = 2
"""Of twenty clients, the tenth that threat.corrupt says."""

SUITES = ("masking", "kahe", "ckks")
DISTRIBUTED = ("skellam", "discrete-gaussian")
MECHANISMS = (*DISTRIBUTED, "gaussian")
DROPPED = {"none": 0, "a tenth": 2, "three tenths": 6}

VARIANCE_BAR = 0.02
"""5.1 standard errors of a run's variance."""
ROUND_BAR = 0.04
"""5.1 standard errors of a round's."""
ERRORS = 6
"""Standard errors that a mean or a correlation may be off: by chance once in 5·10⁸; some 600 are looked at here."""


class Known:
    """A trainer whose clients always return the same update, each its own: of norms from a quarter of C to four C."""

    def __init__(self, shapes=None):
        self.clients = ()
        self._shapes = shapes or {"weight": (LENGTH // 64 - 1, 64), "bias": (64,)}
        chance = np.random.default_rng(20_261_122)
        self._updates = []
        for scale in np.geomspace(CLIP / 4, 4 * CLIP, CLIENTS):
            arrays = {name: chance.normal(size=shape) for name, shape in self._shapes.items()}
            norm = length_of(flat(arrays))
            self._updates.append({name: (scale / norm * array).astype(np.float32) for name, array in arrays.items()})

    def initial_weights(self):
        return {name: np.zeros(shape, np.float32) for name, shape in self._shapes.items()}

    def train(self, _weights, examples, *, seed, settings=None):
        client = next(number for number, own in enumerate(self.clients) if alike(own, examples))
        return LocalResult(update=self._updates[client], examples=len(examples), loss=0.0, correct=0)

    def evaluate(self, _weights, examples):
        return Evaluation(loss=0.0, correct=0, examples=len(examples))

    def clipped(self, client, clip=CLIP):
        update = flat(self._updates[client])
        return update * min(1.0, clip / length_of(update))


@dataclass
class Released:
    """What a round gave away, less what it was made of.

    `residual`: the released sum less the exact one, in the unit of updates. `whole`: the same as the server read it, in
    units of γ and rotated; None where padding or a clip bit hides a part of it. `shares`: what every contributor added
    to its own vector, where one looks inside.
    """

    charge: Charge
    contributors: tuple[int, ...]
    exact: np.ndarray
    residual: np.ndarray
    whole: np.ndarray | None
    shares: dict[int, np.ndarray] = field(repr=False)


def flat(arrays):
    return np.concatenate([array.astype(np.float64).ravel() for array in arrays.values()])


def dot(one, other):
    return float(np.sum(one * other))  # without BLAS, whose threads would wait for each other, busily


def length_of(vector):
    return math.sqrt(dot(vector, vector))


def silent(count):
    """Drop-outs by round, other clients every time: at uploads, in all phases up to them, half late, all late."""
    plans = []
    for number in range(1, ROUNDS + 1):
        who = [(5 * number + i) % CLIENTS for i in range(count)]
        plans.append(
            (
                {"MaskedInput": who},
                {"AdvertiseKeys": who[0::3], "ShareKeys": who[1::3], "MaskedInput": who[2::3]},
                {"MaskedInput": who[0::2], "Unmask": who[1::2]},
                {"Unmask": who},
            )[number - 1]
        )
    return plans


def make(suite, mechanism, *, drops=(), trainer=None, rounds=ROUNDS, out=None, fixed=True, **privacy):
    mode = "client-distributed" if mechanism in DISTRIBUTED else "client-central"
    table = {
        "suite": suite,
        "rounds": rounds,
        "model": "logistic",
        "data": {"clients": CLIENTS},
        "threat": {"dropout": 0.3, "corrupt": 0.1},
        "failures": {
            "drop": [
                {"round": number, "clients": who, "phase": phase}
                for number, phases in enumerate(drops, 1)
                for phase, who in phases.items()
                if who
            ]
        },
        "privacy": {"mode": mode, "mechanism": mechanism, "noise_multiplier": MULTIPLIER, "clip": CLIP, **privacy},
        "audit": {"probes": 0},
    }
    known = trainer or Known()
    run = FederatedRun(job_from_table(table), trainer=known, out=out)
    known.clients = run.data.clients
    if fixed:
        run.averaging._entropy = UnsafeFixedEntropy(b"released".ljust(16))
    return run


def released(run, out, drops=(), *, look_inside=False):
    """Carry a run out; return what each of its rounds released, beside its charge as it lies on disk."""
    known, plan, sent, contexts = run._trainer.own, run.averaging.plan, [], []
    hold = run._sessions.hold

    def listening(inputs, **others):
        sent.append(inputs.vectors)
        contexts.append(inputs.context)
        return hold(inputs, **others)

    run._sessions.hold = listening
    rounds, before, clip = [], flat(run.weights), run.clip
    for metrics in run:
        early = set(itertools.chain(*(who for phase, who in _phases(drops, metrics.round) if phase != "Unmask")))
        contributors = tuple(client for client in range(CLIENTS) if client not in early)
        assert metrics.contributors == len(contributors), metrics.aborted_because
        after = flat(run.weights)
        parts = {client: known.clipped(client, clip) for client in contributors}
        exact = sum(parts.values())
        # The denominator is public: all twenty, whoever came.
        residual = (after - before) * CLIENTS - exact
        as_sent = partial(_as_sent, plan, clip, _seed(contexts[-1]))
        hidden = plan.length != len(exact)
        shares = {client: sent[-1][client] - as_sent(part) for client, part in parts.items()} if look_inside else {}
        rounds.append((contributors, exact, residual, None if hidden else as_sent(residual), shares))
        before, clip = after, run.clip
    assert run.stopped is None
    charges = read_ledger(out / LEDGER).charges
    assert [charge.round for charge in charges] == list(range(1, len(rounds) + 1))
    return [Released(charge, *rest) for charge, rest in zip(charges, rounds, strict=True)]


def _as_sent(plan, clip, seed, vector):
    whole = vector / (clip * plan.granularity)
    return rotate(whole, seed) if plan.rotate else whole


def _phases(drops, number):
    return drops[number - 1].items() if drops else ()


def variance_said(charge):
    """Of the sum, in the unit of updates squared: worked out from what the ledger says was done, not from the plan."""
    facts = charge.facts
    shares = 1 if facts["mechanism"] == "gaussian" else facts["contributors"]
    return shares * facts["noise_variance"] * (facts["granularity"] * facts["clip"]) ** 2


def deviations(rounds):
    """Everything about released sums that is not as their charges say; nothing, if they are honest.

    `ledger`: a charge contradicts itself. `variance`, `mean`: of the noise, over all rounds. `variance of round …`: of
    one. `data`: the noise leans on the sum that it hides. `rounds … and …`: their noise is not independent.
    """
    found = []
    standard = []
    for number, one in enumerate(rounds, 1):
        said = variance_said(one.charge)
        if not math.isclose(one.charge.facts["noise_std_of_sum"], math.sqrt(said), rel_tol=1e-12):
            found.append("ledger")
        standard.append(one.residual / math.sqrt(said))
        if abs(float(np.mean(standard[-1] ** 2)) - 1) > ROUND_BAR:
            found.append(f"variance of round {number}")
        # Noise that leans on nothing has a projection of variance 1 on any direction.
        if abs(dot(standard[-1], one.exact)) / length_of(one.exact) > ERRORS:
            found.append("data")
    every = np.concatenate(standard)
    if abs(float(np.mean(every**2)) - 1) > VARIANCE_BAR:
        found.append("variance")
    if abs(float(np.mean(every))) > ERRORS / math.sqrt(len(every)):
        found.append("mean")
    # Rotations are new in every round: the same whole numbers twice do not show in updates, only as they were sent.
    views = [standard]
    if all(one.whole is not None for one in rounds):
        views.append([one.whole / np.std(one.whole) for one in rounds])
    for (i, j), view in itertools.product(itertools.combinations(range(len(rounds)), 2), views):
        if abs(dot(view[i], view[j])) > ERRORS * math.sqrt(len(view[i])):
            found.append(f"rounds {i + 1} and {j + 1}")
    return found


@pytest.mark.parametrize("dropped", DROPPED)
@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("suite", SUITES)
def test_released_sums_have_the_noise_that_the_ledger_says(suite, mechanism, dropped, tmp_path):
    """Variance within 2 %, mean 0, fresh in every round, at 0, 10 and 30 % drop-out in all phases.

    False alarm: 3·10⁻⁷ for the variance, 10⁻⁶ for those of the four rounds, 4·10⁻⁸ for means and correlations.
    """
    drops = silent(DROPPED[dropped])
    rounds = released(make(suite, mechanism, drops=drops, out=tmp_path), tmp_path, drops)
    assert deviations(rounds) == []
    early = DROPPED[dropped]
    assert [one.charge.facts["contributors"] for one in rounds] == [20 - early, 20 - early, 20 - -(-early // 2), 20]
    for one in rounds:
        noise = variance_said(one.charge) / (one.charge.facts["granularity"] * CLIP) ** 2
        assert len(one.contributors) / 4 < 1e-4 * noise, "rounding is nothing beside it"


@pytest.mark.parametrize("mechanism", DISTRIBUTED)
def test_padded_vectors_and_arrays_clipped_one_by_one_have_that_noise_too(mechanism, tmp_path):
    """Noise on the padding is lost, noise on the update is not. False alarm: 3·10⁻⁷, as above."""

    class PerArray(Known):
        def clipped(self, client, clip=CLIP):
            each = clip / math.sqrt(len(self._shapes))
            arrays = [array.astype(np.float64).ravel() for array in self._updates[client].values()]
            return np.concatenate([array * min(1.0, each / length_of(array)) for array in arrays])

    trainer = PerArray({"weight": (LENGTH // 2 + 900,), "bias": (LENGTH // 4,)})
    drops = silent(6)
    run = make("kahe", mechanism, drops=drops * 2, trainer=trainer, rounds=8, out=tmp_path, clipping="per-layer")
    rounds = released(run, tmp_path, drops * 2)
    assert rounds[0].whole is None
    assert deviations(rounds) == []


@pytest.mark.parametrize("mechanism", ["skellam", "gaussian"])
def test_noise_follows_a_clip_that_moves(mechanism, tmp_path):
    """What a round was clipped to is what its charge says. False alarm: 3·10⁻⁷, as above."""
    adaptive = {"quantile": 0.2, "learning_rate": 1.0, "noise": 2.0}
    trainer = Known({"weight": (LENGTH - 1,)})  # the bit is the last coordinate
    run = make("masking", mechanism, trainer=trainer, out=tmp_path, adaptive=adaptive)
    rounds = released(run, tmp_path)
    clips = [one.charge.facts["clip"] for one in rounds]
    assert clips[0] == CLIP
    assert max(clips) / min(clips) > 1.2, "it does move"
    assert deviations(rounds) == []


# What is charged


@pytest.mark.parametrize("mechanism", DISTRIBUTED)
def test_what_corrupt_clients_cannot_subtract_is_what_was_charged(mechanism, tmp_path):
    """Two contributors tell their noise: the rest has the charged event's variance. False alarm: 3·10⁻⁷."""
    drops = silent(6)
    rounds = released(make("masking", mechanism, drops=drops, out=tmp_path), tmp_path, drops, look_inside=True)
    left = []
    for one in rounds:
        event = one.charge.events[0].event
        charged = event.variance if isinstance(event, Skellam) else event.contributors * event.local_std**2
        traitors = one.contributors[:CORRUPT]
        left.append((one.whole - sum(one.shares[client] for client in traitors)) / math.sqrt(charged))
        assert abs(np.mean(left[-1] ** 2) - 1) < ROUND_BAR
    assert abs(np.mean(np.concatenate(left) ** 2) - 1) < VARIANCE_BAR


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_charges_are_worked_out_again_from_what_was_done(mechanism, tmp_path):
    """Honest contributors alone count, the server's noise counts once, and never more is charged for than was done."""
    drops = silent(6)
    for one in released(make("kahe", mechanism, drops=drops, out=tmp_path), tmp_path, drops):
        (repeated,), facts = one.charge.events, one.charge.facts
        assert repeated.count == 1
        event, variance = repeated.event, Fraction(facts["noise_variance"])
        honest = len(one.contributors) - CORRUPT
        l2_squared = round(facts["l2_sensitivity"] ** 2)
        if mechanism == "gaussian":
            assert isinstance(event, Gaussian)
            # A discrete Gaussian is charged as the continuous one that it comes from by rounding.
            assert event.noise_multiplier == pytest.approx(math.sqrt((variance - 16) / l2_squared), rel=1e-12)
            assert Fraction(event.noise_multiplier) ** 2 * l2_squared <= variance - 16
            effective = event.noise_multiplier
        elif mechanism == "skellam":
            assert isinstance(event, Skellam)
            assert Fraction(event.variance) == honest * variance
            effective = math.sqrt(honest * variance / l2_squared)
        else:
            assert isinstance(event, DiscreteGaussian)
            assert (event.contributors, event.dimension) == (honest, LENGTH)
            assert variance * (1 - Fraction(1, 2**50)) <= Fraction(event.local_std) ** 2 <= variance
            effective = math.sqrt(honest * variance / l2_squared)
        if mechanism != "gaussian":
            assert event.l2_sensitivity**2 >= l2_squared * (1 - 1e-15)
            assert event.l1_sensitivity >= min(math.sqrt(LENGTH * l2_squared), l2_squared) * (1 - 1e-15)
        assert facts["noise_multiplier_effective"] == pytest.approx(effective, rel=1e-9)
        assert effective >= MULTIPLIER * (1 - 1e-12), "whoever dropped out"


@pytest.mark.parametrize("mechanism", DISTRIBUTED)
def test_every_drop_out_costs(mechanism):
    """The fewer contributors the more ε, down to the fewest, with whom the round costs what was planned."""
    guarantee = make("masking", mechanism).guarantee
    costs = [guarantee.cost(contributors) for contributors in range(FEWEST, CLIENTS + 1)]
    assert costs[0] == guarantee.planned
    spent = [account([cost], 1e-5, Relation.ZERO_OUT, names=("pld", "rdp")).epsilon for cost in costs]
    assert spent == sorted(spent, reverse=True)
    assert len(set(spent)) == len(spent)
    # Next to the continuous Gaussian of the noise multiplier that was asked for: 2 % of noise are 2 or 3 % of ε.
    gaussian = [Repeated(event=Gaussian(noise_multiplier=MULTIPLIER), count=1)]
    accountant = "rdp" if mechanism == "skellam" else "pld"
    assert spent[0] == pytest.approx(account(gaussian, 1e-5, Relation.ZERO_OUT).accountants[accountant], rel=0.03)


def test_the_servers_noise_does_not_drop_out():
    guarantee = make("masking", "gaussian").guarantee
    assert {guarantee.cost(contributors) for contributors in range(1, CLIENTS + 1)} == {guarantee.planned}


@pytest.mark.parametrize("suite", SUITES)
def test_too_few_contributors_release_nothing_and_cost_nothing(suite, tmp_path):
    run = make(suite, "skellam", drops=[{"MaskedInput": list(range(CLIENTS - FEWEST + 1))}], rounds=1, out=tmp_path)
    (metrics,) = run
    assert metrics.aborted
    assert not flat(run.weights).any()
    assert read_ledger(tmp_path / LEDGER).charges == ()


# Shares of noise


@pytest.mark.parametrize("mechanism", DISTRIBUTED)
def test_every_client_adds_its_own_share_anew_in_every_round(mechanism, tmp_path):
    """All shares of a run have the variance of a share, and no two of them have anything in common.

    3160 correlations, each beyond six standard errors once in 5·10⁸; 20 variances, each off by 2 % with 3·10⁻⁷.
    """
    rounds = released(make("masking", mechanism, out=tmp_path), tmp_path, look_inside=True)
    variance = rounds[0].charge.facts["noise_variance"]
    shares = np.array([one.shares[client] for client in range(CLIENTS) for one in rounds]) / math.sqrt(variance)
    gram = shares @ shares.T / LENGTH
    assert np.abs(np.diag(gram).reshape(CLIENTS, ROUNDS).mean(axis=1) - 1).max() < VARIANCE_BAR
    assert np.abs(gram - np.diag(np.diag(gram))).max() < ERRORS / math.sqrt(LENGTH)
    # Nor is one of them another one, moved along by some blocks.
    begins = np.rint(shares[:, : LENGTH // 4] * math.sqrt(variance) / 8)
    assert len({begin.tobytes() for begin in begins}) == len(begins)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_no_coordinate_is_left_without_noise(mechanism, tmp_path):
    """Not the last, not one between blocks: over eight rounds each of them moves, in every share and in the sum.

    Without noise, Σ residual²/variance over the rounds would be what rounding leaves, below 10⁻⁴; with it, it is χ²
    with 8 degrees, below 4·10⁻⁴ once in 10¹⁶ and thus in one of all coordinates of all shares once in 10¹⁰.
    """
    run = make("kahe", mechanism, rounds=8, out=tmp_path)
    rounds = released(run, tmp_path, look_inside=mechanism in DISTRIBUTED)
    facts = rounds[0].charge.facts
    sums = [one.whole / math.sqrt(variance_said(one.charge)) * facts["granularity"] * CLIP for one in rounds]
    assert np.sum(np.square(sums), axis=0).min() > 4e-4
    for client in rounds[0].shares:
        shares = np.array([one.shares[client] for one in rounds])
        assert np.sum(np.square(shares), axis=0).min() > 4e-4 * facts["noise_variance"]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_the_same_job_has_other_noise_every_time(mechanism, tmp_path):
    """No seed leads to it. By chance, correlations of two runs are beyond the bar once in 10⁸."""
    runs = []
    for name in ("once", "again"):
        run = make("kahe", mechanism, rounds=1, out=tmp_path / name, fixed=False)
        assert type(run.averaging._entropy) is OsEntropy
        runs.extend(released(run, tmp_path / name))
    # A first round has the same rotation in both: it follows from model, job and number, which all parties know.
    once, again = (one.residual / math.sqrt(variance_said(one.charge)) for one in runs)
    assert abs(dot(once, again)) < ERRORS * math.sqrt(LENGTH)


def test_where_the_server_adds_the_noise_clients_add_none(tmp_path):
    for one in released(make("masking", "gaussian", rounds=1, out=tmp_path), tmp_path, look_inside=True):
        assert len(one.shares) == CLIENTS
        assert max(float(np.abs(share).max()) for share in one.shares.values()) < 1 + 1e-6, "rounding"


# Negative controls: aggregators that add too little, or charge for more than was there


def less(noise, numerator, denominator):
    return IntegerNoise(kind=noise.kind, variance=noise.variance * Fraction(numerator, denominator))


def a_tenth_less(run):
    codec = run.averaging.codec
    run.averaging.codec = replace(codec, noise=less(codec.noise, 9, 10))


def a_twentieth_of_the_deviation_less(run):
    plan = run.averaging.plan
    run.averaging.plan = replace(plan, noise=less(plan.noise, 361, 400))


def a_tenth_less_in_one_round(run):
    honest = run.averaging.codec
    encode, lesser = run.averaging.encode, replace(honest, noise=less(honest.noise, 9, 10))

    def encoded(result, *, context, **more):
        run.averaging.codec = lesser if len(run.metrics) == 2 else honest
        return encode(result, context=context, **more)

    run.averaging.encode = encoded


def one_client_adds_none(run):
    honest = run.averaging.codec
    encode, first = run.averaging.encode, run._trainer.own._updates[0]

    def encoded(result, *, context, **more):
        run.averaging.codec = replace(honest, noise=None) if same(result.update, first) else honest
        return encode(result, context=context, **more)

    run.averaging.encode = encoded


def two_clients_share_a_stream(run):
    encode, entropy, twins = run.averaging.encode, run.averaging._entropy, run._trainer.own._updates[:2]

    def encoded(result, *, context, **more):
        twin = any(same(result.update, one) for one in twins)
        run.averaging._entropy = UnsafeFixedEntropy(context[:16]) if twin else entropy
        return encode(result, context=context, **more)

    run.averaging.encode = encoded


def the_same_noise_in_every_round(run):
    train = run._work.train

    def again(*arguments, **others):
        run.averaging._entropy = UnsafeFixedEntropy(b"again and again.")
        return train(*arguments, **others)

    run._work.train = again


def charged_as_if_nobody_dropped_out(run):
    charge = run._charge
    run._charge = lambda inputs, _contributors: charge(inputs, len(inputs.cohort))


def noise_for_a_smaller_clip(run):
    facts = run._noise_facts
    run._noise_facts = lambda contributors: {**facts(contributors), "clip": 1.02 * CLIP}


ALL_ROUNDS = {f"rounds {i} and {j}" for i, j in itertools.combinations(range(1, ROUNDS + 1), 2)}


@pytest.mark.parametrize(
    ("mechanism", "defect", "dropped", "at_least"),
    [
        ("skellam", a_tenth_less, 0, {"variance"}),
        ("discrete-gaussian", a_tenth_less, 6, {"variance"}),
        ("gaussian", a_twentieth_of_the_deviation_less, 0, {"variance"}),
        ("gaussian", a_twentieth_of_the_deviation_less, 6, {"variance"}),
        ("skellam", a_tenth_less_in_one_round, 2, {"variance of round 3", "variance"}),
        ("skellam", one_client_adds_none, 0, {"variance"}),
        ("discrete-gaussian", one_client_adds_none, 0, {"variance"}),
        ("skellam", two_clients_share_a_stream, 0, {"variance"}),
        ("skellam", the_same_noise_in_every_round, 0, ALL_ROUNDS),
        ("discrete-gaussian", the_same_noise_in_every_round, 0, ALL_ROUNDS),
        ("gaussian", the_same_noise_in_every_round, 0, ALL_ROUNDS),
        ("skellam", charged_as_if_nobody_dropped_out, 2, {"variance", "variance of round 1", "variance of round 2"}),
        ("discrete-gaussian", charged_as_if_nobody_dropped_out, 6, {"variance"}),
        ("gaussian", noise_for_a_smaller_clip, 0, {"ledger", "variance"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_too_little_noise_is_caught(mechanism, defect, dropped, at_least, tmp_path):
    """By the check that honest runs pass.

    A deficit of 5 % of the variance is 12.8 standard errors, of which the bar takes 5.1: one slips through with a
    probability below 10⁻¹⁴; of 2.5 %, once in ten.
    """
    drops = silent(dropped)
    run = make("masking", mechanism, drops=drops, out=tmp_path)
    defect(run)
    assert at_least <= set(deviations(released(run, tmp_path, drops)))
