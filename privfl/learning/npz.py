"""Archives of arrays as numpy writes them, read from whoever: nothing is allocated beyond what was agreed on."""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt

DAMAGE: Final = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    RuntimeError,
    OverflowError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What `read_npz` raises of an archive that is damaged, or holds anything else than is due."""

_ENTRY: Final = b"PK\x01\x02"
_CHANCE: Final = 64  # how often these four bytes may stand in the arrays themselves
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # others are unpacked without a limit
_HEADER: Final = re.compile(
    rb"\x93NUMPY\x01\x00..{'descr': '(<f4|<f8|<i8|\|u1)', 'fortran_order': False, 'shape': \(([0-9, ]{0,40})\), } *\n",
    re.DOTALL,
)


def read_npz(content: bytes, names: Collection[str], most_bytes: int) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays of an archive, which are float32, float64, int64 or uint8.

    Args:
        content: the file.
        names: of the arrays: exactly those are in it.
        most_bytes: what they may unpack to, headers included.

    Returns:
        The arrays, which cannot be written to.

    Raises:
        ValueError: among others, see `DAMAGE`.

    Guarantees:
        1. What is allocated is in proportion to the file and `most_bytes`, whatever its headers say.
        2. No header is evaluated, and nothing is unpickled.
    """
    # The directory is read whole before its length is known, and an entry of 46 bytes becomes an object of hundreds.
    if content.count(_ENTRY) > len(names) + _CHANCE:
        raise ValueError("it holds more than is due")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        found = sorted(member.filename for member in members)
        if found != sorted(f"{name}.npy" for name in names):
            raise ValueError(f"it holds {', '.join(found)[:200]}")
        if any(member.compress_type not in _METHODS for member in members):
            raise ValueError("it is packed in a way of its own")
        if sum(member.file_size for member in members) > most_bytes:
            raise ValueError(f"it unpacks to more than {most_bytes} bytes")
        return {member.filename.removesuffix(".npy"): _array(_unpacked(archive, member)) for member in members}


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # Read so many bytes: asked for all, it would unpack first, and cut to the length that was announced then.
    with archive.open(member) as packed:
        return packed.read(member.file_size)


def _array(content: bytes) -> npt.NDArray[Any]:
    """One array, as numpy writes those of four dtypes; without an interpreter of what else a header may hold."""
    header = _HEADER.match(content)
    if header is None:
        raise ValueError("no array of float32, float64, int64 or uint8")
    kind, dimensions = header.groups()
    dtype, shape = np.dtype(kind.decode()), tuple(int(length) for length in re.findall(rb"[0-9]+", dimensions))
    rest = len(content) - header.end()
    if rest != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} in {rest} bytes")
    return np.frombuffer(content, dtype, offset=header.end()).reshape(shape) if rest else np.empty(shape, dtype)
