"""Growth of cost: curves are recovered, intervals hold what they promise, and the planner has its say.

Statistical tests draw from fixed seeds; each states how often it would fail by chance were they others.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from privfl.bench.cells import Cell
from privfl.bench.fits import fisher, fit_curves, student
from privfl.bench.growth import FAR, growths
from privfl.bench.matrix import measure_cell
from privfl.bench.planned import planned_neighbours, planned_upload
from privfl.bench.turns import Repeats
from privfl.errors import ConfigurationError
from privfl.params import WireForm
from privfl.report.bench_content import Axis, Form, Quantity

SIZES = (10, 30, 100, 300, 1000, 3000)


def cell(clients, parameters=1000, suite="masking", **changes):
    """A record whose costs are simple functions of its size."""
    values = {
        "suite": suite,
        "kind": "suite",
        "clients": clients,
        "parameters": parameters,
        "dropout": 0.1,
        "privacy": "none",
        "server": "honest-but-curious",
        "wire": "words",
        "client_cpu_s": 1e-3 * clients**0.5,
        "server_cpu_s": 1e-2 * clients * parameters,
        "upload_bytes_per_contributor": 4.0 * parameters + 64,
        "server_peak_bytes": 8 * parameters + 100 * clients,
    }
    return values | changes


def one(found, quantity, axis=Axis.CLIENTS, suite="masking"):
    (match,) = [g for g in found if g.quantity is quantity and g.axis is axis and g.suite == suite]
    return match


# Curves.


@given(st.floats(-1.5, 3.0), st.floats(1e-9, 1e9), st.integers(3, 12))
def test_an_exact_power_is_recovered_and_goes_on(exponent, scale, count):
    sizes = [round(10 * 2.5**k) for k in range(count)]
    curves = fit_curves([(n, scale * n**exponent) for n in sizes])
    fit, (value, low, high) = curves.fit(), curves.project(1e6)
    assert fit.exponent == pytest.approx(exponent, abs=1e-9)
    assert fit.exponent_error < 1e-9
    assert value == pytest.approx(scale * 1e6**exponent, rel=1e-4)
    assert low <= value * (1 + 1e-12)
    assert high >= value * (1 - 1e-12)


@given(st.floats(0.01, 1e6), st.floats(1e-6, 1e3))
def test_an_exact_constant_with_a_line_is_recovered_and_goes_on(constant, slope):
    curves = fit_curves([(n, constant + slope * n) for n in SIZES])
    value, low, high = curves.project(1e6)
    truth = constant + slope * 1e6
    assert value == pytest.approx(truth, rel=1e-3)
    assert low <= truth * (1 + 1e-3)
    assert high >= truth * (1 - 1e-3)
    if 0.1 < constant / (slope * 1000) < 10:  # neither vanishes beside the other, where the form could not be told
        assert curves.fit().form is Form.LINE
        assert not curves.fit().undecided
        assert curves.fit().constant == pytest.approx(constant, rel=1e-6)


@pytest.mark.parametrize("curve", [lambda n: 3e-3 * n**1.3, lambda n: 5.0 + 0.02 * n, lambda n: 7e-3 * n])
def test_guarantee_2_intervals_hold_a_noisy_measurement_as_often_as_they_say(curve):
    """The 95 % interval of 2,000 draws holds fewer than 1,850 with a probability below 10^−6, were it 94 %."""
    held = 0
    for seed in range(2000):
        chance = np.random.default_rng(seed)
        points = [(n, curve(n) * math.exp(chance.normal(0, 0.05))) for n in SIZES]
        _, low, high = fit_curves(points).project(1e5)
        held += low <= curve(1e5) * math.exp(chance.normal(0, 0.05)) <= high
    assert held >= 1850


def test_the_standard_error_of_an_exponent_is_worth_what_it_says():
    """2,000 intervals of exponent ± t·error; below 1,850 or above 1,950 by chance: 10^−5 and less."""
    held = 0
    for seed in range(2000):
        chance = np.random.default_rng(seed)
        fit = fit_curves([(n, n**1.2 * math.exp(chance.normal(0, 0.1))) for n in SIZES]).fit()
        held += abs(fit.exponent - 1.2) <= stats.t.ppf(0.975, fit.used - 2) * fit.exponent_error
    assert 1850 <= held <= 1950


def test_guarantee_1_a_form_that_fits_clearly_worse_has_no_say():
    square = fit_curves([(n, 1e-3 * n**2) for n in SIZES])
    _, low, high = square.project(1e6)
    assert high / low < 1.01
    assert [curve.form for curve in square.plausible] == [Form.POWER]


def test_guarantee_2_where_neither_form_is_clearly_better_the_interval_holds_what_both_say():
    points = [(10, 10.3), (30, 13.9), (100, 29.5)]
    curves = fit_curves(points)
    assert curves.fit().undecided
    _, low, high = curves.project(1e6)
    for curve in (curves.power, curves.line):
        assert low <= curve.interval_at(1e6)[0] < curve.interval_at(1e6)[1] <= high


def test_noise_alone_is_not_projected_as_growth():
    points = [(10, 1.02), (30, 0.97), (100, 1.01), (300, 0.98), (1000, 1.03)]
    curves = fit_curves(points)
    value, low, high = curves.project(1e6)
    assert curves.fit().form is Form.CONSTANT
    assert value == pytest.approx(1.0, abs=0.01)
    assert low <= value <= high
    assert high > 1.1  # growth may hide in it


@given(st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=8))
def test_an_interval_holds_its_value(differences):
    sizes = [10 * 3**k for k in range(len(differences))]
    curves = fit_curves([(n, math.exp(d)) for n, d in zip(sizes, differences, strict=True)])
    value, low, high = curves.project(1e6)
    assert low <= value * (1 + 1e-9)
    assert value <= high * (1 + 1e-9)


def test_a_line_through_the_origin_is_a_power_too_and_nothing_is_undecided():
    curves = fit_curves([(n, 0.25 * n) for n in SIZES])
    assert len(curves.plausible) == 2
    assert not curves.fit().undecided


def test_a_constant_that_dominates_does_not_hide_what_grows():
    """A power through these points says 1.5 times the constant at a million clients; the truth is 120 times."""
    constant, slope = 1e6, 120.0
    curves = fit_curves([(n, constant + slope * n) for n in SIZES])
    value, *_ = curves.project(1e6)
    assert value == pytest.approx(constant + slope * 1e6, rel=1e-3)
    assert math.exp(curves.power.log_at(1e6)) < 0.1 * value


@pytest.mark.parametrize("count", [3, 4, 5, 6, 9, 10, 11, 12, 20])
def test_the_upper_half_is_fitted_and_five_where_there_are_five(count):
    sizes = [10 * 2**k for k in range(count)]
    used = max(min(count, 5), math.ceil(count / 2))
    points = [(n, 5.0 if k < count - used else float(n)) for k, n in enumerate(sizes)]  # small ones cost the same
    fit = fit_curves(points).fit()
    assert (fit.used, fit.measured, fit.smallest) == (used, count, sizes[count - used])
    assert fit.exponent == pytest.approx(1.0)


def test_the_order_of_points_is_nothing_to_a_curve():
    points = [(n, 2.0 * n**0.7) for n in SIZES]
    assert fit_curves(points[::-1]) == fit_curves(points)


@pytest.mark.parametrize(
    "points", [[], [(10, 1.0)], [(10, 1.0), (20, 2.0)], [(10, 1.0), (20, 2.0), (20, 2.1), (10, 1.0)]]
)
def test_fewer_than_three_sizes_are_refused(points):
    with pytest.raises(ConfigurationError, match="3 sizes"):
        fit_curves(points)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_what_has_no_logarithm_is_refused(value):
    with pytest.raises(ConfigurationError, match="above 0"):
        fit_curves([(10, 1.0), (20, value), (30, 1.0)])


@pytest.mark.parametrize("spare", [1, 2, 3, 5, 10, 11, 15, 40, 200])
def test_quantiles_are_those_of_the_distributions(spare):
    assert student(spare) == pytest.approx(stats.t.ppf(0.975, spare), abs=1e-3)
    if spare <= 10:
        assert fisher(spare) == pytest.approx(stats.f.ppf(0.95, spare, spare), rel=1e-4)
    assert fisher(spare) >= stats.f.ppf(0.95, spare, spare) * (1 - 1e-4)


# Growth of records.


def test_every_quantity_is_fitted_over_both_axes():
    cells = [cell(n) for n in SIZES] + [cell(10, m) for m in (10**4, 10**5, 10**6)]
    found = growths(cells)
    assert {(g.quantity, g.axis) for g in found} == {(q, a) for q in Quantity for a in Axis}
    assert one(found, Quantity.CLIENT_CPU).fit.exponent == pytest.approx(0.5)
    assert one(found, Quantity.SERVER_CPU).fit.exponent == pytest.approx(1.0)
    assert one(found, Quantity.SERVER_CPU, Axis.PARAMETERS).fit.exponent == pytest.approx(1.0)
    memory = one(found, Quantity.SERVER_MEMORY)
    assert memory.fit.form is Form.LINE
    assert memory.fit.constant == pytest.approx(8000)
    assert [at.value for at in memory.projections] == [pytest.approx(8000 + 100 * n, rel=1e-3) for n in FAR]
    assert [at.at for at in memory.projections] == [100_000, 1_000_000]
    assert one(found, Quantity.CLIENT_CPU).projections[1].value == pytest.approx(1.0)
    assert one(found, Quantity.CLIENT_CPU, Axis.PARAMETERS).projections == ()


def test_guarantee_1_of_two_sizes_nothing_is_projected_and_it_is_said():
    found = one(growths([cell(10), cell(100)]), Quantity.CLIENT_CPU)
    assert found.fit is None
    assert found.projections == ()
    assert "3 sizes, not 2" in found.refused
    assert growths([cell(10)]) == ()


def test_guarantee_2_what_the_planner_refuses_is_said():
    found = growths([cell(n, suite="kahe") for n in SIZES])
    for at in one(found, Quantity.CLIENT_CPU, suite="kahe").projections:
        assert "encoding.bits" in at.refused
        assert at.planned is None
    assert all(not at.refused for g in growths([cell(n) for n in SIZES]) for at in g.projections)


def test_guarantee_3_the_planners_bytes_stand_beside_the_curve():
    """Sums of 100,000 clients no longer fit into 32 bits: words are twice as long, which no curve foresees."""
    upload = one(growths([cell(n) for n in SIZES]), Quantity.UPLOAD)
    for at in upload.projections:
        low, high = at.planned
        assert at.value == pytest.approx(4064, rel=1e-3)
        assert 8000 < low < high
    assert one(growths([cell(n) for n in SIZES]), Quantity.CLIENT_CPU).projections[0].planned is None


@pytest.mark.parametrize("changes", [{"privacy": "client-distributed"}, {"server": "active"}, {"kind": "peer"}])
def test_the_planner_is_not_asked_about_what_it_does_not_know(changes):
    upload = one(growths([cell(n, **changes) for n in SIZES]), Quantity.UPLOAD)
    assert [at.planned for at in upload.projections] == [None, None]


@pytest.mark.parametrize("wire", WireForm)
@pytest.mark.parametrize("name", ["plain", "masking", "kahe", "ckks"])
def test_what_is_planned_is_what_is_sent(name, wire):
    if name == "ckks":
        pytest.importorskip("tenseal", reason="ckks is not installed")
    record = measure_cell(Cell(suite=name, clients=7, parameters=500, dropout=0.0, wire=wire), Repeats(least=1))
    planned = planned_upload(name, record["wire"], 7, 500, 0.0)
    sent = record["upload_bytes_per_contributor"]
    assert planned.least <= sent <= planned.most
    if name in {"plain", "ckks"}:
        assert planned.least == sent == planned.most


def test_a_cost_that_follows_neighbours_is_projected_by_their_number():
    """Up to some dozens of clients all mask with all, then with fewer: over clients, a curve says little."""
    degree = {n: planned_neighbours("masking", "", n, 0.1) for n in (*SIZES, *FAR)}
    assert degree[10] == 9
    assert degree[1_000_000] < 100
    cells = [
        cell(
            n,
            client_cpu_s=1e-3 + 2e-4 * degree[n],
            server_cpu_s=n * (1e-4 + 1e-5 * degree[n]),
            server_peak_bytes=1e5 + 40 * n * degree[n],
        )
        for n in SIZES
    ]
    found = growths(cells)
    for index, n in enumerate(FAR):
        client = one(found, Quantity.CLIENT_CPU).projections[index]
        assert client.by_neighbours[0] == pytest.approx(1e-3 + 2e-4 * degree[n], rel=1e-3)
        server = one(found, Quantity.SERVER_CPU).projections[index]
        assert server.by_neighbours[0] == pytest.approx(n * (1e-4 + 1e-5 * degree[n]), rel=1e-3)
        memory = one(found, Quantity.SERVER_MEMORY).projections[index]
        assert memory.by_neighbours[0] == pytest.approx(1e5 + 40 * n * degree[n], rel=1e-3)
    far = one(found, Quantity.CLIENT_CPU).projections[-1]
    assert far.value < 0.6 * far.by_neighbours[0]  # that of 10 to 3,000 clients, among whom degrees go up and down
    assert any("70 of 1\u202f000\u202f000" in told for told in one(found, Quantity.CLIENT_CPU).assumptions)


def test_nobody_masks_under_plain():
    plain = one(growths([cell(n, suite="plain") for n in SIZES]), Quantity.CLIENT_CPU, suite="plain")
    assert [at.by_neighbours for at in plain.projections] == [None, None]
    assert planned_neighbours("plain", "", 100, 0.1) is None
    assert planned_upload("flower", "words", 100, 100, 0.1) is None


def test_suites_are_compared_at_one_size_and_that_is_where_most_were_measured():
    cells = [cell(n, 1000) for n in SIZES] + [cell(n, 5000, suite="kahe") for n in SIZES[:4]]
    cells += [cell(n, 5000) for n in SIZES[:4]] + [cell(n, 1000, dropout=0.0) for n in SIZES[:2]]
    found = growths(cells)
    assert {(g.fixed, g.dropout) for g in found if g.axis is Axis.CLIENTS} == {(5000, 0.1)}


def test_a_suite_that_was_not_measured_there_is_fitted_where_it_was():
    cells = [cell(n, 1000) for n in SIZES] + [cell(n, 5000, suite="kahe") for n in SIZES[:3]]
    found = growths(cells)
    assert one(found, Quantity.CLIENT_CPU).fixed == 1000
    assert one(found, Quantity.CLIENT_CPU, suite="kahe").fixed == 5000


def test_what_was_not_measured_is_left_out_and_the_last_line_on_a_cell_counts():
    cells = [cell(n, kind="peer", suite="flower", server_peak_bytes=None, client_cpu_s=math.nan) for n in SIZES]
    found = growths([cell(10, kind="peer", suite="flower", server_cpu_s=77.0), *cells])
    assert {g.quantity for g in found} == {Quantity.SERVER_CPU, Quantity.UPLOAD}
    assert one(found, Quantity.SERVER_CPU, suite="flower").points[0] == (10, 100.0)


def test_every_projection_tells_on_what_it_rests():
    for found in growths([cell(n) for n in SIZES]):
        told = " ".join(found.assumptions)
        assert "Of 6 sizes the 5 largest are fitted, 30 to 3\u202f000 clients" in told
        assert "1\u202f000 parameters, and 10\u202f% drop out" in told


@pytest.mark.parametrize("changes", [{"clients": 0}, {"client_cpu_s": "fast"}, {"suite": None}, {"dropout": 1.5}])
def test_a_line_that_is_no_cell_is_named(changes):
    with pytest.raises(ConfigurationError, match=rf"cell 2 of the results.*\$\.{next(iter(changes))}"):
        growths([cell(10), cell(20) | changes])
