"""Flower's records as numpy arrays and digests: which arrays are learned, and what exactly a node was shown."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from privfl.encoding.layout import Arrays, Layout
from privfl.errors import ConfigurationError
from privfl.integrations.flower.messages import Terms, encode
from privfl.primitives.labels import Label
from privfl.primitives.transcript import digest

_FLOATS: Final = ("float16", "float32", "float64")
NOTHING: Final = Layout((("nothing", (1,)),))
"""Of sums without an update: a coordinate that is always 0."""


def learned(record: ArrayRecord) -> dict[str, npt.NDArray[Any]]:
    """Return the floating-point arrays of a record, in the order of their names: one order at both ends.

    All others (counters, indices) are no part of an update: they stay as the server has them, and a node's own never
    leave it.

    Raises:
        ConfigurationError: there are none, or an array is not numpy's.
    """
    return {name: array_of(name, record[name]) for name in _names_of_learned(record)}


def layout_of(record: ArrayRecord) -> Layout:
    """Return names, shapes and order of the arrays that are learned, from what the record says of them: none is read.

    Raises:
        ConfigurationError: there are none, or they hold no value.
    """
    layout = Layout(tuple((name, tuple(record[name].shape)) for name in _names_of_learned(record)))
    if not layout.length:
        raise ConfigurationError("the model's floating-point arrays are empty: there is nothing to learn")
    return layout


def _names_of_learned(record: ArrayRecord) -> list[str]:
    names = [name for name in sorted(record) if record[name].dtype in _FLOATS]
    if not names:
        raise ConfigurationError("the model has no floating-point array (16, 32 or 64 bits): there is nothing to learn")
    return names


def array_of(name: str, array: Array) -> npt.NDArray[Any]:
    """Read an array.

    Raises:
        ConfigurationError: it is not numpy's.
    """
    try:
        _check_header(array)
        return array.numpy()
    except Exception:  # noqa: BLE001 - what numpy's parsers of a header raise is anything: TokenError, say
        raise ConfigurationError(f"array {name!r} is of type {array.stype!r}: arrays of numpy work") from None


def _check_header(array: Array) -> None:
    """See that serialised data says of itself what its record says, before it is believed: it could name any size.

    Raises:
        ValueError: it says something else, or is no array of numpy's.
    """
    file = BytesIO(array.data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if (shape, dtype) != (tuple(array.shape), np.dtype(array.dtype)) or len(array.data) - file.tell() != (
        math.prod(shape) * dtype.itemsize
    ):
        raise ValueError("data that is not what its record says")


def difference(after: ArrayRecord, before: Arrays) -> dict[str, npt.NDArray[Any]]:
    """Return how a node changed the learned arrays.

    Raises:
        ConfigurationError: it returned others than it was given, or in other shapes or types.
    """
    update = {}
    for name, old in before.items():
        if name not in after:
            raise ConfigurationError(f"array {name!r} is missing from the reply: return every array of the model")
        new = array_of(name, after[name])
        if new.shape != old.shape or str(new.dtype) not in _FLOATS:
            raise ConfigurationError(
                f"array {name!r} is {new.dtype} of shape {new.shape} in the reply where the model has {old.dtype} of "
                f"shape {old.shape}"
            )
        # In 64 bits only where one of them is: half precision would lose what training changed.
        kind = np.float64 if np.float64 in (old.dtype, new.dtype) else np.float32
        update[name] = np.subtract(new, old, dtype=kind)
    return update


def moved(record: ArrayRecord, step: Arrays) -> ArrayRecord:
    """Return the model after a step; arrays that are not learned are the same objects.

    Half precision becomes single: what averages such arrays afterwards does it without loss (`in_types_of`).
    """
    arrays = {}
    for name, array in record.items():
        if name in step:
            old = array.numpy()
            kind = np.float64 if old.dtype == np.float64 else np.float32
            arrays[name] = Array(np.asarray(np.add(old, step[name], dtype=kind)))  # without dimensions, a scalar else
        else:
            arrays[name] = array
    return ArrayRecord(arrays)


def in_types_of(record: ArrayRecord, aggregated: ArrayRecord) -> ArrayRecord:
    """Return what a strategy made of the model, in the types of the model; what is not learned is the model's own."""
    arrays = {}
    for name, array in aggregated.items():
        before = record.get(name)
        if before is None:
            arrays[name] = array
        elif before.dtype not in _FLOATS:
            arrays[name] = before
        elif array.dtype != before.dtype:
            arrays[name] = Array(array.numpy().astype(before.dtype))
        else:
            arrays[name] = array
    return ArrayRecord(arrays)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a node's app sees beside the records of a message, and what must be the same for all nodes.

    Attributes:
        run: Flower's id of the run.
        message_type: which of the app's functions answers.
        group: `group_id` of the message.
        run_config: of the run, as the app reads it from Flower's context.
    """

    run: int
    message_type: str
    group: str
    run_config: Mapping[str, object]

    @classmethod
    def of(cls, message: Message, *, run: int, run_config: Mapping[str, object]) -> Setting:
        """Return the setting of a message."""
        said = message.metadata
        return cls(run=run, message_type=said.message_type, group=said.group_id, run_config=run_config)


def context_of(content: RecordDict, terms: Terms, setting: Setting) -> bytes:
    """Return the context of a session: what the server shows a node, as that node sees it, 32 bytes.

    It is computed at both ends from the message itself, not taken from anybody's word: nodes that were shown different
    models, configurations or terms have masks that do not cancel.

    Args:
        content: all records of the message but ours.
        terms: how contributions become vectors.
        setting: what else the app sees: two nodes with other learning rates are as good as two with other models.
    """
    records = b"".join(_of_record(name, content[name]) for name in sorted(content))
    run, config = (setting.run % 2**64).to_bytes(8, "big"), setting.run_config
    configured = digest(Label.FLOWER_CONTEXT, *(part for key in sorted(config) for part in _of_item(key, config[key])))
    ends = (run, setting.message_type.encode(), setting.group.encode(), configured)
    return digest(Label.FLOWER_CONTEXT, *ends, encode(terms), records)


def model_digest(content: RecordDict) -> bytes:
    """Return what stands for the model in a message, 32 bytes."""
    models = content.array_records
    return digest(Label.MODEL, *(_of_record(name, models[name]) for name in sorted(models)))


def _of_item(key: str, value: object) -> tuple[bytes, ...]:
    return (key.encode(), *_of_value(value))


def _of_record(name: str, record: ArrayRecord | ConfigRecord | MetricRecord) -> bytes:
    parts = [type(record).__name__.encode(), name.encode()]
    for key in sorted(record):
        value: object = record[key]
        parts += [key.encode(), *(_of_array(value) if isinstance(value, Array) else _of_value(value))]
    return digest(Label.FLOWER_CONTEXT, *parts)


def _of_array(array: Array) -> tuple[bytes, ...]:
    return array.dtype.encode(), repr(tuple(array.shape)).encode(), array.stype.encode(), array.data


def _of_value(value: object) -> tuple[bytes, ...]:
    if isinstance(value, list):
        return (b"list", *(part for item in value for part in _of_value(item)), b"end")
    match value:
        case bool():
            return b"bool", bytes([value])
        case int():
            return b"int", str(value).encode()
        case float():
            return b"float", struct.pack(">d", value)
        case str():
            return b"str", value.encode()
        case bytes():
            return b"bytes", value
    raise ConfigurationError(f"a record holds a {type(value).__name__}: numbers, texts, bytes and lists of them work")
