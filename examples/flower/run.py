"""Run the app beside on this machine, in either of Flower's runtimes: SuperLink, SuperNodes and app, from start to end.

python examples/flower/run.py                                   # five SuperNodes, three rounds
python examples/flower/run.py --runtime simulation              # the same app, its nodes played by Ray
python examples/flower/run.py --kill-node 2                     # a node dies in the middle of round 2
python examples/flower/run.py --insecure --capture seen.bin     # Flower's own FedAvg: what a server gets to see
"""

import argparse
import itertools
import json
import re
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from loopback import Federation

APP = Path(__file__).parent
ONE_LINE = "ClientApp(mods=[SecureAggregationMod()])"
"""Of the client app: what protects."""


class Killer:
    """Ends one SuperNode with all its processes, when it has taken up a certain message of a certain round.

    A SuperNode's log says of each message whether it is to train or to evaluate, so rounds can be told apart.
    """

    def __init__(self, federation: Federation, *, node: int, round_number: int, message: int = 1) -> None:
        self.killed = threading.Event()
        self._federation = federation
        self._node = node
        self._awaited = (round_number, message)
        self._seen_before = len(self._messages())
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        with suppress(FileNotFoundError):  # it never came, and the logs are gone
            while not self._has_come():
                time.sleep(0.1)
            self._federation.kill_node(self._node)
            self.killed.set()

    def _has_come(self) -> bool:
        messages = self._messages()[self._seen_before :]
        rounds = [len(list(those)) for kind, those in itertools.groupby(messages) if kind == "train"]
        number, message = self._awaited
        return len(rounds) >= number and rounds[number - 1] >= message

    def _messages(self) -> list[str]:
        return re.findall(r"Receiving: (\w+)", self._federation.node_log(self._node))


def unprotected(folder: Path) -> Path:
    """A copy of the app without the mod: with it, nodes answer nothing that is not protected."""
    app = folder / "unprotected"
    shutil.copytree(APP, app, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    client = app / "digits_app" / "client_app.py"
    code = client.read_text(encoding="utf-8")
    client.write_text(code.replace(ONE_LINE, "ClientApp()"), encoding="utf-8")
    return app


def main() -> None:
    """Run what the arguments ask for."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="privfl-flower-") as temporary:
        folder = arguments.logs or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        output = (arguments.output or folder / "output").absolute()
        config = {"num-server-rounds": arguments.rounds, "suite": arguments.suite, "secure": not arguments.insecure}
        config |= {"output": str(output), "seed": arguments.seed, "phase-timeout": arguments.phase_timeout}
        started = time.monotonic()
        with Federation(
            folder,
            nodes=arguments.nodes,
            simulation=arguments.runtime == "simulation",
            capture=arguments.capture is not None,
        ) as federation:
            print(f"{arguments.nodes} nodes are up after {time.monotonic() - started:.0f} s; logs in {folder}")
            killer = arguments.kill_node and Killer(
                federation, node=arguments.nodes - 1, round_number=arguments.kill_node
            )
            app = unprotected(folder) if arguments.insecure else APP
            federation.run(app, config, print if arguments.verbose else lambda _: None)
            if arguments.capture is not None and federation.relay is not None:
                taken = federation.relay.take()
                arguments.capture.write_bytes(taken)
                print(f"{arguments.capture}: {len(taken):,} bytes that the SuperLink got from its SuperNodes")
        if not output.with_suffix(".json").exists():
            sys.exit(
                "The run ended without a result; --verbose shows its log, --logs DIR keeps those of all processes."
            )
        _print_table(json.loads(output.with_suffix(".json").read_text(encoding="utf-8")))
        print(
            f"{time.monotonic() - started:.0f} s in all"
            + (", one node killed" if killer and killer.killed.is_set() else "")
        )


def _print_table(written: dict) -> None:
    of_training = {record["round"]: record for record in written["secure"] if record["kind"] == "train"}
    print("round  contributors  dropped  held-out accuracy  train loss  nodes' accuracy   seconds  upload kB")
    for row in written["rounds"]:
        secure = of_training.get(row["round"], {})
        print(
            f"{row['round']:5}  {_count(secure, 'contributors'):>12}  {_count(secure, 'dropped'):>7}"
            f"  {row['held_out']['accuracy']:>17.1%}  {row['train'].get('train_loss', float('nan')):>10.4f}"
            f"  {row['evaluate'].get('accuracy', float('nan')):>15.1%}"
            f"  {row['seconds']:>8.1f}  {secure.get('upload_bytes', 0) / 1000:>9.1f}"
        )


def _count(record: dict, key: str) -> str:
    value = record.get(key, "")
    return str(len(value)) if isinstance(value, list) else str(value)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Starts a Flower SuperLink and, for the deployment runtime, SuperNodes as processes of their own, "
        "on 127.0.0.1; runs the app beside this file on them; prints a row a round; and stops all of it.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--runtime", choices=("deployment", "simulation"), default="deployment", help="Flower's runtime"
    )
    parser.add_argument("--nodes", type=int, default=5, help="how many nodes")
    parser.add_argument("--rounds", type=int, default=3, help="how many rounds")
    parser.add_argument("--suite", choices=("masking", "kahe"), default="masking", help="what protects")
    parser.add_argument("--insecure", action="store_true", help="Flower's own FedAvg, for comparison: all is in clear")
    parser.add_argument("--kill-node", type=int, metavar="ROUND", help="kill a SuperNode in the middle of this round")
    parser.add_argument(
        "--capture",
        type=Path,
        metavar="FILE",
        help="put a relay between SuperNodes and SuperLink, and write to FILE all that the SuperLink got from them",
    )
    parser.add_argument("--phase-timeout", type=float, default=60.0, help="seconds until a silent node counts as gone")
    parser.add_argument("--seed", type=int, default=1, help="of data, first model and training; never of secrets")
    parser.add_argument("--output", type=Path, metavar="PATH", help="keep PATH.json and PATH.npz that the app writes")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep all processes' logs here")
    parser.add_argument("--verbose", action="store_true", help="show the run's log")
    arguments = parser.parse_args()
    if arguments.runtime == "simulation" and (arguments.kill_node is not None or arguments.capture is not None):
        parser.error(
            "--kill-node and --capture want --runtime deployment: in simulation no node is a process of its own"
        )
    if arguments.kill_node is not None and not 1 <= arguments.kill_node <= arguments.rounds:
        parser.error(f"--kill-node {arguments.kill_node}: a round from 1 to {arguments.rounds}")
    return arguments


if __name__ == "__main__":
    main()
