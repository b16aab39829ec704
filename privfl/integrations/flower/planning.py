"""What a server's sums are to be: suites, terms and parameters of sessions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flwr.app import ArrayRecord
from msgspec import structs

from privfl.errors import ConfigurationError
from privfl.integrations.flower.holding import SecureSum
from privfl.integrations.flower.messages import Kind, Terms
from privfl.integrations.flower.model import NOTHING, layout_of
from privfl.integrations.flower.private_sums import PrivateSums
from privfl.integrations.flower.records import RoundRecord
from privfl.integrations.flower.terms import Encoding, TermsCodec, codec_of
from privfl.params import NONCE_BYTES, CkksSetting, CommitteeShape, KeyEpoch, ServerModel, ThreatModel, WireForm
from privfl.roster import Roster
from privfl.suites import Suite, plan_session, suite

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.key import CommitteeKey

EVALUATION_BITS: Final = 24
"""Of metrics alone: they are few, and their mean should have the digits that people read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans:
    """Plans a server's sums; made once, by the wrapper, whose arguments these are.

    Attributes:
        suite: that sums updates.
        training: terms of training; those of `private` follow from the model.
        evaluation: terms of evaluation.
        threat: whom sessions withstand.
        minimum: fewest contributors; None: the suite's own.
        wire: how vectors travel.
        roster: the nodes' identities, where the server may lie.
        committee: who opens sums, where somebody does.
        committee_roster: identities of its members.
        workers: threads for long vectors.
        private: noise, budget and ledger, where sums are differentially private.
    """

    suite: Suite
    training: Terms
    evaluation: Terms
    threat: ThreatModel
    minimum: int | None
    wire: WireForm
    roster: Roster | None
    committee: CommitteeShape | None
    committee_roster: Roster | None
    workers: int
    private: PrivateSums | None = None

    def __post_init__(self) -> None:
        if self.suite.has_committee and self.committee_roster is None:
            raise ConfigurationError(
                f"suite {self.suite.name!r} needs the roster of the committee that opens sums: committee_roster="
                "Roster.load(…), and the nodes need it as committee.json"
            )
        if self.active and self.roster is None:
            raise ConfigurationError(
                "threat.server 'active' needs a roster of the nodes' identities: roster=Roster.load(…)"
            )
        for roster in (self.roster, self.committee_roster):
            if roster is not None:
                roster.require_current()
        for terms in (self.evaluation,) if self.private else (self.training, self.evaluation):
            TermsCodec(terms, NOTHING)  # what cannot be encoded is refused now

    @property
    def active(self) -> bool:
        """Whether the server may lie, and nodes have to prove who they are."""
        return self.threat.server is ServerModel.ACTIVE and self.suite.protects

    def suite_of(self, kind: Kind) -> Suite:
        """Return the suite that sums: a few metrics are summed by `masking`, exactly, whatever sums updates."""
        return suite("masking") if kind == "evaluate" and self.suite.protects else self.suite

    def has_keys(self, kind: Kind) -> bool:
        """Whether clients agree on keys, which do not follow from the model."""
        return self.suite_of(kind).name in {"masking", "kahe"}

    def terms_of(self, kind: Kind, number: int, model: ArrayRecord | None) -> Terms:
        """Return the terms of a round; under privacy only of one that the budget has room for.

        Args:
            kind: of what.
            number: the round.
            model: what is trained; None in evaluation.

        Raises:
            BudgetSpent: it has none.
            ConfigurationError: nothing but updates may leave nodes under privacy.
        """
        if self.private is not None:
            if model is None:
                raise ConfigurationError(
                    "the strategy evaluates on nodes beside privacy=, and no noise covers what they find: return no "
                    "messages from configure_evaluate (fraction_evaluate=0.0)"
                )
            self.private.begin(layout_of(model).length)
            self.private.require_room()
            return self.private.terms(number, self.training.weighted_by)
        return structs.replace(self.training if kind == "train" else self.evaluation, round=number)

    def codec(self, terms: Terms, model: ArrayRecord | None, *, error_std: float = 0.0) -> Encoding:
        """Return the encoding of a model's updates under terms, or of metrics alone if there is no model."""
        return codec_of(
            terms,
            NOTHING if model is None else layout_of(model),
            error_std=error_std,
            workers=self.workers,
        )

    def epoch(self, numbers: Mapping[int, int], codec: Encoding) -> KeyEpoch:
        """Return what a committee's key has to be made for.

        Raises:
            ConfigurationError: no key does for so many nodes, such a model and such a committee.
        """
        setting = self.suite.setting(
            len(numbers),
            self.threat,
            bound=codec.vector.bound,
            sum_bound=codec.vector.sum_bound,
            length=codec.vector.length,
            committee=self.committee,
        )
        if not isinstance(setting, CkksSetting):
            raise ConfigurationError(f"suite {self.suite.name!r} has no committee")
        return setting.epoch

    def session(
        self,
        kind: Kind,
        numbers: Mapping[int, int],
        codec: Encoding,
        *,
        context: bytes,
        committee: CommitteeKey | None = None,
        members: Mapping[int, int] | None = None,
    ) -> SecureSum:
        """Make a session.

        Args:
            kind: of what.
            numbers: nodes and their numbers.
            codec: how vectors are made.
            context: what they are about, where that has to be known at once; ignored where keys come first.
            committee: key of the committee that opens the sum, where one does.
            members: nodes and their numbers on the committee.

        Raises:
            ConfigurationError: no session of these nodes can be held; names the knob to turn.
        """
        if self.private is not None:
            self.private.check_cohort(len(numbers))
        chosen, roster = self.suite_of(kind), self.roster if self.active else None
        params = plan_session(
            chosen.name,
            cohort=tuple(sorted(numbers.values())),
            vector=codec.vector,
            threat=self.threat,
            wire=self.wire,
            minimum_contributors=self.minimum,
            nonce=os.urandom(NONCE_BYTES),
            context=b"" if self.has_keys(kind) else context,
            roster=roster,
            committee=committee,
        )
        server = chosen.server(params, roster=roster, workers=self.workers, committee=committee)
        record = RoundRecord(round=0, kind=kind, suite=chosen.name, cohort=tuple(sorted(numbers)))
        return SecureSum(
            params,
            numbers,
            server,
            record=record,
            members=members,
            committee_key=committee.to_bytes() if committee else b"",
        )
