"""What the report and the answer of a run tell of uploads: ratios to float32, and accuracy against bytes."""

import doctest
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report import CASES as ELSEWHERE
from test_report import Page, aborted, check_self_contained, check_well_formed, privacy, report, row, spending
from test_report_fleet import CASES as FLEET
from test_report_fleet import evaluated, points_of, table, text_of, words

from privfl.cli.main import main
from privfl.report import render_run_report, run_upload
from privfl.report.run_upload import Uploaded, ratio_text, ratio_words
from privfl.round_metrics import RoundMetrics

PARAMETERS = 4610
JOB = """
rounds = 2
[threat]
corrupt = 0.2
dropout = 0.3
[strategy]
epochs = 1
"""


def sent(number, make=row, **changes):
    """A round of ten clients with 922 of 4610 coordinates each, at an eighth of float32."""
    values = {"coordinates": 922, "float32_bytes": 184_000, "upload_bytes": 23_000, "encoding_clip": 1.0}
    return make(number, **(values | changes))


def moving(number, **changes):
    return sent(number, **({"encoding_clip": 2.0**-number} | changes))


CASES = {
    "compressed": report(rows=(sent(1), sent(2), sent(3))),
    "one round": report(rows=(sent(1),)),
    "more than float32": report(rows=(sent(1, coordinates=8192, upload_bytes=187_680),)),
    "whole": report(rows=(sent(1, coordinates=PARAMETERS),)),
    "no bytes": report(rows=(sent(1, upload_bytes=0), sent(2, upload_bytes=0))),
    "an aborted round": report(rows=(sent(1), sent(2, aborted, upload_bytes=1000), sent(3))),
    "first aborted": report(rows=(sent(1, aborted, upload_bytes=0, accuracy=math.nan), sent(2))),
    "nobody trained": report(rows=(sent(1, aborted, float32_bytes=0, upload_bytes=500), sent(2))),
    "partly old": report(rows=(row(1), sent(2))),
    "no coordinates": report(rows=(sent(1, coordinates=None), sent(2, coordinates=None))),
    "a clip that moves": report(rows=tuple(moving(n) for n in range(1, 13))),
    "a clip that moves, aborted": report(rows=(moving(1), moving(2, make=aborted), moving(3, encoding_clip=None))),
    "evaluations": report(rows=(sent(1, evaluated), sent(2), sent(3, evaluated, committee_bytes=5))),
    "many rounds": report(rows=tuple(sent(n, upload_bytes=23_000_000_000 + n) for n in range(1, 201))),
    "private": report(
        rows=tuple(sent(n, spending, encoding_clip=None) for n in (1, 2, 3)),
        privacy=privacy(),
    ),
    "plain": report(suite="plain", rows=(sent(1, suite="plain"),), view=None),
    "no parameters": report(rows=(sent(1),), parameters=0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_report_is_well_formed_and_guarantee_1_holds(case):
    page = render_run_report(case)
    check_well_formed(page)
    check_self_contained(page)
    assert page == render_run_report(case)


def shown(case):
    return '<section id="upload"' in render_run_report(case)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_guarantee_10_the_section_stands_before_that_of_costs(case):
    page = render_run_report(case)
    assert page.index('<section id="rounds"') < page.index('<section id="upload"') < page.index('<section id="cost"')
    assert 'href="#upload"' in page


@pytest.mark.parametrize("case", [*ELSEWHERE.values(), *FLEET.values()], ids=[*ELSEWHERE, *FLEET])
def test_guarantee_10_rows_that_say_nothing_of_float32_have_no_section(case):
    assert not shown(case)
    assert "float32" not in render_run_report(case)


@pytest.mark.parametrize(
    ("rows", "there"),
    [
        ((sent(1, aborted), sent(2, aborted)), False),
        ((sent(1, aborted), row(2)), False),
        ((sent(1, float32_bytes=0),), False),
        ((sent(1, aborted), sent(2)), True),
    ],
)
def test_guarantee_10_it_takes_a_finished_round(rows, there):
    assert shown(report(rows=rows)) == there


def test_figures_are_sums_over_all_rounds():
    text = text_of(CASES["compressed"])
    assert "Upload, all clients 69.0 kB in 3 rounds" in text
    assert "The same updates, whole 552 kB as float32" in text
    assert "Upload against float32 1/8.00 everything counted, keys and shares included" in text
    assert "Coordinates sent 922 by a client in a round: 20.0 % of 4 610 parameters" in text
    assert "in 1 round " in text_of(CASES["one round"])


def test_coordinates_are_told_where_they_are_fewer_or_more():
    assert "Coordinates sent 8 192 by a client in a round: 177.7 % of 4 610" in text_of(CASES["more than float32"])
    assert "Upload against float32 1.02 ×" in text_of(CASES["more than float32"])
    for name in ("whole", "no coordinates"):
        assert "Coordinates sent" not in text_of(CASES[name])
        assert "Upload against float32 1/8.00" in text_of(CASES[name])


def test_guarantee_10_aborted_rounds_count_and_it_is_said_what_they_do():
    text = text_of(CASES["an aborted round"])
    assert "Upload, all clients 47.0 kB in 3 rounds, 1 of them aborted" in text
    assert "Upload against float32 1/11.7" in text  # 552 / 47
    assert (
        "Aborted rounds count: 1 round took 1.00 kB of upload, of clients whose whole updates weigh 184 kB, and "
        "released nothing. Finished rounds alone: 1/8.00 of float32." in text
    )
    assert "Aborted rounds count" not in text_of(CASES["compressed"])
    text = text_of(CASES["nobody trained"])
    assert "Upload, all clients 23.5 kB in 2 rounds, 1 of them aborted" in text
    assert "1 round took 500 B of upload, of clients whose whole updates weigh 0 B" in text


def test_rounds_without_word_of_float32_are_left_out_of_the_ratio_and_not_of_the_curve():
    case = CASES["partly old"]
    text = text_of(case)
    assert "Upload, all clients 23.0 kB in 1 round" in text
    assert "Upload against float32 1/8.00" in text
    assert "Of 1 round it was not recorded what whole updates weigh" in text
    assert points_of(case, "held out at the server") == [(612.001, 50.2), (635.001, 50.5)]
    assert [cells[1:5] for cells in table(case, "upload-table")[1:]] == [
        ["612", "–", "–", "612"],
        ["23", "184", "12.5", "635"],
    ]
    assert "not recorded" not in text_of(CASES["compressed"])


def chart(case, key):
    page = words(render_run_report(case))
    start = page.index(f"{key}-title")
    return page[start : page.index("</svg>", start)]


def test_accuracy_is_drawn_over_the_bytes_of_all_rounds_so_far_from_none():
    case = report(rows=(sent(1), sent(2, aborted, upload_bytes=1000), sent(3, federated_accuracy=0.75)))
    assert points_of(case, "held out at the server")[-3:] == [(23.0, 50.2), (24.0, 50.5), (47.0, 50.7)]
    assert "adds bytes and leaves the model as it was" in text_of(case)
    assert "adds bytes" not in text_of(CASES["compressed"])
    drawing = chart(case, "upload-chart")
    assert "<title>at the clients, 47: 75.0 %</title>" in drawing
    assert "<title>round 2: aborted</title>" in drawing
    assert "kB uploaded so far, all clients" in drawing
    axis = [int(x) for x in re.findall(r'text-anchor="middle">(\d+)</text>', drawing)]
    assert axis[0] == 0
    assert axis[-1] >= 40


@pytest.mark.parametrize(
    ("upload", "unit", "place"),
    [
        (3, "B", 3),
        (4_900, "B", 4_900),
        (5_100, "kB", 5.1),
        (4_900_000, "kB", 4_900),
        (5_100_000, "MB", 5.1),
        (7e12, "TB", 7),
    ],
)
def test_bytes_are_counted_in_a_unit_of_which_there_are_a_few(upload, unit, place):
    case = report(rows=(sent(1, upload_bytes=int(upload)),))
    assert f"{unit} uploaded so far" in text_of(case)
    assert points_of(case, "held out at the server") == [(place, 50.2)]


def test_a_clip_that_moves_is_drawn_and_one_that_does_not_is_not():
    case = CASES["a clip that moves, aborted"]
    assert points_of(case, "encoding.clip") == [(1, 0.5), (2, 0.25)]
    assert "<title>round 2: aborted</title>" in chart(case, "encoding-clip-chart")
    assert [cells[-1] for cells in table(case, "upload-table")] == ["Clip of the encoding", "0.500", "0.250", "–"]
    for name in ("compressed", "one round", "private"):
        assert "encoding-clip-chart" not in render_run_report(CASES[name])
        assert "Clip of the encoding" not in text_of(CASES[name])


def test_every_round_has_its_ratio_in_the_table():
    headings, *lines = table(CASES["an aborted round"], "upload-table")
    assert [words(heading) for heading in headings] == [
        "Round",
        "Upload kB",
        "Whole, float32 kB",
        "Ratio % of float32",
        "Upload so far kB",
        "Accuracy held out",
    ]
    assert [[words(cell) for cell in cells] for cells in lines] == [
        ["1", "23.0", "184", "12.5", "23.0", "50.2 %"],
        ["2", "1.0", "184", "0.5", "24.0", "50.5 %"],
        ["3", "23.0", "184", "12.5", "47.0", "50.7 %"],
    ]


def test_it_is_said_that_downloads_are_whole_and_what_else_is_not_counted():
    for case in CASES.values():
        assert "Downloads are not compressed: every client that trains fetches the whole model" in text_of(case)
    assert "18.4 kB as float32" in text_of(CASES["compressed"])
    assert "the traffic of evaluations at the clients and of the committee." in text_of(CASES["evaluations"])
    assert "Not counted here" not in text_of(CASES["compressed"])


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (None, "–"),
        (0.0, "0 × float32"),
        (1 / 12.34, "1/12.3 of float32"),
        (0.5, "1/2.00 of float32"),
        (0.75, "0.750 × float32"),
        (1.0, "1.00 × float32"),
        (1.02, "1.02 × float32"),
        (31.5, "31.5 × float32"),
    ],
)
def test_a_ratio_is_said_as_people_say_it(ratio, said):
    assert words(ratio_words(ratio)) == said


def test_doctests():
    results = doctest.testmod(run_upload)
    assert results.attempted > 0
    assert results.failed == 0


ROWS = st.lists(
    st.builds(
        lambda make, **values: (make, values),
        make=st.sampled_from([row, aborted]),
        upload_bytes=st.integers(0, 10**15),
        float32_bytes=st.integers(0, 10**12),
        coordinates=st.none() | st.integers(1, 10**7),
        encoding_clip=st.none() | st.sampled_from([0.25, 1.0]),
    ),
    max_size=5,
)


@given(ROWS)
def test_any_rows_give_a_page_and_a_ratio_of_sums(parts):
    rows = tuple(make(number, **values) for number, (make, values) in enumerate(parts, start=1))
    check_well_formed(render_run_report(report(rows=rows, view=None)))
    known = [one for one in rows if one.float32_bytes > 0 or one.coordinates is not None]
    whole = sum(one.float32_bytes for one in known)
    assert Uploaded.of(rows).ratio == (sum(one.upload_bytes for one in known) / whole if whole else None)


# The answer of `privfl run`.


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(JOB, encoding="utf-8")
    return str(path)


def answer(capsys, *arguments):
    code = main(["run", *arguments])
    return code, capsys.readouterr().out


def text_of_page(path):
    return words(Page(path.read_text(encoding="utf-8")).text)


def test_the_answer_has_the_ratio_and_a_line_where_the_job_compresses(job, capsys):
    compressed = ["--set", "compression.keep=random", "--set", "compression.fraction=0.25"]
    code, out = answer(capsys, job, "--out", "a", "--json", *compressed)
    assert code == 0
    summary = json.loads(out)
    whole = sum(one["float32_bytes"] for one in summary["metrics"])
    assert whole == 2 * 10 * 4 * summary["parameters"]
    assert summary["upload_ratio_to_float32"] == summary["upload_bytes"] / whole
    code, out = answer(capsys, job, "--out", "b", *compressed)
    assert code == 0
    lines = Path("b/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ratio = Uploaded.of([RoundMetrics(**json.loads(one)) for one in lines]).ratio
    told = next(one for one in out.splitlines() if one.startswith("uploaded: "))
    assert told.endswith(ratio_words(ratio))
    text = text_of_page(Path("b/report.html"))
    assert f"Upload against float32 {words(ratio_text(ratio))} everything counted" in text
    assert "Coordinates sent" in text


def test_the_line_is_left_out_where_it_is_no_news(job, capsys):
    code, out = answer(capsys, job, "--out", "a")
    assert code == 0
    assert "uploaded: " not in out
    assert "float32" not in out


def test_an_answer_of_nothing_released_boasts_of_no_ratio(job, capsys):
    gone = "[{round = 1, clients = [0,1,2,3,4,5,6,7,8]}]"
    arguments = ["--set", "rounds=1", "--set", f"failures.drop={gone}", "--set", "compression.rotate=true"]
    code, out = answer(capsys, job, "--out", "a", *arguments)
    assert code == 1
    assert "uploaded: " not in out
