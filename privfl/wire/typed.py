"""Decoders of typed structs, made once each, and one after the other."""

from __future__ import annotations

import threading
from typing import Any, Final, TypeVar, overload

import msgspec

_MAKING: Final = threading.Lock()
_MADE: Final[dict[Any, msgspec.msgpack.Decoder[Any]]] = {}

KindT = TypeVar("KindT")


@overload
def decoder_of(kind: type[KindT]) -> msgspec.msgpack.Decoder[KindT]: ...
@overload
def decoder_of(kind: Any) -> msgspec.msgpack.Decoder[Any]: ...
def decoder_of(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """Return what decodes a type from msgpack, strictly.

    msgspec looks at a type when it meets it first, and marks it as known before it has looked at all of its fields:
    whoever decodes it in another thread meanwhile ends the process with a segmentation fault. Every decoder of the
    package is made here, under one lock, because types share the types of their fields; a decoder that is made is safe
    in any thread.

    Args:
        kind: a `msgspec.Struct`, or a union of some.

    Guarantees:
        1. A type may be decoded for the first time by several threads at once.
    """
    made = _MADE.get(kind)
    if made is None:
        with _MAKING:
            made = _MADE.get(kind)
            if made is None:
                made = _MADE[kind] = msgspec.msgpack.Decoder(kind)
    return made


def converted(value: Any, kind: type[KindT]) -> KindT:
    """Return plain values (of a line of JSON, say) as a typed struct, strictly.

    It looks at the type as decoders do, and so under their lock, whole: nothing is to be won by several threads here.

    Args:
        value: mappings, lists, strings, numbers.
        kind: a `msgspec.Struct`.

    Raises:
        msgspec.ValidationError: the values do not fit; names the field and what is expected.

    Guarantees:
        1. As that of `decoder_of`.
    """
    with _MAKING:
        return msgspec.convert(value, kind)
