"""The matrix: what is measured, in turns; what is left out beforehand; results that survive a kill."""

import argparse
import json
import math
import statistics
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from privfl import ConfigurationError, ServerModel, WireForm
from privfl.bench import forecast, jobs, matrix, program
from privfl.bench.cells import Cell, cells
from privfl.bench.contenders import PeerContender, Session, Turn
from privfl.bench.forecast import Forecast, why_not
from privfl.bench.matrix import costs, measure_cell, measure_peer, take_turns
from privfl.bench.metered import MeteredClient, MeteredServer
from privfl.bench.peers import peers
from privfl.bench.program import Program, carry_out
from privfl.bench.store import CELLS, COMMAND, GOALS, JOBS, Store
from privfl.bench.turns import MOST_TURNS, Repeats
from privfl.bench.updates import Clear, Error, Updates, encoding_of, make_update
from privfl.cli import bench
from privfl.cli.bench_plans import program_of
from privfl.learning.privacy_job import PrivacyMode

SMALL = Cell(suite="masking", clients=6, parameters=500, dropout=0.2)
NOISY = (PrivacyMode.CLIENT_CENTRAL, PrivacyMode.CLIENT_DISTRIBUTED)


# Updates


def test_an_update_is_the_same_for_every_suite_and_another_for_every_client():
    first = make_update(3, 1000)
    assert (first.dtype, first.shape) == (np.float32, (1000,))
    assert np.array_equal(first, make_update(3, 1000))
    assert not np.array_equal(first, make_update(4, 1000))
    assert -1 <= first.min() < -0.9 < 0.9 < first.max() <= 1


def test_a_clear_mean_comes_back():
    encoding = Clear(200)
    updates = Updates(encoding, 200)
    vectors = [updates(number) for number in range(5)]
    assert np.array_equal(updates.total, np.sum(vectors, axis=0, dtype=np.int64))
    assert len(updates.encode_cpu_s) == 5
    exact = np.mean([make_update(number, 200) for number in range(5)], axis=0)
    assert np.abs(encoding.decode(updates.total, 5, 0.0) - exact).max() < 2**-15


@pytest.mark.parametrize("mode", NOISY)
def test_a_private_mean_comes_back_with_noise(mode):
    encoding = encoding_of(mode, 300, 10, 0.1, 0.1)
    updates = Updates(encoding, 300)
    for number in range(10):
        assert np.abs(updates(number)).max() <= encoding.vector.bound
    norms = [make_update(number, 300) for number in range(10)]
    exact = np.mean([update / np.linalg.norm(update) for update in norms], axis=0)
    first, again = (encoding.decode(updates.total, 10, 0.0) for _ in range(2))
    off = first - exact
    # z = 1 over a clip of 1 and ten clients: 0.1 a coordinate; shares for eight honest ones make √(10/8) of that.
    assert 0.07 < off.std() < 0.16
    # Where the server draws the noise, it draws it anew.
    assert np.array_equal(first, again) == (mode is PrivacyMode.CLIENT_DISTRIBUTED)


def test_noise_that_is_the_trainings_is_not_a_sessions():
    with pytest.raises(ConfigurationError, match=r"--privacy is 'example'.*--jobs"):
        encoding_of(PrivacyMode.EXAMPLE, 300, 10, 0.1, 0.1)


# Turns


class Scripted:
    """Something whose sessions cost what a test says."""

    def __init__(self, *client_s):
        self.costs, self.played = list(client_s), 0

    def turn(self):
        self.played += 1
        return turn(self.costs[(self.played - 1) % len(self.costs)])


def turn(client_s, **changes):
    usual = {
        "client_cpu_s": client_s, "encode_cpu_s": 0.0, "server_cpu_s": 2 * client_s, "decode_cpu_s": 0.0,
        "upload_bytes": 40, "download_bytes": 8, "contributors": 4, "error": Error(largest=0.0, std=0.0),
    }  # fmt: skip
    return Turn(**usual | changes)


def test_ratios_are_formed_turn_by_turn_and_their_median_reported():
    pairs = [(turn(own), turn(plain)) for own, plain in ((2, 1), (30, 10), (4, 1), (6, 2), (100, 1))]
    told = costs(pairs)
    assert told["client_ratio_to_plain"] == told["ratio_to_plain"] == 3
    assert told["spread"]["client_ratio_to_plain"] == [3, 4]
    assert told["client_cpu_s"] == statistics.median([2, 30, 4, 6, 100])
    assert told["repeat"] == 5
    whole = turn(1.0, committee_cpu_s=5.0)
    assert whole.cpu_s == 4 * 1.0 + 2.0 + 5.0


def test_a_moment_that_slows_one_call_of_a_turn_is_left_out_though_every_turn_has_one():
    """As on a machine that is shared, where no session of some seconds is free of them."""
    slow = [[1, 1, 1, 1, 9], [1, 9, 1, 1, 1], [9, 1, 1, 1, 1]]
    pairs = [
        (turn(sum(calls), server_cpu_s=sum(calls), client_calls_s=calls, server_calls_s=calls[::-1]), turn(1.0))
        for calls in slow
    ]
    told = costs(pairs)
    assert (told["client_cpu_s"], told["client_ratio_to_plain"]) == (5, 5)
    assert (told["server_cpu_s"], told["server_ratio_to_plain"]) == (5, 2.5)
    assert math.isclose(told["ratio_to_plain"], (4 * 5 + 5) / turn(1.0).cpu_s)
    assert told["spread"]["client_ratio_to_plain"] == [5, 13]  # whole turns, and what is reported
    like = costs([(pair, pair) for pair, _ in pairs])
    assert like["ratio_to_plain"] == like["client_ratio_to_plain"] == like["server_ratio_to_plain"] == 1
    peer = costs([(turn(26.0), pair) for pair, _ in pairs])  # whose calls nobody knows: the same is done to both sides
    assert peer["client_ratio_to_plain"] == 2
    pairs[0] = (turn(13, client_calls_s=[4, 9]), turn(1.0))  # calls that are not those of the others
    assert costs(pairs)["client_cpu_s"] == 13


@pytest.mark.parametrize("suite", ["plain", "kahe"])
def test_pieces_of_a_session_add_up_to_what_it_cost(suite):
    played = Session(Cell(suite=suite, clients=5, parameters=2000, dropout=0.2)).turn()
    assert math.isclose(sum(played.client_pieces()), played.client_cpu_s)
    assert math.isclose(sum(played.server_pieces()), played.server_cpu_s)
    assert math.isclose(sum(played.pieces()), played.cpu_s)
    assert len(played.client_calls_s) > 4  # and the encoding
    assert len(played.server_calls_s) > 8


def test_beside_a_long_session_the_middle_of_several_of_the_baseline_counts():
    short, long = Scripted(3.0, 1.0, 2.0, 5.0, 4.0), Scripted(3.0, 1.0, 2.0, 5.0, 4.0)
    assert len(matrix._beside(short, 0.1)) == 1
    assert matrix._middle(matrix._beside(long, 1e6)).client_cpu_s == 2.0
    assert long.played == 4
    assert matrix._middle([turn(cpu_s) for cpu_s in (3.0, 1.0, 2.0, 5.0, 4.0)]).client_cpu_s == 3.0


def test_around_a_long_session_there_are_sessions_of_the_baseline(monkeypatch):
    order = []
    monkeypatch.setattr(matrix, "Session", lambda *_: Named("plain", order))
    monkeypatch.setattr(matrix, "_LONG_S", -1.0)
    monkeypatch.setattr(matrix, "_MOST_BESIDE", 2)
    monkeypatch.setattr(matrix, "_BESIDE", 1e9)
    take_turns(Named("own", order), SMALL.baseline, Repeats(least=3))
    assert order == ["own", "plain", *["plain", "plain", "own", "plain", "plain"] * 3]


def test_who_goes_first_changes_from_turn_to_turn(monkeypatch):
    order = []
    made = []

    def session(*arguments):
        made.append(arguments)
        return Named("plain", order)

    monkeypatch.setattr(matrix, "Session", session)
    take_turns(Named("own", order), SMALL.baseline, Repeats(least=4), workers=3)
    assert made == [(SMALL.baseline, 3)]  # as many threads as its contender
    assert order == ["own", "plain"] + ["own", "plain", "plain", "own"] * 2  # the first of both warm up


def test_a_long_session_that_warms_up_counts_as_a_turn(monkeypatch):
    order = []
    monkeypatch.setattr(matrix, "Session", lambda *_: Named("plain", order))
    monkeypatch.setattr(matrix, "_COUNTING_S", -1.0)
    assert len(take_turns(Named("own", order), SMALL.baseline, Repeats(least=3))) == 3
    # The first of `plain` warms up.
    assert order == ["own", "plain", "plain", "plain", "own", "own", "plain"]


class Named:
    def __init__(self, name, order):
        self.name, self.order = name, order

    def turn(self):
        self.order.append(self.name)
        return turn(1.0)


def test_where_sessions_are_short_more_are_held_but_not_for_ever():
    quick = Scripted(1.0)
    assert len(take_turns(quick, None, Repeats(least=2))) == 2
    assert len(take_turns(quick, None, Repeats(least=2, least_s=60))) == MOST_TURNS
    assert len(take_turns(quick, None, Repeats(least=MOST_TURNS + 5, least_s=60))) == MOST_TURNS + 5


def test_where_sessions_are_long_fewer_are_held_but_one_is():
    assert len(take_turns(Scripted(1.0), None, Repeats(least=5, most_s=0.0))) == 1
    allowed = Repeats(least=5, least_s=8.0, most_s=10.0)
    assert [allowed.another(4, 9.9), allowed.another(4, 10.0), allowed.another(5, 7.9), allowed.another(5, 8.0)] == [
        True,
        False,
        True,
        False,
    ]
    assert [allowed.expected_s(turn_s) for turn_s in (0.1, 1.0, 1.8, 4.0, 60.0)] == [3.0, 8.0, 9.0, 14.0, 70.0]


@pytest.mark.parametrize("privacy", [PrivacyMode.NONE, *NOISY])
@pytest.mark.parametrize("suite", ["plain", "masking", "kahe"])
def test_a_cells_record_is_whole_and_its_mean_exact(suite, privacy):
    record = measure_cell(replace(SMALL, suite=suite, privacy=privacy), Repeats(least=1))
    assert json.loads(json.dumps(record)) == record
    assert (record["suite"], record["privacy"], record["kind"]) == (suite, privacy.value, "suite")
    assert record["max_abs_error"] == 0
    assert 0 < record["encode_cpu_s"] < record["client_cpu_s"]
    assert 0 < record["decode_cpu_s"] < record["server_cpu_s"]
    assert record["contributors"] == 5
    assert record["client_peak_bytes"] > 0
    same = suite == "plain" and privacy is PrivacyMode.NONE
    assert (record["ratio_to_plain"] == 1) == same


def test_the_active_model_and_packed_vectors_are_measured():
    record = measure_cell(replace(SMALL, server=ServerModel.ACTIVE, wire=WireForm.PACKED), Repeats(least=1))
    assert "ConsistencyCheck" in record["phases"]
    assert (record["wire"], record["server"]) == ("packed", "active")


def test_a_peers_record_has_the_keys_of_a_suites_and_says_what_does_not_apply():
    (float32,) = peers(["float32"])
    own = measure_cell(SMALL, Repeats(least=1))
    record = measure_peer(PeerContender(float32, SMALL.baseline), Repeats(least=2))
    assert own.keys() <= record.keys()
    assert record["kind"] == "peer"
    assert record["server_peak_bytes"] is record["promised_error_std_of_mean"] is None
    assert record["upload_bytes"] == 5 * 500 * 4
    assert record["ratio_to_plain"] > 0


def test_a_session_that_aborts_is_an_error_that_names_the_flags(monkeypatch):
    monkeypatch.setattr(Cell, "dropped", lambda _cell: frozenset(range(5)))
    with pytest.raises(ConfigurationError, match=r"--dropout 0\.2 with --clients 6 aborts under masking"):
        Session(SMALL).turn()


# Memory


class Hoard:
    """A party that keeps and returns so many bytes."""

    def __init__(self, kept, returned):
        self.kept, self.store, self.returned = kept, [], returned

    def request_for(self, _party):
        return self._work()

    respond = request_for

    def _work(self):
        self.store.append(bytearray(self.kept))
        passing = bytearray(3 * self.kept)
        return bytes(len(passing) and self.returned)


@pytest.mark.parametrize("metered", [MeteredServer, MeteredClient])
def test_what_a_party_keeps_adds_up_and_what_it_sends_does_not(metered):
    kept, sent, calls = 100_000, 50_000, 5
    tracemalloc.start()
    try:
        party = metered(lambda: Hoard(kept, sent))
        call = party.request_for if metered is MeteredServer else party.respond
        for _ in range(calls):
            call(None)
    finally:
        tracemalloc.stop()
    assert party.held_bytes == pytest.approx(calls * kept, rel=0.01)
    # In the last call: what is kept, and for a moment three times as much, and the message.
    assert party.peak_bytes == pytest.approx(calls * kept + 3 * kept + sent, rel=0.01)


# What is left out beforehand


def test_a_cell_that_does_not_fit_says_so_before_it_starts(monkeypatch):
    monkeypatch.setattr(forecast, "slowness", lambda: 1.0)
    monkeypatch.setattr(forecast, "free_bytes", lambda: 2**30)
    huge = replace(SMALL, clients=1000, parameters=100_000_000)
    assert "of memory, and 1.0" in why_not(huge, Repeats(least=1)).replace("1.07", "1.0")
    monkeypatch.setattr(forecast, "free_bytes", lambda: None)
    assert "it would take about" in why_not(huge, Repeats(least=1))
    assert why_not(SMALL, Repeats(least=5)) is None


def test_what_grows_takes_longer_and_more():
    small = forecast.forecast(SMALL, Repeats(least=5))
    assert isinstance(small, Forecast)
    for change in ({"clients": 600}, {"parameters": 500_000}):
        larger = forecast.forecast(replace(SMALL, **change), Repeats(least=5))
        assert larger.seconds > small.seconds
        assert larger.memory_bytes > small.memory_bytes
    assert forecast.forecast(SMALL, Repeats(least=50)).seconds > small.seconds


def test_what_cannot_be_measured_is_left_out_with_the_reason_and_the_rest_is_measured(monkeypatch):
    monkeypatch.setattr(program, "why_not", lambda cell, _repeats: "too large" if cell.parameters > 1000 else None)
    monkeypatch.setattr(jobs, "why_not", lambda: "training needs torch: pip install it")
    (flower,) = peers(["flower"])
    monkeypatch.setattr(type(flower), "available", lambda _peer: False)
    monkeypatch.setattr(type(flower), "refuse", lambda _peer, *_: None)
    large = replace(SMALL, parameters=2000)
    asked = Program(cells=[SMALL, large], peers=[(flower, SMALL.baseline)], jobs=jobs.CASES)
    feasible = asked.feasible()
    assert (feasible.cells, feasible.peers, feasible.jobs) == ([SMALL], [], [])
    assert dict(feasible.skipped) == {
        str(large): "too large",
        "flower-secagg+": f"'flwr' is not installed: {flower.install}",
        "training jobs": "training needs torch: pip install it",
    }


def test_a_quick_answer_has_noise_and_peers_at_the_last_drop_out_alone():
    parser = argparse.ArgumentParser()
    bench.register(parser.add_subparsers())
    quick = program_of(parser.parse_args(["bench", "--quick"]))
    assert {cell.dropout for cell in quick.cells if cell.privacy is PrivacyMode.NONE} == {0.0, 0.1}
    assert {cell.dropout for cell in quick.cells if cell.privacy is not PrivacyMode.NONE} == {0.1}
    assert {cell.dropout for _, cell in quick.peers} == {0.1}
    assert {cell.baseline for cell in quick.cells} <= set(quick.cells)  # what ratios are of is there, too
    assert quick.repeats == Repeats(least=3, most_s=2.5)


def test_every_cell_has_a_name_of_its_own():
    modes = [PrivacyMode.NONE, *NOISY]
    suites = ["plain", "masking", "kahe"]
    matrix_of = cells(suites, [5, 6], [100, 200], [0.0, 0.2], wires=list(WireForm), privacy=modes)
    assert len({str(cell) for cell in matrix_of}) == len(matrix_of) == 2 * 2 * 2 * 3 * 5


# Results on disk


def test_guarantee_1_of_stores_a_run_that_was_killed_goes_on_where_it_was(tmp_path):
    chosen = Program(cells=[SMALL, replace(SMALL, suite="plain")], repeats=Repeats(least=1))
    store = Store.begin(tmp_path / "b", ["--suites", "masking"])
    begun = []
    for name, _record in carry_out(chosen, store, begun.append):
        assert name == CELLS
        break  # the process is gone
    with (tmp_path / "b" / CELLS).open("ab") as file:
        file.write(b'{"cell": "half a li')
    again, arguments = Store.resume(tmp_path / "b")
    assert arguments == ["--suites", "masking"]
    assert len(again.records(CELLS)) == 1
    begun.clear()
    list(carry_out(chosen, again, begun.append))
    assert begun == [str(chosen.cells[1])]
    lines = (tmp_path / "b" / CELLS).read_text().splitlines()
    assert [json.loads(line)["cell"] for line in lines] == [str(cell) for cell in chosen.cells]


def test_guarantee_2_of_stores_results_of_two_machines_are_not_mixed(tmp_path):
    Store.begin(tmp_path / "b", [])
    path = tmp_path / "b" / COMMAND
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"machine": said["machine"] | {"date": "2001-01-01"}}))
    Store.resume(tmp_path / "b")
    path.write_text(json.dumps(said | {"machine": said["machine"] | {"numpy": "1.0"}}))
    with pytest.raises(ConfigurationError, match="measured with another numpy"):
        Store.resume(tmp_path / "b")


@pytest.mark.parametrize("name", [CELLS, GOALS, JOBS, COMMAND])
def test_results_are_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(ConfigurationError, match="holds results already"):
        Store.begin(tmp_path, [])


def test_what_is_no_directory_of_results_is_not_gone_on_with(tmp_path):
    with pytest.raises(ConfigurationError, match="holds no results"):
        Store.resume(tmp_path)
    Store.begin(tmp_path / "b", [])
    (tmp_path / "b" / CELLS).write_text("3\n")
    with pytest.raises(ConfigurationError, match="holds a line that is no record"):
        Store.resume(tmp_path / "b")
