"""Known inputs for the training: what a run records once, so that somebody who was not there can test its trainer.

The run's own trainer trains on examples that everybody may know, made from a public seed; nobody's data are in them,
and nothing is charged for it. Three things are written down:

1. **Noise.** Training on no example at all, and on examples whose gradients are zero, returns nothing but noise, whose
   standard deviation follows from the plan: `TrainingProbe.residuals` are standard normal numbers.
2. **Canaries.** Each is included by a fair coin; how far the weights moved along its gradient is its score. What scores
   tell about coins is bounded by ε (Steinke et al. 2023). The control is the same with almost no noise, where scores
   must give the coins away: if they do not, the test has no power.
3. **The clip.** An example with an enormous gradient, alone in every batch, moves the weights by what the clip allows.

Canaries are pixels: one feature is large and all others are zero, so that gradients of different canaries are nearly
orthogonal, in linear models exactly; the class is the one that the model thinks least of, so that the gradient stays
longer than the clip while the canary is being learnt. They are trained on a few at a time, in sessions of their own:
more directions than a small model has cannot be told apart. That is one mechanism still: a canary is in one of the
sessions only, noise is independent in each, and so is what every coin can be told by (parallel composition).

Whoever reads a probe needs no torch; whoever makes one does.

References:
    Steinke, Nasr, Jagielski, *Privacy Auditing with One (1) Training Run*, NeurIPS 2023.
    Abadi et al., *Deep Learning with Differential Privacy*, CCS 2016, algorithm 1.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from privfl.dp.mechanisms import LEAST_NOISE
from privfl.errors import ConfigurationError
from privfl.learning.data import Examples
from privfl.learning.models import import_torch, reproducible_torch, torch_seed
from privfl.learning.npz import DAMAGE, read_npz
from privfl.learning.private_trainer import ExamplePlan, PrivateTrainer
from privfl.learning.trainer import LocalTraining
from privfl.primitives.labels import Label
from privfl.primitives.prg import PRG_KEY_BYTES, public_words
from privfl.primitives.transcript import digest

if TYPE_CHECKING:
    import torch

SEED_BYTES: Final = 16
FEWEST_CANARIES: Final = 32
MOST_CANARIES: Final = 512
MOST_COORDINATES: Final = 1 << 16
"""Of an update; of longer ones every second, third, … coordinate is kept of the noise."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingProbe:
    """What a trainer did with known inputs.

    Attributes:
        seed: 16 bytes, public: coins and canaries follow from it.
        plan: clip, noise and sampling of the trainer.
        learning_rate: of the trainer.
        momentum: of the trainer.
        noise: float32, shape (runs, coordinates); updates that are nothing but noise.
        silent_runs: how many of them, the last ones, are of batches with examples, whose gradients were zero; in the
            others all batches were empty. 0 where the model has no way to be silent.
        scores: float64, shape (canaries,); how far the weights moved along each canary's gradient, relative to the
            farthest that the clip allows: noise about 0 for canaries that are out.
        control: the same, shape (canaries,), of other training on the same canaries with `control_noise_multiplier`.
        control_noise_multiplier: z of the control and of the clip's test; as good as no noise.
        clip_effect: float64, shape (2,); how far an example moved the weights along its gradient, in every batch and
            with the control's noise: one with an enormous gradient, in a single step; and a canary in all the steps.
        clip_gradient: float64, shape (2,); norms of their gradients at the start, in units of the clip: where it is not
            above 1, nothing had to be clipped.

    Raises:
        ConfigurationError: a value out of range.

    Guarantees:
        1. If the trainer keeps to its plan, `residuals` are independent standard normal numbers, but for rounding.
        2. Every claim (ε, δ) that holds of one round, holds of `scores` and each of `included`.
        3. If the trainer keeps to its plan, `clip_effect` exceeds `clip_bounds` by normal errors of `clip_stds` only;
           the first reaches its bound, but for dropout.
        4. Nobody's data go into it beyond what the weights tell that training starts from.

    Assumes:
        The run trained with the trainer that was probed, and nobody made the probe up: its maker's word.
    """

    seed: bytes
    plan: ExamplePlan
    learning_rate: float
    momentum: float
    noise: npt.NDArray[np.float32]
    silent_runs: int
    scores: Floats
    control: Floats
    control_noise_multiplier: float
    clip_effect: Floats
    clip_gradient: Floats

    def __post_init__(self) -> None:
        """Refuse what no trainer can have done."""
        _check_seed(self.seed)
        _check_steps(self.plan)
        replace(self.plan, noise_multiplier=self.control_noise_multiplier)
        LocalTraining(learning_rate=self.learning_rate, momentum=self.momentum)
        for name, array, dtype, dimensions in (
            ("noise", self.noise, np.float32, 2),
            ("scores", self.scores, np.float64, 1),
            ("control", self.control, np.float64, 1),
            ("clip_effect", self.clip_effect, np.float64, 1),
            ("clip_gradient", self.clip_gradient, np.float64, 1),
        ):
            if array.dtype != dtype or array.ndim != dimensions or array.size == 0 or not np.isfinite(array).all():
                raise ConfigurationError(
                    f"training probe: {name} is no array of finite {np.dtype(dtype)} of {dimensions} dimensions: "
                    f"what probe_training returns works"
                )
        runs, lengths = len(self.noise), [len(self.scores), len(self.control)]
        clips = [len(self.clip_effect), len(self.clip_gradient)]
        if lengths[0] != lengths[1] or clips != [2, 2] or not 0 <= self.silent_runs < runs:
            raise ConfigurationError(
                f"training probe: {lengths[0]} scores and {lengths[1]} of the control, {clips} effects of the clip and "
                f"gradients, {self.silent_runs} silent runs of {runs}: what probe_training returns works"
            )

    @property
    def included(self) -> npt.NDArray[np.bool_]:
        """Which canaries were in, as the seed has it; shape (canaries,)."""
        return coins(self.seed, len(self.scores))

    def guessed(self, scores: Floats) -> tuple[int, int]:
        """Guess which canaries were in and which were not, as many as `guess_counts` says.

        Args:
            scores: `scores` or `control`.

        Returns:
            How many guesses were made, and how many were right; of canaries with one score, the wrong ones were chosen.
        """
        included = self.included
        inside, outside = guess_counts(self.plan, len(included))
        rising = included[np.lexsort((~included, scores))]  # of one score: first those that are in
        right = np.count_nonzero(rising[len(rising) - inside :]) + np.count_nonzero(~rising[:outside])
        return inside + outside, int(right)

    @property
    def noise_std(self) -> float:
        """Standard deviation of a coordinate of `noise`, as planned."""
        return _noise_std(self.plan, self.learning_rate, self.momentum)

    @property
    def residuals(self) -> Floats:
        """`noise` over its planned standard deviation: float64, shape (runs, coordinates)."""
        relative: Floats = self.noise.astype(np.float64) / self.noise_std
        return relative

    @property
    def clip_bounds(self) -> Floats:
        """How far the clip lets one example move the weights at most, as `clip_effect` has it; shape (2,)."""
        return np.array([_reach(plan, self.learning_rate, self.momentum) for plan in self._loud])

    @property
    def clip_stds(self) -> Floats:
        """Standard deviation of the noise in `clip_effect`; shape (2,)."""
        return np.array([_noise_std(plan, self.learning_rate, self.momentum) for plan in self._loud])

    @property
    def _loud(self) -> tuple[ExamplePlan, ExamplePlan]:
        return _clip_plans(replace(self.plan, noise_multiplier=self.control_noise_multiplier))

    def to_npz(self) -> bytes:
        """Return the content of the file that `from_npz` reads."""
        arrays = {name: np.array(getattr(self.plan, name), np.float64) for name in _PLAN}
        for name in _NUMBERS:
            arrays[name] = np.array(getattr(self, name), np.float64)
        for name in _ARRAYS:
            arrays[name] = np.ascontiguousarray(getattr(self, name))
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, seed=np.frombuffer(self.seed, np.uint8), **arrays)
        return content.getvalue()

    @classmethod
    def from_npz(cls, content: bytes) -> TrainingProbe:
        """Read what `to_npz` wrote.

        Raises:
            ConfigurationError: it is damaged, or holds anything else.
        """
        try:
            found: dict[str, Any] = dict(read_npz(content, _NAMES, _MOST_BYTES))
            seed = found.pop("seed")
            if seed.dtype != np.uint8:
                raise ValueError(f"a seed of {seed.dtype}")
            found |= {name: _number(name, found[name]) for name in (*_PLAN, *_NUMBERS)}
            found |= {name: _whole(name, found[name]) for name in ("steps", "silent_runs")}
        except DAMAGE as error:
            raise ConfigurationError(
                f"training probe: damaged ({type(error).__name__}: {error}): the file as the run wrote it works"
            ) from None
        plan = ExamplePlan(**{name: found.pop(name) for name in _PLAN})
        return cls(seed=seed.tobytes(), plan=plan, **found)


def coins(seed: bytes, canaries: int) -> npt.NDArray[np.bool_]:
    """Which canaries are included: fair coins that follow from a public seed.

    Args:
        seed: 16 bytes.
        canaries: how many.

    Returns:
        bool, shape (canaries,).

    >>> coins(bytes(16), 8).tolist()
    [True, False, False, True, True, True, True, True]
    """
    return (_words(seed, b"coins", canaries) >> np.uint64(63)).astype(np.bool_)


def pixels(seed: bytes, canaries: int, features: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Where each canary has its one feature, and of which sign; those of a group have it at places of their own.

    Args:
        seed: 16 bytes.
        canaries: how many.
        features: of one example.

    Returns:
        Places, int64, and signs, float32, −1 or 1; both of shape (canaries,).
    """
    group, rows = _group_size(features), np.arange(canaries)
    words = _words(seed, b"features", 2 * canaries)
    # The first of a group anywhere, the others spread evenly from there over the whole example.
    starts = (words[:canaries] % np.uint64(features)).astype(np.int64)[rows // group * group]
    signs = np.where(words[canaries:] >> np.uint64(63), np.float32(1), np.float32(-1))
    return (starts + rows % group * (features // group)) % features, signs


def canaries_for(plan: ExamplePlan, epsilon: float) -> int:
    """How many canaries show a claim to be wrong if there is no noise: what the control must be able to do.

    If two of r guesses are wrong, ε = ln(q / (1 − q)) is ruled out where P[Bin(r, q) ≥ r − 2] is one in 3000, at which
    an audit doubts: for large r that is where (1 − q)·r = 12.5. So 12.5·(1 + e^ε) guesses are needed; `guess_counts`
    says how many canaries that takes.

    Args:
        plan: of the trainer.
        epsilon: claimed of one round.

    Returns:
        Between `FEWEST_CANARIES` and `MOST_CANARIES`, a multiple of 8. The latter are too few above ε of about 3.7, or
        4.4 if no guess is wrong; where canaries are only ever guessed to be in, above about 2.6 or 3.4.

    >>> plan = ExamplePlan(noise_multiplier=2.7, l2_clip=1.0, sampling_probability=0.36, steps=15, expected_batch=16.0)
    >>> canaries_for(plan, 1.2), canaries_for(plan, 2.3), canaries_for(plan, 10.0)
    (112, 280, 512)
    """
    needed = _TWO_WRONG * (1 + math.exp(min(epsilon, 50.0)))
    for canaries in range(FEWEST_CANARIES, MOST_CANARIES, _GROUP):
        if sum(guess_counts(plan, canaries)) >= needed:
            return canaries
    return MOST_CANARIES


def guess_counts(plan: ExamplePlan, canaries: int) -> tuple[int, int]:
    """How many canaries to guess to be in, those of the largest scores, and out, those of the smallest.

    Fixed before anything is trained. A canary that is in and by chance in no batch looks like one that is out: where
    that happens often, guesses that canaries are out would be wrong even without noise, and are not made.

    Args:
        plan: of the trainer.
        canaries: how many there are.

    Returns:
        Guesses of either kind; each is at most a quarter of the canaries, half of what is expected to be right.
    """
    seen = -math.expm1(plan.steps * math.log1p(-plan.sampling_probability)) if plan.sampling_probability < 1 else 1.0
    inside, outside = math.floor(canaries * seen / 4), canaries // 4
    wrong = outside * (1 - seen) / (2 - seen)
    return max(inside, 1), outside if wrong <= _WRONG_OUTSIDE else 0


def probe_training(
    trainer: PrivateTrainer,
    weights: Mapping[str, npt.NDArray[np.float32]],
    *,
    feature_shape: tuple[int, ...],
    seed: bytes,
    canaries: int,
) -> TrainingProbe:
    """Let a trainer train on known inputs.

    Takes about as long as `canaries`/4 + 4 trainings of a client (for small models up to 60 more), and two backward
    passes for each canary.

    Args:
        trainer: the run's own; left as it was.
        weights: where training starts: the run's, and public; not modified.
        feature_shape: of one example.
        seed: 16 bytes, public and drawn for this probe alone: a trainer that knows the coins before could cheat.
        canaries: how many; `canaries_for` knows.

    Raises:
        ConfigurationError: the seed is of another length, there is no canary, the model does not take such examples, or
            training diverges.
    """
    _check_seed(seed)
    _check_steps(trainer.plan)
    if canaries < 1:
        raise ConfigurationError(f"canaries is {canaries}: 1 or more works, such as {FEWEST_CANARIES}")
    zeros = np.zeros((1, *feature_shape), np.float32)
    trainer.evaluate(weights, Examples(features=zeros, labels=np.zeros(1, np.int64)))  # says if something does not fit
    known = _Known(trainer, weights, feature_shape)
    # The same object but for its plan: what else it does, and whatever is wrong with it, is the run's own.
    quiet = _with_plan(trainer, replace(trainer.plan, noise_multiplier=LEAST_NOISE))
    # In this order: the trainer looks at a model when it first sees an example, and later sessions may have none.
    effect, gradient = _clip_effect(known, quiet, known.pixels(*pixels(seed, 1, math.prod(feature_shape))))
    scores, control = _canary_scores(known, (trainer, quiet), seed, canaries)
    noise, silent = _noise_runs(known, trainer)
    return TrainingProbe(
        seed=seed,
        plan=trainer.plan,
        learning_rate=trainer.settings.learning_rate,
        momentum=trainer.settings.momentum,
        noise=noise,
        silent_runs=silent,
        scores=scores,
        control=control,
        control_noise_multiplier=quiet.plan.noise_multiplier,
        clip_effect=effect,
        clip_gradient=gradient,
    )


_GROUP: Final = 8  # canaries that are trained on together: more disturb each other, fewer take longer
_TWO_WRONG: Final = 12.5  # solves (1 + x + x²/2)·e^−x = 1/3000
_WRONG_OUTSIDE: Final = 0.5
_LENGTH: Final = 4.0  # of a canary's gradient, in clips: it shrinks while the canary is being learnt
_LARGEST_SCALE: Final = 2.0**20
_RIDGE: Final = 0.1
_MOST_STEPS: Final = 10**6
_ENOUGH: Final = 4096  # coordinates of noise, where shortage of a tenth in the variance shows 99 times of a hundred
_MOST_RUNS: Final = 32  # without examples, and as many with silent ones
_NOISE_STEPS: Final = 512
_MOST_SILENT: Final = 1024
_MARGIN: Final = 64.0  # of logits, from which on a gradient is below e^−64
_SILENT_LOSS: Final = 1e-9
_MOST_BYTES: Final = 64 << 20

_PLAN: Final = tuple(field.name for field in fields(ExamplePlan))
_NUMBERS: Final = ("learning_rate", "momentum", "silent_runs", "control_noise_multiplier")
_ARRAYS: Final = ("noise", "scores", "control", "clip_effect", "clip_gradient")
_NAMES: Final = frozenset({"seed", *_PLAN, *_NUMBERS, *_ARRAYS})


class _Known:
    """A model and where its training starts: its updates as vectors, gradients of single examples, and the worst class.

    By autograd, an example at a time: what the trainer takes for gradients is what is tested.
    """

    def __init__(
        self,
        trainer: PrivateTrainer,
        weights: Mapping[str, npt.NDArray[np.float32]],
        feature_shape: tuple[int, ...],
    ) -> None:
        self.weights = weights
        self.feature_shape = feature_shape
        self._model = _loaded(trainer, weights)
        self._trained = [name for name, p in self._model.named_parameters() if p.requires_grad]

    def pixels(self, places: npt.NDArray[np.int64], signs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Examples with one feature each."""
        flat = np.zeros((len(places), math.prod(self.feature_shape)), np.float32)
        flat[np.arange(len(places)), places] = signs
        return flat.reshape(len(places), *self.feature_shape)

    def run(
        self,
        trainer: PrivateTrainer,
        features: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        weights: Mapping[str, npt.NDArray[np.float32]] | None = None,
    ) -> tuple[Floats, float]:
        """Train, on no example too: the update of what is trained, as a vector, and the loss after it."""
        weights = self.weights if weights is None else weights
        if len(labels):
            result = trainer.train(weights, Examples(features=features, labels=labels), seed=0)
            return self._flat(result.update), result.loss
        torch = import_torch()
        with reproducible_torch(torch_seed(0, "probe.model")), torch.enable_grad():
            model = _loaded(trainer, weights)
            # Not `train`, which says what the loss is on examples, and needs some.
            trainer.fit(model, torch.tensor(features), torch.tensor(labels), seed=0)
            named = dict(model.named_parameters())
            after = {name: named[name].detach().numpy() - weights[name] for name in self._trained}
        return self._flat(after), 0.0

    def gradient(self, features: npt.NDArray[np.float32]) -> tuple[Floats, int]:
        """Gradient of one example under its worst class, and that class; features of shape (1, …)."""
        torch = import_torch()
        with reproducible_torch(torch_seed(0, "probe.model")), torch.enable_grad():
            example = torch.tensor(features)
            with torch.no_grad():
                worst = int(self._model.eval()(example)[0].argmin())
            loss = torch.nn.functional.cross_entropy(self._model.train()(example), torch.tensor([worst]))
            named = dict(self._model.named_parameters())
            rows = torch.autograd.grad(loss, [named[name] for name in self._trained])
            return torch.cat([row.flatten() for row in rows]).double().numpy(), worst

    def outputs(self) -> int:
        """Number of logits."""
        torch = import_torch()
        with reproducible_torch(torch_seed(0, "probe.model")), torch.no_grad():
            return int(self._model.eval()(torch.zeros((1, *self.feature_shape))).shape[1])

    def _flat(self, update: Mapping[str, npt.NDArray[np.float32]]) -> Floats:
        return np.concatenate([update[name].ravel() for name in self._trained]).astype(np.float64)


def _loaded(trainer: PrivateTrainer, weights: Mapping[str, npt.NDArray[np.float32]]) -> torch.nn.Module:
    return trainer._loaded(weights)  # noqa: SLF001 - a friend: the model itself is nobody else's business


def _with_plan(trainer: PrivateTrainer, plan: ExamplePlan) -> PrivateTrainer:
    changed = copy.copy(trainer)
    changed.plan = plan
    return changed


def _canary_scores(
    known: _Known, trainers: tuple[PrivateTrainer, PrivateTrainer], seed: bytes, canaries: int
) -> tuple[Floats, Floats]:
    """Scores of all canaries under two trainers, group by group."""
    places, signs = pixels(seed, canaries, math.prod(known.feature_shape))
    included = coins(seed, canaries)
    scores = np.empty((2, canaries))
    group, scale = _group_size(math.prod(known.feature_shape)), 1.0
    for start in range(0, canaries, group):
        chosen = slice(start, min(start + group, canaries))
        features, labels, gradients = known.pixels(places[chosen], signs[chosen]), [], []
        for i in range(len(features)):
            scale, gradient, label = _scaled(known, features[i : i + 1], scale, trainers[0].plan.l2_clip)
            features[i] *= np.float32(scale)
            gradients.append(gradient / max(float(np.linalg.norm(gradient)), 1e-30))
            labels.append(label)
        own, directions = included[chosen], np.stack(gradients)
        for row, trainer in enumerate(trainers):
            update, _ = known.run(trainer, features[own], np.array(labels, np.int64)[own])
            reach = _reach(trainer.plan, trainer.settings.learning_rate, trainer.settings.momentum)
            # What canaries share is attributed to each of them once: by regression rather than by projection alone.
            shared = directions @ directions.T + _RIDGE * np.eye(len(directions))
            scores[row, chosen] = np.linalg.solve(shared, directions @ -update) / reach
    return scores[0], scores[1]


def _scaled(known: _Known, features: npt.NDArray[np.float32], scale: float, clip: float) -> tuple[float, Floats, int]:
    """The smallest power of two, times which an example's gradient is some clips long; with it gradient and class."""
    scale = max(scale / 2, 1.0)
    while True:
        gradient, label = known.gradient(features * np.float32(scale))
        if np.linalg.norm(gradient) >= _LENGTH * clip or scale >= _LARGEST_SCALE:
            return scale, gradient, label
        scale *= 2


def _clip_effect(known: _Known, trainer: PrivateTrainer, features: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
    """How far examples move the weights along their gradients, and the norms of these; see `TrainingProbe`.

    The enormous one is in a single step, because the model has learnt it after one or two; a canary keeps pulling.
    """
    clip = trainer.plan.l2_clip
    scale, gradient, label = _scaled(known, features, 1.0, clip)
    canary = (features * np.float32(scale), gradient, label)
    scale = _LARGEST_SCALE
    gradient, label = known.gradient(features * np.float32(scale))
    while not np.isfinite(gradient).all() and scale > 1:
        scale /= 2
        gradient, label = known.gradient(features * np.float32(scale))
    enormous = (features * np.float32(scale), gradient, label)
    effects, norms = [], []
    for plan, (example, pull, worst) in zip(_clip_plans(trainer.plan), (enormous, canary), strict=True):
        update, _ = known.run(_with_plan(trainer, plan), example, np.array([worst], np.int64))
        norms.append(max(float(np.linalg.norm(pull)), 1e-30))
        effects.append(float(pull @ -update) / norms[-1])
    return np.array(effects), np.array(norms) / clip


def _noise_runs(known: _Known, trainer: PrivateTrainer) -> tuple[npt.NDArray[np.float32], int]:
    """Updates that are noise alone: first those without any example, then those with silent ones, and how many."""
    plan = trainer.plan
    nothing = np.empty((0, *known.feature_shape), np.float32), np.empty(0, np.int64)
    first, _ = known.run(trainer, *nothing)
    step = -(-len(first) // MOST_COORDINATES)
    coordinates = -(-len(first) // step)
    runs = max(1, min(_MOST_RUNS, -(-_ENOUGH // (2 * coordinates)), _NOISE_STEPS // plan.steps))
    rows = [first, *(known.run(trainer, *nothing)[0] for _ in range(runs - 1))]
    silenced = _silenced(known, trainer)
    silent: list[Floats] = []
    if silenced is not None:
        count = max(1, min(round(plan.expected_batch / plan.sampling_probability), _MOST_SILENT))
        examples = np.zeros((count, *known.feature_shape), np.float32), np.zeros(count, np.int64)
        trained = [known.run(trainer, *examples, silenced) for _ in range(runs)]
        # Where so much noise has come over the weights that the examples spoke up, it is not noise alone.
        silent = [update for update, loss in trained if loss <= _SILENT_LOSS]
    return np.stack([row[::step] for row in (*rows, *silent)]).astype(np.float32), len(silent)


def _silenced(known: _Known, trainer: PrivateTrainer) -> dict[str, npt.NDArray[np.float32]] | None:
    """Weights under which class 0 is certain for an example of zeros, whose gradients vanish then; None if none do.

    Built-in models end with a bias: large enough, it decides. Which parameter of a user's model does, is tried out.
    """
    plan, settings = trainer.plan, trainer.settings
    # One coordinate is rounded more coarsely by it, by less than 10^-4 of the noise.
    margin = _MARGIN + 1000 * _noise_std(plan, settings.learning_rate, settings.momentum)
    zeros, outputs = np.zeros((1, *known.feature_shape), np.float32), known.outputs()
    for name in reversed(list(known.weights)):
        if known.weights[name].shape == (outputs,):
            weights = {key: np.array(array, np.float32) for key, array in known.weights.items()}
            weights[name][0] = margin
            weights[name][1:] = 0
            losses = [
                trainer.evaluate(weights, Examples(features=zeros, labels=np.array([label], np.int64))).loss
                for label in range(2)
            ]
            # And the whole of it is the difference of two logits: not what some weight, which noise may turn, makes of
            # it.
            if losses[0] <= _SILENT_LOSS and abs(losses[1] - margin) <= _MARGIN / 4:
                return weights
    return None


def _clip_plans(plan: ExamplePlan) -> tuple[ExamplePlan, ExamplePlan]:
    """One step and all, with every example in every batch; divided as planned."""
    always = replace(plan, sampling_probability=1.0)
    return replace(always, steps=1), always


def _reach(plan: ExamplePlan, learning_rate: float, momentum: float) -> float:
    """How far one example can move the weights: its gradient in every batch, of the clip's length and one direction."""
    return learning_rate * plan.l2_clip / plan.expected_batch * float(_step_weights(plan.steps, momentum).sum())


def _noise_std(plan: ExamplePlan, learning_rate: float, momentum: float) -> float:
    """Standard deviation of a coordinate of an update that is noise alone."""
    one = learning_rate * plan.noise_multiplier * plan.l2_clip / plan.expected_batch
    return one * float(np.linalg.norm(_step_weights(plan.steps, momentum)))


def _step_weights(steps: int, momentum: float) -> Floats:
    """How often the gradient of each step enters the weights, the last step's first: 1 + μ + μ² and so on.

    As torch's SGD has it, without dampening: velocity ← μ·velocity + gradient; weights ← weights − rate·velocity.
    """
    left = np.arange(1, steps + 1, dtype=np.float64)
    return -np.expm1(left * math.log(momentum)) / (1 - momentum) if momentum else np.ones(steps)


def _group_size(features: int) -> int:
    return min(_GROUP, features)


def _words(seed: bytes, what: bytes, count: int) -> npt.NDArray[np.uint64]:
    _check_seed(seed)
    return public_words(digest(Label.PROBE, seed, b"training", what)[:PRG_KEY_BYTES], count)


def _check_seed(seed: bytes) -> None:
    if len(seed) != SEED_BYTES:
        raise ConfigurationError(f"a training probe's seed is {len(seed)} bytes: {SEED_BYTES} public bytes work")


def _check_steps(plan: ExamplePlan) -> None:
    if plan.steps > _MOST_STEPS:
        raise ConfigurationError(f"a training probe of {plan.steps} steps: up to {_MOST_STEPS} work")


def _number(name: str, array: npt.NDArray[Any]) -> float:
    if array.dtype != np.float64 or array.shape != ():
        raise ValueError(f"{name} is no number")
    return float(array)


def _whole(name: str, value: float) -> int:
    if not value.is_integer():
        raise ValueError(f"{name} is {value}")
    return int(value)
