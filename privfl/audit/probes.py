"""Recorded sessions on known inputs: what was submitted, made again from public seeds, and what came out of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from privfl.audit.artefacts import Artefacts
from privfl.audit.checks import Undecided, Wrong
from privfl.audit.coverage import opened
from privfl.dp.planner import IntegerPlan
from privfl.encoding.layout import Layout
from privfl.errors import LedgerError
from privfl.evidence import SessionRecord
from privfl.learning.averaging import WeightedAveraging
from privfl.learning.contributing import rounding_seed
from privfl.learning.job import Job
from privfl.learning.known_inputs import INPUTS_VERSION, KnownInputs
from privfl.learning.npz import DAMAGE, read_npz
from privfl.learning.private import PrivateAveraging
from privfl.learning.witness import seed_after
from privfl.params import SessionParams
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest
from privfl.suites import suite

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One session on known inputs, as it was written down.

    Attributes:
        session: the evidence of it.
        params: its parameters.
        where: file and line.
        facts: seed, clip and files.
        released: what came out, int64, shape (length,).
        upload: one client's upload, as it left it.
        uploader: that client's number.
    """

    session: SessionRecord
    params: SessionParams
    where: str
    facts: Mapping[str, Any]
    released: npt.NDArray[np.int64] = field(repr=False)
    upload: bytes = field(repr=False)
    uploader: int

    def known(self, layout: Layout, *, canaries: bool) -> KnownInputs:
        """What the clients submitted.

        Raises:
            Wrong: updates are longer than what came out: nothing is made that nobody could have written down.
        """
        if layout.length > len(self.released):
            raise Wrong(
                f"Updates of {layout.length} coordinates, in a session of {len(self.released)}.", where=self.where
            )
        seed = bytes.fromhex(str(self.facts["seed"]))
        return KnownInputs(seed=seed, layout=layout, clip=float(self.facts["clip"]), canaries=canaries)


@dataclass(frozen=True)
class PrivateProbe:
    """One session on canaries, and what should have come out of it, in whole numbers.

    Attributes:
        recorded: what was written down.
        averaging: as the run's.
        known: what was submitted.
    """

    recorded: Recorded
    averaging: PrivateAveraging
    known: KnownInputs

    @property
    def plan(self) -> IntegerPlan:
        """Of noise."""
        return self.averaging.plan

    @property
    def contributors(self) -> int:
        """Clients in the sum."""
        return len(self.recorded.params.cohort)

    @cached_property
    def contributions(self) -> Floats:
        """What each canary adds if it is in, beside what its client adds if it is not; shape (canaries, length)."""
        context = self.recorded.params.context
        rows = [
            self.averaging.unrounded(self.known.canary(client), context=context)
            - self.averaging.unrounded(self.known.nothing(client), context=context)
            for client in self.carriers
        ]
        return np.stack(rows)

    @property
    def carriers(self) -> tuple[int, ...]:
        """Clients with a canary."""
        return tuple(client for client in self.recorded.params.cohort if client < self.known.carriers)

    @property
    def included(self) -> npt.NDArray[np.bool_]:
        """Which canaries are in."""
        return np.array([self.known.included(client) for client in self.carriers])

    @cached_property
    def beside(self) -> Floats:
        """What came out beside what the clients add whether or not their canaries are in."""
        context, cohort = self.recorded.params.context, self.recorded.params.cohort
        nothing = self.averaging.unrounded(self.known.nothing(cohort[0]), context=context)
        return self.recorded.released - len(cohort) * nothing

    @property
    def noise_variance(self) -> float:
        """Of the noise that was planned, in whole numbers."""
        shares = self.contributors if self.plan.client_noise is not None else 1
        return shares * float(self.plan.noise.variance)

    @property
    def other_variance(self) -> float:
        """What rounding and the suite add at the most."""
        params = self.recorded.params
        error = suite(params.suite).error_std(params.setting, self.contributors)
        return self.contributors / 4 + error**2


class Probes:
    """All sessions on known inputs of a run.

    Args:
        artefacts: what there is.
        layout: of an update.

    Raises:
        Wrong: one of them is not what the evidence says, or says of itself.
    """

    def __init__(self, artefacts: Artefacts, layout: Layout) -> None:
        self._artefacts = artefacts
        self.layout = layout
        self.aborted: list[str] = []
        self.recorded: list[Recorded] = []
        evidence = artefacts.evidence.value
        if evidence is not None:
            places = zip(evidence.sessions, evidence.places, evidence.before, strict=True)
            for session, line, before in places:
                if session.probe is not None:
                    self._take(session, before, f"{artefacts.evidence.name}, line {line}")

    def required(self) -> list[Recorded]:
        """Return them; there must be some.

        Raises:
            Undecided: there are none.
        """
        if not self.recorded:
            aborted = f" {len(self.aborted)} of them aborted." if self.aborted else ""
            raise Undecided(
                f"No session on known inputs was recorded.{aborted}",
                missing="sessions on known inputs: a run holds them unless `audit.probes = 0` says not to",
            )
        return self.recorded

    def private(self, job: Job, plan: IntegerPlan) -> Iterator[PrivateProbe]:
        """Yield the sessions on canaries of a run that is private towards clients.

        Args:
            job: the run's.
            plan: of its noise.
        """
        for one in self.required():
            known = one.known(self.layout, canaries=True)
            averaging = PrivateAveraging.of(job, self.layout, plan, clip=known.clip, entropy=OsEntropy())
            if one.released.shape != (averaging.vector.length,):
                raise Wrong(
                    f"{len(one.released)} coordinates came out of a session of {averaging.vector.length}.",
                    where=one.where,
                )
            yield PrivateProbe(one, averaging, known)

    def exact(self, averaging: WeightedAveraging) -> Iterator[tuple[Recorded, npt.NDArray[np.int64]]]:
        """Yield the sessions of a run that adds no noise to sums, each with the sum that should have come out.

        Args:
            averaging: as the run's.
        """
        for one in self.required():
            known = one.known(self.layout, canaries=False)
            context = one.params.context
            if averaging.adaptive:  # else the job says the clip, whatever the probe does
                averaging.clip = known.clip
            total = np.zeros(averaging.vector.length, np.int64)
            for client in one.params.cohort:
                chance = rounding_seed(context, client)
                total += averaging.encode(known.result(client), context=context, chance=chance)
            yield one, total

    def _take(self, session: SessionRecord, before: str, where: str) -> None:
        facts, params = session.probe or {}, session.params
        number = len(self.recorded) + len(self.aborted) + 1
        seed = _seed(facts, number, before, where)
        if params is None or not session.released or facts.get("file") is None:
            if opened(session, uploads=False):
                raise Wrong("A sum was opened, said to be of known inputs, and not shown.", where=where)
            self.aborted.append(where)
            return
        cohort = params.cohort
        if params.context != digest(Label.PROBE, seed) or cohort != tuple(range(len(cohort))):
            raise Wrong(
                "A session on known inputs was held about something else, or among chosen clients.", where=where
            )
        if session.contributors != len(cohort) or facts.get("uploader") != number % len(cohort):
            raise Wrong(
                f"A session on known inputs of {len(cohort)} clients has {session.contributors} in its sum, and shows "
                f"client {facts.get('uploader')!r}.",
                where=where,
            )
        try:
            content = self._artefacts.bytes_of(str(facts["file"]))
        except LedgerError as error:
            raise Wrong(f"{error}.", where=where) from None
        if hashlib.sha256(content).hexdigest() != facts.get("sha256"):
            raise Wrong(f"{facts['file']} is not the file that the evidence names: it was changed.", where=where)
        released, upload = _unpacked(content, where)
        if released.shape != (params.vector.length,):
            raise Wrong(f"{released.size} coordinates came out of a session of {params.vector.length}.", where=where)
        self.recorded.append(
            Recorded(
                session=session,
                params=params,
                where=where,
                facts=facts,
                released=released,
                upload=upload,
                uploader=cohort[number % len(cohort)],
            )
        )


def _seed(facts: Mapping[str, Any], number: int, before: str, where: str) -> bytes:
    """Return the seed that is due; stop if what was recorded is another session than the next."""
    if facts.get("inputs") != INPUTS_VERSION:
        raise Undecided(
            f"Known inputs of version {facts.get('inputs')!r} are not known here.",
            where=where,
            missing=f"a privfl that knows them; this one knows version {INPUTS_VERSION}",
        )
    if facts.get("number") != number:
        raise Wrong(f"Session {facts.get('number')!r} on known inputs where number {number} is due.", where=where)
    seed = seed_after(before)
    if facts.get("seed") != seed.hex():
        raise Wrong(
            "A session on known inputs is of another run, or its inputs were chosen: its seed does not follow from "
            "the line before.",
            where=where,
        )
    return seed


def _unpacked(content: bytes, where: str) -> tuple[npt.NDArray[np.int64], bytes]:
    try:
        # Nothing in it is compressed, so nothing can swell.
        found = read_npz(content, ("released", "upload"), len(content))
    except DAMAGE as error:
        raise Wrong(f"A recorded session cannot be read: {error}.", where=where) from None
    released, upload = found["released"], found["upload"]
    if released.dtype != np.int64 or released.ndim != 1 or upload.dtype != np.uint8 or upload.ndim != 1:
        raise Wrong("A recorded session holds something else than whole numbers and bytes.", where=where)
    return released, upload.tobytes()
