"""`privfl serve` and `privfl join`: what they refuse before anything is begun."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

for needed in ("starlette", "uvicorn", "httpx", "torch", "sklearn"):
    pytest.importorskip(needed, reason=f"needs {needed}: pip install 'privfl[http,learning]'")

from privfl.cli.main import main  # noqa: E402 - what it needs is there
from privfl.integrations.home import PartyHome  # noqa: E402 - likewise

JOB = """
suite = "masking"
rounds = 2
data = { name = "hospitals", clients = 5 }
threat = { server = "active", corrupt = 0.2, dropout = 0.2 }
"""
SERVE = ("--identity", "own.pem", "--roster", "roster.json", "--certificate", "server.crt", "--key", "server.pem")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("job.toml").write_text(JOB)
    for name in ("own", "other", *(f"c{number}" for number in range(5))):
        assert main(["identity", "new", f"{name}.pem"]) == 0
    assert (
        main(["identity", "roster", *(f"{number}=c{number}.pub" for number in range(5)), "--out", "roster.json"]) == 0
    )
    assert main(["identity", "ca", "ca.pem", "--name", "here"]) == 0
    assert main(["identity", "cert", "server.pem", "--ca", "ca.pem", "--host", "localhost"]) == 0
    capsys.readouterr()
    return tmp_path


def refused(capsys, *arguments):
    assert main([*arguments]) == 64
    # A client's log says who it is before that.
    said = [line for line in capsys.readouterr().err.splitlines() if "of the roster" not in line]
    assert len(said) == 1, said
    assert said[0].startswith("privfl: ")
    return said[0]


def home(number=0):
    made = Path("home")
    made.mkdir(mode=0o700)
    Path(f"c{number}.pem").rename(made / "identity.pem")
    (made / "roster.json").write_bytes(Path("roster.json").read_bytes())
    return made


@pytest.fixture
def begun():
    """The directory of a run whose coordinator was killed before its first round."""
    command = [
        sys.executable,
        "-m",
        "privfl",
        "serve",
        "job.toml",
        *SERVE,
        "--out",
        "out",
        "--port",
        "0",
        "--gather",
        "60",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as served:
        line = served.stderr.readline()
        assert "at https://" in line, line + served.stderr.read()
        served.kill()
    return Path("out")


def test_a_run_is_gone_on_with_as_its_clients_know_it(begun, capsys):
    assert begun.joinpath("run.id").read_text().count("\n") == 2
    other = [word.replace("own.pem", "other.pem") for word in SERVE]
    said = refused(capsys, "serve", "--resume", "out", *other)
    assert "give the --identity that the run began with" in said
    job = begun / "job.toml"
    job.write_text(job.read_text().replace("rounds = 2", "rounds = 3"))
    assert "leave job.toml" in refused(capsys, "serve", "--resume", "out", *SERVE)


@pytest.mark.parametrize("text", ["", "00\n00\n", "no name\nnone\n", "ab" * 16 + "\n", None])
def test_a_run_whose_name_is_lost_is_not_gone_on_with(begun, text, capsys):
    name = begun / "run.id"
    name.unlink() if text is None else name.write_text(text)
    assert "there is no whole run.id in it" in refused(capsys, "serve", "--resume", "out", *SERVE)


def test_a_run_is_not_begun_where_another_is(begun, capsys):
    assert "holds a run already" in refused(capsys, "serve", "job.toml", *SERVE, "--out", "out")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "a job file, or --resume DIR"),
        (("job.toml", "--resume", "out"), "give no job"),
        (("job.toml", "--workers", "0"), "--workers is 0"),
        (("job.toml", "--clients", "6"), "1 to 5 works"),
        (("job.toml", "--phase-timeout", "0"), "phase_s is 0"),
        (("job.toml", "--port", "70000"), "port is 70000"),
        (("job.toml", "--set", "suite=kahe", "--set", "failures.rate=0.1"), "failures speaks of simulated clients"),
        (("nowhere.toml",), "nowhere.toml"),
        (("job.toml", "--roster", "nowhere.json"), "nowhere.json"),
        (("job.toml", "--key", "own.pem"), "`privfl identity cert` makes them"),
        (("job.toml", "--set", "data.clients=6"), "client 5 is not on the roster"),
    ],
)
def test_what_serve_refuses(arguments, why, capsys):
    assert why in refused(capsys, "serve", *SERVE, *arguments)
    assert not Path("runs").exists() or not list(Path("runs").rglob("run.id"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("http://localhost:1",), "'https://coordinator.example:8443' works"),
        (("https://localhost:1/deep",), "with nothing behind it"),
        (("https://localhost:1", "--certificate", "server.crt"), "--certificate and --key belong together"),
        (("https://localhost:1", "--ca", "job.toml"), "`privfl identity ca` makes an authority"),
        (("https://localhost:1", "--workers", "0"), "--workers is 0"),
        (("https://localhost:1", "--home", "nowhere"), "mkdir -m 700 makes it"),
    ],
)
def test_what_join_refuses(arguments, why, capsys):
    home()
    assert why in refused(capsys, "join", "--home", "home", "--ca", "ca.crt", *arguments)


def test_a_client_needs_papers_that_go_together(capsys):
    made = home()
    (made / "roster.json").unlink()
    join = ("join", "https://localhost:1", "--home", "home", "--ca", "ca.crt")
    assert "holds no identity.pem and roster.json" in refused(capsys, *join)
    assert main(["identity", "roster", "0=c1.pub", "1=c2.pub", "--out", "home/roster.json"]) == 0
    capsys.readouterr()
    assert "is not on its roster.json" in refused(capsys, *join)


def test_a_home_is_used_by_one_client_at_a_time(capsys):
    join = ("join", "https://localhost:1", "--home", str(home()), "--ca", "ca.crt", "--give-up", "0.1")
    with PartyHome.open(Path("home")).alone():
        assert "another process is using the client's directory" in refused(capsys, *join)
    assert main([*join]) == 1
    assert "nothing was heard of the coordinator" in capsys.readouterr().err


def test_a_client_whose_coordinator_is_away_says_so_as_json(capsys):
    join = ("join", "https://localhost:1", "--home", str(home()), "--ca", "ca.crt", "--give-up", "0.1", "--json")
    begun = time.monotonic()
    assert main([*join]) == 1
    assert time.monotonic() - begun < 60
    out = capsys.readouterr().out
    assert not out or json.loads(out)


def test_a_verb_called_twice_in_a_process_logs_once(capsys):
    join = ("join", "https://localhost:1", "--home", str(home()), "--ca", "ca.crt", "--give-up", "0.1")
    log = logging.getLogger("privfl")
    before = (list(log.handlers), log.level)
    for _ in range(2):
        assert main([*join]) == 1
        assert capsys.readouterr().err.count("client 0 of the roster") == 1
    assert (log.handlers, log.level) == before
