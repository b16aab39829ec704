"""Sessions as goals and benchmarks play them: parameters, inputs, and a clock for every call of one side."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from privfl.encoding.fixed_point import FixedPoint
from privfl.encoding.layout import Layout
from privfl.encoding.update import UpdateCodec
from privfl.params import NONCE_BYTES, MaskingSetting, SessionParams, ThreatModel, VectorSpec, WireForm
from privfl.primitives.transcript import DIGEST_BYTES
from privfl.session import ClientSession, Phase, ServerSession
from privfl.simulate import simulated_committee
from privfl.suites import plan_session, suite
from privfl.wire import client

if TYPE_CHECKING:  # a suite's package is imported when it is asked for
    from privfl.ckks.rehearsal import SimulatedCommittee

CODING: Final = FixedPoint(clip=1.0, bits=16)
BOUND: Final = CODING.bound
_CORRUPT: Final = 0.1


def plan(
    suite_name: str,
    clients: int,
    parameters: int,
    *,
    wire: WireForm = WireForm.WORDS,
    dropout: float = 0.1,
    committee: SimulatedCommittee | None = None,
) -> SessionParams:
    """Return parameters for updates of 16 bits, a tenth of the clients corrupt.

    Raises:
        ConfigurationError: no session can be held so.
    """
    return plan_session(
        suite_name,
        cohort=tuple(range(clients)),
        vector=VectorSpec(length=parameters, bound=BOUND),
        threat=ThreatModel(corrupt=_CORRUPT, dropout=dropout),
        wire=wire,
        nonce=os.urandom(NONCE_BYTES),
        context=os.urandom(DIGEST_BYTES),
        committee=committee.key if committee else None,
    )


def plan_with_committee(clients: int, parameters: int) -> tuple[SessionParams, SimulatedCommittee]:
    """Return parameters of a `ckks` session, as `plan` does, and the committee whose key they name.

    Raises:
        MissingExtra: TenSEAL is not installed.
    """
    threat = ThreatModel(corrupt=_CORRUPT, dropout=0.1)
    committee = simulated_committee(suite("ckks").setting(clients, threat, bound=BOUND, length=parameters))
    assert committee is not None  # noqa: S101 - the suite has one; for the type checker
    return plan("ckks", clients, parameters, committee=committee), committee


def agreed_masking(params: SessionParams) -> MaskingSetting:
    """Return what `masking` and `kahe` agree on: neighbours, threshold, wire."""
    assert params.masking is not None  # noqa: S101 - of these two suites; for the type checker
    return params.masking


def inputs(parameters: int) -> npt.NDArray[np.int32]:
    """Return a vector of the shape of a quantised update; the same for all clients, so that the sum is known."""
    return np.random.default_rng(0).integers(-BOUND, BOUND + 1, parameters, np.int32)


def codec_of(values: npt.NDArray[np.floating[Any]]) -> UpdateCodec:
    """Return what quantises an update of that shape to the vectors of `inputs`."""
    return UpdateCodec(layout=Layout.of({"update": values}), coding=CODING, weight_max=1.0)


def make(
    params: SessionParams, committee: SimulatedCommittee | None = None
) -> tuple[ServerSession, dict[int, ClientSession]]:
    """Return the server and all clients; of `ckks`, with the committee's key."""
    chosen, key = suite(params.suite), committee.key if committee else None
    return chosen.server(params, committee=key), clients_of(params, committee)


def clients_of(params: SessionParams, committee: SimulatedCommittee | None = None) -> dict[int, ClientSession]:
    """Return all clients of a session."""
    chosen, key = suite(params.suite), committee.key if committee else None
    return {number: chosen.client(params, number, remember_response=False, committee=key) for number in params.cohort}


def before_upload(params: SessionParams) -> tuple[ServerSession, dict[int, ClientSession]]:
    """Play a session of `masking` or `kahe` up to MaskedInput."""
    server, clients = make(params)
    while server.phase is not Phase.MASKED_INPUT:
        for number, session in clients.items():
            server.receive(client(number), session.respond(server.request_for(client(number))))
        server.advance()
    return server, clients


class PhaseClock:
    """Calls of one party, timed by the phase in which they were made.

    Attributes:
        spent: CPU seconds by phase.
    """

    def __init__(self) -> None:
        self.spent = dict.fromkeys(Phase, 0.0)

    def __call__(self, phase: Phase, call: Callable[..., Any], *arguments: Any) -> Any:
        """Call, and return what comes back."""
        begun = time.process_time()
        result = call(*arguments)
        self.spent[phase] += time.process_time() - begun
        return result
