"""A client's part in a run that is held elsewhere: it trains what it is shown, on examples of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privfl.dp.events import Repeated
from privfl.dp.planner import effective
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError, DecodeError
from privfl.learning.assembly import averaging_of, compressor_of, trainer_of
from privfl.learning.contributing import compression_seed, contribute, contribute_nothing, round_context, scaled
from privfl.learning.data import Examples, PublicFacts
from privfl.learning.job import Job
from privfl.learning.models import default_model
from privfl.learning.own_code import OwnCodeFailed, is_own, told
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.private import PrivateAveraging
from privfl.learning.schedules import learning_rate_at
from privfl.learning.scheduling import Assignment, Model, training_seed
from privfl.learning.sessions import key_epoch
from privfl.learning.strategy import Weights
from privfl.params import KeyEpoch, SessionParams, VectorSpec
from privfl.session import Vector

_FLOAT: Final = np.dtype("<f4")
_FURTHEST_BITS: Final = 6
"""By how many powers of two a clip that follows the updates moves in a round at most: twice its largest multiple, 32.
Under too large a clip all but the largest coordinates are rounded away."""
_LOG: Final = logging.getLogger("privfl.client")


class Participation:
    """What a client does in a run.

    Args:
        job: the run's, as its coordinator shows it.
        facts: what is public of the data of all clients, likewise.
        agreed: all that was shown, as bytes: the context of every round follows from it, so that clients that were
            shown different runs have masks that do not cancel.
        number: of this client.
        examples: its own.
        model: name of the function of the client's own that builds the model, `module:function`; None where the job
            names a built-in one. A function is never imported because somebody else's job names it.
        workers: threads for long vectors.

    Attributes:
        job: likewise.
        agreed: likewise.

    Raises:
        ConfigurationError: the job does not work here; names the key.
        MissingExtra: something that it takes is not installed.

    Guarantees:
        1. No code runs that the job names and the client's owner did not.
        2. A vector is made under the clip that all clients of the round were shown, as its context says.
        3. In `client` modes of privacy a client whose training fails adds its share of the noise to nothing, so that
           nobody sees that its examples made it fail.
        4. A session is held as the job says, or this client takes no part: noise and thresholds are made for that.
    """

    def __init__(
        self,
        job: Job,
        facts: PublicFacts,
        *,
        agreed: bytes,
        number: int,
        examples: Examples,
        model: str | None = None,
        workers: int = 1,
    ) -> None:
        refuse_what_is_not_for_distant_clients(job)
        job = job.with_minimum()
        name = job.model or default_model(job.data.name)
        if is_own(name) and name != model:
            raise ConfigurationError(
                f"the job's model is {name!r}, code that this client's owner has not named: look at it, and join with "
                f"--model {name}"
            )
        _require_fit(examples, facts)
        self.job = job
        self.agreed = agreed
        self._number, self._examples = number, examples
        self._trainer, guarantee = trainer_of(job, facts, name, None)
        self._integers = None if guarantee is None else guarantee.integers
        self._like = self._trainer.initial_weights()
        self._compressor = compressor_of(job, self._trainer)
        self._averaging = averaging_of(job, facts, guarantee, self._compressor.sent, workers=workers)
        self._first_clip = self._averaging.clip

    @property
    def vector_spec(self) -> VectorSpec:
        """Length and bounds of the vectors of this run's sessions."""
        return self._averaging.vector

    @cached_property
    def key_epoch(self) -> KeyEpoch:
        """What the key of a committee is made for that opens this run's sums.

        Raises:
            ConfigurationError: no committee does.
        """
        return key_epoch(self.job, self.vector_spec)

    @property
    def model_bytes(self) -> int:
        """Length of the model as it travels."""
        return _FLOAT.itemsize * Layout.of(self._like).length

    @property
    def adds_noise(self) -> bool:
        """Whether this client's own noise is in what it uploads."""
        return self._integers is not None and self._integers.client_noise is not None

    def require_planned(self, params: SessionParams) -> None:
        """Raise unless a session is as the job says: what the job promises rests on it.

        Raises:
            ConfigurationError: it sums other vectors, in another suite, under another threat model, among more clients,
                or may be opened over fewer.
        """
        if params.vector != self.vector_spec:
            raise ConfigurationError(f"a session that sums {params.vector}: this job's updates are {self.vector_spec}")
        for what, said, due in (
            ("suite", params.suite, self.job.suite),
            ("threat", params.threat, self.job.threat),
        ):
            if said != due:
                raise ConfigurationError(f"a session whose {what} is {said!r}: the job says {due!r}")
        invited = len(params.cohort)
        if invited > self.job.cohort_size or params.cohort[-1] >= self.job.data.clients:
            raise ConfigurationError(
                f"a session of {invited} clients up to number {params.cohort[-1]}: the job has "
                f"{self.job.data.clients}, and invites {self.job.cohort_size} at most"
            )
        fewest = self.job.agreed_minimum(invited)
        if params.minimum_contributors < fewest:
            raise ConfigurationError(
                f"a session that is opened over {params.minimum_contributors} contributors: with {invited} invited the "
                f"job says {fewest} or more"
            )

    def cost(self, params: SessionParams, *, corrupt: int = 0) -> tuple[Repeated, dict[str, Any]]:
        """Return what a session costs this client at the most, over the fewest contributors that it may have, and what
        its ledger says of its noise: JSON values.

        Args:
            params: of the session, as planned.
            corrupt: fewest corrupt clients that this one wants to be protected from.

        Raises:
            ConfigurationError: nobody would be honest, or this client adds no noise.
        """
        share = None if self._integers is None else self._integers.client_noise
        if self._integers is None or share is None:
            raise ConfigurationError(f"privacy.mode is {self.job.privacy.mode.value!r}, without noise of the clients'")
        # Each client knows its own share; of the others the threat model says how many may tell theirs.
        event = effective(
            self._integers,
            contributors=params.minimum_contributors,
            corrupt=max(1, corrupt, self.job.corrupt_clients),
        )
        return Repeated(event=event, count=1), {"mechanism": share.kind.value, "variance": float(share.variance)}

    def read(self, raw: bytes) -> Weights:
        """Read a model.

        Raises:
            DecodeError: it has another length, or holds what is no finite number.
        """
        return read_model(raw, self._like)

    def context(self, weights: Weights, number: int, clip: float) -> bytes:
        """Return what a round's session is about, as this client was shown it.

        Args:
            weights: the model.
            number: of the round.
            clip: scale of the round's updates.

        Raises:
            ConfigurationError: the clip is not the job's, and the job does not let it move, or not so far by then.
        """
        moves = self.job.encoding.adaptive or self.job.privacy.adaptive is not None
        furthest = _FURTHEST_BITS * (number - 1) if moves else 0
        if not (math.isfinite(clip) and clip > 0) or abs(math.log2(clip / self._first_clip)) > furthest:
            raise ConfigurationError(
                f"updates of round {number} are to be scaled by {clip!r}, and the job says {self._first_clip!r}"
            )
        return round_context(weights, scaled(self.agreed, clip), number)

    def vector(self, weights: Weights, number: int, clip: float, context: bytes) -> Vector:
        """Train, and write the update as a vector.

        Args:
            weights: the model.
            number: of the round.
            clip: as for `context`.
            context: what that returned.

        Raises:
            ConfigurationError: training failed, or its update is not in order: the client takes no part.
        """
        rate = learning_rate_at(self.job.strategy, number, self.job.rounds)
        assignment = Assignment(
            model=Model(weights=weights, version=0),
            training=replace(self.job.strategy.local_training(), learning_rate=rate),
            seed=training_seed(self.job, number, self._number),
        )
        self._averaging.clip = clip
        chosen = self._compressor.choose(compression_seed(context), weights)
        try:
            return contribute(
                self._trainer,
                self._examples,
                assignment,
                self._averaging,
                chosen,
                client=self._number,
                context=context,
            ).vector
        except (Exception, SystemExit) as raised:
            if not isinstance(self._averaging, PrivateAveraging):
                if isinstance(raised, Exception):
                    raise
                raise OwnCodeFailed(f"the trainer ended the program: {told(raised)}") from raised
            _LOG.exception("training failed in round %d: this client adds nothing but its noise", number)
            return contribute_nothing(assignment, self._averaging, chosen, context=context)


def write_model(weights: Weights) -> bytes:
    """Write a model as it travels: its arrays, one behind the other, float32, little-endian."""
    return b"".join(np.ascontiguousarray(array, _FLOAT).tobytes() for array in weights.values())


def read_model(raw: bytes, like: Mapping[str, npt.NDArray[np.float32]]) -> Weights:
    """Read what `write_model` wrote.

    Args:
        raw: the bytes.
        like: arrays of the same names, order and shapes.

    Raises:
        DecodeError: another length, or not finite.
    """
    values = np.frombuffer(raw, _FLOAT) if len(raw) % _FLOAT.itemsize == 0 else np.empty(0, _FLOAT)
    layout = Layout.of(like)
    if values.size != layout.length:
        raise DecodeError(f"a model of {len(raw)} bytes where {_FLOAT.itemsize * layout.length} are due")
    if not np.isfinite(values).all():
        raise DecodeError("a model that holds what is no finite number")
    arrays = {}
    for name, shape, place in layout.spans():
        arrays[name] = values[place].reshape(shape).astype(np.float32)  # a copy, in this machine's own order
    return arrays


def refuse_what_is_not_for_distant_clients(job: Job) -> None:
    """Refuse a job with keys that speak of simulated clients, or of what distant ones do not do.

    Raises:
        ConfigurationError: names the key, and what works.
    """
    for why in chain(_why_not(job), _why_not_private(job)):
        raise ConfigurationError(why)


def _why_not(job: Job) -> Iterator[str]:
    simulated = "speaks of simulated clients: leave it out, distant ones come and go by themselves"
    if job.fleet is not None:
        yield f"fleet {simulated}"
    if job.failures != type(job.failures)():
        yield f"failures {simulated}"
    if job.cohort.by_presence:
        yield (
            f"cohort.sampling is {job.cohort.sampling.value!r}, by which simulated clients check in: 'uniform' works, "
            f"and invites those who are there"
        )
    if job.strategy.buffering() is not None:
        yield f"strategy.name is {job.strategy.name!r}, whose buffers are simulated ones: 'fedavg' works"
    if job.evaluation.federated:
        yield "evaluation.federated is true, and distant clients evaluate nothing: leave it out"
    if job.compression.feedback:
        yield "compression.feedback is set, and distant clients keep nothing from round to round: leave it out"


def _why_not_private(job: Job) -> Iterator[str]:
    if job.privacy.mode is PrivacyMode.EXAMPLE:
        yield "privacy.mode is 'example', which distant clients do not do: 'client-distributed' works"
    if job.privacy.amplification:
        yield (
            "privacy.amplification is true, and distant clients come and go, so that who takes part is no secret draw: "
            "leave it out"
        )
    if job.privacy.client_epsilon is not None:
        yield "privacy.client_epsilon is set, and distant clients have budgets of their own: leave it out"


def _require_fit(examples: Examples, facts: PublicFacts) -> None:
    if examples.features.shape[1:] != facts.feature_shape:
        raise ConfigurationError(
            f"this client's examples have shape {examples.features.shape[1:]}, and the run's {facts.feature_shape}"
        )
    if int(examples.labels.max()) >= facts.classes:
        raise ConfigurationError(
            f"this client's labels hold {int(examples.labels.max())}, and the run's go up to {facts.classes - 1}"
        )
