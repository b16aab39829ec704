"""The ledger under crashes: at every call to the system, before it, halfway through it and after it.

A crash is a process that dies: no later call of it has any effect, no clean-up runs. What it left is resumed by the
next one. Whatever happens: no release without a charge, no charge lost, one charge too many at most.
"""

import itertools
import os
from contextlib import contextmanager, suppress

import pytest

from privfl.dp.budget import Budget
from privfl.dp.client_ledger import ClientLedger
from privfl.dp.events import Gaussian, Relation, Repeated
from privfl.dp.ledger import Ledger, Opening, read_ledger
from privfl.errors import LedgerError
from privfl.primitives.signatures import Identity
from privfl.testing import UnsafeFixedEntropy

OWNER = Identity.generate(UnsafeFixedEntropy(b"crashing ledgers"))
OPENING = Opening(unit="client", mode="client-central", budget=Budget(delta=1e-5, relation=Relation.ZERO_OUT))
EVENTS = [Repeated(event=Gaussian(noise_multiplier=1.1))]
CALLS = ("open", "write", "fsync", "link", "unlink", "ftruncate", "close")
ROUNDS = 3
MANNERS = ("before", "halfway", "after")


class Death(BaseException):
    """The process is gone."""


class Machine:
    """Lets a process make so many calls, and kills it at the next one; what it had open is closed by the system."""

    def __init__(self, monkeypatch):
        self._monkeypatch = monkeypatch
        self.calls = 0

    @contextmanager
    def process(self, *, dies_at=None, manner="before"):
        self.calls, dead, held = 0, False, set()

        def wrapped(name, real):
            def call(*arguments, **keywords):
                nonlocal dead
                if dead:
                    raise Death  # clean-up code of a dead process does nothing
                self.calls += 1
                dead = self.calls == dies_at
                if dead and manner == "before":
                    raise Death
                if dead and manner == "halfway" and name == "write":
                    arguments = (arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                answer = real(*arguments, **keywords)
                if name == "open":
                    held.add(answer)
                elif name == "close":
                    held.discard(arguments[0])
                if dead:
                    raise Death
                return answer

            return call

        with self._monkeypatch.context() as patched:
            for name in CALLS:
                patched.setattr(os, name, wrapped(name, getattr(os, name)))
            try:
                with suppress(Death):
                    yield
            finally:
                patched.undo()
                for descriptor in held:
                    os.close(descriptor)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def run(path, released):
    """Make the rounds that are left: charge, release, charge, ..."""
    ledger = Ledger.resume(path, OWNER) if path.exists() else Ledger.create(path, OPENING, OWNER)
    for number in range(len(released) + 1, ROUNDS + 1):
        ledger.charge(round=number, events=EVENTS)
        released.append(number)
    ledger.close({"rounds": ROUNDS})


def calls_of_a_whole_run(machine, path):
    with machine.process():
        run(path, [])
    path.unlink()
    return machine.calls


def consistent(path, released, crashes):
    """No release without a charge; no charge more than one a crash."""
    if not path.exists() or not path.read_bytes().endswith(b"\n"):
        return  # nothing was ever charged, or the last charge is torn: what the next process makes of it is seen then
    charges = [charge.round for charge in read_ledger(path, OWNER.public).charges]
    assert set(released) <= set(charges)
    assert len(released) <= len(charges) <= len(released) + crashes


@pytest.mark.parametrize("manner", MANNERS)
def test_a_crash_at_any_call_costs_one_charge_at_most_and_never_a_release_without_one(machine, tmp_path, manner):
    calls = calls_of_a_whole_run(machine, tmp_path / "whole.jsonl")
    assert calls >= 15
    for dies_at in range(1, calls + 1):
        path, released = tmp_path / f"{dies_at}.jsonl", []
        with machine.process(dies_at=dies_at, manner=manner):
            run(path, released)
        consistent(path, released, 1)
        with suppress(LedgerError):  # unless the closing record was the last thing that was written
            run(path, released)
        consistent(path, released, 1)
        contents = read_ledger(path, OWNER.public)
        assert contents.closed == {"rounds": ROUNDS}
        assert released == list(range(1, ROUNDS + 1))


def test_a_crash_while_a_crash_is_being_recovered_from_is_recovered_from(machine, tmp_path):
    whole = tmp_path / "whole.jsonl"
    with Ledger.create(whole, OPENING, OWNER) as ledger:
        ledger.charge(round=1, events=EVENTS)
        ledger.charge(round=2, events=EVENTS)
    torn = whole.read_bytes()[:-100]
    with machine.process():
        Ledger.resume(whole, OWNER)
    for manner in MANNERS:
        for dies_at in itertools.count(1):
            path, released = tmp_path / f"{manner}-{dies_at}.jsonl", [1]
            path.write_bytes(torn)
            with machine.process(dies_at=dies_at, manner=manner):
                run(path, released)
            consistent(path, released, 2)
            if machine.calls < dies_at:
                break
            with suppress(LedgerError):
                run(path, released)
            assert released == [1, 2, 3]
            assert read_ledger(path).closed is not None
            consistent(path, released, 2)


def test_two_crashes_in_a_row_cost_two_charges_at_most(machine, tmp_path):
    calls = calls_of_a_whole_run(machine, tmp_path / "whole.jsonl")
    for first, second in itertools.product(range(1, calls + 1, 2), range(1, calls + 1, 3)):
        path, released = tmp_path / f"{first}-{second}.jsonl", []
        for dies_at in (first, second):
            with machine.process(dies_at=dies_at, manner="halfway"), suppress(LedgerError):
                run(path, released)
            consistent(path, released, 2)
        with suppress(LedgerError):
            run(path, released)
        consistent(path, released, 2)
        assert read_ledger(path).closed is not None


@pytest.mark.parametrize("manner", MANNERS)
def test_a_client_that_crashes_at_any_call_has_charged_every_session_that_it_joined_once(machine, tmp_path, manner):
    budget = Budget(delta=1e-5, relation="zero-out")
    sessions = [bytes([number]) * 16 for number in range(ROUNDS)]

    def take_part(path, joined):
        ledger = ClientLedger.open(path, OWNER, budget)
        for session in sessions:
            if session not in joined:
                ledger.charge(session, bytes(32), EVENTS)
                joined.append(session)
        ledger.close()

    with machine.process():
        take_part(tmp_path / "whole.jsonl", [])
    for dies_at in range(1, machine.calls + 1):
        path, joined = tmp_path / f"{dies_at}.jsonl", []
        with machine.process(dies_at=dies_at, manner=manner):
            take_part(path, joined)
        take_part(path, joined)
        charged = [charge.facts["session"] for charge in read_ledger(path, OWNER.public).charges]
        assert charged == [session.hex() for session in sessions]
