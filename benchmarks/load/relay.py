"""Bad lines between clients and a coordinator: sockets that are cut, that are slow, that flap."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial

import numpy as np

_PIECE_BYTES = 16 * 1024


@dataclass
class Fate:
    """What becomes of a client's connections.

    Attributes:
        cuts: once uploads have begun, the connection is cut when so many bytes, all connections together, have gone up.
        away: whether nobody is let through any more after the last cut.
        bytes_per_s: most that goes up; None: any.
        flaps_s: each connection is cut after a time between these two; None: it is not.
        made: how often it was cut.
        up: bytes that went up.
        down: bytes that came down.
    """

    cuts: list[int] = field(default_factory=list)
    away: bool = False
    bytes_per_s: float | None = None
    flaps_s: tuple[float, float] | None = None
    made: int = 0
    up: int = 0
    down: int = 0
    since: int = 0


def fates_of(cast, answer_bytes):
    """Draw what becomes of everybody's lines.

    Args:
        cast: who is what.
        answer_bytes: length of an upload.
    """
    chance, fates = np.random.default_rng((cast.seed, 3)), {}

    def point():
        return int(answer_bytes * chance.uniform(0.02, 0.98))

    for number in cast.of("returning"):
        fates[number] = Fate(cuts=sorted(point() for _ in range(chance.integers(1, 4))))
    for number in cast.of("away"):
        fates[number] = Fate(cuts=[point()], away=True)
    for number in cast.of("slow"):
        fates[number] = Fate(bytes_per_s=1e6)
    for number in cast.of("flapping"):
        fates[number] = Fate(bytes_per_s=2e6, flaps_s=(0.3, 1.0))
    return fates


def relay(port, fates, seed, pipe):
    """Carry bytes, until the pipe says "stop"; from "open" on uploads are cut. Says which port is whose, at last how
    it went."""
    asyncio.run(_relay(port, fates, seed, pipe))


async def _relay(port, fates, seed, pipe):
    loop, lines, servers, ports = asyncio.get_running_loop(), _Lines(port, seed), [], {}
    for number, fate in fates.items():
        servers.append(await asyncio.start_server(partial(lines.carry, fate), "127.0.0.1", 0))
        ports[number] = servers[-1].sockets[0].getsockname()[1]
    pipe.send(ports)
    while (said := await loop.run_in_executor(None, pipe.recv)) != "stop":
        assert said == "open"
        lines.opened.set()
    pipe.send({number: {"cuts": fate.made, "up": fate.up, "down": fate.down} for number, fate in fates.items()})
    for server in servers:
        server.close()


class _Lines:
    """All lines to one coordinator."""

    def __init__(self, port, seed):
        self._port, self._chance = port, np.random.default_rng((seed, 4))
        self.opened = asyncio.Event()

    async def carry(self, fate, near_in, near_out):
        """Carry one connection to its end, whichever it is."""
        ends = [near_out]
        try:
            if fate.away and not fate.cuts:
                return  # gone for good
            far_in, far_out = await asyncio.open_connection("127.0.0.1", self._port)
            ends.append(far_out)
            ways = {
                asyncio.ensure_future(_up(near_in, far_out, fate, self.opened)),
                asyncio.ensure_future(_down(far_in, near_out, fate)),
            }
            lasts = None if fate.flaps_s is None else self._chance.uniform(*fate.flaps_s)
            done, going = await asyncio.wait(ways, timeout=lasts, return_when=asyncio.FIRST_COMPLETED)
            fate.made += fate.flaps_s is not None and not done
            for way in going:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            for end in ends:
                end.transport.abort()  # whatever was under way


async def _up(source, sink, fate, opened):
    while piece := await source.read(_PIECE_BYTES):
        if opened.is_set() and fate.cuts and fate.since + len(piece) >= fate.cuts[0]:
            piece = piece[: max(0, fate.cuts.pop(0) - fate.since)]
            fate.since += len(piece)
            fate.made += 1
            sink.write(piece)
            await sink.drain()
            return
        sink.write(piece)
        await sink.drain()
        fate.up += len(piece)
        if opened.is_set():
            fate.since += len(piece)
        if fate.bytes_per_s is not None:
            await asyncio.sleep(len(piece) / fate.bytes_per_s)


async def _down(source, sink, fate):
    while piece := await source.read(_PIECE_BYTES):
        sink.write(piece)
        await sink.drain()
        fate.down += len(piece)
