"""Flower's SecAgg+ and privfl's `masking` side by side: the same clients, parameters and resolution, in one run.

Run with `make bench-kernels`. Eleven clients on the complete graph, so that each has ten neighbours, and 1,000,000
parameters. Both sides clip at 8, resolve 2^22 steps and weigh by examples of at most 1000: Flower's defaults. Times
are CPU times of the process, so that other processes do not count, with one worker. (The pool in which Flower combines
shares counts as if it were one thread, which it is: Python's lock is held throughout.) Every figure is a median of
repetitions in which both sides take turns, call by call: a drifting machine drifts under both, and each finds the
caches as the other left them. Both means are checked: work left out would leave masks in.

How to read the figures of the server: most of what Flower spends on a survivor goes into combining all eleven shares of
its seed in Python, whatever the model's length, and one mask costs it about 1.7 ms; so these ratios hold for this
length and this number of neighbours only.
"""

import os
import statistics
import time
from unittest import mock

import numpy as np
import pytest
from sessions import PARAMETERS, seconds, sized

from privfl import FixedPoint, Layout, Phase, UpdateCodec, VectorSpec, WireForm, client, plan_session, suite

pytest.importorskip("flwr", reason="the peer to compare with is not installed")

from privfl.bench.peers import flower_secagg
from privfl.bench.peers.flower_secagg import FlowerSession, masked_record, parameters_of, record_bytes

COHORT = tuple(range(11))
DROPPED = 5  # in the middle: half of its masks are to be added, half to be taken away
EXAMPLES = 400  # of at most 1000
SESSIONS = sized(5, 1)
CLIENT_GOAL, SERVER_GOAL = 5, 15

WIRES = list(WireForm)  # how masked vectors travel; every measurement is made once for each


class PrivflSession:
    """privfl's side of a session, opened up to MaskedInput; requests are made beforehand, so as not to be timed."""

    def __init__(self, codec, wire):
        params = plan_session(
            "masking",
            cohort=COHORT,
            vector=VectorSpec(length=codec.length, bound=codec.bound),
            wire=wire,
            nonce=os.urandom(16),
            context=bytes(32),
        )
        assert params.setting.degree == len(COHORT) - 1
        self.threshold = params.setting.threshold
        self.server = suite("masking").server(params)
        self.clients = [suite("masking").client(params, number, remember_response=False) for number in COHORT]
        for _ in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS):
            for number in COHORT:
                self.receive(number, self.clients[number].respond(self.request(number)))
            self.server.advance()
        self.requests = [self.request(number) for number in COHORT]

    def request(self, number):
        return self.server.request_for(client(number))

    def receive(self, number, response):
        self.server.receive(client(number), response)

    def mask(self, number, vector):
        self.clients[number].submit(vector)
        return self.clients[number].respond(self.requests[number])

    def unmask_answers(self, survivors):
        """Close the uploads; return what every survivor says to Unmask."""
        self.server.advance()
        assert self.server.phase is Phase.UNMASK
        return {number: self.clients[number].respond(self.request(number)) for number in survivors}


@pytest.fixture(scope="module")
def update():
    return np.random.default_rng(0).normal(0, 0.1, PARAMETERS).astype(np.float32)


@pytest.fixture(scope="module")
def codec(update):
    return UpdateCodec(layout=Layout.of({"update": update}), coding=FixedPoint(clip=8.0, bits=22), weight_max=1000.0)


@pytest.fixture(scope="module")
def vector(codec, update):
    return codec.encode({"update": update}, weight=EXAMPLES).vector


@pytest.fixture(params=WIRES, ids=str)
def wire(request):
    return request.param


def without_quantisation(quantised):
    """Within this context, `FlowerSession.mask` finds its update quantised already: masking alone is left.

    Nothing below these three functions changes their result in place, so it serves any number of calls.
    """
    return mock.patch.multiple(
        flower_secagg.mod,
        parameters_to_ndarrays=lambda _parameters: [],
        parameters_multiply=lambda arrays, _ratio: arrays,
        quantize=lambda _arrays, _clip, _range: quantised,
    )


def report(benchmark, what, flower, privfl, goal=None):
    ratio = flower / privfl
    benchmark.extra_info[what] = {"flower_s": flower, "privfl_s": privfl, "ratio": ratio}
    wanted = f" (goal: at least {goal})" if goal else ""
    print(f"\n{what}: Flower {flower * 1e3:.1f} ms, privfl {privfl * 1e3:.2f} ms: {ratio:.1f} ×{wanted}", end="")


@pytest.mark.benchmark(group="against Flower: privfl's client answers MaskedInput", timer=time.process_time)
def test_client_mask_stage(benchmark, codec, update, vector, wire):
    peer = FlowerSession.opened(len(COHORT), PrivflSession(codec, wire).threshold)
    parameters, quantised = parameters_of(update), peer.quantised(update, EXAMPLES)
    whole, masking = [], []
    for _ in range(SESSIONS):
        own = PrivflSession(codec, wire)
        for number in COHORT:
            flower = seconds(peer.mask, number, parameters, EXAMPLES)
            encoding = seconds(lambda: codec.encode({"update": update}, weight=EXAMPLES))
            answering = seconds(own.mask, number, vector)
            with without_quantisation(quantised):
                flower_masking = seconds(peer.mask, number, parameters, EXAMPLES)
            whole.append((flower, encoding + answering))
            masking.append((flower_masking, answering))
    report(benchmark, f"client mask stage ({wire})", *medians(whole), CLIENT_GOAL)
    report(benchmark, f"client mask stage without quantisation ({wire})", *medians(masking))

    own, numbers = PrivflSession(codec, wire), iter(COHORT)
    theirs = record_bytes(masked_record(peer.mask(0, parameters, EXAMPLES)))
    ours = len(PrivflSession(codec, wire).mask(0, vector))
    benchmark.extra_info["upload"] = {"flower_bytes": theirs, "privfl_bytes": ours}
    print(f"\nupload of one client ({wire}): Flower {theirs:,} bytes, privfl {ours:,} bytes: {theirs / ours:.2f} ×")
    benchmark.pedantic(own.mask, setup=lambda: ((next(numbers), vector), {}), rounds=len(COHORT))


@pytest.mark.benchmark(group="against Flower: privfl's server takes a MaskedInput", timer=time.process_time)
def test_server_work_for_a_survivor(benchmark, codec, update, vector, wire):
    parameters = parameters_of(update)
    both_parts, unmasking = [], []
    for _ in range(SESSIONS):
        own = PrivflSession(codec, wire)
        peer = FlowerSession.opened(len(COHORT), own.threshold)
        adding = []
        for number in COHORT:
            masked, frame = peer.mask(number, parameters, EXAMPLES), own.mask(number, vector)
            adding.append((seconds(peer.receive, masked), seconds(own.receive, number, frame)))
        peer.close_uploads()
        shares, answers = peer.collect_shares(COHORT, ()), own.unmask_answers(COHORT)
        for number, (flower, privfl) in zip(COHORT, adding, strict=True):
            if number == COHORT[0]:  # the first vector becomes Flower's sum, unadded
                continue
            flower_unmasking = seconds(peer.unmask_survivor, shares[number])
            privfl_unmasking = seconds(own.receive, number, answers[number])
            unmasking.append((flower_unmasking, privfl_unmasking))
            both_parts.append((flower + flower_unmasking, privfl + privfl_unmasking))
        peer.unmask_survivor(shares[COHORT[0]])
        own.receive(COHORT[0], answers[COHORT[0]])
        check_means(peer, own, codec, update, contributors=len(COHORT))
    report(benchmark, f"server, for each survivor ({wire})", *medians(both_parts))
    report(benchmark, f"server, unmasking for each survivor ({wire})", *medians(unmasking), SERVER_GOAL)
    print()

    own = PrivflSession(codec, wire)
    frames = iter([(number, own.mask(number, vector)) for number in COHORT])
    benchmark.pedantic(own.receive, setup=lambda: (next(frames), {}), rounds=len(COHORT))


@pytest.mark.benchmark(group="against Flower: privfl's server takes an Unmask beside a dropped client")
def test_server_work_for_a_dropped_client(benchmark, codec, update, vector, wire):
    """privfl's work is spread over the neighbours' answers: those with a dropped client in them cost that much more."""
    parameters = parameters_of(update)
    survivors = [number for number in COHORT if number != DROPPED]
    costs = []
    for _ in range(SESSIONS):
        complete, own = PrivflSession(codec, wire), PrivflSession(codec, wire)
        peer = FlowerSession.opened(len(COHORT), own.threshold)
        for number in COHORT:
            complete.receive(number, complete.mask(number, vector))
        for number in survivors:
            own.receive(number, own.mask(number, vector))
            peer.receive(peer.mask(number, parameters, EXAMPLES))
        peer.close_uploads()
        usual, answers = complete.unmask_answers(COHORT), own.unmask_answers(survivors)
        shares = peer.collect_shares(survivors, [DROPPED])
        flower = seconds(peer.unmask_dropped, DROPPED, shares[DROPPED])
        extra = 0.0
        for number in survivors:
            extra -= seconds(complete.receive, number, usual[number])
            extra += seconds(own.receive, number, answers[number])
        costs.append((flower, extra))
        for number in survivors:
            peer.unmask_survivor(shares[number])
        check_means(peer, own, codec, update, contributors=len(survivors))
    report(benchmark, f"server, for each dropped client ({wire})", *medians(costs), SERVER_GOAL)
    print()

    own = PrivflSession(codec, wire)
    for number in survivors:
        own.receive(number, own.mask(number, vector))
    answers = iter(own.unmask_answers(survivors).items())
    benchmark.pedantic(own.receive, setup=lambda: (next(answers), {}), rounds=len(survivors))


def medians(pairs):
    return [statistics.median(side) for side in zip(*pairs, strict=True)]


def check_means(peer, own, codec, update, *, contributors):
    own.server.advance()
    step = 16 / 2**22 / (EXAMPLES / 1000)  # of the mean: all weigh the same
    mean = codec.decode(own.server.result.vector, contributors=contributors).arrays["update"]
    assert np.abs(mean - update).max() < step
    assert np.abs(peer.mean(contributors) - update).max() < 2 * step
