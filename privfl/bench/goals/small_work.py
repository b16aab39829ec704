"""What does not grow with the vector: a client's protocol work, and the bytes that every client adds to its vector."""

from __future__ import annotations

from collections.abc import Mapping

from privfl.bench.goals.goal import Reading
from privfl.bench.sessions import inputs, plan
from privfl.bench.turns import Spread
from privfl.errors import ConfigurationError
from privfl.params import WireForm
from privfl.session import Phase
from privfl.simulate import simulate
from privfl.suites import suite
from privfl.wire import Role

CLIENTS = 1000
PARAMETERS = 1_000_000
"""Of the vector whose bytes are told; `upload_bytes` never makes one so long."""


def protocol_work(*, quick: bool) -> Mapping[str, Reading]:
    """Time all that clients do in sessions whose vector is one parameter."""
    clients, rounds = 10, 3 if quick else 40
    vector = inputs(1)
    readings = {}
    for name in ("masking", "kahe"):
        spent = []
        for number in range(rounds + 1):
            outcome = simulate(plan(name, clients, 1), lambda _: vector)
            if number:  # tables are made in the first
                spent.append(1e3 * outcome.client_cpu_s / clients)
        readings[name] = Reading(
            spread=Spread.of(spent),
            detail=f"{rounds} sessions of {clients} clients and one parameter, all phases of a client together.",
        )
    return readings


def upload_bytes(*, quick: bool) -> Mapping[str, Reading]:
    """Count what clients send in real sessions, with a vector of 1,000,000 parameters in place of a short one."""
    clients = 20 if quick else CLIENTS
    return {
        f"{name} {wire}": _uploaded(name, wire, clients)
        for name, wire in (("masking", WireForm.PACKED), ("kahe", WireForm.WORDS), ("kahe", WireForm.PACKED))
    }


def bytes_a_client(name: str, wire: WireForm, *, clients: int, played: int, parameters: int) -> tuple[list[int], int]:
    """Play a session with a short vector, a tenth of the clients gone before the upload, and count bytes.

    Exact for any length: nothing but the upload depends on the vector, and parameters fix the upload's length.

    Args:
        name: the suite.
        wire: how vectors travel.
        clients: size of the cohort.
        played: parameters of the vector that is played.
        parameters: of the vector whose bytes are asked for.

    Returns:
        Bytes that each client of the sum sends in all phases with a vector of `parameters`, and the bytes of that
        vector alone.

    Raises:
        ConfigurationError: the two vectors would not be sent under the same setting.
    """
    short, long = (plan(name, clients, length, wire=wire) for length in (played, parameters))
    if short.setting != long.setting:
        raise ConfigurationError(f"{name} plans {played} and {parameters} parameters differently: play the longer one")
    upload = (Role.CLIENT, Phase.MASKED_INPUT)
    sizes = [suite(name).message_sizes(params)[upload] for params in (short, long)]
    more = sizes[1].least - sizes[0].least
    sent = dict.fromkeys(short.cohort, 0)

    def count(number: int, phase: Phase, message: bytes) -> None:
        sent[number] += len(message) + (more if phase is Phase.MASKED_INPUT else 0)

    vector = inputs(played)
    outcome = simulate(short, lambda _: vector, drops={Phase.MASKED_INPUT: range(0, clients, 10)}, watch=count)
    return [sent[number] for number in outcome.contributors], long.ring.vector_bytes(parameters)


def _uploaded(name: str, wire: WireForm, clients: int) -> Reading:
    sent, vector = bytes_a_client(name, wire, clients=clients, played=1, parameters=PARAMETERS)
    unit = 8 if name == "masking" else 1  # its limit is in bits
    spread = Spread.of([unit * one / PARAMETERS for one in sent])
    return Reading(
        spread=spread,
        detail=f"{clients} clients, a tenth of them gone before the upload, as was planned for; all that a client "
        f"sends, with updates of 16 bits and {PARAMETERS:,} parameters: {Spread.of(sent).median:,.0f} bytes, of which "
        f"{vector:,} are the vector and depend on nothing but its length.",
    )
