"""How requests and answers travel in Flower's messages: small things in a ConfigRecord, long ones as Arrays.

Flower cuts Arrays into chunks, and limits the rest of a message. The bytes of an Array are those of the protocol's
message: nothing is copied or encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from privfl.errors import DecodeError
from privfl.integrations.flower.messages import MOST_STEPS, Answer, Request, SaidT, decode, encode
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest

RECORD: Final = "privfl"
ARRAYS: Final = "privfl-arrays"
_BODY: Final = "body"
_SIGNATURE: Final = "signature"
_STYPE: Final = "privfl.v1"
_LONG_BYTES: Final = 1 << 16
_PLACES: Final = frozenset(str(place) for place in range(MOST_STEPS))


@dataclass(frozen=True, slots=True)
class Carried:
    """What was found in a message.

    Attributes:
        body: the struct.
        long: place of a step to its bytes.
        signature: the server's, or nothing.
    """

    body: bytes
    long: Mapping[int, bytes] = field(repr=False)
    signature: bytes

    def read(self, kind: type[SaidT]) -> SaidT:
        """Decode the struct; errors as those of `decode`."""
        return decode(self.body, kind)

    def signed(self, run: int, node: int) -> tuple[bytes, ...]:
        """What a signature is over: the request, whose run, and to which node."""
        return signed_parts(self.body, self.long, run=run, node=node)


def signed_parts(body: bytes, long: Mapping[int, bytes], *, run: int, node: int) -> tuple[bytes, ...]:
    """Return what the server's signature of a request is over."""
    # Node and run ids are 64-bit numbers, which Flower writes with a sign in some places and without in others.
    ends = ((run % 2**64).to_bytes(8, "big"), (node % 2**64).to_bytes(8, "big"))
    return (*ends, body, *(digest(Label.FLOWER_REQUEST, str(place).encode(), long[place]) for place in sorted(long)))


def split(parts: Sequence[bytes]) -> tuple[list[bytes], dict[int, bytes]]:
    """Return parts with long ones left empty, and the long ones by place."""
    long = {place: part for place, part in enumerate(parts) if len(part) > _LONG_BYTES}
    return [b"" if place in long else part for place, part in enumerate(parts)], long


def joined(parts: Sequence[bytes], long: Mapping[int, bytes]) -> list[bytes]:
    """Undo `split`.

    Raises:
        DecodeError: an array for a part that is there, or for none.
    """
    whole = list(parts)
    for place, part in long.items():
        if place >= len(whole) or whole[place]:
            raise DecodeError("an array that belongs to no step")
        whole[place] = part
    return whole


def put(content: RecordDict, said: Request | Answer, long: Mapping[int, bytes], signature: bytes = b"") -> int:
    """Put a struct and its long parts into a message's content; return how many bytes they are."""
    body = encode(said)
    content[RECORD] = ConfigRecord({_BODY: body, _SIGNATURE: signature})
    if long:
        content[ARRAYS] = ArrayRecord(
            {
                str(place): Array(dtype="uint8", shape=(len(part),), stype=_STYPE, data=part)
                for place, part in long.items()
            }
        )
    return len(body) + len(signature) + sum(map(len, long.values()))


def take(content: RecordDict) -> Carried | None:
    """Take a request or an answer out of a message's content, which is then as if it had never been there.

    Returns:
        What was found; None if there was nothing of ours.

    Raises:
        DecodeError: there was, and it is not as `put` makes it.
    """
    config, arrays = content.pop(RECORD, None), content.pop(ARRAYS, None)
    if config is None and arrays is None:
        return None
    if not isinstance(config, ConfigRecord) or set(config) != {_BODY, _SIGNATURE}:
        raise DecodeError(f"a record {RECORD!r} without a body and a signature")
    body, signature = config[_BODY], config[_SIGNATURE]
    if not isinstance(body, bytes) or not isinstance(signature, bytes):
        raise DecodeError(f"a record {RECORD!r} whose parts are not bytes")
    long = {}
    for name, array in (arrays or {}).items():
        if not isinstance(array, Array) or array.stype != _STYPE or name not in _PLACES:
            raise DecodeError(f"a record {ARRAYS!r} with an array that is none of ours")
        long[int(name)] = array.data
    return Carried(body=body, long=long, signature=signature)
