"""What a job is made of before it runs: its data, who trains, how updates are written, who plans the rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from privfl.compression.compressor import Compressor, Keep
from privfl.compression.rotation import SEED_BYTES
from privfl.compression.selection import require_all_can_move
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError
from privfl.learning.averaging import Averaging, WeightedAveraging
from privfl.learning.buffered import Buffered
from privfl.learning.checked_trainer import CheckedTrainer
from privfl.learning.data import FederatedData, PublicFacts, load
from privfl.learning.feasibility import require_in_time
from privfl.learning.fleet import Fleet
from privfl.learning.guarantee import Guarantee, guarantee_of
from privfl.learning.job import Job
from privfl.learning.models import model_or_trainer
from privfl.learning.own_code import is_own
from privfl.learning.own_data import load_own
from privfl.learning.privacy_job import PrivacyMode
from privfl.learning.private import PrivateAveraging
from privfl.learning.private_trainer import PrivateTrainer
from privfl.learning.scheduling import Scheduler, Traffic
from privfl.learning.synchronous import Synchronous
from privfl.learning.torch_trainer import TorchClassifier, TorchTrainer
from privfl.learning.trainer import Trainer
from privfl.primitives.entropy import OsEntropy

if TYPE_CHECKING:
    from torch import nn

UNNOISED: Final = "unsafe_without_noise"
"""Attribute, true, of a trainer that is handed to `FederatedRun` to stand in for one that adds noise: for tests of what
happens around it. What such a run claims of privacy.mode 'example' is false."""


def data_of(job: Job) -> FederatedData:
    """Load a job's data.

    Raises:
        ConfigurationError: there are none such, or they do not fit; names the key.
        MissingExtra: scikit-learn is not installed, which has the built-in ones.
    """
    holdout = job.evaluation.holdout if job.evaluation.federated else 0.0
    if is_own(job.data.name):
        data = load_own(
            job.data.name,
            clients=job.data.clients,
            seed=job.seed,
            test=job.data.test,
            holdout=holdout,
            classes=job.data.classes,
            private=job.privacy.mode is not PrivacyMode.NONE,
        )
        if job.privacy.mode is PrivacyMode.EXAMPLE and data.test.features.dtype.kind == "i":
            raise ConfigurationError(
                f"data.name is {job.data.name!r}, whose features are whole numbers, in privacy.mode 'example', which "
                f"clips gradients by float32 features: another privacy.mode works, or features in float32"
            )
        return data
    return load(
        job.data.name,
        clients=job.data.clients,
        partition=job.data.partition,
        alpha=job.data.alpha,
        shards=job.data.shards,
        holdout=holdout,
        seed=job.seed,
    )


def trainer_of(
    job: Job, facts: PublicFacts, model_name: str, given: Trainer | None
) -> tuple[Trainer, Guarantee | None]:
    """Return who trains, and what the run promises: all that can be wrong about it shows here.

    Args:
        job: the job.
        facts: of its data.
        model_name: of the model that it trains.
        given: who trains instead.

    Raises:
        ConfigurationError: the model, what of it is to be trained, or the promise does not work.
        MissingExtra: something that it takes is not installed.

    Guarantees:
        1. In privacy.mode 'example' nobody trains but a `PrivateTrainer`, none of a class made from it, with the plan
           that the run's ledger charges and noise of the operating system's entropy.
        2. What trainers of the user's own return is checked, also of classes made from those of this package.
    """
    settings = job.strategy.local_training()
    made = given
    if given is None:
        built = model_or_trainer(model_name, feature_shape=facts.feature_shape, classes=facts.classes, seed=job.seed)
        if not isinstance(built, Trainer):
            return _trainer_of_model(job, facts, built)
        made = built
    assert made is not None  # noqa: S101 - for the type checker
    whose = f"model is {model_name!r}, which makes a trainer of its own ({type(made).__name__})"
    if given is not None:
        whose = f"trainer= is given ({type(made).__name__})"
    if job.training.set_keys:
        raise ConfigurationError(
            f"{job.training.set_keys[0]} is set and {whose}, which decides itself what is trained: leave it out, or "
            f"let the function return a torch.nn.Module"
        )
    trainer: Trainer = made if _is_ours(made) else CheckedTrainer(made, settings)
    guarantee = _promised(job, facts, trainer)
    unnoised = given is not None and getattr(given, UNNOISED, False) is True
    if guarantee is not None and guarantee.training is not None and not unnoised:
        if not isinstance(made, PrivateTrainer) or not _is_ours(made):
            raise ConfigurationError(
                f"privacy.mode is 'example' and {whose}, whose gradients nothing would clip or add noise to for sure: "
                f"let the function return a torch.nn.Module, or take privacy.mode = 'client-central'"
            )
        if not made.is_secret:
            raise ConfigurationError(
                f"privacy.mode is 'example' and {whose} with noise that somebody may know: give it no entropy, and it "
                f"takes the operating system's"
            )
        if made.plan != guarantee.training:
            raise ConfigurationError(
                f"privacy.mode is 'example' and {whose} with another plan than the job's: {made.plan}, where "
                f"{guarantee.training} is due"
            )
    return trainer, guarantee


def compressor_of(job: Job, trainer: Trainer) -> Compressor:
    """Return what compresses a job's updates.

    Args:
        job: the job.
        trainer: who trains.

    Raises:
        ConfigurationError: nothing of the model would travel, or a part of it never.
    """
    weights = trainer.initial_weights()
    statistics = trainer.statistics if isinstance(trainer, TorchClassifier) else frozenset()
    compressor = job.compression.compressor(Layout.of(weights), statistics=statistics)
    compressor.choose(bytes(SEED_BYTES), weights)
    if compressor.keep is Keep.MAGNITUDE:
        require_all_can_move(weights, compressor.layout)
    return compressor


def averaging_of(
    job: Job, facts: PublicFacts, guarantee: Guarantee | None, layout: Layout, *, workers: int = 1
) -> Averaging:
    """Return how updates become vectors, and sums steps of the model.

    Args:
        job: the job.
        facts: of its data.
        guarantee: what it promises.
        layout: of what travels of an update.
        workers: threads for long vectors.
    """
    if guarantee is not None and guarantee.integers is not None:
        assert job.privacy.clip is not None  # noqa: S101 - `PrivacyJob` saw to it; for the type checker
        return PrivateAveraging.of(
            job, layout, guarantee.integers, clip=job.privacy.clip, entropy=OsEntropy(), workers=workers
        )
    return WeightedAveraging.of(job, layout, weight_max=weight_max_of(job, facts))


def weight_max_of(job: Job, facts: PublicFacts) -> int:
    """Return the largest number of examples that counts.

    It follows from the public size of the data set and the number of clients: what single clients hold stays with them.
    """
    return job.strategy.weight_max or math.ceil(2 * facts.examples / facts.clients)


def scheduler_of(
    job: Job, examples: Sequence[int], guarantee: Guarantee | None, fleet: Fleet | None, traffic: Traffic
) -> Scheduler:
    """Return who plans the rounds.

    Args:
        job: the job.
        examples: to train on, of every client; only the time that clients of a fleet take follows from it.
        guarantee: what it promises.
        fleet: the clients' machines; None where no time passes.
        traffic: what messages weigh.

    Raises:
        ConfigurationError: too few clients of the fleet can be had in time.
    """
    if guarantee is not None:
        # Who is late, or in a buffer, decides whose updates a sum holds beside a client's: it must not follow from
        # how much that client has. So all take the time that a public number of examples takes.
        examples = (max(sum(examples) // len(examples), 1),) * len(examples)
    if fleet is not None:
        require_in_time(job, fleet, examples, traffic)
    buffering = job.strategy.buffering()
    if buffering is not None and fleet is not None:
        return Buffered(job, buffering, fleet=fleet, examples=examples, traffic=traffic)
    return Synchronous(job, fleet=fleet, examples=examples, traffic=traffic)


def _trainer_of_model(job: Job, facts: PublicFacts, model: nn.Module) -> tuple[Trainer, Guarantee | None]:
    from privfl.learning.adapters import prepared  # noqa: PLC0415 - imports torch

    settings, model = job.strategy.local_training(), prepared(model, job.training, seed=job.seed)
    trainer = TorchTrainer(model, settings, buffers=job.training.buffers)
    guarantee = _promised(job, facts, trainer)
    if guarantee is None or guarantee.training is None:
        return trainer, guarantee
    return PrivateTrainer(model, settings, guarantee.training, grad_sample=job.privacy.grad_sample), guarantee


def _is_ours(made: Trainer) -> bool:
    """Whether nobody has changed what it does: by a class made from ours, or by a method of the object's own."""
    ours = type(made) in {TorchTrainer, PrivateTrainer}
    return ours and not any(hasattr(type(made), name) for name in vars(made))


def _promised(job: Job, facts: PublicFacts, trainer: Trainer) -> Guarantee | None:
    sent = compressor_of(job, trainer).sent
    return guarantee_of(job, parameters=sent.length, examples=facts.examples)
