"""From the terms of a sum to its encoding, at both ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from privfl.encoding.fixed_point import Dice, FixedPoint
from privfl.encoding.layout import Arrays, Layout
from privfl.encoding.update import UpdateCodec, WeightedMean
from privfl.errors import ConfigurationError
from privfl.integrations.flower.messages import Terms
from privfl.integrations.flower.private_terms import PrivateTermsCodec
from privfl.params import VectorSpec
from privfl.primitives.entropy import OsEntropy
from privfl.primitives.prg import PRG_KEY_BYTES, Stream
from privfl.primitives.secret import Secret
from privfl.session import Aggregate


class TermsCodec:
    """The encoding that terms say.

    Args:
        terms: what was agreed.
        layout: of the update; `NOTHING` where there is none.
        error_std: of the sum, where it is known.

    Raises:
        ConfigurationError: the terms contradict themselves.
    """

    def __init__(self, terms: Terms, layout: Layout, *, error_std: float = 0.0) -> None:
        names = [name for name, _ in terms.metrics]
        if names != sorted(set(names)) or terms.weighted_by in names:
            raise ConfigurationError("the terms' metrics are not in order, repeat, or hold the weight")
        self._codec = UpdateCodec(
            layout=layout,
            coding=FixedPoint(clip=terms.clip, bits=terms.bits),
            weight_max=terms.weight_max,
            means=dict(terms.metrics),
            error_std=error_std,
        )
        self._terms = terms

    @property
    def vector(self) -> VectorSpec:
        """Length and bound of a node's vector."""
        return VectorSpec(length=self._codec.length, bound=self._codec.bound)

    def encode(self, update: Arrays, metrics: Mapping[str, object], *, context: bytes = b"") -> npt.NDArray[np.int32]:  # noqa: ARG002 - for codecs that rotate
        """Encode a contribution.

        Args:
            update: how the node changed the model.
            metrics: what its app reported; names that were not agreed on stay with the node.
            context: of the session; of no use here.

        Raises:
            ConfigurationError: a metric is missing or no number, the weight is above `weight_max`, or an array is not
                as agreed. Without the value, which is nobody's business but the node's.
        """
        terms = self._terms
        weight = _number(metrics, terms.weighted_by)
        if not 0 < weight <= terms.weight_max:
            raise ConfigurationError(
                f"metric {terms.weighted_by!r} is outside its range: above 0, up to weight_max = {terms.weight_max:g}, "
                f"works; the server's wrapper says weight_max"
            )
        means = {name: _number(metrics, name) for name, _ in terms.metrics}
        for name, array in update.items():
            if not np.isfinite(array).all():
                raise ConfigurationError(
                    f"array {name!r} is not finite in the app's reply: a learning rate ten times smaller is the usual "
                    f"cure"
                )
        # Rounded at random: to the nearest, a server could choose a clip of which all but the largest updates become 0.
        return self._codec.encode(update, weight=weight, means=means, dice=_dice()).vector

    def decode(self, summed: Aggregate, *, context: bytes = b"") -> WeightedMean:  # noqa: ARG002 - likewise
        """Read the mean; errors as those of `UpdateCodec.decode`."""
        return self._codec.decode(summed.vector, contributors=summed.contributors)


Encoding = TermsCodec | PrivateTermsCodec


def codec_of(terms: Terms, layout: Layout, *, error_std: float = 0.0, workers: int = 1) -> Encoding:
    """Return the encoding that terms say: with noise, where they say so.

    Args:
        terms: what was agreed.
        layout: of the update; `NOTHING` where there is none.
        error_std: of the sum, where it is known.
        workers: threads for long vectors.

    Raises:
        ConfigurationError: the terms contradict themselves.
    """
    if terms.privacy is not None:
        return PrivateTermsCodec(terms, layout, workers=workers)
    return TermsCodec(terms, layout, error_std=error_std)


def _dice() -> Dice:
    stream = Stream(Secret(OsEntropy().token_bytes(PRG_KEY_BYTES)))

    def roll(count: int) -> npt.NDArray[np.uint32]:
        words = np.empty(count, np.uint32)
        stream.fill(words)
        return words

    return roll


def _number(metrics: Mapping[str, object], name: str) -> float:
    value: Any = metrics.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        what = "missing" if value is None else "no finite number"
        raise ConfigurationError(f"metric {name!r} is {what} in the app's reply: it was agreed on")
    return float(value)
