"""Differential privacy inside Flower: noise inside the sum, two ledgers, and what is refused beside them."""

import math
import os
from fractions import Fraction

import numpy as np
import pytest
from flower_harness import Fleet, asks, model, steps_of
from flwr.app import ConfigRecord
from flwr.serverapp.exception import PrivacyBudgetExhausted
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdam,
    FedAvg,
)
from msgspec import structs

from privfl import Identity, ThreatModel
from privfl.audit.examine import examine
from privfl.audit.findings import Layer, Outcome
from privfl.dp.budget import Budget
from privfl.dp.client_ledger import ClientLedger
from privfl.dp.events import NonPrivate, Relation
from privfl.dp.fitting import epsilon_of
from privfl.dp.ledger import Ledger, Mode, read_ledger
from privfl.encoding.layout import Layout
from privfl.errors import BudgetExceeded, ConfigurationError, LedgerError
from privfl.integrations.flower import BudgetSpent, ClientDistributed, SecureAggregation
from privfl.integrations.flower.home import NodePolicy, stricter
from privfl.integrations.flower.messages import MemberStep, PrivateTerms, Terms
from privfl.integrations.flower.private_terms import PrivateTermsCodec
from privfl.integrations.flower.promise import Promise
from privfl.masking.messages import MaskedInputRequest, UnmaskRequest
from privfl.params import VectorSpec
from privfl.primitives.entropy import OsEntropy
from privfl.roster import Roster
from privfl.suites import plan_session, suite

SHAPES = {"b": (8,), "w": (24, 8)}
LENGTH = 200
NODES, FEWEST, C = 5, 4, 0.5
LAYOUT = Layout(tuple(sorted(SHAPES.items())))


@pytest.fixture(autouse=True)
def _disks_are_quick(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)


class PrivateFleet(Fleet):
    """Nodes whose updates are longer than the clip, but for the first, whose update is shorter."""

    def delta(self, node, name):
        chance = np.random.default_rng([node % 1000, sum(name.encode())])
        return chance.normal(0, 0.01 if node == self.ids[0] else 5.0, SHAPES.get(name, ())).astype(np.float32)

    def clipped(self, node):
        update = np.concatenate([self.delta(node, name).astype(np.float64).ravel() for name in sorted(SHAPES)])
        return update * min(1, C / np.linalg.norm(update))

    def strategy(self, inner=None, *, suite="masking", minimum_contributors=FEWEST, **told):
        inner = inner or FedAvg(min_train_nodes=NODES, min_available_nodes=NODES, fraction_evaluate=0.0)
        named = {key: told.pop(key) for key in ("identity", "committee_roster") if key in told}
        return SecureAggregation(
            inner, suite=suite, minimum_contributors=minimum_contributors, privacy=settings(**told), **named
        )

    def start(self, strategy=None, *, rounds=1, initial=None, **options):
        return super().start(strategy, rounds=rounds, initial=zeros() if initial is None else initial, **options)

    def opened(self):
        """How many messages asked nodes for what opens a sum."""
        return sum(asks(step, UnmaskRequest) for message in self.grid.sent for step in steps_of(message))

    def ledger_of(self, place):
        return read_ledger(self.home_of(self.ids[place]) / "ledger.jsonl")

    def insist(self, place, policy):
        home = self.home_of(self.ids[place])
        home.mkdir(parents=True, mode=0o700)
        (home / "policy.toml").write_text(policy)


def settings(**told):
    return ClientDistributed(
        **{"epsilon": 8.0, "delta": 1e-3, "clip": C, "cohort": NODES, "rounds": 2, "mechanism": "skellam", **told}
    )


def zeros():
    return model(**{name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}, count=np.int64(7))


def flat(arrays):
    return np.concatenate([arrays[name].numpy().astype(np.float64).ravel() for name in sorted(SHAPES)])


def promise(**told):
    return Promise.of(settings(**told), parameters=LENGTH, minimum=FEWEST, threat=ThreatModel())


@pytest.fixture
def fleet(tmp_path):
    return PrivateFleet(tmp_path / "homes", NODES)


# What comes out.


@pytest.mark.parametrize(
    ("of", "mechanism", "denominator"),
    [("masking", "skellam", None), ("kahe", "skellam", 3.0), ("masking", "discrete-gaussian", None)],
)
def test_the_aggregate_is_the_clipped_mean_with_the_noise_that_was_promised(fleet, of, mechanism, denominator):
    """Wrong alarms: by a coordinate below 200 · 2 · Q(7) < 10^-9; by the square sum of 200 normal numbers below
    10^-8 (under half of what is expected) and 10^-13 (over twice). Rounding adds less than a part in 500.
    """
    strategy, result = fleet.start(fleet.strategy(suite=of, mechanism=mechanism, denominator=denominator))
    divisor = denominator or NODES
    plan = promise(mechanism=mechanism).plan
    std = C * plan.granularity * math.sqrt(NODES * (float(plan.noise.variance) + 0.25)) / divisor
    off = flat(result.arrays) - sum(fleet.clipped(node) for node in fleet.ids) / divisor
    assert np.abs(off).max() < 7 * std
    assert 0.5 < np.mean(off**2) / std**2 < 2.0
    assert result.arrays["count"].numpy() == 7
    assert strategy.rounds[0].contributors == NODES


def test_no_weight_count_or_metric_is_asked_for_or_given(fleet):
    strategy, result = fleet.start(fleet.strategy())
    (terms,) = {
        step.terms for message in fleet.grid.sent for step in steps_of(message) if asks(step, MaskedInputRequest)
    }
    assert terms.metrics == ()
    assert terms.weight_max == 1
    assert dict(result.train_metrics_clientapp[1]) == {}  # losses stayed, and so did counts of examples
    assert strategy.privacy_spent() > 0


def test_a_committee_opens_noisy_sums_too(fleet, tmp_path):
    path, members = tmp_path / "ledger.jsonl", [Identity.generate(OsEntropy()) for _ in range(3)]
    committee = Roster({number: one.public for number, one in enumerate(members)})
    for place in range(NODES):
        fleet.insist(place, "")
        (fleet.home_of(fleet.ids[place]) / "committee.json").write_text(committee.to_json())
    for place, one in enumerate(members):
        (fleet.home_of(fleet.ids[place]) / "identity.pem").write_bytes(one.to_pem())
    seen = []

    def look(node, message):
        asked = any(isinstance(step, MemberStep) for step in steps_of(message))
        seen.extend([len(read_ledger(path).charges)] * asked)
        return False

    fleet.grid.silent = look
    strategy, result = fleet.start(fleet.strategy(suite="ckks", ledger=path, committee_roster=committee))
    assert set(seen) == {1}
    std = C * promise().plan.noise_std(NODES) / NODES
    off = flat(result.arrays) - sum(fleet.clipped(node) for node in fleet.ids) / NODES
    assert np.abs(off).max() < 7.1 * std
    assert strategy.rounds[-1].contributors == NODES


def test_a_strategy_with_a_memory_works_on_noisy_means(fleet):
    inner = FedAdam(min_train_nodes=NODES, min_available_nodes=NODES, fraction_evaluate=0.0)
    strategy, result = fleet.start(fleet.strategy(inner), rounds=2)
    assert [record.contributors for record in strategy.rounds] == [NODES, NODES]
    assert np.abs(flat(result.arrays)).max() > 0


# The server's ledger.


def test_a_round_is_charged_before_anything_is_asked_that_opens_its_sum(fleet, tmp_path):
    path, seen = tmp_path / "ledger.jsonl", []

    def look(node, message):
        kinds = [kind.__name__ for kind in (MaskedInputRequest, UnmaskRequest) if asks(steps_of(message)[0], kind)]
        seen.extend((kind, len(read_ledger(path).charges)) for kind in kinds)
        return False

    fleet.grid.silent = look
    fleet.start(fleet.strategy(ledger=path), rounds=2)
    assert set(seen) == {
        ("MaskedInputRequest", 0),
        ("UnmaskRequest", 1),
        ("MaskedInputRequest", 1),
        ("UnmaskRequest", 2),
    }


def test_what_cannot_be_charged_is_not_opened(fleet, tmp_path, monkeypatch):
    charged = Ledger.charge

    def charge(self, **told):
        if self.opening.mode is Mode.CLIENT_DISTRIBUTED:  # and not a node's
            raise LedgerError("the disk is full")
        charged(self, **told)

    monkeypatch.setattr(Ledger, "charge", charge)
    strategy = fleet.strategy(ledger=tmp_path / "ledger.jsonl")
    with pytest.raises(LedgerError, match="the disk is full"):
        fleet.start(strategy, rounds=2)
    assert fleet.opened() == 0
    assert strategy.rounds[0].aborted == "the disk is full"


def test_the_charge_is_for_those_who_contributed(fleet, tmp_path):
    path = tmp_path / "ledger.jsonl"
    fleet.silence(fleet.ids[2], {3})  # who shared its keys, and sends neither its vector nor keys for the next sum
    strategy, _ = fleet.start(fleet.strategy(ledger=path, rounds=3), rounds=3)
    charges = read_ledger(path).charges
    assert [charge.facts["contributors"] for charge in charges] == [4, 4, 5]
    share = promise(rounds=3).plan.noise.variance
    # One of them may be who looks: its own share hides nothing from it.
    assert [charge.events[0].event.variance for charge in charges] == [3 * share, 3 * share, 4 * share]
    assert strategy.rounds[0].dropped == (fleet.ids[2],)


def test_under_the_minimum_nothing_is_opened_and_nothing_is_charged(fleet, tmp_path):
    path = tmp_path / "ledger.jsonl"
    fleet.grid.silent = lambda node, message: node in fleet.ids[:2] and fleet.grid.exchanges == 3
    strategy, result = fleet.start(fleet.strategy(ledger=path))
    assert strategy.rounds[0].aborted
    assert fleet.opened() == 0
    assert read_ledger(path).charges == ()
    assert np.array_equal(flat(result.arrays), flat(zeros())) if result.arrays else True


def test_noise_is_sized_for_the_fewest_contributors_less_who_may_tell(fleet):
    assert promise().plan.honest_minimum == FEWEST - 1
    corrupt = Promise.of(settings(), parameters=LENGTH, minimum=FEWEST, threat=ThreatModel(corrupt=0.4))
    assert corrupt.plan.honest_minimum == FEWEST - 2
    assert corrupt.plan.noise.variance > promise().plan.noise.variance
    strategy, _ = fleet.start(fleet.strategy())
    assert strategy.privacy_spent() < 8.0  # two rounds over four would cost it all


def test_a_budget_of_two_rounds_ends_with_the_second(fleet):
    strategy = fleet.strategy()
    with pytest.raises(BudgetSpent, match="made for 2 rounds, and 2 are left: nothing was asked of the nodes for 3"):
        fleet.start(strategy, rounds=3)
    assert fleet.grid.exchanges == 0
    assert not any(fleet.calls.values())
    fleet.start(strategy, rounds=2)
    before = fleet.grid.exchanges
    with pytest.raises(PrivacyBudgetExhausted, match="0 are left"):  # as Flower's own strategies say it
        fleet.start(strategy, rounds=1)
    with pytest.raises(BudgetExceeded, match="0 are left"):  # who drives rounds by hand
        strategy.configure_train(3, zeros(), ConfigRecord(), fleet.grid)
    assert fleet.grid.exchanges == before
    assert strategy.privacy_spent() == epsilon_of(promise().cost(NODES), 2, 1e-3, Relation.ZERO_OUT) < 8.0


def test_a_ledger_is_gone_on_with_closed_and_then_left_alone(fleet, tmp_path):
    path = tmp_path / "books" / "ledger.jsonl"
    first, _ = fleet.start(fleet.strategy(ledger=path))
    assert read_ledger(path).closed is None
    with pytest.raises(LedgerError, match="another promise"):
        fleet.start(fleet.strategy(ledger=path, clip=2 * C))
    with pytest.raises(BudgetSpent, match="1 are left"):
        fleet.start(fleet.strategy(ledger=path), rounds=2)
    again = PrivateFleet(tmp_path / "others", NODES)
    second, _ = again.start(again.strategy(ledger=path))
    contents = read_ledger(path)
    assert len(contents.charges) == 2
    assert contents.closed == {"epsilon": second.privacy_spent()}
    assert second.privacy_spent() > first.privacy_spent()
    assert (path.parent / "coordinator.pub").read_text().strip() == contents.signer.hex()
    with pytest.raises(LedgerError, match="closed"):
        again.start(again.strategy(ledger=path))


def test_the_audit_reads_the_ledger(fleet, tmp_path):
    path, identity = tmp_path / "ledger.jsonl", Identity.generate(OsEntropy())
    strategy, _ = fleet.start(fleet.strategy(ledger=path, identity=identity), rounds=2)
    audit = examine(path, signer=identity.public)
    assert math.isclose(audit.epsilon, strategy.privacy_spent(), rel_tol=1e-6)
    assert (audit.claim.epsilon, audit.claim.secure, audit.claim.suite) == (strategy.privacy_spent(), True, "masking")
    found = {one.key: one.outcome for one in audit.findings if one.layer is Layer.RECOMPUTATION}
    for key in ("ledger", "writer", "accountants", "epsilon", "budget", "terms", "weights", "noise"):
        assert found[key] is Outcome.PASS, key
    assert Outcome.FAIL not in found.values()
    # What left the nodes, and what was released, a ledger alone does not show.
    assert audit.verdict is Outcome.INCONCLUSIVE


# The nodes' ledgers.


def test_nodes_write_down_what_a_sum_of_the_fewest_costs_before_they_upload(fleet):
    charged = []
    fleet.grid.lie = lambda node, message, reply: (
        (
            charged.append(len(fleet.ledger_of(fleet.ids.index(node)).charges))
            if asks(steps_of(message)[0], MaskedInputRequest)
            else None
        )
        or reply
    )
    fleet.start(fleet.strategy())
    assert charged == [1] * NODES
    share = promise().plan.noise.variance
    for place in range(NODES):
        (charge,) = fleet.ledger_of(place).charges
        assert charge.events[0].event.variance == (FEWEST - 1) * share
        assert charge.facts["noise"] == {"mechanism": "skellam", "variance": float(share)}


def test_a_node_uploads_nothing_that_it_could_not_charge(fleet, monkeypatch, caplog):
    def charge(self, *_, **__):
        raise LedgerError("the disk is full")

    monkeypatch.setattr(ClientLedger, "charge", charge)
    strategy, _ = fleet.start(fleet.strategy())
    assert set(strategy.rounds[0].refusals.values()) == {"this node sends no contribution: its log says why"}
    assert "the disk is full" in caplog.text
    assert strategy.rounds[0].contributors == 0


def test_a_node_that_has_spent_its_own_budget_takes_no_part(fleet, tmp_path):
    one = promise().planned
    afforded = Budget(epsilon=6.9, delta=1e-3, relation="zero-out")
    afforded.check((), [one])
    with pytest.raises(BudgetExceeded):
        afforded.check([one], [one])
    fleet.insist(1, "[budget]\nepsilon = 6.9\ndelta = 1e-3\n")
    strategy, _ = fleet.start(fleet.strategy(), rounds=2)
    assert [record.contributors for record in strategy.rounds] == [5, 4]
    refusal = strategy.rounds[1].refusals[fleet.ids[1]]
    assert refusal == "this node's own privacy budget has no room for this sum"  # and not how much it has spent
    assert len(fleet.calls[fleet.ids[1]]) == 1  # its app was not asked to train for nothing
    assert len(fleet.ledger_of(1).charges) == 1


def test_a_node_with_a_budget_takes_no_part_in_sums_without_noise(tmp_path):
    fleet = PrivateFleet(tmp_path, NODES)
    fleet.insist(0, "[budget]\nepsilon = 8.0\n")
    fleet.insist(1, '[budget]\nepsilon = 8.0\nexcluded = {train = "public images", evaluate = "likewise"}\n')
    strategy, _ = Fleet.start(fleet, Fleet.strategy(fleet, clip=1.0, metrics={}), initial=zeros())
    train, evaluate = strategy.rounds
    assert set(train.refusals) == set(evaluate.refusals) == {fleet.ids[0]}
    (first, second) = (charge.events[0].event for charge in fleet.ledger_of(1).charges)
    assert (first, second) == (NonPrivate(reason="train"), NonPrivate(reason="evaluate"))
    assert not (fleet.home_of(fleet.ids[2]) / "ledger.jsonl").exists()  # who has no budget need keep no books


def test_a_ledger_tells_of_sums_without_noise_too(tmp_path):
    fleet = PrivateFleet(tmp_path, NODES)
    fleet.start(fleet.strategy())
    Fleet.start(fleet, Fleet.strategy(fleet, clip=1.0, metrics={}, evaluate_metrics={}), initial=start_elsewhere())
    events = [charge.events[0].event for charge in fleet.ledger_of(3).charges]
    assert NonPrivate(reason="evaluate") in events


def start_elsewhere():
    return model(**{name: np.ones(shape, np.float32) for name, shape in SHAPES.items()})


def test_a_budget_of_a_policy_is_read_and_outranks_what_the_app_says():
    policy = NodePolicy.from_toml("[budget]\nepsilon = 3.0\ndelta = 1e-6\n", what="policy.toml")
    assert (policy.budget.epsilon, policy.budget.delta) == (3.0, 1e-6)
    assert stricter(NodePolicy(), policy).budget == policy.budget
    for wrong in (
        "budget = 3",
        "[budget]\ndelta = 1e-5",
        "[budget]\nepsilon = 1.0\nrounds = 3",
        "[budget]\nepsilon = -1",
    ):
        with pytest.raises(ConfigurationError, match=r"\[budget\] in policy.toml"):
            NodePolicy.from_toml(wrong, what="policy.toml")
    with pytest.raises(ConfigurationError, match="clear lets query pass beside a budget"):
        NodePolicy.from_toml('clear = ["query"]\n[budget]\nepsilon = 1.0', what="policy.toml")
    told = '[budget]\nepsilon = 1.0\nexcluded = {query = "says hello"}'
    assert NodePolicy.from_toml(f'clear = ["query"]\n{told}', what="policy.toml").clear == {"query"}


def test_ledgers_of_nodes_are_signed_by_them(tmp_path):
    fleet = PrivateFleet(tmp_path, NODES)
    own = Identity.generate(OsEntropy())
    fleet.insist(0, "")
    (fleet.home_of(fleet.ids[0]) / "identity.pem").write_bytes(own.to_pem())
    fleet.start(fleet.strategy())
    assert fleet.ledger_of(0).signer == own.public
    made = fleet.home_of(fleet.ids[1]) / "ledger.pem"
    assert fleet.ledger_of(1).signer == Identity.from_pem(made.read_bytes()).public


# What a node makes of the terms that it is shown.


def terms(**changes):
    return structs.replace(promise().terms(1, "num-examples"), **changes)


def with_privacy(**changes):
    return terms(privacy=structs.replace(terms().privacy, **changes))


def params(*, cohort=NODES, minimum=FEWEST, corrupt=0.1):
    return plan_session(
        "masking",
        cohort=tuple(range(cohort)),
        vector=VectorSpec(length=256, bound=1000),
        threat=ThreatModel(corrupt=corrupt),
        minimum_contributors=minimum,
        nonce=bytes(16),
        context=bytes(32),
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (terms, {"bits": 16}),
        (terms, {"weight_max": 2.0}),
        (terms, {"metrics": (("loss", 1.0),)}),
        (terms, {"kind": "evaluate"}),
        (terms, {"clip": math.nan}),
        (with_privacy, {"variance": math.nan}),
        (with_privacy, {"variance": 0.0}),
        (with_privacy, {"granularity": math.inf}),
        (with_privacy, {"denominator": 0.0}),
        (with_privacy, {"corrupt": FEWEST}),
        (with_privacy, {"cohort": FEWEST - 1}),
    ],
)
def test_terms_that_let_more_out_than_noise_covers_are_refused(changed, told):
    with pytest.raises(ConfigurationError):
        PrivateTermsCodec(changed(**told), LAYOUT)


def test_no_bound_is_accepted_that_some_updates_would_not_keep_to():
    """Which nodes then sent nothing would tell how long their updates are."""
    least = math.ceil(1 / terms().privacy.granularity ** 2)
    PrivateTermsCodec(with_privacy(l2_squared=least + 1), LAYOUT)
    with pytest.raises(ConfigurationError, match="l2_squared"):
        PrivateTermsCodec(with_privacy(l2_squared=least - 1), LAYOUT)


def test_a_node_charges_what_the_session_may_come_to_and_not_what_the_server_says():
    codec = PrivateTermsCodec(terms(), LAYOUT)
    share = Fraction(terms().privacy.variance)

    def honest(session, **told):
        return codec.cost(session, **told).event.variance / share

    assert codec.cost(params()) == promise().planned
    assert honest(params(minimum=5)) == 4
    assert honest(params(corrupt=0.4)) == 2  # the session withstands as many
    assert honest(params(), corrupt=3) == 1  # the node's policy wants as many withstood
    with pytest.raises(ConfigurationError, match="a session of 3 to 5 contributors, where"):
        codec.cost(params(minimum=3))
    with pytest.raises(ConfigurationError, match="a session of 4 to 6 contributors, where"):
        codec.cost(params(cohort=6))
    with pytest.raises(ConfigurationError, match="one of them honest"):
        codec.cost(params(), corrupt=4)


def test_what_is_sent_before_noise_is_no_longer_than_was_charged_for(monkeypatch):
    """With the noise left out, the vector that leaves: its squared norm is within the bound, at any length."""
    monkeypatch.setattr("privfl.dp.noise.IntegerNoise.add_to", lambda *_, **__: None)
    codec, chance = PrivateTermsCodec(terms(), LAYOUT), np.random.default_rng(1)
    for size in (0.0, 1e-3, 1.0, 1e20):
        update = {name: (size * chance.normal(size=shape)).astype(np.float32) for name, shape in SHAPES.items()}
        vector = codec.encode(update, {}, context=bytes(32))
        assert int(vector.astype(np.int64) @ vector) <= terms().privacy.l2_squared


# What has no place beside it.


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"metrics": {"train_loss": 10.0}}, "a release of its own"),
        ({"evaluate_metrics": {"accuracy": 1.0}}, "a release of its own"),
        ({"clip": 0.5}, "clip is set beside privacy="),
        ({"weight_max": 10.0}, "all nodes weigh the same"),
        ({"suite": "plain"}, "the server would read single updates"),
        ({"minimum_contributors": 1}, "2 to 5 works"),
        ({"minimum_contributors": 6}, "2 to 5 works"),
    ],
)
def test_what_noise_does_not_cover_is_refused(told, why):
    with pytest.raises(ConfigurationError, match=why):
        SecureAggregation(FedAvg(fraction_evaluate=0.0), privacy=settings(), **told)


def test_evaluation_on_nodes_is_refused_beside_privacy(fleet):
    with pytest.raises(ConfigurationError, match=r"fraction_evaluate=0.0 works"):
        SecureAggregation(FedAvg(), privacy=settings())
    inner = FedAvg(min_train_nodes=NODES, min_available_nodes=NODES, fraction_evaluate=0.0)
    strategy = fleet.strategy(inner)
    inner.fraction_evaluate = 1.0  # by a strategy that decides later
    with pytest.raises(ConfigurationError, match="no noise covers what they find"):
        fleet.start(strategy)


def test_a_cohort_larger_than_noise_was_made_for_is_refused(tmp_path):
    fleet = PrivateFleet(tmp_path, NODES + 1)
    with pytest.raises(ConfigurationError, match=r"asks 6 nodes, and privacy.cohort is 5"):
        fleet.start(fleet.strategy())
    assert fleet.opened() == 0


def test_a_model_of_another_size_is_refused(fleet):
    strategy, _ = fleet.start(fleet.strategy())
    with pytest.raises(ConfigurationError, match="a ledger is for one model"):
        fleet.start(strategy, initial=model(w=np.zeros(3, np.float32)))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"epsilon": 0}, "privacy.epsilon is 0"),
        ({"clip": math.nan}, "privacy.clip is nan"),
        ({"delta": 0.2}, "or a mechanism that publishes one of them outright would do"),
        ({"population": 3}, "it counts all nodes"),
        ({"population": 2000}, "below 0.0005 works"),
        ({"mechanism": "gaussian"}, "which a server adds"),
        ({"mechanism": "laplace"}, "mechanism is 'laplace'"),
        ({"rounds": 1.5}, "privacy.rounds is 1.5: a whole number"),
        ({"cohort": True}, "privacy.cohort is True"),
        ({"denominator": 0.0}, "privacy.denominator is 0.0"),
    ],
)
def test_settings_that_promise_nothing_are_refused(told, why):
    with pytest.raises(ConfigurationError, match=why):
        settings(**told)


def test_fewest_contributors_are_what_planned_drop_outs_leave():
    many = settings(cohort=50, delta=1e-4)
    assert many.fewest(suite("kahe"), ThreatModel(dropout=0.2), None) == 40
    assert many.fewest(suite("kahe"), ThreatModel(corrupt=0.4, dropout=0.7), None) == 22
    assert many.corrupt(ThreatModel(corrupt=0.0)) == 1  # every node knows its own share
    assert many.corrupt(ThreatModel(corrupt=0.3)) == 15


@pytest.mark.parametrize("vouched", [False, True])
def test_strategies_whose_claim_would_not_hold_are_refused_whoever_vouches(vouched):
    inner = FedAvg()
    for one in (
        DifferentialPrivacyClientSideFixedClipping(inner, 1.0, 0.5, NODES),
        DifferentialPrivacyClientSideAdaptiveClipping(inner, 1.0, 50),
        DifferentialPrivacyServerSideFixedClipping(inner, 1.0, 0.5, NODES),
        DifferentialPrivacyServerSideAdaptiveClipping(inner, 1.0, 50),
    ):
        with pytest.raises(ConfigurationError, match="claims would not hold"):
            SecureAggregation(one, clip=0.5, weight_max=10, linear=vouched)


def test_without_privacy_clip_and_largest_weight_are_asked_for():
    for told in ({}, {"clip": 0.5}, {"weight_max": 10.0}):
        with pytest.raises(ConfigurationError, match="clip and weight_max are missing"):
            SecureAggregation(FedAvg(), **told)


def test_what_nodes_are_shown_has_all_numbers_of_the_promise():
    made = promise()
    told = made.terms(3, "num-examples")
    assert isinstance(told, Terms)
    assert isinstance(told.privacy, PrivateTerms)
    plan, shown = made.plan, told.privacy
    assert (shown.granularity, shown.l2_squared, shown.sum_bound) == (plan.granularity, plan.l2_squared, plan.sum_bound)
    assert Fraction(shown.variance) == plan.noise.variance
    assert (shown.minimum, shown.corrupt, shown.cohort, shown.rounds) == (FEWEST, 1, NODES, 2)
    assert (shown.epsilon, shown.delta, shown.denominator, told.clip) == (8.0, 1e-3, 5.0, C)
