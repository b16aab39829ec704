"""Random and mutated messages to clients and servers in every phase: nothing but `PrivflError` may come of them.

A short run is part of every test run; `make fuzz` sends a million.
"""

import contextlib
import os

import numpy as np
import pytest
from harness import ACTIVE, HONEST, Play, make_params

from privfl import Phase, PrivflError, WireForm
from privfl.wire import HEADER_BYTES

MESSAGES = int(os.environ.get("PRIVFL_FUZZ_MESSAGES", "20000"))
SEED = int(os.environ.get("PRIVFL_FUZZ_SEED", "1"))

WORDS, PACKED = WireForm
SETTINGS = [
    ("masking", HONEST, WORDS),
    ("masking", HONEST, PACKED),
    ("masking", ACTIVE, WORDS),
    ("kahe", HONEST, PACKED),
    ("plain", HONEST, WORDS),
    ("ckks", HONEST, WORDS),
]
PHASES = {
    ("masking", HONEST): (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK),
    ("masking", ACTIVE): (
        Phase.ADVERTISE_KEYS,
        Phase.SHARE_KEYS,
        Phase.MASKED_INPUT,
        Phase.CONSISTENCY_CHECK,
        Phase.UNMASK,
    ),
    ("kahe", HONEST): (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK),
    ("plain", HONEST): (Phase.UPLOAD,),
    ("ckks", HONEST): (Phase.UPLOAD, Phase.CONVENE, Phase.OPEN),
}
KEPT = ("_state", "_last", "_vector", "_vector_taken")


def mutated(chance, frame, others):
    """One of the ways in which bytes go wrong."""
    raw = bytearray(frame)
    kind = chance.integers(8)
    if kind == 0:
        return chance.bytes(int(chance.integers(0, 400)))
    if kind == 1:
        return bytes(raw[:HEADER_BYTES]) + chance.bytes(int(chance.integers(0, 400)))
    if kind == 2:
        return bytes(raw[: chance.integers(0, len(raw) + 1)])
    if kind == 3:
        return bytes(raw) + chance.bytes(int(chance.integers(1, 40)))
    if kind == 4:  # the head of one message, the rest of another
        other = others[chance.integers(len(others))]
        cut = int(chance.integers(0, min(len(raw), len(other)) + 1))
        return bytes(raw[:cut]) + other[cut:]
    if kind == 5:  # an honest struct of another kind under this header
        other = others[chance.integers(len(others))]
        return bytes(raw[:6]) + other[6:]
    for _ in range(int(chance.integers(1, 6))):
        position = int(chance.integers(len(raw)))
        raw[position] = chance.integers(256) if kind == 6 else raw[position] ^ (1 << chance.integers(8))
    return bytes(raw)


@pytest.mark.parametrize(
    ("suite_name", "model", "wire"),
    SETTINGS,
    ids=["masking", "masking-packed", "masking-active", "kahe", "plain", "ckks"],
)
def test_nothing_but_our_own_errors_comes_of_any_bytes(suite_name, model, wire):
    chance = np.random.default_rng(SEED)
    params = make_params(n=5, length=8, suite_name=suite_name, server=model, wire=wire)
    reference = Play(params)
    while reference.server.phase is not Phase.FINISHED:
        reference.step()
    corpus = [*reference.requests.values(), *reference.responses.values()]
    phases = PHASES[suite_name, model]
    for phase in phases:
        play = Play(params).to(phase)
        number = 1 if play.convened else 11
        request = play.ask(number)
        session = play.session(number)
        kept = {name: getattr(session, name) for name in KEPT if hasattr(session, name)}
        guard = getattr(session, "_guard", None)
        claims = set(guard._claims) if guard else set()
        response = session.respond(request)
        step = play.server._step
        for _ in range(MESSAGES // (2 * len(phases) * len(SETTINGS))):
            for name, value in kept.items():  # back to where the phase began: a refusal has ended the session
                setattr(session, name, value)
            if guard:
                guard._claims = set(claims)
            with contextlib.suppress(PrivflError):
                session.respond(mutated(chance, request, corpus))
            with contextlib.suppress(PrivflError):
                play.server.receive(play.party(number), mutated(chance, response, corpus))
            step.waiting.add(number)
        assert play.server.phase is phase
