"""What a ledger says: the opening record, charges, and what else a line can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from privfl.dp.budget import Budget
from privfl.dp.events import Repeated, event_from_json, event_to_json
from privfl.dp.mechanisms import check_whole
from privfl.errors import ConfigurationError, LedgerError
from privfl.journal.values import facts_of, is_whole, require_keys

VERSION: Final = 1
MAX_ROUND: Final = 10**9


class Unit(StrEnum):
    """Whose presence is hidden. Values of ε for different units are never added."""

    EXAMPLE = "example"
    CLIENT = "client"


class Mode(StrEnum):
    """Who adds the noise."""

    EXAMPLE = "example"
    """The client, while it trains: DP-SGD."""
    CLIENT_CENTRAL = "client-central"
    """The server, after the sum is opened."""
    CLIENT_DISTRIBUTED = "client-distributed"
    """Every client a share, inside the secure sum."""
    PARTICIPATION = "participation"
    """A client's own record of the sessions that it took part in, whichever they were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is fixed when a ledger opens.

    Attributes:
        unit: whose presence is hidden.
        mode: who adds the noise.
        budget: ε (or None), δ, neighbouring relation, plan, and releases that are excluded by name and reason.
        population: units that there are, where that is public; δ must then be below 1 / population.
        facts: what else a reader should know, as JSON values: nothing secret, no client's number or name.
    """

    unit: Unit
    mode: Mode
    budget: Budget
    population: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, kind in (("unit", Unit), ("mode", Mode)):
            value = getattr(self, key)
            if value not in list(kind):
                raise ConfigurationError(f"{key} is {value!r}: one of {', '.join(kind)} works")
            object.__setattr__(self, key, kind(value))
        if self.mode is not Mode.PARTICIPATION and (self.mode is Mode.EXAMPLE) != (self.unit is Unit.EXAMPLE):
            raise ConfigurationError(f"unit is {self.unit} in mode {self.mode}: {self.mode.partition('-')[0]} works")
        if self.population is not None:
            check_whole("population", self.population, 1, MAX_ROUND, such_as="1000")
            if self.budget.delta * self.population >= 1:
                raise ConfigurationError(
                    f"delta is {self.budget.delta:g} with a population of {self.population}: below 1 / population "
                    f"works, such as {0.1 / self.population:.1g}, or one unit could be published outright"
                )
        object.__setattr__(self, "facts", facts_of(self.facts))

    def to_body(self) -> dict[str, Any]:
        """Return the JSON object that the opening line holds."""
        return {
            "version": VERSION,
            "unit": self.unit.value,
            "mode": self.mode.value,
            "population": self.population,
            "facts": self.facts,
            **self.budget.to_json(),
        }

    @classmethod
    def from_body(cls, body: Mapping[str, Any], where: str) -> Opening:
        """Read it back.

        Raises:
            ConfigurationError: a value that no opening may have.
            LedgerError: keys other than the ones due, or another version of the format.
        """
        keys = {"version", "unit", "mode", "population", "facts", *Budget.JSON_KEYS}
        require_keys(body, keys, where)
        if not is_whole(body["version"]) or body["version"] != VERSION:
            raise LedgerError(f"{where}: version {body['version']!r} of the format; this privfl reads {VERSION}")
        return cls(
            unit=body["unit"],
            mode=body["mode"],
            budget=Budget.from_json({key: body[key] for key in Budget.JSON_KEYS}, where),
            population=body["population"],
            facts=body["facts"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one release cost.

    Attributes:
        round: number of the round; charged again when a crash made the run repeat it.
        events: what was done, as it happened.
        facts: C, z planned and effective, contributors, denominator, γ, b, ...: JSON values, nothing secret.
    """

    round: int
    events: tuple[Repeated, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_whole("round", self.round, 0, MAX_ROUND, such_as="1")
        events = tuple(self.events)
        if not events or not all(isinstance(event, Repeated) for event in events):
            raise ConfigurationError("a charge has no events, or something else among them: [Repeated(...)] works")
        object.__setattr__(self, "events", events)
        object.__setattr__(self, "facts", facts_of(self.facts))

    def to_body(self) -> dict[str, Any]:
        """Return the JSON object that a charge's line holds."""
        return {"round": self.round, "events": [event_to_json(event) for event in self.events], "facts": self.facts}

    @classmethod
    def from_body(cls, body: Mapping[str, Any], where: str) -> Charge:
        """Read it back.

        Raises:
            ConfigurationError, UnsupportedEvent: a value or an event that no charge may have.
            LedgerError: keys other than the ones due.
        """
        require_keys(body, {"round", "events", "facts"}, where)
        if not isinstance(body["events"], list):
            raise LedgerError(f"{where}: events that are no list")
        events = tuple(event_from_json(event, where) for event in body["events"])
        return cls(round=body["round"], events=events, facts=body["facts"])


def events_of(charges: Iterable[Charge]) -> tuple[Repeated, ...]:
    """Return all events of some charges, in order."""
    return tuple(event for charge in charges for event in charge.events)
