"""Cohorts: who is invited, by what, and what the server learns of those who are asked.

Statistical tests run over fixed seeds; each would raise a false alarm in one of a million, or fewer, of fresh ones.
"""

import itertools
import math

import pytest

from privfl import ConfigurationError
from privfl.learning.cohort import COIN_EPSILON, Losses, draw_cohort, volunteering_probability
from privfl.learning.cohort_job import CohortJob, Sampling
from privfl.learning.evaluation_job import EvaluationJob
from privfl.learning.fleet_job import FleetJob
from privfl.learning.job import DataJob, Job, job_from_table

RARE = 1e-6
ROUNDS = range(1, 1501)


def job_of(clients, **cohort):
    keys = CohortJob(**cohort)
    evaluation = EvaluationJob(federated=keys.sampling is Sampling.LOSS)
    fleet = FleetJob(speed_spread=1.0) if keys.sampling is Sampling.SPEED else None
    return Job(suite="plain", data=DataJob(clients=clients), cohort=keys, evaluation=evaluation, fleet=fleet)


class Checked:
    """A roll: who is there, and how fast."""

    def __init__(self, there, speeds=None):
        self._there, self._speeds = frozenset(there), speeds

    def available(self, client):
        return client in self._there

    def speed(self, client):
        return self._speeds[client] if self._speeds else 1.0


def ask_nobody(client):
    raise AssertionError(f"client {client} was asked")


def times(drawn, client):
    return sum(client in cohort for cohort in drawn)


# -- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"over_selection": -0.1, "size": 5}, "cohort.over_selection is -0.1: 0 to 10 works"),
        ({"over_selection": math.nan, "size": 5}, "cohort.over_selection is nan: 0 to 10 works"),
        ({"over_selection": 0.3}, "cohort.over_selection is set without cohort.size"),
        (
            {"over_selection": 0.3, "sampling": Sampling.POISSON, "probability": 0.5},
            "cohort.over_selection is set though cohort.sampling 'poisson'",
        ),
        ({"over_selection": 0.5, "size": 4, "minimum": 5}, "cohort.minimum is 5 with cohort.size 4: up to 4 works"),
        ({"deadline_s": 0.0}, "cohort.deadline_s is 0.0: seconds above 0 work"),
        ({"deadline_s": math.inf}, "cohort.deadline_s is inf: seconds above 0 work"),
        ({"preference": 1.0}, "cohort.preference is set though cohort.sampling 'uniform' prefers nobody"),
        ({"explore": 0.1, "sampling": Sampling.AVAILABLE}, "cohort.explore is set though cohort.sampling 'available'"),
        ({"sampling": Sampling.SPEED}, "cohort.sampling is 'speed' without cohort.size"),
        ({"preference": -1.0, "size": 5, "sampling": Sampling.SPEED}, "cohort.preference is -1.0: 0 to 10 works"),
        ({"explore": 1.5, "size": 5, "sampling": Sampling.LOSS}, "cohort.explore is 1.5: 0 to 1 works"),
    ],
)
def test_a_wrong_cohort_is_one_sentence_that_names_the_key_and_what_works(keys, sentence):
    with pytest.raises(ConfigurationError) as refused:
        CohortJob(**keys)
    assert sentence in str(refused.value)


def test_over_selection_invites_so_many_more_and_goes_on_with_the_size():
    invited = {(50, 0.1): 55, (10, 0.3): 13, (3, 0.5): 5, (20, 0.05): 21, (5, 0.0): 5}
    for (size, share), more in invited.items():
        assert CohortJob(size=size, over_selection=share).invited == more
    assert CohortJob(size=10, over_selection=0.3).goal == 10
    assert CohortJob(size=10).goal is None  # then all are waited for
    assert CohortJob().invited is None
    job = job_of(20, size=10, over_selection=0.3)
    assert (job.cohort_size, job.goal, len(draw_cohort(job, 1))) == (13, 10, 13)


# -- who is there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["available", "speed", "loss"])
def test_nobody_is_invited_who_did_not_check_in(sampling):
    """Guarantees 1 and 2 of `draw_cohort`."""
    job = job_of(9, size=3, sampling=Sampling(sampling))
    losses = Losses(mean=1.0, of=lambda client: client + 0.1)
    there = (1, 2, 4, 7, 8)
    for number in range(1, 101):
        cohort = draw_cohort(job, number, roll=Checked(there), losses=losses)
        assert len(set(cohort)) == 3
        assert set(cohort) <= set(there)
        assert list(cohort) == sorted(cohort)
        assert cohort == draw_cohort(job, number, roll=Checked(there), losses=losses)
    for few in ((), (5,), (2, 3, 6)):
        assert draw_cohort(job, 1, roll=Checked(few), losses=losses) == few


def test_those_who_are_there_are_drawn_uniformly():
    from scipy import stats

    job = job_of(9, size=2, sampling=Sampling.AVAILABLE)
    drawn = [draw_cohort(job, number, roll=Checked((1, 2, 4, 7))) for number in ROUNDS]
    pairs = [drawn.count(pair) for pair in itertools.combinations((1, 2, 4, 7), 2)]
    assert stats.chisquare(pairs).pvalue > RARE


@pytest.mark.parametrize(
    "keys",
    [
        {"size": 4},
        {"size": 4, "sampling": Sampling.FIXED},
        {"sampling": Sampling.POISSON, "probability": 0.5},
    ],
)
def test_others_are_invited_whether_they_are_there_or_not(keys):
    job = job_of(10, **keys)
    for number in (1, 2, 3):
        assert draw_cohort(job, number, roll=Checked(())) == draw_cohort(job, number)


def test_where_all_are_there_the_same_are_drawn_as_if_nobody_had_been_asked():
    uniform, available = (job_of(10, size=4, sampling=sampling) for sampling in (Sampling.UNIFORM, Sampling.AVAILABLE))
    for number in (1, 2, 3):
        assert draw_cohort(available, number, roll=Checked(range(10))) == draw_cohort(uniform, number)


@pytest.mark.parametrize(
    ("changes", "corrupt"),
    [
        ({}, 1),
        ({"cohort": {"size": 10, "sampling": "available"}}, 3),
        ({"cohort": {}, "strategy": {"name": "fedbuff", "buffer": 10}}, 3),
    ],
    ids=["drawn by the server", "available", "fedbuff"],
)
def test_where_clients_choose_when_to_come_all_corrupt_ones_may_be_in_one_sum(changes, corrupt):
    """Thirty clients of whom a tenth may be corrupt, ten in a sum: what noise is sized for."""
    table = {
        "suite": "masking",
        "data": {"clients": 30},
        "cohort": {"size": 10},
        "threat": {"corrupt": 0.1},
        "privacy": {"mode": "client-distributed", "noise_multiplier": 1.0, "delta": 1e-3, "clip": 1.0},
    }
    assert job_from_table(table | changes).corrupt_clients == corrupt


# -- speed ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preference", [0.0, 0.5, 1.0])
def test_clients_are_drawn_in_proportion_to_their_speed_without_replacement(preference):
    from scipy import stats

    speeds = {0: 1.0, 2: 2.0, 3: 4.0, 5: 0.5}
    job = job_of(6, size=2, sampling=Sampling.SPEED, preference=preference, explore=0.0)
    weights = {client: speed**preference for client, speed in speeds.items()}
    total = sum(weights.values())
    expected = [
        weights[one] / total * weights[other] / (total - weights[one])
        + weights[other] / total * weights[one] / (total - weights[other])
        for one, other in itertools.combinations(speeds, 2)
    ]
    drawn = [draw_cohort(job, number, roll=Checked(speeds, speeds)) for number in ROUNDS]
    counts = [drawn.count(tuple(sorted(pair))) for pair in itertools.combinations(speeds, 2)]
    assert stats.chisquare(counts, [len(drawn) * share for share in expected]).pvalue > RARE


def test_of_a_speed_nothing_counts_but_its_power_of_two():
    job = job_of(8, size=3, sampling=Sampling.SPEED)
    exact = dict(enumerate((100.0, 120.0, 140.0, 170.0, 30.0, 35.0, 40.0, 45.0)))
    coarse = dict.fromkeys(range(4), 128.0) | dict.fromkeys(range(4, 8), 32.0)
    for number in range(1, 201):
        assert draw_cohort(job, number, roll=Checked(exact, exact)) == draw_cohort(
            job, number, roll=Checked(coarse, coarse)
        )


def test_a_claim_of_speed_counts_for_eight_times_the_median_at_most():
    """Who claims to be a million times as fast is drawn as who claims to be eight times as fast."""
    job = job_of(8, size=2, sampling=Sampling.SPEED, preference=1.0, explore=0.0)
    honest = dict.fromkeys(range(7), 4.0)
    boast, bounded = honest | {7: 4.0 * 2.0**20}, honest | {7: 32.0}
    drawn = [draw_cohort(job, number, roll=Checked(boast, boast)) for number in range(1, 201)]
    assert drawn == [draw_cohort(job, number, roll=Checked(bounded, bounded)) for number in range(1, 201)]
    assert times(drawn, 7) < 200


@pytest.mark.parametrize("sampling", ["speed", "loss"])
def test_nobody_who_checks_in_is_left_out_for_good(sampling):
    """Guarantee 3, for the slowest by far, and for the one whom the model serves best."""
    from scipy import stats

    job = job_of(6, size=2, sampling=Sampling(sampling), preference=10.0, explore=0.6)
    roll = Checked(range(6), dict.fromkeys(range(1, 6), 1024.0) | {0: 1.0})
    losses = Losses(mean=1.0, of=lambda client: 9.0 if client else 0.0)
    invited = times([draw_cohort(job, number, roll=roll, losses=losses) for number in ROUNDS], 0)
    floor = stats.binomtest(invited, len(ROUNDS), 0.6 * 2 / 6, alternative="less")
    assert floor.pvalue > RARE
    if sampling == "speed":  # and no oftener: the preference leaves it a place in one of 2^100 rounds
        assert stats.binomtest(invited, len(ROUNDS), 0.6 * 2 / 6).pvalue > RARE


# -- losses -----------------------------------------------------------------------------------------------------------


def test_a_client_that_the_model_serves_worse_comes_more_often():
    """Two clients and one place: coins of 0.8 and 0.2, and a draw where both or neither volunteer; 0.8 in all."""
    from scipy import stats

    job = job_of(2, size=1, sampling=Sampling.LOSS, explore=0.0)
    losses = Losses(mean=0.5, of={0: 0.1, 1: 4.0}.get)
    served_badly = times([draw_cohort(job, number, losses=losses) for number in ROUNDS], 1)
    assert stats.binomtest(served_badly, len(ROUNDS), 0.8).pvalue > RARE


def test_a_coin_tells_no_more_of_a_loss_than_it_promises():
    """Guarantee 1 of the coin: no face is more than e^ε times as likely under one loss as under another; some is."""
    own = [0.0, 1e-300, 0.01, 0.49, 0.5, 0.7, 1.0, 1.9, 2.1, 50.0, 1e300, math.inf, math.nan]
    largest = 0.0
    for share, exponent in itertools.product((1e-6, 0.1, 0.39, 0.5, 0.9, 1.0), (0.0, 0.3, 1.0, 10.0)):
        comes = [volunteering_probability(share, loss, 1.0, exponent=exponent) for loss in own]
        assert all(0 < chance < 1 for chance in comes)
        for face in (comes, [1 - chance for chance in comes]):
            largest = max(largest, math.log(max(face) / min(face)))
    assert largest == pytest.approx(COIN_EPSILON, rel=1e-9)


def test_a_client_volunteers_by_how_its_loss_compares_with_the_mean():
    def chance(own, exponent=1.0):
        return volunteering_probability(0.2, own, 0.8, exponent=exponent)

    assert chance(0.8) == pytest.approx(0.2)
    assert chance(1.2) == pytest.approx(0.3)
    assert chance(0.6) == pytest.approx(0.15)
    assert chance(1.0, exponent=2.0) == pytest.approx(0.2 * 1.25**2)
    assert chance(8.0) == chance(math.nan) == pytest.approx(0.4)
    assert chance(0.0) == pytest.approx(0.1)
    assert {chance(own, exponent=0.0) for own in (0.0, 0.1, 0.8, 9.0, math.inf, math.nan)} == {0.2}


def test_every_client_that_is_asked_computes_its_own_loss_once():
    asked = []

    def own(client):
        asked.append(client)
        return 1.0

    draw_cohort(
        job_of(9, size=2, sampling=Sampling.LOSS, explore=0.0),
        1,
        roll=Checked((1, 4, 6, 8)),
        losses=Losses(mean=1.0, of=own),
    )
    assert asked == [1, 4, 6, 8]


def test_who_is_invited_follows_from_coins_and_from_nothing_else_of_a_loss():
    """Guarantee 4 of `draw_cohort`: losses far from the mean toss the same coins, however far they are."""
    job = job_of(12, size=4, sampling=Sampling.LOSS)
    near, far = (Losses(mean=1.0, of=lambda client, far=far: far if client % 3 else 1 / far) for far in (2.5, 4e4))
    cohorts = [draw_cohort(job, number, losses=near) for number in range(1, 101)]
    assert len(set(cohorts)) > 50
    assert cohorts == [draw_cohort(job, number, losses=far) for number in range(1, 101)]


@pytest.mark.parametrize("mean", [None, math.nan, math.inf, 0.0])
def test_without_a_mean_to_compare_with_nobody_is_asked_or_preferred(mean):
    losses = None if mean is None else Losses(mean=mean, of=ask_nobody)
    by_loss, available = (job_of(9, size=3, sampling=sampling) for sampling in (Sampling.LOSS, Sampling.AVAILABLE))
    roll = Checked((0, 2, 3, 5, 8))
    for number in (1, 2, 3):
        assert draw_cohort(by_loss, number, roll=roll, losses=losses) == draw_cohort(available, number, roll=roll)


def test_nobody_is_asked_for_whom_there_is_no_place():
    losses = Losses(mean=1.0, of=ask_nobody)
    assert len(draw_cohort(job_of(9, size=3, sampling=Sampling.LOSS, explore=1.0), 1, losses=losses)) == 3
    assert draw_cohort(job_of(3, size=3, sampling=Sampling.LOSS), 1, losses=losses) == (0, 1, 2)
