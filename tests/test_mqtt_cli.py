"""What `privfl serve --mqtt` and `privfl join mqtts://…` refuse, and six processes that talk through a broker."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

for needed in ("paho", "starlette", "uvicorn", "httpx"):
    pytest.importorskip(needed, reason=f"needs {needed}: pip install 'privfl[http,mqtt]'")

from consortium_harness import eventually, make_home  # noqa: E402
from harness import identity_of  # noqa: E402
from http_harness import Papers, roster  # noqa: E402
from mosquitto_here import EXAMPLE, needs_mosquitto  # noqa: E402
from mqtt_harness import Hand  # noqa: E402

from privfl.cli.main import main  # noqa: E402
from privfl.integrations.mqtt.here import read  # noqa: E402

sys.path.append(str(EXAMPLE))
from consortium import Consortium  # noqa: E402 - lies in the example

CLIENTS = 5
WAITS = ("--phase-timeout", "20", "--upload-timeout", "120", "--gather", "120")
JOB = """
suite = "kahe"
rounds = 8

[data]
name = "hospitals"
clients = 5

[threat]
server = "active"
corrupt = 0.2
dropout = 0.2

[strategy]
epochs = 2
"""


@pytest.fixture
def papers(tmp_path):
    made = Papers(tmp_path / "papers")
    (tmp_path / "coordinator.pem").write_bytes(identity_of(999).to_pem())
    (tmp_path / "roster.json").write_text(roster(5).to_json())
    (tmp_path / "job.toml").write_text(JOB)
    make_home(tmp_path / "alice", 0)
    return made


def said(capsys, *arguments):
    """What is said of a call that is refused."""
    assert main([str(argument) for argument in arguments]) == 64
    return capsys.readouterr().err


def serve(folder, papers):
    certificate, key = papers.server
    return (
        "serve", folder / "job.toml", "--identity", folder / "coordinator.pem", "--roster", folder / "roster.json",
        "--certificate", certificate, "--key", key, "--out", folder / "out",
    )  # fmt: skip


def at_broker(papers):
    certificate, key = papers.client
    return "--broker-ca", papers.ca, "--broker-certificate", certificate, "--broker-key", key


def test_serve_names_the_option_that_is_missing(papers, tmp_path, capsys):
    ways = at_broker(papers)
    for missing in ("--broker-ca", "--broker-certificate", "--broker-key"):
        at = ways.index(missing)
        told = said(capsys, *serve(tmp_path, papers), "--mqtt", "mqtts://b", *ways[:at], *ways[at + 2 :])
        assert told.startswith(f"privfl: {missing} is missing")
        told = said(capsys, *serve(tmp_path, papers), *ways[at : at + 2])
        assert told.startswith(f"privfl: {missing} belongs to --mqtt")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["mqtt://b", "b:8883", "mqtts://b/+/c", "mqtts://me:pass@b"])
def test_a_url_that_is_no_broker_s(papers, tmp_path, capsys, url):
    told = said(capsys, *serve(tmp_path, papers), "--mqtt", url, *at_broker(papers))
    assert told.startswith("privfl: --mqtt: broker ")
    assert "work" in told


def join(folder, papers, url, *others):
    return "join", url, "--home", folder / "alice", "--ca", papers.ca, *others


def test_join_names_the_option_that_is_missing(papers, tmp_path, capsys):
    own = ("--certificate", papers.client[0], "--key", papers.client[1])
    assert "--name is missing" in said(capsys, *join(tmp_path, papers, "mqtts://b", *own))
    assert "--certificate and --key are missing" in said(capsys, *join(tmp_path, papers, "mqtts://b", "--name", "c"))
    assert "URL: broker is 'mqtt://b'" in said(capsys, *join(tmp_path, papers, "mqtt://b", "--name", "c", *own))
    assert "such as 'coordinator.example'" in said(capsys, *join(tmp_path, papers, "mqtts://b", "--name", "/", *own))
    for option, value in (("--name", "c"), ("--broker-ca", papers.ca)):
        told = said(capsys, *join(tmp_path, papers, "https://c", option, value))
        assert f"{option} is for a coordinator behind a broker" in told


def test_join_gives_up_on_a_broker_that_is_not_there(papers, tmp_path, capsys):
    own = ("--name", "c", "--certificate", papers.client[0], "--key", papers.client[1], "--give-up", "0.1")
    assert main([str(each) for each in join(tmp_path, papers, "mqtts://localhost:1", *own)]) == 1
    assert "nothing was heard of the coordinator" in capsys.readouterr().err


def test_without_the_extra_it_is_named(papers, tmp_path, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("privfl.integrations.mqtt", "paho"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paho", None)
    own = ("--name", "c", "--certificate", papers.client[0], "--key", papers.client[1])
    assert "pip install 'privfl[mqtt]'" in said(capsys, *join(tmp_path, papers, "mqtts://b", *own))
    assert "pip install 'privfl[mqtt]'" in said(
        capsys, *serve(tmp_path, papers), "--mqtt", "mqtts://b", *at_broker(papers)
    )


def test_the_broker_s_files_are_those_that_the_documentation_shows():
    documentation = (Path(__file__).parent.parent / "docs" / "consortium.md").read_text()
    for name in ("mosquitto.conf", "acl"):
        shown = "".join(f"    {line}\n" if line else "\n" for line in (EXAMPLE / name).read_text().splitlines())
        assert shown in documentation, name


def at_the_broker_of(one):
    """Where a consortium's parties may be seen by hand."""
    own = one.home(4) / "at-broker.crt", one.home(4) / "at-broker.pem"
    papers = SimpleNamespace(ca=one.folder / "ca.crt")
    return SimpleNamespace(papers=papers, papers_of=lambda _user: own, mosquitto=one.broker)


@needs_mosquitto
def test_six_processes_through_a_broker_each_killed_and_back(tmp_path):
    for needed in ("torch", "sklearn"):
        pytest.importorskip(needed, reason=f"needs {needed}: pip install 'privfl[learning]'")
    job = tmp_path / "job.toml"
    job.write_text(JOB)
    with Consortium(tmp_path / "consortium", job, CLIENTS, waits=WAITS, mqtt=True) as one:
        one.serve()
        for number in range(CLIENTS):
            one.join(number)
        one.await_rounds(1)
        one.kill_client(3)
        one.await_rounds(2)
        one.join(3)
        one.await_rounds(3)
        with Hand(at_the_broker_of(one), "hospital-4", ["privfl/here"]) as witness:
            one.kill_coordinator()
            eventually(lambda: witness.came and read(witness.came[-1][1]).state == "gone")
            one.serve()
            eventually(lambda: read(witness.came[-1][1]).state == "here")
        one.await_rounds(5)
        one.broker.stop()
        one.broker.start()
        codes = one.await_end()
        done = [json.loads(line) for line in one.rounds()]
        lost = [row for row in done if row["aborted"]]
        assert len(lost) <= 1, one.log("coordinator")  # the round that the coordinator was killed in
        assert codes.pop("coordinator") == (2 if lost else 0)
        assert set(codes.values()) == {0}
        assert [row["round"] for row in done] == list(range(1, 9))
        # A client was missed in the rounds that it was offline for, and is back.
        assert min(row["contributors"] for row in done if not row["aborted"]) == CLIENTS - 1
        assert done[-1]["contributors"] == CLIENTS
        assert done[-1]["accuracy"] > 0.9
        for number in range(CLIENTS):
            assert "the run is over" in one.log(f"hospital-{number}")
        # Nobody came to the coordinator but through the broker.
        assert "https://" not in one.log("coordinator")
