"""What a cell will take, before it starts: roughly, and rather too much than too little.

The figures of the table are those of one core of an x86-64 server, measured; a short probe of this machine scales
them. A forecast is there to keep a night from being lost, and no result rests on it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from privfl.bench.cells import Cell
from privfl.bench.machine import free_bytes
from privfl.bench.turns import Repeats
from privfl.learning.privacy_job import PrivacyMode
from privfl.params import KaheSetting, MaskingSetting, ServerModel
from privfl.report.formats import format_bytes, format_seconds

MOST_S: Final = 3600.0
_MAKING_NS: Final = 6.0  # an update is made, and its vector added to the total
_ENCODING_NS: Final = {PrivacyMode.NONE: 5.0, PrivacyMode.CLIENT_CENTRAL: 70.0, PrivacyMode.CLIENT_DISTRIBUTED: 160.0}
_UPLOAD_NS: Final = {"plain": 2.0, "masking": 3.0, "kahe": 10.0, "ckks": 190.0}
_MASK_NS: Final = 0.8
_COMMITTEE_NS: Final = 2_000.0  # a parameter, once a session: members and opening
_PAIR_S: Final = 250e-6
_SIGNED_PAIR_S: Final = 250e-6
_CLIENT_S: Final = {"plain": 0.3e-3, "masking": 1e-3, "kahe": 1e-3, "ckks": 5e-3}  # whatever the length
_TRACED: Final = 3.0  # a session whose memory is traced, against one that is not
_BESIDE: Final = 0.3  # of a long session's time go to sessions of the baseline around it
_VECTORS: Final = {"plain": 32.0, "masking": 40.0, "kahe": 56.0, "ckks": 170.0}  # bytes a coordinate, of everybody
_NOISE_BYTES: Final = 40.0  # a coordinate: the padded vector in float64, and beside it
_CLIENT_BYTES: Final = 20_000.0
_PAIR_BYTES: Final = 1_500.0
_PROBE_S: Final = 0.003  # of `_probe`, where the figures are from


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a cell will take.

    Attributes:
        seconds: altogether.
        memory_bytes: of everybody, at the peak.
    """

    seconds: float
    memory_bytes: float


def forecast(cell: Cell, repeats: Repeats) -> Forecast:
    """Foretell what measuring a cell takes; arguments as those of `privfl.bench.matrix.measure_cell`."""
    own, baseline = _session_s(cell), _session_s(cell.baseline)
    turn = own + max(baseline, _BESIDE * own)
    pairs, length = cell.clients * _degree(cell), cell.vector.length
    wide = _VECTORS[cell.suite] + (_NOISE_BYTES if cell.privacy is not PrivacyMode.NONE else 0.0)
    return Forecast(
        seconds=turn * slowness() + repeats.expected_s(turn * slowness()) + _TRACED * own * slowness(),
        memory_bytes=length * wide + cell.clients * _CLIENT_BYTES + pairs * _PAIR_BYTES,
    )


def why_not(cell: Cell, repeats: Repeats) -> str | None:
    """Say why a cell is not begun: it would not fit the memory that is free, or an hour. None if it fits."""
    ahead, free = forecast(cell, repeats), free_bytes()
    if free is not None and ahead.memory_bytes > free:
        return (
            f"it needs about {format_bytes(ahead.memory_bytes)} of memory, and {format_bytes(free)} are free: fewer "
            f"--clients or --parameters work"
        )
    if ahead.seconds > MOST_S:
        return f"it would take about {format_seconds(ahead.seconds)}, and an hour is the most: a smaller --repeat works"
    return None


def _session_s(cell: Cell) -> float:
    uploads, length, degree = cell.uploading, cell.vector.length, _degree(cell)
    dropped = cell.clients - uploads
    along = _MAKING_NS + _ENCODING_NS[cell.privacy] + _UPLOAD_NS[cell.suite] + 3.0
    seconds = 1e-9 * length * uploads * along + _CLIENT_S[cell.suite] * cell.clients
    if cell.suite == "masking":
        seconds += 1e-9 * length * _MASK_NS * ((degree + 2) * uploads + dropped * degree)
    if cell.suite == "ckks":
        seconds += 1e-9 * length * _COMMITTEE_NS
    signed = _SIGNED_PAIR_S if cell.server is ServerModel.ACTIVE else 0.0
    return seconds + cell.clients * degree * (_PAIR_S + signed)


def _degree(cell: Cell) -> int:
    setting = cell.setting()
    match setting:
        case MaskingSetting():
            return setting.degree
        case KaheSetting():
            return setting.masking.degree
        case _:
            return 0


@cache
def slowness() -> float:
    """Return how many times as long as where the figures are from this machine takes, within limits."""
    return min(max(min(_probe() for _ in range(5)) / _PROBE_S, 0.25), 16.0)


def _probe() -> float:
    values = np.ones((64, 1024), np.complex128)
    begun = time.perf_counter()
    for _ in range(6):
        np.fft.fft(values, axis=-1)
    return time.perf_counter() - begun
