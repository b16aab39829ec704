"""One example at a time: gradients of single examples, clipped, summed and noised, by Opacus.

What Opacus is trusted with here is the gradient of every example. What privacy rests on is ours: who is in a batch,
the norm that decides the clipping (in double precision), the noise, and the divisor. And before a model is trained,
Opacus' gradients are compared with those that autograd computes for one example after the other: hooks see what layers
do, not what a model does between them, and can be mistaken about both which example a gradient belongs to and its norm.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from privfl.dp.noise import continuous_gaussian
from privfl.errors import ConfigurationError, MissingExtra
from privfl.learning.models import import_torch
from privfl.primitives.entropy import Entropy

if TYPE_CHECKING:
    import torch


class GradSample(StrEnum):
    """How the gradients of single examples are clipped; the sums are the same."""

    HOOKS = "hooks"
    """Gradients of all examples of a batch are held at once: batch times model in memory."""
    GHOST = "ghost"
    """Their norms first, then one weighted backward pass: the memory of plain training. For small models much the same;
    for linear layers of a million weights several times faster. Norms are of single precision here, and for models
    without tied layers only."""


@contextmanager
def quiet_opacus() -> Iterator[None]:
    """Run the body without the one warning that Opacus' hooks always cause."""
    with warnings.catch_warnings():
        # The first layer's inputs are data and need no gradient; its hook only wants the one of its outputs.
        warnings.filterwarnings("ignore", message="Full backward hook is firing", category=UserWarning)
        yield


class Noise(NamedTuple):
    """What is done to the sum of a batch's gradients."""

    noise_multiplier: float
    l2_clip: float
    divisor: float
    entropy: Entropy


class NoisyDescent:
    """DP-SGD on one model: each `step` is one release.

    Args:
        model: trained in place, after `check_supported` and `check_gradients`.
        learning_rate: step size.
        momentum: of the optimiser.
        noise: clip, noise and divisor.
        grad_sample: how to clip.

    Guarantees:
        1. An example moves the sum of a step by `l2_clip` or less.
        2. Noise of standard deviation noise_multiplier · l2_clip is added to every coordinate of that sum, whatever
           the batch; then the sum is divided by `divisor`, whatever the batch.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        learning_rate: float,
        momentum: float,
        noise: Noise,
        grad_sample: GradSample,
    ) -> None:
        torch = import_torch()
        self._hooked = hooked(model, grad_sample, noise.l2_clip)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        descent = torch.optim.SGD(parameters, lr=learning_rate, momentum=momentum)
        self._optimiser = _optimisers()[grad_sample](descent, noise)
        self._criterion = torch.nn.CrossEntropyLoss(reduction="sum")
        if grad_sample is GradSample.GHOST:
            from opacus.utils.fast_gradient_clipping_utils import (  # noqa: PLC0415 - an extra
                DPLossFastGradientClipping,
            )

            self._criterion = DPLossFastGradientClipping(
                self._hooked, self._optimiser, self._criterion, loss_reduction="sum"
            )

    def step(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Release one noised gradient and follow it. An empty batch releases noise: that it was empty is private.

        Raises:
            ConfigurationError: some gradient is not finite.
        """
        self._optimiser.zero_grad()
        self._optimiser.examples = len(labels)
        if len(labels):
            self._criterion(self._hooked(features), labels).backward()
            if isinstance(self._optimiser, _optimisers()[GradSample.GHOST]):
                check_rows(len(self._hooked.per_sample_gradient_norms), len(labels))
        else:
            self._optimiser.take_no_gradients()
        self._optimiser.step()

    def close(self) -> None:
        """Take the hooks off the model."""
        self._hooked.remove_hooks()


def hooked(model: torch.nn.Module, grad_sample: GradSample, l2_clip: float) -> Any:
    """Put Opacus' hooks on a model, in place; in training mode, because some hooks work on a copy of a layer."""
    import_opacus()
    from opacus.grad_sample import (  # noqa: PLC0415 - an extra
        GradSampleModule,
        GradSampleModuleFastGradientClipping,
    )

    model.train()
    if grad_sample is GradSample.HOOKS:
        return GradSampleModule(model, loss_reduction="sum")
    return GradSampleModuleFastGradientClipping(model, loss_reduction="sum", max_grad_norm=l2_clip * _ROOM)


def import_opacus() -> ModuleType:
    """Import Opacus when it is first needed: it is an extra, and slow to import.

    Raises:
        MissingExtra: it is not installed.
    """
    handlers = logging.root.handlers[:]
    try:
        import opacus  # noqa: PLC0415 - see above
        import opacus.validators  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra("learning", "opacus") from error
    finally:
        # On import it sets up logging for the whole program, which is the program's business.
        logging.root.handlers[:] = handlers
    module: ModuleType = opacus
    return module


def check_rows(rows: int, examples: int) -> None:
    """Refuse gradients that are not one for each example: clipping them would clip something else.

    Raises:
        ConfigurationError: there are more or fewer.
    """
    if rows != examples:
        raise ConfigurationError(
            f"model has {rows} gradients for {examples} examples: let every layer see tensors of shape (n, ...)"
        )


# Below the clip by more than float32 can add in the sum of a batch, so that a rounding error never carries an example's
# share past it. The noise is sized for the clip itself.
_ROOM: Final = 1 - 2.0**-12

_PIECE: Final = 1 << 20  # numbers that are converted at a time


@cache
def _optimisers() -> dict[GradSample, Any]:
    """Opacus' optimisers with our clipping and noise; made late, because their base classes are an extra."""
    torch = import_torch()
    import_opacus()
    from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping  # noqa: PLC0415 - an extra

    class Noisy(DPOptimizer):  # type: ignore[misc]  # an extra without types
        examples = 0

        def __init__(self, optimiser: Any, noise: Noise) -> None:
            super().__init__(
                optimiser,
                noise_multiplier=noise.noise_multiplier,
                max_grad_norm=noise.l2_clip,
                expected_batch_size=None,
                loss_reduction="sum",
            )
            self._noise = noise

        def add_noise(self) -> None:
            noised = _noised([p.summed_grad for p in self.params], self._noise)
            for p, gradient in zip(self.params, noised, strict=True):
                p.grad = gradient.to(p.dtype)
                p.summed_grad = p.grad_sample = None  # spent: no later step can use it again

    class ByHooks(Noisy):
        def take_no_gradients(self) -> None:
            for p in self.params:
                p.grad_sample = p.new_zeros((0, *p.shape))

        def clip_and_accumulate(self) -> None:
            sums = _clipped_sums(self.grad_samples, self.examples, self.max_grad_norm * _ROOM)
            for p, total in zip(self.params, sums, strict=True):
                p.summed_grad = total

    class ByGhost(Noisy, DPOptimizerFastGradientClipping):  # type: ignore[misc]
        def take_no_gradients(self) -> None:
            for p in self.params:
                p.grad = torch.zeros_like(p)

    return {GradSample.HOOKS: ByHooks, GradSample.GHOST: ByGhost}


def _clipped_sums(samples: Sequence[torch.Tensor], examples: int, clip: float) -> list[torch.Tensor]:
    """Clip gradients, one tensor of shape (examples, ...) a parameter, by their common norm and add them up.

    In double precision, norms as well as sums: that no share exceeds the clip is exact to 10^-12.
    """
    torch = import_torch()
    flat = [sample.reshape(len(sample), math.prod(sample.shape[1:])) for sample in samples]
    squares = torch.zeros(examples, dtype=torch.float64)
    for rows in flat:
        check_rows(len(rows), examples)
        for piece in _in_double(rows):
            squares += piece.square().sum(dim=1)
    factors = (clip / squares.sqrt().clamp(min=1e-30)).clamp(max=1.0)
    sums = [torch.cat([factors @ piece for piece in _in_double(rows)]) for rows in flat]
    return [total.reshape(sample.shape[1:]) for total, sample in zip(sums, samples, strict=True)]


def _in_double(rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Columns in double precision, a few at a time: a copy of all would not fit the cache, nor perhaps the memory."""
    torch = import_torch()
    return (piece.double() for piece in torch.split(rows, max(1, _PIECE // max(1, len(rows))), dim=1))


def _noised(sums: Sequence[torch.Tensor], noise: Noise) -> list[torch.Tensor]:
    """Add noise in double precision, and divide; rounding what is noised already gives nothing away."""
    torch = import_torch()
    if not all(torch.isfinite(total).all() for total in sums):
        raise ConfigurationError(
            "a gradient is infinite or not a number: training diverged; lower strategy.learning_rate"
        )
    sizes = [total.numel() for total in sums]
    draws = continuous_gaussian(sum(sizes), noise.entropy) * (noise.noise_multiplier * noise.l2_clip)
    pieces = torch.split(torch.from_numpy(draws), sizes)
    return [
        (total.double() + piece.reshape(total.shape)) / noise.divisor for total, piece in zip(sums, pieces, strict=True)
    ]
