"""`privfl serve`: a coordinator whose clients come over HTTPS or through a broker, each from where its data are."""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from privfl.cli.code_path import CODE_PATH, folders_of, make_importable, read_folders, remembered
from privfl.cli.exits import Exit
from privfl.cli.run_live import Watcher
from privfl.cli.run_parts import concluded, identity_at, next_free
from privfl.cli.through_broker import bridge_of, register_serving, serving_access
from privfl.errors import ConfigurationError
from privfl.guard import make_folder
from privfl.learning.checkpoint import write_whole
from privfl.learning.job import Job, job_to_toml, load_job
from privfl.learning.paperwork import JOB, RUN
from privfl.learning.rounds import METRICS, FederatedRun
from privfl.primitives.signatures import Identity
from privfl.roster import Roster

if TYPE_CHECKING:  # what HTTPS takes is an extra of its own
    from privfl.integrations.consortium.coordinator import DistantClients
    from privfl.integrations.consortium.messages import Greeting
    from privfl.integrations.http.server import Server
    from privfl.integrations.mqtt import Access

PORT: Final = 8443
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - clients come from elsewhere
_RUN_BYTES: Final = 16
_FAREWELL_S: Final = 30.0


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "serve",
        help="coordinate a federated job among distant clients",
        description="Run a job among clients that come with `privfl join`, over HTTPS or, with --mqtt, through a "
        "broker, each from where its data are. "
        "What a run leaves is as with `privfl run`. A coordinator that was killed goes on with --resume DIR, and its "
        "clients come back by themselves. A page on this machine tells how the run stands. Exit codes are those of "
        "`privfl run`.",
        epilog="example: privfl serve job.toml --identity coordinator.pem --roster roster.json "
        "--certificate server.crt --key server.pem --out runs/first",
    )
    parser.add_argument("job", nargs="?", type=Path, metavar="JOB.toml", help="what to train (not with --resume)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key of the job"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where results go (default: runs/JOB, numbered)")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with the run in DIR")
    parser.add_argument(
        "--identity", type=Path, required=True, metavar="FILE.pem", help="the coordinator's key: privfl identity new"
    )
    parser.add_argument(
        "--roster", type=Path, required=True, metavar="FILE.json", help="who the clients are: privfl identity roster"
    )
    parser.add_argument(
        "--committee",
        type=Path,
        metavar="FILE.json",
        help="who of them opens sums of 'ckks': identities from 0 on",
    )
    parser.add_argument(
        "--certificate", type=Path, required=True, metavar="FILE.crt", help="for TLS: privfl identity cert"
    )
    parser.add_argument("--key", type=Path, required=True, metavar="FILE.pem", help="the certificate's private key")
    parser.add_argument(
        "--client-ca", type=Path, metavar="CA.crt", help="take connections with a certificate of this authority only"
    )
    parser.add_argument(
        "--host", help="address to listen at (default: all of this machine's; with --mqtt none but its own)"
    )
    parser.add_argument("--port", type=int, help=f"for clients; 0 takes a free one (default {PORT}; with --mqtt: 0)")
    parser.add_argument(
        "--operator-port", type=int, default=0, metavar="PORT", help="of the page on this machine (default: a free one)"
    )
    register_serving(parser)
    waits = parser.add_argument_group("how long clients are waited for")
    waits.add_argument("--clients", type=int, metavar="N", help="begin a round when N are there (default: a cohort)")
    waits.add_argument("--gather", type=float, default=60.0, metavar="S", help="or after so many seconds (60)")
    waits.add_argument("--phase-timeout", type=float, default=60.0, metavar="S", help="for an answer (60)")
    waits.add_argument("--upload-timeout", type=float, default=600.0, metavar="S", help="to train and upload (600)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads for long vectors (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, and nothing else")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    watcher = Watcher(quiet=options.json)
    identity = identity_at(options.identity, "--identity")
    access = serving_access(options)
    job, out = _job_and_folder(options)
    clients = _clients(options, job, out, identity)
    if options.resume is None:
        run = FederatedRun(
            job, out=out, observe=watcher.observe, workers=options.workers, identity=identity, elsewhere=clients
        )
    else:
        _require_known(out, clients.hall.greeting)
        run = FederatedRun.resume(
            out, observe=watcher.observe, workers=options.workers, identity=identity, elsewhere=clients
        )
    server = _server(options, clients, run, job, identity)
    server.bind()  # what is wrong with an address shows before anything is written
    if options.resume is None:
        _begin(out, run.job, clients.hall.greeting)
    folders = None if options.resume is not None else folders_of(options.job)
    try:
        with ExitStack() as stack:
            stack.enter_context(server)
            if access is not None:
                bridge = bridge_of(options, clients.hall, job.data.clients, access=access, port=server.port)
                stack.enter_context(bridge)
            stack.enter_context(remembered(job, folders, out))
            _say_where(options, server, clients, access)
            watcher.begin(run)
            with watcher:
                for metrics in run:
                    watcher.round_done(metrics)
            clients.hall.close(f"the run is over after {run.done} rounds")
            # All of them: some may be training, or come back to a coordinator that has nothing left to do.
            server.farewell(range(job.data.clients), _FAREWELL_S)
    except KeyboardInterrupt:
        print(f"privfl: interrupted; privfl serve --resume {shlex.quote(str(out))} goes on", file=sys.stderr)
        return Exit.INTERRUPTED
    return concluded(run, out, identity, as_json=options.json)


def _job_and_folder(options: argparse.Namespace) -> tuple[Job, Path]:
    if options.workers < 1:
        raise ConfigurationError(f"--workers is {options.workers}: 1 or more works")
    if options.resume is not None:
        if options.job is not None or options.overrides or options.out is not None:
            raise ConfigurationError("--resume DIR goes on with the job in DIR: give no job, --set or --out beside it")
        make_importable(*read_folders(options.resume / CODE_PATH), Path.cwd())
        return load_job(options.resume / JOB), options.resume
    if options.job is None:
        raise ConfigurationError("serve needs a job file, or --resume DIR")
    make_importable(*folders_of(options.job))
    out = options.out or next_free(Path("runs") / options.job.stem)
    if (out / RUN).exists() or (out / METRICS).exists():
        raise ConfigurationError(f"--out {out} holds a run already: name another, or use --resume {out}")
    return load_job(options.job, options.overrides), out


def _clients(options: argparse.Namespace, job: Job, out: Path, identity: Identity) -> DistantClients:
    from privfl.integrations.consortium.coordinator import DistantClients, Patience  # noqa: PLC0415 - for this verb

    if options.clients is not None and not 1 <= options.clients <= job.data.clients:
        raise ConfigurationError(f"--clients is {options.clients}: 1 to {job.data.clients} works, as data.clients says")
    return DistantClients(
        job,
        run=os.urandom(_RUN_BYTES) if options.resume is None else _known_by(out),
        identity=identity,
        roster=Roster.load(options.roster),
        patience=Patience(
            phase_s=options.phase_timeout,
            upload_s=options.upload_timeout,
            gather_s=options.gather,
            clients=options.clients,
        ),
        committee=None if options.committee is None else Roster.load(options.committee),
        workers=options.workers,
    )


def _begin(out: Path, job: Job, greeting: Greeting) -> None:
    """Put down what a coordinator that is killed before its first round must find: its clients know the run by now."""
    make_folder(out)
    write_whole(out / JOB, job_to_toml(job).encode())
    write_whole(out / RUN, f"{greeting.run.hex()}\n{_digest_of(greeting)}\n".encode())


def _known_by(out: Path) -> bytes:
    return _noted(out)[0]


def _require_known(out: Path, greeting: Greeting) -> None:
    """Refuse to greet a run's clients otherwise than before: they would leave, for good.

    Raises:
        ConfigurationError: the greeting is another.
    """
    if _noted(out)[1] != _digest_of(greeting):
        raise ConfigurationError(
            f"--resume {out} would show its clients another run than they entered, and they would leave it: give the "
            f"--identity that the run began with, and leave {JOB} and the data as they were"
        )


def _noted(out: Path) -> tuple[bytes, str]:
    """Return what clients know a run by, and the digest of how they were greeted."""
    try:
        name, greeted = (out / RUN).read_text(encoding="ascii").splitlines()
        run = bytes.fromhex(name)
    except (OSError, ValueError):
        run, greeted = b"", ""
    if len(run) != _RUN_BYTES:
        raise ConfigurationError(
            f"--resume {out} holds no run with distant clients: there is no whole {RUN} in it; privfl run --resume "
            f"goes on with simulated ones"
        )
    return run, greeted


def _digest_of(greeting: Greeting) -> str:
    from privfl.integrations.consortium.messages import encode  # noqa: PLC0415 - for this verb

    return hashlib.sha256(encode(greeting)).hexdigest()


def _server(
    options: argparse.Namespace, clients: DistantClients, run: FederatedRun, job: Job, identity: Identity
) -> Server:
    from privfl.integrations.http.server import Server  # noqa: PLC0415 - an extra

    host, port = (_EVERYWHERE, PORT) if options.mqtt is None else ("127.0.0.1", 0)
    return Server(
        clients.hall,
        clients.roster,
        identity=identity,
        host=options.host or host,
        port=port if options.port is None else options.port,
        certificate=options.certificate,
        key=options.key,
        client_ca=options.client_ca,
        operator_port=options.operator_port,
        rounds=lambda: [asdict(row) for row in run.metrics],
        rounds_planned=job.rounds,
    )


def _say_where(options: argparse.Namespace, server: Server, clients: DistantClients, access: Access | None) -> None:
    if options.json:
        return
    at = f"https://{options.host or _EVERYWHERE}:{server.port}"
    if access is not None:
        at = f"{options.mqtt}, where it is {access.user!r}" + (f", and {at}" if options.host else "")
    print(
        f"privfl: run {clients.hall.greeting.run.hex()} at {at}, for {len(clients.roster.identities)} clients; how it "
        f"stands: http://127.0.0.1:{server.operator_port}/",
        file=sys.stderr,
    )
