"""Opacus' accountants, carried on: across rounds, restarts and processes. A second opinion beside the ledger's.

A fresh accountant in every round reads the ε of one round every time, and so do Opacus' engines when each round makes
its own: what was spent before is forgotten. These books are kept by whoever runs the rounds; a run fills them from its
ledger when it goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from enum import StrEnum
from typing import Any, Final

import numpy as np

from privfl.dp.mechanisms import LEAST_NOISE, MOST_NOISE, check_number, check_whole, is_number
from privfl.errors import ConfigurationError, UnsupportedEvent
from privfl.learning.per_example import import_opacus


class OpacusAccountant(StrEnum):
    """Which of Opacus' accountants answers. The third, GDP, is not offered: it under-estimates."""

    RDP = "rdp"
    """Rényi differential privacy: an upper bound, somewhat loose."""
    PRV = "prv"
    """Privacy random variables: an upper bound within about 0.02 of the truth."""


class OpacusBooks:
    """What DP-SGD has spent so far, by Opacus.

    Neighbours are data sets of which one has an example more (`Relation.ADD_OR_REMOVE_ONE`).

    Guarantees:
        1. `OpacusBooks.from_state(books.state())` continues the books: whatever is composed before and after comes to
           what one uninterrupted run comes to.
        2. Nothing composed is ε = 0.

    >>> books = OpacusBooks()
    >>> books.step(noise_multiplier=1.0, sampling_probability=0.05, steps=100)
    >>> round(OpacusBooks.from_state(books.state()).epsilon(1e-5, OpacusAccountant.RDP), 2)
    4.04
    """

    def __init__(self) -> None:
        self._accountant = _accountant(OpacusAccountant.RDP)

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> OpacusBooks:
        """Carry on from what `state` returned, perhaps in another process.

        Raises:
            ConfigurationError: it is not what `state` returns.
        """
        books = cls()
        books._accountant.load_state_dict(deepcopy({"mechanism": OpacusAccountant.RDP.value, "history": _read(state)}))
        return books

    def state(self) -> dict[str, Any]:
        """Return all that was composed, as JSON holds it: `{"history": [[z, q, steps], ...]}`."""
        history = self._accountant.state_dict()["history"]
        return {"history": [[float(z), float(q), int(steps)] for z, q, steps in history]}

    def step(self, *, noise_multiplier: float, sampling_probability: float, steps: int) -> None:
        """Compose some steps of DP-SGD.

        Args:
            noise_multiplier: z, standard deviation of the noise / clip of an example's gradient.
            sampling_probability: q of each step's Poisson sample; 1 where every step saw all examples.
            steps: how many of these, 1 or more.

        Raises:
            ConfigurationError: a value out of range.
        """
        entry = _entry(noise_multiplier, sampling_probability, steps, where="")
        history = list(self._accountant.state_dict()["history"])
        # As the accountant's own `step` does, but in one go.
        if history and history[-1][:2] == entry[:2]:
            entry = (*entry[:2], history.pop()[2] + entry[2])
        self._accountant.load_state_dict({"mechanism": OpacusAccountant.RDP.value, "history": [*history, entry]})

    def epsilon(self, delta: float, accountant: OpacusAccountant = OpacusAccountant.PRV) -> float:
        """ε of everything composed so far; 0 where that is nothing.

        Args:
            delta: δ, above 0 and below 1.
            accountant: who answers.

        Raises:
            ConfigurationError: δ out of range.
            UnsupportedEvent: `PRV` cannot answer: ε is too large, or δ too small, for its grid.
        """
        if not is_number(delta) or not 0 < delta < 1:
            raise ConfigurationError(f"delta is {delta!r}: a probability above 0 and below 1 works, such as 1e-5")
        history = self._accountant.state_dict()["history"]
        if not history:
            return 0.0  # Opacus' PRV accountant fails here
        carried = _accountant(OpacusAccountant(accountant))
        carried.load_state_dict(deepcopy({"mechanism": str(accountant.value), "history": history}))
        # Opacus warns where the best Rényi order is the first or last that it tries: the bound holds all the same, it
        # might only be tighter. Its PRVs meet log(0) at q = 1 and overflow far out on their grid, where nothing is.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
            try:
                return max(0.0, float(carried.get_epsilon(delta)))
            except (RuntimeError, ValueError, MemoryError, ZeroDivisionError) as error:
                raise UnsupportedEvent(
                    f"Opacus' {accountant.value} accountant has no answer at delta = {delta:g} ({error}): "
                    f"accountant 'rdp' works"
                ) from error


_STATE: Final = '{"history": [[1.0, 0.05, 100]]}'


def _accountant(kind: OpacusAccountant) -> Any:
    import_opacus()
    from opacus.accountants import PRVAccountant, RDPAccountant  # noqa: PLC0415 - `import_opacus` has made sure of it

    made: dict[OpacusAccountant, Callable[[], Any]] = {
        OpacusAccountant.RDP: RDPAccountant,
        OpacusAccountant.PRV: PRVAccountant,
    }
    return made[kind]()


def _read(state: object) -> list[tuple[float, float, int]]:
    if not isinstance(state, Mapping) or set(state) != {"history"} or not isinstance(state["history"], list):
        raise ConfigurationError(f"the books' state is {state!r}: what state() returned works, such as {_STATE}")
    entries = []
    for place, entry in enumerate(state["history"]):
        if not isinstance(entry, list | tuple) or len(entry) != 3:
            raise ConfigurationError(f"history[{place}] is {entry!r}: three numbers work, such as [1.0, 0.05, 100]")
        entries.append(_entry(*entry, where=f"history[{place}]: "))
    return entries


def _entry(noise_multiplier: object, sampling_probability: object, steps: object, *, where: str) -> Any:
    check_number(f"{where}noise_multiplier", noise_multiplier, LEAST_NOISE, MOST_NOISE, such_as="1.0")
    check_number(f"{where}sampling_probability", sampling_probability, 1e-12, 1.0, such_as="0.05")
    check_whole(f"{where}steps", steps, 1, 10**9, such_as="100")
    return (noise_multiplier, sampling_probability, steps)
