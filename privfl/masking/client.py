"""The client of `masking`: SecAgg's four answers, each given once.

| state | request | checks | answer |
|---|---|---|---|
| `Invited` | AdvertiseKeysRequest | session is the params digest | AdvertiseKeys |
| `Advertised` | ShareKeysRequest | session id from root; neighbours from the graph, ≥ t | ShareKeys |
| `Shared` | MaskedInputRequest | senders known, ≥ t shares open, participants ≥ minimum | MaskedInput |
| `Masked` | UnmaskRequest | all of `checks.check_unmask` | Unmask, and the secrets are gone |

Every other pair of state and request destroys the secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError, DecodeError, DisclosureRefused
from privfl.masking import checks, planner, secrets
from privfl.masking.graph import graph_for
from privfl.masking.messages import (
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
from privfl.primitives import aead, shamir
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.keys import KeyPair
from privfl.primitives.prg import apply_masks
from privfl.primitives.secret import Secret
from privfl.primitives.transcript import session_id
from privfl.session import ClientPolicy, Handler, Incoming, LockstepClient, SessionOver
from privfl.wire import CONTROL_BODY_LIMIT_BYTES, SERVER, Message, SuiteCode

_REQUEST_BYTES_PER_PEER = 128  # the largest record, number and sealed shares or two keys, has 85


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Nothing drawn yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """Fresh keys drawn."""

    channel: KeyPair
    mask: KeyPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Shares dealt; the key pairs are gone, what was derived from them remains."""

    session: bytes
    self_seed: Secret
    incoming_keys: Mapping[int, Secret]
    pair_seeds: Mapping[int, Secret]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerShares:
    """A neighbour's shares, held for it: of its self-mask seed and of its mask key; never both are told."""

    self_seed: bytes
    mask_key: bytes

    def __repr__(self) -> str:
        return "PeerShares(<secret>)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """The vector is on its way."""

    session: bytes
    participants: int
    self_seed: Secret
    pair_seeds: Mapping[int, Secret]
    held: Mapping[int, PeerShares]


class MaskingClient(LockstepClient):
    """A client whose vector the server cannot read.

    Args:
        params: the session's parameters.
        number: this client's number in the cohort.
        policy: what the client insists on, whatever the parameters say.
        entropy: source of all secrets.
        workers: threads for masking long vectors; 1 starts none.
        remember_response: keep the last response to answer a repeated request; costs the vector's size in memory.

    Guarantees:
        1. No more than one share of a peer is told, whatever the server says (`checks.check_disjoint`, `Unmask`).
        2. Nothing is told over fewer than max(params.minimum_contributors, policy.minimum_contributors) contributors.
        3. After the answer to Unmask, or a refusal, no secret is left in the session.
        4. Clients with other parameters, or other keys behind the root, derive masks that do not cancel.

    Assumes:
        An honest-but-curious server with fewer than t of this client's neighbours on its side. Session id and, on
        incomplete graphs, the contributor count are the server's word.

    References:
        Bonawitz et al., CCS 2017, figure 4; Bell et al., CCS 2020, algorithm 2.
    """

    _suite = SuiteCode.MASKING

    def __init__(
        self,
        params: SessionParams,
        number: int,
        *,
        policy: ClientPolicy | None = None,
        entropy: Entropy | None = None,
        workers: int = 1,
        remember_response: bool = True,
    ) -> None:
        setting = params.setting
        if not isinstance(setting, MaskingSetting):
            raise ConfigurationError(f"parameters of suite {params.suite!r} where 'masking' is needed")
        policy = policy or ClientPolicy()
        planner.verify(setting, len(params.cohort), params.threat)
        super().__init__(
            params,
            number,
            policy=policy,
            remember_response=remember_response,
            state=Invited(),
            body_limit_bytes=CONTROL_BODY_LIMIT_BYTES + setting.degree * _REQUEST_BYTES_PER_PEER,
        )
        self._me = number
        self._setting = setting
        self._entropy = entropy or OsEntropy()
        self._workers = workers
        self._ring = Ring.for_sum(len(params.cohort), params.vector.bound)
        self._limits = checks.Limits(
            me=number,
            threshold=setting.threshold,
            minimum=max(params.minimum_contributors, policy.minimum_contributors),
            cohort_size=len(params.cohort),
            complete=setting.degree == len(params.cohort) - 1,
        )

    def _handlers(self) -> Mapping[tuple[type, type[Message]], Handler]:
        return {
            (Invited, AdvertiseKeysRequest): self._advertise_keys,
            (Advertised, ShareKeysRequest): self._share_keys,
            (Shared, MaskedInputRequest): self._masked_input,
            (Masked, UnmaskRequest): self._unmask,
        }

    def _advertise_keys(self, _state: Invited, incoming: Incoming) -> tuple[Advertised, bytes]:
        _require_session(incoming, self.params.digest)
        state = Advertised(channel=KeyPair.generate(self._entropy), mask=KeyPair.generate(self._entropy))
        answer = AdvertiseKeys(channel_key=state.channel.public, mask_key=state.mask.public)
        return state, self._frame(answer, incoming.session).finish()

    def _share_keys(self, state: Advertised, incoming: Incoming) -> tuple[Shared, bytes]:
        request = incoming.message
        assert isinstance(request, ShareKeysRequest)  # noqa: S101 - the table says so; for the type checker
        session = session_id(self.params.digest, request.root)
        _require_session(incoming, session)
        graph = graph_for(self.params.cohort, self._setting.degree, request.root)
        checks.check_neighbours(request, set(graph.neighbours(self._me)), self._limits)

        seed = Secret(self._entropy.token_bytes(SECRET_BYTES))
        numbers = tuple(neighbour.number for neighbour in request.neighbours)
        shares = shamir.deal(
            seed.reveal() + state.mask.private_bytes().reveal(),
            points=[graph.share_point(self._me, number) for number in numbers],
            threshold=self._setting.threshold,
            entropy=self._entropy,
        )
        incoming_keys, pair_seeds, sealed, confirmations = {}, {}, [], []
        for neighbour, share in zip(request.neighbours, shares, strict=True):
            outgoing, incoming_keys[neighbour.number] = self._channel(state, neighbour, session)
            pair = secrets.pair_seed(
                state.mask, neighbour.mask_key, session=session, me=self._me, peer=neighbour.number
            )
            pair_seeds[neighbour.number] = pair
            context = secrets.sealing_context(session, sender=self._me, receiver=neighbour.number)
            sealed.append(aead.seal_once(outgoing, share.tobytes(), context))
            confirmations.append(secrets.confirmation(pair, session=session, me=self._me, peer=neighbour.number))
        answer = ShareKeys(
            commitment=secrets.commitment(seed, session=session, me=self._me),
            peers=numbers,
            sealed=b"".join(sealed),
            confirmations=b"".join(confirmations),
        )
        shared = Shared(session=session, self_seed=seed, incoming_keys=incoming_keys, pair_seeds=pair_seeds)
        return shared, self._frame(answer, session).finish()

    def _channel(self, state: Advertised, neighbour: NeighbourKeys, session: bytes) -> tuple[Secret, Secret]:
        return secrets.channel_keys(
            state.channel, neighbour.channel_key, session=session, me=self._me, peer=neighbour.number
        )

    def _masked_input(self, state: Shared, incoming: Incoming) -> tuple[Masked, bytes]:
        request = incoming.message
        assert isinstance(request, MaskedInputRequest)  # noqa: S101 - as above
        _require_session(incoming, state.session)
        checks.check_participants(request, state.pair_seeds.keys(), self._limits)
        held = self._open_shares(state, request)
        checks.check_opened(len(held), self._limits)

        # Masks go with every neighbour on the list, whether or not its share opened: a neighbour must not be able to
        # thin out a client's masks by sending it rubbish.
        pair_seeds = {peer: state.pair_seeds[peer] for peer in request.peers}
        masks = [secrets.self_mask(state.self_seed, session=state.session, me=self._me)]
        masks += [secrets.pairwise_mask(seed, me=self._me, peer=peer) for peer, seed in pair_seeds.items()]
        frame = self._frame(MaskedInput(), state.session, tail_bytes=self.params.vector.length * self._ring.word_bytes)

        def write(words: npt.NDArray[Any]) -> None:
            self._write_vector(self._ring, words)
            apply_masks(words, masks, workers=self._workers)

        frame.write_tail(self._ring.dtype, write)
        masked = Masked(
            session=state.session,
            participants=request.participants,
            self_seed=state.self_seed,
            pair_seeds=pair_seeds,
            held=held,
        )
        return masked, frame.finish()

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
        _require_session(incoming, state.session)
        checks.check_unmask(request, state.pair_seeds.keys(), state.participants, self._limits)
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
        return SessionOver("the shares were told"), self._frame(answer, state.session).finish()


def _require_session(incoming: Incoming, session: bytes) -> None:
    if incoming.session != session:
        raise DisclosureRefused(f"a {type(incoming.message).__name__} of another session", peer=SERVER)
