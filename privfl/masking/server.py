"""The server of `masking`: collects keys, routes sealed shares, adds masked vectors, and takes the masks away.

Its memory is one accumulator, the message at hand, and small values: O(k) for each client. Masks are removed while
the answers to Unmask arrive; shares are combined only for clients that vanished after their upload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError, ReconstructionError, RemoteProtocolError, RoundAborted
from privfl.masking import agreement, planner, recovery, secrets
from privfl.masking.graph import Graph, graph_for
from privfl.masking.messages import (
    CONFIRMATION_BYTES,
    SEALED_BYTES,
    SECRET_BYTES,
    AdvertiseKeys,
    AdvertiseKeysRequest,
    ConsistencyCheck,
    ConsistencyRequest,
    DroppedShare,
    MaskedInput,
    MaskedInputRequest,
    NeighbourKeys,
    ShareKeys,
    ShareKeysRequest,
    SurvivorShare,
    Unmask,
    UnmaskRequest,
)
from privfl.params import MaskingSetting, ServerModel, SessionParams
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.keys import KeyPair, check_public_key
from privfl.primitives.prg import Mask, apply_masks
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import inclusion_proofs, merkle_root, session_id
from privfl.roster import Roster
from privfl.session import Aggregate, LockstepServer, Phase, ServerStep, finish_sum
from privfl.wire import CONTROL_BODY_LIMIT_BYTES, SuiteCode

_ANSWER_BYTES_PER_PEER = 128  # the largest record, number, sealed shares and confirmation, has 101


class MaskingServer(LockstepServer):
    """A server that learns the sum and, if it follows the protocol, nothing else.

    Args:
        params: the session's parameters.
        roster: the consortium's identities; needed in the active model, to leave out clients that are not on it.
        entropy: source of the randomness of the graph.
        workers: threads for removing masks; 1 starts none.

    Guarantees:
        1. The sum is over exactly the clients whose MaskedInput arrived, or the round aborts.
        2. A malformed response costs its sender its place and nobody else anything.
        3. Memory does not grow with the number of uploads.

    References:
        Bonawitz et al., CCS 2017, figure 4; Bell et al., CCS 2020, algorithm 2.
    """

    _suite = SuiteCode.MASKING

    def __init__(
        self, params: SessionParams, *, roster: Roster | None = None, entropy: Entropy | None = None, workers: int = 1
    ) -> None:
        setting = params.setting
        if not isinstance(setting, MaskingSetting):
            raise ConfigurationError(f"parameters of suite {params.suite!r} where 'masking' is needed")
        planner.verify(setting, len(params.cohort), params.threat)
        active = params.threat.server is ServerModel.ACTIVE
        if active and (roster is None or roster.digest != params.roster_digest):
            raise ConfigurationError("threat.server 'active' needs the roster that roster_digest names")
        book = SessionBook(
            roster=roster if active else None,
            entropy=entropy or OsEntropy(),
            params=params,
            setting=setting,
            ring=Ring.for_sum(len(params.cohort), params.vector.bound),
            workers=workers,
        )
        super().__init__(params, AdvertiseKeysStep(book))


@dataclass(slots=True)
class SessionBook:
    """What the phases hand on to each other: small values only."""

    params: SessionParams
    setting: MaskingSetting
    ring: Ring
    workers: int
    roster: Roster | None
    entropy: Entropy
    session: bytes = b""
    graph: Graph = field(default=None)  # type: ignore[assignment]  # set when the keys are in
    proofs: dict[int, bytes] = field(default_factory=dict)
    keys: dict[int, AdvertiseKeys] = field(default_factory=dict)
    shared: dict[int, ShareKeys] = field(default_factory=dict)

    @property
    def answer_limit_bytes(self) -> int:
        """Longest struct that a client may send."""
        return CONTROL_BODY_LIMIT_BYTES + self.setting.degree * _ANSWER_BYTES_PER_PEER

    def able(self, numbers: set[int]) -> set[int]:
        """Drop, again and again, clients with fewer than t neighbours among the rest: they would have to refuse.

        Every edge is looked at once or twice, however the dropping spreads.
        """
        left = set(numbers)
        count = {number: self._neighbours_among(number, left) for number in left}
        lonely = [number for number, neighbours in count.items() if neighbours < self.setting.threshold]
        while lonely:
            number = lonely.pop()
            left.discard(number)
            for peer in self.graph.neighbours(number):
                if peer in left:
                    count[peer] -= 1
                    if count[peer] == self.setting.threshold - 1:
                        lonely.append(peer)
        return left

    def all_able(self, numbers: set[int]) -> bool:
        """Whether everybody among them has t neighbours among them."""
        return all(self._neighbours_among(number, numbers) >= self.setting.threshold for number in numbers)

    def can_open(self, silent: set[int], answering: set[int]) -> bool:
        """Whether those who answer hold t shares of each silent client."""
        return all(self._neighbours_among(number, answering) >= self.setting.threshold for number in silent)

    def _neighbours_among(self, number: int, others: set[int]) -> int:
        return sum(peer in others for peer in self.graph.neighbours(number))

    def require_enough(self, left: set[int], phase: Phase) -> None:
        """Abort under the minimum.

        Raises:
            RoundAborted: fewer are left than may be summed.
        """
        minimum = self.params.minimum_contributors
        if len(left) < minimum or not left:
            raise RoundAborted(
                f"{len(left)} clients are left after {phase} and {minimum} are needed (cohort.minimum), each with "
                f"{self.setting.threshold} neighbours"
            )


class AdvertiseKeysStep(ServerStep[AdvertiseKeys]):
    """Collect public keys."""

    phase = Phase.ADVERTISE_KEYS
    answer = AdvertiseKeys

    def __init__(self, book: SessionBook) -> None:
        self._book = book
        self.session = book.params.digest
        self.waiting = set(book.params.cohort)
        self.body_limit_bytes = book.answer_limit_bytes

    def request_for(self, number: int) -> AdvertiseKeysRequest:  # noqa: ARG002 - everybody is asked the same
        """Open the session."""
        return AdvertiseKeysRequest()

    def accept(self, number: int, message: AdvertiseKeys, tail: memoryview) -> None:  # noqa: ARG002
        """Take keys, unless no neighbour could agree with them."""
        check_public_key(message.channel_key)
        check_public_key(message.mask_key)
        if self._book.roster is not None:
            agreement.check_advertisement(self._book.roster, number, message, session=self.session)
        elif message.signature:
            raise RemoteProtocolError("a signature in a session without a roster")
        self._book.keys[number] = message

    @property
    def ready(self) -> bool:
        """Whether the minimum is met."""
        return len(self._book.keys) >= max(self._book.params.minimum_contributors, self._book.setting.threshold + 1)

    def close(self) -> ShareKeysStep:
        """Fix the Merkle root, and with it session id and graph."""
        book = self._book
        leaves = [
            secrets.key_leaf(number, book.keys[number].channel_key, book.keys[number].mask_key)
            if number in book.keys
            else secrets.absent_leaf(number)
            for number in book.params.cohort
        ]
        # Drawn when all keys are in: whoever advertised last could otherwise try keys until the graph suited it.
        leaves.append(secrets.server_leaf(book.entropy.token_bytes(SECRET_BYTES)))
        root = merkle_root(leaves)
        if book.roster is not None:
            book.proofs = dict(zip(book.params.cohort, inclusion_proofs(leaves), strict=False))
        book.session = session_id(book.params.digest, root)
        book.graph = graph_for(book.params.cohort, book.setting.degree, root)
        keyed = book.able(set(book.keys))
        book.require_enough(keyed, self.phase)
        return ShareKeysStep(book, root, keyed)


class ShareKeysStep(ServerStep[ShareKeys]):
    """Collect sealed shares, and compare the confirmations end to end."""

    phase = Phase.SHARE_KEYS
    answer = ShareKeys

    def __init__(self, book: SessionBook, root: bytes, keyed: set[int]) -> None:
        self._book = book
        self._root = root
        self._keyed = keyed
        self.session = book.session
        self.waiting = set(keyed)
        self.body_limit_bytes = book.answer_limit_bytes

    def _peers(self, number: int) -> tuple[int, ...]:
        return tuple(peer for peer in self._book.graph.neighbours(number) if peer in self._keyed)

    def request_for(self, number: int) -> ShareKeysRequest:
        """Name the neighbours and their keys."""
        return ShareKeysRequest(
            root=self._root,
            own_proof=self._book.proofs.get(number, b""),
            neighbours=tuple(self._keys_of(peer) for peer in self._peers(number)),
        )

    def _keys_of(self, peer: int) -> NeighbourKeys:
        keys = self._book.keys[peer]
        return NeighbourKeys(
            number=peer,
            channel_key=keys.channel_key,
            mask_key=keys.mask_key,
            key_id=keys.key_id,
            signature=keys.signature,
            proof=self._book.proofs.get(peer, b""),
        )

    def accept(self, number: int, message: ShareKeys, tail: memoryview) -> None:  # noqa: ARG002
        """Take a client's sealed shares."""
        if message.peers != self._peers(number):
            raise RemoteProtocolError("shares for other peers than were named")
        self._book.shared[number] = message

    @property
    def ready(self) -> bool:
        """Whether enough would be left."""
        left = self._going_on()
        return bool(left) and len(left) >= self._book.params.minimum_contributors

    def close(self) -> MaskedInputStep:
        """Leave out who contradicts its neighbours, and who has too few of them."""
        book = self._book
        sharing = self._going_on()
        book.require_enough(sharing, self.phase)
        return MaskedInputStep(book, sharing)

    def _going_on(self) -> set[int]:
        """Leave out clients that contradict t neighbours about the seeds they share.

        One end of a contradiction lies, and no honest client has t lying neighbours (the planner's condition 2): so
        that liars cannot have an honest client left out. What contradictions remain cost nobody anything: the pairs
        are masked like others, and `UnmaskStep` does not take their seeds on trust.
        """
        book = self._book
        agreeing = {n for n in book.shared if len(self._contradicted_by(n)) < book.setting.threshold}
        return book.able(agreeing)

    def _contradicted_by(self, number: int) -> list[int]:
        own, shared = self._book.shared[number], self._book.shared
        return [
            peer
            for i, peer in enumerate(own.peers)
            if peer in shared
            and _record(own.confirmations, i, CONFIRMATION_BYTES) != confirmation_of(shared[peer], number)
        ]


class MaskedInputStep(ServerStep[MaskedInput]):
    """Route the shares; add the masked vectors as they come."""

    phase = Phase.MASKED_INPUT
    answer = MaskedInput

    def __init__(self, book: SessionBook, sharing: set[int]) -> None:
        self._book = book
        self._sharing = sharing
        self.session = book.session
        self.waiting = set(sharing)
        self.body_limit_bytes = book.answer_limit_bytes
        self.tail_bytes = book.params.vector.length * book.ring.word_bytes
        self._total = np.zeros(book.params.vector.length, book.ring.dtype)

    def request_for(self, number: int) -> MaskedInputRequest:
        """Hand a client the shares that its neighbours sealed for it."""
        peers = tuple(peer for peer in self._book.graph.neighbours(number) if peer in self._sharing)
        sealed = [self._sealed_for(number, peer) for peer in peers]
        return MaskedInputRequest(participants=len(self._sharing), peers=peers, sealed=b"".join(sealed))

    def _sealed_for(self, number: int, dealer: int) -> bytes:
        dealt = self._book.shared[dealer]
        return _record(dealt.sealed, dealt.peers.index(number), SEALED_BYTES)

    def accept(self, number: int, message: MaskedInput, tail: memoryview) -> None:  # noqa: ARG002
        """Add a masked vector and forget it."""
        self._total += np.frombuffer(tail, self._book.ring.dtype)

    @property
    def ready(self) -> bool:
        """Whether enough vectors arrived, each from a client that enough neighbours can open for."""
        survivors = self._sharing - self.waiting
        return (
            len(survivors) >= self._book.params.minimum_contributors
            and bool(survivors)
            and self._book.all_able(survivors)
        )

    def close(self) -> ConsistencyStep | UnmaskStep:
        """Fix the contributors."""
        book = self._book
        survivors = self._sharing - self.waiting
        book.require_enough(survivors, self.phase)
        if not book.all_able(survivors):
            raise RoundAborted(
                f"too many dropped: some of {len(survivors)} uploads can no longer be unmasked, because their clients "
                f"have fewer than {book.setting.threshold} surviving neighbours"
            )
        ballot = Ballot(survivors=survivors, dropped=self._sharing - survivors)
        if book.roster is not None:
            return ConsistencyStep(book, ballot, self._total)
        return UnmaskStep(book, ballot, self._total, asked=survivors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """Whose vectors arrived, whose did not, and who signed for that.

    Attributes:
        survivors: the contributors.
        dropped: clients that shared keys and sent no vector.
        signatures: of the survivors, by those who signed; active model.
    """

    survivors: set[int]
    dropped: set[int]
    signatures: Mapping[int, bytes] = field(default_factory=dict)


class ConsistencyStep(ServerStep[ConsistencyCheck]):
    """Active model: have the survivors sign who survived."""

    phase = Phase.CONSISTENCY_CHECK
    answer = ConsistencyCheck

    def __init__(self, book: SessionBook, ballot: Ballot, total: Any) -> None:
        self._book = book
        self._ballot = ballot
        self._total = total
        cohort = book.params.cohort
        self._participants = agreement.to_bits(cohort, ballot.survivors | ballot.dropped)
        self._survivors = agreement.to_bits(cohort, ballot.survivors)
        self._signatures: dict[int, bytes] = {}
        self.session = book.session
        self.waiting = set(ballot.survivors)
        self.body_limit_bytes = book.answer_limit_bytes

    def request_for(self, number: int) -> ConsistencyRequest:  # noqa: ARG002 - everybody is shown the same
        """Show both sets."""
        return ConsistencyRequest(participants=self._participants, survivors=self._survivors)

    def accept(self, number: int, message: ConsistencyCheck, tail: memoryview) -> None:  # noqa: ARG002
        """Take a signature."""
        roster = self._book.roster
        assert roster is not None  # noqa: S101 - this step exists in the active model only; for the type checker
        agreement.check_sets(
            roster,
            message.signature,
            session=self.session,
            number=number,
            participants=self._participants,
            survivors=self._survivors,
        )
        self._signatures[number] = message.signature

    @property
    def ready(self) -> bool:
        """Whether somebody could answer in Unmask, with enough to rebuild the silent ones' secrets."""
        asked = self._book.able(set(self._signatures))
        return bool(asked) and self._book.can_open(self._ballot.survivors - asked, asked)

    def close(self) -> UnmaskStep:
        """Go on with those who will find t signatures."""
        asked = self._book.able(set(self._signatures))
        if not asked or not self._book.can_open(self._ballot.survivors - asked, asked):
            raise RoundAborted(
                f"{len(self._signatures)} of {len(self._ballot.survivors)} survivors signed: too few to unmask the sum"
            )
        return UnmaskStep(self._book, replace(self._ballot, signatures=self._signatures), self._total, asked=asked)


class UnmaskStep(ServerStep[Unmask]):
    """Take the masks away: directly while survivors answer, from shares for those who vanished."""

    phase = Phase.UNMASK
    answer = Unmask

    def __init__(self, book: SessionBook, ballot: Ballot, total: Any, *, asked: set[int]) -> None:
        self._book = book
        self._survivors = ballot.survivors
        self._dropped = ballot.dropped
        self._signatures = ballot.signatures
        self._silent = set(ballot.survivors)
        self._contested: dict[tuple[int, int], Mask] = {}  # what a survivor says of a pair whose ends disagree
        self._total = total
        self.session = book.session
        self.waiting = set(asked)
        self.body_limit_bytes = book.answer_limit_bytes
        self._shares = recovery.ShareTable()
        self._mask_keys: dict[int, KeyPair] = {}

    def _named(self, number: int, among: set[int]) -> tuple[int, ...]:
        return tuple(peer for peer in self._book.graph.neighbours(number) if peer in among)

    def request_for(self, number: int) -> UnmaskRequest:
        """Tell a survivor which neighbours survived and which dropped."""
        signers = [peer for peer in self._named(number, self._survivors) if peer in self._signatures]
        signers = signers[: self._book.setting.threshold]  # more than t would only have to be checked
        return UnmaskRequest(
            contributors=len(self._survivors),
            survivors=self._named(number, self._survivors),
            dropped=self._named(number, self._dropped),
            signers=tuple(signers),
            signatures=b"".join(self._signatures[peer] for peer in signers),
        )

    def accept(self, number: int, message: Unmask, tail: memoryview) -> None:  # noqa: ARG002
        """Check every seed against what was committed to, then take those masks away at once."""
        book, session = self._book, self._book.session
        seed = Secret(message.self_seed)
        if secrets.commitment(seed, session=session, me=number) != book.shared[number].commitment:
            raise RemoteProtocolError("a self-mask seed that is not the committed one")
        survivors = tuple(entry.number for entry in message.entries if isinstance(entry, SurvivorShare))
        dropped = [entry for entry in message.entries if isinstance(entry, DroppedShare)]
        if survivors != self._named(number, self._survivors) or tuple(entry.number for entry in dropped) != self._named(
            number, self._dropped
        ):
            raise RemoteProtocolError("entries for other peers than were named")
        masks, contested = [secrets.self_mask(seed, session=session, me=number)], {}
        for entry in dropped:
            pair = Secret(entry.pair_seed)
            told = secrets.confirmation(pair, session=session, me=number, peer=entry.number)
            if told != confirmation_of(book.shared[number], entry.number):
                raise RemoteProtocolError(f"a pair seed with client {entry.number} that is not the confirmed one")
            mask = secrets.pairwise_mask(pair, me=number, peer=entry.number)
            if told == confirmation_of(book.shared[entry.number], number):
                masks.append(mask)
            else:
                contested[number, entry.number] = mask
        self._take_away(masks)
        self._contested |= contested
        for told_share in message.entries:
            if len(told_share.share) == SECRET_BYTES:
                point = book.graph.share_point(told_share.number, number)
                self._shares.add(told_share.number, point, told_share.share)
        self._silent.discard(number)

    def _take_away(self, masks: list[Mask]) -> None:
        apply_masks(self._total, [secrets.opposite(mask) for mask in masks], workers=self._book.workers)

    @property
    def ready(self) -> bool:
        """Whether the shares at hand suffice for those who have not answered."""
        return all(self._shares.count(number) >= self._book.setting.threshold for number in self._to_rebuild())

    def _to_rebuild(self) -> set[int]:
        """Those whose secret only shares can tell: who vanished after its upload, and the dropped beside it."""
        vanished = self._silent
        return vanished | {peer for number in vanished for peer in self._named(number, self._dropped)}

    def close(self) -> Aggregate:
        """Rebuild what is missing, take the last masks away, and read the sum."""
        book = self._book
        try:
            for number in sorted(self._silent):
                self._unmask_silent(number)
        except ReconstructionError as error:
            raise RoundAborted(f"the sum cannot be unmasked: {error}; nothing is released") from error
        for (number, peer), told in self._contested.items():
            self._take_away([self._settled(number, peer, told)])
        return finish_sum(self._total, book.ring, contributors=len(self._survivors), bound=book.params.vector.bound)

    def _unmask_silent(self, number: int) -> None:
        """Take away the masks of a client that vanished after its upload, from shares alone."""
        book = self._book
        seed = self._shares.rebuild_self_seed(
            number,
            threshold=book.setting.threshold,
            session=book.session,
            commitment=book.shared[number].commitment,
        )
        masks = [secrets.self_mask(seed, session=book.session, me=number)]
        masks += [self._rebuilt_mask(number, peer) for peer in self._named(number, self._dropped)]
        self._take_away(masks)

    def _rebuilt_mask(self, number: int, dropped: int) -> Mask:
        """Derive a survivor's mask with a dropped client from the dropped one's key, rebuilt from shares."""
        book = self._book
        if dropped not in self._mask_keys:
            self._mask_keys[dropped] = self._shares.rebuild_mask_key(
                dropped, threshold=book.setting.threshold, public=book.keys[dropped].mask_key
            )
        pair = secrets.pair_seed(
            self._mask_keys[dropped], book.keys[number].mask_key, session=book.session, me=dropped, peer=number
        )
        return secrets.pairwise_mask(pair, me=number, peer=dropped)

    def _settled(self, number: int, dropped: int, told: Mask) -> Mask:
        """Find the mask of a pair whose ends disagree: the dropped one's key, rebuilt and checked, says what is true.

        If its shares are wrong, it is the dropped client that lied, and the survivor's word stands: a survivor that
        lies as well changes the sum no more than by uploading another vector.
        """
        try:
            return self._rebuilt_mask(number, dropped)
        except ReconstructionError:
            return told


def confirmation_of(message: ShareKeys, peer: int) -> bytes:
    """Return what a client confirmed about a pair with one of its peers."""
    return _record(message.confirmations, message.peers.index(peer), CONFIRMATION_BYTES)


def _record(column: bytes, index: int, record_bytes: int) -> bytes:
    return column[index * record_bytes : (index + 1) * record_bytes]
