"""Named arrays as one vector, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privfl.errors import ConfigurationError

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Layout:
    """The agreed order of arrays within the vector.

    Attributes:
        entries: (name, shape) in order.

    >>> import numpy as np
    >>> layout = Layout.of({"weight": np.zeros((2, 3)), "bias": np.zeros(2)})
    >>> layout.length
    8
    """

    entries: tuple[tuple[str, tuple[int, ...]], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.entries]
        if len(set(names)) != len(names):
            raise ConfigurationError(f"layout names repeat: {names}")

    @classmethod
    def of(cls, arrays: Arrays) -> Layout:
        """Take names, shapes and order from arrays.

        Raises:
            ConfigurationError: an array is not of floats (integer buffers are not part of an update), or none holds
                any value.
        """
        _require_named(arrays)
        for name, array in arrays.items():
            _require_floats(name, array)
        layout = cls(tuple((name, tuple(array.shape)) for name, array in arrays.items()))
        if not layout.length:
            raise ConfigurationError("the update has no value: give at least one array that is not empty")
        return layout

    @property
    def length(self) -> int:
        """Coordinates of the vector."""
        return sum(math.prod(shape) for _, shape in self.entries)

    def spans(self) -> Iterator[tuple[str, tuple[int, ...], slice]]:
        """Yield name, shape and place of every array."""
        start = 0
        for name, shape in self.entries:
            stop = start + math.prod(shape)
            yield name, shape, slice(start, stop)
            start = stop

    def check(self, arrays: Arrays) -> None:
        """Raise unless arrays have exactly the agreed names and shapes.

        Raises:
            ConfigurationError: names the array that differs.
        """
        _require_named(arrays)
        expected = dict(self.entries)
        for name in (*expected, *arrays):
            if name not in expected or name not in arrays:
                missing = "missing from" if name in expected else "unknown in"
                raise ConfigurationError(f"array {name!r} is {missing} the update; agreed: {sorted(expected)}")
            _require_floats(name, arrays[name])
            if tuple(arrays[name].shape) != expected[name]:
                raise ConfigurationError(
                    f"array {name!r} has shape {tuple(arrays[name].shape)} where {expected[name]} is agreed"
                )

    def unflatten(self, vector: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Cut a vector of shape (length,) into its named arrays (views)."""
        return {name: vector[place].reshape(shape) for name, shape, place in self.spans()}


def require_sum(total: object, length: int) -> None:
    """Raise unless it is a sum of vectors: whole numbers, as many as are agreed.

    Raises:
        ConfigurationError: it is not; of a whole `Aggregate`, says which part is.
    """
    if hasattr(total, "vector"):
        raise ConfigurationError(f"a sum is an array, not a whole {type(total).__name__}: give its .vector")
    if not isinstance(total, np.ndarray) or total.dtype.kind not in "iu":
        kind = total.dtype if isinstance(total, np.ndarray) else f"of type {type(total).__name__}"
        raise ConfigurationError(f"a sum is an array of whole numbers, such as int64, not {kind}")
    if total.shape != (length,):
        raise ConfigurationError(f"a sum of shape {total.shape} where {(length,)} is agreed")


def _require_named(arrays: object) -> None:
    if not isinstance(arrays, Mapping):
        raise ConfigurationError(f"an update maps names to arrays, as a dict does: it is a {type(arrays).__name__}")


def _require_floats(name: str, array: object) -> None:
    # A difference of arrays without axes is a numpy scalar: it has a shape and a type, and is as good.
    if not isinstance(array, np.ndarray | np.generic) or array.dtype.type not in {np.float16, np.float32, np.float64}:
        kind = array.dtype if isinstance(array, np.ndarray | np.generic) else type(array).__name__
        raise ConfigurationError(
            f"array {name!r} is {kind}: only floating-point arrays (16, 32 or 64 bits) are part of an update"
        )
