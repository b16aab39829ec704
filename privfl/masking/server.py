"""The server of `masking`: collects keys, routes sealed shares, adds masked vectors, and takes the masks away.

Its memory is one accumulator, the message at hand, and small values: O(k) for each client. Masks are removed while
the answers to Unmask arrive; shares are combined only for clients that vanished after their upload.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError, ReconstructionError, RemoteProtocolError, RoundAborted
from privfl.masking import planner, recovery, secrets
from privfl.masking.graph import Graph, graph_for
from privfl.masking.messages import (
    CONFIRMATION_BYTES,
    SEALED_BYTES,
    SECRET_BYTES,
    AdvertiseKeys,
    AdvertiseKeysRequest,
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
from privfl.params import MaskingSetting, SessionParams
from privfl.primitives.keys import check_public_key
from privfl.primitives.prg import Mask, apply_masks
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import merkle_root, session_id
from privfl.session import Aggregate, LockstepServer, Phase, ServerStep, finish_sum
from privfl.wire import CONTROL_BODY_LIMIT_BYTES, SuiteCode

_ANSWER_BYTES_PER_PEER = 128  # the largest record, number, sealed shares and confirmation, has 101


class MaskingServer(LockstepServer):
    """A server that learns the sum and, if it follows the protocol, nothing else.

    Args:
        params: the session's parameters.
        workers: threads for removing masks; 1 starts none.

    Guarantees:
        1. The sum is over exactly the clients whose MaskedInput arrived, or the round aborts.
        2. A malformed response costs its sender its place and nobody else anything.
        3. Memory does not grow with the number of uploads.

    References:
        Bonawitz et al., CCS 2017, figure 4; Bell et al., CCS 2020, algorithm 2.
    """

    _suite = SuiteCode.MASKING

    def __init__(self, params: SessionParams, *, workers: int = 1) -> None:
        setting = params.setting
        if not isinstance(setting, MaskingSetting):
            raise ConfigurationError(f"parameters of suite {params.suite!r} where 'masking' is needed")
        planner.verify(setting, len(params.cohort), params.threat)
        book = SessionBook(
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
    session: bytes = b""
    graph: Graph = field(default=None)  # type: ignore[assignment]  # set when the keys are in
    keys: dict[int, AdvertiseKeys] = field(default_factory=dict)
    shared: dict[int, ShareKeys] = field(default_factory=dict)

    @property
    def answer_limit_bytes(self) -> int:
        """Longest struct that a client may send."""
        return CONTROL_BODY_LIMIT_BYTES + self.setting.degree * _ANSWER_BYTES_PER_PEER

    def able(self, numbers: set[int]) -> set[int]:
        """Drop, again and again, clients with fewer than t neighbours among the rest: they would have to refuse."""
        left = set(numbers)
        lonely = {n for n in left if self._neighbours_among(n, left) < self.setting.threshold}
        while lonely:
            left -= lonely
            lonely = {n for n in left if self._neighbours_among(n, left) < self.setting.threshold}
        return left

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
        root = merkle_root(leaves)
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
        keys = self._book.keys
        return ShareKeysRequest(
            root=self._root,
            neighbours=tuple(
                NeighbourKeys(number=peer, channel_key=keys[peer].channel_key, mask_key=keys[peer].mask_key)
                for peer in self._peers(number)
            ),
        )

    def accept(self, number: int, message: ShareKeys, tail: memoryview) -> None:  # noqa: ARG002
        """Take a client's sealed shares."""
        if message.peers != self._peers(number):
            raise RemoteProtocolError("shares for other peers than were named")
        self._book.shared[number] = message

    @property
    def ready(self) -> bool:
        """Whether enough would be left."""
        left = self._book.able(set(self._book.shared))
        return bool(left) and len(left) >= self._book.params.minimum_contributors

    def close(self) -> MaskedInputStep:
        """Leave out who contradicts its neighbours, and who has too few of them."""
        book = self._book
        sharing = book.able(self._agreeing(set(book.shared)))
        book.require_enough(sharing, self.phase)
        return MaskedInputStep(book, sharing)

    def _agreeing(self, numbers: set[int]) -> set[int]:
        """Leave out clients until every two that remain confirm the same pair seed.

        One end of a contradiction lies. Whoever contradicts most goes first: a client that lies to several loses its
        place alone, one that lies to a single neighbour takes that neighbour along.
        """
        quarrels = {n: self._quarrels(n, numbers) for n in numbers}
        left = set(numbers)
        while worst := max((len(quarrels[n] & left) for n in left), default=0):
            left -= {n for n in left if len(quarrels[n] & left) == worst}
        return left

    def _quarrels(self, number: int, numbers: set[int]) -> set[int]:
        own = self._book.shared[number]
        return {
            peer
            for i, peer in enumerate(own.peers)
            if peer in numbers
            and _record(own.confirmations, i, CONFIRMATION_BYTES) != confirmation_of(self._book.shared[peer], number)
        }


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
            and self._book.able(survivors) == survivors
        )

    def close(self) -> UnmaskStep:
        """Fix the contributors."""
        book = self._book
        survivors = self._sharing - self.waiting
        book.require_enough(survivors, self.phase)
        lonely = survivors - book.able(survivors)
        if lonely:
            raise RoundAborted(
                f"too many dropped: {len(lonely)} of {len(survivors)} uploads can no longer be unmasked, because their "
                f"clients have fewer than {book.setting.threshold} surviving neighbours"
            )
        return UnmaskStep(book, survivors, self._sharing - survivors, self._total)


class UnmaskStep(ServerStep[Unmask]):
    """Take the masks away: directly while survivors answer, from shares for those who vanished."""

    phase = Phase.UNMASK
    answer = Unmask

    def __init__(self, book: SessionBook, survivors: set[int], dropped: set[int], total: Any) -> None:
        self._book = book
        self._survivors = survivors
        self._dropped = dropped
        self._total = total
        self.session = book.session
        self.waiting = set(survivors)
        self.body_limit_bytes = book.answer_limit_bytes
        self._shares = recovery.ShareTable()

    def _named(self, number: int, among: set[int]) -> tuple[int, ...]:
        return tuple(peer for peer in self._book.graph.neighbours(number) if peer in among)

    def request_for(self, number: int) -> UnmaskRequest:
        """Tell a survivor which neighbours survived and which dropped."""
        return UnmaskRequest(
            contributors=len(self._survivors),
            survivors=self._named(number, self._survivors),
            dropped=self._named(number, self._dropped),
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
        masks = [secrets.self_mask(seed, session=session, me=number)]
        for entry in dropped:
            pair = Secret(entry.pair_seed)
            told = secrets.confirmation(pair, session=session, me=number, peer=entry.number)
            if told != confirmation_of(book.shared[entry.number], number):
                raise RemoteProtocolError(f"a pair seed with client {entry.number} that is not the confirmed one")
            masks.append(secrets.pairwise_mask(pair, me=number, peer=entry.number))
        self._take_away(masks)
        for told_share in message.entries:
            if len(told_share.share) == SECRET_BYTES:
                point = book.graph.share_point(told_share.number, number)
                self._shares.add(told_share.number, point, told_share.share)

    def _take_away(self, masks: list[Mask]) -> None:
        apply_masks(self._total, [secrets.opposite(mask) for mask in masks], workers=self._book.workers)

    @property
    def ready(self) -> bool:
        """Whether the shares at hand suffice for those who have not answered."""
        return all(self._shares.count(number) >= self._book.setting.threshold for number in self._to_rebuild())

    def _to_rebuild(self) -> set[int]:
        """Those whose secret only shares can tell: who vanished after its upload, and the dropped beside it."""
        vanished = self.waiting
        return vanished | {peer for number in vanished for peer in self._named(number, self._dropped)}

    def close(self) -> Aggregate:
        """Rebuild what is missing, take the last masks away, and read the sum."""
        book, threshold = self._book, self._book.setting.threshold
        mask_keys = {}
        try:
            for number in sorted(self._to_rebuild() & self._dropped):
                mask_keys[number] = self._shares.rebuild_mask_key(
                    number, threshold=threshold, public=book.keys[number].mask_key
                )
            for number in sorted(self.waiting):
                seed = self._shares.rebuild_self_seed(
                    number,
                    threshold=threshold,
                    session=book.session,
                    commitment=book.shared[number].commitment,
                )
                masks = [secrets.self_mask(seed, session=book.session, me=number)]
                for peer in self._named(number, self._dropped):
                    pair = secrets.pair_seed(
                        mask_keys[peer],
                        book.keys[number].mask_key,
                        session=book.session,
                        me=peer,
                        peer=number,
                    )
                    masks.append(secrets.pairwise_mask(pair, me=number, peer=peer))
                self._take_away(masks)
        except ReconstructionError as error:
            raise RoundAborted(f"the sum cannot be unmasked: {error}; nothing is released") from error
        return finish_sum(self._total, book.ring, contributors=len(self._survivors), bound=book.params.vector.bound)


def confirmation_of(message: ShareKeys, peer: int) -> bytes:
    """Return what a client confirmed about a pair with one of its peers."""
    return _record(message.confirmations, message.peers.index(peer), CONFIRMATION_BYTES)


def _record(column: bytes, index: int, record_bytes: int) -> bytes:
    return column[index * record_bytes : (index + 1) * record_bytes]
