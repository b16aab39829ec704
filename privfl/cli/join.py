"""`privfl join`: a client of a distant coordinator, from where its data are."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from privfl.cli.code_path import make_importable
from privfl.cli.exits import Exit
from privfl.cli.through_broker import is_broker, joining_access, register_joining, require_no_broker
from privfl.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privfl.integrations.consortium import Participant
    from privfl.integrations.home import PartyHome
    from privfl.primitives.signatures import Identity


def register(verbs: argparse._SubParsersAction[Any]) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "join",
        help="take part in a distant coordinator's job",
        description="Train for a coordinator's rounds (`privfl serve`) with data that stay here, until all is over: "
        "nothing leaves but answers of the protocol. --home is this client's own directory: identity.pem and "
        "roster.json are put there beforehand, and policy.toml may say what its owner insists on; keys, claims and "
        "unfinished sessions are kept there, so that a client that was killed goes on when it is started again.",
        epilog="example: privfl join https://coordinator.example:8443 --home alice --ca ca.crt --data my_data:load",
    )
    parser.add_argument("url", metavar="URL", help="of the coordinator, https://…, or of the broker, mqtts://…")
    parser.add_argument("--home", type=Path, required=True, metavar="DIR", help="this client's directory")
    parser.add_argument("--ca", type=Path, required=True, metavar="CA.crt", help="the consortium's authority")
    parser.add_argument(
        "--data", metavar="MODULE:FUNCTION", help="returns this client's examples (default: its part of a public set)"
    )
    parser.add_argument(
        "--model", metavar="MODULE:FUNCTION", help="the job's model, if it is somebody's own code: look at it first"
    )
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE.crt", help="for brokers, and coordinators that demand one"
    )
    parser.add_argument("--key", type=Path, metavar="FILE.pem", help="the certificate's private key")
    register_joining(parser)
    parser.add_argument(
        "--give-up", type=float, metavar="S", help="end after so many seconds without the coordinator (default: never)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="threads for long vectors (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end, and nothing else")
    parser.set_defaults(call=call)


def call(options: argparse.Namespace) -> int:
    """Run the verb."""
    from privfl.integrations.consortium.participant import Participant  # noqa: PLC0415 - for this verb
    from privfl.integrations.consortium.refusals import one_line  # noqa: PLC0415 - likewise
    from privfl.integrations.consortium.trainee import Trainee  # noqa: PLC0415 - likewise
    from privfl.integrations.home import PartyHome  # noqa: PLC0415 - likewise
    from privfl.integrations.party_books import PartyBooks  # noqa: PLC0415 - for this verb
    from privfl.integrations.policy import OwnerPolicy  # noqa: PLC0415 - likewise

    if options.workers < 1:
        raise ConfigurationError(f"--workers is {options.workers}: 1 or more works")
    if (options.certificate is None) != (options.key is None):
        raise ConfigurationError("--certificate and --key belong together: give both, or neither")
    home = PartyHome.open(options.home, named=True)
    number = _own_number(home)
    assert home.identity is not None  # noqa: S101 - `_own_number` saw to it; for the type checker
    make_importable(Path.cwd())
    assert home.credentials is not None  # noqa: S101 - likewise
    policy = home.policy or OwnerPolicy()
    with _logged_to_stderr(quiet=options.json), home.alone():
        digest = home.credentials.roster.digest
        logging.getLogger("privfl.client").info("client %d of the roster %s", number, digest.hex())
        work = Trainee(
            number,
            data=options.data,
            model=options.model,
            policy=policy,
            guard=home.guard,
            books=PartyBooks(home.folder, home.identity, policy.budget, policy.server),
            workers=options.workers,
        )
        why = _joined(options, Participant(home, number, work, workers=options.workers), home.identity, number)
    why = one_line(why)  # the coordinator's words, on somebody's terminal
    print(json.dumps({"client": number, "over": why}) if options.json else f"client {number}: {why}")
    return Exit.GOOD


def _joined(options: argparse.Namespace, participant: Participant, identity: Identity, number: int) -> str:
    """Take part until all is over; return why it is."""
    own = None if options.certificate is None else (options.certificate, options.key)
    if is_broker(options.url):
        access = joining_access(options)
        from privfl.integrations import mqtt  # noqa: PLC0415 - an extra

        return mqtt.join(
            participant,
            access=access,
            name=options.name,
            ca=options.ca,
            identity=identity,
            number=number,
            client_certificate=own,
            give_up_after_s=options.give_up,
        )
    from privfl.integrations import http  # noqa: PLC0415 - likewise

    require_no_broker(options)
    return http.join(
        participant,
        url=options.url,
        ca=options.ca,
        identity=identity,
        number=number,
        client_certificate=own,
        give_up_after_s=options.give_up,
    )


def _own_number(home: PartyHome) -> int:
    """Return the client's number: the roster says it.

    Raises:
        ConfigurationError: it has no identity or no roster, is not on it, or it has expired.
    """
    if home.credentials is None:
        raise ConfigurationError(
            f"{home.folder} holds no identity.pem and roster.json: `privfl identity new` makes the one, the consortium "
            f"hands out the other"
        )
    home.require_current()
    own = home.credentials.identity.public
    for number, public in home.credentials.roster.identities.items():
        if public == own:
            return number
    raise ConfigurationError(f"the identity in {home.folder} is not on its roster.json: ask for one that lists it")


@contextmanager
def _logged_to_stderr(*, quiet: bool) -> Iterator[None]:
    """Write the library's log to standard error while the verb runs: who calls it twice in a process reads it once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("privfl")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
