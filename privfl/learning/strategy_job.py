"""`strategy.*` of a job: how clients train, and what the server makes of the sum of their updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from privfl.errors import ConfigurationError
from privfl.learning.schedule_job import ScheduleJob, ScheduleKind
from privfl.learning.strategy_names import OPTIMISERS, Optimiser, StrategyName, strategy_called
from privfl.learning.trainer import LocalTraining

__all__ = ["Buffering", "Optimiser", "ScheduleJob", "ScheduleKind", "ServerStep", "StrategyJob", "StrategyName"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStep:
    """How the server steps, every default filled in; a number that its optimiser does not use is 0.

    Attributes:
        optimiser: which.
        learning_rate: η.
        momentum: β₁.
        second_momentum: β₂.
        adaptivity: τ.
    """

    optimiser: Optimiser
    learning_rate: float
    momentum: float = 0.0
    second_momentum: float = 0.0
    adaptivity: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffering:
    """How `fedbuff` collects updates, every default filled in.

    Attributes:
        buffer: K, updates of a secure sum.
        concurrency: clients that train at once, at most.
        staleness_exponent: a.
        max_staleness: server steps that an update may be behind; None for any number.
    """

    buffer: int
    concurrency: int
    staleness_exponent: float
    max_staleness: int | None

    def takes(self, staleness: int) -> bool:
        """Whether an update still counts that began so many server steps ago."""
        return self.max_staleness is None or staleness <= self.max_staleness

    def discount(self, staleness: int) -> float:
        """Return what such an update weighs: (1 + τ)^−a, 1 if it is fresh.

        >>> Buffering(buffer=10, concurrency=20, staleness_exponent=0.5, max_staleness=None).discount(3)
        0.5
        """
        return float((1 + staleness) ** -self.staleness_exponent)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyJob:
    """`strategy.*`: how clients train and how the server combines.

    Strategies that compare single updates or choose among them (Krum, medians, trimmed means and their like) are
    refused: the server sees sums and nothing else. `encoding.clip` or `privacy.clip` bounds what one client can do to a
    sum.

    Attributes:
        name: `fedavg`, `fedprox`, `fedavgm`, `fedadagrad`, `fedadam`, `fedyogi` or `fedbuff`; see `StrategyName`.
        epochs: local passes over a client's examples.
        batch_size: examples of a step.
        learning_rate: of a step; `schedule` moves it from round to round.
        momentum: of a step.
        weight_max: examples that a client can weigh at most; public. Twice the average unless given.
        proximal: μ, how strongly a client is pulled back to the model that it received; 0 is not at all. 0.01 with
            `fedprox`, 0 with others unless given.
        optimiser: the server's. `fedavg` is `sgd` and `fedavgm` is `momentum`; `fedadagrad`, `fedadam` and `fedyogi`
            say it in their name; `fedprox` and `fedbuff` take any, `sgd` unless given.
        server_learning_rate: η, of the server's step; 1 with `sgd` and `momentum`, 0.1 with the others unless given.
        server_momentum: β₁, of all but `sgd`; 0.9, with `adagrad` 0, unless given.
        server_second_momentum: β₂, of `adam` and `yogi`; 0.99 unless given.
        server_adaptivity: τ, of `adagrad`, `adam` and `yogi`: added to the root of the second moment, so that
            coordinates that hardly move are not blown up; 0.001 unless given.
        schedule: of `learning_rate`.
        buffer: K of `fedbuff`: updates that are summed securely for a step of the server; 10 unless given.
        concurrency: of `fedbuff`: clients that train at once; twice `buffer` unless given.
        staleness_exponent: a of `fedbuff`: an update that began τ steps of the server ago weighs (1 + τ)^−a; 0.5 unless
            given.
        max_staleness: of `fedbuff`: updates that began more steps ago are thrown away; none are unless given.

    Raises:
        ConfigurationError: a value out of range, or set where the strategy does not use it.
    """

    name: str = "fedavg"
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_max: int | None = None
    proximal: float | None = None
    optimiser: Optimiser | None = None
    server_learning_rate: float | None = None
    server_momentum: float | None = None
    server_second_momentum: float | None = None
    server_adaptivity: float | None = None
    schedule: ScheduleJob = field(default_factory=ScheduleJob)
    buffer: int | None = None
    concurrency: int | None = None
    staleness_exponent: float | None = None
    max_staleness: int | None = None

    def __post_init__(self) -> None:
        _ = self.kind  # which checks the name
        if self.weight_max is not None and self.weight_max < 1:
            raise ConfigurationError(f"strategy.weight_max is {self.weight_max}: 1 or more works, such as 100")
        self._check_proximal(self.local_training())
        self._check_server()
        self._check_buffering()

    @property
    def kind(self) -> StrategyName:
        """Which strategy it is."""
        return strategy_called(self.name)

    def local_training(self) -> LocalTraining:
        """Return the client's part, with the learning rate before its schedule."""
        proximal = _DEFAULT_PROXIMAL if self.kind is StrategyName.FEDPROX else 0.0
        return LocalTraining(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            proximal=proximal if self.proximal is None else self.proximal,
        )

    def server_step(self) -> ServerStep:
        """Return the server's part.

        >>> StrategyJob(name="fedavgm").server_step().momentum
        0.9
        """
        optimiser = OPTIMISERS.get(self.kind, self.optimiser or Optimiser.SGD)
        given = {name: getattr(self, f"server_{name}") for name in _DEFAULTS[optimiser]}
        chosen = {name: value for name, value in given.items() if value is not None}
        return ServerStep(optimiser=optimiser, **{**_DEFAULTS[optimiser], **chosen})

    def buffering(self) -> Buffering | None:
        """Return how updates are collected; None where they are summed round by round."""
        if self.kind is not StrategyName.FEDBUFF:
            return None
        buffer = _DEFAULT_BUFFER if self.buffer is None else self.buffer
        return Buffering(
            buffer=buffer,
            concurrency=2 * buffer if self.concurrency is None else self.concurrency,
            staleness_exponent=0.5 if self.staleness_exponent is None else self.staleness_exponent,
            max_staleness=self.max_staleness,
        )

    def _check_proximal(self, local: LocalTraining) -> None:
        if self.kind is StrategyName.FEDPROX and not local.proximal:
            raise ConfigurationError(
                f"strategy.proximal is {self.proximal} with strategy.name 'fedprox', which pulls clients back by it: "
                f"above 0 works, such as {_DEFAULT_PROXIMAL}, or take strategy.name = 'fedavg'"
            )
        most = 2 * (1 + self.momentum) / self.learning_rate  # of a quadratic's curvature under heavy-ball steps
        if local.proximal >= most:
            raise ConfigurationError(
                f"strategy.proximal is {local.proximal}, with which steps of strategy.learning_rate "
                f"{self.learning_rate} fly further and further past the model that a client received: below {most:.3g} "
                f"works, such as {min(_DEFAULT_PROXIMAL, most / 10):.2g}"
            )

    def _check_server(self) -> None:
        optimiser = self.server_step().optimiser
        if self.optimiser is not None and self.optimiser is not optimiser:
            raise ConfigurationError(
                f"strategy.optimiser is {self.optimiser.value!r} with strategy.name {self.name!r}, whose server takes "
                f"{optimiser.value!r}: leave it out, or take strategy.name = {_NAMED[self.optimiser].value!r}"
            )
        for name, (low, high, sample) in _RANGES.items():
            value = getattr(self, f"server_{name}")
            if value is None:
                continue
            if name not in _DEFAULTS[optimiser]:
                user = next(one for one in OPTIMISERS if name in _DEFAULTS[OPTIMISERS[one]])
                raise ConfigurationError(
                    f"strategy.server_{name} is set though the server's optimiser is {optimiser.value!r}, which has no "
                    f"use for it: leave it out, or take strategy.name = {user.value!r}"
                )
            if not low <= value <= high:
                raise ConfigurationError(
                    f"strategy.server_{name} is {value}: {low:g} to {high:g} works, such as {sample}"
                )

    def _check_buffering(self) -> None:
        for name, low, high, sample in _BUFFERING:
            value = getattr(self, name)
            if value is None:
                continue
            if self.kind is not StrategyName.FEDBUFF:
                raise ConfigurationError(
                    f"strategy.{name} is set though strategy.name is {self.name!r}, which buffers nothing: leave it "
                    f"out, or take strategy.name = 'fedbuff'"
                )
            if not low <= value <= high:
                raise ConfigurationError(f"strategy.{name} is {value}: {low} to {high} works, such as {sample}")


_DEFAULT_PROXIMAL: Final = 0.01
_DEFAULT_BUFFER: Final = 10
_DEFAULTS: Final[Mapping[Optimiser, Mapping[str, float]]] = MappingProxyType(
    {
        Optimiser.SGD: {"learning_rate": 1.0},
        Optimiser.MOMENTUM: {"learning_rate": 1.0, "momentum": 0.9},
        # Without momentum, as Reddi et al. have it in their experiments.
        Optimiser.ADAGRAD: {"learning_rate": 0.1, "momentum": 0.0, "adaptivity": 1e-3},
        Optimiser.ADAM: {"learning_rate": 0.1, "momentum": 0.9, "second_momentum": 0.99, "adaptivity": 1e-3},
        Optimiser.YOGI: {"learning_rate": 0.1, "momentum": 0.9, "second_momentum": 0.99, "adaptivity": 1e-3},
    }
)
"""What each optimiser uses, and what it is unless given."""
_RANGES: Final = MappingProxyType(
    {
        "learning_rate": (1e-6, 1e3, "1.0"),
        "momentum": (0.0, 0.9999, "0.9"),
        "second_momentum": (0.0, 0.9999, "0.99"),
        "adaptivity": (1e-12, 1e3, "0.001"),
    }
)
_BUFFERING: Final = (
    ("buffer", 1, 1_000_000, "10"),
    ("concurrency", 1, 1_000_000, "20"),
    ("staleness_exponent", 0.0, 10.0, "0.5"),
    ("max_staleness", 0, 1_000_000, "10"),
)
_NAMED: Final = MappingProxyType({optimiser: name for name, optimiser in OPTIMISERS.items()})
