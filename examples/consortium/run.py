"""Five hospitals and a coordinator on this machine, six processes that talk over HTTPS, from the keys to the report.

With --mqtt they talk through a broker, mosquitto, which carries their connections and reads nothing of them.

python examples/consortium/run.py                       # ten rounds
python examples/consortium/run.py --kill-client 3       # a hospital is killed in the middle, and comes back
python examples/consortium/run.py --kill-coordinator    # so is the coordinator
python examples/consortium/run.py --mqtt                # through a broker
"""

import argparse
import json
import shutil
from pathlib import Path

from consortium import Consortium

HERE = Path(__file__).parent
CLIENTS = 5
KILLED_AFTER, BACK_AFTER = 3, 5
"""Rounds."""


def main() -> None:
    """Run what the arguments ask for."""
    arguments = _arguments()
    if arguments.folder.exists():
        shutil.rmtree(arguments.folder)
    waits = ("--phase-timeout", "10", "--upload-timeout", "60")
    with Consortium(arguments.folder, HERE / "job.toml", CLIENTS, waits=waits, mqtt=arguments.mqtt) as consortium:
        consortium.serve()
        for number in range(CLIENTS):
            consortium.join(number)
        if arguments.kill_client is not None:
            consortium.await_rounds(KILLED_AFTER)
            consortium.kill_client(arguments.kill_client)
            print(f"killed hospital {arguments.kill_client} after round {KILLED_AFTER}")
            consortium.await_rounds(BACK_AFTER)
            consortium.join(arguments.kill_client)
        if arguments.kill_coordinator:
            consortium.await_rounds(KILLED_AFTER)
            consortium.kill_coordinator()
            print(f"killed the coordinator after round {len(consortium.rounds())}")
            consortium.serve()
        codes = consortium.await_end()
        for line in map(json.loads, consortium.rounds()):
            why = f"; {line['dropped_because']}" if line["dropped_because"] else ""
            print(f"round {line['round']:2}: {line['contributors']} hospitals, accuracy {line['accuracy']:.3f}{why}")
        print(f"report: {consortium.out / 'report.html'}")
    if any(codes.values()):
        raise SystemExit(f"exit codes: {codes}; the logs are in {arguments.folder}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A consortium of five hospitals on this machine.")
    parser.add_argument("--folder", type=Path, default=Path("runs/consortium"), help="made anew (runs/consortium)")
    parser.add_argument("--kill-client", type=int, choices=range(CLIENTS), metavar="N", help="0 to 4")
    parser.add_argument("--kill-coordinator", action="store_true")
    parser.add_argument("--mqtt", action="store_true", help="through mosquitto, which is started for it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
