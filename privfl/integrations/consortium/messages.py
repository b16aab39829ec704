"""What a coordinator and its distant clients say to each other around the protocol's own messages: strict structs.

A client asks what there is for it, again and again, and gets an `Offer`: to wait, a step of the open session, or that
all is over. Delivery is at least once in both directions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar, overload

import msgspec

from privfl.errors import ConfigurationError, DecodeError
from privfl.primitives.labels import Label
from privfl.primitives.transcript import DIGEST_BYTES, digest
from privfl.session import Phase
from privfl.wire import Bytes16, Bytes32
from privfl.wire.typed import decoder_of

MOST_JOB_BYTES: Final = 1 << 20
MOST_TERMS_BYTES: Final = 1 << 20
MOST_GREETING_BYTES: Final = MOST_JOB_BYTES + (1 << 12)
"""Of an encoded `Greeting`: what a client reads at most."""
MOST_OFFER_BYTES: Final = 16 << 20
"""Of an encoded `Offer`, likewise. The parameters name the cohort, with up to five bytes a client."""
MOST_MODEL_BYTES: Final = 1 << 36
MOST_KEY_BYTES: Final = 1 << 20
"""Of a committee's public key."""
MOST_INLINE_BYTES: Final = 1 << 16
"""Of a request to a member of the committee that stands in its step; longer ones are fetched, as models are."""
MOST_WAIT_S: Final = 60.0
MOST_KIND_LENGTH: Final = 32
CEREMONY: Final = "ceremony"
"""The `kind` of steps that make a committee's key."""
UPLOADS: Final = frozenset({Phase.MASKED_INPUT, Phase.UPLOAD})
"""Phases in which clients train, and send what came of it."""
_MOST_WHY_LENGTH: Final = 500
_MOST_NUMBER: Final = 2**53 - 1

_Number = Annotated[int, msgspec.Meta(ge=0, le=_MOST_NUMBER)]


class Part(StrEnum):
    """Whom in a party a step is to. A phase belongs to one of them: a party has at most one step at a time."""

    CLIENT = "client"
    """The client."""
    MEMBER = "member"
    """The member of the committee that the party is beside, in a session that it helps to open."""
    CEREMONY = "ceremony"
    """The same member, in a ceremony that makes a key."""


class _Said(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what is said."""


class Facts(_Said, frozen=True, tag=1):
    """Public numbers about a run's data, agreed on beforehand.

    Attributes:
        clients: how many there are.
        examples: to train on, at all clients together; 0 where nobody knows.
        classes: of the labels.
        feature_shape: of one example.
    """

    clients: _Number
    examples: _Number
    classes: _Number
    feature_shape: Annotated[tuple[_Number, ...], msgspec.Meta(max_length=8)]


class Greeting(_Said, frozen=True, tag=2):
    """What a run is; the same to all clients, and as long as it lasts.

    Attributes:
        run: 16 random bytes that name it, also after it was resumed.
        job: the job, TOML; at most `MOST_JOB_BYTES` of UTF-8.
        facts: about its data.
        coordinator: Ed25519 public key of who holds it.
    """

    run: Bytes16
    job: Annotated[str, msgspec.Meta(max_length=MOST_JOB_BYTES)]
    facts: Facts
    coordinator: Bytes32

    def __post_init__(self) -> None:
        if len(self.job.encode(errors="replace")) > MOST_JOB_BYTES:
            raise ConfigurationError(f"job is longer than the {MOST_JOB_BYTES} bytes that work")


class Wait(_Said, frozen=True, tag=3):
    """There is nothing to do now.

    Attributes:
        seconds: ask again after so many, 0 … 60.
    """

    seconds: Annotated[float, msgspec.Meta(ge=0, le=MOST_WAIT_S)]


class Step(_Said, frozen=True, tag=4):
    """A request of the open session to one party.

    Attributes:
        round: of the run.
        kind: what is summed: "train"; or `CEREMONY`.
        session: the session's nonce.
        phase: in which its answer is waited for.
        params: the session's parameters, as `SessionParams.to_bytes` writes them; in a ceremony, as
            `CeremonyParams.to_bytes` does.
        terms: what the vector is made by; opaque here.
        model: digest of the model's bytes (`model_digest`).
        model_bytes: how many they are.
        request: as the suite's server made it; empty if it has to be fetched.
        most_bytes: longest answer that is taken.
        part: whom in the party it is to.
        committee: the committee's public key, where clients encrypt under one and are asked for their vectors.
        fetched: digest of a request that has to be fetched (`model_digest`), as a model is; else empty.
        fetched_bytes: how many they are.
    """

    round: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    kind: Annotated[str, msgspec.Meta(max_length=MOST_KIND_LENGTH)]
    session: Bytes16
    phase: Phase
    params: bytes
    terms: Annotated[bytes, msgspec.Meta(max_length=MOST_TERMS_BYTES)]
    model: Bytes32
    model_bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_MODEL_BYTES)]
    request: bytes
    most_bytes: _Number
    part: Part = Part.CLIENT
    committee: Annotated[bytes, msgspec.Meta(max_length=MOST_KEY_BYTES)] = b""
    fetched: Annotated[bytes, msgspec.Meta(max_length=DIGEST_BYTES)] = b""
    fetched_bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_MODEL_BYTES)] = 0

    def __post_init__(self) -> None:
        if len(self.fetched) not in {0, DIGEST_BYTES} or (self.fetched and self.request):
            raise ConfigurationError("a step has a request, or the digest of one that is fetched: either works")


class Over(_Said, frozen=True, tag=5):
    """The run is over: nothing will be asked any more.

    Attributes:
        why: one sentence.
    """

    why: Annotated[str, msgspec.Meta(max_length=_MOST_WHY_LENGTH)]


Offer = Wait | Step | Over

SaidT = TypeVar("SaidT", Greeting, Wait, Step, Over)


def model_digest(model: bytes) -> bytes:
    """Return what names a model's bytes in a `Step`, 32 bytes."""
    return digest(Label.CONSORTIUM_MODEL, model)


def encode(said: Greeting | Offer) -> bytes:
    """Write it down: the one encoding that there is."""
    return msgspec.msgpack.encode(said)


@overload
def decode(raw: bytes, kind: type[SaidT]) -> SaidT: ...
@overload
def decode(raw: bytes, kind: Any) -> Any: ...
def decode(raw: bytes, kind: Any) -> Any:
    """Read what `encode` wrote.

    Args:
        raw: as it came; at most `MOST_OFFER_BYTES`.
        kind: `Greeting`, or `Offer` for any of the three (`decode_offer` is the same, with its type).

    Raises:
        DecodeError: not a `kind`, or not in its one encoding.
    """
    name = getattr(kind, "__name__", "Offer")
    message: object = raw
    if not isinstance(message, bytes) or len(raw) > MOST_OFFER_BYTES:
        raise DecodeError(f"a {name} is at most {MOST_OFFER_BYTES} bytes")
    try:
        said = decoder_of(kind).decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DecodeError(f"not a {name}: {error}") from None
    if msgspec.msgpack.encode(said) != raw:
        raise DecodeError(f"a {name} that is not canonically encoded")
    return said


def decode_offer(raw: bytes) -> Offer:
    """Read an offer; errors as those of `decode`."""
    offer: Offer = decode(raw, Offer)
    return offer
