"""Rosters that expire: nobody signs, encrypts, answers or is admitted by one from its date on."""

import copy
import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from consortium_harness import By, greeting, make_home, model_of
from harness import ACTIVE, Ceremony, committee, identity_of, make_params
from http_harness import Papers, Raw, make_hall, make_server

from privfl import ConfigurationError, Credentials, Roster, ThreatModel, VectorSpec, plan_session, suite
from privfl.cli.main import main
from privfl.guard import MemoryGuard
from privfl.integrations.consortium import Participant
from privfl.integrations.http.signing import Gate, Signer, Unsigned
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest
from privfl.suites import wake

END = datetime(2030, 6, 1, 12, tzinfo=UTC)
IDENTITIES = {number: identity_of(number).public for number in range(7)}
ROSTER = Roster(IDENTITIES, expires=END)
OVER = "the roster expired at 2030-06-01T12:00:00Z: ask whoever keeps it for a new one"


@pytest.fixture
def at(monkeypatch):
    """Sets the machine's clock, as far as rosters go."""

    def at(time):
        monkeypatch.setattr("privfl.roster._now", lambda: time)

    at(END - timedelta(seconds=1))
    return at


# The roster


def test_a_roster_is_good_until_its_very_second(at):
    ROSTER.require_current()
    for late in (timedelta(0), timedelta(days=9000)):
        at(END + late)
        with pytest.raises(ConfigurationError, match=OVER):
            ROSTER.require_current()
    Roster(IDENTITIES).require_current()


def test_the_clock_is_the_machines():
    with pytest.raises(ConfigurationError, match="expired"):
        Roster(IDENTITIES, expires=datetime.now(UTC).replace(microsecond=0)).require_current()
    Roster(IDENTITIES, expires=datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)).require_current()


def test_the_date_is_part_of_the_digest_and_its_absence_changes_none():
    parts = [number.to_bytes(4, "big") + key for number, key in IDENTITIES.items()]
    assert Roster(IDENTITIES).digest == digest(Label.ROSTER, *parts)
    assert ROSTER.digest == digest(Label.ROSTER, *parts, int(END.timestamp()).to_bytes(8, "big"))
    assert Roster(IDENTITIES, expires=END + timedelta(seconds=1)).digest != ROSTER.digest


def test_a_date_survives_being_written_out(tmp_path):
    path = tmp_path / "roster.json"
    path.write_text(ROSTER.to_json())
    assert json.loads(path.read_text())["expires"] == "2030-06-01T12:00:00Z"
    assert Roster.load(path) == ROSTER
    assert "expires" not in Roster(IDENTITIES).to_json()
    away = Roster(IDENTITIES, expires=END.astimezone(timezone(timedelta(hours=-7))))
    assert (away.digest, away.to_json()) == (ROSTER.digest, ROSTER.to_json())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ('"expires": "2030-06-01"', "'2030-06-01'"),
        ('"expires": "2030-06-01T12:00:00"', "expires is"),
        ('"expires": "2030-06-01T12:00:00+00:00"', "expires is"),
        ('"expires": "2030-6-01T12:00:00Z"', "expires is"),
        ('"expires": "2030-06-01T12:00:00z"', "expires is"),
        ('"expires": "1969-06-01T12:00:00Z"', "from 1970"),
        ('"expires": null', "expires is None"),
        ('"expires": 1906545600', "a time in UTC works, such as"),
        ('"expires": "2030-06-01T12:00:00Z", "expires": "2040-06-01T12:00:00Z"', "'expires' stands in"),
        ('"expire": "2030-06-01T12:00:00Z"', "the roster holds 'expire'"),
    ],
)  # fmt: skip
def test_a_date_that_is_not_understood_is_not_passed_over(words, named):
    with pytest.raises(ConfigurationError, match=named):
        Roster.from_json(f'{{"format": "privfl-roster-1", "clients": {{"7": "{"17" * 32}"}}, {words}}}')


@pytest.mark.parametrize("time", [END.replace(tzinfo=None), END.replace(microsecond=1)])
def test_a_date_that_cannot_be_written_is_refused(time):
    with pytest.raises(ConfigurationError, match="the roster's expires is"):
        Roster(IDENTITIES, expires=time)


# Sessions


def plan(suite_name="masking", **options):
    return plan_session(
        suite_name,
        cohort=tuple(range(7)),
        vector=VectorSpec(length=8, bound=100),
        nonce=os.urandom(16),
        context=bytes(32),
        roster=ROSTER,
        **{"threat": ThreatModel(server=ACTIVE, corrupt=0.1, dropout=0.1)} | options,
    )


@pytest.mark.parametrize("suite_name", ["masking", "kahe"])
def test_no_session_begins_under_a_roster_that_has_expired(suite_name, at):
    params, own = plan(suite_name), Credentials(identity_of(3), ROSTER)
    suite(suite_name).client(params, 3, credentials=own, guard=MemoryGuard())
    at(END)
    with pytest.raises(ConfigurationError, match=OVER):
        suite(suite_name).client(params, 3, credentials=own)
    with pytest.raises(ConfigurationError, match=OVER):
        plan(suite_name)


def test_no_session_is_woken_under_a_roster_that_has_expired(at):
    own, guard, key = Credentials(identity_of(3), ROSTER), MemoryGuard(), bytes(32)
    asleep = suite("masking").client(plan(), 3, credentials=own, guard=guard).to_bytes(key)
    at(END)
    with pytest.raises(ConfigurationError, match=OVER):
        wake(asleep, key=key, guard=guard, credentials=own)
    at(END - timedelta(seconds=1))
    wake(asleep, key=key, guard=guard, credentials=own)


def test_nobody_encrypts_for_a_committee_whose_roster_has_expired(at):
    pytest.importorskip("tenseal", reason="suite ckks needs TenSEAL")
    params = make_params(suite_name="ckks")
    # A key that says of its roster what another ceremony would have agreed on.
    key = copy.copy(committee().key)
    object.__setattr__(key, "roster", Roster(key.roster.identities, expires=END))
    suite("ckks").client(params, 10, committee=key)
    at(END)
    with pytest.raises(ConfigurationError, match=OVER):
        suite("ckks").client(params, 10, committee=key)


def test_no_member_takes_part_in_a_ceremony_under_a_roster_that_has_expired(at):
    pytest.importorskip("tenseal", reason="suite ckks needs TenSEAL")
    from privfl.ckks.ceremony import CeremonyMember

    params = Ceremony().params
    params = replace(params, roster=Roster(params.roster.identities, expires=END))
    CeremonyMember(params, 0, identity=identity_of(0))
    at(END)
    with pytest.raises(ConfigurationError, match=OVER):
        CeremonyMember(params, 0, identity=identity_of(0))


# A coordinator's door, and its clients


def test_guarantee_4_nobody_is_admitted_under_a_roster_that_has_expired(at):
    gate, signer = Gate(ROSTER), Signer(identity_of(2), 2)
    signer.take_over(gate.epoch, 0)
    raw = [[(n.encode(), v.encode()) for n, v in signer.headers("GET", "/").items()] for _ in range(2)]
    assert gate.admit("GET", "/", raw[0]).client == 2
    at(END)
    with pytest.raises(Unsigned, match=OVER) as caught:
        gate.admit("GET", "/", raw[1])
    assert (caught.value.kind, caught.value.count) == ("expired", 0)


def test_a_coordinator_answers_401_from_the_date_on_and_counts_it(at, tmp_path, caplog):
    papers, hall = Papers(tmp_path / "papers"), make_hall()
    with make_server(hall, papers, roster=ROSTER) as server, Raw(server, papers) as raw:
        assert raw.ask("GET", "/v1/greeting").status_code == 200
        at(END)
        answer = raw.ask("GET", "/v1/greeting")
        assert (answer.status_code, answer.json()["count"]) == (401, 0)
        assert answer.json()["error"].startswith(OVER)
        assert server.complaints.counts == {"401-expired": 1}
        assert "the roster expired" in caplog.text
        at(END - timedelta(seconds=1))
        assert raw.ask("GET", "/v1/greeting").status_code == 200


def expiring(home, roster=ROSTER):
    return replace(home, credentials=Credentials(home.credentials.identity, roster))


def test_guarantee_8_a_client_answers_nothing_from_the_date_on_and_loses_nothing(at, tmp_path):
    by = By(tmp_path / "home", "kahe")
    home = make_home(tmp_path / "home", by.number)
    step = by.step()
    participant = Participant(expiring(home), by.number, by.work)
    at(END)
    with pytest.raises(ConfigurationError, match=f"roster.json: {OVER}"):
        participant.greet(greeting())
    at(END - timedelta(seconds=1))
    participant.greet(greeting())
    at(END)
    before = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    with pytest.raises(ConfigurationError, match=f"roster.json: {OVER}"):
        participant.answer(step, model_of)
    assert {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()} == before
    longer = Participant(expiring(home, Roster(IDENTITIES, expires=END + timedelta(days=1))), by.number, by.work)
    longer.greet(greeting())
    assert longer.answer(step, model_of)


# The command


@pytest.fixture
def papers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        assert main(["identity", "new", f"{name}.pem"]) == 0
    capsys.readouterr()
    return ["identity", "roster", "0=a.pub", "1=b.pub", "2=c.pub"]


def test_the_command_makes_rosters_that_expire(papers, capsys):
    assert main([*papers, "--days", "30", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    roster = Roster.load(Path("roster.json"))
    assert told["expires"] == f"{roster.expires:%Y-%m-%d}"
    assert timedelta(0) <= datetime.now(UTC) + timedelta(days=30) - roster.expires < timedelta(minutes=1)
    assert told["digest"] == roster.digest.hex()
    assert main([*papers, "--days", "30", "--out", "r.json"]) == 0
    assert f"3 clients, good until {told['expires']}, " in capsys.readouterr().out
    assert main([*papers, "--out", "for-ever.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["expires"] is None
    assert Roster.load(Path("for-ever.json")).expires is None


@pytest.mark.parametrize("days", ["0", "-1", "3651"])
def test_the_command_refuses_other_lifetimes(days, papers, capsys):
    assert main([*papers, "--days", days]) == 64
    assert f"--days is {days}: 1 to 3650 works" in capsys.readouterr().err
    assert not Path("roster.json").exists()


def test_a_client_with_an_old_roster_does_not_join(papers, capsys):
    Path("home").mkdir(mode=0o700)
    assert main([*papers, "--days", "1", "--out", "home/roster.json"]) == 0
    old = json.loads(Path("home/roster.json").read_text()) | {"expires": "2020-01-01T00:00:00Z"}
    Path("home/roster.json").write_text(json.dumps(old))
    Path("a.pem").rename("home/identity.pem")
    assert main(["identity", "ca", "ca.pem"]) == 0
    capsys.readouterr()
    assert main(["join", "https://localhost:1", "--home", "home", "--ca", "ca.crt", "--give-up", "0.1"]) == 64
    assert "home/roster.json: the roster expired at 2020-01-01T00:00:00Z" in capsys.readouterr().err
