"""A secure mean over pipes: a server, and five clients in processes of their own, one of which dies on the way."""

import hashlib
import os
import time
from contextlib import suppress
from multiprocessing import connection, get_context

import numpy as np

import privfl

ROUND, MODEL = 7, {"weight": np.zeros((20, 5), np.float32), "bias": np.zeros(5, np.float32)}
CODEC = privfl.UpdateCodec(layout=privfl.Layout.of(MODEL), coding=privfl.FixedPoint(clip=1.0, bits=16), weight_max=1000)


def context() -> bytes:  # what the sum is about: every party computes it from what it has itself
    agreed = [f"{CODEC}, round {ROUND}".encode(), *(array.tobytes() for array in MODEL.values())]
    return hashlib.sha256(b"".join(agreed)).digest()


def train(number: int) -> tuple[dict[str, np.ndarray], int]:  # yours; here an update is made up, and its weight
    rng = np.random.default_rng(number)
    return {name: rng.normal(0, 0.1, array.shape) for name, array in MODEL.items()}, 100 + 10 * number


def run_client(number: int, pipe: connection.Connection) -> None:
    params = privfl.SessionParams.from_bytes(pipe.recv_bytes())
    if params.context != context():
        raise SystemExit(f"client {number} was invited to another model, encoding or round than its own")
    session = privfl.suite("kahe").client(params, number, policy=privfl.ClientPolicy(minimum_contributors=3))
    update, weight = train(number)
    session.submit(CODEC.encode(update, weight=weight).vector)
    with suppress(EOFError, OSError):  # the server hangs up
        while True:
            pipe.send_bytes(session.respond(pipe.recv_bytes()))


def hold_phase(server: privfl.ServerSession, pipes: dict[privfl.PartyId, connection.Connection], end: float) -> None:
    for party in server.waiting & pipes.keys():
        with suppress(OSError):  # it is gone, and will not answer
            pipes[party].send_bytes(server.request_for(party))
    while (due := {pipes[party]: party for party in server.waiting & pipes.keys()}) and time.monotonic() < end:
        for pipe in connection.wait(due, timeout=end - time.monotonic()):
            try:
                server.receive(due[pipe], pipe.recv_bytes())
            except privfl.RemoteProtocolError as error:  # as good as silent, unless a better answer comes in time
                print(f"not taken: {error}")
            except (EOFError, OSError):
                del pipes[due[pipe]]
    server.advance()  # whoever has not answered has dropped out


def main() -> dict[str, np.ndarray]:
    spec = privfl.VectorSpec(length=CODEC.length, bound=CODEC.bound)
    threat = privfl.ThreatModel(server=privfl.ServerModel.HONEST_BUT_CURIOUS, corrupt=0.2, dropout=0.2)
    params = privfl.plan_session(
        "kahe", cohort=(0, 1, 2, 3, 4), vector=spec, threat=threat, nonce=os.urandom(16), context=context()
    )
    server, pipes, processes = privfl.suite("kahe").server(params), {}, {}
    for number in params.cohort:
        pipes[privfl.client(number)], theirs = get_context("spawn").Pipe()
        processes[number] = get_context("spawn").Process(target=run_client, args=(number, theirs), daemon=True)
        processes[number].start()
        theirs.close()  # so that the end of the process is the end of the pipe
        pipes[privfl.client(number)].send_bytes(params.to_bytes())
    while server.phase is not privfl.Phase.FINISHED:
        if server.phase is privfl.Phase.MASKED_INPUT:
            processes[3].kill()  # it has shared its keys, and will not upload
        hold_phase(server, pipes, end=time.monotonic() + 60)
    mean = CODEC.decode(server.result.vector, contributors=server.result.contributors)
    print(f"{server.result.contributors} clients, weight {mean.weight:.0f}, bias {mean.arrays['bias']}")
    return mean.arrays


if __name__ == "__main__":
    main()
