"""DP-SGD at the client: every training example is protected, by noise that the client itself adds while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from privfl.dp.events import Event, Gaussian, PoissonSampled, Repeated
from privfl.dp.mechanisms import MAX_COUNT, check_number, check_whole
from privfl.dp.noise import poisson_sample
from privfl.errors import ConfigurationError
from privfl.learning.data import Examples
from privfl.learning.models import import_torch
from privfl.learning.opacus_books import OpacusAccountant, OpacusBooks
from privfl.learning.per_example import GradSample, Noise, NoisyDescent, import_opacus, quiet_opacus
from privfl.learning.per_example_checks import check_gradients, check_supported
from privfl.learning.torch_trainer import TorchClassifier
from privfl.learning.trainer import LocalResult, LocalTraining
from privfl.primitives.entropy import Entropy, OsEntropy

if TYPE_CHECKING:
    import torch

_MOST_FEATURE: Final = np.float32(1e6)

__all__ = ["ExamplePlan", "GradSample", "OpacusAccountant", "OpacusBooks", "PrivateTrainer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplePlan:
    """What every client does to its gradients in a round. All of it is public and the same for all of them.

    Attributes:
        noise_multiplier: z, standard deviation of the noise on a summed gradient / `l2_clip`.
        l2_clip: C, L2 norm to which the gradient of an example is clipped.
        sampling_probability: q, with which each example is in a batch, independently.
        steps: batches a round.
        expected_batch: what every summed gradient is divided by: q times the *public* size of a client. Dividing by
            how many examples a client has, or how many are in a batch, would tell both and change the sensitivity.

    Raises:
        ConfigurationError: a value out of range.
    """

    noise_multiplier: float
    l2_clip: float
    sampling_probability: float
    steps: int
    expected_batch: float

    def __post_init__(self) -> None:
        check_number("privacy.clip", self.l2_clip, 1e-6, 1e6, such_as="1.0")
        check_number("expected_batch", self.expected_batch, 1e-6, MAX_COUNT, such_as="16")
        check_whole("steps", self.steps, 1, MAX_COUNT, such_as="30")
        _ = self.event  # which checks the rest

    @classmethod
    def of(cls, settings: LocalTraining, public_examples: int, clip: float, noise_multiplier: float) -> ExamplePlan:
        """Plan steps that see as many examples as `settings` would: epochs of batches of about batch_size.

        Args:
            settings: how clients train.
            public_examples: examples of a client, as everyone may know it: such as the average, or a number agreed
                upon. A client that has more or fewer samples from what it has with the same probability.
            clip: C.
            noise_multiplier: z.

        Raises:
            ConfigurationError: a value out of range; the message names the job key where there is one.

        >>> plan = ExamplePlan.of(LocalTraining(epochs=2, batch_size=16), 72, clip=1.0, noise_multiplier=1.1)
        >>> round(plan.sampling_probability, 3), plan.steps, plan.expected_batch
        (0.222, 8, 16.0)
        """
        check_whole("public_examples", public_examples, 1, MAX_COUNT, such_as="100")
        probability = min(1.0, settings.batch_size / public_examples)
        return cls(
            noise_multiplier=noise_multiplier,
            l2_clip=clip,
            sampling_probability=probability,
            steps=settings.epochs * max(1, round(public_examples / settings.batch_size)),
            expected_batch=probability * public_examples,
        )

    @property
    def event(self) -> Repeated:
        """What one round costs the examples of a client that takes part, under add-or-remove-one."""
        return self.over(1)

    def over(self, rounds: int) -> Repeated:
        """What that many rounds cost."""
        step: Event = Gaussian(noise_multiplier=self.noise_multiplier)
        if self.sampling_probability != 1:
            step = PoissonSampled(sampling_probability=self.sampling_probability, event=step)
        return Repeated(event=step, count=self.steps * rounds)


class PrivateTrainer(TorchClassifier):
    """Trains a PyTorch classifier on the CPU by DP-SGD: clipped gradients of single examples, summed and noised.

    Batches and noise come from the operating system's entropy, whatever `seed` says: a run cannot be repeated, and
    nobody who knows the seed can take the noise off. The seed decides the model's own randomness, such as dropout.

    The `update` of a result is protected as `plan.event` says. Its `examples`, `loss` and `correct` are not: they are
    computed without noise, are the client's own and must not be sent.

    The noise is a floating-point number (see `continuous_gaussian`), added in double precision.

    Args:
        model: as for `TorchTrainer`, and such that every example has a gradient of its own: no BatchNorm, no floating-
            point buffers.
        settings: learning rate and momentum; the plan has the rest. It has no room for `proximal` and `steps`.
        plan: clip, noise and sampling.
        grad_sample: how gradients are clipped.
        entropy: the operating system's unless given.

    Raises:
        ConfigurationError: the model mixes examples, or `settings` have `proximal` or `steps`; later, when weights or
            examples do not fit the model, or training diverges.
        MissingExtra: torch or opacus is not installed.

    Guarantees:
        1. One example more or less moves the summed gradient of a step by at most `plan.l2_clip`.
        2. Every step adds noise of standard deviation noise_multiplier · l2_clip to each coordinate of that sum and
           divides by `plan.expected_batch`: also where the batch is empty, and however many examples the client has.
        3. Each example is in each batch with `plan.sampling_probability`, or less than 2^-64 below, independently.
        4. A model in which examples are mixed, or on which Opacus' gradients are not autograd's, is refused before it
           sees a step.
        5. torch's global state, and the arrays and the model that the caller passes in, are left as they were.

    Features that are no number count as 0, those beyond ±10^6 as that, and labels that the model has no output for as
    its last one: an example that made training fail would show by it that it is there, whatever noise the others are
    given. Each example is changed, or not, for what it is alone, so that guarantee 1 holds of it as of any.

    Assumes:
        The client runs this code. The time that a step takes, and an error that ends training, depend on its examples.

    References:
        Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, algorithm 1. Ghost clipping: Li, Tramèr,
        Liang, Hashimoto, "Large Language Models Can Be Strong Differentially Private Learners", ICLR 2022, section 4.
    """

    clamps_labels: ClassVar = True

    def __init__(
        self,
        model: torch.nn.Module,
        settings: LocalTraining,
        plan: ExamplePlan,
        *,
        grad_sample: GradSample = GradSample.HOOKS,
        entropy: Entropy | None = None,
    ) -> None:
        super().__init__(model, settings)
        _check_settings(settings)
        import_opacus()
        self.plan = plan
        self.grad_sample = _grad_sample(grad_sample)
        self._entropy = entropy or OsEntropy()
        self._tried: set[tuple[int, ...]] = set()
        check_supported(self._pristine)
        for name, parameter in self._pristine.named_parameters():
            if parameter.dtype != import_torch().float32:  # norms in less could be below what they bound
                raise ConfigurationError(
                    f"model holds {name!r} as {parameter.dtype} in privacy.mode 'example', which clips gradients of "
                    f"single examples in torch.float32: build it in that, or take another privacy.mode"
                )

    @property
    def is_secret(self) -> bool:
        """Whether batches and noise come from the operating system's entropy."""
        return type(self._entropy) is OsEntropy

    def train(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        examples: Examples,
        *,
        seed: int,
        settings: LocalTraining | None = None,
    ) -> LocalResult:
        """Train from `weights` on one client's examples, with fresh noise in every call.

        Args:
            weights: names and shapes of `initial_weights`; not modified.
            examples: the client's own.
            seed: decides dropout, 0 to 2**63 - 1; neither batches nor noise.
            settings: learning rate and momentum of this call; the trainer's own unless given. Neither costs privacy.

        Returns:
            The protected update, and what is private: how the trained local model does on `examples`.

        Raises:
            ConfigurationError: weights or examples do not fit the model, weights hold NaN or infinity, training
                diverges, or settings have `proximal` or `steps`.
        """
        _check_settings(settings or self.settings)
        for name, array in weights.items():
            if not np.isfinite(array).all():
                raise ConfigurationError(
                    f"weights[{name!r}] hold NaN or infinity: the model has diverged; lower strategy.learning_rate"
                )
        return super().train(weights, _tamed(examples), seed=seed, settings=settings)

    def fit(
        self,
        model: torch.nn.Module,
        features: torch.Tensor,
        labels: torch.Tensor,
        *,
        seed: int,  # noqa: ARG002 - batches and noise follow none
        settings: LocalTraining | None = None,
    ) -> None:
        """Take the plan's steps, each on a Poisson sample."""
        torch = import_torch()
        settings = settings or self.settings
        shape = tuple(features.shape[1:])
        with quiet_opacus():
            if shape not in self._tried:
                with torch.random.fork_rng(devices=[]):  # so that dropout in the first call is as in every other
                    check_gradients(self._pristine, features, labels, grad_sample=self.grad_sample)
                self._tried.add(shape)
            plan = self.plan
            descent = NoisyDescent(
                model,
                learning_rate=settings.learning_rate,
                momentum=settings.momentum,
                noise=Noise(plan.noise_multiplier, plan.l2_clip, plan.expected_batch, self._entropy),
                grad_sample=self.grad_sample,
            )
            for _ in range(plan.steps):
                batch = torch.from_numpy(poisson_sample(len(labels), plan.sampling_probability, self._entropy))
                descent.step(features[batch], labels[batch])
            descent.close()


def _grad_sample(value: str) -> GradSample:
    try:
        return GradSample(value)
    except ValueError:
        raise ConfigurationError(f"privacy.grad_sample is {value!r}: 'hooks' or 'ghost' works") from None


def _check_settings(settings: LocalTraining) -> None:
    """Refuse what would change the steps that the plan accounts for."""
    if settings.proximal:
        raise ConfigurationError(
            f"strategy.proximal is {settings.proximal} in privacy.mode 'example', whose steps are noised gradients and "
            f"nothing else: 0 works, or another privacy.mode"
        )
    if settings.steps is not None:
        raise ConfigurationError(
            f"steps is {settings.steps} in privacy.mode 'example', whose plan fixes batches and steps: leave it out"
        )


def _tamed(examples: Examples) -> Examples:
    """The examples with features that no gradient overflows for; each is changed, or not, for what it is alone."""
    features = examples.features
    if np.isfinite(features).all() and np.abs(features).max(initial=0.0) <= _MOST_FEATURE:
        return examples
    finite = np.where(np.isfinite(features), features, np.float32(0))
    return Examples(features=np.clip(finite, -_MOST_FEATURE, _MOST_FEATURE), labels=examples.labels)
