"""The report of a run with a fleet, evaluations at the clients, and an early end."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_report import CASES as ELSEWHERE
from test_report import Page, aborted, charge, check_self_contained, check_well_formed, privacy, report, row, spending

from privfl.report import BestModel, render_run_report
from privfl.report.run_reasons import MEANINGS, by_kind, detail_of, format_spans, kind_of, tallies

THIN = "\u202f"
SECTIONS = ("evaluation", "time", "dropouts")


def timed(number, make=row, **changes):
    """A round of seven simulated seconds; three seconds pass between rounds."""
    values = {"simulated_seconds": 7.0, "simulated_clock": 10.0 * number - 3.0, "learning_rate": 0.1}
    return make(number, **(values | changes))


def buffered(number, **changes):
    return timed(number, **({"staleness": 0.5 * number, "staleness_most": 2 * number} | changes))


def lost(number, make=row, **reasons):
    names = {"offline": "offline", "went": "went offline", "battery": "battery empty", "late": "late"}
    return make(number, dropped_because={names[key]: who for key, who in reasons.items()})


def evaluated(number, **changes):
    values = {
        "federated_accuracy": 0.8 + number / 100,
        "federated_loss": 0.6 - number / 100,
        "worst_client_accuracy": 0.25,
        "client_accuracy_quantiles": {"0.1": 0.5, "0.5": 0.75},
        "client_accuracy_histogram": [0, 1, 2, 5],
        "mean_client_accuracy": 0.79,
        "std_client_accuracy": 0.125,
        "evaluated_clients": 8,
        "evaluation_bytes": 91_000,
        "evaluation_seconds": 0.04,
    }
    return row(number, **(values | changes))


def in_vain(number, why="2 of 10 clients uploaded"):
    return row(number, evaluation_aborted_because=why, evaluation_bytes=500, evaluation_seconds=0.01)


FAILED = "training failed: ValueError: no column <b>age</b>"
BEST = BestModel(round=2, measure="accuracy at the clients", value="82.00 %", file="best.npz")
CASES = {
    "a clock": report(rows=(timed(1), timed(2, aborted), timed(3))),
    "a clock of one round": report(rows=(timed(1),)),
    "a clock that stands": report(rows=(timed(1, simulated_seconds=0.0, simulated_clock=0.0),)),
    "a slow clock": report(rows=(timed(1, simulated_seconds=9e5, simulated_clock=9e5),), best=BEST),
    "a clock of part of the rounds": report(rows=(row(1), timed(2))),
    "buffers": report(rows=tuple(buffered(n, dropped_because={"went offline": [n]}) for n in range(1, 51))),
    "buffers, first aborted": report(rows=(timed(1, aborted), buffered(2))),
    "reasons": report(rows=(lost(1, offline=[3], late=[4, 5]), lost(2, aborted, went=[1]), row(3))),
    "many lost": report(rows=tuple(lost(n, offline=range(0, 200, 3), late=range(200)) for n in range(1, 60))),
    "failed": report(rows=(row(1, dropped_because={FAILED: [2], "client 5 was sent no keys": [5]}),)),
    "failed, private": report(
        rows=(spending(1, dropped_because={"training failed": [2]}, simulated_seconds=1.0, simulated_clock=1.0),),
        privacy=privacy(charges=(charge(1),)),
    ),
    "evaluations": report(rows=(row(1), evaluated(2), row(3), evaluated(4)), best=BEST),
    "one evaluation": report(rows=(evaluated(1, federated_loss=None),)),
    "evaluations in vain": report(rows=(in_vain(1), in_vain(2))),
    "evaluations, some in vain": report(
        rows=(evaluated(1, evaluation_failed={"evaluation failed: OSError: full": [7]}), in_vain(2), in_vain(3))
    ),
    "evaluations, bare": report(
        rows=(evaluated(1, client_accuracy_histogram=None, client_accuracy_quantiles=None, std_client_accuracy=None),)
    ),
    "evaluations, plain": report(suite="plain", rows=(evaluated(1, suite="plain"),), view=None),
    "enough": report(enough="accuracy is 0.951: evaluation.target, 0.95, is reached", planned=20, best=BEST),
    "a schedule": report(rows=tuple(row(n, learning_rate=0.1 / n) for n in (1, 2, 3))),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_report_is_well_formed_and_guarantee_1_holds(case):
    page = render_run_report(case)
    check_well_formed(page)
    check_self_contained(page)
    assert page == render_run_report(case)


def sections(case):
    return [key for key in SECTIONS if f'<section id="{key}"' in render_run_report(case)]


@pytest.mark.parametrize("case", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_guarantee_8_without_clock_reasons_and_evaluations_there_is_no_section_of_theirs(case):
    page = render_run_report(case)
    assert sections(case) == []
    for word in ("simulated", "rate-chart", "Best model", 'class="banner calm"'):
        assert word not in page


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("a clock", ["time"]),
        ("a clock of part of the rounds", ["time"]),
        ("buffers", ["time", "dropouts"]),
        ("reasons", ["dropouts"]),
        ("evaluations", ["evaluation"]),
        ("evaluations in vain", ["evaluation"]),
        ("failed, private", ["time", "dropouts"]),
        ("enough", []),
        ("a schedule", []),
    ],
)
def test_guarantee_8_each_has_its_section_where_there_is_any(name, keys):
    assert sections(CASES[name]) == keys
    assert ('href="#time"' in render_run_report(CASES[name])) == ("time" in keys)


def table(case, key):
    """Cells of a table, headings first."""
    page = render_run_report(case)
    start = page.index(f'<table id="{key}"')
    return Page(page[start : page.index("</table>", start) + len("</table>")]).cells


def words(text):
    return re.sub(r"\s+", " ", text.replace(THIN, " "))


def text_of(case):
    return words(Page(render_run_report(case)).text)


# Reasons.


def test_the_tile_counts_whom_the_tables_count():
    """Of a round that aborted those who are known, not everybody who was asked; after the upload is lost as well."""
    case = report(
        rows=(
            row(1, dropped=2, vanished=1),
            aborted(2, dropped_because={"battery empty": [5, 6], "went offline": [6]}),
            row(3, dropped=0),
        )
    )
    assert re.search(r"Drop-outs 5 \S+ % of those asked, in 2 rounds; 1 after the upload, which counts", text_of(case))


def test_a_run_that_released_nothing_shows_whose_accuracy_it_is():
    said = "of the model that the run began with: no round released anything"
    assert said in text_of(report(rows=(aborted(1), aborted(2))))
    assert said not in text_of(report(rows=(aborted(1), row(2))))


def test_the_clients_figures_of_a_plain_run_are_no_secure_sums():
    """Whatever is averaged there, the server has read first."""
    promise = "the secure sum tells the server no client’s own"
    assert promise in text_of(report(rows=(row(1), row(2))))
    assert promise not in text_of(report(suite="plain", rows=(row(1, suite="plain"), row(2, suite="plain"))))


def test_guarantee_9_every_reason_stands_with_who_it_was():
    case = report(
        rows=(
            row(1, dropped=4, dropped_because={"late": [7, 8, 9], "offline": [0]}),
            row(2, dropped=0),
            row(3, dropped=3, vanished=1, dropped_because={"went offline": [4], FAILED: [2]}),
            aborted(4, dropped_because={"battery empty": [5], "client 1 took no part": [1]}),
            row(5, dropped=1),
        )
    )
    headings, *lines = table(case, "dropouts-table")
    assert headings == [
        "Round",
        "In the sum clients",
        "Offline clients",
        "Went offline clients",
        "Battery empty clients",
        "Late clients",
        "Training failed clients",
        "Refused clients",
        "Silent clients, no reason known",
    ]
    assert lines == [
        ["1", "9 of 10", "0", "–", "–", "7–9", "–", "–", "0"],
        ["3", "9 of 10", "–", "4", "–", "–", "2", "–", "2"],
        ["4", "aborted", "–", "–", "5", "–", "–", "1", "–"],
        ["5", "9 of 10", "–", "–", "–", "–", "–", "–", "1"],
    ]
    _, *errors = table(case, "errors-table")
    assert errors == [
        ["client 1 took no part", "refused", "1", "4"],
        ["ValueError: no column <b>age</b>", "training failed", "2", "3"],
    ]
    text = text_of(case)
    for kind in ("offline", "late", "training failed", "refused"):
        assert MEANINGS[kind] in text
    assert MEANINGS["evaluation failed"] not in text


def test_reasons_are_counted_over_rounds_and_so_are_clients():
    case = report(rows=(lost(1, offline=[3, 4], late=[5]), lost(2, offline=[3]), row(3)))
    text = text_of(case)
    assert "offline: 3 times, 2 clients, 2 rounds" in text
    assert "late: 1 time, 1 client, 1 round" in text
    assert "client 3: 2 of 3 rounds; client 4: 1 of 3 rounds; client 5: 1 of 3 rounds." in text
    assert "most often, 194 others less often or as often" in text_of(CASES["many lost"])


def test_a_client_that_two_reasons_name_in_one_round_is_counted_once():
    case = report(rows=(row(1, dropped_because={"training failed: A": [3, 4], "training failed: B": [3]}),))
    assert "training failed: 2 times, 2 clients, 1 round" in text_of(case)
    assert "client 3: 1 of 1 round; client 4: 1 of 1 round." in text_of(case)
    assert len(table(case, "errors-table")) == 3


def test_clients_that_were_lost_before_a_buffer_are_told_of_and_no_silence_is_made_up():
    case = report(rows=tuple(buffered(n, dropped=0, dropped_because={"went offline": [n]}) for n in (1, 2)))
    text = text_of(case)
    assert "had joined no buffer yet" in text
    assert "no reason known" not in text
    assert "every client stayed to the end" not in text
    assert "no reason known" not in text_of(report(rows=(buffered(1, dropped=2, dropped_because={"late": [1]}),)))
    assert "no reason known" in text_of(report(rows=(row(1, dropped=2, dropped_because={"late": [1]}),)))
    assert "had joined no buffer" not in text_of(CASES["reasons"])
    assert "every client stayed to the end" in text_of(report(rows=(row(1, dropped=0),)))


def test_what_a_client_said_is_shown_and_nothing_in_it_is_taken_for_markup():
    page = render_run_report(report(rows=(row(1, dropped_because={f"{FAILED}\u202eevil\x1b": [1]}),)))
    assert "no column &lt;b&gt;age&lt;/b&gt;\ufffdevil\ufffd" in page
    assert "<b>" not in page


def test_under_differential_privacy_it_is_said_why_an_error_is_not_told():
    text = text_of(CASES["failed, private"])
    assert "nothing else is told under differential privacy" in text
    assert "no protection hides it, differential privacy included" in text
    assert "one public number of examples for all of them" in text
    for name in ("failed", "reasons"):
        assert "differential privacy included" not in text_of(CASES[name])
        assert "nothing else is told" not in text_of(CASES[name])


@pytest.mark.parametrize(
    ("reason", "kind", "detail"),
    [
        *((kind, kind, "") for kind in MEANINGS),
        ("training failed: KeyError", "training failed", "KeyError"),
        ("evaluation failed: OSError: disk: full", "evaluation failed", "OSError: disk: full"),
        ("training failed badly", "refused", "training failed badly"),
        ("client 3: offline", "refused", "client 3: offline"),
    ],
)
def test_reasons_have_a_kind_and_say_more(reason, kind, detail):
    assert (kind_of(reason), detail_of(reason)) == (kind, detail)


REASONS = st.dictionaries(
    st.sampled_from([*MEANINGS, "training failed: A", "training failed: B", "who knows"]),
    st.lists(st.integers(0, 30), min_size=1, unique=True),
)


@given(st.lists(REASONS, max_size=6))
def test_tallies_leave_nobody_out(rounds):
    rows = [row(number, dropped_because=reasons) for number, reasons in enumerate(rounds, start=1)]
    found = {tally.reason: tally for tally in tallies(rows)}
    for kind in MEANINGS:
        pairs = {(c, one.round) for one in rows for c in by_kind(one.dropped_because).get(kind, ())}
        assert (kind in found) == bool(pairs)
        if pairs:
            assert found[kind].times == len(pairs)
            assert found[kind].clients == tuple(sorted({client for client, _ in pairs}))
            assert found[kind].rounds == tuple(sorted({number for _, number in pairs}))
    told = {reason for one in rows for reason in one.dropped_because if detail_of(reason)}
    assert {tally.reason for tally in tallies(rows, in_full=True)} == told


@given(st.sets(st.integers(0, 60)), st.integers(1, 20))
def test_spans_tell_every_number_or_how_many_are_left_out(numbers, most):
    text = format_spans(numbers, most=most)
    shown, _, rest = text.partition(" and ")
    told = []
    for part in filter(None, shown.split(", ")):
        first, _, last = part.partition("–")
        told += range(int(first), int(last or first) + 1)
    left_out = int(rest.removesuffix(" more")) if rest else 0
    assert told == sorted(numbers)[: len(told)]
    assert len(told) + left_out == len(numbers)
    assert rest or left_out == 0


# Time.


def points_of(case, label):
    """(x, y) of a series, as its markers tell."""
    page = words(render_run_report(case))
    found = re.findall(rf"<title>{label}, ([\d.e+-]+): ([\d.]+)(?: %)?</title>", page)
    return [(float(x), float(y)) for x, y in found]


def test_accuracy_is_drawn_over_simulated_time_from_its_beginning():
    case = report(rows=(timed(1), timed(2, aborted), timed(3, federated_accuracy=0.75, worst_client_accuracy=0.5)))
    held_out = points_of(case, "held out at the server")[-3:]
    assert held_out == [(7.0, 50.2), (17.0, 50.5), (27.0, 50.7)]
    assert (27.0, 75.0) in points_of(case, "at the clients")
    page = render_run_report(case)
    chart = page[page.index("time-chart-title") :]
    axis = [float(x) for x in re.findall(r'text-anchor="middle">(\d+)</text>', chart[: chart.index("</svg>")])]
    assert axis[0] == 0
    assert "simulated seconds" in chart[: chart.index("</svg>")]
    assert "<title>round 2: aborted</title>" in chart[: chart.index("</svg>")]


def test_what_was_simulated_and_what_was_measured_are_told_apart():
    text = text_of(CASES["a clock"])
    assert "Simulated time 27.0 s for 3 rounds" in text
    assert "A round, simulated 7.00 s in every round" in text
    assert "Between rounds, simulated 6.00 s" in text
    assert "This machine took 2.40 s measured" in text
    assert "Nobody waited for that clock" in text
    headings, *lines = table(CASES["a clock"], "time-table")
    assert [heading.split(" ", 1)[-1] for heading in headings[1:5]] == [
        "seconds, simulated",
        "seconds, simulated",
        "s, simulated",
        "ms, measured",
    ]
    assert [cells[:5] for cells in lines] == [
        ["1", "0.0", "7.0", "7.00", "800"],
        ["2", "10.0", "17.0", "7.00", "800"],
        ["3", "20.0", "27.0", "7.00", "800"],
    ]


@pytest.mark.parametrize(
    ("seconds", "unit"),
    [
        (0.05, "milliseconds"),
        (40, "seconds"),
        (3000, "minutes"),
        (40_000, "hours"),
        (9e5, "days"),
    ],
)
def test_the_clock_counts_in_a_unit_that_people_would_choose(seconds, unit):
    case = report(rows=(timed(1, simulated_seconds=seconds, simulated_clock=seconds),))
    assert f"simulated {unit}" in text_of(case)
    assert "Between rounds" not in text_of(case)


def test_staleness_is_drawn_where_there_are_buffers_and_nowhere_else():
    case = report(rows=(buffered(1), buffered(2), timed(3, aborted), buffered(4)))
    assert points_of(case, "mean") == [(1, 0.5), (2, 1.0), (4, 2.0)]
    assert points_of(case, "largest") == [(1, 2.0), (2, 4.0), (4, 8.0)]
    assert "Staleness 1.17 server steps, mean of the updates; 8 at the most" in text_of(case)
    assert "seconds of a buffer" in text_of(case)
    assert "Staleness" not in text_of(CASES["a clock"])
    assert "seconds of a round" in text_of(CASES["a clock"])


def test_the_best_model_has_its_place_and_its_moment():
    text = text_of(report(rows=(timed(1), timed(2), timed(3)), best=BEST))
    assert "Best model round 2 by accuracy at the clients: 82.00 %; kept in best.npz" in text
    assert "Best model after 17.0 s simulated, with round 2" in text


# Evaluations.


def test_evaluations_stand_in_a_table_with_what_all_and_what_the_worst_reach():
    headings, *lines = table(CASES["evaluations"], "evaluation-table")
    assert [words(heading) for heading in headings] == [
        "After round",
        "In the sum clients",
        "Accuracy together, %",
        "Loss",
        "Mean of clients, %",
        "Deviation points",
        "Worst at least, %",
        "90 % reach at least, %",
        "Median at least, %",
        "Traffic kB",
        "Took ms",
    ]
    figures = ["79.0", "12.5", "25.0", "50.0", "75.0", "91.0", "40.0"]
    assert lines == [["2", "8", "82.00", "0.5800", *figures], ["4", "8", "84.00", "0.5600", *figures]]


def test_accuracy_at_the_clients_is_drawn_with_the_worst_and_quantiles():
    case = report(rows=(evaluated(1), row(2), evaluated(3, worst_client_accuracy=0.5)))
    assert points_of(case, "together") == [(1, 81.0), (3, 83.0)]
    assert points_of(case, "worst") == [(1, 25.0), (3, 50.0)]
    assert points_of(case, "90 % reach") == [(1, 50.0), (3, 50.0)]
    assert points_of(case, "median") == [(1, 75.0), (3, 75.0)]
    assert points_of(case, "at the clients") == [(1, 0.59), (3, 0.57)]


def test_of_many_quantiles_all_stand_in_the_table_and_two_are_drawn():
    many = {"0.05": 0.25, "0.25": 0.5, "0.5": 0.6, "0.9": 0.75}
    case = report(rows=(evaluated(1, client_accuracy_quantiles=many),))
    headings, cells = table(case, "evaluation-table")
    place = [words(heading) for heading in headings].index("95 % reach at least, %")
    assert [words(one) for one in headings[place : place + 4]] == [
        f"{what} at least, %" for what in ("95 % reach", "75 % reach", "Median", "10 % reach")
    ]
    assert cells[place : place + 4] == ["25.0", "50.0", "60.0", "75.0"]
    assert points_of(case, "95 % reach") == [(1, 25.0)]
    assert points_of(case, "median") == [(1, 60.0)]
    assert points_of(case, "75 % reach") == points_of(case, "10 % reach") == []


def test_the_histogram_is_that_of_the_last_evaluation():
    case = report(rows=(evaluated(1, client_accuracy_histogram=[8, 0, 0, 0]), evaluated(2), row(3)))
    text = text_of(case)
    assert "Clients by accuracy, after round 2" in text
    assert "25 % to 50 %: 1; 50 % to 75 %: 2; 75 % to 100 %: 5." in text
    assert "In the lowest band, 25 % to 50 %: 1 client." in text
    page = render_run_report(case)
    chart = page[page.index("clients-histogram-title") :]
    area = re.search(r'class="area"[^>]* d="([^"]+)"', chart[: chart.index("</svg>")])[1]
    heights = [float(y) for y in re.sub("[MLZ]", " ", area).split()[1::2]]
    bottom, levels = heights[0], heights[1:-1:2]
    assert [8 * (bottom - level) / (bottom - levels[3]) for level in levels] == pytest.approx(
        [0, 1.6, 3.2, 8], abs=0.02
    )


def test_what_the_server_learned_is_said_and_what_it_did_not():
    text = text_of(CASES["evaluations"])
    assert "how many clients lie in each band of accuracy (25 points wide)" in text
    assert "It did not learn which client lies in which band" in text
    assert "one secure sum told the server" in text
    text = text_of(CASES["evaluations, plain"])
    assert "The server read what every single client found" in text
    assert "did not learn which client" not in text
    assert "one secure sum told" not in text


def test_evaluations_that_found_nothing_or_missed_clients_say_why():
    case = CASES["evaluations, some in vain"]
    headings, *lines = table(case, "evaluation-table")
    assert [(cells[1], cells[headings.index("Failed at client")]) for cells in lines] == [
        ("8", "7"),
        ("aborted", "–"),
        ("aborted", "–"),
    ]
    assert "Nothing was found after rounds 2, 3: 2 of 10 clients uploaded." in text_of(case)
    assert table(case, "evaluation-errors")[1] == ["OSError: full", "7", "1"]
    assert "Nothing was found" not in text_of(CASES["evaluations"])


# An early end, and schedules.


def test_guarantee_7_an_early_end_is_a_good_one():
    page = render_run_report(CASES["enough"])
    banner = page[page.index('class="banner calm"') : page.index("<section")]
    assert "Enough after 3 of 20 rounds: a good ending" in banner
    assert "Accuracy is 0.951: evaluation.target, 0.95, is reached." in banner
    assert "none aborted; ended early: enough" in page
    assert 'class="banner caution"' not in page
    last = render_run_report(report(enough="enough", planned=3))
    assert "Enough after 3 of 3 rounds" in last
    assert "ended early" not in last


def test_a_learning_rate_is_drawn_where_it_moves():
    assert points_of(CASES["a schedule"], "learning rate of the clients") == [(1, 0.1), (2, 0.05), (3, 0.0333)]
    same = report(rows=tuple(row(n, learning_rate=0.1) for n in (1, 2, 3)))
    assert "rate-chart" not in render_run_report(same)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_does_not_spoil_the_curves(value):
    check_well_formed(render_run_report(report(rows=(evaluated(1, loss=value), evaluated(2)))))
