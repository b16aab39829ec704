"""Whole sessions through a hall and participants in threads: sums are exact, whoever drops out or is killed."""

import threading

import numpy as np
import pytest
from consortium_harness import (
    Clock,
    Life,
    TinyWork,
    context_of,
    end,
    exact_sum,
    greeting,
    hold_with,
    make_order,
    make_session,
)
from harness import ACTIVE, HONEST, make_vectors

from privfl import BudgetExceeded, Phase, ThreatModel
from privfl.integrations.consortium import Hall
from privfl.integrations.consortium.attempt import UNTOLD

SUITES = {
    "plain": ("plain", HONEST),
    "masking": ("masking", HONEST),
    "kahe": ("kahe", HONEST),
    "active-masking": ("masking", ACTIVE),
}
PHASES = {
    "plain": [Phase.UPLOAD],
    "masking": [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK],
    "kahe": [Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK],
    "active-masking": [
        Phase.ADVERTISE_KEYS,
        Phase.SHARE_KEYS,
        Phase.MASKED_INPUT,
        Phase.CONSISTENCY_CHECK,
        Phase.UNMASK,
    ],
}
EVERY_DROP = [(name, phase) for name, phases in PHASES.items() for phase in phases]


def threat_of(name):
    return ThreatModel(corrupt=0.1, dropout=0.15, server=SUITES[name][1])


class Consortium:
    """A hall with seven clients."""

    def __init__(self, folder, name, *, works=None, **lives):
        self.name = name
        self.clock = Clock()
        self.hall = Hall(greeting(), clients=range(7), clock=self.clock)
        self.folder = folder
        self.params, self.server = make_session(SUITES[name][0], threat=threat_of(name))
        self.vectors = make_vectors(self.params)
        self.works = works or {number: TinyWork(self.vectors[number]) for number in range(7)}
        self.lives = [
            Life(self.hall, folder / f"client-{number}", number, self.works[number], **self._of(lives, number))
            for number in range(7)
        ]

    @staticmethod
    def _of(lives, number):
        return {key: told[number] for key, told in lives.items() if number in told}

    def hold(self, **options):
        return hold_with(self.hall, self.clock, make_order(self.params, self.server), self.lives, **options)

    def again(self, round_number):
        """The next session, of another round."""
        params, server = make_session(SUITES[self.name][0], threat=threat_of(self.name), round_number=round_number)
        order = make_order(params, server, round=round_number)
        return hold_with(self.hall, self.clock, order, self.lives)


@pytest.mark.parametrize("name", SUITES)
def test_the_sum_is_exact_and_so_are_the_books(tmp_path, name):
    consortium = Consortium(tmp_path, name)
    asked = []
    outcome = consortium.hold(before_opening=asked.append)
    end(consortium.hall, consortium.lives)
    assert outcome.aborted is None
    assert outcome.contributors == tuple(range(7))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, range(7)))
    assert asked == [7]
    assert list(outcome.phases) == PHASES[name]
    for phase, traffic in outcome.phases.items():
        records = [record for record in outcome.messages if record.phase == phase]
        assert traffic.upload_bytes == sum(record.size_bytes for record in records) > 0
        assert traffic.download_bytes > 0
    assert len({(record.client, record.phase) for record in outcome.messages}) == len(outcome.messages)
    assert not outcome.failures
    assert [work.trained for work in consortium.works.values()] == [1] * 7


@pytest.mark.parametrize(("name", "phase"), EVERY_DROP)
def test_the_sum_is_over_who_answered_wherever_a_client_falls_silent(tmp_path, name, phase):
    consortium = Consortium(tmp_path, name, silent_from={3: phase})
    outcome = consortium.hold()
    end(consortium.hall, consortium.lives)
    early = phase in {Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UPLOAD}
    contributors = tuple(number for number in range(7) if number != 3 or not early)
    assert outcome.aborted is None
    assert outcome.contributors == contributors
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, contributors))


@pytest.mark.parametrize("name", SUITES)
def test_clients_that_are_killed_around_every_delivery_lose_nothing(tmp_path, name):
    consortium = Consortium(tmp_path, name, mortal=dict.fromkeys(range(7), True))
    outcome = consortium.hold()
    end(consortium.hall, consortium.lives)
    assert outcome.contributors == tuple(range(7))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, range(7)))
    assert [work.trained for work in consortium.works.values()] == [1] * 7
    for life in consortium.lives:
        assert len(list((life.folder / "sessions").iterdir())) == 1


def test_sessions_come_one_after_another_and_leave_one_file(tmp_path):
    consortium = Consortium(tmp_path, "kahe")
    assert consortium.hold().aborted is None
    second = consortium.again(2)
    end(consortium.hall, consortium.lives)
    assert np.array_equal(second.aggregate.vector, exact_sum(consortium.vectors, range(7)))
    for life in consortium.lives:
        assert len(list((life.folder / "sessions").iterdir())) == 1


def test_a_client_that_declines_is_not_waited_for_and_its_reason_is_written_down(tmp_path):
    consortium = Consortium(tmp_path, "kahe")
    consortium.works[2]._fails = {"charge": BudgetExceeded("0.123 of it is left")}
    outcome = consortium.hold()  # no clock is turned: nobody is silent
    end(consortium.hall, consortium.lives)
    assert outcome.contributors == (0, 1, 3, 4, 5, 6)
    assert outcome.failures == {2: f"declined: {UNTOLD}"}
    assert consortium.works[2].trained == 0


def test_a_client_that_is_shown_another_model_takes_no_part_and_the_others_sum(tmp_path):
    consortium = Consortium(tmp_path, "masking")

    class Elsewhere(TinyWork):
        def context(self, step, model):
            return context_of(step.terms, model + b"!", step.round)

    consortium.works[5] = consortium.lives[5].participant._work = Elsewhere(consortium.vectors[5])
    outcome = consortium.hold()
    end(consortium.hall, consortium.lives)
    assert outcome.contributors == (0, 1, 2, 3, 4, 6)
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, outcome.contributors))
    assert "another model" in outcome.failures[5]
    assert consortium.works[5].trained == 0


def test_too_few_is_an_outcome_and_nothing_is_opened(tmp_path):
    consortium = Consortium(tmp_path, "kahe", silent_from=dict.fromkeys(range(5), Phase.MASKED_INPUT))
    asked = []
    outcome = consortium.hold(before_opening=asked.append)
    end(consortium.hall, consortium.lives)
    assert (outcome.aggregate, outcome.contributors, asked) == (None, (), [])
    assert outcome.aborted


class Liar(threading.Thread):
    """Sends what nobody asked for, as one client, as fast as it can."""

    def __init__(self, hall, number):
        super().__init__(daemon=True)
        self.hall, self.number, self.stop, self.unexpected = hall, number, threading.Event(), []

    def run(self):
        from privfl import PrivflError

        kept = b""
        while not self.stop.is_set():
            view = self.hall.snapshot()
            for phase in ("Unmask", "Upload", str(view.phase), "x\ny"):
                for body in (b"", b"PVFL", kept, bytes(2000)):
                    try:
                        self.hall.answer(self.number, kept[:16] or bytes(16), phase, body)
                    except PrivflError:
                        pass
                    except Exception as error:  # noqa: BLE001 - that is the finding
                        self.unexpected.append(error)
            offer = self.hall.offer(self.number)
            kept = getattr(offer, "session", kept)


@pytest.mark.parametrize("name", ["plain", "kahe"])
def test_a_liar_costs_nobody_but_itself_anything(tmp_path, name):
    consortium = Consortium(tmp_path, name)
    lives = [life for life in consortium.lives if life.number != 6]
    liar = Liar(consortium.hall, 6)
    liar.start()
    outcome = hold_with(consortium.hall, consortium.clock, make_order(consortium.params, consortium.server), lives)
    liar.stop.set()
    end(consortium.hall, lives)
    assert not liar.unexpected
    assert outcome.contributors == tuple(range(6))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(consortium.vectors, range(6)))
    assert set(outcome.failures) == {6}
