"""The clients of a load test: real ones with homes on disk, many in a process; and members of the roster that lie."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from load.cast import context_of, home_of, identity_in, vector_of
from privfl.integrations.consortium import Participant
from privfl.integrations.home import PartyHome
from privfl.integrations.http import Joined
from privfl.integrations.http.patience import Lost
from privfl.integrations.http.tls import client_context
from privfl.session import Phase

AT_ONCE = 2
"""Vectors that are made at once in a process."""
HUNG_UP = 0
"""In place of a status: the connection ended before one was heard."""
_GATE_S = 1800.0


@dataclass
class Tally:
    """What one client did."""

    number: int
    kind: str
    computing_cpu_s: float = 0.0
    answer_bytes: int = 0
    put_bytes: int = 0
    lost: int = 0
    resumed_at: list[int] = field(default_factory=list)
    replayed: list[int] = field(default_factory=list)
    ended: str = ""


class Shop:
    """What clients of one process share: few make their vectors at once, and all begin to upload together."""

    def __init__(self, made):
        self.slots = threading.Semaphore(AT_ONCE)
        self.gate = threading.Event()
        self.stop = threading.Event()
        self.made = made


class Known:
    """A client's work: its vector is known."""

    def __init__(self, cast, number):
        self._cast, self._number = cast, number

    def enter(self, greeting):
        """Nothing is agreed on beforehand."""

    def check(self, step, params):
        """Likewise."""

    def context(self, step, model):
        return context_of(step.terms, model, step.round)

    def charge(self, step, params):
        """There is no budget."""

    def vector(self, step, params, model, context):
        return vector_of(self._cast, self._number)


class Patient(Participant):
    """A participant that waits for its turn to compute, and with its upload for all others."""

    def __init__(self, home, tally, work, shop):
        super().__init__(home, tally.number, work)
        self._tally, self._shop = tally, shop

    def answer(self, step, model_of):
        shop = self._shop

        def fetched(digest, size):
            # Whoever waits for its model does not compute.
            shop.slots.release()
            try:
                return model_of(digest, size)
            finally:
                shop.slots.acquire()

        with shop.slots:
            begun = time.thread_time()
            answer = super().answer(step, fetched)
            self._tally.computing_cpu_s += time.thread_time() - begun
        if step.phase == Phase.MASKED_INPUT and not self._tally.answer_bytes:
            self._tally.answer_bytes = len(answer)
            shop.made.release()
            shop.gate.wait(_GATE_S)
        return answer


class Liar(Patient):
    """A member of the roster that sends bytes of the right length in one phase."""

    def __init__(self, home, tally, work, shop, phase):
        super().__init__(home, tally, work, shop)
        self._phase = phase

    def answer(self, step, model_of):
        answer = super().answer(step, model_of)
        return os.urandom(len(answer)) if step.phase == self._phase else answer


def live(folder, cast, ports, made, pipe):
    """Be some clients, until the coordinator says that all is over or the pipe that this is.

    Args:
        folder: where papers and homes are.
        cast: who is what.
        ports: where each client finds its coordinator.
        made: semaphore that each client releases when it could upload.
        pipe: says "open" when all may upload, "stop" when it is over; is told what everybody did.
    """
    folder = Path(folder)
    logging.getLogger("privfl").setLevel(logging.CRITICAL)
    shop, tallies, threads = Shop(made), [], []
    for number, port in ports.items():
        tally = Tally(number, cast.kind_of(number))
        tallies.append(tally)
        threads.append(threading.Thread(target=_life, args=(folder, cast, port, tally, shop), daemon=True))
    for thread in threads:
        thread.start()
    while (said := pipe.recv()) != "stop":
        assert said == "open"
        shop.gate.set()
    shop.stop.set()
    for thread in threads:
        thread.join(timeout=120)
    pipe.send([asdict(tally) for tally in tallies])


def _life(folder, cast, port, tally, shop):
    number = tally.number
    try:
        home, work = PartyHome.open(home_of(folder, number), named=True), Known(cast, number)
        if number in cast.lies:
            participant = Liar(home, tally, work, shop, cast.lies[number])
        else:
            participant = Patient(home, tally, work, shop)
        joined = Joined(
            participant,
            url=f"https://127.0.0.1:{port}",
            ca=folder / "ca.crt",
            identity=identity_in(folder, number),
            number=number,
            stop=shop.stop,
        )
        _count(joined, tally)
        if tally.kind == "replayer":
            _repeat(joined, tally, folder, port)
        tally.ended = joined.run()
    except Exception as error:  # noqa: BLE001 - the test looks at it
        tally.ended = f"{type(error).__name__}: {error}"


def _count(joined, tally):
    """Count what is uploaded, and where an upload is gone on with after it was cut."""
    once, cut = joined._line.once, False

    def counted(method, target, *, body=b"", **options):
        nonlocal cut
        if method != "PUT" or Phase.MASKED_INPUT.value not in target:
            return once(method, target, body=body, **options)
        tally.put_bytes += len(body)
        if cut:
            tally.resumed_at.append(int(parse_qs(urlsplit(target).query)["offset"][0]))
            cut = False
        try:
            return once(method, target, body=body, **options)
        except Lost:
            tally.lost += 1
            cut = True
            raise

    joined._line.once = counted


def _repeat(joined, tally, folder, port):
    """Send each signed request once more as it was, and after each answer another one in its place."""
    line, signer = joined._line, joined._line._signer
    headers, once = signer.headers, line.once
    base, recorded = f"https://127.0.0.1:{port}", []
    other = httpx.Client(verify=client_context(folder / "ca.crt"), trust_env=False, timeout=60)

    def signed(method, target, body=b""):
        said = headers(method, target, body)
        recorded[:] = [(method, target, body, said)]
        return said

    def send(method, target, body, said):
        try:
            tally.replayed.append(other.request(method, base + target, content=body or None, headers=said).status_code)
        except httpx.TransportError:
            tally.replayed.append(HUNG_UP)  # a body that nobody reads

    def repeating(method, target, *, body=b"", **options):
        answer = once(method, target, body=body, **options)
        send(*recorded[0])
        if method == "PUT" and answer.told.complete:
            send(method, target, bytes(len(body)), headers(method, target, bytes(len(body))))
        return answer

    signer.headers, line.once = signed, repeating
