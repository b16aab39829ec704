"""The overhead matrix: sessions of a cell and of `plain` take turns, and ratios are formed turn by turn.

A machine that slows down slows both sides of a ratio. What reaches one side alone, for a moment, is in few turns at the
same place of a session: a session is a fixed order of calls, and of each call the median over the turns is taken before
they are added up. A long session would never be free of such moments as a whole. Where sessions are short, more of them
are held; around a long one, several of `plain` before and after it, of which the middle one counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from privfl.bench.cells import Cell
from privfl.bench.contenders import Contender, PeerContender, Session, Turn
from privfl.bench.turns import Repeats, Spread
from privfl.suites import suite

_LONG_S: Final = 0.5
_MOST_BESIDE: Final = 4
_BESIDE: Final = 0.15  # of a long session's time go to those of the baseline before it, and as much after
_WARMING_S: Final = 1.0
_COUNTING_S: Final = 2.0
_LARGEST_KEPT_BYTES: Final = 31 << 20  # glibc: DEFAULT_MMAP_THRESHOLD_MAX is 32 MiB
PROTECTION: Final = {
    "plain": "none: the server reads every update",
    "masking": "pairwise masks: fails if the server and enough of a client's neighbours pool what they know",
    "kahe": "one-time RLWE keys under pairwise masks: as masking, and if RLWE is easy",
    "ckks": "RLWE under a committee's key: fails if the server and enough of the committee pool what they know",
}


def measure_cell(cell: Cell, repeats: Repeats, *, workers: int = 1) -> dict[str, Any]:
    """Measure a cell.

    Args:
        cell: the cell.
        repeats: how many turns; medians are reported.
        workers: threads for long vectors.

    Returns:
        A record, ready for JSON.
    """
    begun, session = time.perf_counter(), Session(cell, workers)
    turns = take_turns(session, None if cell == cell.baseline else cell.baseline, repeats, workers=workers)
    server_peak, client_peak = session.peaks()
    params, committee, contributors = cell.params(), cell.committee(), turns[0][0].contributors
    promised = suite(cell.suite).error_std(params.setting, cell.clients) / (contributors * params.vector.bound)
    return {
        "cell": str(cell),
        "suite": cell.suite,
        "kind": "suite",
        "protection": PROTECTION[cell.suite],
        "clients": cell.clients,
        "parameters": cell.parameters,
        "dropout": cell.dropout,
        "privacy": cell.privacy.value,
        "server": cell.server.value,
        "wire": "packed" if params.ring.packed else "words",
        **costs(turns),
        "server_peak_bytes": server_peak,
        "client_peak_bytes": client_peak,
        "promised_error_std_of_mean": promised,
        "ceremony_cpu_s": committee.ceremony_cpu_s if committee else 0.0,
        "workers": workers,
        "measured_in_s": time.perf_counter() - begun,
    }


def measure_peer(contender: PeerContender, repeats: Repeats) -> dict[str, Any]:
    """Measure a peer; arguments and record as those of `measure_cell`, null where something does not apply to it."""
    begun, cell, peer = time.perf_counter(), contender.cell, contender.peer
    turns = take_turns(contender, cell, repeats)
    unknown = ("encode_cpu_s", "decode_cpu_s", "committee_cpu_s", "committee_bytes")
    return {
        "cell": contender.name,
        "suite": peer.name,
        "kind": "peer",
        "protection": peer.protection,
        "clients": cell.clients,
        "parameters": cell.parameters,
        "dropout": cell.dropout,
        "privacy": cell.privacy.value,
        "server": None,
        "wire": None,
        **costs(turns),
        **dict.fromkeys(unknown),
        "server_peak_bytes": None,
        "client_peak_bytes": None,
        "promised_error_std_of_mean": None,
        "ceremony_cpu_s": None,
        "workers": 1,
        "measured_in_s": time.perf_counter() - begun,
        "versions": dict(contender.versions),
    }


def take_turns(
    contender: Contender, baseline: Cell | None, repeats: Repeats, *, workers: int = 1
) -> list[tuple[Turn, Turn]]:
    """Let sessions of a contender and of a baseline take turns.

    Args:
        contender: what is measured.
        baseline: what it is held against; None: itself.
        repeats: how many turns.
        workers: threads of the baseline for long vectors: as many as the contender has.

    Returns:
        Pairs of what was measured and its baseline.
    """
    against = None if baseline is None else Session(baseline, workers)
    turns: list[tuple[Turn, Turn]] = []
    _settle()
    begun = time.perf_counter()
    first = contender.turn()
    lasted = time.perf_counter() - begun
    # What is made once, tables and keys, is in no turn, nor is finding the code. Of long turns it is nothing: they
    # count.
    if against is not None and (lasted < _WARMING_S or lasted > _COUNTING_S):
        against.turn()
    if lasted > _COUNTING_S:
        turns.append((first, first if against is None else _middle(_beside(against, lasted))))
    else:
        begun = time.perf_counter()
    while repeats.another(len(turns), time.perf_counter() - begun):
        if against is None:
            turn = contender.turn()
            turns.append((turn, turn))
            continue
        # Whoever goes second finds what the first left in the caches; around a long session there are both.
        around = lasted > _LONG_S
        plain = _beside(against, lasted) if around or len(turns) % 2 else []
        started = time.perf_counter()
        turn = contender.turn()
        lasted = time.perf_counter() - started
        if around or not plain:
            plain += _beside(against, lasted)
        turns.append((turn, _middle(plain)))
    return turns


def _beside(against: Contender, lasted_s: float) -> list[Turn]:
    """Play a session of the baseline; beside a long one several."""
    begun, played = time.perf_counter(), [against.turn()]
    if lasted_s > _LONG_S:
        while len(played) < _MOST_BESIDE and time.perf_counter() - begun < _BESIDE * lasted_s:
            played.append(against.turn())
    return played


def _middle(played: Sequence[Turn]) -> Turn:
    """Return the session that is neither cheap nor dear; of two in the middle the cheaper."""
    return sorted(played, key=lambda turn: turn.cpu_s)[(len(played) - 1) // 2]


def _settle() -> None:
    """Bring the allocator to where a process that has run for a while has it.

    The C library gives large blocks back to the system, to fetch them again page by page, until it has seen one freed
    that was larger: what short work costs would depend on what was measured before it.
    """
    np.empty(_LARGEST_KEPT_BYTES, np.uint8)


def steady(turns: Sequence[Sequence[float]]) -> float:
    """Return the sum over pieces of their medians over turns.

    Args:
        turns: for each turn the pieces of what it cost. Where they are not as many in every turn, whole turns count.
    """
    if len({len(pieces) for pieces in turns}) > 1:
        return statistics.median(map(sum, turns))
    return float(np.median(np.array(turns, np.float64), axis=0).sum())


def costs(turns: Sequence[tuple[Turn, Turn]]) -> dict[str, Any]:
    """Return the part of a record that follows from turns: medians, and quartiles of what spreads.

    Quartiles are those of whole turns, and wide enough to hold what is reported.
    """
    own = [turn for turn, _ in turns]
    measured = {
        "client_cpu_s": [turn.client_cpu_s for turn in own],
        "encode_cpu_s": [turn.encode_cpu_s for turn in own],
        "server_cpu_s": [turn.server_cpu_s for turn in own],
        "decode_cpu_s": [turn.decode_cpu_s for turn in own],
        "committee_cpu_s": [turn.committee_cpu_s for turn in own],
        "ratio_to_plain": [turn.cpu_s / plain.cpu_s for turn, plain in turns],
        "client_ratio_to_plain": [turn.client_cpu_s / plain.client_cpu_s for turn, plain in turns],
        "server_ratio_to_plain": [turn.server_cpu_s / plain.server_cpu_s for turn, plain in turns],
    }
    reported = {key: statistics.median(values) for key, values in measured.items()} | {
        "client_cpu_s": steady([turn.client_pieces() for turn in own]),
        "server_cpu_s": steady([turn.server_pieces() for turn in own]),
        "committee_cpu_s": steady([turn.committee_pieces() for turn in own]),
        "ratio_to_plain": _ratio([(turn.pieces(), plain.pieces()) for turn, plain in turns]),
        "client_ratio_to_plain": _ratio([(turn.client_pieces(), plain.client_pieces()) for turn, plain in turns]),
        "server_ratio_to_plain": _ratio([(turn.server_pieces(), plain.server_pieces()) for turn, plain in turns]),
    }
    first, plain = turns[0]
    return {
        "contributors": first.contributors,
        "phases": _medians([turn.phases for turn in own]),
        **reported,
        "upload_bytes": first.upload_bytes,
        "download_bytes": first.download_bytes,
        "upload_bytes_per_contributor": first.upload_bytes / first.contributors,
        "committee_bytes": first.committee_bytes,
        "upload_ratio_to_plain": first.upload_bytes / plain.upload_bytes,
        "max_abs_error": max(turn.error.largest for turn in own),
        "error_std_of_mean": max(turn.error.std for turn in own),
        "spread": {key: _holding(reported[key], quartiles(values)) for key, values in measured.items() if any(values)},
        "repeat": len(turns),
    }


def quartiles(values: Sequence[float]) -> list[float]:
    """Return the lower and the upper quartile."""
    spread = Spread.of(values)
    return [spread.low, spread.high]


def _ratio(turns: Sequence[tuple[Sequence[float], Sequence[float]]]) -> float:
    """Return how many times as much as the baseline something costs, both without their slow moments.

    A turn's pieces are taken relative to its baseline, so that turns on a slower machine count like others. Of what is
    known as a whole only, a peer, slow moments cannot be told: its baseline keeps its own then.
    """
    if any(len(own) == 1 for own, _ in turns):
        turns = [([sum(own)], [sum(plain)]) for own, plain in turns]
    relative = [
        ([piece / sum(plain) for piece in own], [piece / sum(plain) for piece in plain]) for own, plain in turns
    ]
    return steady([own for own, _ in relative]) / steady([plain for _, plain in relative])


def _holding(value: float, ends: Sequence[float]) -> list[float]:
    return [min(value, ends[0]), max(value, ends[1])]


def _medians(tables: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        phase: {key: statistics.median(table[phase][key] for table in tables) for key in costs_of}
        for phase, costs_of in tables[0].items()
    }
