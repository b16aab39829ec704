"""The wrapper: any strategy that needs no more than weighted means, fed by secure sums."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from privfl.errors import ConfigurationError
from privfl.integrations.flower.holding import LOG
from privfl.integrations.flower.linear import check_linear
from privfl.integrations.flower.messages import Terms
from privfl.integrations.flower.model import in_types_of, layout_of
from privfl.integrations.flower.planning import EVALUATION_BITS, Plans
from privfl.integrations.flower.privacy import ClientDistributed
from privfl.integrations.flower.private_sums import PrivateSums
from privfl.integrations.flower.records import RoundRecord
from privfl.integrations.flower.rounds import Rounds
from privfl.params import CommitteeShape, ThreatModel, WireForm
from privfl.primitives.signatures import Identity
from privfl.roster import Roster
from privfl.suites import suite as suite_named


class SecureAggregation(Strategy):
    """A strategy whose nodes' updates, weights and metrics the server cannot read: it learns their weighted means.

    The strategy inside configures rounds and aggregates as ever. It is given one reply for each node whose vector is in
    the sum, all with the same arrays and metrics, which are the means, and with equal weights, which add up to the sum
    of all weights; and an error for every other node. `start` is Flower's.

    Args:
        strategy: FedAvg, FedProx, FedAvgM, FedAdagrad, FedAdam or FedYogi.
        clip: largest change of a coordinate of the model in a round; greater ones are cut there.
        weight_max: largest weight (`num-examples`) of a node; a greater one is refused by the node itself. The error of
            the mean grows with its ratio to the nodes' mean weight. Without `privacy`, clip and weight_max are needed.
        privacy: differential privacy: nodes clip in L2 and add noise inside the sum, and all weigh the same; clip,
            weight_max, bits and metrics then have no place, nor has evaluation on nodes.
        suite: "kahe", "masking", "ckks", whose sums a committee of nodes opens, or "plain", which protects nothing and
            is for comparisons.
        bits: of a quantised coordinate, 2 … 24.
        metrics: names and largest values of training metrics that are averaged; nodes report them at least, and none
            other leaves them. Greater values are cut there; none may be negative.
        evaluate_metrics: likewise of evaluation.
        threat: whom sessions withstand; an honest-but-curious server, a tenth of nodes corrupt and a tenth dropping out
            unless said.
        minimum_contributors: fewest nodes in a sum; two more than the corrupt ones unless said.
        wire: how vectors travel: as words, or packed.
        phase_timeout: seconds that nodes have for a phase that needs no training.
        train_timeout: seconds that nodes have for training or evaluation; who takes longer has dropped out.
        roster: identities of the nodes; needed against an active server.
        committee: size and threshold of the committee that opens sums of `ckks`; more than half of its members unless
            said. Its members are nodes whose identities stand on `committee_roster`.
        committee_roster: identities of its members, numbered from 0.
        identity: key that requests are signed with, for nodes that insist on this server; None: they are not signed.
        run_config: `context.run_config` of the server's app, where the app has one: nodes read theirs, and what they
            are told there (a learning rate, say) must be the same for all, like the model.
        linear: vouch for a strategy, or a metrics function, that is not known to see only weighted means.
        workers: threads for long vectors.

    Attributes:
        strategy: the one inside.
        rounds: how every sum went.

    Raises:
        ConfigurationError: a value does not work, or the strategy needs more than weighted means; says why.

    Guarantees:
        1. No node is asked for anything but protected answers, in training and in evaluation.
        2. What the strategy inside is given follows from sums alone, and only of nodes whose vectors are in them.
           Under `privacy` no sum is opened that was not charged.
        3. A node that fails, is late, or answers what is not as agreed has dropped out: it harms nobody else.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        clip: float | None = None,
        weight_max: float | None = None,
        privacy: ClientDistributed | None = None,
        suite: str = "kahe",
        bits: int = 16,
        metrics: Mapping[str, float] | None = None,
        evaluate_metrics: Mapping[str, float] | None = None,
        threat: ThreatModel | None = None,
        minimum_contributors: int | None = None,
        wire: WireForm | str = WireForm.WORDS,
        phase_timeout: float = 120.0,
        train_timeout: float = 3600.0,
        roster: Roster | None = None,
        committee: CommitteeShape | None = None,
        committee_roster: Roster | None = None,
        identity: Identity | None = None,
        run_config: Mapping[str, object] | None = None,
        linear: bool = False,
        workers: int = 1,
    ) -> None:
        check_linear(strategy, vouched=linear)
        for key, value in (("phase_timeout", phase_timeout), ("train_timeout", train_timeout)):
            if not 0 < value < math.inf:
                raise ConfigurationError(f"{key} is {value}: seconds above 0 work, such as 120.0")
        chosen, threat = suite_named(suite), threat or ThreatModel()
        private = None
        if privacy is not None:
            privacy.check_alone(
                suite=chosen,
                clip=clip,
                weight_max=weight_max,
                metrics=[*(metrics or ()), *(evaluate_metrics or ())],
                evaluates=getattr(strategy, "fraction_evaluate", 0.0) > 0,
            )
            private = PrivateSums(privacy, suite=chosen, threat=threat, minimum=minimum_contributors, identity=identity)
            clip, weight_max, minimum_contributors = privacy.clip, 1.0, private.minimum
        if clip is None or weight_max is None:
            raise ConfigurationError("clip and weight_max are missing: give both, or privacy=ClientDistributed(…)")
        training = Terms(
            kind="train",
            round=0,
            clip=float(clip),
            bits=bits,
            weight_max=float(weight_max),
            weighted_by=getattr(strategy, "weighted_by_key", "num-examples"),
            metrics=_sorted(metrics),
        )
        evaluation = Terms(
            kind="evaluate",
            round=0,
            clip=1.0,
            bits=EVALUATION_BITS,
            weight_max=float(weight_max),
            weighted_by=training.weighted_by,
            metrics=_sorted(evaluate_metrics),
        )
        self.strategy = strategy
        self._plans = Plans(
            suite=chosen,
            training=training,
            evaluation=evaluation,
            threat=threat,
            minimum=minimum_contributors,
            wire=_wire(wire),
            roster=roster,
            committee=committee or _of(committee_roster),
            committee_roster=committee_roster,
            workers=workers,
            private=private,
        )
        self._rounds = Rounds(
            self._plans,
            arrays_key=getattr(strategy, "arrayrecord_key", "arrays"),
            evaluates=getattr(strategy, "fraction_evaluate", 0.0) > 0,
            phase_timeout=phase_timeout,
            train_timeout=train_timeout,
            identity=identity,
            run_config=run_config or {},
        )

    @property
    def rounds(self) -> list[RoundRecord]:
        """How every sum went."""
        return self._rounds.records

    def privacy_spent(self) -> float | None:
        """ε of all rounds that were charged, at the δ of `privacy`; None without it."""
        return None if self._plans.private is None else self._plans.private.epsilon()

    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3, *args: Any, **named: Any) -> Result:
        """Run rounds as `Strategy.start` does; in the last, no keys are made for another.

        Raises:
            BudgetSpent: `privacy` has no room for so many rounds; nothing was asked of the nodes.
        """
        self._rounds.begin(num_rounds)
        private = self._plans.private
        if private is None:
            return super().start(grid, initial_arrays, num_rounds, *args, **named)
        private.begin(layout_of(initial_arrays).length)
        try:
            private.require_room(num_rounds)
            return super().start(grid, initial_arrays, num_rounds, *args, **named)
        finally:
            private.rest()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure a round of training: agree on keys where they are not there yet, and ask for vectors."""
        messages = list(self.strategy.configure_train(server_round, arrays, config, grid))
        return self._rounds.configure("train", server_round, messages, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Open the sum of a round, and have the strategy aggregate it."""
        model, given = self._rounds.open("train", replies)
        arrays, metrics = self.strategy.aggregate_train(server_round, given)
        return (arrays if arrays is None or model is None else in_types_of(model, arrays)), metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure a round of evaluation, as one of training."""
        messages = list(self.strategy.configure_evaluate(server_round, arrays, config, grid))
        return self._rounds.configure("evaluate", server_round, messages, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Open the sum of an evaluation, and have the strategy aggregate it."""
        return self.strategy.aggregate_evaluate(server_round, self._rounds.open("evaluate", replies)[1])

    def summary(self) -> None:
        """Log the settings."""
        plans = self._plans
        LOG.info("\t├──> Secure aggregation:")
        LOG.info("\t│\t├── Suite %s: %s", plans.suite.name, plans.suite.security_note)
        if plans.private is not None:
            LOG.info("\t│\t└── %s", plans.private.said)
            self.strategy.summary()
            return
        for terms in (plans.training, plans.evaluation):
            names = ", ".join(name for name, _ in terms.metrics) or "none"
            LOG.info("\t│\t├── %s: %d bits, metrics in the sum: %s", terms.kind, terms.bits, names)
        LOG.info("\t│\t└── Clip %s, largest weight %s", plans.training.clip, plans.training.weight_max)
        self.strategy.summary()


def _of(roster: Roster | None) -> CommitteeShape | None:
    if roster is None:
        return None
    members = len(roster.identities)
    return CommitteeShape(members=members, threshold=members // 2 + 1)


def _wire(wire: WireForm | str) -> WireForm:
    try:
        return WireForm(wire)
    except ValueError:
        forms = " or ".join(repr(form.value) for form in WireForm)
        raise ConfigurationError(f"wire is {wire!r}: {forms} works") from None


def _sorted(metrics: Mapping[str, float] | None) -> tuple[tuple[str, float], ...]:
    return tuple(sorted((name, float(most)) for name, most in (metrics or {}).items()))
