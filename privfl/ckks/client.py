"""The client of `ckks`: encrypts its vector under the committee's key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from privfl.ckks.key import CommitteeKey
from privfl.ckks.messages import Upload, UploadRequest
from privfl.ckks.planner import modulus_of, verified
from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.guard import CONTEXT, NONCE, StateGuard
from privfl.lockstep.client import LockstepClient
from privfl.lockstep.party import Handler, Incoming, SessionOver
from privfl.lockstep.sleep import open_slept
from privfl.params import SessionParams
from privfl.primitives.entropy import Entropy, OsEntropy
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.roster import Credentials
from privfl.session import ClientPolicy
from privfl.wire import CONTROL_BODY_LIMIT_BYTES, SERVER, Message, SuiteCode

_WORDS = Ring(32)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The vector has not been asked for."""


class CkksClient(LockstepClient):
    """A client whose vector only a committee could open, and does not: it opens sums.

    Args:
        params: the session's parameters.
        number: this client's number in the cohort.
        committee: the committee's key, checked against a roster that this client trusts.
        policy: what it insists on.
        credentials: identity and roster, where the parameters name a roster: the upload is signed.
        guard: remembers nonces and contexts; give a durable one to a client that may restart.
        entropy: source of randomness; the operating system unless given.
        workers: threads for long vectors.
        remember_response: keep the upload to answer a repeated request; costs its size in memory.

    Raises:
        ConfigurationError: the parameters name another key, would let sums wrap, or do not suit the policy.

    Guarantees:
        1. The vector leaves encrypted under the key that the session's parameters name, and under no other.
        2. Under one nonce, and to one context, it uploads once.
        3. Where the parameters name a roster, the upload is signed under the identity that the roster lists.

    Assumes:
        Everyone follows the protocol. The server, any clients and fewer members than the threshold may pool what they
        saw; RLWE with ternary secrets, N = 4,096 and Q below 2^86 (or 8,192 and 2^96) is hard; at least two honest
        clients contribute. A server that lies could have single vectors opened by members that believe it: `masking`
        and `kahe` withstand that.
    """

    _suite = SuiteCode.CKKS
    _upload_request = UploadRequest

    def __init__(
        self,
        params: SessionParams,
        number: int,
        *,
        committee: CommitteeKey,
        policy: ClientPolicy | None = None,
        credentials: Credentials | None = None,
        guard: StateGuard | None = None,
        entropy: Entropy | None = None,
        workers: int = 1,
        remember_response: bool = True,
    ) -> None:
        self._setting = verified(params)
        require_key(params, committee).roster.require_current()
        self._identity = _signer(params, number, credentials)
        # Where uploads are signed, who has an identity is not talked into anything.
        policy = (policy or ClientPolicy()).settled(signs=credentials is not None and self._identity is None)
        # Clients are not asked again before the sum is opened: what a member enforces is what the parameters say.
        if params.minimum_contributors < policy.minimum_contributors:
            raise ConfigurationError(
                f"cohort.minimum is {params.minimum_contributors}: this client wants {policy.minimum_contributors} or "
                f"more"
            )
        super().__init__(
            params,
            number,
            policy=policy,
            guard=guard,
            remember_response=remember_response,
            state=Waiting(),
            body_limit_bytes=CONTROL_BODY_LIMIT_BYTES,
        )
        self._committee = committee
        self._entropy = entropy or OsEntropy()
        self._workers = workers

    @classmethod
    def from_bytes(
        cls,
        raw: bytes,
        *,
        key: bytes,
        guard: StateGuard,
        committee: CommitteeKey,
        credentials: Credentials | None = None,
        workers: int = 1,
        remember_response: bool = True,
    ) -> CkksClient:
        """Wake a session that `to_bytes` put to sleep; arguments and errors as those of `MaskingClient.from_bytes`."""
        slept = open_slept(raw, key, suite=cls._suite)
        session = cls(
            slept.params,
            slept.number,
            committee=committee,
            policy=slept.policy,
            credentials=credentials,
            guard=guard,
            workers=workers,
            remember_response=remember_response,
        )
        session._wake_from(slept)
        return session

    def _write_state(self, state: Waiting) -> bytes:  # noqa: ARG002 - there is one state only
        return b""

    def _read_state(self, raw: bytes) -> Waiting:  # noqa: ARG002 - likewise
        return Waiting()

    def _handlers(self) -> Mapping[tuple[type, type[Message]], Handler]:
        return {(Waiting, UploadRequest): self._upload}

    def _check_upload(self, state: Waiting, incoming: Incoming) -> None:  # noqa: ARG002 - there is one state only
        self._require_session(incoming)
        if self._guard.claimed(NONCE, self.params.nonce) or self._guard.claimed(CONTEXT, self.params.context):
            raise DisclosureRefused("an update to this context was sent before: it is never sent again", peer=SERVER)

    def _require_session(self, incoming: Incoming) -> None:
        if incoming.session != self.params.digest:
            raise DisclosureRefused("an UploadRequest of another session", peer=SERVER)

    def _upload(self, _state: Waiting, incoming: Incoming) -> tuple[SessionOver, bytes]:
        self._require_session(incoming)
        modulus, length = modulus_of(self._setting.epoch), self.params.vector.length
        source, most_workers = self._take_vector()
        own, common = self._committee.statement.joint_key.encrypt(
            lambda start, out: source.store(_WORDS, start, out),
            length=length,
            scale_bits=self._setting.scale_bits,
            entropy=self._entropy,
            workers=min(self._workers, most_workers),
        )
        source.finish()
        # Claimed before anything leaves: two sums of one update over different contributors could be differenced.
        self._guard.claim(NONCE, self.params.nonce)
        self._guard.claim(CONTEXT, self.params.context)
        cut = modulus.vector_bytes(common.shape[1]) // 8
        words = cut + modulus.vector_bytes(length) // 8

        def fill(tail: npt.NDArray[np.uint64]) -> None:
            modulus.pack(common, tail[:cut])
            modulus.pack(own, tail[cut:])

        signature, write = b"", fill
        if self._identity is not None:
            # The signature stands before what it is over, which is therefore written apart.
            signed = np.empty(words, np.uint64)
            fill(signed)
            parts = upload_parts(self.params, self.party.number, signed.view(np.uint8).data)
            signature, write = self._identity.sign(Label.CKKS_UPLOAD, *parts), lambda tail: np.copyto(tail, signed)
        frame = self._frame(Upload(signature=signature), self.params.digest, tail_bytes=8 * words)
        frame.write_tail(np.uint64, write)
        self._vector_taken = True
        return SessionOver("the vector was uploaded"), frame.finish()


def upload_parts(params: SessionParams, number: int, tail: memoryview) -> tuple[bytes, ...]:
    """What the signature of an upload is over."""
    return params.digest, number.to_bytes(4, "big"), hashlib.sha256(tail).digest()


def _signer(params: SessionParams, number: int, credentials: Credentials | None) -> Identity | None:
    if not params.roster_digest:
        return None
    if credentials is None:
        raise ConfigurationError("these parameters want signed uploads: give credentials, an identity and the roster")
    if credentials.roster.digest != params.roster_digest:
        raise ConfigurationError("the session's parameters name another roster than the one given")
    credentials.roster.require(params.cohort)
    credentials.require_own(number)
    return credentials.identity


def require_key(params: SessionParams, committee: object) -> CommitteeKey:
    """Return the committee's key, which the parameters must name.

    Raises:
        ConfigurationError: there is none, or another.
    """
    setting = verified(params)
    if not isinstance(committee, CommitteeKey):
        raise ConfigurationError("suite 'ckks' needs the committee's key: CommitteeKey.from_bytes(…) reads one")
    if (committee.digest, committee.epoch) != (setting.key, setting.epoch):
        raise ConfigurationError("the session's parameters name another committee's key than the one given")
    return committee
