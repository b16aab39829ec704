"""Pipes: connections on this machine, joined by a network of messages that may lose some."""

import asyncio
import contextlib
import os

import pytest

pytest.importorskip("paho", reason="needs paho: pip install 'privfl[mqtt]'")

from privfl.integrations.mqtt.frames import Way
from privfl.integrations.mqtt.pipe import READ_AHEAD_BYTES, Pipe
from privfl.integrations.mqtt.stream import WINDOW_BYTES

NAME = bytes(range(16))


class Ends:
    """Two pipes, and for each the far end of the connection that it serves."""

    def __init__(self, loses=()):
        self.loses, self.passed, self.bytes = set(loses), 0, 0
        self.up = Pipe(NAME, Way.UP, lambda message: self._carry(self.down, message))
        self.down = Pipe(NAME, Way.DOWN, lambda message: self._carry(self.up, message))
        self.wrong = []

    def _carry(self, pipe, message):
        self.passed += 1
        self.bytes += len(message)
        if self.passed not in self.loses:
            asyncio.get_running_loop().call_soon(self._arrive, pipe, message)

    def _arrive(self, pipe, message):
        if wrong := pipe.received(message):
            self.wrong.append(wrong)

    async def __aenter__(self):
        self.jobs, self.far = [], []
        for pipe in (self.up, self.down):
            connected = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(
                lambda *both, connected=connected: connected.set_result(both), "127.0.0.1", 0, limit=READ_AHEAD_BYTES
            )
            self.far.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
            self.jobs.append(asyncio.create_task(pipe.run(*await connected)))
            server.close()
        return self

    async def __aexit__(self, *_):
        for _, writer in self.far:
            writer.transport.abort()
        async with asyncio.timeout(10):
            await asyncio.gather(*self.jobs)


async def pour(writer, much):
    with contextlib.suppress(ConnectionError):
        writer.write(much)
        await writer.drain()


async def all_of(reader):
    with contextlib.suppress(ConnectionError):
        return await reader.read()


def test_megabytes_pass_both_ways_at_once_and_all_of_them_before_the_end():
    async def scene():
        sent = os.urandom(3_000_000), os.urandom(2_000_000)
        async with Ends() as ends, asyncio.timeout(60):
            (first, to_first), (second, to_second) = ends.far
            pouring = [asyncio.create_task(pour(*each)) for each in ((to_first, sent[0]), (to_second, sent[1]))]
            assert await second.readexactly(len(sent[0])) == sent[0]
            assert await first.readexactly(len(sent[1])) == sent[1]
            await asyncio.gather(*pouring)
            to_first.write(b"the last words")
            to_first.close()
            assert await second.read() == b"the last words"
            assert not ends.wrong

    asyncio.run(scene())


@pytest.mark.parametrize("lost", [1, 2, 3, 7, 20])
def test_a_message_that_is_lost_ends_both_connections_and_no_wrong_byte_comes_out(lost):
    async def scene():
        sent = os.urandom(2_000_000)
        async with Ends(loses=[lost]) as ends, asyncio.timeout(10):
            (first, to_first), (second, _) = ends.far
            pouring = asyncio.create_task(pour(to_first, sent))
            came = await asyncio.gather(second.read(), first.read(), return_exceptions=True)
            await pouring
            if isinstance(came[0], bytes):
                assert sent.startswith(came[0])
                assert len(came[0]) < len(sent)
            assert ends.wrong

    asyncio.run(scene())


def test_a_loss_that_nothing_follows_is_noticed_all_the_same(monkeypatch):
    monkeypatch.setattr("privfl.integrations.mqtt.pipe.PROBE_S", 0.2)

    async def scene():
        async with Ends() as ends, asyncio.timeout(10):
            (first, to_first), (second, to_second) = ends.far
            to_first.write(b"a request")
            assert await second.readexactly(9) == b"a request"
            ends.loses = range(ends.passed + 1, ends.passed + 2)
            to_second.write(b"the answer")
            assert not await all_of(first)
            assert ends.wrong == ["1 frames of a stream are missing"]

    asyncio.run(scene())


def test_guarantee_1_no_more_than_the_window_is_held_for_a_slow_reader():
    async def scene():
        async with Ends() as ends, asyncio.timeout(60):
            (_, to_first), (second, _) = ends.far
            pouring = asyncio.create_task(pour(to_first, bytes(50_000_000)))
            held, seen = 0, -1
            while seen != ends.passed:  # until nothing moves
                seen = ends.passed
                await asyncio.sleep(0.2)
                held = max(held, sum(map(len, ends.down._inbox)))
            assert 0 < held <= WINDOW_BYTES
            assert ends.bytes < 30_000_000  # what has passed lies in the kernel's buffers, which are as they are
            assert len(await second.readexactly(40_000_000)) == 40_000_000
            pouring.cancel()

    asyncio.run(scene())


def test_a_reset_ends_both_connections_at_once():
    async def scene():
        async with Ends() as ends, asyncio.timeout(60):
            (first, to_first), (second, _) = ends.far
            to_first.write(b"hello")
            assert await second.readexactly(5) == b"hello"
            ends.down.reset()
            await asyncio.gather(all_of(first), all_of(second))
            assert not ends.wrong
            ends.up.reset()
            assert ends.down.received(b"garbage") is None

    asyncio.run(scene())
