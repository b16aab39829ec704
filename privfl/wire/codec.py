"""Typed structs as bytes, strictly and in one way only.

A message decodes if its msgpack struct has the declared types and lengths, *and* encodes again to the same bytes:
there is one encoding of every message, so digests and byte-identical repeats mean what they seem to mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Final, NoReturn, TypeVar

import msgspec

from privfl.errors import DecodeError
from privfl.wire.envelope import Envelope, OutgoingFrame, PartyId, SuiteCode
from privfl.wire.typed import decoder_of

ClientNumber = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all messages. A subclass gives `tag=` its type number (1 … 255), which stands in the header as well."""


class SecretMessage(Message, frozen=True):
    """Base of messages that tell secrets: nothing of them is printed, in a log or in a traceback."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a message that tells secrets is not pickled")

    def __copy__(self) -> NoReturn:
        raise TypeError("a message that tells secrets is not copied")

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


MessageT = TypeVar("MessageT", bound=Message)

_ENCODER: Final = msgspec.msgpack.Encoder()


def message_type(kind: type[Message]) -> int:
    """Return the type number of a message class."""
    tag = kind.__struct_config__.tag
    if not isinstance(tag, int):
        raise TypeError(f"{kind.__name__} has no type number")
    return tag


def encode_message(
    message: Message, *, suite: SuiteCode, session: bytes, sender: PartyId, tail_bytes: int = 0
) -> OutgoingFrame:
    """Encode a message into a frame; `tail_bytes` of zeros behind it wait to be written."""
    return OutgoingFrame(
        suite=suite,
        type_number=message_type(type(message)),
        sender=sender,
        session=session,
        body=_ENCODER.encode(message),
        tail_bytes=tail_bytes,
    )


def decode_message(envelope: Envelope, kind: type[MessageT]) -> MessageT:
    """Decode the struct of an opened frame.

    Raises:
        DecodeError: not a `kind`, or not in its one canonical encoding.
    """
    if message_type(kind) != envelope.type_number:
        raise DecodeError(
            f"message type {envelope.type_number:#04x} where {kind.__name__} is expected",
            peer=envelope.sender,
        )
    try:
        message: MessageT = decoder_of(kind).decode(envelope.body)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"not a {kind.__name__}: {error}", peer=envelope.sender) from None
    if _ENCODER.encode(message) != envelope.body:
        raise DecodeError(f"a {kind.__name__} that is not canonically encoded", peer=envelope.sender)
    return message


def require_ascending(numbers: Sequence[int], what: str) -> None:
    """Raise ValueError unless the numbers strictly ascend: sorted, and none twice.

    For `__post_init__` of messages, where the decoder turns it into a `DecodeError`.
    """
    if any(left >= right for left, right in pairwise(numbers)):
        raise ValueError(f"{what} are not in strictly ascending order")
