"""What happened, round by round, and what accountants make of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from privfl.audit.findings import Audit, RoundAudit
from privfl.audit.report_words import (
    NBSP,
    at_delta,
    count_or_dash,
    counted,
    delta_text,
    equals,
    given,
    is_private,
    rich,
    shown,
)
from privfl.report.charts import Level, LineChart, Series, line_chart
from privfl.report.formats import MISSING, format_count, format_number, format_percent
from privfl.report.page import Column, Figure, Row, Section, Table, Tone, figures_block, note_block, table_block

MOST_ROWS: Final = 60
"""Rounds that are shown at once, without folding."""
MOST_REMARKS: Final = 100
"""Of more rounds than these, so many with a remark are shown at once."""
MOST_FOLDED: Final = 2000
"""Rounds that the folded table holds."""
_SAMPLES: Final = 10
_MOST_POINTS: Final = 240
_SAME_NOISE: Final = 1 - 1e-6
_ACCOUNTANTS: Final[Mapping[str, tuple[str, str]]] = {
    "pld": ("PLD", "privacy loss distributions, nearly exact"),
    "rdp": ("RDP", "Rényi divergences, an upper bound"),
    "prv": ("PRV", "privacy random variables, nearly exact"),
    "formula": ("formula", "the papers’ formula, by code that the accountants do not share"),
}


@dataclass(frozen=True, slots=True)
class _Told:
    """A round, what is odd about it, and how loudly to say so."""

    round: RoundAudit
    words: str
    tone: Tone

    @property
    def rank(self) -> int:
        """0 for what is said loudest."""
        return 0 if self.tone is Tone.ALARM else 1


def rounds_section(audit: Audit) -> Section:
    """Charts and the table of rounds."""
    key, heading = "rounds", "Round by round"
    if not audit.rounds:
        return Section(key=key, heading=heading, lead="No round is known: none was charged, and none was shown.")
    figures = [figure for figure in (_noise_figure(audit.rounds), _clients_figure(audit.rounds)) if figure is not None]
    blocks = [figures_block(*figures)] if figures else []
    if len(audit.rounds) > _MOST_POINTS and figures:
        blocks.append(
            note_block(
                f"The charts are thinned: of every {_bucket(len(audit.rounds))} rounds they show the lowest value and "
                f"the highest."
            )
        )
    return Section(key=key, heading=heading, lead=_lead(audit), blocks=(*blocks, *_table_blocks(audit)))


def spent_figure(audit: Audit) -> Figure | None:
    """ε of all charges so far, round by round; None where it is not known."""
    known = [(one.round, one.epsilon) for one in audit.rounds if one.epsilon is not None]
    if not known:
        return None
    budget, delta = audit.claim.budget, audit.claim.delta
    few = f" It was recomputed after {format_count(len(known))} of them." if len(known) < len(audit.rounds) else ""
    chart = LineChart(
        key="spent-chart",
        title="Privacy spent by round",
        description=f"Epsilon is {shown(known[-1][1])} after round {format_count(known[-1][0])}.",
        x_label="round",
        series=(Series(label="ε so far", points=_points(known)),),
        level=None if budget is None else Level(label=f"budget: {given(budget)}", value=budget),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    return Figure(
        heading="Privacy spent",
        drawing=line_chart(chart),
        caption=f"ε of each round’s charges and all before them, at δ = {delta_text(delta)}. Lower protects more.{few}",
    )


def accountants_section(audit: Audit) -> Section:
    """What accountants say, and by how much they differ."""
    key, heading = "accountants", "Accountants"
    known = {name: value for name, value in audit.opinions.items() if value is not None}
    if not known:
        why = (
            "Nothing that was charged could be recomputed."
            if is_private(audit)
            else "No differential privacy is claimed: there is no ε to recompute."
        )
        return Section(key=key, heading=heading, lead=why)
    quoted = audit.epsilon
    rows = []
    for name, value in audit.opinions.items():
        short, what = _ACCOUNTANTS.get(name, (name, ""))
        does = MISSING if name == audit.reported else _beside(value, quoted)
        mark = "quoted" if name == audit.reported else ""
        rows.append(
            Row(cells=(rich(short), rich(what), "does not apply" if value is None else shown(value), mark, does))
        )
    table = Table(
        key="accountants-table",
        caption="ε of all charges, by ways of counting that share little. All bound the same thing from above, as far "
        "as their numerics are good for.",
        columns=(
            Column(heading="Accountant", numeric=False),
            Column(heading="How it counts", numeric=False),
            Column(heading="ε"),
            Column(heading="Quoted", numeric=False),
            Column(heading="Against the quoted"),
        ),
        rows=tuple(rows),
    )
    return Section(key=key, heading=heading, lead=_opinions_lead(audit, known), blocks=(table_block(table),))


def _lead(audit: Audit) -> str:
    rounds = audit.rounds
    told = f"{counted(len(rounds), 'round')} {'is' if len(rounds) == 1 else 'are'} known."
    shown_of = [one.released for one in rounds if one.released is not None]
    charges = sum(one.charges for one in rounds)
    if is_private(audit):
        told += f" {counted(charges, 'charge')} {'was' if charges == 1 else 'were'} made."
    if shown_of:
        opened, dark = sum(shown_of), len(rounds) - len(shown_of)
        told += f" {counted(opened, 'sum')} {'was' if opened == 1 else 'were'} opened"
        told += f"; of {counted(dark, 'round')} no evidence was shown." if dark else "."
    else:
        told += " Which sums were opened was not shown."
    return told


def _noise_figure(rounds: Sequence[RoundAudit]) -> Figure | None:
    planned = _points([(one.round, one.planned) for one in rounds])
    effective = _points([(one.round, one.effective) for one in rounds])
    series = [Series(label="planned", points=planned)] if _any(planned) else []
    series += [Series(label="after drop-outs", points=effective)] if _any(effective) else []
    if not series:
        return None
    least = min((one.effective for one in rounds if one.effective is not None), default=None)
    chart = LineChart(
        key="noise-chart",
        title="Noise multiplier by round",
        description=f"The smallest after drop-outs is {format_number(least)}.",
        x_label="round",
        series=tuple(series),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    return Figure(
        heading="Noise: planned, and what there was",
        drawing=line_chart(chart),
        caption="Noise multiplier z: standard deviation of the noise over what one unit can change. What there was is "
        "by what the ledger was charged for.",
    )


def _clients_figure(rounds: Sequence[RoundAudit]) -> Figure | None:
    named = (
        ("invited", [(one.round, one.cohort) for one in rounds]),
        ("heard: sent a vector", [(one.round, one.uploads) for one in rounds]),
        ("charged for", [(one.round, one.contributors) for one in rounds]),
    )
    series = [Series(label=label, points=_points(values)) for label, values in named if _any(_points(values))]
    if not series:
        return None
    chart = LineChart(
        key="clients-chart",
        title="Clients by round",
        description="Clients that were invited, that sent a vector, and that were charged for.",
        x_label="round",
        series=tuple(series),
        from_zero=True,
        limits=(0.0, math.inf),
    )
    caption = "Who was invited and who sent a vector is what the evidence shows."
    if any(one.contributors is not None for one in rounds):
        caption += (
            " For how many a round was charged is what the ledger says. Charged for more than were heard: noise that "
            "never arrived."
        )
    return Figure(heading="Clients", drawing=line_chart(chart), caption=caption)


def _table_blocks(audit: Audit) -> list[Markup]:
    """One table of few rounds; of many, one of what matters and one of all of them, folded."""
    told = [_Told(one, *_remark(one, private=is_private(audit))) for one in audit.rounds]
    odd = sum(bool(one.words) for one in told)
    what = "Invited and heard by the evidence" + (", charges by the ledger. " if is_private(audit) else ". ")
    what += f"{counted(odd, 'round')} with a remark." if odd else "Nothing calls for a remark."
    if len(told) <= MOST_ROWS:
        return [table_block(_table("rounds-table", f"What is known of every round. {what}", told, audit))]
    last = len(told) - 1
    chosen = {round(last * step / (_SAMPLES - 1)) for step in range(_SAMPLES)}
    loudest = sorted((index for index, one in enumerate(told) if one.words), key=lambda index: told[index].rank)
    chosen.update(loudest[:MOST_REMARKS])
    few = [told[index] for index in sorted(chosen)]
    caption = f"What is known of {format_count(len(few))} rounds: a few from first to last, and those with a remark"
    caption += f", of which {format_count(MOST_REMARKS)} are shown here. {what}" if odd > MOST_REMARKS else f". {what}"
    return [table_block(_table("rounds-table", caption, few, audit)), *_folded(told, audit)]


def _folded(told: Sequence[_Told], audit: Audit) -> list[Markup]:
    """All rounds, which paper shows only if they were unfolded: a thousand of them take thirty sheets."""
    ends = MOST_FOLDED // 2
    kept = [*told[:ends], *told[-ends:]] if len(told) > MOST_FOLDED else told
    table = table_block(_table("all-rounds-table", "What is known of every round.", kept, audit))
    summary = f"All {format_count(len(kept))} rounds"
    if len(kept) < len(told):
        left = len(told) - len(kept)
        summary = f"The first {format_count(ends)} rounds and the last; {format_count(left)} between are in the JSON"
    return [Markup("<details><summary>{}</summary>{}</details>").format(summary, table)]


def _table(key: str, caption: str, told: Sequence[_Told], audit: Audit) -> Table:
    rounds = [one.round for one in told]
    columns: list[tuple[Column, list[str]]] = [
        (Column(heading="Round"), [format_count(one.round) for one in rounds]),
        (Column(heading="Sum", numeric=False), [_sum(one) for one in rounds]),
        (Column(heading="Remark", numeric=False), [one.words or MISSING for one in told]),
        (
            Column(heading="Charged", unit="times"),
            [format_count(one.charges) for one in rounds] if is_private(audit) else [MISSING],
        ),
        (Column(heading="Invited", unit="clients"), [count_or_dash(one.cohort) for one in rounds]),
        (Column(heading="Heard", unit="clients"), [count_or_dash(one.uploads) for one in rounds]),
        (Column(heading="Charged for", unit="clients"), [count_or_dash(one.contributors) for one in rounds]),
        (Column(heading="Noise", unit="z, planned"), [format_number(one.planned) for one in rounds]),
        (Column(heading="Noise", unit="z, as it was"), [format_number(one.effective) for one in rounds]),
        (Column(heading="ε so far"), [shown(one.epsilon) for one in rounds]),
    ]
    kept = [(column, cells) for column, cells in columns if any(cell != MISSING for cell in cells)]
    return Table(
        key=key,
        caption=caption,
        columns=tuple(column for column, _ in kept),
        rows=tuple(
            Row(cells=tuple(cells[index] for _, cells in kept), tone=one.tone) for index, one in enumerate(told)
        ),
    )


def _sum(one: RoundAudit) -> str:
    return MISSING if one.released is None else "opened" if one.released else "not opened"


def _remark(one: RoundAudit, *, private: bool) -> tuple[str, Tone]:
    """What is odd about a round, in words, and how loudly to say it."""
    loud, quiet = [], []
    if private and one.released and not one.charges:
        loud.append("opened, never charged")
    if one.contributors is not None and one.uploads is not None and one.contributors > one.uploads:
        loud.append("charged for more than were heard")
    if one.charges > 1:
        quiet.append(f"charged {format_count(one.charges)} times")
    if one.charges and one.released is False:
        quiet.append("charged, not opened")
    if one.planned is not None and one.effective is not None and not one.effective >= one.planned * _SAME_NOISE:
        quiet.append("less noise than planned")
    tone = Tone.ALARM if loud else Tone.CAUTION if quiet else Tone.CALM
    told = [f"✗ {words}" for words in loud] + [f"! {words}" for words in quiet]
    return "; ".join(words.replace(" ", NBSP) for words in told), tone


def _points(values: Sequence[tuple[int, float | None]]) -> tuple[tuple[float, float], ...]:
    """Points of a line; of very many, from each bucket the lowest, the highest and one gap, so that no dip is lost."""
    points = [(float(x), math.nan if y is None else float(y)) for x, y in values]
    if len(points) <= _MOST_POINTS:
        return tuple(points)
    width, thinned = _bucket(len(points)), set()
    for start in range(0, len(points), width):
        stretch = points[start : start + width]
        numbers = [point for point in stretch if not math.isnan(point[1])]
        ends = [min(numbers, key=_height), max(numbers, key=_height)] if numbers else []
        thinned.update(ends)
        gap = next((point for point in stretch if math.isnan(point[1])), None)
        if gap is not None:
            thinned.add(gap)
    if not math.isnan(points[-1][1]):
        thinned.add(points[-1])  # the value that is written beside the line
    return tuple(sorted(thinned))


def _bucket(count: int) -> int:
    return -(-count // (_MOST_POINTS // 2))


def _height(point: tuple[float, float]) -> float:
    return point[1]


def _any(points: Sequence[tuple[float, float]]) -> bool:
    return any(not math.isnan(y) for _, y in points)


def _opinions_lead(audit: Audit, known: Mapping[str, float]) -> str:
    quoted, at = audit.epsilon, at_delta(audit)
    name = _ACCOUNTANTS.get(audit.reported, (audit.reported, ""))[0]
    told = f"The figure that is quoted is that of {name}: {equals(shown(quoted))}{at}."
    if quoted is None:
        told = "None of them gives the figure that is quoted."
    others = [value for other, value in known.items() if other != audit.reported]
    if not others:
        return f"{told} No other accountant knows what was charged: there is no second opinion."
    if quoted is None:
        return told
    gaps = [abs(value - quoted) for value in others if math.isfinite(value) and math.isfinite(quoted)]
    if not gaps:
        return told
    largest = max(gaps)
    if not largest:
        return f"{told} {'The other opinion is' if len(others) == 1 else 'The others are'} the same."
    share = f", {format_percent(largest / quoted)} of it" if quoted > 0 else ""
    differ = "The other opinion differs" if len(others) == 1 else "The others differ, at the most,"
    return f"{told} {differ} from it by {format_number(largest)}{share}."


def _beside(value: float | None, quoted: float | None) -> str:
    if value is None or quoted is None or not (math.isfinite(value) and math.isfinite(quoted)):
        return MISSING
    gap = value - quoted
    return f"{'+' if gap > 0 else ''}{format_number(gap)}"
