"""The overhead matrix: sessions of a cell and of `plain` take turns, and ratios are formed turn by turn.

A machine that slows down slows both sides of a ratio; what reaches one side alone is in few turns, and medians leave it
out. Where sessions are short, more of them are held.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from privfl.bench.cells import Cell
from privfl.bench.contenders import Contender, PeerContender, Session, Turn
from privfl.bench.turns import Spread
from privfl.suites import suite

MOST_TURNS: Final = 30
_WARMING_S: Final = 1.0
_LARGEST_KEPT_BYTES: Final = 31 << 20  # glibc: DEFAULT_MMAP_THRESHOLD_MAX is 32 MiB
PROTECTION: Final = {
    "plain": "none: the server reads every update",
    "masking": "pairwise masks: fails if the server and enough of a client's neighbours pool what they know",
    "kahe": "one-time RLWE keys under pairwise masks: as masking, and if RLWE is easy",
    "ckks": "RLWE under a committee's key: fails if the server and enough of the committee pool what they know",
}


def measure(
    matrix: Sequence[Cell],
    *,
    repeat: int,
    workers: int = 1,
    least_s: float = 0.0,
    announce: Callable[[Cell], None] | None = None,
) -> Iterator[dict[str, Any]]:
    """Measure cells one after another.

    Args:
        matrix: the cells.
        repeat: turns per cell, at least; medians are reported.
        workers: threads for long vectors.
        least_s: seconds of turns per cell, at least, up to `MOST_TURNS` of them.
        announce: told which cell begins.

    Yields:
        One record a cell, ready for JSON.
    """
    for cell in matrix:
        if announce is not None:
            announce(cell)
        yield measure_cell(cell, repeat=repeat, workers=workers, least_s=least_s)


def measure_cell(cell: Cell, *, repeat: int, workers: int = 1, least_s: float = 0.0) -> dict[str, Any]:
    """Measure a cell; arguments as those of `measure`."""
    session = Session(cell, workers)
    turns = take_turns(
        session, None if cell == cell.baseline else cell.baseline, repeat=repeat, least_s=least_s, workers=workers
    )
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
    }


def measure_peer(contender: PeerContender, *, repeat: int, least_s: float = 0.0) -> dict[str, Any]:
    """Measure a peer; arguments as those of `measure`. What does not apply to it is null in the record."""
    cell, peer = contender.cell, contender.peer
    turns = take_turns(contender, cell, repeat=repeat, least_s=least_s)
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
        "versions": dict(contender.versions),
    }


def take_turns(
    contender: Contender, baseline: Cell | None, *, repeat: int, least_s: float = 0.0, workers: int = 1
) -> list[tuple[Turn, Turn]]:
    """Let sessions of a contender and of a baseline take turns.

    Args:
        contender: what is measured.
        baseline: what it is held against; None: itself.
        repeat: turns, at least.
        least_s: seconds, at least, up to `MOST_TURNS` turns.
        workers: threads of the baseline for long vectors: as many as the contender has.

    Returns:
        Pairs of what was measured and its baseline.
    """
    against = None if baseline is None else Session(baseline, workers)
    turns: list[tuple[Turn, Turn]] = []
    _settle()
    warming = time.perf_counter()
    for side in (contender, against):
        # What is made once, tables and keys, is in no turn; nor is finding the code. Of long turns it is nothing.
        if side is not None and time.perf_counter() - warming < _WARMING_S:
            side.turn()
    begun = time.perf_counter()
    while len(turns) < repeat or (len(turns) < MOST_TURNS and time.perf_counter() - begun < least_s):
        if against is None:
            turn = contender.turn()
            turns.append((turn, turn))
        elif len(turns) % 2:  # whoever goes second finds what the first left in the caches
            plain = against.turn()
            turns.append((contender.turn(), plain))
        else:
            turn = contender.turn()
            turns.append((turn, against.turn()))
    return turns


def _settle() -> None:
    """Bring the allocator to where a process that has run for a while has it.

    The C library gives large blocks back to the system, to fetch them again page by page, until it has seen one freed
    that was larger: what short work costs would depend on what was measured before it.
    """
    np.empty(_LARGEST_KEPT_BYTES, np.uint8)


def costs(turns: Sequence[tuple[Turn, Turn]]) -> dict[str, Any]:
    """Return the part of a record that follows from turns: medians, and quartiles of what spreads."""
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
    first, plain = turns[0]
    return {
        "contributors": first.contributors,
        "phases": _medians([turn.phases for turn in own]),
        **{key: statistics.median(values) for key, values in measured.items()},
        "upload_bytes": first.upload_bytes,
        "download_bytes": first.download_bytes,
        "upload_bytes_per_contributor": first.upload_bytes / first.contributors,
        "committee_bytes": first.committee_bytes,
        "upload_ratio_to_plain": first.upload_bytes / plain.upload_bytes,
        "max_abs_error": max(turn.error.largest for turn in own),
        "error_std_of_mean": max(turn.error.std for turn in own),
        "spread": {key: quartiles(values) for key, values in measured.items() if any(values)},
        "repeat": len(turns),
    }


def quartiles(values: Sequence[float]) -> list[float]:
    """Return the lower and the upper quartile."""
    spread = Spread.of(values)
    return [spread.low, spread.high]


def _medians(tables: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {
        phase: {key: statistics.median(table[phase][key] for table in tables) for key in costs_of}
        for phase, costs_of in tables[0].items()
    }
