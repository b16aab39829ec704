"""An array as a small picture: one pixel a coordinate, blue below zero and orange above, clear at zero.

The PNG is written here, with zlib alone, and travels inside the page as a `data:` address.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privfl.errors import ConfigurationError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LEVELS = 127  # steps of strength on each side of zero; 2 * 127 + 1 shades fit one byte
# Blue and orange of Okabe and Ito's palette, which people with any colour vision tell apart.
_BELOW = (0, 114, 178)
_ABOVE = (213, 94, 0)
_MOST_COLUMNS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelStrip:
    """A picture of an array, read row by row.

    Attributes:
        address: `data:image/png;base64,…`.
        columns: pixels in a row.
        rows: rows; the last may end early.
        alternative: what the picture shows, for those who cannot see it.
    """

    address: str
    columns: int
    rows: int
    alternative: str


def pixel_strip(values: NDArray[np.floating], *, limit: float, alternative: str) -> PixelStrip:
    """Draw an array.

    Strength of colour is `|value| / limit`, so that the picture lies well on light and on dark pages.

    Args:
        values: `float[m]`, m >= 1, finite.
        limit: value of full colour, > 0; what lies beyond is drawn in full colour.
        alternative: text for those who cannot see the picture.

    Raises:
        ConfigurationError: `values` is empty, not flat or not finite, or `limit` is not positive.
    """
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ConfigurationError("a pixel strip needs a flat array of at least one finite value")
    if not 0 < limit < math.inf:
        raise ConfigurationError(f"limit must be a positive number, not {limit}")
    columns = min(_MOST_COLUMNS, math.ceil(math.sqrt(4 * values.size)))
    columns = min(columns, values.size)
    rows = math.ceil(values.size / columns)
    shades = np.full(rows * columns, _LEVELS, dtype=np.uint8)  # the pixels after the last value stay clear
    strength = np.clip(values.astype(np.float64) / limit, -1.0, 1.0)
    shades[: values.size] = (np.rint(strength * _LEVELS) + _LEVELS).astype(np.uint8)
    png = encode_png(shades.reshape(rows, columns), _diverging_palette())
    address = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    return PixelStrip(address=address, columns=columns, rows=rows, alternative=alternative)


def encode_png(indices: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Write a palette PNG.

    Args:
        indices: `uint8[height, width]`, each below `len(palette)`.
        palette: `uint8[n, 4]`, 1 <= n <= 256: red, green, blue and opacity.

    Returns:
        The file's bytes; equal inputs give equal bytes under one version of zlib.

    Raises:
        ConfigurationError: a shape or an index does not fit.

    References:
        PNG, ISO/IEC 15948:2003, section 11: IHDR, PLTE, tRNS, IDAT, IEND.
    """
    if indices.ndim != 2 or indices.size == 0 or indices.dtype != np.uint8:
        raise ConfigurationError("indices must be a non-empty uint8 array of two dimensions")
    if palette.shape != (len(palette), 4) or not 1 <= len(palette) <= 256 or palette.dtype != np.uint8:
        raise ConfigurationError("palette must be uint8[n, 4] with 1 <= n <= 256")
    if int(indices.max()) >= len(palette):
        raise ConfigurationError(f"index {int(indices.max())} has no colour: the palette holds {len(palette)}")
    height, width = indices.shape
    # Every row begins with the number of its filter; 0 is none, which suits a palette.
    filtered = np.concatenate([np.zeros((height, 1), dtype=np.uint8), indices], axis=1)
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette[:, :3].tobytes()),
            _chunk(b"tRNS", palette[:, 3].tobytes()),
            _chunk(b"IDAT", zlib.compress(filtered.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _diverging_palette() -> NDArray[np.uint8]:
    palette = np.zeros((2 * _LEVELS + 1, 4), dtype=np.uint8)
    palette[:_LEVELS, :3] = _BELOW
    palette[_LEVELS:, :3] = _ABOVE
    palette[:, 3] = np.rint(np.abs(np.arange(-_LEVELS, _LEVELS + 1)) * (255 / _LEVELS)).astype(np.uint8)
    return palette
