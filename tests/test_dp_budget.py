"""Budgets: what is admitted, what is refused, and that the rule was fixed beforehand."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privfl.dp.accountants import RdpAccountant, account
from privfl.dp.accountants import rdp as rdp_module
from privfl.dp.budget import Budget
from privfl.dp.events import (
    Composed,
    DiscreteGaussian,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampled,
    Relation,
    Repeated,
    Skellam,
    TreeAggregation,
    Unsupported,
)
from privfl.dp.plan import flat, takes
from privfl.dp.renyi import ORDERS, best_order, filtered_epsilon
from privfl.errors import BudgetExceeded, ConfigurationError, UnsupportedEvent

DELTA = 1e-5
ZERO_OUT = Relation.ZERO_OUT


def gaussian(noise_multiplier, count=1):
    return Repeated(event=Gaussian(noise_multiplier=noise_multiplier), count=count)


def sampled(noise_multiplier, probability, count=1):
    inner = Gaussian(noise_multiplier=noise_multiplier)
    return Repeated(event=PoissonSampled(sampling_probability=probability, event=inner), count=count)


def skellam(variance, l2=100.0, l1=5000.0, count=1):
    return Repeated(event=Skellam(l2_sensitivity=l2, l1_sensitivity=l1, variance=variance), count=count)


def discrete(contributors, std=30.0, l2=100.0, l1=5000.0, dimension=4096):
    event = DiscreteGaussian(
        l2_sensitivity=l2, l1_sensitivity=l1, local_std=std, contributors=contributors, dimension=dimension
    )
    return Repeated(event=event)


def budget(epsilon=4.0, **more):
    return Budget(**{"epsilon": epsilon, "delta": DELTA, "relation": ZERO_OUT, **more})


def admitted(limit, charges):
    """How many of some charges pass, one after the other, until one does not."""
    spent = []
    for number, events in enumerate(charges):
        try:
            limit.check(spent, events)
        except BudgetExceeded:
            return number
        spent += events
    return len(charges)


def epsilon_of(events):
    return account(events, DELTA, ZERO_OUT).epsilon


# The filter


def test_the_filter_stops_where_one_order_says_so():
    """By hand: α/(2z²) a release, and ε = divergence + ln(1 − 1/α) − ln(αδ)/(α − 1)."""
    limit = budget(4.0)
    order = limit.order
    offset = math.log(1 - 1 / order) - math.log(order * DELTA) / (order - 1)
    lasts = math.floor((4.0 - offset) / (order / (2 * 5.0**2)))
    assert lasts > 5
    assert admitted(limit, [[gaussian(5.0)]] * (lasts + 10)) == lasts


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0, 8.0, 40.0])
@pytest.mark.parametrize("delta", [1e-10, 1e-5, 1e-2])
def test_the_order_is_the_best_for_gaussians(epsilon, delta):
    """The largest ρ with α·ρ + offset(α) ≤ ε, against ten thousand orders."""

    def noise(order):
        offset = np.log1p(-1 / order) - np.log(order * delta) / (order - 1)
        return (epsilon - offset) / order

    chosen = best_order(epsilon, delta)
    assert chosen in ORDERS
    assert noise(chosen) == max(noise(order) for order in ORDERS)
    assert noise(chosen) > 0.9 * noise(np.geomspace(1.01, 5000, 10_000)).max()


def test_the_orders_are_those_of_the_rdp_accountant():
    assert set(ORDERS) <= set(rdp_module.renyi_orders())
    assert all(order == round(order) for order in ORDERS if order >= 3)


def test_the_filter_keeps_to_its_order_though_another_would_look_better():
    """Choosing among orders by outcome is not covered by the theorem."""
    events = [sampled(1.0, 0.01, count=200)]
    accountant = RdpAccountant(ZERO_OUT)
    accountant.compose(events[0])
    at_the_best, at_the_fixed = accountant.epsilon(DELTA), filtered_epsilon(events, DELTA, ZERO_OUT, 2.0)
    assert at_the_best < at_the_fixed - 0.5
    limit = budget((at_the_best + at_the_fixed) / 2, order=2.0)
    with pytest.raises(BudgetExceeded):
        limit.check([], events)


@given(
    noises=st.lists(st.floats(0.5, 50), min_size=1, max_size=8),
    epsilon=st.floats(0.5, 20),
)
def test_what_the_filter_admits_is_within_the_budget_by_the_tight_accountant(noises, epsilon):
    """Guarantee 1, as far as one history shows."""
    limit, spent = budget(epsilon), []
    for noise in noises:
        try:
            limit.check(spent, [gaussian(noise)])
        except BudgetExceeded:
            continue
        spent.append(gaussian(noise))
    assert epsilon_of(spent) <= epsilon


def test_the_filter_takes_skellam_and_what_else_the_rdp_accountant_knows():
    limit = budget(4.0)
    each = [skellam(40_000.0), discrete(50), sampled(2.0, 0.1), Repeated(event=Laplace(noise_multiplier=20.0))]
    for event in each:
        assert 0 < admitted(limit, [[event]] * 400) < 400


def test_the_refusal_says_what_epsilon_would_be_and_what_the_budget_is():
    would_be = filtered_epsilon([gaussian(2.0, 20)], DELTA, ZERO_OUT, budget(4.0).order)
    with pytest.raises(BudgetExceeded) as refusal:
        budget(4.0).check([gaussian(2.0, 10)], [gaussian(2.0, 10)])
    assert str(refusal.value).startswith(f"ε would be {would_be:.4g} and the budget is 4 (privacy.epsilon): ")


def test_an_event_that_the_accountant_does_not_know_is_not_admitted():
    with pytest.raises(UnsupportedEvent):
        budget().check([], [Repeated(event=Unsupported(name="report-noisy-max"))])


# The plan


def test_a_calibrated_plan_lasts_for_its_rounds_and_not_one_more():
    """The tight ε of the plan is the budget: the filter would have stopped earlier."""
    epsilon = epsilon_of([sampled(1.0, 0.05, count=100)])
    limit = budget(epsilon, planned=sampled(1.0, 0.05), planned_rounds=100)
    assert limit.affordable_rounds() == 100
    assert admitted(limit, [[sampled(1.0, 0.05)]] * 105) == 100
    assert admitted(budget(epsilon), [[sampled(1.0, 0.05)]] * 105) < 95


def test_a_plan_that_costs_too_much_lasts_for_as_many_rounds_as_the_budget_affords():
    limit = budget(2.0, planned=gaussian(5.0), planned_rounds=1000)
    lasts = limit.affordable_rounds()
    assert epsilon_of([gaussian(5.0, lasts)]) <= 2.0 < epsilon_of([gaussian(5.0, lasts + 1)])
    assert admitted(limit, [[gaussian(5.0)]] * (lasts + 5)) == lasts
    with pytest.raises(BudgetExceeded, match=f"it affords {lasts} of 1000 planned rounds"):
        limit.check([gaussian(5.0, lasts)], [gaussian(5.0)])


def test_a_plan_that_affords_nothing_says_so_before_anything_is_done():
    limit = budget(0.01, planned=gaussian(1.0), planned_rounds=10)
    assert limit.affordable_rounds() == 0
    with pytest.raises(BudgetExceeded, match="it affords 0 of 10 planned rounds"):
        limit.check([], [gaussian(1.0)])


def test_what_is_planned_once_is_paid_for_and_admitted_once():
    once = Repeated(event=Laplace(noise_multiplier=2.0))
    plan = {"planned": gaussian(6.0), "planned_rounds": 20, "once": once}
    dear, cheap = budget(2.0, **plan), budget(4.0, **plan)
    assert dear.affordable_rounds() < budget(2.0, planned=gaussian(6.0), planned_rounds=20).affordable_rounds()
    cheap.check([], [once])
    cheap.check([gaussian(6.0)], [once])
    with pytest.raises(BudgetExceeded, match="is charged already"):
        cheap.check([once], [once])
    with pytest.raises(BudgetExceeded):
        budget(0.1, **plan).check([], [once])
    assert budget(0.1, **plan).affordable_rounds() == 0


def test_an_event_with_less_noise_than_planned_finds_no_place():
    limit = budget(planned=skellam(40_000.0), planned_rounds=10)
    limit.check([], [skellam(40_001.0)])
    with pytest.raises(BudgetExceeded, match=r"1 × Skellam\(.*variance=39999.0\) finds no place in the plan"):
        limit.check([], [skellam(39_999.0)])


def test_no_place_is_taken_twice_whoever_takes_it():
    planned = Repeated(event=Composed(events=(skellam(40_000.0), skellam(90_000.0))))
    limit = budget(planned=planned, planned_rounds=2)
    assert limit.affordable_rounds() == 2
    wide, narrow = skellam(90_000.0), skellam(40_000.0)
    limit.check([narrow, wide, narrow], [wide])
    limit.check([], [planned])
    limit.check([planned], [planned])
    limit.check([], [skellam(100_000.0, count=4)])
    for spent, following in [
        ([planned, planned], [wide]),
        ([narrow, narrow], [narrow]),
        ([], [skellam(100_000.0, count=5)]),
        ([planned], [planned, wide]),
    ]:
        with pytest.raises(BudgetExceeded):
            limit.check(spent, following)


def test_gaussians_draw_on_one_pool_of_information():
    """Four with twice the noise cost what one does; less noise in one round is made up for by more in others."""
    limit = budget(planned=gaussian(5.0), planned_rounds=8)
    assert limit.affordable_rounds() == 8
    assert admitted(limit, [[gaussian(10.0)]] * 50) == 32
    assert admitted(limit, [[gaussian(2.5)]] * 5) == 2
    limit.check([gaussian(2.5), gaussian(5.0, 3)], [gaussian(10.0, 4)])
    with pytest.raises(BudgetExceeded):
        limit.check([gaussian(2.5), gaussian(5.0, 3)], [gaussian(10.0, 5)])


@settings(max_examples=40)
@given(noises=st.lists(st.floats(1.0, 30), min_size=1, max_size=30), epsilon=st.floats(0.5, 10))
def test_what_a_plan_admits_is_within_the_budget_by_the_tight_accountant(noises, epsilon):
    """Guarantee 1, as far as one history shows; to the rounding that `_ROUNDING` admits."""
    limit, spent = budget(epsilon, planned=gaussian(4.0), planned_rounds=6), []
    for noise in noises:
        try:
            limit.check(spent, [gaussian(noise)])
        except BudgetExceeded:
            continue
        spent.append(gaussian(noise))
    assert epsilon_of(spent) <= epsilon * (1 + 1e-9)


def test_the_order_of_charges_does_not_matter():
    limit = budget(planned=Repeated(event=Composed(events=(gaussian(4.0), skellam(90_000.0)))), planned_rounds=3)
    charges = [gaussian(4.0), skellam(90_000.0), skellam(95_000.0), gaussian(5.0), gaussian(4.5)]
    for turn in range(len(charges)):
        limit.check(charges[turn:], charges[:turn])


def test_a_sample_of_everybody_is_no_sample():
    limit = budget(planned=gaussian(5.0), planned_rounds=3)
    limit.check([], [sampled(5.0, 1.0)])
    limit = budget(planned=sampled(5.0, 1.0), planned_rounds=3)
    limit.check([], [gaussian(5.0)])


TAKES = [
    (Gaussian(noise_multiplier=2.0), Gaussian(noise_multiplier=1.0)),
    (Laplace(noise_multiplier=2.0), Laplace(noise_multiplier=1.0)),
    (skellam(50_000.0).event, skellam(40_000.0).event),
    (skellam(40_000.0, l2=90.0).event, skellam(40_000.0).event),
    (skellam(40_000.0, l1=4000.0).event, skellam(40_000.0).event),
    (discrete(60).event, discrete(50).event),
    (discrete(50, l2=90.0).event, discrete(50).event),
    (sampled(2.0, 0.1).event, sampled(1.0, 0.1).event),
    (TreeAggregation(noise_multiplier=3.0, steps=100), TreeAggregation(noise_multiplier=2.0, steps=100)),
    (TreeAggregation(noise_multiplier=2.0, steps=10), TreeAggregation(noise_multiplier=2.0, steps=100)),
]
APART = [
    (Gaussian(noise_multiplier=3.0), Laplace(noise_multiplier=1.0)),
    (sampled(2.0, 0.01).event, Gaussian(noise_multiplier=1.0)),
    (Gaussian(noise_multiplier=9.0), sampled(1.0, 0.1).event),
    (sampled(2.0, 0.2).event, sampled(1.0, 0.1).event),
    (skellam(90_000.0, l2=101.0).event, skellam(40_000.0).event),
    (skellam(90_000.0, l1=5001.0).event, skellam(40_000.0).event),
    (discrete(60, std=29.0).event, discrete(50).event),
    (discrete(60, std=31.0).event, discrete(50).event),
    (discrete(60, l2=101.0).event, discrete(50).event),
    (discrete(60, l1=5001.0).event, discrete(50).event),
    (discrete(60, dimension=4097).event, discrete(50).event),
    (TreeAggregation(noise_multiplier=3.0, steps=101), TreeAggregation(noise_multiplier=2.0, steps=100)),
    (Unsupported(name="a"), Unsupported(name="b")),
]


@pytest.mark.parametrize(("event", "planned"), TAKES)
def test_more_noise_or_less_sensitivity_takes_a_place_and_never_the_other_way_round(event, planned):
    assert takes(event, planned)
    assert takes(planned, planned)
    assert not takes(planned, event)


@pytest.mark.parametrize(("event", "planned"), APART)
def test_what_cannot_be_compared_takes_no_place(event, planned):
    assert not takes(event, planned)


@pytest.mark.parametrize(("event", "planned"), TAKES)
def test_what_takes_a_place_costs_no_more_by_either_accountant(event, planned):
    """Guarantee 2 of `Plan`: at several δ, once and fifty times."""
    for count in (1, 50):
        for delta in (1e-9, 1e-5, 1e-2):
            costs = [account([Repeated(event=one, count=count)], delta, ZERO_OUT) for one in (event, planned)]
            for name in ("pld", "rdp"):
                first, second = (cost.accountants[name] for cost in costs)
                if first is not None:
                    assert first <= second * (1 + 1e-9)


def test_composed_events_are_taken_apart_with_their_counts():
    inner = Repeated(event=Composed(events=(gaussian(1.0, 2), sampled(1.0, 1.0))), count=3)
    nested = Repeated(event=Composed(events=(inner, skellam(9.0))), count=5)
    assert list(flat([nested])) == [gaussian(1.0, 30), gaussian(1.0, 15), skellam(9.0, count=5)]


# Releases without noise


@pytest.mark.parametrize("plan", [{}, {"planned": gaussian(5.0), "planned_rounds": 3}])
def test_a_release_without_noise_is_refused_unless_it_is_excluded_by_name_and_reason(plan):
    """Guarantee 2."""
    bare = Repeated(event=NonPrivate(reason="number of clients"))
    for events in ([bare], [gaussian(5.0), bare], [Repeated(event=Composed(events=(bare,)))]):
        with pytest.raises(
            BudgetExceeded, match=r"a release without noise \('number of clients'\) under a budget of 4"
        ):
            budget(**plan).check([], events)
    excluded = budget(**plan, excluded={"number of clients": "it is public before the run"})
    excluded.check([], [gaussian(5.0), bare])
    assert excluded.accounted([bare, gaussian(5.0), bare]) == (gaussian(5.0),)
    with pytest.raises(BudgetExceeded):
        excluded.check([], [Repeated(event=NonPrivate(reason="number of patients"))])


def test_without_a_budget_everything_passes():
    limit = budget(None)
    limit.check(
        [gaussian(0.1, 100)], [Repeated(event=NonPrivate(reason="slip")), Repeated(event=Unsupported(name="x"))]
    )
    assert limit.affordable_rounds() is None
    assert limit.plan is None


def test_a_ledger_without_a_budget_needs_no_extra():
    code = (
        "import sys; sys.modules.update(dp_accounting=None, opacus=None, scipy=None)\n"
        "from privfl.dp.budget import Budget\n"
        "from privfl.dp.events import Gaussian, Repeated\n"
        "from privfl.dp.ledger import Ledger, Opening\n"
        "from privfl.errors import MissingExtra\n"
        "from privfl.primitives.entropy import OsEntropy\n"
        "from privfl.primitives.signatures import Identity\n"
        "events = [Repeated(event=Gaussian(noise_multiplier=1.0))]\n"
        "for epsilon in (None, 4.0):\n"
        "    budget = Budget(epsilon=epsilon, delta=1e-5, relation='zero-out')\n"
        "    opening = Opening(unit='client', mode='client-central', budget=budget)\n"
        "    ledger = Ledger.in_memory(opening, Identity.generate(OsEntropy()))\n"
        "    try:\n"
        "        ledger.charge(round=1, events=events)\n"
        "    except MissingExtra as error:\n"
        "        print(error.extra)\n"
        "    print(len(ledger.charges))\n"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.split() == ["1", "dp", "0"]


# What is fixed


def test_the_same_history_gets_the_same_answer_after_a_restart():
    """Guarantee 3: through JSON, with nothing else kept."""
    for limit in (budget(4.0), budget(4.0, planned=gaussian(6.0), planned_rounds=50, once=sampled(1.0, 0.1))):
        again = Budget.from_json(json.loads(json.dumps(limit.to_json())), "line 1")
        assert again == limit
        assert set(limit.to_json()) == Budget.JSON_KEYS
        for count in range(20, 60):
            outcomes = []
            for one in (limit, again):
                try:
                    outcomes.append(one.check([gaussian(6.0, count)], [gaussian(6.0)]))
                except BudgetExceeded as refusal:
                    outcomes.append(str(refusal))
            assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"delta": 0}, "delta is 0: a probability above 0 and below 1 works, such as 1e-5"),
        ({"delta": 1.5}, "delta is 1.5"),
        ({"delta": True}, "delta is True"),
        ({"delta": float("nan")}, "delta is nan"),
        ({"relation": "neighbours"}, "relation is 'neighbours': one of add-or-remove-one, "),
        ({"epsilon": 0}, "epsilon is 0: a number from"),
        ({"epsilon": float("inf")}, "epsilon is inf"),
        ({"epsilon": "4"}, "epsilon is '4'"),
        ({"planned": Gaussian(noise_multiplier=1.0), "planned_rounds": 1}, "planned is Gaussian"),
        ({"planned": gaussian(1.0)}, "planned_rounds is 0 with a planned event"),
        ({"planned_rounds": 5}, "planned_rounds is 5 with no planned event"),
        ({"planned_rounds": 2.0}, "planned_rounds is 2.0"),
        ({"once": gaussian(1.0)}, "once is given without planned"),
        ({"excluded": ["accuracy"]}, "excluded is .*: names of releases, each with a reason"),
        ({"excluded": {"accuracy": " "}}, "excluded.accuracy is ' ': words"),
        ({"excluded": {"": "public"}}, "words that say why"),
        ({"order": 1.0}, "order is 1.0: a whole number from 3 to 63 works"),
        ({"order": "8"}, "order is '8'"),
        ({"order": 8.0, "planned": gaussian(1.0), "planned_rounds": 1}, "it belongs to a budget without a plan"),
        ({"order": 8.0, "epsilon": None}, "it belongs to a budget without a plan"),
    ],
)
def test_bad_budgets_are_refused_with_a_sentence(bad, match):
    with pytest.raises(ConfigurationError, match=match):
        budget(**bad)
