"""What clients keep of their updates: it is there again after a crash, each its own, or a sentence says what is not."""

import json
import os
import stat

import numpy as np
import pytest
from crasher import Machine, Manner

from privfl.errors import ConfigurationError
from privfl.learning.residuals import Residuals

CLIENTS, LENGTH = 4, 5
CONTRIBUTORS = {1: {0, 1, 2}, 2: {0, 3}, 3: set(), 4: {1, 2, 3}, 5: {0, 1}}
"""By round. In the third nothing is released."""


def value(round_number, client):
    return np.full(LENGTH, 100 * round_number + client, np.float32)


def do(residuals, round_number):
    """A round, up to its checkpoint: everybody trains, and starts from what it has."""
    for client in range(CLIENTS):
        residuals.stage(round_number, client, value(round_number, client))
    residuals.settle(round_number, CONTRIBUTORS[round_number])


def due(rounds):
    """What everybody has then, worked out from who was in which sum."""
    latest = {client: number for number in range(1, rounds + 1) for client in CONTRIBUTORS[number]}
    return [value(latest[client], client).tolist() if client in latest else None for client in range(CLIENTS)]


def held(residuals):
    return [None if residuals.of(one) is None else residuals.of(one).tolist() for one in range(CLIENTS)]


def files(out):
    return sorted(path.name for path in (out / "clients").iterdir())


def run(out, checkpoint):
    """Be one process: go on from the checkpoint, a list that the disk holds, to the last round."""
    residuals = Residuals(out, CLIENTS, LENGTH)
    if checkpoint:
        done, state = json.loads(checkpoint[-1])
        residuals.restore(state, done)
    else:
        done = 0
    assert held(residuals) == due(done)
    for number in range(done + 1, len(CONTRIBUTORS) + 1):
        do(residuals, number)
        checkpoint.append(json.dumps([number, residuals.state()]))
        residuals.saved(number)
    return residuals


@pytest.mark.parametrize("on_disk", [True, False])
def test_guarantee_3_only_whose_update_is_in_a_sum_has_another_residual(on_disk, tmp_path):
    residuals = Residuals(tmp_path if on_disk else None, CLIENTS, LENGTH)
    assert held(residuals) == [None] * CLIENTS
    for number in CONTRIBUTORS:
        do(residuals, number)
        assert held(residuals) == due(number)
        residuals.saved(number)
    assert (tmp_path / "clients").exists() == on_disk


def test_what_was_staged_for_another_round_is_dropped():
    residuals = Residuals(None, CLIENTS, LENGTH)
    residuals.stage(1, 0, value(1, 0))
    residuals.settle(2, {0})
    assert held(residuals) == [None] * CLIENTS
    residuals.settle(1, {0})
    assert held(residuals) == [None] * CLIENTS


def test_a_residual_is_its_client_s_own_and_nobody_changes_it():
    residuals, mine = Residuals(None, CLIENTS, LENGTH), value(1, 0)
    residuals.stage(1, 0, mine)
    residuals.settle(1, {0})
    with pytest.raises(ValueError, match="read-only"):
        residuals.of(0)[0] = 1
    assert residuals.of(1) is None


@pytest.mark.parametrize(
    ("client", "array"),
    [(4, value(1, 0)), (-1, value(1, 0)), (0, np.zeros(LENGTH)), (0, np.zeros(LENGTH + 1, np.float32))],
)
def test_what_is_no_residual_is_refused(client, array):
    with pytest.raises(ConfigurationError, match=r"float32 of shape \(5,\) works"):
        Residuals(None, CLIENTS, LENGTH).stage(1, client, array)


def test_a_file_for_each_client_and_none_of_long_ago(tmp_path):
    run(tmp_path, [])
    assert files(tmp_path) == [
        "0000.residual-000005.npz", "0001.residual-000005.npz", "0002.residual-000004.npz", "0003.residual-000004.npz"
    ]  # fmt: skip


def test_guarantee_4_nobody_else_reads_them(tmp_path):
    (tmp_path / "clients").mkdir()
    beside = tmp_path / "clients" / ".0000.residual-000005.npz.new"
    beside.write_bytes(b"of a process that died")
    beside.chmod(0o644)
    run(tmp_path, [])
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "clients").iterdir()} == {0o600}


def test_guarantee_1_wherever_a_process_ends_the_next_one_finds_what_its_checkpoint_knows(tmp_path, monkeypatch):
    """At every step, in every manner; `run` looks at what it finds. A checkpoint is on disk when it is appended."""
    # The machine counts on its own what is on disk, and nobody else asks.
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    with Machine(tmp_path) as machine:
        run(tmp_path / "whole", [])
    assert len(machine.steps) > 40
    for dies_at in range(1, len(machine.steps) + 1):
        for manner in Manner:
            root, checkpoint = tmp_path / f"{dies_at}-{manner.name}", []
            root.mkdir()
            with Machine(root, dies_at=dies_at, manner=manner) as dying:
                run(root / "run", checkpoint)
            assert dying.dead
            assert held(run(root / "run", checkpoint)) == due(len(CONTRIBUTORS))
            # None is left but those of long ago that it was about to remove when it died.
            left = set(files(root / "run")) - set(files(tmp_path / "whole"))
            assert not left or dying.steps[-1].startswith("unlink"), (dying.steps[-1], left)


def test_a_process_that_only_looks_removes_nothing(tmp_path):
    """Another one may be at work: what is of no use goes when the next round is settled."""
    residuals = Residuals(tmp_path, CLIENTS, LENGTH)
    for number in (1, 2):
        do(residuals, number)
        residuals.saved(number)
    state = residuals.state()
    do(residuals, 4)  # a round whose checkpoint was never written
    before = files(tmp_path)
    resumed = Residuals(tmp_path, CLIENTS, LENGTH)
    resumed.restore(state, 2)
    assert held(resumed) == due(2)
    assert files(tmp_path) == before
    (tmp_path / "clients" / "0001.pem").write_bytes(b"a key, and no residual")
    do(resumed, 5)
    resumed.saved(5)
    assert files(tmp_path) == [
        "0000.residual-000005.npz", "0001.pem", "0001.residual-000005.npz", "0002.residual-000001.npz",
        "0003.residual-000002.npz",
    ]  # fmt: skip


def test_a_run_without_a_checkpoint_takes_nothing_that_lies_there(tmp_path):
    do(Residuals(tmp_path, CLIENTS, LENGTH), 1)
    again = Residuals(tmp_path, CLIENTS, LENGTH)
    assert held(again) == [None] * CLIENTS
    do(again, 2)
    assert files(tmp_path) == ["0000.residual-000002.npz", "0003.residual-000002.npz"]


def test_a_run_that_goes_on_says_where_its_files_are(tmp_path):
    do(Residuals(tmp_path, CLIENTS, LENGTH), 1)
    resumed = Residuals(None, CLIENTS, LENGTH)
    with pytest.raises(ConfigurationError, match="no directory"):
        resumed.restore({"0": 1}, 1)
    resumed.keep_in(tmp_path)
    resumed.restore({"0": 1}, 1)
    assert held(resumed) == [value(1, 0).tolist(), None, None, None]


# What must be there


def torn(path):
    path.write_bytes(path.read_bytes()[:-9])


def turned(path):
    """One bit of one coordinate."""
    content = bytearray(path.read_bytes())
    content[content.index(value(1, 0).tobytes())] ^= 1
    path.write_bytes(content)


def of_another_client(path):
    path.write_bytes(path.with_name("0001.residual-000001.npz").read_bytes())


def of_another_round(path):
    other = Residuals(path.parent.parent / "other", CLIENTS, LENGTH)
    do(other, 2)
    path.write_bytes((path.parent.parent / "other/clients/0000.residual-000002.npz").read_bytes())


def longer(path):
    other = Residuals(path.parent.parent / "other", CLIENTS, LENGTH - 1)
    other.stage(1, 0, np.zeros(LENGTH - 1, np.float32))
    other.settle(1, {0})
    path.write_bytes((path.parent.parent / "other/clients/0000.residual-000001.npz").read_bytes())


DAMAGED = {
    "missing": (lambda path: path.unlink(), "is missing"),
    "torn": (torn, "is damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is damaged"),
    "a bit": (turned, "is damaged"),
    "another client's": (of_another_client, "is another client's or another round's"),
    "another round's": (of_another_round, "is another client's or another round's"),
    "another length": (longer, r"of shape \(4,\), where float32 of \(5,\) is due"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_guarantee_2_what_must_be_there_and_is_not_is_refused_by_name(what, tmp_path):
    residuals = Residuals(tmp_path, CLIENTS, LENGTH)
    do(residuals, 1)
    path = tmp_path / "clients" / "0000.residual-000001.npz"
    damage, told = DAMAGED[what]
    damage(path)
    resumed = Residuals(tmp_path, CLIENTS, LENGTH)
    with pytest.raises(ConfigurationError, match=told) as said:
        resumed.restore(residuals.state(), 1)
    assert str(said.value).startswith(f"{path} ")
    assert "put the file back, or start anew" in str(said.value)
    assert "\n" not in str(said.value)


@pytest.mark.parametrize(
    "state", [{"4": 1}, {"x": 1}, {"-1": 1}, {"0": 3}, {"0": 0}, {"0": "1"}, {"0": True}, {"9" * 5000: 1}, [1], None]
)
def test_a_state_that_is_none_is_refused(state, tmp_path):
    do(Residuals(tmp_path, CLIENTS, LENGTH), 1)
    with pytest.raises(ConfigurationError):
        Residuals(tmp_path, CLIENTS, LENGTH).restore(state, 2)
