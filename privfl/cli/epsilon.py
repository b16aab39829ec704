"""`privfl epsilon`: what a list of events costs, by accountants that do not share their code."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from privfl.cli.exits import Exit
from privfl.cli.tables import show
from privfl.dp.accountants import ACCOUNTANTS, Account, account
from privfl.dp.events import Events, Gaussian, PoissonSampled, Relation, Repeated, read_events
from privfl.errors import ConfigurationError, UnsupportedEvent

_HOW: Final = {
    "pld": "privacy loss distributions, dp-accounting",
    "rdp": "Rényi divergences, dp-accounting and our own for noise on whole numbers",
    "prv": "privacy loss random variables, Opacus",
}


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "epsilon",
        help="tell what releases cost, in epsilon",
        description="Tell epsilon of noisy releases at a delta, from a file of events or from one repeated release.",
        epilog="example: privfl epsilon --sampling-rate 0.01 --noise-multiplier 1.1 --steps 1000 --delta 1e-5",
    )
    parser.add_argument("--events", metavar="FILE", help="a JSON list of events; - reads standard input")
    parser.add_argument("--delta", required=True, type=float, metavar="D", help="delta, such as 1e-5")
    add_release(parser)
    parser.add_argument("--noise-multiplier", type=float, metavar="Z", help="standard deviation / L2 sensitivity")
    parser.add_argument(
        "--relation",
        choices=[relation.value for relation in Relation],
        help="neighbouring relation (add-or-remove-one)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(call=call)


def add_release(parser: argparse.ArgumentParser) -> None:
    """Add what describes one repeated release."""
    parser.add_argument("--sampling-rate", type=float, metavar="Q", help="probability of a unit to be sampled (1)")
    parser.add_argument("--steps", type=int, metavar="T", help="how many releases")


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    events = _from_file(options) if options.events is not None else _from_options(options)
    cost = account(events.events, options.delta, events.relation, names=tuple(ACCOUNTANTS))
    if options.json:
        print(json.dumps(answer(cost)))
    else:
        _show(cost)
    return Exit.GOOD if math.isfinite(cost.epsilon) else Exit.BAD


def answer(cost: Account) -> dict[str, Any]:
    """Write an account as the JSON object that is printed; an infinite ε is the word "infinity"."""
    return {
        "epsilon": _number(cost.epsilon),
        "delta": cost.delta,
        "relation": cost.relation.value,
        "reported": cost.reported,
        "accountants": {name: _number(epsilon) for name, epsilon in cost.accountants.items()},
    }


def _from_file(options: argparse.Namespace) -> Events:
    for name in ("sampling_rate", "noise_multiplier", "steps"):
        if getattr(options, name) is not None:
            raise ConfigurationError(
                f"--{name.replace('_', '-')} and --events exclude each other: name the release in the file"
            )
    events = _read(options.events)
    if options.relation is None:
        return events
    relation = Relation(options.relation)
    if events.names_relation and relation is not events.relation:
        raise ConfigurationError(
            f"--relation is {relation} and the file says {events.relation}: leave one of them out, or say the same"
        )
    return Events(relation=relation, events=events.events)


def _read(path: str) -> Events:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--events is {path!r}: {error.strerror or error}; a readable file works") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--events is {path!r}, which is no text: a JSON file in UTF-8 works") from None
    try:
        return read_events(text)
    except (ConfigurationError, UnsupportedEvent) as error:
        # An event that nobody knows is a slip of whoever wrote the file, as a key that nobody knows is.
        raise ConfigurationError(f"{path}: {error}") from None


def _from_options(options: argparse.Namespace) -> Events:
    for name in ("noise_multiplier", "steps"):
        if getattr(options, name) is None:
            raise ConfigurationError(
                f"--{name.replace('_', '-')} is missing: --noise-multiplier 1.1 --steps 1000 works, or --events FILE"
            )
    rate = 1.0 if options.sampling_rate is None else options.sampling_rate
    relation = Relation(options.relation or Relation.ADD_OR_REMOVE_ONE)
    with named_as_flags():
        event = PoissonSampled(sampling_probability=rate, event=Gaussian(noise_multiplier=options.noise_multiplier))
        return Events(relation=relation, events=(Repeated(event=event, count=options.steps),))


_FLAGS: Final = {
    "count": "--steps",
    "steps": "--steps",
    "sampling_probability": "--sampling-rate",
    "noise_multiplier": "--noise-multiplier",
    "epsilon": "--epsilon",
    "delta": "--delta",
}


@contextmanager
def named_as_flags() -> Iterator[None]:
    """Let complaints begin with the flag that somebody typed, not with an event's own name for it."""
    try:
        yield
    except ConfigurationError as error:
        key, _, rest = str(error).partition(" ")
        raise ConfigurationError(f"{_FLAGS.get(key, key)} {rest}") from None


def _show(cost: Account) -> None:
    table = Table(title=f"epsilon at delta {cost.delta:g}, {cost.relation}", title_justify="left")
    table.add_column("accountant")
    table.add_column("epsilon", justify="right")
    table.add_column("how")
    for name, epsilon in cost.accountants.items():
        if epsilon is not None:
            table.add_row(f"{name} (reported)" if name == cost.reported else name, f"{epsilon:.4f}", _HOW[name])
    show(table)
    silent = [name for name, epsilon in cost.accountants.items() if epsilon is None]
    if silent:
        print(f"- {' and '.join(silent)} {'does' if len(silent) == 1 else 'do'} not apply to these events.")
    if math.isinf(cost.epsilon):
        print("- A release without noise has no finite epsilon.")


def _number(epsilon: float | None) -> float | str | None:
    return "infinity" if epsilon is not None and math.isinf(epsilon) else epsilon
