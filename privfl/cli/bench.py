"""`privfl bench`: what protection costs on this machine, side by side with plain."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from privfl.params import ServerModel


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "bench",
        help="measure what protection costs",
        description="Hold sessions for every combination, each in turns with `plain`, and report medians: CPU of one "
        "client and of the server, bytes of the whole cohort, memory at the peak, and the error of the mean as a "
        "fraction of full scale. --quick has an answer within a minute; --full measures everything that there is a "
        "section for in the report: growth, peers, goals, and training jobs.",
        epilog="example: privfl bench --quick; privfl bench --suites plain,masking --clients 10,50 --parameters 1e6 "
        "--dropout 0,0.1 --peers flower,nvflare --out costs",
    )
    parser.add_argument(
        "--suites", metavar="A,B", help="suites, separated by commas (all that are installed and fit --server)"
    )
    parser.add_argument("--clients", metavar="N,…", help="sizes of the cohort (10,100)")
    parser.add_argument("--parameters", metavar="M,…", help="lengths of the update (1e5)")
    parser.add_argument("--dropout", metavar="D,…", help="fractions that vanish (0,0.1)")
    parser.add_argument("--privacy", metavar="P,…", help="noise: none, client-central, client-distributed (none)")
    parser.add_argument("--wire", metavar="W,…", help="how vectors travel: words, packed (words)")
    parser.add_argument(
        "--server",
        choices=[model.value for model in ServerModel],
        help=f"threat model ({ServerModel.HONEST_BUT_CURIOUS.value})",
    )
    parser.add_argument(
        "--peers", metavar="X,…", help="others, measured beside: float32, flower, tenseal, nvflare, or none"
    )
    parser.add_argument("--goals", action="store_true", help="hold the project's goals against their limits")
    parser.add_argument("--jobs", action="store_true", help="run training jobs under every suite and privacy mode")
    parser.add_argument("--repeat", type=int, metavar="R", help="turns per combination, at least (5)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads for long vectors (1)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small matrix and all peers: a minute (--goals: small ones)",
    )
    parser.add_argument("--full", action="store_true", help="everything: half an hour on two processors")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where bench.jsonl, report.html and plots/ go")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with a run that was ended")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line instead of tables")
    parser.set_defaults(call=call, parser=parser)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    from privfl.cli.bench_run import bench  # noqa: PLC0415 - what it takes is loaded for this verb alone

    return bench(options)
