"""`privfl epsilon` and `privfl calibrate`: reference cases through files of events, and bad input in one sentence."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from privfl.cli.main import main

CASES = json.loads((Path(__file__).parent / "vectors" / "privacy" / "dp_cases.json").read_text(encoding="utf-8"))
EVENT = '[{"event": "gaussian", "noise_multiplier": 2, "count": 3}]'


@pytest.fixture
def told(capsys, tmp_path, monkeypatch):
    """Run the command; return its exit code, what it printed (JSON read), and what it complained about."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, events=None):
        if events is not None:
            text = events if isinstance(events, str) else json.dumps(events)
            Path("events.json").write_text(text, encoding="utf-8")
            arguments = ("epsilon", "--events", "events.json", *arguments)
        try:
            code = main([*arguments])
        except SystemExit as ending:
            code = ending.code
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if "--json" in arguments and captured.out else captured.out, captured.err

    return run


def core_events(case):
    events = []
    for segment in case["segments"]:
        event = {"event": segment["mech"], "count": segment["steps"]}
        event["noise_multiplier"] = segment["b"] if segment["mech"] == "laplace" else segment["sigma"]
        if segment.get("q", 1.0) != 1.0:
            event["sampling_probability"] = segment["q"]
        events.append(event)
    if "adjacency" in case:
        return {"relation": case["adjacency"].replace("_", "-"), "events": events}
    return events


@pytest.mark.parametrize("case", CASES["core"], ids=lambda case: case["id"])
def test_core_cases(told, case):
    code, answer, complaint = told("--delta", str(case["delta"]), "--json", events=core_events(case))
    values, accountants = case["values"], answer["accountants"]
    assert (code, complaint) == (0, "")
    assert set(accountants) == {"pld", "rdp", "prv"}
    assert answer["delta"] == case["delta"]
    assert answer["epsilon"] == accountants["pld"]
    assert abs(answer["epsilon"] - values["pld_upper"]) <= 0.002
    for epsilon in accountants.values():
        assert epsilon is None or epsilon >= values["pld_upper"] - 0.002
    if "adjacency" in case:
        assert answer["relation"] == "replace-one"
    else:
        assert accountants["rdp"] == pytest.approx(values["dpacc_rdp"], rel=1e-3)
    assert (accountants["prv"] is None) == ("adjacency" in case or "opacus_prv" not in values)


def extended_events():
    """The extended cases that are events: name, file of events, δ, and the key of the reference for each accountant."""
    for case in CASES["extended"]:
        name, params, values = case["id"], case["params"], case["values"]
        if name.startswith("x_ddp"):
            line = {
                "contributors": params["n"],
                "dimension": params["d"],
                "clip": params["clip"],
                "noise_multiplier": params["central_noise_multiplier"],
                "granularity": params["granularity"],
                "count": params["rounds"],
            }
            for event, key in (("skellam", "skellam_rdp"), ("discrete-gaussian", "distributed_discrete_gaussian_rdp")):
                yield f"{name}-{event}", [{"event": event, **line}], params["delta"], {"rdp": values[key]}
        elif name.startswith("x_dropout"):
            noise = params["planned_z"] * math.sqrt(1 - params["dropout"])
            event = {"event": "gaussian", "noise_multiplier": noise, "sampling_probability": params["q"]}
            yield name, [event | {"count": params["T"]}], params["delta"], {"pld": values["pld"]}
        elif name.startswith("x_tree"):
            event = {"event": "tree-aggregation", "noise_multiplier": params["noise_multiplier"]}
            file = {"relation": "zero-out", "events": [event | {"steps": params["steps"]}]}
            exact = values["exact_gaussian_sens2_eq_height"]
            yield name, file, params["delta"], {"rdp": values["rdp"], "pld": exact}


@pytest.mark.parametrize(
    ("events", "delta", "values"), [case[1:] for case in extended_events()], ids=[case[0] for case in extended_events()]
)
def test_extended_cases(told, events, delta, values):
    code, answer, _ = told("--delta", str(delta), "--json", events=events)
    assert code == 0
    for name, value in values.items():
        assert answer["accountants"][name] == pytest.approx(value, rel=1e-3 if name == "rdp" else 0, abs=0.002)
    assert answer["epsilon"] == answer["accountants"][answer["reported"]]


def test_every_extended_case_is_tested_somewhere():
    """Those that are no events are calibration and the split of noise, in test_dp_accountants.py and below."""
    tested = {name.removesuffix("-skellam").removesuffix("-discrete-gaussian") for name, *_ in extended_events()}
    assert {case["id"] for case in CASES["extended"]} - tested == {"x_adaclip_z0.7_sb2.5", "x_calib_q0.05_T200_e8.0"}


def test_one_release_from_options_is_the_same_as_from_a_file(told):
    _, written, _ = told("--delta", "1e-5", "--json", events=EVENT)
    _, given, _ = told("epsilon", "--noise-multiplier", "2", "--steps", "3", "--delta", "1e-5", "--json")
    assert written == given
    _, sampled, _ = told(
        "epsilon", "--noise-multiplier", "2", "--steps", "3", "--sampling-rate", "0.1", "--delta", "1e-5", "--json"
    )
    assert sampled["epsilon"] < given["epsilon"] / 2


def test_a_relation_is_taken_from_the_option_or_the_file_and_never_from_both(told):
    _, doubled, _ = told("--relation", "replace-one", "--delta", "1e-5", "--json", events=EVENT)
    half = EVENT.replace("2", "1", 1)
    assert doubled["relation"] == "replace-one"
    assert doubled["epsilon"] == told("--delta", "1e-5", "--json", events=half)[1]["epsilon"]
    named = f'{{"relation": "replace-one", "events": {EVENT}}}'
    assert told("--delta", "1e-5", "--json", events=named)[1] == doubled
    assert told("--delta", "1e-5", "--json", "--relation", "replace-one", events=named)[1] == doubled
    code, _, complaint = told("--delta", "1e-5", "--relation", "zero-out", events=named)
    assert code == 64
    assert "--relation is zero-out and the file says replace-one" in complaint


def test_a_table_for_people(told):
    code, text, _ = told("--delta", "1e-5", events=[{"event": "skellam", "l2_sensitivity": 9, "variance": 900}])
    assert code == 0
    assert "rdp (reported)" in text
    assert "pld and prv do not apply to these events." in text
    code, text, _ = told("--delta", "1e-5", events=[{"event": "laplace", "noise_multiplier": 3}])
    assert "pld (reported)" in text
    assert "prv does not apply to these events." in text


def test_without_noise_epsilon_is_infinite_and_the_exit_code_says_so(told):
    events = [{"event": "gaussian", "noise_multiplier": 2}, {"event": "non-private", "reason": "published"}]
    code, answer, _ = told("--delta", "1e-5", "--json", events=events)
    assert code == 1
    assert answer["epsilon"] == "infinity"
    assert answer["accountants"] == {"pld": "infinity", "rdp": "infinity", "prv": "infinity"}
    code, text, _ = told("--delta", "1e-5", events=events)
    assert code == 1
    assert "A release without noise has no finite epsilon." in text


def test_events_from_standard_input(told, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(EVENT))
    code, answer, _ = told("epsilon", "--events", "-", "--delta", "1e-5", "--json")
    assert (code, answer) == told("--delta", "1e-5", "--json", events=EVENT)[:2]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ('[\n{"event": "exponential"}]', "events.json: line 2: event 'exponential' is not known: one of gaussian"),
        ('[\n{"event": "gaussian",\n"sigma": 1}]', "line 3: event 'gaussian' has no key 'sigma'"),
        ('[{"event": "gaussian", "noise_multiplier": 0}]', "line 1: noise_multiplier is 0"),
        ("nothing", "line 1: this is no JSON"),
        ('{"events": [], "relation":\n"neighbours"}', "relation is 'neighbours'"),
    ],
)
def test_bad_files_are_named_with_their_line(told, events, said):
    code, out, complaint = told("--delta", "1e-5", events=events)
    assert (code, out) == (64, "")
    assert said in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("epsilon",), 64, "--delta"),
        (("epsilon", "--delta", "1e-5"), 64, "--noise-multiplier is missing"),
        (("epsilon", "--delta", "1e-5", "--noise-multiplier", "1"), 64, "--steps is missing"),
        (("epsilon", "--delta", "1.5", "--noise-multiplier", "1", "--steps", "3"), 64, "delta is 1.5: a probability"),
        (("epsilon", "--delta", "nan", "--noise-multiplier", "1", "--steps", "3"), 64, "delta is nan"),
        (("epsilon", "--delta", "1e-5", "--noise-multiplier", "0", "--steps", "3"), 64, "--noise-multiplier is 0.0"),
        (("epsilon", "--delta", "1e-5", "--noise-multiplier", "1", "--steps", "0"), 64, "--steps is 0"),
        (("epsilon", "--delta", "1e-5", "--events", "none.json"), 64, "'none.json': No such file"),
        (("epsilon", "--delta", "1e-5", "--events", "binary"), 64, "no text"),
        (("epsilon", "--delta", "1e-5", "--events", "none.json", "--steps", "3"), 64, "exclude each other"),
        (("epsilon", "--delta", "1e-5", "--relation", "same"), 64, "--relation"),
        (("calibrate", "--epsilon", "4", "--delta", "1e-5"), 64, "--steps is missing"),
        (("calibrate", "--epsilon", "0", "--delta", "1e-5", "--steps", "3"), 64, "--epsilon is 0.0"),
        (("calibrate", "--epsilon", "4", "--delta", "0", "--steps", "3"), 64, "delta is 0.0"),
        (("calibrate", "--epsilon", "4", "--delta", "1e-5", "--steps", "3", "--sampling-rate", "2"), 64,
         "--sampling-rate is 2.0"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_64(told, arguments, code, said):
    Path("binary").write_bytes(b"\xff\xfe")
    ended, out, complaint = told(*arguments)
    assert (ended, out) == (code, "")
    assert said in complaint
    assert complaint.startswith("privfl: ")


def test_what_no_accountant_knows_is_a_bad_answer_and_no_number(told):
    event = {"event": "skellam", "l2_sensitivity": 9, "variance": 900, "sampling_probability": 0.1}
    code, out, complaint = told("--delta", "1e-5", "--json", events=[event])
    assert (code, out) == (1, "")
    assert "leave out sampling_probability" in complaint


def test_calibrate_beside_its_reference(told):
    case = next(case for case in CASES["extended"] if case["id"].startswith("x_calib"))
    params = case["params"]
    code, answer, _ = told(
        "calibrate", "--epsilon", str(params["eps"]), "--delta", str(params["delta"]), "--sampling-rate",
        str(params["q"]), "--steps", str(params["T"]), "--json",
    )  # fmt: skip
    assert code == 0
    assert answer["noise_multiplier"] == pytest.approx(case["values"]["pld"], abs=2e-6)
    assert params["eps"] - 1e-3 <= answer["epsilon"] <= params["eps"]
    assert (answer["sampling_rate"], answer["steps"], answer["delta"]) == (params["q"], params["T"], params["delta"])


def test_calibrate_for_people(told):
    code, text, _ = told("calibrate", "--epsilon", "4", "--delta", "1e-5", "--steps", "10", "--relation", "zero-out")
    assert code == 0
    assert "noise multiplier" in text
    assert "zero-out" in text


@pytest.mark.parametrize("verb", ["epsilon", "calibrate"])
def test_help_shows_an_example_that_works(told, verb):
    code, text, _ = told(verb, "--help")
    assert code == 0
    example = " ".join(text.split("example: ")[1].split())
    assert told(*example.removeprefix("privfl ").split())[0] == 0


def test_the_command_starts_without_the_libraries():
    code = (
        "import sys, privfl.cli.main, privfl.dp.accountants, privfl.dp.calibration\n"
        "privfl.cli.main.make_parser()\n"
        "print([name for name in ('dp_accounting', 'opacus', 'scipy', 'torch') if name in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"
