"""What `privfl bench` measures: the matrix that its flags lay out, or one of two that are laid out here."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import Final, TypeVar

from privfl.bench import jobs
from privfl.bench.cells import Cell, cells
from privfl.bench.peers import PEERS, Peer, peers
from privfl.bench.program import Program
from privfl.bench.turns import Repeats
from privfl.errors import ConfigurationError
from privfl.learning.privacy_job import PrivacyMode
from privfl.params import MAX_COHORT, MAX_VECTOR_LENGTH, ServerModel, WireForm
from privfl.suites import SUITE_NAMES, suite

NO_PEERS: Final = "none"
USUAL: Final = {
    "clients": "10,100",
    "parameters": "1e5",
    "dropout": "0,0.1",
    "privacy": "none",
    "wire": "words",
    "server": ServerModel.HONEST_BUT_CURIOUS.value,
    "peers": NO_PEERS,
    "repeat": 5,
}
QUICK: Final = USUAL | {
    "clients": "10",
    "privacy": "none,client-distributed",
    "peers": ",".join(PEERS),
    "repeat": 3,
}
_QUICK_MOST_S: Final = 2.5
_FULL_REPEAT: Final = 5
_FULL_LEAST_S: Final = 4.0
_FULL_MOST_S: Final = 20.0
_SIZES: Final = ((10, 100_000, 0.0), (10, 100_000, 0.1), (10, 1_000_000, 0.1))
"""At which peers are compared: clients, parameters, drop-out."""

T = TypeVar("T")


def program_of(options: argparse.Namespace) -> Program:
    """Return what flags ask for.

    Raises:
        ConfigurationError: a flag holds what does not work, or the cells cannot be planned; names the flag.
    """
    if options.full:
        given = [key for key in USUAL if key not in {"repeat", "peers"} and getattr(options, key) is not None]
        if given or options.quick or options.suites is not None:
            other = f"--{given[0]}" if given else "--quick" if options.quick else "--suites"
            raise ConfigurationError(f"--full lays out a matrix of its own: leave out {other}")
        return _full(options)
    said = QUICK if options.quick else USUAL
    for key, value in said.items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    _check_counts(options)
    suites, server = _suites(options.suites, options.server), ServerModel(options.server)
    clients = [_whole(text, "--clients", MAX_COHORT) for text in options.clients.split(",")]
    parameters = [_whole(text, "--parameters", MAX_VECTOR_LENGTH) for text in options.parameters.split(",")]
    dropouts = [_number(text, "--dropout", float) for text in options.dropout.split(",")]
    # Of what takes longest, a quick answer has half: noise and peers at the last drop-out alone.
    beside = dropouts[-1:] if options.quick else dropouts
    matrix = cells(
        suites,
        clients,
        parameters,
        dropouts,
        wires=[_wire(text) for text in options.wire.split(",")],
        server=server,
        privacy=[_mode(text) for text in options.privacy.split(",")],
    )
    return Program(
        cells=[cell for cell in matrix if cell.privacy is PrivacyMode.NONE or cell.dropout in beside],
        peers=_beside(_peers(options.peers), ((n, m, d) for n in clients for m in parameters for d in beside)),
        goals=options.goals,
        jobs=jobs.CASES if options.jobs else (),
        repeats=Repeats(least=options.repeat, most_s=_QUICK_MOST_S if options.quick else math.inf),
        workers=options.workers,
        small=options.quick,
    )


def _full(options: argparse.Namespace) -> Program:
    """Everything that the report has a section for, in less than half an hour on two processors."""
    options.repeat = _FULL_REPEAT if options.repeat is None else options.repeat
    _check_counts(options)
    suites = _suites(None, ServerModel.HONEST_BUT_CURIOUS.value)
    noisy = [PrivacyMode.CLIENT_CENTRAL, PrivacyMode.CLIENT_DISTRIBUTED]
    masked = ["masking", "kahe"]
    bare = [name for name in suites if not suite(name).has_committee]
    blocks = [
        cells(suites, [10], [100_000, 1_000_000], [0.0, 0.1]),
        cells(suites, [100], [100_000], [0.0, 0.1]),
        cells(bare, [100], [1_000_000], [0.1]),
        cells(masked, [10], [1_000_000], [0.1], wires=[WireForm.PACKED]),
        cells(masked, [10, 100], [100_000], [0.1], server=ServerModel.ACTIVE),
        cells(suites, [10], [100_000], [0.1], privacy=noisy),
        cells(suites, [10, 25, 50, 100, 200, 300], [10_000], [0.1]),
        cells(suites, [10], [10_000, 30_000, 300_000], [0.1]),
        cells(bare, [10], [3_000_000], [0.1]),
    ]
    chosen = _peers(",".join(PEERS) if options.peers is None else options.peers)
    return Program(
        cells=list(dict.fromkeys(cell for block in blocks for cell in block)),
        peers=_beside(chosen, _SIZES),
        goals=True,
        jobs=jobs.CASES,
        repeats=Repeats(least=options.repeat, least_s=_FULL_LEAST_S, most_s=_FULL_MOST_S),
        workers=options.workers,
    )


def _beside(chosen: Sequence[Peer], sizes: Iterable[tuple[int, int, float]]) -> list[tuple[Peer, Cell]]:
    return [
        (peer, Cell(suite="plain", clients=n, parameters=m, dropout=dropout))
        for n, m, dropout in sizes
        for peer in chosen
    ]


def _check_counts(options: argparse.Namespace) -> None:
    if options.repeat < 1 or options.workers < 1:
        raise ConfigurationError("--repeat and --workers start at 1: --repeat 5 --workers 1 works")


def _peers(text: str) -> list[Peer]:
    words = [word.strip() for word in text.split(",")]
    return peers([]) if words == [NO_PEERS] else peers(words)


def _suites(text: str | None, server: str) -> list[str]:
    if text is not None:
        return [name.strip() for name in text.split(",")]
    # A committee's suite needs an extra, and parties that follow the protocol.
    committees = find_spec("tenseal") is not None and server != ServerModel.ACTIVE.value
    return [name for name in SUITE_NAMES if committees or not suite(name).has_committee]


def _number(text: str, flag: str, kind: Callable[[str], T]) -> T:
    try:
        return kind(text.strip())
    except ValueError:
        raise ConfigurationError(f"{flag} holds {text!r}: numbers separated by commas work, such as 10,100") from None


def _whole(text: str, flag: str, largest: int) -> int:
    value = _number(text, flag, float)
    if not (value == value // 1 and 1 <= value <= largest):
        raise ConfigurationError(f"{flag} holds {text!r}: whole numbers from 1 to {largest} work")
    return int(value)


def _wire(text: str) -> WireForm:
    try:
        return WireForm(text.strip())
    except ValueError:
        raise ConfigurationError(f"--wire holds {text!r}: words, packed or both work") from None


def _mode(text: str) -> PrivacyMode:
    try:
        return PrivacyMode(text.strip())
    except ValueError:
        raise ConfigurationError(
            f"--privacy holds {text!r}: none, client-central and client-distributed work, separated by commas"
        ) from None
