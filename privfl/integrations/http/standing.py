"""How a run stands, in the two forms that are shown: an object for the page, and text for Prometheus."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from privfl.integrations.consortium import Snapshot

Rounds = Callable[[], Sequence[Mapping[str, Any]]]
"""The rounds so far, oldest first, as the lines of `metrics.jsonl`; called from any thread."""
_Samples = Mapping[tuple[tuple[str, str], ...], float]
_ROWS: Final = 12
_POINTS: Final = 400
_SHOWN: Final = (
    "round",
    "contributors",
    "dropped",
    "accuracy",
    "loss",
    "epsilon",
    "upload_bytes",
    "download_bytes",
    "seconds",
    "aborted",
    "aborted_because",
)


def status(hall: Snapshot, rounds: Sequence[Mapping[str, Any]], planned: int | None) -> dict[str, Any]:
    """Return what the page shows, in values that JSON has.

    Args:
        hall: as it is now.
        rounds: so far.
        planned: how many there will be, or None.
    """
    last = rounds[-1] if rounds else {}
    return {
        "run": hall.run,
        "over": hall.over,
        "round": hall.round,
        "rounds": len(rounds),
        "planned": planned,
        "phase": None if hall.phase is None else str(hall.phase),
        # Whole seconds: a page hears of a change, not of a clock.
        "phase_age_s": None if hall.phase_age_s is None else int(hall.phase_age_s),
        "cohort": list(hall.cohort),
        "waiting": list(hall.waiting),
        "present": list(hall.present),
        "answers": hall.answers,
        "refused": hall.refused,
        "declined": hall.declined,
        "bytes_in": hall.bytes_in,
        "bytes_out": hall.bytes_out,
        "accuracy": _number(_latest(rounds, "accuracy")),
        "epsilon": _number(_latest(rounds, "epsilon")),
        "last": {
            "round": last.get("round"),
            "dropped_because": {str(why): list(who) for why, who in last.get("dropped_because", {}).items()},
        },
        "table": [{key: _plain(row.get(key)) for key in _SHOWN} for row in reversed(rounds[-_ROWS:])],
        "chart": _thinned([(row["round"], _number(row.get("accuracy"))) for row in rounds]),
    }


def metrics(hall: Snapshot, rounds: Sequence[Mapping[str, Any]], trouble: Mapping[str, int]) -> str:
    """Return what Prometheus reads, in its text format, version 0.0.4.

    Args:
        hall: as it is now.
        rounds: so far.
        trouble: requests that were not served as they were meant, by kind.
    """
    page = _Exposition()
    page.add("round", "gauge", "Round of the open session; 0 if none is open.", hall.round or 0)
    page.add("rounds_total", "counter", "Rounds that are over, aborted ones included.", len(rounds))
    aborted = sum(bool(row.get("aborted")) for row in rounds)
    page.add("rounds_aborted_total", "counter", "Rounds in which nothing was released.", aborted)
    page.add("clients_present", "gauge", "Clients that asked for something lately.", len(hall.present))
    page.add("clients_cohort", "gauge", "Clients invited to the open session.", len(hall.cohort))
    page.add("clients_waiting", "gauge", "Clients whose answer is waited for.", len(hall.waiting))
    page.add("answers_total", "counter", "Answers that were accepted.", hall.answers)
    page.add("declined_total", "counter", "Times that a client declined to take part.", hall.declined)
    refused: _Samples = {
        (("why", "answer"),): hall.refused,
        **{(("why", kind),): count for kind, count in sorted(trouble.items())},
    }
    page.add("refused_total", "counter", "Answers and requests that were refused, by kind.", refused)
    moved: _Samples = {(("direction", "in"),): hall.bytes_in, (("direction", "out"),): hall.bytes_out}
    page.add("bytes_total", "counter", "Bytes of answers (in), and of requests and models (out).", moved)
    age = hall.phase_age_s if hall.phase_age_s is not None else 0.0
    page.add("phase_age_seconds", "gauge", "Age of the open phase; 0 if none is open.", age)
    page.add("over", "gauge", "1 if the run is over.", int(hall.over is not None))
    for name, key, help_text in (
        ("epsilon", "epsilon", "Privacy spent so far, ε."),
        ("accuracy", "accuracy", "Accuracy of the model after the last round."),
        ("loss", "loss", "Loss of the model after the last round."),
        ("contributors", "contributors", "Clients in the sum of the last round."),
    ):
        value = _number(_latest(rounds, key))
        if value is not None:
            page.add(name, "gauge", help_text, value)
    return page.text()


class _Exposition:
    """Lines in the order that the format wants: help, type, samples."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(
        self,
        name: str,
        kind: str,
        help_text: str,
        value: float | _Samples,
    ) -> None:
        """Add a metric; with labels, a sample for each."""
        self._lines += [f"# HELP privfl_{name} {help_text}", f"# TYPE privfl_{name} {kind}"]
        samples = value if isinstance(value, Mapping) else {(): value}
        for labels, sample in samples.items():
            said = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
            self._lines.append(f"privfl_{name}{{{said}}} {sample}" if said else f"privfl_{name} {sample}")

    def text(self) -> str:
        """Return all of it."""
        return "\n".join(self._lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _latest(rounds: Sequence[Mapping[str, Any]], key: str) -> Any:
    """Return the newest value that there is: an evaluation may be left out in some rounds."""
    return next((row[key] for row in reversed(rounds) if row.get(key) is not None), None)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _thinned(points: list[tuple[Any, float | None]]) -> list[tuple[Any, float | None]]:
    """Leave out points of a long run, evenly, the last one never."""
    step = -(-len(points) // _POINTS) or 1
    return points[::-step][::-1]
