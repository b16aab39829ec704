"""Work along the vector: one mask, a client's upload under `kahe`, and a server's session."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from privfl.bench.goals.goal import Reading
from privfl.bench.kahe_server import ServersSession, key_phase_us
from privfl.bench.limits import KEY, bare_loop, make_scratch, transform_pairs
from privfl.bench.sessions import BOUND, agreed_masking, before_upload, codec_of, inputs, plan
from privfl.bench.turns import Spread, take_turns
from privfl.kahe.ring import BATCH, HALF, N
from privfl.primitives.prg import Mask, apply_masks
from privfl.primitives.secret import Secret
from privfl.wire import client

DROPOUTS = (0.0, 0.1, 0.3)


def one_mask(*, quick: bool) -> Mapping[str, Reading]:
    """Time one mask and the bare loop."""
    parameters, rounds = (100_000, 20) if quick else (1_000_000, 300)
    words, scratch, masks = np.zeros(parameters, np.uint32), make_scratch(), [Mask(Secret(KEY))]
    taken = take_turns({"mask": lambda: apply_masks(words, masks), "bare": lambda: bare_loop(words, scratch)}, rounds)
    bare = Spread.of(taken["bare"]).median
    return {
        "ratio": Reading(
            spread=Spread.of_ratios(taken["mask"], taken["bare"]),
            detail=f"{rounds} masks over {parameters:,} words; the bare loop of AES-128 in counter mode takes "
            f"{1e9 * bare / parameters:.2f} ns a word.",
        )
    }


def kahe_client(*, quick: bool) -> Mapping[str, Reading]:
    """Time clients from their float32 update to their upload, and the transforms that nobody avoids."""
    parameters, clients = (BATCH * N, 10) if quick else (1_000_000, 40)
    values, polynomials = (inputs(parameters) / BOUND).astype(np.float32), -(-parameters // N)
    codec = codec_of(values)
    params = plan("kahe", clients, codec.length)
    server, sessions = before_upload(params)
    points = np.ones((BATCH, HALF), np.complex128)
    requests = iter([(sessions[number], server.request_for(client(number))) for number in params.cohort])

    def upload() -> None:
        session, request = next(requests)
        session.submit(codec.encode({"update": values}, weight=1.0).vector)
        session.respond(request)

    taken = take_turns(
        {
            "upload": upload,
            "transforms": lambda: transform_pairs(points, polynomials),
            "quantising": lambda: codec.encode({"update": values}, weight=1.0),
        },
        clients,
    )
    spent, floor, quantising = (
        Spread.of([1e9 * one / parameters for one in taken[name]]) for name in ("upload", "transforms", "quantising")
    )
    detail = (
        f"{clients} uploads of {parameters:,} parameters in words, {agreed_masking(params).degree} neighbours; from "
        f"float32 to the message, of which quantising is {quantising.median:.2f} ns a parameter; the transforms alone "
        f"take {floor.median:.2f}."
    )
    return {
        "ns": Reading(spread=spent, detail=detail),
        "ratio": Reading(spread=Spread.of_ratios(taken["upload"], taken["transforms"]), detail=detail),
    }


def kahe_server(*, quick: bool) -> Mapping[str, Reading]:
    """Play sessions with more and more drop-outs."""
    parameters, clients = (10_000, 20) if quick else (1_000_000, 1000)
    vector = inputs(parameters)
    readings = {}
    for dropout in DROPOUTS:
        played = ServersSession(
            plan("kahe", clients, parameters, dropout=max(DROPOUTS)), vector, _dropped(clients, dropout)
        )
        readings[figure_of(dropout)] = Reading(
            spread=played.ratio,
            detail=f"a session of {clients} clients and {parameters:,} parameters in words, {dropout:.0%} of them "
            f"gone before the upload: {played.along_the_model_s:.3f} s of CPU, {1e3 * played.opening_s:.1f} ms of "
            f"them for reading the sum.",
        )
    return readings


def kahe_key_phase(*, quick: bool) -> Mapping[str, Reading]:
    """Play sessions with and without drop-outs in turn; the vector is short, as key phases do not depend on it."""
    parameters, clients, rounds = (N, 20, 1) if quick else (N, 1000, 3)
    vector, dropout, costs, pairs = inputs(parameters), max(DROPOUTS), [], 0
    for _ in range(rounds):
        without, beside = (
            ServersSession(plan("kahe", clients, parameters, dropout=dropout), vector, _dropped(clients, some))
            for some in (0.0, dropout)
        )
        costs.append(key_phase_us(without, beside))
        pairs = beside.pairs
    return {
        "us": Reading(
            spread=Spread.of(costs),
            detail=f"Unmask of {clients} clients, {dropout:.0%} of them gone ({pairs} pairs with a neighbour that "
            f"stayed), beyond what as many survivors cost in a session that nobody left; sessions in turn, {rounds} of "
            f"each.",
        )
    }


def figure_of(dropout: float) -> str:
    """Return the name of the figure of `kahe_server` at this fraction of drop-outs."""
    return f"dropout {dropout:g}"


def _dropped(clients: int, dropout: float) -> list[int]:
    return [int(n) for n in np.random.default_rng(round(100 * dropout)).permutation(clients)[: int(clients * dropout)]]
