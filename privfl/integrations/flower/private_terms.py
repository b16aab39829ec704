"""From the terms of a sum under differential privacy to its encoding and its cost, at both ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.compression.rotation import SEED_BYTES
from privfl.dp.clip import check_clip
from privfl.dp.codec import PrivateCodec
from privfl.dp.events import Repeated
from privfl.dp.noise import IntegerNoise, Mechanism
from privfl.dp.planner import IntegerPlan, effective
from privfl.encoding.layout import Arrays, Layout
from privfl.encoding.update import WeightedMean
from privfl.errors import ConfigurationError
from privfl.integrations.flower.messages import PrivateTerms, Terms
from privfl.params import SessionParams, VectorSpec
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest
from privfl.session import Aggregate

_SLACK: Final = 1e-9


class PrivateTermsCodec:
    """The encoding that terms with `privacy` say: clipped in L2, rounded, and with the node's share of the noise.

    Args:
        terms: what was agreed.
        layout: of the update.
        entropy: of roundings and noise.
        workers: threads for long vectors.

    Raises:
        ConfigurationError: the terms contradict themselves, or let more than the update leave a node.

    Guarantees:
        1. Whatever the update, and whatever the server wrote into the terms, the norm of what is noised is at most what
           `cost` is told for.
    """

    def __init__(self, terms: Terms, layout: Layout, *, entropy: Entropy | None = None, workers: int = 1) -> None:
        privacy = terms.privacy
        if privacy is None or terms.kind != "train" or terms.metrics or terms.bits or terms.weight_max != 1:
            raise ConfigurationError(
                "terms with privacy that are not for training, or have metrics, weights or quantised coordinates: "
                "noise covers the update alone"
            )
        check_clip("clip", terms.clip)
        _check_numbers(privacy)
        self._noise = IntegerNoise(kind=Mechanism(privacy.mechanism), variance=Fraction(privacy.variance))
        self._codec = PrivateCodec(
            layout=layout, granularity=privacy.granularity, l2_squared=privacy.l2_squared, noise=self._noise
        )
        if privacy.l2_squared * privacy.granularity**2 < 1 + _SLACK:
            # Else a server could choose a bound that only some updates keep to: who then sends nothing tells about its.
            raise ConfigurationError(
                f"privacy.l2_squared of the terms is {privacy.l2_squared}, which not every update that is clipped fits "
                f"into at privacy.granularity {privacy.granularity:g}"
            )
        self._clip, self._privacy = terms.clip, privacy
        self._entropy = entropy or OsEntropy()
        self._workers = workers

    @property
    def vector(self) -> VectorSpec:
        """Length and bounds of a node's vector."""
        return VectorSpec(length=self._codec.length, bound=self._codec.bound, sum_bound=self._privacy.sum_bound)

    def encode(self, update: Arrays, metrics: Mapping[str, object], *, context: bytes) -> npt.NDArray[np.int32]:  # noqa: ARG002 - none enters the sum
        """Encode a contribution.

        Args:
            update: how the node changed the model.
            metrics: what its app reported; none of it leaves the node.
            context: of the session.

        Raises:
            ConfigurationError: an array is not as agreed, or not finite.
        """
        made = self._codec.encode(
            update, clip=self._clip, seed=_seed(context), entropy=self._entropy, workers=self._workers
        )
        return made.vector

    def decode(self, summed: Aggregate, *, context: bytes) -> WeightedMean:
        """Read the noisy sum of clipped updates over the public denominator; every contributor weighs 1."""
        decoded = self._codec.decode(
            summed.vector, clip=self._clip, denominator=self._privacy.denominator, seed=_seed(context)
        )
        return WeightedMean(arrays=decoded.arrays, weight=float(summed.contributors), counts={}, means={})

    def cost(self, params: SessionParams, *, corrupt: int = 0) -> Repeated:
        """Return what a session costs a node at the most: over the fewest contributors that it may have.

        Args:
            params: of the session. What they say counts, beside what the terms promise.
            corrupt: fewest corrupt nodes that the node wants to be protected from.

        Raises:
            ConfigurationError: the session may have fewer contributors than shares are made for, or more nodes; or
                nobody would be honest.
        """
        privacy, cohort = self._privacy, len(params.cohort)
        if params.minimum_contributors < privacy.minimum or cohort > privacy.cohort:
            raise ConfigurationError(
                f"a session of {params.minimum_contributors} to {cohort} contributors, where shares of the noise are "
                f"made for {privacy.minimum} to {privacy.cohort}"
            )
        # Each node knows its own share; of the others the threat model says how many may tell theirs.
        told = max(1, corrupt, privacy.corrupt, math.floor(params.threat.corrupt * cohort + 1e-9))
        event = effective(self._plan(cohort), contributors=params.minimum_contributors, corrupt=told)
        return Repeated(event=event, count=1)

    def facts(self) -> dict[str, Any]:
        """Return what a node's ledger and receipts say of its noise: JSON values."""
        return {
            "mechanism": self._noise.kind.value,
            "variance": float(self._noise.variance),
        }

    def _plan(self, cohort: int) -> IntegerPlan:
        privacy = self._privacy
        return IntegerPlan(
            mechanism=self._noise.kind,
            dimension=self._codec.layout.length,
            length=self._codec.length,
            rotate=True,
            cohort=cohort,
            honest_minimum=privacy.minimum - privacy.corrupt,
            extras_norm=0.0,
            noise_multiplier=math.sqrt((privacy.minimum - privacy.corrupt) * privacy.variance / privacy.l2_squared),
            granularity=privacy.granularity,
            l2_squared=privacy.l2_squared,
            noise=self._noise,
            sum_bound=privacy.sum_bound,
            wrap_bits=0.0,  # what is not known here is not claimed
            distance=math.inf,
            loss=math.inf,
        )


def terms_of(plan: IntegerPlan, **promised: Any) -> PrivateTerms:
    """Write a plan down for nodes.

    Args:
        plan: whole numbers and noise.
        promised: what else `PrivateTerms` has.
    """
    return PrivateTerms(
        mechanism="skellam" if plan.mechanism is Mechanism.SKELLAM else "discrete-gaussian",
        granularity=plan.granularity,
        l2_squared=plan.l2_squared,
        variance=float(plan.noise.variance),  # exact: the planner leaves few enough bits
        sum_bound=plan.sum_bound,
        **promised,
    )


def _check_numbers(privacy: PrivateTerms) -> None:
    for key in ("variance", "denominator", "epsilon", "delta"):
        if not 0 < getattr(privacy, key) < math.inf:  # said so that NaN is refused
            raise ConfigurationError(f"privacy.{key} of the terms is {getattr(privacy, key)}: a number above 0 works")
    if not privacy.corrupt < privacy.minimum <= privacy.cohort:
        raise ConfigurationError(
            f"terms for {privacy.minimum} to {privacy.cohort} contributors, {privacy.corrupt} of them corrupt: nobody "
            f"honest is left"
        )


def _seed(context: bytes) -> bytes:
    """The rotation of a round, which all its parties know: it follows from what the round is about."""
    return digest(Label.ROTATION, context)[:SEED_BYTES]
