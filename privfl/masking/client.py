"""The client of `masking`: SecAgg's four answers, each given once.

| state | request | checks | answer |
|---|---|---|---|
| `Invited` | AdvertiseKeysRequest | session is the keys digest | AdvertiseKeys |
| `Advertised` | ShareKeysRequest | session id from root; neighbours from the graph, ≥ t | ShareKeys |
| `Shared` | MaskedInputRequest | bound session id; senders known, ≥ t shares open, ≥ minimum take part | MaskedInput |
| `Masked` | UnmaskRequest | all of `checks.check_unmask` | Unmask, and the secrets are gone |

In the active model the last line is another, and witnesses have one more before it:

| state | request | checks | answer |
|---|---|---|---|
| `Masked`, a witness's | ConsistencyRequest | itself in the set, ≥ t neighbours, ≥ minimum | ConsistencyCheck |
| `Masked`, `Agreed` | UnmaskRequest | all of these; a quorum's signatures; `Agreed`: what it signed itself | Unmask |

Every other pair of state and request destroys the secrets.

The context (what is trained) may come as late as MaskedInput: keys and shares are made without it, a round ahead if
need be. Until then it binds nothing; from then on everything:

- A session has one context for good (`bind`), and of all copies of its sleeping state one answers, whatever contexts
  they were bound to: no pair seed keys two masks at one client.
- Pairwise masks follow from it (`secrets.pairwise_mask`). To a server that shows two contexts, a pair of clients with
  different ones has two independent masks in the place of one that cancels: it learns what it would have learnt from
  one context, and less. In the honest-but-curious model this is all, as it was when keys followed from the context.
- Requests carry a session id with the context in it, so that a client that was shown another than the server drops out
  instead of spoiling the sum. The id is public: this is for the honest.
- Active model: witnesses, drawn without the context, sign it beside both sets (`agreement`): one context of a session
  finds a quorum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused
from privfl.guard import CONTEXT, NONCE, StateGuard
from privfl.lockstep.client import LockstepClient
from privfl.lockstep.party import Handler, Incoming, SessionOver
from privfl.lockstep.sleep import open_slept
from privfl.masking import checks, planner, secrets, states
from privfl.masking.graph import Graph, graph_for
from privfl.masking.messages import (
    KEY_ID_BYTES,
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
from privfl.masking.states import Advertised, Agreed, Invited, Masked, PeerShares, Shared, State
from privfl.masking.witness import Witness
from privfl.params import MaskingSetting, ServerModel, SessionParams
from privfl.primitives import aead, shamir
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.keys import KeyPair
from privfl.primitives.prg import Mask
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import DIGEST_BYTES, session_id
from privfl.roster import Credentials
from privfl.session import ClientPolicy
from privfl.wire import CONTROL_BODY_LIMIT_BYTES, SERVER, Message, SuiteCode

_SIGNED_BYTES_PER_PEER = 96  # key id and signature
_REQUEST_BYTES_PER_PEER = 128  # the largest record, number and sealed shares or two keys, has 85


class MaskingClient(LockstepClient):
    """A client whose vector the server cannot read.

    Args:
        params: the session's parameters.
        number: this client's number in the cohort.
        policy: what the client insists on, whatever the parameters say; with credentials, the active model unless said.
        credentials: identity and roster; needed in the active model, and only there.
        guard: remembers nonces and contexts, so that none is used twice; give a durable one to a client that may
            restart. Needed in the active model; elsewhere, without one, the caller sees to it.
        entropy: source of all secrets.
        workers: threads for masking long vectors; 1 starts none.
        remember_response: keep the last response to answer a repeated request; costs the vector's size in memory.

    Guarantees:
        1. No more than one share of a peer is told, whatever the server says (`checks.check_disjoint`, `Unmask`).
        2. Nothing is told over fewer than max(params.minimum_contributors, policy.minimum_contributors) contributors.
        3. After the answer to Unmask, or a refusal, no secret is left in the session.
        4. Clients with another context, other parameters, or other keys behind the root derive masks that do not
           cancel.
        5. Under one nonce a client takes part once; a context that it has unmasked, in the active model one that it has
           uploaded, it never uploads again (with a `guard`).
        6. Active model: keys are accepted from the roster's identities only and under one root that holds the
           client's own; nothing is told unless a quorum of witnesses signed the client's own context and the same sets
           of participants and survivors, and a witness signs once in a session.
        7. A session serves one context, whether it was named by the parameters or bound later.

    Assumes:
        An honest-but-curious server with fewer than t of this client's neighbours on its side; session id and, on
        incomplete graphs, the contributor count are its word. Or an active server with at most the stated fraction of
        clients on its side; then both follow from what clients sign.

    References:
        Bonawitz et al., CCS 2017, figure 4; Bell et al., CCS 2020, algorithm 2.
    """

    _suite = SuiteCode.MASKING
    _upload_request = MaskedInputRequest

    def __init__(
        self,
        params: SessionParams,
        number: int,
        *,
        policy: ClientPolicy | None = None,
        credentials: Credentials | None = None,
        guard: StateGuard | None = None,
        entropy: Entropy | None = None,
        workers: int = 1,
        remember_response: bool = True,
    ) -> None:
        policy = (policy or ClientPolicy()).settled(signs=credentials is not None)
        policy.check(params)  # before any work that the parameters ask for
        setting = self._verified(params)
        active = params.threat.server is ServerModel.ACTIVE
        super().__init__(
            params,
            number,
            policy=policy,
            guard=guard,
            remember_response=remember_response,
            state=Invited(),
            body_limit_bytes=_request_limit_bytes(params, setting),
        )
        credentials = _required_credentials(params, number, credentials)
        if active and guard is None:
            # The others count on it: a witness that is made to sign twice, by two objects that know nothing of each
            # other, is a corrupt one.
            raise ConfigurationError(
                "guard is None where the server may lie: guard=FileGuard(…) works, or MemoryGuard() where the client "
                "runs in one process for ever"
            )
        self._me = number
        self._setting = setting
        self._entropy = entropy or OsEntropy()
        self._workers = workers
        quorum = planner.quorum(len(params.cohort), params.threat) if active else None
        self._limits = checks.Limits(
            me=number,
            threshold=setting.threshold,
            minimum=max(params.minimum_contributors, policy.minimum_contributors, _floor(params)),
            cohort_size=len(params.cohort),
            complete=setting.degree == len(params.cohort) - 1,
            signatures=quorum.signatures if quorum else 0,
        )
        self._witness = Witness(params, credentials, quorum, self._limits) if credentials and quorum else None

    def _verified(self, params: SessionParams) -> MaskingSetting:
        return planner.verified(params, "masking")

    def _handlers(self) -> Mapping[tuple[type, type[Message]], Handler]:
        return {
            (Invited, AdvertiseKeysRequest): self._advertise_keys,
            (Advertised, ShareKeysRequest): self._share_keys,
            (Shared, MaskedInputRequest): self._masked_input,
            **(
                {
                    (Masked, ConsistencyRequest): self._consistency_check,
                    (Masked, UnmaskRequest): self._unmask_witnessed,
                    (Agreed, UnmaskRequest): self._unmask_agreed,
                }
                if self._witness
                else {(Masked, UnmaskRequest): self._unmask_unwitnessed}
            ),
        }

    @classmethod
    def from_bytes(
        cls,
        raw: bytes,
        *,
        key: bytes,
        guard: StateGuard,
        credentials: Credentials | None = None,
        entropy: Entropy | None = None,
        workers: int = 1,
        remember_response: bool = True,
    ) -> MaskingClient:
        """Wake a session that `to_bytes` put to sleep.

        Args:
            raw: what `to_bytes` returned.
            key: the same 32 bytes.
            guard: durable, and shared by all processes that might wake this session.
            credentials: as for the constructor; they do not sleep with the session.
            entropy: as for the constructor.
            workers: likewise.
            remember_response: likewise.

        Raises:
            DecodeError: another key, or altered bytes.
            DisclosureRefused: this state has answered already, in whatever process.
            ConfigurationError: the key or the credentials do not suit.
        """
        slept = open_slept(raw, key, suite=cls._suite)
        session = cls(
            slept.params,
            slept.number,
            policy=slept.policy,
            credentials=credentials,
            guard=guard,
            entropy=entropy,
            workers=workers,
            remember_response=remember_response,
        )
        session._wake_from(slept)
        return session

    def _write_state(self, state: State) -> bytes:
        return states.write(state)

    def _read_state(self, raw: bytes) -> State:
        return states.read(raw)

    def _advertise_keys(self, _state: Invited, incoming: Incoming) -> tuple[Advertised, bytes]:
        _require_session(incoming, self.params.keys_digest)
        self._guard.claim(NONCE, self.params.nonce)
        state = Advertised(channel=KeyPair.generate(self._entropy), mask=KeyPair.generate(self._entropy))
        key_id = signature = b""
        if self._witness:
            key_id = self._entropy.token_bytes(KEY_ID_BYTES)
            signature = self._witness.sign_keys(state, key_id, session=incoming.session)
        answer = AdvertiseKeys(
            channel_key=state.channel.public, mask_key=state.mask.public, key_id=key_id, signature=signature
        )
        return state, self._frame(answer, incoming.session).finish()

    def _share_keys(self, state: Advertised, incoming: Incoming) -> tuple[Shared, bytes]:
        request = incoming.message
        assert isinstance(request, ShareKeysRequest)  # noqa: S101 - the table says so; for the type checker
        session = session_id(self.params.keys_digest, request.root)
        _require_session(incoming, session)
        graph = graph_for(self.params.cohort, self._setting.degree, request.root)
        around = frozenset(graph.neighbours(self._me))
        checks.check_neighbours(request, around, self._limits)
        if self._witness:
            self._witness.check_keys(state, request)
        else:
            checks.check_no_proofs(request)

        # All agreements come first: a neighbour's bad key is refused before there are shares for a traceback to hold.
        outgoing_keys, incoming_keys, pair_seeds, confirmations = {}, {}, {}, []
        for neighbour in request.neighbours:
            peer = neighbour.number
            outgoing_keys[peer], incoming_keys[peer] = self._channel(state, neighbour, session)
            pair = secrets.pair_seed(state.mask, neighbour.mask_key, session=session, me=self._me, peer=peer)
            confirmations.append(secrets.confirmation(pair, session=session, me=self._me, peer=peer))
            pair_seeds[peer] = pair
        seed = Secret(self._entropy.token_bytes(SECRET_BYTES))
        answer = ShareKeys(
            commitment=secrets.commitment(seed, session=session, me=self._me),
            peers=tuple(outgoing_keys),
            sealed=self._sealed_shares(graph, seed, state.mask, outgoing_keys, session),
            confirmations=b"".join(confirmations),
        )
        shared = Shared(
            session=session,
            neighbours=around,
            self_seed=seed,
            incoming_keys=incoming_keys,
            pair_seeds=pair_seeds,
        )
        return shared, self._frame(answer, session).finish()

    def _sealed_shares(
        self, graph: Graph, seed: Secret, mask: KeyPair, outgoing_keys: Mapping[int, Secret], session: bytes
    ) -> bytes:
        """Deal both secrets, and seal each holder's shares for it."""
        shares = shamir.deal(
            seed.reveal() + mask.private_bytes().reveal(),
            points=[graph.share_point(self._me, number) for number in outgoing_keys],
            threshold=self._setting.threshold,
            entropy=self._entropy,
        )
        return b"".join(
            aead.seal_once(key, share.tobytes(), secrets.sealing_context(session, sender=self._me, receiver=number))
            for (number, key), share in zip(outgoing_keys.items(), shares, strict=True)
        )

    def _channel(self, state: Advertised, neighbour: NeighbourKeys, session: bytes) -> tuple[Secret, Secret]:
        return secrets.channel_keys(
            state.channel, neighbour.channel_key, session=session, me=self._me, peer=neighbour.number
        )

    def _check_upload(self, state: Shared, incoming: Incoming) -> None:
        self._checked_shares(state, incoming)

    def _checked_shares(self, state: Shared, incoming: Incoming) -> dict[int, PeerShares]:
        """Check a request for the vector, and return the neighbours' shares that are for this client.

        Raises:
            DisclosureRefused: it must not be answered.
        """
        request = incoming.message
        assert isinstance(request, MaskedInputRequest)  # noqa: S101 - as above
        self._require_bound(state, incoming)
        checks.check_participants(request, state.pair_seeds.keys(), self._limits)
        if self._witness:
            self._witness.check_crowd(state, request)
        else:
            checks.check_no_crowd(request)
        if self._guard.claimed(CONTEXT, self.params.context):
            raise DisclosureRefused("an update to this context was sent before: it is never sent again", peer=SERVER)
        held = self._open_shares(state, request)
        checks.check_opened(len(held), self._limits)
        return held

    def _masked_input(self, state: Shared, incoming: Incoming) -> tuple[Masked, bytes]:
        request = incoming.message
        assert isinstance(request, MaskedInputRequest)  # noqa: S101 - as above
        context, session = self.params.context, self._require_bound(state, incoming)
        held = self._checked_shares(state, incoming)

        # Masks go with every neighbour on the list, whether or not its share opened: a neighbour must not be able to
        # thin out a client's masks by sending it rubbish.
        pair_seeds = {peer: state.pair_seeds[peer] for peer in request.peers}
        masks = [secrets.self_mask(state.self_seed, session=state.session, me=self._me)]
        masks += [
            secrets.pairwise_mask(seed, me=self._me, peer=peer, context=context, crowd=request.participant_bits)
            for peer, seed in pair_seeds.items()
        ]
        upload = self._upload(state.session, session, masks)
        if self._witness:
            # A server that lies could have one half of the clients unmask this session, the other half another of the
            # same context, open each with shares for the rest, and take the difference of both sums. Claimed when the
            # upload is made and before it leaves: a vector that does not fit spends nothing.
            self._guard.claim(CONTEXT, context)
        masked = Masked(
            session=state.session,
            participants=request.participants,
            crowd=request.participant_bits,
            neighbours=state.neighbours,
            self_seed=state.self_seed,
            pair_seeds=pair_seeds,
            held=held,
        )
        return masked, upload

    def _upload(self, session: bytes, bound_session: bytes, masks: Sequence[Mask]) -> bytes:  # noqa: ARG002
        """Make the upload, which carries the bound session's id; `session`, which keys follow from, is for `kahe`."""
        return self._vector_frame(MaskedInput(), bound_session, masks=masks, workers=self._workers)

    def _open_shares(self, state: Shared, request: MaskedInputRequest) -> dict[int, PeerShares]:
        held = {}
        for i, peer in enumerate(request.peers):
            sealed = request.sealed[i * SEALED_BYTES : (i + 1) * SEALED_BYTES]
            context = secrets.sealing_context(state.session, sender=peer, receiver=self._me)
            try:
                opened = aead.open_once(state.incoming_keys[peer], sealed, context)
            except DecodeError:
                continue  # the peer harms itself: its secrets have one holder less
            held[peer] = PeerShares(self_seed=opened[:SECRET_BYTES], mask_key=opened[SECRET_BYTES:])
        return held

    def _unmask(self, state: Masked, incoming: Incoming) -> tuple[SessionOver, bytes]:
        request = incoming.message
        assert isinstance(request, UnmaskRequest)  # noqa: S101 - as above
        session = self._require_bound(state, incoming)
        checks.check_unmask(request, state.pair_seeds.keys(), state.participants, self._limits)
        if self._witness is None:
            self._guard.claim(CONTEXT, self.params.context)
        nothing = PeerShares(self_seed=b"", mask_key=b"")
        entries: list[SurvivorShare | DroppedShare] = [
            SurvivorShare(number=peer, share=state.held.get(peer, nothing).self_seed) for peer in request.survivors
        ]
        entries += [
            DroppedShare(
                number=peer,
                share=state.held.get(peer, nothing).mask_key,
                pair_seed=state.pair_seeds[peer].reveal(),
            )
            for peer in request.dropped
        ]
        answer = Unmask(
            self_seed=state.self_seed.reveal(), entries=tuple(sorted(entries, key=lambda entry: entry.number))
        )
        return SessionOver("the shares were told"), self._frame(answer, session).finish()

    def _require_bound(self, state: Shared | Masked, incoming: Incoming) -> bytes:
        """Return the session id that messages carry once the context is bound, this request among them."""
        session = secrets.bound_session(state.session, self.params.context)
        _require_session(incoming, session)
        return session

    def _unmask_unwitnessed(self, state: Masked, incoming: Incoming) -> tuple[SessionOver, bytes]:
        request = incoming.message
        assert isinstance(request, UnmaskRequest)  # noqa: S101 - the table says so; for the type checker
        checks.check_no_signatures(request)
        return self._unmask(state, incoming)

    def _consistency_check(self, state: Masked, incoming: Incoming) -> tuple[Agreed, bytes]:
        request = incoming.message
        assert isinstance(request, ConsistencyRequest)  # noqa: S101 - the table says so; for the type checker
        assert self._witness is not None  # noqa: S101 - the table says so
        session = self._require_bound(state, incoming)
        signature = self._witness.sign_sets(state, request, context=self.params.context)
        agreed = Agreed(masked=state, participants=request.participants, survivors=request.survivors)
        return agreed, self._frame(ConsistencyCheck(signature=signature), session).finish()

    def _unmask_agreed(self, state: Agreed, incoming: Incoming) -> tuple[SessionOver, bytes]:
        request = incoming.message
        assert isinstance(request, UnmaskRequest)  # noqa: S101 - as above
        checks.check_signed_by_itself(request, state.participants, state.survivors)
        return self._unmask_witnessed(state.masked, incoming)

    def _unmask_witnessed(self, state: Masked, incoming: Incoming) -> tuple[SessionOver, bytes]:
        request = incoming.message
        assert isinstance(request, UnmaskRequest)  # noqa: S101 - as above
        assert self._witness is not None  # noqa: S101 - the table says so
        self._require_bound(state, incoming)
        self._witness.check_unmask(state, request, context=self.params.context)
        return self._unmask(state, incoming)


def _required_credentials(params: SessionParams, number: int, credentials: Credentials | None) -> Credentials | None:
    if params.threat.server is not ServerModel.ACTIVE:
        return None
    if credentials is None:
        raise ConfigurationError("threat.server 'active' needs credentials: an identity and a roster")
    credentials.require_own(number)
    credentials.roster.require(params.cohort)
    if credentials.roster.digest != params.roster_digest:
        raise ConfigurationError("roster_digest is that of another roster than this client's")
    return credentials


def _request_limit_bytes(params: SessionParams, setting: MaskingSetting) -> int:
    """Longest struct that a request may have: nothing longer is decoded."""
    clients, per_peer = len(params.cohort), _REQUEST_BYTES_PER_PEER
    active = params.threat.server is ServerModel.ACTIVE
    if active:
        per_peer += _SIGNED_BYTES_PER_PEER + clients.bit_length() * DIGEST_BYTES
    signatures = planner.quorum(clients, params.threat).signatures if active else 0
    sets = clients // 4  # two of them, a bit a client
    return CONTROL_BODY_LIMIT_BYTES + setting.degree * per_peer + signatures * _SIGNED_BYTES_PER_PEER + sets


def _floor(params: SessionParams) -> int:
    """Against an active server corrupt contributors hide nobody: two honest ones must be left beside them."""
    if params.threat.server is not ServerModel.ACTIVE:
        return 0
    return planner.fewest_contributors(len(params.cohort), params.threat)


def _require_session(incoming: Incoming, session: bytes) -> None:
    if incoming.session != session:
        raise DisclosureRefused(f"a {type(incoming.message).__name__} of another session", peer=SERVER)
