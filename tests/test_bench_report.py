"""The report of a benchmark: what it says follows from the records, all of them, and from nothing else."""

import json
import math
import re
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report import Page, check_self_contained, check_well_formed
from test_report_pieces import ANY_FLOAT, WORDS, parse

from privfl.bench.growth import growths
from privfl.bench.plots import write_plots
from privfl.errors import ConfigurationError, MissingExtra
from privfl.report.bench_content import BenchReport
from privfl.report.bench_records import goal_records
from privfl.report.bench_report import render_bench_report
from privfl.report.charts import (
    LogChart,
    LogSeries,
    Measure,
    Reach,
    ScatterChart,
    ScatterPoint,
    log_chart,
    scatter_chart,
)

MACHINE = {"privfl": "0.1.0", "python": "3.11.7", "processor": "A processor", "cores": "2", "date": "2026-01-02"}
COST = {"plain": (1.0, 1.0, 1.0), "masking": (20.0, 4.0, 1.1), "kahe": (30.0, 3.0, 1.2), "ckks": (10.0, 9.0, 5.0)}
EVIL = "<script>alert(1)</script>\"'&`<b>`\x00\u202e"
SECTIONS = (
    "verdict",
    "peers",
    "goals",
    "jobs",
    "growth-clients",
    "cpu",
    "bytes",
    "memory",
    "dropouts",
    "privacy",
    "cells",
)


def cell(suite="masking", clients=10, parameters=1000, **changes):
    client, server, upload = COST.get(suite, (50.0, 30.0, 2.0))
    values = {
        "suite": suite,
        "kind": "suite" if suite in COST else "peer",
        "protection": f"what {suite} is worth",
        "clients": clients,
        "parameters": parameters,
        "dropout": 0.1,
        "privacy": "none",
        "server": "honest-but-curious" if suite in COST else None,
        "wire": "words" if suite in COST else None,
        "contributors": clients - clients // 10,
        "phases": {
            "First": {"client_cpu_s": 3.0, "server_cpu_s": 0.25, "upload_bytes": 10 * clients, "download_bytes": 70},
            "Second": {"client_cpu_s": 1.0, "server_cpu_s": 0.75, "upload_bytes": 90 * clients, "download_bytes": 30},
        },
        "client_cpu_s": 1e-3 * client,
        "encode_cpu_s": 2e-4 * client,
        "server_cpu_s": 1e-3 * server * clients,
        "decode_cpu_s": 1e-5,
        "committee_cpu_s": 0.5 if suite == "ckks" else 0.0,
        "committee_bytes": 640_000 if suite == "ckks" else 0,
        "ceremony_cpu_s": 2.0 if suite == "ckks" else 0.0,
        "upload_bytes": 4 * parameters * clients * upload,
        "download_bytes": 64 * clients,
        "upload_bytes_per_contributor": 4 * parameters * upload,
        "server_peak_bytes": 16 * parameters + 100 * clients if suite in COST else None,
        "client_peak_bytes": None,
        "max_abs_error": 3e-6 if suite in {"kahe", "ckks"} else 0.0,
        "error_std_of_mean": 1e-6 if suite in {"kahe", "ckks"} else 0.0,
        "promised_error_std_of_mean": 1.1e-6 if suite in {"kahe", "ckks"} else 0.0,
        "ratio_to_plain": client * 0.9,
        "client_ratio_to_plain": client,
        "server_ratio_to_plain": server,
        "upload_ratio_to_plain": upload,
        "spread": {
            "client_cpu_s": [0.9e-3 * client, 1.1e-3 * client],
            "client_ratio_to_plain": [0.9 * client, 1.1 * client],
            "server_ratio_to_plain": [0.95 * server, 1.05 * server],
            "ratio_to_plain": [0.8 * client, client],
        },
        "repeat": 5,
        "workers": 1,
        "machine": MACHINE,
    }
    return values | changes


def goal(key="mask", measured=1.2, limit=1.25, *, at_least=False, **changes):
    values = {
        "key": key,
        "what": f"The goal {key} is kept.",
        "measured": measured,
        "unit": "× the bare loop",
        "limit": limit,
        "at_least": at_least,
        "reached": measured >= limit if at_least else measured <= limit,
        "spread": [measured * 0.999, measured * 1.001],
        "detail": f"On what {key} was measured.",
        "machine": MACHINE,
    }
    return values | changes


def job(suite="masking", privacy="none", epsilon=None, **changes):
    values = {
        "suite": suite,
        "privacy": privacy,
        "epsilon": epsilon,
        "delta": None if epsilon is None else 1e-5,
        "bits": 16,
        "wire": "words",
        "clients": 50,
        "rounds": 20,
        "parameters": 100_000,
        "accuracy": 0.9375,
        "accuracy_std": 0.005,
        "seeds": [1, 2, 3],
        "seconds": 1.5,
        "secure_seconds": 0.25,
        "upload_bytes": 410_000,
        "download_bytes": 400_000,
        "ratio_to_plain": 1.06,
        "machine": MACHINE,
    }
    return values | changes


SUITES = tuple(COST)
CELLS = (
    *(cell(suite, n, dropout=d) for n in (10, 30, 100, 300) for d in (0.0, 0.1) for suite in SUITES),
    *(cell(suite, 10, m) for m in (10_000, 100_000) for suite in SUITES),
    *(cell(peer, 100) for peer in ("flower", "float32-mean")),
    *(cell("masking", 100, privacy=mode, client_cpu_s=0.05) for mode in ("client-central", "client-distributed")),
    cell("masking", 100, wire="packed", upload_bytes_per_contributor=3000.0, upload_ratio_to_plain=0.75),
)
GOALS = (goal(), goal("slow", 9.5, 8.0), goal("many", 3.2, 3.0, at_least=True), goal("few", 2.9, 3.0, at_least=True))
JOBS = (job(), job("kahe"), job("plain", ratio_to_plain=1.0), job("masking", "client-distributed", 4.0, accuracy=0.875))
WHOLE = BenchReport(
    cells=CELLS,
    goals=GOALS,
    jobs=JOBS,
    growth=growths(CELLS),
    skipped=(("Peer nvflare", "not installed: `pip install nvflare`"),),
    command="privfl bench --out bench",
    machine=MACHINE,
)
CASES = {
    "whole": WHOLE,
    "nothing": BenchReport(),
    "one cell": BenchReport(cells=(cell(),)),
    "plain alone": BenchReport(cells=(cell("plain"), cell("plain", 100))),
    "peers alone": BenchReport(cells=(cell("flower"), cell("tenseal"))),
    "nulls": BenchReport(
        cells=(
            cell("flower", protection=None, spread={"client_cpu_s": None}, phases={"All": {"client_cpu_s": None}}),
            cell("kahe", **dict.fromkeys(("max_abs_error", "ratio_to_plain", "client_cpu_s", "repeat", "workers"))),
        )
    ),
    "goals alone": BenchReport(goals=GOALS),
    "jobs alone": BenchReport(jobs=JOBS),
    "bare cells": BenchReport(cells=({"suite": "kahe", "clients": 5, "parameters": 9},)),
    "no numbers": BenchReport(
        cells=(cell(client_cpu_s=math.nan, server_cpu_s=math.inf, upload_bytes_per_contributor=None),),
        goals=(goal(measured=math.nan, spread=None),),
        jobs=(job(accuracy=math.nan, seconds=None), job(accuracy=None, accuracy_std=None, upload_bytes=0)),
    ),
    "many suites": BenchReport(
        cells=tuple(cell(f"suite-{n}", kind="suite") for n in range(9)), jobs=tuple(job(f"suite-{n}") for n in range(9))
    ),
    "noise alone": BenchReport(cells=(cell(privacy="client-central"),)),
    "skipped alone": BenchReport(skipped=(("everything", "no time"),)),
}


def section(page, key):
    found = re.search(rf'<section id="{key}".*?</section>', page, re.DOTALL)
    return found.group() if found else ""


def rows(page, key):
    table = re.search(rf'<table id="{key}".*?</table>', page, re.DOTALL).group()
    return [[text.strip() for text in cells] for cells in Page(table).cells]


def row_of(page, key, name):
    (found,) = [cells for cells in rows(page, key) if cells[0] == name]
    return found


def sentences(page, key):
    return Page(section(page, key)).text


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_report_is_well_formed(case):
    check_well_formed(render_bench_report(case))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_guarantee_1_nothing_is_loaded_and_nothing_runs(case):
    check_self_contained(render_bench_report(case))


def test_guarantee_2_every_text_is_escaped_and_seen():
    cells = (
        cell(EVIL, protection=EVIL, machine={"processor": EVIL}, phases={EVIL: {"client_cpu_s": 1.0}}),
        *(cell(EVIL, n, kind="suite", wire=EVIL) for n in (10, 30, 100)),
        cell(EVIL, privacy=EVIL),
    )
    page = render_bench_report(
        BenchReport(
            cells=cells,
            goals=(goal(EVIL, what=EVIL, unit=EVIL, detail=EVIL),),
            jobs=(job(EVIL, EVIL, wire=EVIL),),
            growth=tuple(replace(one, assumptions=(EVIL,)) for one in growths(cells)),
            skipped=((EVIL, EVIL),),
            command=EVIL,
            machine={EVIL: EVIL, "processor": EVIL},
        )
    )
    assert "<script" not in page
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "\x00" not in page
    assert Page(page).text.count("<script>alert(1)</script>") >= 20
    check_well_formed(page)


def test_guarantee_3_equal_reports_give_equal_bytes():
    again = BenchReport(
        cells=json.loads(json.dumps(CELLS)),
        goals=json.loads(json.dumps(GOALS)),
        jobs=json.loads(json.dumps(JOBS)),
        growth=growths(json.loads(json.dumps(CELLS))),
        skipped=WHOLE.skipped,
        command=WHOLE.command,
        machine=dict(MACHINE),
    )
    assert render_bench_report(again) == render_bench_report(WHOLE)


def test_guarantee_4_every_goal_stands_there_reached_or_not_by_its_own_figures():
    page = render_bench_report(WHOLE)
    found = {cells[0]: cells for cells in rows(page, "goals-table")[1:]}
    assert {name: cells[1] for name, cells in found.items()} == {
        "The goal mask is kept.": "✓ reached",
        "The goal slow is kept.": "✗ not reached",
        "The goal many is kept.": "✓ reached",
        "The goal few is kept.": "✗ not reached",
    }
    assert found["The goal few is kept."][2:] == ["2.90", "≥ 3", "× the bare loop", "few"]
    assert ["few", "On what few was measured."] in rows(page, "goals-grounds")
    assert "2 of 4 reached" in sentences(page, "goals")
    assert "2 of 4" in page[: page.index("<section")]


@pytest.mark.parametrize("at_least", [False, True])
def test_guarantee_4_a_limit_that_is_met_exactly_is_reached_and_a_lie_is_told(at_least):
    (exact,) = goal_records([goal(measured=2.0, limit=2.0, at_least=at_least)])
    assert exact.holds
    worse = goal(measured=1.0 if at_least else 3.0, limit=2.0, at_least=at_least, reached=True)
    page = render_bench_report(BenchReport(goals=(worse,)))
    assert "✗ not reached; the record says reached" in sentences(page, "goals")
    assert "0 of 1 reached" in sentences(page, "goals")


def test_guarantee_4_no_number_reaches_no_goal():
    page = render_bench_report(BenchReport(goals=(goal(measured=math.nan, spread=None, reached=None),)))
    assert "✗ not reached" in sentences(page, "goals")


def test_a_limit_within_the_quartiles_is_said():
    page = render_bench_report(BenchReport(goals=(goal(measured=1.2, limit=1.25, spread=[1.1, 1.3]),)))
    assert "✓ reached, but the limit lies within the quartiles" in sentences(page, "goals")


def test_guarantee_5_the_opening_names_the_cheapest_that_protects_for_each_party():
    page = render_bench_report(WHOLE)
    told = sentences(page, "verdict")
    assert "100 clients, of whom 10\u202f% drop out, and 1\u202f000 parameters" in told
    assert re.search(r"ckks\s+asks least of a client: 10.0\u202fms of CPU, 10.0\u202f×\s+plain", told)
    assert re.search(r"kahe\s+asks least of the server: 300\u202fms of CPU, 3.00\u202f×\s+plain", told)
    assert re.search(r"masking, packed\s+sends least: 3.00\u202fkB a client, 0.750\u202f×\s+plain", told)
    # 50 / 10, 30 / 9, 2 / 5: of the suite that asks least of a client.
    assert re.search(
        r"flower\s+takes 5.00\u202f× the client’s CPU, 3.33\u202f× the server’s CPU, 0.400\u202f× the upload of\s+ckks",
        told,
    )
    assert re.search(
        r"ckks\s+a committee works too: 500\u202fms of CPU and 640\u202fkB a session, and 2.00\u202fs", told
    )
    assert "float32-mean takes" not in re.sub(r"[ \n]+", " ", told)
    opening = page[: page.index("<section")]
    assert re.sub(r"</?code>", "", opening).count("ckks asks least of a client; kahe asks least of the server") == 1


def test_guarantee_5_other_records_another_answer():
    """No sentence is there whatever was measured: with one suite made cheap, it is the one that is named."""
    for suite in ("masking", "kahe", "ckks"):
        cheap = {"client_cpu_s": 1e-6, "server_cpu_s": 1e-6, "upload_bytes_per_contributor": 1.0}
        cells = [cell(one, **(cheap if one == suite else {})) for one in SUITES]
        page = render_bench_report(BenchReport(cells=cells))
        opening = re.sub(r"</?code>", "", page[: page.index("<section")])
        assert f"{suite} asks least of a client, asks least of the server and sends least." in opening
    assert "least" not in Page(render_bench_report(BenchReport(cells=(cell("plain"), cell("flower"))))).text


def test_guarantee_5_what_overlaps_is_not_told_apart():
    near = cell("kahe", client_cpu_s=0.0201, spread={"client_ratio_to_plain": [19.0, 23.0]})
    cells = [cell("plain"), cell("masking"), near]
    told = re.sub(r"[ \n]+", " ", sentences(render_bench_report(BenchReport(cells=cells)), "verdict"))
    assert "This run does not tell it from kahe : their quartiles overlap." in told
    cells[-1] = cell("kahe")
    assert "quartiles overlap" not in render_bench_report(BenchReport(cells=cells))


def test_the_table_holds_the_figures_of_the_records():
    page = render_bench_report(WHOLE)
    assert row_of(page, "verdict-table", "masking, words")[1:] == [
        "what masking is worth",
        "20.0",
        "20.0 (18.0–22.0)",
        "400",
        "4.00 (3.80–4.20)",
        "0.00440",
        "1.100",
        "18.0 (16.0–20.0)",
        "exact",
    ]
    assert row_of(page, "verdict-table", "kahe")[-1] == "3.0·10⁻⁶"
    names = [cells[0] for cells in rows(page, "verdict-table")[1:]]
    assert names == ["plain", "masking, words", "masking, packed", "kahe", "ckks", "flower", "float32-mean"]


def test_peers_stand_beside_every_suite_that_protects():
    page = render_bench_report(WHOLE)
    assert rows(page, "peers-table")[0][2:] == ["masking, words ×", "masking, packed ×", "kahe ×", "ckks ×"]
    assert rows(page, "peers-table")[1:] == [
        ["flower", "client CPU", "2.50", "2.50", "1.67", "5.00"],
        ["flower", "server CPU", "7.50", "7.50", "10.0", "3.33"],
        ["flower", "upload", "1.82", "2.67", "1.67", "0.400"],
    ]
    assert not section(render_bench_report(BenchReport(cells=(cell(), cell("float32-mean")))), "peers")


def test_an_error_above_its_promise_is_said():
    cells = (cell("kahe", error_std_of_mean=2e-6, promised_error_std_of_mean=1e-6), cell("ckks"))
    told = re.sub(r"[ \n]+", " ", sentences(render_bench_report(BenchReport(cells=cells)), "verdict"))
    assert "That of kahe is more than the 1.0·10⁻⁶ promised." in told
    assert "That of ckks" not in told


def test_a_mean_that_came_out_exact_is_no_promise():
    cells = (cell("masking"), cell("kahe", max_abs_error=0.0, error_std_of_mean=0.0, promised_error_std_of_mean=4e-7))
    told = re.sub(r"[ \n]+", " ", sentences(render_bench_report(BenchReport(cells=cells)), "verdict"))
    assert "The mean that masking gives is exact" in told
    assert "The mean that kahe gives came out exact; a standard deviation of up to 4.0·10⁻⁷" in told


def test_the_size_compared_at_is_the_largest_that_most_share():
    cells = [cell(suite, n) for suite in SUITES for n in (10, 100)] + [cell("masking", 1000)]
    page = render_bench_report(BenchReport(cells=cells))
    assert "A session of 100 clients" in sentences(page, "verdict")
    cells.append(cell("flower", 10))
    told = sentences(render_bench_report(BenchReport(cells=cells)), "verdict")
    assert "A session of 10 clients" in told


def test_phases_share_a_clients_median_as_all_clients_together_do():
    page = render_bench_report(BenchReport(cells=(cell("masking"),)))
    found = {cells[1]: cells for cells in rows(page, "phases")[1:]}
    assert list(found) == ["encoding", "First", "Second", "decoding"]
    assert [found[name][2] for name in found] == ["4.00", "12.0", "4.00", "–"]  # 20 ms, of them 4 of encoding; 3 : 1
    assert [found[name][3] for name in found] == ["–", "250", "750", "0.0100"]
    assert found["Second"][5] == "90\u202fB"


def test_bytes_are_those_of_the_records():
    page = render_bench_report(BenchReport(cells=(cell("ckks"),)))
    assert row_of(page, "bytes-table", "ckks")[1:] == ["0.0200", "160", "5.000", "6.40·10⁻⁵", "640\u202fkB"]


def test_memory_and_drop_outs_and_noise_have_their_sections():
    page = render_bench_report(WHOLE)
    assert row_of(page, "memory-table", "kahe")[1:] == ["26.0\u202fkB", "6.50", "–"]
    both = [cells[:3] for cells in rows(page, "dropouts-table")[1:] if cells[0] == "kahe"]
    assert both == [["kahe", "0\u202f%", "90"], ["kahe", "10\u202f%", "90"]]
    told = re.sub(r"[ \n]+", " ", sentences(page, "privacy"))
    assert "masking with client-distributed takes 2.50\u202f× a client’s CPU, 1.00\u202f× the server’s" in told
    modes = [cells[1] for cells in rows(page, "privacy-table")[1:] if cells[0] == "masking, words"]
    assert modes == ["none", "client-central", "client-distributed"]


def test_growth_is_told_with_exponents_projections_and_assumptions():
    page = render_bench_report(WHOLE)
    server = [cells for cells in rows(page, "exponents-clients")[1:] if cells[:2] == ["ckks", "server CPU"]]
    assert server[0][2:] == ["1.00 ± 0.00", "a power", "10–300", "4 of 4", "1\u202f000", "10\u202f%"]
    projected = [cells for cells in rows(page, "projections")[1:] if cells[:2] == ["ckks", "server CPU"]]
    assert [cells[2:4] for cells in projected] == [
        ["100\u202f000", "15\u202fmin 00\u202fs"],
        ["1\u202f000\u202f000", "2\u202fh 30\u202fmin"],
    ]
    assert {cells[-1] for cells in rows(page, "projections") if cells[0] == "kahe"} == {"no session"}
    upload = [cells[-1] for cells in rows(page, "projections") if cells[:2] == ["plain", "upload a client"]]
    assert upload == ["8.07\u202fkB; curve −50\u202f%"] * 2
    told = sentences(page, "growth-clients")
    assert "Of 4 sizes the 4 largest are fitted" in told
    assert "encoding.bits" in told


def test_an_interval_that_says_nothing_is_not_shown_as_if_it_did():
    noisy = [cell(n, client_cpu_s=value) for n, value in ((10, 0.01), (30, 0.1), (100, 0.02))]
    noisy = [one | {"suite": "ckks", "clients": n} for one, n in zip(noisy, (10, 30, 100), strict=True)]
    page = render_bench_report(BenchReport(cells=noisy, growth=growths(noisy)))
    guesses = [cells[3] for cells in rows(page, "projections") if cells[1] == "client CPU"]
    assert len(guesses) == 2
    assert all(guess.endswith("(anything)") for guess in guesses)


def test_jobs_are_told_and_drawn():
    page = render_bench_report(WHOLE)
    told = re.sub(r"[ \n]+", " ", sentences(page, "jobs"))
    assert "50 clients, 20 rounds, 100\u202f000 parameters" in told
    assert "Without differential privacy, accuracy lies between 93.8\u202f% and 93.8\u202f% over 3 jobs." in told
    private = [cells for cells in rows(page, "jobs-table") if cells[1] == "client-distributed"]
    assert private[0][2:6] == ["4.00", "10⁻⁵", "16", "87.5\u202f% ± 0.5\u202f%"]
    drawing = re.search(r"<svg[^>]*jobs-scatter.*?</svg>", page, re.DOTALL).group()
    assert drawing.count('class="sized"') == len(JOBS) + 3  # and the legend


def test_jobs_that_differ_stand_apart_and_what_is_compared_is_one_job():
    wide = (
        job("plain", job="wide", ratio_to_plain=1.0),
        job("kahe", job="wide", ratio_to_plain=1.5, spread={"ratio_to_plain": [1.4, 1.6]}),
        job("kahe", job="wide", wire="packed", ratio_to_plain=1.7),
        job("kahe", job="wide", wire="packed", bits=8, ratio_to_plain=1.6),
    )
    linear = (
        job("plain", job="linear", clients=100, ratio_to_plain=1.0),
        job("kahe", "client-distributed", 2.0, job="linear", clients=100, ratio_to_plain=9.0),
        job("kahe", "client-distributed", 4.0, job="linear", clients=100, ratio_to_plain=8.0),
    )
    page = render_bench_report(BenchReport(jobs=(wide[0], *linear, *wide[1:])))  # in whatever order they were run
    first, second = (re.sub(r"[ \n]+", " ", sentences(page, key)) for key in ("jobs", "jobs-2"))
    assert "50 clients" in first
    assert "100 clients" in second
    assert "takes 1.50 × ( kahe, words, 16 bits ) to 1.70 × ( kahe, packed, 16 bits )" in first
    assert "8.00 × ( kahe, client-distributed, ε = 4.00 ) to 9.00 × ( kahe, client-distributed, ε = 2.00 )" in second
    assert [cells[8] for cells in rows(page, "jobs-table")[1:]] == ["1.00", "1.50 (1.40–1.60)", "1.70", "1.60"]
    assert len(rows(page, "jobs-2-table")) == 1 + len(linear)
    bars = re.search(r"<svg[^>]*jobs-rounds.*?</svg>", page, re.DOTALL).group()
    assert all(name in bars for name in ("kahe, words, 16 bits", "kahe, packed, 16 bits", "kahe, packed, 8 bits"))
    assert len(re.findall(r'id="([^"]+)"', page)) == len(set(re.findall(r'id="([^"]+)"', page)))


def test_guarantee_6_every_cell_and_everything_skipped_stands_there():
    page = render_bench_report(WHOLE)
    assert len(rows(page, "cells-table")) == len(CELLS) + 1
    skipped = sentences(page, "skipped")
    assert "Peer nvflare" in skipped
    assert "pip install nvflare" in skipped


def test_sections_without_records_are_left_out():
    page = render_bench_report(WHOLE)
    assert all(section(page, key) for key in (*SECTIONS, "skipped", "rerun"))
    bare = render_bench_report(BenchReport())
    assert not any(section(bare, key) for key in (*SECTIONS, "skipped", "rerun"))
    assert "Nothing was measured" in bare
    only = render_bench_report(CASES["goals alone"])
    assert [key for key in SECTIONS if section(only, key)] == ["goals"]
    assert not section(render_bench_report(BenchReport(cells=(cell(),))), "dropouts")


def test_the_machine_and_the_command_end_the_page_and_another_machine_is_said():
    page = render_bench_report(WHOLE)
    told = sentences(page, "rerun")
    assert "privfl bench --out bench" in told
    assert "3.11.7" in told
    assert "another machine" not in page
    later = [cell("kahe", machine=MACHINE | {"date": "2026-03-04", "tenseal": "1.2"}), cell("ckks", machine={})]
    assert "another machine" not in render_bench_report(replace(WHOLE, cells=later))
    other = [cell("kahe", machine=MACHINE | {"processor": "Another"})]
    assert "1 of the records above name another machine" in render_bench_report(replace(WHOLE, cells=other))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"cells": ({"suite": "kahe"},)}, "cell 1"),
        ({"goals": (goal(), {"key": "x"})}, "goal 2"),
        ({"jobs": (job(accuracy="good"),)}, "job 1"),
    ],
)
def test_a_record_that_cannot_be_read_is_named(changes, where):
    with pytest.raises(ConfigurationError, match=where):
        render_bench_report(BenchReport(**changes))


# Charts.


@given(
    st.lists(st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT), max_size=8), min_size=1, max_size=4),
    st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT, ANY_FLOAT, ANY_FLOAT), max_size=3),
    st.sampled_from(Measure),
)
def test_growth_draws_whatever_was_measured(lines, reaches, measure):
    series = tuple(
        LogSeries(
            label=f"series {index}",
            points=tuple(points),
            reaches=tuple(Reach(x=x, value=value, low=low, high=high) for x, value, low, high in reaches),
        )
        for index, points in enumerate(lines)
    )
    drawing = log_chart(LogChart(**WORDS, x_label="clients", measure=measure, series=series))
    assert "nan" not in drawing
    within(parse(drawing))


def within(root):
    width, height = (float(part) for part in root.get("viewBox").split()[2:])
    for one in root.iter("path"):
        if one.get("class") in {"stroke", "projected"}:
            steps = one.get("d").replace("M", "").replace("L", "").split()
            assert all(-0.1 <= float(x) <= width for x in steps[::2])
            assert all(-0.1 <= float(y) <= height for y in steps[1::2])
    for one in root.iter("line"):
        assert all(-0.1 <= float(one.get(name)) <= height for name in ("y1", "y2"))


def test_equal_factors_are_equal_lengths_and_projections_reach_on():
    series = LogSeries(
        label="s",
        points=((10, 1e-3), (100, 1e-2), (1000, 1e-1)),
        reaches=(Reach(x=1e4, value=1.0, low=0.5, high=2.0),),
    )
    root = parse(log_chart(LogChart(**WORDS, x_label="clients", measure=Measure.SECONDS, series=(series,))))
    drawn = [one for one in root.iter("path") if one.get("class") in {"stroke", "projected"}]
    (x0, y0, x1, y1, x2, y2), (_, _, x3, y3) = (
        [float(step) for step in one.get("d").replace("M", "").replace("L", "").split()] for one in drawn
    )
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) == pytest.approx(x3 - x2, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2) == pytest.approx(y2 - y3, abs=0.2)
    texts = [one.text for one in root.iter("text")]
    assert {"1\u202fms", "10\u202fms", "100\u202fms", "1\u202fs", "10", "100", "1\u202f000", "10⁴"} <= set(texts)
    tips = [one.text for one in root.iter("title")]
    assert "s, 100: 10.0\u202fms" in tips
    assert "s, 10\u202f000, projected: 1.00\u202fs, 95\u202f% interval 500\u202fms to 2.00\u202fs" in tips


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.none() | ANY_FLOAT, ANY_FLOAT | st.floats(0, 1), ANY_FLOAT, ANY_FLOAT),
        max_size=9,
    )
)
def test_scatters_draw_whatever_was_measured(found):
    points = tuple(
        ScatterPoint(label="p", series=series, x=x, y=y, size=size, y_error=error)
        for series, x, y, size, error in found
    )
    chart = ScatterChart(**WORDS, x_label="ε", aside_label="none", series=("a", "b", "c", "d"), points=points)
    drawing = scatter_chart(chart)
    assert "nan" not in drawing
    within(parse(drawing))


def test_areas_are_in_proportion_and_what_has_no_place_stands_aside():
    points = tuple(
        ScatterPoint(label=f"p{index}", series=0, x=x, y=0.5, size=size)
        for index, (x, size) in enumerate([(1.0, 100.0), (10.0, 25.0), (None, 100.0), (10.0, 1e-9)])
    )
    root = parse(scatter_chart(ScatterChart(**WORDS, x_label="ε", aside_label="none", series=("a",), points=points)))
    placed = {}
    for one in root.iter("g"):
        if one.get("class") == "sized":
            x, _, scale = (float(part) for part in re.findall(r"[0-9.]+", one.get("transform")))
            placed[one.find("circle").find("title").text] = (x, scale)
    assert placed["p0"][1] == pytest.approx(2 * placed["p1"][1], rel=0.01)
    assert placed["p3"][1] > 0.5  # still seen
    assert placed["p0"][0] < placed["p1"][0] < placed["p2"][0]


@pytest.mark.parametrize("count", [0, 5])
def test_charts_refuse_more_series_than_can_be_told_apart(count):
    with pytest.raises(ConfigurationError):
        LogChart(
            **WORDS,
            x_label="",
            measure=Measure.BYTES,
            series=tuple(LogSeries(label="", points=()) for _ in range(count)),
        )
    with pytest.raises(ConfigurationError):
        ScatterChart(**WORDS, x_label="", aside_label="", series=("s",) * count, points=())
    point = ScatterPoint(label="", series=1, x=1.0, y=0.5, size=1.0)
    with pytest.raises(ConfigurationError):
        ScatterChart(**WORDS, x_label="", aside_label="", series=("s",), points=(point,))


# Plots.


def test_plots_guarantee_1_equal_results_give_equal_bytes(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    files = write_plots(WHOLE, tmp_path / "a")
    again = write_plots(WHOLE, tmp_path / "b")
    assert [one.name for one in files] == [
        "overhead.svg",
        "bytes.svg",
        "growth-clients.svg",
        "growth-parameters.svg",
        "accuracy.svg",
    ]
    for one, other in zip(files, again, strict=True):
        text = one.read_text(encoding="utf-8")
        assert text == other.read_text(encoding="utf-8")
        assert "<dc:date>" not in text
    assert "masking, packed" in files[0].read_text(encoding="utf-8")
    assert "no noise" in files[-1].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["nothing", "no numbers", "one cell", "peers alone", "many suites", "bare cells"])
def test_plots_of_little_are_in_order(tmp_path, name):
    pytest.importorskip("matplotlib", reason="the extra plot is not installed")
    case = CASES[name]
    for one in write_plots(replace(case, growth=growths(case.cells)), tmp_path):
        assert one.read_bytes().endswith(b"</svg>\n")


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"privfl\[plot\]"):
        write_plots(WHOLE, tmp_path)
    assert not list(tmp_path.iterdir())
