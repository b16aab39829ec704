"""Who gets how much of a bridge: streams, and answers. No broker is needed: messages are given by hand."""

import asyncio
import os

import pytest

pytest.importorskip("paho", reason="needs paho: pip install 'privfl[mqtt]'")

from http_harness import make_hall
from mqtt_harness import opening, probe

from privfl.integrations.mqtt import Access, Bridge, Broker
from privfl.integrations.mqtt.bridge import LEAST_STREAMS, MOST_PER_USER
from privfl.integrations.mqtt.frames import Kind, Way

BROKER = Broker(host="broker.example")


class Bench(Bridge):
    """A bridge whose broker is a list."""

    def __init__(self, *, port=1, **options):
        self.now = 0.0
        access = Access(broker=BROKER, user="coordinator", context=None)
        super().__init__(make_hall(2), access, port=port, clock=lambda: self.now, **options)
        self.sent = []

    def publish(self, topic, payload, *, retain=False):
        del retain
        user, name = BROKER.stream_of(topic, Way.DOWN)
        self.sent.append((user, name, Kind(payload[0])))

    def opens(self, user):
        """Returns the stream's name."""
        name = os.urandom(16)
        self.came(BROKER.stream(Way.UP, user, name), opening(name), False)
        return name

    def of(self, user):
        return [name for each, name in self._pipes if each == user]

    def resets(self, user):
        return [name for each, name, kind in self.sent if each == user and kind is Kind.RESET]


def at_a_bench(test, **options):
    """Run a test with a bench whose listener takes everything and says nothing."""

    async def run():
        async def listen(reader, writer):
            await reader.read()
            writer.close()

        async with await asyncio.start_server(listen, "127.0.0.1", 0) as listener:
            bench = Bench(port=listener.sockets[0].getsockname()[1], **options)
            test(bench)
            bench.down()
            await asyncio.gather(*bench._jobs)

    asyncio.run(run())


def test_guarantee_1_strangers_with_all_streams_keep_nobody_out_who_has_fewer():
    def test(bench):
        early = bench.opens("client-0")
        strangers = {f"stranger-{each}": [] for each in range(LEAST_STREAMS // MOST_PER_USER)}
        for _ in range(MOST_PER_USER):
            for user, names in strangers.items():
                names.append(bench.opens(user))
        assert bench.streams == LEAST_STREAMS
        honest = [bench.opens("client-1") for _ in range(MOST_PER_USER - 1)]
        assert bench.streams == LEAST_STREAMS
        assert bench.of("client-1") == honest
        # The oldest went, each of another stranger: of those who had the most.
        for user in ("stranger-0", "stranger-1", "stranger-2", "stranger-3"):
            assert bench.resets(user) == strangers[user][:1]
        # Whatever they open now is at their own cost, or each other's.
        for _ in range(3):
            for user in strangers:
                bench.opens(user)
        assert bench.of("client-1") == honest
        assert bench.of("client-0") == [early]
        assert bench.resets("client-0") == bench.resets("client-1") == []
        assert bench.streams == LEAST_STREAMS
        assert bench.complaints.counts["full"] >= 3

    at_a_bench(test)


def test_guarantee_1_who_has_as_many_as_anybody_makes_room_at_the_own_cost():
    def test(bench):
        first, second, third = bench.opens("a"), bench.opens("b"), bench.opens("a")
        fourth = bench.opens("b")
        fifth = bench.opens("b")
        assert bench.of("a") == [first, third]
        assert bench.of("b") == [fourth, fifth]
        assert bench.resets("b") == [second]
        # A user that has none is not refused: of two who have the same, the older stream goes.
        sixth = bench.opens("c")
        assert bench.of("c") == [sixth]
        assert bench.resets("a") == [first]
        assert bench.streams == 4

    at_a_bench(test, streams=4)


def test_guarantee_2_who_sends_on_streams_of_the_past_does_not_use_up_others_answers():
    bench = Bench()
    for _ in range(200):
        name = os.urandom(16)
        bench.came(BROKER.stream(Way.UP, "mallory", name), probe(name, 7), False)
    assert 0 < len(bench.resets("mallory")) < 100
    name = os.urandom(16)
    bench.came(BROKER.stream(Way.UP, "alice", name), probe(name, 7), False)
    assert bench.resets("alice") == [name]
    before = len(bench.resets("mallory"))
    bench.now += 60
    bench.came(BROKER.stream(Way.UP, "mallory", name), probe(name, 7), False)
    assert len(bench.resets("mallory")) == before + 1


def test_guarantee_2_no_more_users_are_remembered_than_there_may_be():
    bench = Bench()
    for number in range(3000):
        name = os.urandom(16)
        bench.came(BROKER.stream(Way.UP, f"u{number}", name), probe(name, 7), False)
    assert len(bench._answers) <= 1024
