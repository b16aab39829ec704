"""`training.*` of a job: which part of a PyTorch model is trained, and so travels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from privfl.errors import ConfigurationError

MOST_RANK: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """`training.*`: what of the model is trained. Nothing else is sent: everybody has it from the function that builds
    the model, with the job's seed.

    Attributes:
        freeze: patterns of parameters that are not trained, such as `0.*`.
        adapter_rank: r; linear layers are frozen and get adapters of this rank instead: W + B·A, where B has r columns,
            and A r rows. No adapters unless given. Biases and other layers are trained as before: with `freeze`
            = ["*"], adapters alone are.
        adapt: patterns of the linear layers that get adapters.
        adapter_train_a: train A as well. By default it stays as the seed draws it, so that the mean of the clients'
            B·A is the mean of their B, times A.
        buffers: patterns of floating-point buffers that travel beside what is trained, such as running means; the
            others are in every call as the model was built.

    Raises:
        ConfigurationError: a value out of range, or for adapters that there are none of.
    """

    freeze: tuple[str, ...] = ()
    adapter_rank: int | None = None
    adapt: tuple[str, ...] = ("*",)
    adapter_train_a: bool = False
    buffers: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if self.adapter_rank is None:
            unused = "adapt" if self.adapt != ("*",) else "adapter_train_a" if self.adapter_train_a else None
            if unused is not None:
                raise ConfigurationError(
                    f"training.{unused} is set without adapters: take training.adapter_rank, such as 4, or leave it out"
                )
        elif not 1 <= self.adapter_rank <= MOST_RANK:
            raise ConfigurationError(f"training.adapter_rank is {self.adapter_rank}: 1 to {MOST_RANK} works, such as 4")
        if not self.adapt:
            raise ConfigurationError("training.adapt is []: patterns of linear layers work, such as ['*'] for all")

    @property
    def set_keys(self) -> tuple[str, ...]:
        """The keys that are not as they are by default."""
        default = TrainingJob()
        named = ("freeze", "adapter_rank", "adapt", "adapter_train_a", "buffers")
        return tuple(f"training.{key}" for key in named if getattr(self, key) != getattr(default, key))
