"""The server of `ckks`: adds ciphertexts that it cannot open, and has their sum opened by the committee."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from privfl.ckks.client import require_key, upload_parts
from privfl.ckks.key import CommitteeKey
from privfl.ckks.messages import (
    ConveneRequest,
    Opening,
    OpenRequest,
    Present,
    Upload,
    UploadRequest,
)
from privfl.ckks.modulus import PRIMES, Residues, reduce
from privfl.ckks.planner import DEVIATIONS, error_std, modulus_of, verified
from privfl.errors import ConfigurationError, RemoteProtocolError, RoundAborted
from privfl.lockstep.server import LockstepServer, ServerStep
from privfl.params import CkksSetting, SessionParams
from privfl.primitives.labels import Label
from privfl.primitives.signatures import verify
from privfl.roster import Roster
from privfl.session import Aggregate, Phase
from privfl.wire import CONTROL_BODY_LIMIT_BYTES, Role

_REDUCE_EVERY = 1 << 12
"""Uploads: sums of so many residues, which have 48 bits at most, stay below 2^61, and are reduced together."""


class UploadStep(ServerStep[Upload, Aggregate]):
    """Upload: takes ciphertexts and adds them up."""

    phase = Phase.UPLOAD
    answer = Upload
    body_limit_bytes = CONTROL_BODY_LIMIT_BYTES

    def __init__(self, params: SessionParams, committee: CommitteeKey, roster: Roster | None) -> None:
        self._params = params
        self._committee = committee
        self._roster = roster
        self._modulus = modulus_of(committee.epoch)
        self.session = params.digest
        self.waiting = set(params.cohort)
        self._length = params.vector.length
        self._whole = self._modulus.polynomials(self._length) * self._modulus.degree
        self._cut = self._modulus.vector_bytes(self._whole)
        self.tail_bytes = self._cut + self._modulus.vector_bytes(self._length)
        self._own = np.zeros((PRIMES, self._length), np.int64)
        self._common = np.zeros((PRIMES, self._whole), np.int64)
        self._contributors = 0

    def request_for(self, number: int) -> UploadRequest:  # noqa: ARG002 - every client is asked the same
        """Ask for the vector."""
        return UploadRequest()

    def accept(self, number: int, message: Upload, tail: memoryview) -> None:
        """Add a ciphertext."""
        if self._roster is not None:
            identity = self._roster.identities[number]
            verify(identity, message.signature, Label.CKKS_UPLOAD, *upload_parts(self._params, number, tail))
        elif message.signature:
            raise RemoteProtocolError("a signature where none was agreed")
        common = self._modulus.unpack(tail[: self._cut], self._whole)
        own = self._modulus.unpack(tail[self._cut :], self._length)  # refuses before anything is added
        self._common += common
        self._own += own
        self._contributors += 1
        if self._contributors % _REDUCE_EVERY == 0:
            self._reduce()

    def _reduce(self) -> None:
        for total in (self._own, self._common):
            for row, prime in zip(total, self._modulus.primes, strict=True):
                row[:] = reduce(row, prime)

    @property
    def ready(self) -> bool:
        """Whether the minimum is met."""
        return self._contributors >= self._params.minimum_contributors

    def close(self) -> ConveneStep:
        """Go on to the committee."""
        if not self.ready:
            raise RoundAborted(
                f"{self._contributors} clients uploaded and {self._params.minimum_contributors} are needed "
                f"(cohort.minimum)"
            )
        self._reduce()
        return ConveneStep(
            self._params, self._committee, own=self._own, common=self._common, contributors=self._contributors
        )


class ConveneStep(ServerStep[Present, Aggregate]):
    """Convene: finds out which members of the committee are there; from them, T is fixed."""

    phase = Phase.CONVENE
    role: ClassVar[Role] = Role.COMMITTEE
    answer = Present
    body_limit_bytes = CONTROL_BODY_LIMIT_BYTES

    def __init__(
        self, params: SessionParams, committee: CommitteeKey, *, own: Residues, common: Residues, contributors: int
    ) -> None:
        self._params = params
        self._committee = committee
        self._own, self._common = own, common
        self._contributors = contributors
        self.session = params.digest
        self.waiting = set(committee.statement.qualified)
        self._present: set[int] = set()

    def request_for(self, number: int) -> ConveneRequest:  # noqa: ARG002 - every member is asked the same
        """Ask whether it is there."""
        return ConveneRequest()

    def accept(self, number: int, message: Present, tail: memoryview) -> None:  # noqa: ARG002
        """Note a member that is there."""
        self._present.add(number)

    @property
    def ready(self) -> bool:
        """Whether enough members are there to open the sum."""
        return len(self._present) >= self._committee.epoch.committee.threshold

    def close(self) -> OpenStep:
        """Fix T: no more members than are needed, as each adds a flood, and each must answer."""
        threshold = self._committee.epoch.committee.threshold
        if not self.ready:
            raise RoundAborted(
                f"{len(self._present)} members of the committee are there and {threshold} are needed "
                f"(committee.threshold); nothing is opened"
            )
        return OpenStep(
            self._params,
            self._committee,
            members=tuple(sorted(self._present)[:threshold]),
            own=self._own,
            common=self._common,
            contributors=self._contributors,
        )


class OpenStep(ServerStep[Opening, Aggregate]):
    """Open: takes the answers of all members of T, whose masks cancel over T only."""

    phase = Phase.OPEN
    role: ClassVar[Role] = Role.COMMITTEE
    answer = Opening
    body_limit_bytes = CONTROL_BODY_LIMIT_BYTES

    def __init__(
        self,
        params: SessionParams,
        committee: CommitteeKey,
        *,
        members: tuple[int, ...],
        own: Residues,
        common: Residues,
        contributors: int,
    ) -> None:
        self._params = params
        self._setting = verified(params)
        self._modulus = modulus_of(committee.epoch)
        self._members = members
        self._total = own
        self._shown = memoryview(self._modulus.packed(common))
        self._contributors = contributors
        self.session = params.digest
        self.waiting = set(members)
        self.tail_bytes = self._modulus.vector_bytes(params.vector.length)

    def request_for(self, number: int) -> OpenRequest:  # noqa: ARG002 - every member is asked the same
        """Ask for an answer."""
        return OpenRequest(contributors=self._contributors, members=self._members)

    def tail_for(self, number: int) -> memoryview:  # noqa: ARG002
        """Show c₁ of the sum; c₀ is no member's business."""
        return self._shown

    def accept(self, number: int, message: Opening, tail: memoryview) -> None:  # noqa: ARG002
        """Add an answer."""
        self._modulus.add(self._total, self._modulus.unpack(tail, self._params.vector.length))

    @property
    def ready(self) -> bool:
        """Whether all have answered."""
        return not self.waiting

    def close(self) -> Aggregate:
        """Read the sum."""
        if self.waiting:
            raise RoundAborted(
                f"members {sorted(self.waiting)} of the committee fell silent after the set that opens was fixed: the "
                f"same sum is not opened again by another; the next session uploads afresh"
            )
        return _aggregate(self._params, self._setting, self._modulus.centred(self._total), self._contributors)


def _aggregate(
    params: SessionParams, setting: CkksSetting, opened: npt.NDArray[np.float64], contributors: int
) -> Aggregate:
    """Scale the opened sum, and check that it can be one.

    Raises:
        RoundAborted: it cannot: a client encrypted something else, or a member answered something else.
    """
    opened /= 2.0**setting.scale_bits  # exact: a power of two
    np.rint(opened, out=opened)
    error, limit = error_std(setting), params.vector.reach(contributors)
    if float(np.abs(opened).max()) > limit + math.ceil(DEVIATIONS * error):
        raise RoundAborted(
            "the opened sum is out of range: a client left its bound or another key was used; nothing is released"
        )
    total = opened.astype(np.int64)  # in range, or it would not be here
    np.clip(total, -limit, limit, out=total)  # what errors pushed over the edge
    return Aggregate(vector=total, contributors=contributors, error_std=error)


class CkksServer(LockstepServer):
    """A server that learns the sum and, if everyone follows the protocol, nothing else.

    It waits for clients in `Phase.UPLOAD`, and for members of the committee in `Phase.CONVENE` and `Phase.OPEN`.

    Args:
        params: the session's parameters.
        committee: the committee's key.
        roster: identities of the clients, where the parameters name a roster.

    Raises:
        ConfigurationError: the parameters name another key or roster.

    Guarantees:
        1. A ciphertext that is not as agreed, or not signed as agreed, counts as silence of its sender.
        2. The sum is opened once, over all who uploaded; a member that falls silent once T is fixed ends the session.
        3. An opened sum outside the range of the contributors' bounds is not released.
        4. Memory does not grow with the cohort.
    """

    def __init__(self, params: SessionParams, *, committee: CommitteeKey, roster: Roster | None = None) -> None:
        if params.roster_digest != (roster.digest if roster is not None and params.roster_digest else b""):
            raise ConfigurationError("these parameters want signed uploads: give the roster that they name")
        signers = roster if params.roster_digest else None
        if signers is not None:
            signers.require(params.cohort)
        super().__init__(params, UploadStep(params, require_key(params, committee), signers))
