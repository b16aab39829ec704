"""Runs under `ckks` whose clients, and the committee among them, are elsewhere."""

import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from harness import identity_of
from test_consortium_learning import COORDINATOR, PRIVATE, ROSTER, TABLE, greeting_of, take_part

from privfl.dp.ledger import read_ledger
from privfl.errors import ConfigurationError, MissingExtra
from privfl.integrations.consortium import Participant
from privfl.integrations.consortium.coordinator import DistantClients, Patience
from privfl.integrations.consortium.trainee import Trainee
from privfl.integrations.home import PartyHome
from privfl.learning.job import job_from_table
from privfl.learning.rounds import FederatedRun
from privfl.params import DEFAULT_PRECISION, CommitteeShape
from privfl.roster import Credentials
from privfl.simulate import roster_of

pytest.importorskip("torch", reason="the built-in models need PyTorch")
SEATS = (4, 1, 3)
COMMITTEE = roster_of({seat: identity_of(client) for seat, client in enumerate(SEATS)})
CKKS = TABLE | {
    "suite": "ckks",
    "threat": {"corrupt": 0.2, "dropout": 0.2},
    "committee": {"members": 3, "threshold": 2},
}


def distant(table, *, committee=COMMITTEE, **patience):
    patience = Patience(**{"phase_s": 20, "upload_s": 60, "gather_s": 30} | patience)
    return DistantClients(
        job_from_table(table),
        run=os.urandom(16),
        identity=COORDINATOR,
        roster=ROSTER,
        patience=patience,
        committee=committee,
    )


def run_with(folder, table, *, numbers=range(5), out=None, observe=None, work=Trainee, **patience):
    """Hold a run with clients in threads; return it, and who declined why."""
    clients, declined = distant(table, **patience), []
    run = FederatedRun(job_from_table(table), out=out, identity=COORDINATOR, elsewhere=clients)
    threads = []
    for number in numbers:
        home = folder / f"client-{number}"
        home.mkdir(mode=0o700)
        opened = replace(
            PartyHome.open(home),
            identity=identity_of(number),
            credentials=Credentials(identity_of(number), ROSTER),
            committee=COMMITTEE,
        )
        one = Participant(opened, number, work(number))
        threads.append(threading.Thread(target=take_part, args=(clients.hall, one, number, declined)))
    for thread in threads:
        thread.start()
    try:
        for row in run:
            if observe is not None:
                observe(row)
    finally:
        clients.hall.close("over")
        for thread in threads:
            thread.join()
    return run, declined


def test_a_distant_run_comes_to_the_model_of_a_simulated_one_within_the_error_of_ckks(tmp_path):
    table = CKKS | {"rounds": 1}
    run, declined = run_with(tmp_path, table)
    simulated = FederatedRun(job_from_table(table))
    list(simulated)
    assert not declined
    assert [row.contributors for row in run.metrics] == [5]
    # Both means are off, each by a standard deviation of so much of full scale, which is the clip, 1: beyond eight of
    # them once in 10^14 coordinates, and the model has 1,554.
    bound = 8 * np.sqrt(2) * DEFAULT_PRECISION
    off = [np.abs(run.weights[name] - array).max() for name, array in simulated.weights.items()]
    assert 0 < max(off) < bound
    assert max(np.abs(array).max() for array in run.weights.values()) > 1000 * bound


def test_one_key_serves_as_many_rounds_as_it_has_openings(tmp_path):
    run, declined = run_with(tmp_path, CKKS | {"rounds": 3, "committee": CKKS["committee"] | {"openings": 2}})
    assert not declined
    assert [row.contributors for row in run.metrics] == [5] * 3
    first, second, third = (row.committee_bytes for row in run.metrics)
    assert first == third > 2 * second > 0
    assert run.metrics[-1].accuracy > 0.9


def test_a_private_run_charges_every_round_before_it_is_opened(tmp_path):
    table = CKKS | {"privacy": PRIVATE}
    run, declined = run_with(tmp_path, table, out=tmp_path / "out")
    assert not declined
    ledger = read_ledger(tmp_path / "out" / "ledger.jsonl")
    assert [charge.round for charge in ledger.charges] == [1, 2]
    assert ledger.closed["epsilon"] == pytest.approx(run.metrics[-1].epsilon)


def test_without_enough_of_the_committee_nobody_trains(tmp_path):
    trained = []

    class Watched(Trainee):
        def vector(self, step, params, model, context):
            trained.append(step.round)
            return super().vector(step, params, model, context)

    numbers = [number for number in range(5) if number not in SEATS[:2]]
    table = CKKS | {"rounds": 1, "cohort": {"minimum": 2}}
    run, _ = run_with(tmp_path, table, numbers=numbers, work=Watched, gather_s=1)
    (row,) = run.metrics
    assert row.aborted
    assert "1 members of the committee are there and 2 are needed" in row.aborted_because
    assert trained == []


def test_a_committee_that_loses_its_shares_makes_another_key(tmp_path):
    def lose(row):
        if row.round == 1:
            for seat in (0, 1):
                for path in (tmp_path / f"client-{SEATS[seat]}" / "shares").iterdir():
                    path.unlink()

    run, declined = run_with(tmp_path, CKKS | {"rounds": 3}, observe=lose)
    assert [row.aborted for row in run.metrics] == [False, True, False]
    assert "1 members of the committee are there and 2 are needed" in run.metrics[1].aborted_because
    assert run.metrics[2].contributors == 5
    assert {(number, "no share of" in why) for number, why in declined} == {(SEATS[0], True), (SEATS[1], True)}


def test_a_member_that_drops_out_costs_nobody_anything(tmp_path):
    """Two of three are enough, in the ceremony and after it."""
    table = CKKS | {"rounds": 1}
    numbers = [number for number in range(5) if number != SEATS[0]]
    run, declined = run_with(tmp_path, table, numbers=numbers, gather_s=1, phase_s=6)
    assert not declined
    assert [row.contributors for row in run.metrics] == [4]


@pytest.mark.parametrize(
    ("committee", "why"),
    [
        (None, r"--committee committee\.json"),
        (roster_of({0: identity_of(0), 1: identity_of(1)}), "exactly the members 0 to 2 work"),
        (roster_of({1: identity_of(0), 2: identity_of(1), 3: identity_of(2)}), "exactly the members 0 to 2 work"),
        (roster_of({0: identity_of(0), 1: identity_of(1), 2: identity_of(50)}), "member 2 of the committee is none"),
    ],
)
def test_a_coordinator_has_to_know_who_sits_on_the_committee(committee, why):
    with pytest.raises(ConfigurationError, match=why):
        distant(CKKS, committee=committee)


def test_a_coordinator_without_tenseal_says_so_before_anybody_has_begun(monkeypatch):
    def missing(_modulus):
        raise MissingExtra("ckks", "tenseal")

    clients = distant(CKKS)
    monkeypatch.setattr("privfl.ckks.seal.seal_ring", missing)
    with pytest.raises(MissingExtra, match="tenseal"):
        FederatedRun(job_from_table(CKKS), elsewhere=clients)


def test_a_committees_key_is_made_as_the_job_says():
    trainee = Trainee(0)
    trainee.enter(greeting_of(CKKS))
    epoch = trainee._part.key_epoch
    trainee.check_key(epoch)
    for other in (
        replace(epoch, committee=CommitteeShape(members=3, threshold=3, openings=epoch.committee.openings)),
        replace(epoch, committee=replace(epoch.committee, openings=epoch.committee.openings + 1)),
        replace(epoch, committee=CommitteeShape(members=1, threshold=1, openings=epoch.committee.openings)),
        replace(epoch, statistical_bits=epoch.statistical_bits + 1),
        replace(epoch, clients=epoch.clients + 1),
    ):
        with pytest.raises(ConfigurationError, match="this job's sums take"):
            trainee.check_key(other)
    trainee.enter(greeting_of(TABLE))
    with pytest.raises(ConfigurationError, match="no committee opens"):
        trainee.check_key(epoch)
