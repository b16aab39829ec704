"""The coordinator of a key ceremony: carries messages, and ends with a signed key that it cannot use."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from privfl.ckks import sharing
from privfl.ckks.agreement import (
    body_limit_bytes,
    ceremony_id,
    check_advertisement,
    check_combined,
    commitment_to,
    qualified_dealers,
    statement_of,
)
from privfl.ckks.ceremony_params import CeremonyParams
from privfl.ckks.key import CommitteeKey, KeyStatement
from privfl.ckks.keytest import KeyTest
from privfl.ckks.messages import (
    Advertise,
    AdvertiseRequest,
    CheckRequest,
    Checks,
    Commitment,
    CommitRequest,
    Dealing,
    DealRequest,
    KeySignature,
    SignRequest,
    TestAnswer,
    TestRequest,
)
from privfl.ckks.modulus import PRIMES
from privfl.ckks.planner import modulus_of
from privfl.ckks.seal import seal_ring
from privfl.errors import RemoteProtocolError, RoundAborted
from privfl.lockstep.server import MessageT, ServerStep, StepServer
from privfl.primitives.aead import TAG_BYTES
from privfl.primitives.keys import check_public_key
from privfl.primitives.labels import Label
from privfl.primitives.signatures import verify
from privfl.session import Phase
from privfl.wire import Role, SuiteCode


class _Step(ServerStep[MessageT, CommitteeKey]):
    """What the phases of a ceremony share: members answer, and enough have to."""

    role: ClassVar[Role] = Role.COMMITTEE

    def __init__(self, params: CeremonyParams, session: bytes, waiting: set[int]) -> None:
        self._params = params
        self._modulus = modulus_of(params.epoch)
        self.session = session
        self.waiting = set(waiting)
        self.body_limit_bytes = body_limit_bytes(params)
        self._answered: set[int] = set()

    @property
    def _threshold(self) -> int:
        return self._params.epoch.committee.threshold

    @property
    def ready(self) -> bool:
        """Whether enough members have answered."""
        return len(self._answered) >= self._threshold

    def _require_enough(self) -> None:
        if not self.ready:
            raise RoundAborted(
                f"{len(self._answered)} members of the committee answered {self.phase} and {self._threshold} are "
                f"needed (committee.threshold)"
            )


class AdvertiseStep(_Step[Advertise]):
    """AdvertiseKeys: takes the members' channel keys."""

    phase = Phase.ADVERTISE_KEYS
    answer = Advertise

    def __init__(self, params: CeremonyParams) -> None:
        super().__init__(params, params.digest, set(params.roster.identities))
        self._keys: dict[int, bytes] = {}
        self._signatures: dict[int, bytes] = {}

    def request_for(self, number: int) -> AdvertiseRequest:  # noqa: ARG002 - every member is asked the same
        """Ask for a key."""
        return AdvertiseRequest()

    def accept(self, number: int, message: Advertise, tail: memoryview) -> None:  # noqa: ARG002
        """Take a key that is signed."""
        check_advertisement(self._params, number, message.channel_key, message.signature)
        check_public_key(message.channel_key)
        self._keys[number], self._signatures[number] = message.channel_key, message.signature
        self._answered.add(number)

    def close(self) -> CommitStep:
        """Name the ceremony."""
        self._require_enough()
        return CommitStep(self._params, self._keys, self._signatures)


class CommitStep(_Step[Commitment]):
    """Commit: takes the digests of the members' parts."""

    phase = Phase.COMMIT
    answer = Commitment

    def __init__(self, params: CeremonyParams, keys: Mapping[int, bytes], signatures: Mapping[int, bytes]) -> None:
        super().__init__(params, ceremony_id(params, keys), set(keys))
        members = tuple(sorted(keys))
        self._request = CommitRequest(
            members=members,
            keys=tuple(keys[member] for member in members),
            signatures=tuple(signatures[member] for member in members),
        )
        self._commitments: dict[int, bytes] = {}

    def request_for(self, number: int) -> CommitRequest:  # noqa: ARG002 - every member is asked the same
        """Show all keys."""
        return self._request

    def accept(self, number: int, message: Commitment, tail: memoryview) -> None:  # noqa: ARG002
        """Take a commitment."""
        self._commitments[number] = message.commitment
        self._answered.add(number)

    def close(self) -> DealStep:
        """Go on to the dealing."""
        self._require_enough()
        return DealStep(self._params, self.session, self._commitments)


class DealStep(_Step[Dealing]):
    """Deal: takes the parts, as they were committed to, and the sealed shares."""

    phase = Phase.DEAL
    answer = Dealing

    def __init__(self, params: CeremonyParams, session: bytes, commitments: Mapping[int, bytes]) -> None:
        super().__init__(params, session, set(commitments))
        self._commitments = commitments
        self._holders = tuple(sorted(commitments))
        self._parts: dict[int, bytes] = {}
        self._sealed: dict[int, tuple[bytes, ...]] = {}
        self.tail_bytes = self._modulus.vector_bytes(self._modulus.degree)

    def request_for(self, number: int) -> DealRequest:  # noqa: ARG002 - every member is asked the same
        """Show all commitments."""
        return DealRequest(
            members=self._holders, commitments=tuple(self._commitments[member] for member in self._holders)
        )

    def accept(self, number: int, message: Dealing, tail: memoryview) -> None:
        """Take a part that was committed to, and a sealed share for each other holder."""
        part = bytes(tail)
        if commitment_to(self.session, number, part) != self._commitments[number]:
            raise RemoteProtocolError("a part of the key that was not committed to")
        self._modulus.unpack(part, self._modulus.degree)
        size = self._modulus.vector_bytes(self._modulus.degree + sharing.COMBINATIONS) + TAG_BYTES
        if [len(sealed) for sealed in message.sealed] != [size] * (len(self._holders) - 1):
            raise RemoteProtocolError("sealed shares of another number or size")
        self._parts[number], self._sealed[number] = part, message.sealed
        self._answered.add(number)

    def close(self) -> CheckStep:
        """Go on to the checks."""
        self._require_enough()
        return CheckStep(self._params, self.session, self._holders, self._parts, self._sealed)


class CheckStep(_Step[Checks]):
    """CheckShares: takes what members say of the dealings."""

    phase = Phase.CHECK_SHARES
    answer = Checks

    def __init__(
        self,
        params: CeremonyParams,
        session: bytes,
        holders: tuple[int, ...],
        parts: Mapping[int, bytes],
        sealed: Mapping[int, tuple[bytes, ...]],
    ) -> None:
        super().__init__(params, session, set(parts))
        self._holders = holders
        self._dealers = tuple(sorted(parts))
        self._parts = parts
        self._sealed = sealed
        self._digests = tuple(
            b"".join(hashlib.sha256(one).digest() for one in sealed[dealer]) for dealer in self._dealers
        )
        self._said: dict[int, tuple[bytes, ...]] = {}

    def request_for(self, number: int) -> CheckRequest:
        """Show all parts, and hand over the member's shares."""
        return CheckRequest(
            dealers=self._dealers,
            parts=tuple(self._parts[dealer] for dealer in self._dealers),
            digests=self._digests,
            sealed=tuple(self._share_for(number, dealer) for dealer in self._dealers),
        )

    def _share_for(self, number: int, dealer: int) -> bytes:
        others = [holder for holder in self._holders if holder != dealer]
        return b"" if number == dealer else self._sealed[dealer][others.index(number)]

    def accept(self, number: int, message: Checks, tail: memoryview) -> None:  # noqa: ARG002
        """Take a member's combinations."""
        if len(message.combined) != len(self._dealers):
            raise RemoteProtocolError("combinations of another number of dealings")
        for raw in message.combined:
            check_combined(self._modulus, raw)
        self._said[number] = message.combined
        self._answered.add(number)

    def close(self) -> TestStep:
        """Find whose dealings hold, and form the key."""
        self._require_enough()
        try:
            qualified = qualified_dealers(self._params, self._dealers, self._said)
        except RemoteProtocolError as error:
            raise RoundAborted(f"no key: {error}") from None
        statement = statement_of(self._params, self.session, {dealer: self._parts[dealer] for dealer in qualified})
        return TestStep(self._params, statement, self._said)


class TestStep(_Step[TestAnswer]):
    """TestKey: takes the answers of all qualified members for what is known."""

    phase = Phase.TEST_KEY
    answer = TestAnswer

    def __init__(self, params: CeremonyParams, statement: KeyStatement, said: Mapping[int, tuple[bytes, ...]]) -> None:
        super().__init__(params, statement.ceremony, set(statement.qualified))
        self._statement = statement
        members = tuple(sorted(said))
        self._request = TestRequest(members=members, combined=tuple(said[member] for member in members))
        self._total = np.zeros((PRIMES, self._modulus.degree), np.int64)
        self.tail_bytes = self._modulus.vector_bytes(self._modulus.degree)

    def request_for(self, number: int) -> TestRequest:  # noqa: ARG002 - every member is asked the same
        """Show all combinations."""
        return self._request

    def accept(self, number: int, message: TestAnswer, tail: memoryview) -> None:  # noqa: ARG002
        """Add an answer."""
        self._modulus.add(self._total, self._modulus.unpack(tail, self._modulus.degree))
        self._answered.add(number)

    @property
    def ready(self) -> bool:
        """Whether all have answered: masks cancel over all of them only."""
        return not set(self._statement.qualified) - self._answered

    def close(self) -> SignStep:
        """See whether the key opens what is known."""
        missing = sorted(set(self._statement.qualified) - self._answered)
        if missing:
            raise RoundAborted(
                f"no key: members {missing} fell silent in the test that needs all; hold another ceremony"
            )
        if not KeyTest(self._statement).passes(self._total):
            raise RoundAborted("no key: it does not open what is known, so a member lied about its dealing")
        return SignStep(self._params, self._statement, self._modulus.packed(self._total))


class SignStep(_Step[KeySignature]):
    """SignKey: takes the signatures."""

    phase = Phase.SIGN_KEY
    answer = KeySignature

    def __init__(self, params: CeremonyParams, statement: KeyStatement, total: bytes) -> None:
        super().__init__(params, statement.ceremony, set(statement.qualified))
        self._statement = statement
        self._total = total
        self._signatures: dict[int, bytes] = {}

    def request_for(self, number: int) -> SignRequest:  # noqa: ARG002 - every member is asked the same
        """Ask for a signature."""
        return SignRequest()

    def tail_for(self, number: int) -> memoryview:  # noqa: ARG002
        """Show the sum of the answers."""
        return memoryview(self._total)

    def accept(self, number: int, message: KeySignature, tail: memoryview) -> None:  # noqa: ARG002
        """Take a signature that holds."""
        verify(self._params.roster.identities[number], message.signature, Label.CKKS_KEY, self._statement.digest)
        self._signatures[number] = message.signature
        self._answered.add(number)

    def close(self) -> CommitteeKey:
        """Publish the key."""
        self._require_enough()
        return CommitteeKey(statement=self._statement, roster=self._params.roster, signatures=self._signatures)


class CeremonyCoordinator(StepServer[CommitteeKey]):
    """The coordinator's side of a key ceremony; `result` is the committee's key.

    Args:
        params: what was agreed.

    Raises:
        MissingExtra: TenSEAL is not installed.

    Guarantees:
        1. A member that answers otherwise than agreed counts as silent.
        2. There is no key unless dealings of at least the threshold hold and their members' answers open what is known.
    """

    _result_name = "key"

    def __init__(self, params: CeremonyParams) -> None:
        seal_ring(modulus_of(params.epoch))  # needed for the test: said before anybody has begun
        super().__init__(SuiteCode.CKKS, AdvertiseStep(params))
        self.params = params
