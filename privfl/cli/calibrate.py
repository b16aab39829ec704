"""`privfl calibrate`: how much noise a budget asks for."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich.table import Table

from privfl.cli.epsilon import add_release, answer, named_as_flags
from privfl.cli.exits import Exit
from privfl.cli.tables import show
from privfl.dp.accountants import ACCOUNTANTS, account
from privfl.dp.calibration import noise_multiplier_for
from privfl.dp.events import Gaussian, PoissonSampled, Relation, Repeated
from privfl.errors import ConfigurationError


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "calibrate",
        help="find the noise that a budget asks for",
        description="Find the smallest noise multiplier with which repeated Gaussian releases stay within epsilon.",
        epilog="example: privfl calibrate --epsilon 4 --delta 1e-5 --sampling-rate 0.05 --steps 200",
    )
    parser.add_argument("--epsilon", required=True, type=float, metavar="E", help="epsilon that may be spent")
    parser.add_argument("--delta", required=True, type=float, metavar="D", help="delta, such as 1e-5")
    add_release(parser)
    parser.add_argument(
        "--relation",
        default=Relation.ADD_OR_REMOVE_ONE.value,
        choices=[relation.value for relation in Relation],
        help="neighbouring relation (add-or-remove-one)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    if options.steps is None:
        raise ConfigurationError("--steps is missing: the number of releases works, such as 200")
    rate = 1.0 if options.sampling_rate is None else options.sampling_rate
    relation = Relation(options.relation)
    with named_as_flags():
        noise = noise_multiplier_for(options.epsilon, options.delta, rate, options.steps, relation)
    event = PoissonSampled(sampling_probability=rate, event=Gaussian(noise_multiplier=noise))
    cost = account((Repeated(event=event, count=options.steps),), options.delta, relation, names=tuple(ACCOUNTANTS))
    told = {"noise_multiplier": noise, "sampling_rate": rate, "steps": options.steps} | answer(cost)
    if options.json:
        print(json.dumps(told))
        return Exit.GOOD
    table = Table(title=f"noise for epsilon {options.epsilon:g}", title_justify="left", show_header=False)
    for key, value in told.items():
        if key != "accountants":
            table.add_row(key.replace("_", " "), f"{value:.6g}" if isinstance(value, float) else str(value))
    show(table)
    return Exit.GOOD
