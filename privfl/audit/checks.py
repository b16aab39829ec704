"""How a check is made: it returns what it saw, or stops with why it cannot confirm its title."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from privfl.audit.artefacts import Read
from privfl.audit.findings import Finding, Layer, Outcome, Word
from privfl.errors import MissingExtra, PrivflError


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a check that passed saw."""

    detail: str
    rests_on: Word = Word.NOBODY
    figures: Mapping[str, Any] = field(default_factory=dict)


class Stop(Exception):
    """Ends a check that does not pass.

    Args:
        detail: what was seen.
        where: file and line that are wrong.
        missing: what would decide it.
        rests_on: whose word it is.
        figures: numbers for machines.
    """

    outcome = Outcome.FAIL

    def __init__(
        self,
        detail: str,
        *,
        where: str = "",
        missing: str = "",
        rests_on: Word = Word.NOBODY,
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.where = where
        self.missing = missing
        self.rests_on = rests_on
        self.figures = figures or {}


class Wrong(Stop):
    """What was claimed is contradicted."""


class Undecided(Stop):
    """What would decide it is missing; say what."""

    outcome = Outcome.INCONCLUSIVE


class NotClaimed(Stop):
    """Nothing of the kind is claimed."""

    outcome = Outcome.NOT_CLAIMED


def check(key: str, layer: Layer, title: str, look: Callable[[], Seen]) -> Finding:
    """Make one check.

    Whatever a file holds, the answer is a finding: what no honest writer could have written fails.

    Args:
        key: short and stable.
        layer: of the audit.
        title: what a pass confirms.
        look: does it.

    Raises:
        MissingExtra: a package that it takes is not installed.
    """
    try:
        seen = look()
    except Stop as stop:
        return Finding(
            key=key,
            layer=layer,
            outcome=stop.outcome,
            title=title,
            detail=stop.detail,
            rests_on=stop.rests_on,
            where=stop.where,
            missing=stop.missing,
            figures=stop.figures,
        )
    except MissingExtra:
        raise
    except PrivflError as error:
        return Finding(key=key, layer=layer, outcome=Outcome.FAIL, title=title, detail=f"It cannot be: {error}.")
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, AttributeError) as error:
        odd = f"Values that no run writes down ({type(error).__name__}: {error})."
        return Finding(key=key, layer=layer, outcome=Outcome.FAIL, title=title, detail=odd)
    return Finding(
        key=key,
        layer=layer,
        outcome=Outcome.PASS,
        title=title,
        detail=seen.detail,
        rests_on=seen.rests_on,
        figures=seen.figures,
    )


def require_believable(read: Read[Any]) -> None:
    """Stop if a file is there and cannot be believed.

    Raises:
        Wrong: says what is wrong with it, and in which line.
    """
    if read.problem:
        raise Wrong(f"{read.name}: {read.problem}.", where=read.where)


def number(facts: Mapping[str, Any], name: str) -> float | None:
    """Return a fact that is a number, or None."""
    value = facts.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf if value > 0 else -math.inf


def brief(key: bytes | str) -> str:
    """The first digits of a key or digest."""
    return f"{(key if isinstance(key, str) else key.hex())[:16]}…"
