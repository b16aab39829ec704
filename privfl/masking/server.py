"""The server of `masking`: collects keys, routes sealed shares, adds masked vectors, and takes the masks away.

Its memory is one accumulator, the message at hand, and small values: O(k) for each client. The first two phases are
here, the rest in `privfl.masking.opening`.
"""

from __future__ import annotations

from privfl.errors import ConfigurationError, RemoteProtocolError
from privfl.lockstep.server import LockstepServer, ServerStep
from privfl.masking import agreement, planner, secrets
from privfl.masking.book import SessionBook, confirmation_of, record
from privfl.masking.graph import RememberedGraph
from privfl.masking.messages import (
    CONFIRMATION_BYTES,
    SECRET_BYTES,
    AdvertiseKeys,
    AdvertiseKeysRequest,
    NeighbourKeys,
    ShareKeys,
    ShareKeysRequest,
)
from privfl.masking.opening import MaskedInputStep
from privfl.masking.payload import MaskedVectors, Payload
from privfl.params import MaskingSetting, ServerModel, SessionParams
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.keys import check_public_key
from privfl.primitives.transcript import inclusion_proofs, merkle_root, session_id
from privfl.roster import Roster
from privfl.session import Aggregate, Phase


class MaskingServer(LockstepServer):
    """A server that learns the sum and, if it follows the protocol, nothing else.

    Args:
        params: the session's parameters.
        roster: the consortium's identities; needed in the active model, to leave out clients that are not on it.
        entropy: source of the randomness of the graph.
        workers: threads for removing masks; 1 starts none.

    Guarantees:
        1. The sum is over exactly the clients whose MaskedInput arrived, or the round aborts.
        2. A malformed response costs its sender its place and nobody else anything. (A well-formed lie may abort the
           round: `SECURITY.md` says which.)
        3. Memory does not grow with the number of uploads.

    References:
        Bonawitz et al., CCS 2017, figure 4; Bell et al., CCS 2020, algorithm 2.
    """

    def __init__(
        self, params: SessionParams, *, roster: Roster | None = None, entropy: Entropy | None = None, workers: int = 1
    ) -> None:
        setting = self._verified(params)
        active = params.threat.server is ServerModel.ACTIVE
        if active and (roster is None or roster.digest != params.roster_digest):
            raise ConfigurationError("threat.server 'active' needs the roster that roster_digest names")
        book = SessionBook(
            roster=roster if active else None,
            quorum=planner.quorum(len(params.cohort), params.threat) if active else None,
            entropy=entropy or OsEntropy(),
            params=params,
            setting=setting,
            payload=self._payload(params, workers),
            workers=workers,
        )
        super().__init__(params, AdvertiseKeysStep(book))
        self._book = book

    def bind(self, context: bytes) -> None:
        """See `ServerSession.bind`."""
        super().bind(context)
        self._book.params = self.params
        if isinstance(self._step, MaskedInputStep):
            self._step.session = self._book.bound_session

    def _verified(self, params: SessionParams) -> MaskingSetting:
        return planner.verified(params, "masking")

    def _payload(self, params: SessionParams, workers: int) -> Payload:  # noqa: ARG002 - for suites that use threads
        return MaskedVectors(params)


class AdvertiseKeysStep(ServerStep[AdvertiseKeys, Aggregate]):
    """Collect public keys."""

    phase = Phase.ADVERTISE_KEYS
    answer = AdvertiseKeys

    def __init__(self, book: SessionBook) -> None:
        self._book = book
        self.session = book.params.keys_digest
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
        book.session = session_id(book.params.keys_digest, root)
        book.graph = RememberedGraph(book.params.cohort, book.setting.degree, root)
        keyed = book.able(set(book.keys))
        book.require_enough(keyed, self.phase)
        return ShareKeysStep(book, root, keyed)


class ShareKeysStep(ServerStep[ShareKeys, Aggregate]):
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
            and record(own.confirmations, i, CONFIRMATION_BYTES) != confirmation_of(shared[peer], number)
        ]
