"""A model on disk: what is written is what is read, by its own version; everything else is one sentence."""

import io
import json
import random
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from loop_stubs import finished, job_of, same

from privfl.errors import ConfigurationError
from privfl.learning import checkpoint as module
from privfl.learning import load_model
from privfl.learning.books import job_digest
from privfl.learning.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint
from privfl.learning.job import job_to_toml
from privfl.learning.rounds import FederatedRun

WEIGHTS = {"layer.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "layer.bias": np.float32([-0.0, np.nan])}
WHOLE = Checkpoint(
    weights=WEIGHTS,
    round=3,
    metrics={"round": 3, "accuracy": 0.5},
    state={"version": 2},
    slots={"momentum": {name: array + 1 for name, array in WEIGHTS.items()}},
    job="ab" * 32,
)


def sentence(said):
    """What was said, which is one sentence of a readable length."""
    told = str(said.value)
    assert "\n" not in told
    assert len(told) < 400
    return told


def noted(path, **changes):
    """Write a checkpoint whose note says something else; None takes a key away."""
    save_checkpoint(path, WHOLE)
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    note = json.loads(str(arrays["__privfl__"])) | changes
    note = {key: value for key, value in note.items() if value is not None}
    np.savez(path, **arrays | {"__privfl__": np.array(json.dumps(note))})
    return path


def test_what_is_written_is_what_is_read(tmp_path):
    save_checkpoint(tmp_path / "model.npz", WHOLE)
    read = load_checkpoint(tmp_path / "model.npz")
    for left, right in ((read.weights, WEIGHTS), (read.slots["momentum"], WHOLE.slots["momentum"])):
        assert left.keys() == right.keys()
        assert all(left[name].tobytes() == right[name].tobytes() for name in left)
        assert all((left[name].dtype, left[name].shape) == (np.float32, right[name].shape) for name in left)
    for name in ("round", "metrics", "state", "job"):
        assert getattr(read, name) == getattr(WHOLE, name)
    read.weights["layer.bias"] += 1  # a model that was read is its reader's own


@pytest.mark.parametrize("given", [Path, str])
def test_a_model_loads_back_with_the_documented_call(given, tmp_path):
    run = finished(FederatedRun(job_of(rounds=2, evaluation={"select": "loss"}), out=tmp_path / "run"))
    loaded = load_model(given(tmp_path / "run" / "model.npz"))
    assert same(loaded, run.weights)
    assert {array.dtype for array in loaded.values()} == {np.dtype(np.float32)}
    assert same(load_model(given(tmp_path / "run" / "best.npz")), run.best.best_weights)


def test_loading_a_model_takes_no_extra(tmp_path):
    save_checkpoint(tmp_path / "model.npz", WHOLE)
    code = (
        "import sys; from privfl.learning import load_model; print(len(load_model(sys.argv[1])),"
        " [name for name in ('torch', 'sklearn', 'opacus', 'tenseal') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code, tmp_path / "model.npz"], capture_output=True, check=True)
    assert told.stdout.split() == [b"2", b"[]"]


# Other versions

OTHERS = {"newer": FORMAT + 1, "much newer": 10**9, "from before there were numbers": None}


@pytest.mark.parametrize("other", OTHERS)
def test_another_format_is_refused_with_what_was_found_and_what_works_and_its_arrays_are_read(other, tmp_path):
    number = OTHERS[other]
    path = noted(tmp_path / "model.npz", format=number, metrics=None, job=None)
    with pytest.raises(ConfigurationError) as said:
        load_checkpoint(path)
    told = sentence(said)
    assert told.startswith(f"{path} is of format {number or 1} ")
    assert f"from format {FORMAT} alone" in told
    assert load_model(path).keys() == WEIGHTS.keys()


def test_a_run_is_not_gone_on_with_from_another_format(tmp_path):
    job = job_of(rounds=2, audit={"probes": 0})
    going = iter(FederatedRun(job, out=tmp_path))
    next(going)
    going.close()
    written = (tmp_path / "model.npz").read_bytes()
    noted(tmp_path / "model.npz", format=FORMAT + 1)
    with pytest.raises(ConfigurationError) as said:
        FederatedRun.resume(tmp_path)
    assert f"is of format {FORMAT + 1}" in sentence(said)
    (tmp_path / "model.npz").write_bytes(written)
    assert len(finished(FederatedRun.resume(tmp_path)).metrics) == 2


# Other jobs


@pytest.fixture
def one_round(tmp_path):
    """A run that stopped behind its first round."""
    out = tmp_path / "run"
    going = iter(FederatedRun(job_of(rounds=3, audit={"probes": 0}), out=out))
    next(going)
    going.close()
    return out


@pytest.mark.parametrize(
    ("before", "after"),
    [("seed = 0", "seed = 1"), ("rounds = 3", "rounds = 4"), ('suite = "masking"', 'suite = "plain"')],
)
def test_a_job_that_was_changed_by_hand_is_named(one_round, before, after):
    text = (one_round / "job.toml").read_text()
    assert text.count(before) == 1
    (one_round / "job.toml").write_text(text.replace(before, after))
    metrics = (one_round / "metrics.jsonl").read_bytes()
    with pytest.raises(ConfigurationError) as said:
        FederatedRun.resume(one_round)
    assert "another job than the job.toml beside it: put that file back" in sentence(said)
    assert (one_round / "metrics.jsonl").read_bytes() == metrics
    (one_round / "job.toml").write_text(f"# a remark\n{text}")  # what it says is the same
    assert len(finished(FederatedRun.resume(one_round)).metrics) == 3


def test_another_run_s_model_is_refused(one_round, tmp_path):
    other = tmp_path / "other"
    finished(FederatedRun(job_of(rounds=3, seed=7, audit={"probes": 0}), out=other))
    (one_round / "model.npz").write_bytes((other / "model.npz").read_bytes())
    with pytest.raises(ConfigurationError, match=r"model\.npz .* belongs to another job"):
        FederatedRun.resume(one_round)


def test_both_models_name_their_job(tmp_path):
    job = job_of(rounds=2, evaluation={"select": "loss"}, audit={"probes": 0})
    finished(FederatedRun(job, out=tmp_path / "run"))
    assert load_checkpoint(tmp_path / "run" / "model.npz").job == job_digest(job)
    assert load_checkpoint(tmp_path / "run" / "best.npz").job == job_digest(job)


# Damage


def test_every_torn_file_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    save_checkpoint(path, WHOLE)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        for read in (load_checkpoint, load_model):
            with pytest.raises(ConfigurationError, match="is damaged") as said:
                read(path)
            sentence(said)


def test_a_missing_file_is_named(tmp_path):
    for read in (load_checkpoint, load_model):
        with pytest.raises(ConfigurationError, match=r"model\.npz does not exist"):
            read(tmp_path / "model.npz")
        with pytest.raises(ConfigurationError, match="is damaged"):
            read(tmp_path)


def test_a_file_with_bytes_changed_reads_as_before_or_is_refused(tmp_path):
    path, draw = tmp_path / "model.npz", random.Random(9)  # noqa: S311 - which bytes is no secret
    save_checkpoint(path, WHOLE)
    content, refused = path.read_bytes(), 0
    headers = [at.start() for at in re.finditer(rb"\x93NUMPY|'descr'|'shape'|\}", content)]
    for number in range(1000):
        changed = bytearray(content)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(changed)) if number % 2 else draw.choice(headers) + draw.randrange(20)
            changed[min(at, len(changed) - 1)] = draw.randrange(256)
        path.write_bytes(changed)
        try:
            loaded = load_model(path)
        except ConfigurationError as error:
            assert "\n" not in str(error)  # noqa: PT017 - both outcomes are right
            refused += 1
        else:
            for name in loaded.keys() & WEIGHTS.keys():
                assert loaded[name].tobytes() == WEIGHTS[name].tobytes()
    assert 500 < refused < 1000


NOTES = {
    "no note": [],
    "no number for its format": {"format": "2"},
    "a truth value for its format": {"format": True},
    "no round": {"round": None},
    "a word for its round": {"round": "3"},
    "another round's metrics": {"metrics": {"round": 2}},
    "no metrics": {"metrics": None},
    "a list of states": {"state": []},
    "a number for its job": {"job": 7},
}


@pytest.mark.parametrize("what", NOTES)
def test_a_note_that_is_none_is_refused(what, tmp_path):
    path = tmp_path / "model.npz"
    if what == "no note":
        np.savez(path, **WEIGHTS)
        assert load_model(path).keys() == WEIGHTS.keys()
    else:
        noted(path, **NOTES[what])
    with pytest.raises(ConfigurationError, match="is damaged") as said:
        load_checkpoint(path)
    sentence(said)


def header(shape, descr="<f4"):
    told = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(told)) + told


def archive_of(*members, packing=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def pickled():
    buffer = io.BytesIO()
    np.savez(buffer, w=np.array([{"a": 1}], dtype=object))
    return buffer.getvalue()


def lying(length):
    """An array that its archive says is there, and is not."""
    content = bytearray(archive_of(("w.npy", header(f"({length},)"))))
    size = struct.pack("<I", len(header("(1,)")) + 4 * length)
    entry = content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = 2 * size
    return bytes(content)


def nested():
    """An array whose bytes are another one of the archive as well: so many in one another would be a bomb."""
    inner = archive_of(("b.npy", header("(250,)") + bytes(1000)))
    record = inner[: inner.index(b"PK\x01\x02")]
    record += bytes(-len(record) % 4)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", header(f"({len(record) // 4},)") + record)
        with zipfile.ZipFile(io.BytesIO(inner)) as other:
            entry = other.getinfo("b.npy")
        entry.header_offset = buffer.getvalue().index(record)
        archive.filelist.append(entry)
    return buffer.getvalue()


HOSTILE = {
    "an array within another": nested(),
    "a length that is a lie": lying(10_000_000),
    "four bytes that were packed": archive_of(("w.npy", header("(1,)") + bytes(4)), packing=zipfile.ZIP_BZIP2),
    "a shape without its bytes": archive_of(("w.npy", header("(2147483647,)"))),
    "a shape beyond all bytes": archive_of(("w.npy", header("(9223372036854775807, 9)"))),
    "a negative shape": archive_of(("w.npy", header("(-5,)") + bytes(20))),
    "letters of a length": archive_of(("w.npy", header("(100,)", "<U99999999"))),
    "zeros that were packed": archive_of(("w.npy", header("(67108864,)") + bytes(2**28)), packing=zipfile.ZIP_DEFLATED),
    "objects": pickled(),
    "doubles": archive_of(("w.npy", header("(2,)", "<f8") + bytes(16))),
    "no array": archive_of(("w.npy", b"hello")),
    "one bracket": archive_of(("w.npy", header("((((((((("))),
    "a text": b"hello",
    "nothing": b"",
    "a plain array": header("(2,)") + bytes(8),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_guarantee_1_a_hostile_file_costs_no_more_than_its_length_and_is_refused(what, tmp_path):
    """And a pickle is not looked into."""
    path = tmp_path / "model.npz"
    path.write_bytes(HOSTILE[what])
    for read in (load_checkpoint, load_model):
        tracemalloc.start()
        try:
            with pytest.raises(ConfigurationError, match="is damaged") as said:
                read(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        sentence(said)
        assert peak < 4 * len(HOSTILE[what]) + 2**20


def test_two_arrays_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        content = archive_of(("w.npy", header("(1,)") + bytes(4)), ("w.npy", header("(1,)") + bytes(4)))
    (tmp_path / "model.npz").write_bytes(content)
    with pytest.raises(ConfigurationError, match="one name"):
        load_model(tmp_path / "model.npz")


def test_a_file_that_is_replaced_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    save_checkpoint(path, WHOLE)
    before = path.read_bytes()

    def failing(_descriptor):
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "fsync", failing)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(path, Checkpoint(weights={}, round=4, metrics={}))
    assert path.read_bytes() == before


def test_the_digest_of_a_job_does_not_depend_on_how_it_is_written():
    assert job_digest(job_of(rounds=3)) == job_digest(job_of(rounds=3, seed=0))
    assert job_digest(job_of(rounds=3)) != job_digest(job_of(rounds=4))
    assert "rounds = 3" in job_to_toml(job_of(rounds=3))
