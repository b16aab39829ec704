"""What wrapper and mod say to each other beside the protocol's own messages: strict, canonical structs.

A request is a list of steps, one for each session that the node takes part in; an answer has one entry for each step.
The protocol's messages travel inside as they are.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec

from privfl.errors import DecodeError
from privfl.wire import Bytes16, Bytes32, ClientNumber
from privfl.wire.typed import decoder_of

MOST_STEPS: Final = 8
MOST_METRICS: Final = 1000

Kind = Literal["train", "evaluate"]
Name = Annotated[str, msgspec.Meta(max_length=200)]


class _Said(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what is said."""


class PrivateTerms(_Said, frozen=True):
    """What a node's share of the noise follows from, and what the server promises that it is worth.

    Attributes:
        mechanism: which noise.
        granularity: what the whole number 1 stands for, in units of the clip.
        l2_squared: largest squared norm of a node's whole numbers before noise.
        variance: of one node's share of the noise, in whole numbers.
        sum_bound: magnitude that no coordinate of a sum is expected to exceed, if that is less than is certain.
        denominator: what sums are divided by.
        minimum: fewest contributors of a sum, for which shares are sized.
        corrupt: how many of them may tell their shares.
        cohort: most contributors.
        rounds: how many sums the promise is for.
        epsilon: ε of all rounds together.
        delta: δ likewise.
    """

    mechanism: Literal["skellam", "discrete-gaussian"]
    granularity: float
    l2_squared: Annotated[int, msgspec.Meta(ge=1, le=2**52)]
    variance: float
    sum_bound: Annotated[int, msgspec.Meta(ge=1, le=2**62)] | None
    denominator: float
    minimum: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    corrupt: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    cohort: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    rounds: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    epsilon: float
    delta: float


class Terms(_Said, frozen=True):
    """How a node's contribution becomes a vector; all nodes of a session are shown the same, or masks do not cancel.

    Attributes:
        kind: what is summed: updates of the model with training metrics, or evaluation metrics alone.
        round: the server's round.
        clip: largest magnitude of a coordinate of the update, in its unit; under `privacy` its largest L2 norm.
        bits: of a quantised coordinate; 0 under `privacy`.
        weight_max: largest weight of a node; 1 under `privacy`, where all weigh the same.
        weighted_by: the metric that is the weight.
        metrics: name and largest value of every metric that is averaged, by name; none under `privacy`.
        privacy: noise that nodes add; None: none is.
    """

    kind: Kind
    round: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    clip: float
    bits: int
    weight_max: float
    weighted_by: Name
    metrics: Annotated[tuple[tuple[Name, float], ...], msgspec.Meta(max_length=MOST_METRICS)] = ()
    privacy: PrivateTerms | None = None


class ClientStep(_Said, frozen=True, tag=1):
    """A request of a session to a client.

    Attributes:
        session: the session's nonce.
        params: its parameters, with the first request; later empty.
        number: the client's number in the cohort.
        committee: public key of the committee, where the suite has one, with the parameters.
        terms: with the request for the vector.
        context: likewise: what the server is bound to; the node compares it with its own.
        request: as the suite's server made it; empty if it travels as an array.
    """

    session: Bytes16
    params: bytes = b""
    number: ClientNumber = 0
    committee: bytes = b""
    terms: Terms | None = None
    context: bytes = b""
    request: bytes = b""


class EnrolStep(_Said, frozen=True, tag=2):
    """Asks for the node's number on a roster, and a signature over the challenge.

    Attributes:
        challenge: fresh bytes of the server's.
        committee: whether the committee's roster is meant, or the nodes'.
    """

    challenge: Bytes32
    committee: bool = False


class CeremonyStep(_Said, frozen=True, tag=3):
    """A request of a key ceremony to a member of the committee.

    Attributes:
        session: the ceremony's nonce.
        params: its parameters, with the first request; later empty.
        number: the member's number, likewise.
        request: as the coordinator made it; empty if it travels as an array.
    """

    session: Bytes16
    params: bytes = b""
    number: ClientNumber = 0
    request: bytes = b""


class MemberStep(_Said, frozen=True, tag=4):
    """A request of a session to a member of the committee that opens its sum.

    Attributes:
        session: the session's nonce.
        params: its parameters.
        request: as the suite's server made it; empty if it travels as an array.
    """

    session: Bytes16
    params: bytes
    request: bytes = b""


Step = ClientStep | EnrolStep | CeremonyStep | MemberStep


class Request(_Said, frozen=True):
    """What the server asks of a node in one message."""

    steps: Annotated[
        tuple[ClientStep | EnrolStep | CeremonyStep | MemberStep, ...],
        msgspec.Meta(min_length=1, max_length=MOST_STEPS),
    ]


class StepAnswer(_Said, frozen=True):
    """A node's answer to one step.

    Attributes:
        response: as the suite's client made it; empty if it travels as an array, or there is none.
        why: why there is none; empty if there is one.
    """

    response: bytes = b""
    why: Annotated[str, msgspec.Meta(max_length=500)] = ""


class Answer(_Said, frozen=True):
    """A node's answers, in the order of the steps."""

    steps: Annotated[tuple[StepAnswer, ...], msgspec.Meta(max_length=MOST_STEPS)]


class Enrolment(_Said, frozen=True):
    """Who a node is.

    Attributes:
        number: on the roster.
        signature: of the challenge, run, node, number and roster, under the identity that the roster lists.
    """

    number: ClientNumber
    signature: Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]


SaidT = TypeVar("SaidT", Request, Answer, Enrolment, Terms)


def encode(said: _Said) -> bytes:
    """Write it down: the one encoding that there is."""
    return msgspec.msgpack.encode(said)


def decode(raw: bytes, kind: type[SaidT]) -> SaidT:
    """Read what `encode` wrote.

    Raises:
        DecodeError: not a `kind`, or not in its one encoding.
    """
    try:
        said = decoder_of(kind).decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not a {kind.__name__}: {error}") from None
    if encode(said) != raw:
        raise DecodeError(f"a {kind.__name__} that is not canonically encoded")
    return said
