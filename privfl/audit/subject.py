"""What the second and third layer look at: recorded sessions and trainings, and what the run promised."""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
import numpy.typing as npt

from privfl.audit.artefacts import Artefacts
from privfl.audit.checks import NotClaimed, Undecided, Wrong
from privfl.audit.probes import PrivateProbe, Probes, Recorded
from privfl.audit.promise import promised
from privfl.audit.terms import CLIENT_MODES
from privfl.dp.mechanisms import LEAST_NOISE
from privfl.dp.planner import IntegerPlan
from privfl.dp.records import Mode
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError, LedgerError
from privfl.learning.averaging import WeightedAveraging
from privfl.learning.contributing import rounding_seed
from privfl.learning.guarantee import Guarantee, one_round
from privfl.learning.job import Job
from privfl.learning.known_inputs import layout_from_json
from privfl.learning.private import PrivateAveraging
from privfl.learning.training_probe import TrainingProbe, canaries_for
from privfl.learning.witness import EVIDENCE, seed_after
from privfl.params import VectorSpec
from privfl.primitives.entropy import OsEntropy


class Subject:
    """What the second and third layer look at, read once.

    Args:
        artefacts: what there is.

    Attributes:
        artefacts: likewise.
    """

    def __init__(self, artefacts: Artefacts) -> None:
        self.artefacts = artefacts

    @cached_property
    def probes(self) -> Probes:
        """Recorded sessions on known inputs.

        Raises:
            Wrong: one of them was changed.
        """
        return Probes(self.artefacts, self.layout)

    @cached_property
    def layout(self) -> Layout:
        """Of an update.

        Raises:
            Undecided: the evidence does not say.
        """
        evidence = self.artefacts.evidence.value
        if evidence is None or "layout" not in evidence.facts:
            raise Undecided(
                "What shape updates have was not shown.", missing="the layout, in the evidence's first line"
            )
        try:
            layout = layout_from_json(evidence.facts["layout"])
        except ConfigurationError as error:
            raise Wrong(f"{error}.", where=f"{self.artefacts.evidence.name}, line 1") from None
        if layout.length < 1:
            raise Wrong("Updates of no coordinates.", where=f"{self.artefacts.evidence.name}, line 1")
        return layout

    @cached_property
    def job(self) -> Job:
        """The run's.

        Raises:
            Undecided: it was not shown, or cannot be believed; the first layer says so.
        """
        if self.artefacts.job.value is None:
            raise Undecided("The job was not shown.", missing=self.artefacts.job.name)
        return self.artefacts.job.value

    @cached_property
    def guarantee(self) -> Guarantee:
        """What the run promises, worked out again from its job.

        Raises:
            Undecided: there is no ledger that could be read.
            NotClaimed: it promises nothing.
        """
        contents = self.artefacts.ledger.value
        if contents is None:
            evidence = self.artefacts.evidence.value
            if evidence is not None and evidence.facts.get("mode") == "none":
                raise NotClaimed("No differential privacy is claimed.")
            raise Undecided("No ledger could be read.", missing=self.artefacts.ledger.name)
        made = promised(self.job, contents)
        if made is None:
            raise NotClaimed("No differential privacy is claimed.")
        return made

    @property
    def guarantee_or_none(self) -> Guarantee | None:
        """What the run promises; None if it promises nothing.

        Raises:
            Undecided: there is no ledger that could be read.
        """
        try:
            return self.guarantee
        except NotClaimed:
            return None

    @property
    def vector(self) -> VectorSpec:
        """What sessions must have room for: length and bounds of an update as clients submit it.

        Raises:
            Undecided, Wrong: it was not shown what updates are like.
        """
        guarantee = self.guarantee_or_none
        if guarantee is None or guarantee.integers is None:
            return self.weighted.vector
        clip = self.job.privacy.clip or 1.0
        return PrivateAveraging.of(self.job, self.layout, guarantee.integers, clip=clip, entropy=OsEntropy()).vector

    @property
    def noisy(self) -> bool:
        """Whether sums are private towards clients."""
        contents, evidence = self.artefacts.ledger.value, self.artefacts.evidence.value
        if contents is not None:
            return contents.opening.mode in CLIENT_MODES
        # A ledger that cannot be read says nothing; what the evidence says of itself will do to tell what to look at.
        return evidence is not None and evidence.facts.get("mode") in {mode.value for mode in CLIENT_MODES}

    @cached_property
    def training(self) -> TrainingProbe:
        """Recorded training on known inputs.

        Raises:
            NotClaimed: training is not claimed to be private.
            Undecided: it was not recorded.
            Wrong: it was changed, or is of another trainer than the job's.
        """
        self._require_mode(Mode.EXAMPLE, "Training is not claimed to be private: sums are.")
        made = self.guarantee.training
        if made is None:
            raise NotClaimed("Training is not claimed to be private: sums are.")
        evidence = self.artefacts.evidence.value
        recorded = () if evidence is None else evidence.trainings
        if len(recorded) > 1:
            raise Wrong(f"{len(recorded)} trainings on known inputs were recorded, and one is due.", where=EVIDENCE)
        if not recorded:
            raise Undecided(
                "No training on known inputs was recorded.",
                missing="a training on known inputs: a run holds one unless `audit.canaries = 0` says not to",
            )
        facts, before = recorded[0]
        name = str(facts.get("file"))
        try:
            content = self.artefacts.bytes_of(name)
            probe = TrainingProbe.from_npz(content)
        except (LedgerError, ConfigurationError) as error:
            raise Wrong(f"{name}: {error}.", where=name) from None
        if hashlib.sha256(content).hexdigest() != facts.get("sha256"):
            raise Wrong(f"{name} is not the file that the evidence names: it was changed.", where=name)
        local = self.job.strategy.local_training()
        if (probe.plan, probe.learning_rate, probe.momentum) != (made, local.learning_rate, local.momentum):
            raise Wrong(f"{name} is of another trainer than the job's: {probe.plan}, and not {made}.", where=name)
        canaries = self.job.audit.canaries or canaries_for(made, one_round(self.job, self.guarantee))
        if probe.control_noise_multiplier != LEAST_NOISE or len(probe.scores) != canaries:
            raise Wrong(
                f"{name} has {len(probe.scores)} canaries and a control with noise {probe.control_noise_multiplier:g}; "
                f"{canaries} and {LEAST_NOISE:g} are due.",
                where=name,
            )
        if probe.seed != seed_after(before) or facts.get("seed") != probe.seed.hex():
            raise Wrong(f"{name} was not made for this run: its seed does not follow from the evidence.", where=name)
        return probe

    @property
    def plan(self) -> IntegerPlan:
        """Of noise on sums.

        Raises:
            NotClaimed: no noise on sums is claimed.
        """
        nothing = "No noise on sums is claimed: single clients' training is noised."
        self._require_mode(Mode.CLIENT_CENTRAL, nothing)
        if self.guarantee.integers is None:
            raise NotClaimed(nothing)
        return self.guarantee.integers

    @cached_property
    def canaries(self) -> tuple[PrivateProbe, ...]:
        """Recorded sessions on canaries.

        Raises:
            NotClaimed, Undecided, Wrong: there can be none, there is none, or one was changed.
        """
        return tuple(self.probes.private(self.job, self.plan))

    def submitted(self, one: Recorded) -> npt.NDArray[np.int64]:
        """What the client of a recorded upload submitted, but for its own noise and rounding."""
        context = one.params.context
        if not self.noisy:
            known, weighted = one.known(self.layout, canaries=False), self.weighted
            if weighted.adaptive:
                weighted.clip = known.clip
            vector = weighted.encode(
                known.result(one.uploader), context=context, chance=rounding_seed(context, one.uploader)
            )
            return vector.astype(np.int64)
        known = one.known(self.layout, canaries=True)
        averaging = PrivateAveraging.of(self.job, self.layout, self.plan, clip=known.clip, entropy=OsEntropy())
        return np.rint(averaging.unrounded(known.result(one.uploader), context=context)).astype(np.int64)

    @cached_property
    def weighted(self) -> WeightedAveraging:
        """How a run without noise on its sums averages.

        Raises:
            Undecided, Wrong: the evidence does not say.
        """
        evidence = self.artefacts.evidence.value
        if evidence is None:
            raise Undecided("What left the clients was not shown.", missing=self.artefacts.evidence.name)
        weight_max = evidence.facts.get("weight_max")
        if type(weight_max) is not int:
            raise Wrong(f"The largest weight is {weight_max!r}.", where=f"{self.artefacts.evidence.name}, line 1")
        return WeightedAveraging.of(self.job, self.layout, weight_max=weight_max)

    def _require_mode(self, mode: Mode, otherwise: str) -> None:
        """Stop unless the ledger, if there is one, is of that unit of privacy: before anything else is asked for."""
        contents = self.artefacts.ledger.value
        if contents is not None and (contents.opening.mode is Mode.EXAMPLE) != (mode is Mode.EXAMPLE):
            raise NotClaimed(otherwise)
