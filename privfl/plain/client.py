"""The client of `plain`: sends its vector in clear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from privfl.errors import ConfigurationError, DisclosureRefused
from privfl.guard import StateGuard
from privfl.lockstep.client import LockstepClient
from privfl.lockstep.party import Handler, Incoming, SessionOver
from privfl.lockstep.sleep import open_slept
from privfl.params import PlainSetting, SessionParams
from privfl.plain.messages import Upload, UploadRequest
from privfl.session import PLAIN_ALLOWED, ClientPolicy
from privfl.wire import CONTROL_BODY_LIMIT_BYTES, SERVER, Message, SuiteCode


@dataclass(frozen=True, slots=True)
class Waiting:
    """The vector has not been asked for."""


class PlainClient(LockstepClient):
    """A client without protection: **the server reads its vector**. For baselines only.

    Args:
        params: the session's parameters.
        number: this client's number in the cohort.
        policy: must name `plain` to allow it.
        guard: as for other suites; needed by sessions that sleep.
        remember_response: keep the upload to answer a repeated request; costs its size in memory.
    """

    _suite = SuiteCode.PLAIN
    _upload_request = UploadRequest

    def __init__(
        self,
        params: SessionParams,
        number: int,
        *,
        policy: ClientPolicy = PLAIN_ALLOWED,
        guard: StateGuard | None = None,
        remember_response: bool = True,
    ) -> None:
        if not isinstance(params.setting, PlainSetting):
            raise ConfigurationError(f"parameters of suite {params.suite!r} where 'plain' is needed")
        super().__init__(
            params,
            number,
            policy=policy,
            guard=guard,
            remember_response=remember_response,
            state=Waiting(),
            body_limit_bytes=CONTROL_BODY_LIMIT_BYTES,
        )

    @classmethod
    def from_bytes(cls, raw: bytes, *, key: bytes, guard: StateGuard, remember_response: bool = True) -> PlainClient:
        """Wake a session that `to_bytes` put to sleep; arguments and errors as those of `MaskingClient.from_bytes`."""
        slept = open_slept(raw, key, suite=cls._suite)
        session = cls(slept.params, slept.number, policy=slept.policy, guard=guard, remember_response=remember_response)
        session._wake_from(slept)
        return session

    def _write_state(self, state: Waiting) -> bytes:  # noqa: ARG002 - there is one state only
        return b""

    def _read_state(self, raw: bytes) -> Waiting:  # noqa: ARG002 - likewise
        return Waiting()

    def _handlers(self) -> Mapping[tuple[type, type[Message]], Handler]:
        return {(Waiting, UploadRequest): self._upload}

    def _check_upload(self, state: Waiting, incoming: Incoming) -> None:  # noqa: ARG002 - there is one state only
        if incoming.session != self.params.digest:
            raise DisclosureRefused("an UploadRequest of another session", peer=SERVER)

    def _upload(self, state: Waiting, incoming: Incoming) -> tuple[SessionOver, bytes]:
        self._check_upload(state, incoming)
        return SessionOver("the vector was uploaded"), self._vector_frame(Upload(), self.params.digest)
