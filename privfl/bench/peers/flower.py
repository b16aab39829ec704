"""Flower's SecAgg+ as a peer: its own functions, on at least ten neighbours, clients that all weigh the most."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from privfl.bench.peers.flower_ring import FEWEST_CLIENTS, MOST_CLIENTS, WORKS, ring, shares_for, threshold_for
from privfl.bench.peers.metering import Meter, PeerSession, Updates
from privfl.bench.peers.peer import Peer
from privfl.errors import ConfigurationError

EXAMPLES: Final = 1000
"""The workflow's default of `max_weight` (line 167): at the largest weight, an update is resolved the finest."""

SETUP: Final = "setup"
SHARE_KEYS: Final = "share_keys"
COLLECT: Final = "collect_masked_vectors"
UNMASK: Final = "unmask"
"""Flower's stages, by its names (common/secure_aggregation/secaggplus_constants.py, lines 27-30)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowerPeer(Peer):
    """Sessions of SecAgg+ at the workflow's defaults; `flower_secagg` says what is called and what is not counted.

    It clips at 8 and resolves 2^22 steps, so that an update within 1 has a step of 4e-6 of full scale. Clients count
    for everything from their float32 update on, Flower's serialisation of it included, which is what its mod takes.

    Attributes:
        neighbours: how many each client has at least, in a cohort that is large enough. Ten is what Flower's figures
            in this project's benchmarks are measured with.
    """

    neighbours: int = 10

    def obstacle(self, parameters: int, clients: int, dropped: frozenset[int]) -> str | None:
        """Say in one sentence what speaks against a session, the installed version included."""
        usual = Peer.obstacle(self, parameters, clients, dropped)  # `super()` does not know a class with slots
        if usual is not None:
            return usual
        if not FEWEST_CLIENTS <= clients <= MOST_CLIENTS:
            return (
                f"{self.name} has {clients} clients: {FEWEST_CLIENTS} to {MOST_CLIENTS} work, as it needs a third "
                "share and adds weights modulo 2^32"
            )
        num_shares = shares_for(clients, self.neighbours)
        needed = threshold_for(num_shares)
        left = min(len(members - dropped) for members in ring(clients, num_shares).values())
        if left < needed:
            return (
                f"{self.name} loses too many of {clients} clients: {left} of {num_shares} shares are left of a secret, "
                f"and {needed} rebuild it; fewer that vanish work"
            )
        return self._cannot_call() if self.available() else None

    def _cannot_call(self) -> str | None:
        try:
            import privfl.bench.peers.flower_secagg  # noqa: F401, PLC0415 - an extra
        except ConfigurationError as error:
            return str(error)
        return None

    def _session(self, parameters: int, clients: int, dropped: frozenset[int]) -> PeerSession:
        import privfl.bench.peers.flower_secagg as flower  # noqa: PLC0415 - an extra

        num_shares = shares_for(clients, self.neighbours)
        session = flower.FlowerSession(clients, threshold_for(num_shares), num_shares)
        meter, updates, everybody = Meter(), Updates(parameters), range(clients)
        active = [number for number in everybody if number not in dropped]

        def sent(stage: str, answer: Mapping[str, Any], request: Mapping[str, Any]) -> None:
            down = flower.record_bytes(request, stage)
            meter.sent(stage, upload=flower.record_bytes(answer), download=down)

        for number in everybody:
            with meter.client(SETUP, number):
                answer = session.set_up(number)
            with meter.server(SETUP):
                session.take_keys(number, answer)
            sent(SETUP, answer, session.setup_request())
        for number in everybody:
            with meter.client(SHARE_KEYS, number):
                answer = session.share_keys(number)
            with meter.server(SHARE_KEYS):
                session.forward(number, answer)
            sent(SHARE_KEYS, answer, session.keys_request(number))
        for number in active:
            update = updates(number)
            with meter.client(COLLECT, number):
                masked = session.mask(number, flower.parameters_of(update), EXAMPLES)
            with meter.server(COLLECT):
                session.receive(masked)
            sent(COLLECT, flower.masked_record(masked), session.shares_request(number))
        with meter.server(COLLECT):
            session.close_uploads()
        shares: defaultdict[int, list[bytes]] = defaultdict(list)
        for number in active:
            with meter.client(UNMASK, number):
                answer = session.tell_shares(number, active, dropped)
            with meter.server(UNMASK):
                session.take_shares(shares, answer)
            sent(UNMASK, answer, session.unmask_request(number, active, dropped))
        with meter.server(UNMASK):
            for number in active:
                session.unmask_survivor(shares[number])
            for number in sorted(dropped):
                session.unmask_dropped(number, shares[number])
            mean = session.mean(len(active))
        return meter.session(active, mean, updates.mean(), self.versions(), self.install)


FLOWER: Final = FlowerPeer(
    name="flower-secagg+",
    protection="masks from seeds of 32 bits or fewer; weights in clear",
    package="flwr",
    install=WORKS,
)
