"""`privfl run` under differential privacy: what it writes, says and answers; how it stops and resumes."""

import json
import re
from pathlib import Path

import pytest

from privfl.cli.main import main
from privfl.dp.calibration import noise_multiplier_for
from privfl.dp.ledger import read_ledger
from privfl.learning.rounds import FederatedRun
from privfl.primitives.signatures import Identity

SMALL = """
rounds = 2
model = "logistic"
suite = "masking"
[data]
clients = 12
[threat]
corrupt = 0.1
dropout = 0.2
[strategy]
epochs = 1
[privacy]
mode = "client-central"
epsilon = 8.0
clip = 1.0
"""
MODES = {
    "client-central": ("client", "zero-out"),
    "client-distributed": ("client", "zero-out"),
    "example": ("example", "zero-out"),
}
NO_NOISE = "added no noise"


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.fixture
def pem(tmp_path, job, capsys):
    for name in ("k", "other"):
        assert main(["identity", "new", f"{name}.pem"]) == 0
    capsys.readouterr()
    return tmp_path / "k.pem"


def run(job, *settings, out="out", more=()):
    changed = [part for setting in settings for part in ("--set", setting)]
    return main(["run", str(job), *changed, "--out", out, "--json", *more])


def told(capsys):
    captured = capsys.readouterr()
    return json.loads(captured.out)


def page(out="out"):
    return Path(out, "report.html").read_text(encoding="utf-8")


def vanishing(number):
    """Everybody falls silent after the charge of a round, before its sum is opened."""
    return f"failures.drop=[{{round = {number}, clients = {list(range(12))}, phase = 'Unmask'}}]"


def crash_in(monkeypatch, number):
    """Let a run crash in a round that is charged already, before its model is written."""
    original = FederatedRun._save

    def crash(self, metrics):
        if metrics.round == number:
            raise KeyboardInterrupt
        return original(self, metrics)

    monkeypatch.setattr(FederatedRun, "_save", crash)
    return lambda: monkeypatch.setattr(FederatedRun, "_save", original)


# -- what it writes and says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_private_run_keeps_a_ledger_and_says_what_it_promises(mode, job, capsys):
    assert run(job, f"privacy.mode={mode}") == 0
    summary = told(capsys)
    unit, relation = MODES[mode]
    privacy = summary["privacy"]
    assert (privacy["mode"], privacy["unit"], privacy["relation"]) == (mode, unit, relation)
    assert (privacy["budget"], privacy["stopped"], summary["delta"]) == (8.0, None, 1e-5)
    assert 0 < summary["epsilon"] <= privacy["planned_epsilon"] <= 8
    assert summary["epsilon"] == pytest.approx(summary["metrics"][-1]["epsilon"])
    assert summary["epsilon"] <= summary["epsilon_rdp"]
    assert privacy["noise_multiplier"] > 0
    assert privacy["against"]
    assert {row["clip"] for row in summary["metrics"]} == {1.0}
    contents = read_ledger(Path("out/ledger.jsonl"))
    assert [charge.round for charge in contents.charges] == [1, 2]
    assert contents.closed is not None

    report = page()
    assert '<section id="privacy"' in report
    assert NO_NOISE not in report
    for sentence in (f"for one {unit}, this run protects against {privacy['against']}", relation, "never added"):
        assert sentence in report
    assert "fixed and public" in report
    assert contents.head.sha256 in report
    assert contents.signer.hex() in report
    assert report.count('id="epsilon-chart-title"') == 1
    assert "budget: 8" in report
    # What floating point may betray is said where noise is drawn in it, and nowhere else.
    assert ("Mironov" in report) == (mode == "example")
    assert ("Noise is drawn in whole numbers" in report) == (mode != "example")
    assert ("quantisation</dt>" in report) == (mode == "example")
    assert 'id="server-view"' not in report  # one client's update beside the truth would be a release of its own
    assert ("sum of the updates, noise included," in report) == (mode == "client-distributed")
    assert ("Who took part, when" in report) == (mode != "example")
    assert ("which clients took part stays visible" in report) == (mode == "example")


def test_a_table_of_rounds_has_a_column_of_epsilon(job, capsys):
    assert main(["run", str(job), "--out", "out"]) == 0
    out = capsys.readouterr().out
    assert "ε so far" in out
    assert re.search(r"privacy spent: ε [\d.]+ of 8 at δ 1e-05 for one client", out)


def test_without_differential_privacy_nothing_is_claimed(job, capsys):
    job.write_text(SMALL.partition("[privacy]")[0], encoding="utf-8")
    assert run(job) == 0
    summary = told(capsys)
    assert [summary[key] for key in ("epsilon", "epsilon_rdp", "delta", "privacy")] == [None] * 4
    assert NO_NOISE in page()
    assert 'id="privacy"' not in page()
    assert not Path("out/ledger.jsonl").exists()
    assert main(["run", "--resume", "out"]) == 0
    out = capsys.readouterr().out
    assert "ε" not in out


def test_plain_with_noise_at_the_server_still_opens_with_an_alarm(job, capsys):
    assert run(job, "suite=plain") == 0
    told(capsys)
    assert "Nothing was protected: the server reads every update" in page()
    assert "not the server, which adds the noise" in page()
    assert "PLAIN PROTECTS NOTHING" in page()


def test_noise_that_never_runs_out_is_no_budget(job, capsys):
    job.write_text(SMALL.replace("epsilon = 8.0", "noise_multiplier = 2.0"), encoding="utf-8")
    assert run(job) == 0
    summary = told(capsys)
    assert summary["privacy"]["budget"] is None
    assert summary["privacy"]["noise_multiplier"] == 2.0
    assert "No budget was set" in page()


def test_an_adaptive_clip_and_a_second_opinion_are_shown(job, capsys):
    adaptive = ("privacy.mode=client-distributed", "privacy.mechanism=discrete-gaussian")
    assert run(job, *adaptive, "privacy.adaptive.quantile=0.5", "privacy.adaptive.noise=3.0") == 0
    summary = told(capsys)
    assert len({row["clip"] for row in summary["metrics"]}) == 2
    assert summary["epsilon"] < summary["epsilon_rdp"]
    assert 'id="clip-chart-title"' in page()
    assert "second opinion, RDP" in page()
    assert "The clip follows noisy counts" in page()


def test_a_claim_that_counts_on_a_secret_cohort_says_so(job, capsys):
    sampled = ("data.clients=40", "cohort.sampling=poisson", "cohort.probability=0.9", "cohort.minimum=4")
    sampled += ("privacy.noise_multiplier=2",)
    assert run(job, *sampled, "privacy.amplification=true") in {0, 2}
    assert "not the server" in told(capsys)["privacy"]["against"]
    assert "not knowing who took part" in page()
    assert "the ledger and the metrics tell how many" in page()
    assert "Who took part, when" not in page()
    assert run(job, *sampled, out="plainly") in {0, 2}
    told(capsys)
    assert "Who took part, when" in page("plainly")


def test_progress_tells_epsilon_of_the_budget(job, monkeypatch):
    from privfl.cli.run_live import Watcher

    monkeypatch.setattr("rich.console.Console.is_terminal", property(lambda _self: True))
    lines = []
    done = Watcher.round_done
    monkeypatch.setattr(Watcher, "round_done", lambda self, row: (done(self, row), lines.append(self._last)))
    assert main(["run", str(job), "--out", "out"]) == 0
    assert len(lines) == 2
    assert all(re.search(r"accuracy 0\.\d+, 12/12 in the sum, ε [\d.]+ of 8$", line) for line in lines)


# -- charged in vain, stopped, resumed --------------------------------------------------------------------------------


def test_a_round_that_aborts_after_its_charge_stays_charged_and_is_shown(job, capsys):
    assert run(job, vanishing(1), "privacy.mode=client-distributed") == 2
    summary = told(capsys)
    first, second = summary["metrics"]
    assert (first["aborted"], first["contributors"], second["aborted"]) == (True, 0, False)
    assert 0 < first["epsilon"] < second["epsilon"]
    assert any("rounds [1] released nothing after they were charged" in warning for warning in summary["warnings"])
    assert "<title>round 1: aborted, charged</title>" in page()
    assert "ε grew in rounds that were charged and released nothing" in page()


def test_a_run_that_its_budget_stops_says_so_and_is_inconclusive(job, capsys):
    epsilon, rounds, code = "8", 2, 2
    settings = ("privacy.noise_multiplier=1", "rounds=10", f"privacy.epsilon={epsilon}")
    assert run(job, *settings) == code
    summary = told(capsys)
    assert len(summary["metrics"]) == summary["rounds"] == summary["released"] == rounds
    assert summary["epsilon"] <= float(epsilon)
    assert "privacy.epsilon" in summary["privacy"]["stopped"]
    assert summary["privacy"]["stopped"] in summary["warnings"]
    assert summary["privacy"]["planned_epsilon"] > 8
    assert (summary["accuracy"] is None) == (rounds == 0)
    assert "The privacy budget ended this run before its last round" in page()
    assert f"Stopped after round {rounds} of 10" in page()
    assert page().count("ε would be") == 1  # the banner says it, and no warning beside it

    before = Path("out/ledger.jsonl").read_bytes()
    assert main(["run", "--resume", "out"]) == code
    captured = capsys.readouterr()
    assert f"stopped after round {rounds} of 10" in captured.err
    assert ("no round was held" in captured.out) == (rounds == 0)
    assert Path("out/ledger.jsonl").read_bytes() == before


def test_a_budget_that_affords_no_round_is_refused_before_anything_is_made(job, capsys):
    assert run(job, "privacy.noise_multiplier=1", "rounds=10", "privacy.epsilon=2") == 64
    assert "privacy.epsilon is 2, and one round costs" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_run_that_is_over_can_be_told_again(job, capsys):
    assert run(job) == 0
    first, report = told(capsys), page()
    Path("out/report.html").unlink()
    assert main(["run", "--resume", "out", "--json"]) == 0
    second = told(capsys)
    assert second | {"warnings": []} == first | {"warnings": []}
    assert re.findall(r"<section id=\"privacy.*?</section>", page(), re.DOTALL) == re.findall(
        r"<section id=\"privacy.*?</section>", report, re.DOTALL
    )


def test_a_crash_between_charge_and_release_costs_budget_and_is_said(job, capsys, monkeypatch):
    repaired = crash_in(monkeypatch, 2)
    assert run(job, "privacy.noise_multiplier=2", "privacy.epsilon=20", "rounds=3") == 130
    assert "privfl run --resume out goes on" in capsys.readouterr().err
    repaired()
    code = main(["run", "--resume", "out", "--json"])
    summary = told(capsys)
    contents = read_ledger(Path("out/ledger.jsonl"))
    assert [charge.round for charge in contents.charges][:3] == [1, 2, 2]
    assert any("rounds [2] were charged again" in warning for warning in summary["warnings"])
    # The plan has places for three charges: the round that was charged in vain took one of them.
    assert (code, summary["released"]) in {(2, 2), (0, 3)}
    assert (summary["privacy"]["stopped"] is None) == (code == 0)
    assert '<td class="numeric">2</td>' in page()  # charged twice
    assert NO_NOISE not in page()


def test_a_run_that_crashed_in_its_first_round_can_be_resumed(job, capsys, monkeypatch):
    repaired = crash_in(monkeypatch, 1)
    assert run(job, "privacy.epsilon=20") == 130
    assert "privfl run --resume out goes on" in capsys.readouterr().err
    repaired()
    # Without --resume nothing is overwritten.
    before = Path("out/ledger.jsonl").read_bytes()
    assert run(job, "privacy.epsilon=20") == 1
    assert "exists already" in capsys.readouterr().err
    assert Path("out/ledger.jsonl").read_bytes() == before
    assert main(["run", "--resume", "out", "--json"]) in {0, 2}
    assert told(capsys)["released"] >= 1


def test_a_torn_line_is_cut_off_and_said(job, capsys, monkeypatch):
    repaired = crash_in(monkeypatch, 2)
    assert run(job, "privacy.epsilon=20") == 130
    repaired()
    ledger = Path("out/ledger.jsonl")
    content = ledger.read_bytes()
    ledger.write_bytes(content[:-30])
    capsys.readouterr()
    assert main(["run", "--resume", "out", "--json"]) == 0
    assert any("a crash had torn the ledger's last line" in warning for warning in told(capsys)["warnings"])
    assert "had torn the ledger" in page()


@pytest.mark.parametrize("damage", ["forged", "missing"])
def test_a_damaged_ledger_is_one_sentence_and_a_bad_answer(damage, job, capsys, monkeypatch):
    repaired = crash_in(monkeypatch, 2)
    assert run(job, "privacy.epsilon=20") == 130
    repaired()
    capsys.readouterr()
    ledger = Path("out/ledger.jsonl")
    if damage == "missing":
        ledger.unlink()
    else:
        ledger.write_bytes(ledger.read_bytes().replace(b'"contributors":12', b'"contributors":11', 1))
    assert main(["run", "--resume", "out"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert ("line 2" if damage == "forged" else "is missing") in captured.err


# -- who signs --------------------------------------------------------------------------------------------------------


def test_a_given_identity_signs_the_ledger(job, pem, capsys, monkeypatch):
    repaired = crash_in(monkeypatch, 2)
    assert run(job, "privacy.epsilon=20", more=["--identity", "k.pem"]) == 130
    repaired()
    assert not Path("out/coordinator.pem").exists()
    signer = Identity.from_pem(pem.read_bytes()).public
    assert read_ledger(Path("out/ledger.jsonl")).signer == signer
    capsys.readouterr()

    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    assert main(["run", "--resume", "out"]) == 64
    assert "give it, --identity FILE.pem" in capsys.readouterr().err
    assert main(["run", "--resume", "out", "--identity", "other.pem"]) == 1
    assert "only the key that opened the ledger can go on with it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before

    assert main(["run", "--resume", "out", "--identity", "k.pem", "--json"]) in {0, 2}
    told(capsys)
    assert f"{signer.hex()}, a key that was given" in page()
    # A run that is over needs no key to be told again, and no other one will do.
    assert main(["run", "--resume", "out", "--identity", "other.pem"]) == 1
    assert "signed by another key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["small.toml", "--identity", "none.pem"], "--identity none.pem cannot be read: No such file"),
        (["small.toml", "--identity", "small.toml"], "--identity small.toml is not an unencrypted PEM private key"),
        (["small.toml", "--identity", "k.pub"], "`privfl identity new` makes one"),
        (["small.toml", "--identity", "."], "--identity . cannot be read"),
    ],
)
def test_an_identity_that_will_not_do_is_one_sentence_and_nothing_is_written(arguments, named, job, pem, capsys):
    before = sorted(Path().rglob("*"))
    assert main(["run", *arguments, "--out", "out"]) == 64
    captured = capsys.readouterr()
    assert named in captured.err
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


def test_noise_that_drowns_the_model_is_said_before_a_round_and_after(job, capsys):
    settings = ("privacy.epsilon=1", "privacy.delta=1e-5", "suite=plain")
    assert run(job, *settings) == 0
    answer = told(capsys)
    z = noise_multiplier_for(1.0, 1e-5, 1.0, 2)
    times = z * (2 * answer["parameters"]) ** 0.5 / (12 * 2)  # z·√(R·d)/(n·R)
    (warning,) = [one for one in answer["warnings"] if "the noise" in one]
    assert f"with 12 clients in a sum the noise of 2 rounds is {times:.1f} times as long" in warning
    enough = int(re.search(r"(\d+) clients or more would help", warning)[1])
    assert 12 * times <= enough <= 12.2 * times + 1  # what is carried out has a little more noise than z
    capsys.readouterr()
    changed = [part for setting in settings for part in ("--set", setting)]
    assert main(["run", str(job), *changed, "--out", "again"]) == 0
    assert capsys.readouterr().err.count(warning) == 2
    assert run(job, *settings, f"data.clients={enough}", out="more") == 0
    assert not [one for one in told(capsys)["warnings"] if "the noise" in one]
