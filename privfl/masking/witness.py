"""What the active model adds to a client: it signs its keys, checks others' signatures and proofs, and bears witness.

A client without credentials has none of this. Every check that fails ends the session (`privfl.masking.checks`).
"""

from __future__ import annotations

from bisect import bisect_left

from privfl.masking import agreement, checks, secrets
from privfl.masking.graph import draw_witnesses
from privfl.masking.messages import ConsistencyRequest, MaskedInputRequest, ShareKeysRequest, UnmaskRequest
from privfl.masking.planner import Quorum
from privfl.masking.states import Advertised, Masked, Shared
from privfl.params import SessionParams
from privfl.primitives.transcript import check_inclusion
from privfl.roster import Credentials


class Witness:
    """One client's word in the active model, and what it takes of others'.

    Args:
        params: the session's parameters.
        credentials: its identity, and the roster.
        quorum: how many witnesses there are, and how many of them have to sign.
        limits: what the client insists on.

    Attributes:
        numbers: the witnesses; the client need not be one.
    """

    def __init__(self, params: SessionParams, credentials: Credentials, quorum: Quorum, limits: checks.Limits) -> None:
        self._params = params
        self._identity, self._roster = credentials.identity, credentials.roster
        self._limits = limits
        self.numbers = draw_witnesses(params.cohort, quorum.witnesses, params.keys_digest)

    def sign_keys(self, state: Advertised, key_id: bytes, *, session: bytes) -> bytes:
        """Sign the public keys that are advertised."""
        return agreement.sign_advertisement(
            self._identity,
            session=session,
            number=self._limits.me,
            key_id=key_id,
            channel_key=state.channel.public,
            mask_key=state.mask.public,
        )

    def check_keys(self, state: Advertised, request: ShareKeysRequest) -> None:
        """All keys stand under the root, the client's own among them, and each is signed by its owner."""
        cohort, me = self._params.cohort, self._limits.me
        leaves = len(cohort) + 1  # the server's own stands last
        own = secrets.key_leaf(me, state.channel.public, state.mask.public)
        for number, leaf, proof in [
            (me, own, request.own_proof),
            *(
                (peer.number, secrets.key_leaf(peer.number, peer.channel_key, peer.mask_key), peer.proof)
                for peer in request.neighbours
            ),
        ]:
            index = bisect_left(cohort, number)
            check_inclusion(request.root, leaf, index=index, leaves=leaves, proof=proof)
        for peer in request.neighbours:
            agreement.check_advertisement(self._roster, peer.number, peer, session=self._params.keys_digest)

    def check_crowd(self, state: Shared, request: MaskedInputRequest) -> None:
        """The peers to mask with are exactly the neighbours among the participants shown."""
        participants = agreement.from_bits(self._params.cohort, request.participant_bits)
        checks.check_crowd(participants, request, state.neighbours, self._limits)

    def sign_sets(self, state: Masked, request: ConsistencyRequest, *, context: bytes) -> bytes:
        """Sign who took part and who survived, if this client is a witness and both sets suit what it knows."""
        checks.check_witness(self.numbers, self._limits)
        self._check_sets(state, request.participants, request.survivors)
        return agreement.sign_sets(
            self._identity,
            session=state.session,
            number=self._limits.me,
            context=context,
            participants=request.participants,
            survivors=request.survivors,
        )

    def check_unmask(self, state: Masked, request: UnmaskRequest, *, context: bytes) -> None:
        """The neighbours told of follow from sets that suit what this client knows, and that a quorum signed.

        All of the quorum signed this client's own context beside them.
        """
        survivors = self._check_sets(state, request.participant_bits, request.survivor_bits)
        checks.check_told_of(request, survivors, state.pair_seeds.keys())
        checks.check_signers(request, self.numbers)
        held = agreement.count_signatures(
            self._roster,
            request.signers,
            request.signatures,
            session=state.session,
            context=context,
            participants=request.participant_bits,
            survivors=request.survivor_bits,
        )
        checks.check_quorum(held, self._limits)

    def _check_sets(self, state: Masked, participants: bytes, survivors: bytes) -> frozenset[int]:
        """Compare both sets with what this client knows; return the survivors."""
        checks.check_same_crowd(participants, state.crowd)
        took_part = agreement.from_bits(self._params.cohort, participants)
        survived = agreement.from_bits(self._params.cohort, survivors)
        checks.check_survivor_set(survived, took_part, state.neighbours, self._limits)
        return survived
