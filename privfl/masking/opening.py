"""The second half of a `masking` server: add what arrives, settle who contributed, take the masks away.

Masks are removed while the answers to Unmask arrive; shares are combined only for clients that vanished after their
upload, and for pairs whose ends disagree.
"""

from __future__ import annotations

from dataclasses import replace

from privfl.errors import LocalProtocolError, ReconstructionError, RemoteProtocolError, RoundAborted
from privfl.lockstep.server import ServerStep
from privfl.masking import agreement, recovery, secrets
from privfl.masking.book import Ballot, SessionBook, confirmation_of, record
from privfl.masking.messages import (
    SEALED_BYTES,
    ConsistencyCheck,
    ConsistencyRequest,
    DroppedShare,
    MaskedInput,
    MaskedInputRequest,
    SurvivorShare,
    Unmask,
    UnmaskRequest,
)
from privfl.masking.planner import Quorum
from privfl.primitives.keys import KeyPair
from privfl.primitives.prg import Mask, apply_masks
from privfl.primitives.secret import Secret
from privfl.session import Aggregate, Phase


class MaskedInputStep(ServerStep[MaskedInput, Aggregate]):
    """Route the shares; add the masked vectors as they come."""

    phase = Phase.MASKED_INPUT
    answer = MaskedInput

    def __init__(self, book: SessionBook, sharing: set[int]) -> None:
        self._book = book
        self._sharing = sharing
        book.crowd = agreement.to_bits(book.params.cohort, sharing) if book.quorum else b""
        self.session = book.bound_session
        self.waiting = set(sharing)
        self.body_limit_bytes = book.answer_limit_bytes
        self.tail_bytes = book.payload.tail_bytes

    def request_for(self, number: int) -> MaskedInputRequest:
        """Hand a client the shares that its neighbours sealed for it."""
        if not self._book.params.context:
            raise LocalProtocolError("vectors are due, and the context is to come: call bind() first")
        peers = tuple(peer for peer in self._book.graph.neighbours(number) if peer in self._sharing)
        sealed = [self._sealed_for(number, peer) for peer in peers]
        return MaskedInputRequest(
            participants=len(self._sharing),
            peers=peers,
            sealed=b"".join(sealed),
            participant_bits=self._book.crowd,
        )

    def _sealed_for(self, number: int, dealer: int) -> bytes:
        dealt = self._book.shared[dealer]
        return record(dealt.sealed, dealt.peers.index(number), SEALED_BYTES)

    def accept(self, number: int, message: MaskedInput, tail: memoryview) -> None:  # noqa: ARG002
        """Add a masked vector and forget it."""
        self._book.payload.add(tail)

    @property
    def ready(self) -> bool:
        """Whether enough vectors arrived, each from a client that enough neighbours can open for."""
        survivors = self._sharing - self.waiting
        return (
            len(survivors) >= self._book.params.minimum_contributors
            and bool(survivors)
            and self._book.all_able(survivors)
            and self._book.has_quorum(survivors)
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
        if not book.has_quorum(survivors):
            raise RoundAborted(
                f"too many dropped: fewer of the witnesses are left among {len(survivors)} uploads than have to sign"
            )
        if book.quorum is None:
            return UnmaskStep(book, Ballot(survivors=survivors, dropped=self._sharing - survivors))
        cohort = book.params.cohort
        ballot = Ballot(
            survivors=survivors,
            dropped=self._sharing - survivors,
            participant_bits=book.crowd,
            survivor_bits=agreement.to_bits(cohort, survivors),
        )
        return ConsistencyStep(book, ballot, book.quorum)


class ConsistencyStep(ServerStep[ConsistencyCheck, Aggregate]):
    """Active model: have the witnesses sign who took part and who survived."""

    phase = Phase.CONSISTENCY_CHECK
    answer = ConsistencyCheck

    def __init__(self, book: SessionBook, ballot: Ballot, quorum: Quorum) -> None:
        self._book = book
        self._ballot = ballot
        self._quorum = quorum
        self._signatures: dict[int, bytes] = {}
        self.session = book.bound_session
        self.waiting = ballot.survivors & book.witnesses
        self.body_limit_bytes = book.answer_limit_bytes

    def request_for(self, number: int) -> ConsistencyRequest:  # noqa: ARG002 - everybody is shown the same
        """Show both sets."""
        return ConsistencyRequest(participants=self._ballot.participant_bits, survivors=self._ballot.survivor_bits)

    def accept(self, number: int, message: ConsistencyCheck, tail: memoryview) -> None:  # noqa: ARG002
        """Take a signature."""
        roster = self._book.roster
        assert roster is not None  # noqa: S101 - this step exists in the active model only; for the type checker
        agreement.check_sets(
            roster,
            message.signature,
            session=self._book.session,
            number=number,
            context=self._book.params.context,
            participants=self._ballot.participant_bits,
            survivors=self._ballot.survivor_bits,
        )
        self._signatures[number] = message.signature

    @property
    def ready(self) -> bool:
        """Whether there is a quorum."""
        return len(self._signatures) >= self._quorum.signatures

    def close(self) -> UnmaskStep:
        """Go on with a quorum's signatures; more would only have to be checked."""
        if not self.ready:
            raise RoundAborted(
                f"{len(self._signatures)} witnesses signed who survived and {self._quorum.signatures} are needed: the "
                f"sum cannot be unmasked"
            )
        chosen = sorted(self._signatures)[: self._quorum.signatures]
        signatures = {number: self._signatures[number] for number in chosen}
        return UnmaskStep(self._book, replace(self._ballot, signatures=signatures))


class UnmaskStep(ServerStep[Unmask, Aggregate]):
    """Take the masks away: directly while survivors answer, from shares for those who vanished."""

    phase = Phase.UNMASK
    answer = Unmask

    def __init__(self, book: SessionBook, ballot: Ballot) -> None:
        self._book = book
        self._ballot = ballot
        self._survivors = ballot.survivors
        self._dropped = ballot.dropped
        self._silent = set(ballot.survivors)
        self._contested: dict[tuple[int, int], Mask] = {}  # what a survivor says of a pair whose ends disagree
        self.session = book.bound_session
        self.waiting = set(ballot.survivors)
        self.body_limit_bytes = book.answer_limit_bytes
        self._shares = recovery.ShareTable(book.graph)
        self._mask_keys: dict[int, KeyPair | None] = {}  # rebuilt; None where the shares contradict the public key

    def _named(self, number: int, among: set[int]) -> tuple[int, ...]:
        return tuple(peer for peer in self._book.graph.neighbours(number) if peer in among)

    def request_for(self, number: int) -> UnmaskRequest:
        """Tell a survivor which neighbours survived and which dropped."""
        ballot = self._ballot
        return UnmaskRequest(
            contributors=len(self._survivors),
            survivors=self._named(number, self._survivors),
            dropped=self._named(number, self._dropped),
            participant_bits=ballot.participant_bits,
            survivor_bits=ballot.survivor_bits,
            signers=tuple(ballot.signatures),
            signatures=b"".join(ballot.signatures.values()),
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
            mask = self._pairwise_mask(pair, me=number, peer=entry.number)
            if told == confirmation_of(book.shared[entry.number], number):
                masks.append(mask)
            else:
                contested[number, entry.number] = mask
        self._take_away(masks)
        self._contested |= contested
        self._shares.add(number, {entry.number: entry.share for entry in message.entries if entry.share})
        self._silent.discard(number)

    def _pairwise_mask(self, pair: Secret, *, me: int, peer: int) -> Mask:
        book = self._book
        return secrets.pairwise_mask(pair, me=me, peer=peer, context=book.params.context, crowd=book.crowd)

    def _take_away(self, masks: list[Mask]) -> None:
        apply_masks(self._book.payload.masked, [secrets.opposite(mask) for mask in masks], workers=self._book.workers)

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
        return book.payload.open(book.session, len(self._survivors))

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
            self._mask_keys[dropped] = None  # remembered as lost, unless it is found: searching again finds no more
            self._mask_keys[dropped] = self._shares.rebuild_mask_key(
                dropped, threshold=book.setting.threshold, public=book.keys[dropped].mask_key
            )
        key = self._mask_keys[dropped]
        if key is None:
            raise ReconstructionError(f"the mask key of client {dropped} is lost")
        pair = secrets.pair_seed(key, book.keys[number].mask_key, session=book.session, me=dropped, peer=number)
        return self._pairwise_mask(pair, me=number, peer=dropped)

    def _settled(self, number: int, dropped: int, told: Mask) -> Mask:
        """Find the mask of a pair whose ends disagree: the dropped one's key, rebuilt and checked, says what is true.

        If its shares are wrong, it is the dropped client that lied, and the survivor's word stands: a survivor that
        lies as well changes the sum no more than by uploading another vector.
        """
        try:
            return self._rebuilt_mask(number, dropped)
        except ReconstructionError:
            return told
