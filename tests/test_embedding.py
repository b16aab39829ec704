"""What docs/embedding.md tells an embedder: its example, its other code, and what it states of sessions, hold."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import msgspec
import numpy as np
import pytest

import privfl
from privfl import errors
from privfl.cli.main import main
from privfl.session import ClientSession, ServerSession

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "embedding.py"
CODE = EXAMPLE.read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SHOWN, CODEC, ANSWER, ACTIVE = [code for language, code in BLOCKS if language == "python"]
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]


def load_example():
    spec = importlib.util.spec_from_file_location("embedding", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


embedding = load_example()


def weighted_mean(numbers):
    trained = [embedding.train(number) for number in numbers]
    total = sum(weight for _, weight in trained)
    means = {name: sum(weight * update[name] for update, weight in trained) / total for name in embedding.MODEL}
    bound = len(trained) * embedding.CODEC.weight_max / total * embedding.CODEC.coding.step / 2  # of `aggregate`
    return means, total, bound


# The example


def test_the_page_shows_the_example_in_sixty_lines_of_code():
    assert SHOWN == CODE
    docstring, rest = CODE.split("\n", 1)
    assert docstring.startswith('"""')
    assert docstring.endswith('"""')
    assert sum(bool(line.strip()) for line in rest.splitlines()) <= 60


def test_the_example_takes_the_face_numpy_and_the_standard_library():
    for node in ast.walk(ast.parse(CODE)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert all(name in {"numpy", "privfl"} or name.split(".")[0] in sys.stdlib_module_names for name in names)
    for names in (re.findall(r"\bprivfl\.(\w+)", code) for code in (CODE, PAGE)):
        assert len(names) > 10
        assert set(names) <= {*privfl.__all__}


def test_the_mean_is_that_of_the_four_that_were_not_killed(tmp_path):
    """In processes, as a user starts it; the arrays are compared, and the line that it prints."""
    command = f"import embedding, numpy; numpy.savez({str(tmp_path / 'mean.npz')!r}, **embedding.main())"
    outcome = subprocess.run(
        [sys.executable, "-c", command], cwd=EXAMPLE.parent, capture_output=True, text=True, timeout=300, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert not outcome.stderr
    means, total, bound = weighted_mean([0, 1, 2, 4])
    others = weighted_mean([0, 1, 2, 3, 4])[0]
    with np.load(tmp_path / "mean.npz") as got:
        for name, expected in means.items():
            assert np.abs(got[name] - expected).max() <= bound + 1e-7
            assert np.abs(got[name] - others[name]).max() > 10 * bound  # the killed one would show
    printed = re.fullmatch(r"4 clients, weight (\d+), bias \[(.*)\]\n", outcome.stdout)
    assert int(printed[1]) == total
    assert np.abs(np.array(printed[2].split(), float) - means["bias"]).max() <= bound + 1e-7


# The loop over a transport, with clients in threads


class Table:
    """A server of the example, and clients behind pipes that do as they are told."""

    def __init__(self, cohort=(0, 1, 2, 3)):
        codec = embedding.CODEC
        self.params = privfl.plan_session(
            "kahe",
            cohort=cohort,
            vector=privfl.VectorSpec(length=codec.length, bound=codec.bound),
            nonce=os.urandom(16),
            context=embedding.context(),
        )
        self.server = privfl.suite("kahe").server(self.params)
        self.pipes, self.theirs, self.threads = {}, {}, []
        for number in cohort:
            self.pipes[privfl.client(number)], self.theirs[number] = Pipe()

    def seat(self, number, behave=None):
        pipe = self.theirs[number]
        run = (lambda: embedding.run_client(number, pipe)) if behave is None else (lambda: behave(pipe))
        self.pipes[privfl.client(number)].send_bytes(self.params.to_bytes())
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def hold(self, seconds):
        while self.server.phase is not privfl.Phase.FINISHED:
            embedding.hold_phase(self.server, self.pipes, end=time.monotonic() + seconds)

    def rise(self):
        for pipe in self.pipes.values():
            pipe.close()
        for thread in self.threads:
            thread.join(timeout=10)
            assert not thread.is_alive()

    def check_sum_of(self, numbers):
        result = self.server.result
        assert result.contributors == len(numbers)
        got = embedding.CODEC.decode(result.vector, contributors=result.contributors)
        means, total, bound = weighted_mean(numbers)
        assert got.weight == total
        assert all(np.abs(got.arrays[name] - means[name]).max() <= bound + 1e-7 for name in means)


def test_a_client_that_hangs_costs_no_more_than_the_phase():
    table = Table()
    for number in (0, 1, 2):
        table.seat(number)  # 3 never answers, and its pipe stays open
    begun = time.monotonic()
    table.hold(seconds=4)
    assert time.monotonic() - begun >= 4
    table.check_sum_of([0, 1, 2])
    table.theirs[3].recv_bytes()
    assert not table.theirs[3].poll()  # one request reached it, and no other
    table.rise()


def test_rubbish_counts_as_silence_and_a_better_answer_still_counts(capsys):
    def stutter(pipe):
        session = privfl.suite("kahe").client(privfl.SessionParams.from_bytes(pipe.recv_bytes()), 3)
        update, weight = embedding.train(3)
        session.submit(embedding.CODEC.encode(update, weight=weight).vector)
        try:
            while True:
                response = session.respond(pipe.recv_bytes())
                for answer in (b"rubbish", response, response):
                    pipe.send_bytes(answer)
        except (EOFError, OSError):
            pass

    table = Table()
    for number in (0, 1, 2):
        table.seat(number)
    table.seat(3, stutter)
    table.hold(seconds=30)
    table.check_sum_of([0, 1, 2, 3])
    assert "not taken: a message of 7 bytes" in capsys.readouterr().out
    table.rise()


def test_clients_refuse_an_invitation_to_something_else():
    table = Table()
    table.params = replace(table.params, context=bytes(32))
    table.pipes[privfl.client(0)].send_bytes(table.params.to_bytes())
    with pytest.raises(SystemExit, match="another model"):
        embedding.run_client(0, table.theirs[0])


# The page's other code


def test_clients_that_answer_each_request_in_a_new_process(tmp_path):
    """`answer` as the page has it, every request delivered twice."""
    names = {"np": np, "privfl": privfl}
    exec(compile(ANSWER, "embedding.md", "exec"), names)  # noqa: S102 - our own text
    table, key = Table(cohort=(0, 1, 2)), os.urandom(32)
    for number in table.params.cohort:
        home = tmp_path / str(number)
        home.mkdir()
        session = privfl.suite("kahe").client(table.params, number, guard=privfl.FileGuard(home / "claims"))
        (home / "session").write_bytes(session.to_bytes(key))
    asked = []

    def make_vector(number):
        asked.append(number)
        update, weight = embedding.train(number)
        return embedding.CODEC.encode(update, weight=weight).vector

    server = table.server
    while server.phase is not privfl.Phase.FINISHED:
        for party in server.waiting:
            home, request = tmp_path / str(party.number), server.request_for(party)
            assert request == server.request_for(party)
            number = party.number
            response = names["answer"](home, key, request, lambda number=number: make_vector(number))
            if server.phase is not privfl.Phase.UNMASK:
                assert names["answer"](home, key, request, lambda: None) == response
            else:
                assert not (home / "session").exists()
            server.receive(party, response)
            server.receive(party, response)
        server.advance()
    table.check_sum_of([0, 1, 2])
    assert sorted(asked) == [0, 1, 2]
    assert {len(list((tmp_path / str(n) / "claims").iterdir())) for n in (0, 1, 2)} == {6}


def test_a_state_that_answered_is_over_whatever_is_restored(tmp_path):
    names = {"np": np, "privfl": privfl}
    exec(compile(ANSWER, "embedding.md", "exec"), names)  # noqa: S102 - likewise
    table, key, state = Table(cohort=(0, 1, 2)), os.urandom(32), tmp_path / "session"
    session = privfl.suite("kahe").client(table.params, 0, guard=privfl.FileGuard(tmp_path / "claims"))
    backup = session.to_bytes(key)
    state.write_bytes(backup)
    request = table.server.request_for(privfl.client(0))
    names["answer"](tmp_path, key, request, lambda: None)
    state.write_bytes(backup)
    with pytest.raises(privfl.DisclosureRefused):
        names["answer"](tmp_path, key, request, lambda: None)


def test_the_other_blocks_and_commands_run_as_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    program, *identity_commands = COMMANDS
    assert program == "python examples/embedding.py"
    for command in identity_commands:
        assert main(shlex.split(command)[1:]) == 0
    capsys.readouterr()
    names = {**vars(embedding), "Path": Path}
    for block in (CODEC, ACTIVE):
        exec(compile(block, "embedding.md", "exec"), names)  # noqa: S102 - likewise
    assert names["codec"].error_std > 0
    assert names["codec"].length > embedding.CODEC.length + 1
    params = privfl.plan_session(  # what a client reads off the parameters is what was planned
        "kahe",
        cohort=names["cohort"],
        vector=privfl.VectorSpec(length=names["codec"].length, bound=names["codec"].bound),
        nonce=bytes(16),
        context=bytes(32),
    )
    assert names["kahe"].error_std(params.setting, len(params.cohort)) == names["codec"].error_std
    server, zero = names["server"], privfl.client(0)
    server.receive(zero, names["session"].respond(server.request_for(zero)))
    assert zero not in server.waiting


# What it states


def test_a_request_of_an_earlier_phase_ends_the_session_and_a_repeat_does_not():
    table, first = Table(cohort=(0, 1, 2)), {}
    clients = {party: privfl.suite("kahe").client(table.params, party.number) for party in table.server.waiting}
    for _ in range(2):
        for party in table.server.waiting:
            request = table.server.request_for(party)
            first.setdefault(party, request)
            response = clients[party].respond(request)
            assert clients[party].respond(request) == response
            table.server.receive(party, response)
        if table.server.phase is privfl.Phase.ADVERTISE_KEYS:
            table.server.advance()
    session = clients[privfl.client(0)]
    with pytest.raises(privfl.DisclosureRefused, match="no place"):
        session.respond(first[privfl.client(0)])
    with pytest.raises(privfl.DisclosureRefused, match="over"):
        session.respond(table.server.request_for(privfl.client(0)))


def test_a_request_of_another_session_ends_the_one_that_it_reaches():
    one, other = Table(cohort=(0, 1, 2)), Table(cohort=(0, 1, 2))
    session = privfl.suite("kahe").client(one.params, 0)
    with pytest.raises(privfl.DisclosureRefused, match="another session"):
        session.respond(other.server.request_for(privfl.client(0)))
    with pytest.raises(privfl.DisclosureRefused, match="over"):
        session.respond(one.server.request_for(privfl.client(0)))


def test_a_neighbours_key_that_is_none_ends_the_session_with_an_error_of_the_peer():
    """No `DisclosureRefused`, and no `DecodeError` either: what the table says of others holds."""
    table = Table(cohort=(0, 1, 2))
    clients = {party: privfl.suite("kahe").client(table.params, party.number) for party in table.server.waiting}
    for party, session in clients.items():
        table.server.receive(party, session.respond(table.server.request_for(party)))
    table.server.advance()
    keys = table.server._step._book.keys
    keys[1] = msgspec.structs.replace(keys[1], mask_key=bytes(32))
    request, session = table.server.request_for(privfl.client(0)), clients[privfl.client(0)]
    with pytest.raises(privfl.RemoteProtocolError) as raised:
        session.respond(request)
    assert not isinstance(raised.value, privfl.DecodeError)
    with pytest.raises(privfl.DisclosureRefused, match="over"):
        session.respond(request)


def test_one_guard_among_clients_refuses_all_but_the_first():
    table, guard = Table(cohort=(0, 1, 2)), privfl.MemoryGuard()
    first, second = (privfl.suite("kahe").client(table.params, number, guard=guard) for number in (0, 1))
    first.respond(table.server.request_for(privfl.client(0)))
    with pytest.raises(privfl.DisclosureRefused, match="nonce"):
        second.respond(table.server.request_for(privfl.client(1)))


def test_sizes_of_which_the_page_speaks():
    five = Table(cohort=(0, 1, 2, 3, 4)).params
    assert f"| {len(five.to_bytes())} bytes for the five clients" in PAGE
    spec = privfl.VectorSpec(length=10**6, bound=32_767)
    threat = privfl.ThreatModel(corrupt=0.2, dropout=0.2)
    params = privfl.plan_session(
        "kahe", cohort=(0, 1, 2, 3, 4), vector=spec, threat=threat, nonce=bytes(16), context=bytes(32)
    )
    most = privfl.suite("kahe").message_sizes(params)[privfl.Role.CLIENT, privfl.Phase.MASKED_INPUT].most
    assert 0 <= most - (4 * 10**6 + 8192) < 100


def test_a_tenth_of_five_clients_is_nobody():
    kahe = privfl.suite("kahe")
    assert kahe.fewest_contributors(5, privfl.ThreatModel(corrupt=0.1)) == 2
    assert kahe.fewest_contributors(5, privfl.ThreatModel(corrupt=0.2)) == 3
    assert kahe.fewest_contributors(100, privfl.ThreatModel()) == 50


def test_every_exception_that_a_session_documents_has_a_line_in_the_table():
    rows = re.findall(r"^\| (.*?) \| .*? \| .*? \| .*? \|$", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    classes = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    documented = {
        name
        for session in (ClientSession, ServerSession)
        for member in vars(session).values()
        for name in re.findall(r"^ +(\w+): ", getattr(member, "__doc__", None) or "", re.MULTILINE)
        if name in classes
    }
    assert documented
    assert documented <= named & classes
    elsewhere = set(re.findall(r"`(\w+)`", PAGE.split("belong to other parts")[0].rsplit("\n\n", 1)[1]))
    assert named & classes | elsewhere == classes - {"PrivflError", "ProtocolError"}


def test_links_lead_somewhere_and_readme_leads_here():
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
    assert "docs/embedding.md" in (ROOT / "README.md").read_text(encoding="utf-8")
