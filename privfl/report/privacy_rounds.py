"""What a run spent of its privacy budget, round by round: curves and a table of what the ledger holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from privfl.report.charts import Level, LineChart, Mark, MarkKind, Series, line_chart
from privfl.report.formats import MISSING, format_count, format_number
from privfl.report.page import Column, Figure, Row, Table, Tone
from privfl.report.privacy_claim import PrivacyCharge, RunPrivacy
from privfl.round_metrics import RoundMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateRound:
    """A round as metrics and ledger know it; one of them may not know it at all."""

    number: int
    row: RoundMetrics | None
    charge: PrivacyCharge | None
    epsilon: float | None

    @property
    def in_vain(self) -> bool:
        """Whether it was charged and released nothing."""
        return self.charge is not None and (self.row is None or self.row.aborted)

    @property
    def outcome(self) -> str:
        """What became of it, in a word or two."""
        if self.row is None:
            return "not finished"
        return "aborted" if self.row.aborted else "released"


def private_rounds(privacy: RunPrivacy, rows: Sequence[RoundMetrics]) -> tuple[PrivateRound, ...]:
    """All rounds that metrics or ledger know of, ascending."""
    by_row = {row.round: row for row in rows}
    by_charge = {charge.round: charge for charge in privacy.charges}
    # A charge without metrics is the last thing that happened: what it brought ε to is what was spent in all.
    return tuple(
        PrivateRound(
            number=number,
            row=by_row.get(number),
            charge=by_charge.get(number),
            epsilon=by_row[number].epsilon if number in by_row else privacy.epsilon,
        )
        for number in sorted({*by_row, *by_charge})
    )


def privacy_figures(privacy: RunPrivacy, history: Sequence[PrivateRound]) -> tuple[Figure, ...]:
    """The curve of ε; noise and clip beside it where they change from round to round."""
    figures = [_epsilon_figure(privacy, history)]
    noise = [one.charge.noise_multiplier if one.charge else None for one in history]
    if len({value for value in noise if value is not None}) > 1:
        figures.append(_noise_figure(privacy, history))
    clips = {one.row.clip for one in history if one.row is not None and one.row.clip is not None}
    if len(clips) > 1:
        figures.append(_clip_figure(history))
    return tuple(figures)


def _epsilon_figure(privacy: RunPrivacy, history: Sequence[PrivateRound]) -> Figure:
    series = [Series(label="ε so far", points=_points([(one.number, one.epsilon) for one in history]))]
    caption = f"ε of all that was charged so far, by {privacy.accountant}. Lower protects more."
    second = [(one.number, one.row.epsilon_rdp if one.row else privacy.second) for one in history]
    if privacy.second is not None:
        series.append(Series(label=f"second opinion, {privacy.second_accountant}", points=_points(second)))
        caption += f" Dashed: the same charges by {privacy.second_accountant}. Both are upper bounds."
        if privacy.budget is not None:
            caption += f" The budget is kept by {privacy.accountant}."
    else:
        caption += " No other accountant knows this mechanism."
    if any(one.in_vain for one in history):
        caption += (
            " ε grew in rounds that were charged and released nothing: what a charge paid for may have been seen."
        )
    chart = LineChart(
        key="epsilon-chart",
        title="Privacy spent by round",
        description=f"Epsilon is {format_number(privacy.epsilon)} in the end"
        + (f"; the budget is {privacy.budget:g}." if privacy.budget is not None else "."),
        x_label="round",
        series=tuple(series),
        marks=_marks(history),
        level=None if privacy.budget is None else Level(label=f"budget: {privacy.budget:g}", value=privacy.budget),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    return Figure(heading="Privacy spent", drawing=line_chart(chart), caption=caption)


def _noise_figure(privacy: RunPrivacy, history: Sequence[PrivateRound]) -> Figure:
    points = [(one.number, one.charge.noise_multiplier if one.charge else None) for one in history]
    least = format_number(privacy.noise_multiplier)
    chart = LineChart(
        key="noise-chart",
        title="Noise multiplier by round",
        description=f"The plan asks for {least} in every round.",
        x_label="round",
        series=(Series(label="noise multiplier z", points=_points(points)),),
        marks=_marks(history),
        level=Level(label=f"planned, at least {least}", value=privacy.noise_multiplier),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    return Figure(
        heading="Noise in the sum",
        drawing=line_chart(chart),
        caption="Standard deviation of the noise in the sum over what one client can change of it. Clients bring their "
        "shares along, so that there is less where some dropped out; what those bring that may be corrupt is not "
        "counted.",
    )


def _clip_figure(history: Sequence[PrivateRound]) -> Figure:
    chart = LineChart(
        key="clip-chart",
        title="Clip by round",
        description="The norm to which updates were clipped.",
        x_label="round",
        series=(
            Series(
                label="clip C", points=_points([(one.number, one.row.clip if one.row else None) for one in history])
            ),
        ),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    return Figure(
        heading="Clip",
        drawing=line_chart(chart),
        caption="Norm to which every update was clipped. It follows the norms by what noisy sums tell of them, which "
        "is charged for together with the updates.",
    )


def _marks(history: Sequence[PrivateRound]) -> tuple[Mark, ...]:
    return tuple(
        Mark(
            x=one.number,
            kind=MarkKind.ABORTED,
            label=f"round {one.number}: {one.outcome}, {'charged' if one.charge else 'not charged'}",
        )
        for one in history
        if one.row is None or one.row.aborted
    )


def privacy_table(privacy: RunPrivacy, history: Sequence[PrivateRound]) -> Table:
    """What every round was charged for. A column that tells nothing is left out."""
    uneven = any(one.charge is None or one.charge.times != 1 for one in history)
    columns: list[tuple[Column, list[str]]] = [
        (Column(heading="Round"), [format_count(one.number) for one in history]),
        (Column(heading="Outcome", numeric=False), [one.outcome for one in history]),
        (
            Column(heading="Charged", unit="times"),
            [format_count(one.charge.times if one.charge else 0) for one in history] if uneven else [MISSING],
        ),
        (
            Column(heading="Charged for", unit="clients"),
            [format_count(one.charge.contributors) if one.charge else MISSING for one in history],
        ),
        (
            Column(heading="Noise", unit="multiplier z"),
            [format_number(one.charge.noise_multiplier) if one.charge else MISSING for one in history],
        ),
        (
            Column(heading="Clip", unit="L2 norm"),
            [format_number(one.row.clip) if one.row else MISSING for one in history],
        ),
        (Column(heading="ε so far", unit=privacy.accountant), [format_number(one.epsilon) for one in history]),
        (
            Column(heading="ε so far", unit=privacy.second_accountant),
            [format_number(one.row.epsilon_rdp if one.row else privacy.second) for one in history]
            if privacy.second is not None
            else [MISSING],
        ),
    ]
    kept = [(column, cells) for column, cells in columns if any(cell != MISSING for cell in cells)]
    caption = "What the ledger holds of every round. Each was charged before anything was asked that opens its sum."
    if any(one.in_vain for one in history):
        caption += " A round that released nothing stays charged: the ledger cannot know how far its sum got."
    return Table(
        key="privacy-table",
        caption=caption,
        columns=tuple(column for column, _ in kept),
        rows=tuple(
            Row(
                cells=tuple(cells[index] for _, cells in kept),
                tone=Tone.CAUTION if one.in_vain or (one.charge and one.charge.times > 1) else Tone.CALM,
            )
            for index, one in enumerate(history)
        ),
    )


def _points(values: Sequence[tuple[int, float | None]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), math.nan if y is None else y) for x, y in values)
