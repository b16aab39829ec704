"""How the report of an audit says outcomes, whose word it is and values of ε: readable without colour."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

from markupsafe import Markup, escape

from privfl.audit.findings import Audit, Layer, Outcome, Word
from privfl.report.formats import MISSING, format_count, format_number, format_probability
from privfl.report.page import Tone

NBSP: Final = "\u00a0"
BADGES: Final[Mapping[Outcome, str]] = {
    Outcome.PASS: f"✓{NBSP}pass",
    Outcome.FAIL: f"✗{NBSP}FAIL",
    Outcome.INCONCLUSIVE: f"?{NBSP}inconclusive",
    Outcome.NOT_CLAIMED: f"–{NBSP}not{NBSP}claimed",
}
TONES: Final[Mapping[Outcome, Tone]] = {
    Outcome.PASS: Tone.CALM,
    Outcome.FAIL: Tone.ALARM,
    Outcome.INCONCLUSIVE: Tone.CAUTION,
    Outcome.NOT_CLAIMED: Tone.MUTED,
}
WHOSE: Final[Mapping[Word, str]] = {
    Word.NOBODY: "nobody’s",
    Word.COORDINATOR: "coordinator’s",
    Word.CLIENTS: "clients’",
    Word.BOTH: "both",
}
LAYERS: Final[Mapping[Layer, str]] = {
    Layer.RECOMPUTATION: "Recomputation",
    Layer.CONFORMITY: "Conformity",
    Layer.EMPIRICAL: "Empirical audit",
}
_DIGITS: Final = 4
_MOST_DIGITS: Final = 10
_SAME: Final = 1e-6
_CODE: Final = re.compile(r"`([^`\n]+)`")
_LONG: Final = re.compile(r"(\S{25,})")
_PIECE: Final = 16


def is_private(audit: Audit) -> bool:
    """Whether differential privacy is claimed."""
    return audit.claim.mode != "none"


def told_at(audit: Audit) -> float | None:
    """δ at which ε was recomputed: the claim's, unless another was asked for."""
    return audit.claim.delta if audit.at_delta is None else audit.at_delta


def at_delta(audit: Audit) -> str:
    """The same, to follow a value of ε; empty where it is not known."""
    return "" if told_at(audit) is None else f" at δ{NBSP}={NBSP}{delta_text(told_at(audit))}"


def layer_badge(audit: Audit, layer: Layer) -> str:
    """The outcome of a layer; one in which nothing was checked, or that nobody asked for, is not one that passed."""
    if any(one.layer is layer for one in audit.findings):
        return BADGES[audit.of_layer(layer)]
    return f"–{NBSP}no{NBSP}checks" if layer in audit.layers else f"–{NBSP}not{NBSP}asked"


def tally(outcomes: list[Outcome]) -> str:
    """How many checks ended how, the worst first.

    >>> tally([Outcome.PASS, Outcome.FAIL, Outcome.PASS])
    '1 failed, 2 passed'
    """
    words = {
        Outcome.FAIL: "failed",
        Outcome.INCONCLUSIVE: "inconclusive",
        Outcome.PASS: "passed",
        Outcome.NOT_CLAIMED: "not claimed",
    }
    counts = [(outcomes.count(outcome), word) for outcome, word in words.items()]
    return ", ".join(f"{format_count(count)} {word}" for count, word in counts if count) or "nothing to check"


def shown(epsilon: float | None) -> str:
    """ε, with as many digits as the report gives it."""
    return format_number(epsilon, _DIGITS)


def given(value: float | None) -> str:
    """ε that somebody chose, such as a budget, with the digits that it was chosen with.

    >>> given(4.0), given(None)
    ('4', '–')
    """
    return format_probability(value) if value is not None and math.isfinite(value) else format_number(value)


def delta_text(delta: float | None) -> str:
    """δ, with the digits that it was given with.

    >>> delta_text(1e-5), delta_text(None)
    ('10⁻⁵', '–')
    """
    return format_probability(delta) if delta is not None and math.isfinite(delta) else MISSING


def equals(text: str, sign: str = "=") -> str:
    """ε with its value, never on two lines."""
    return f"ε{NBSP}{sign}{NBSP}{text}"


def told_apart(first: float | None, second: float | None, digits: int = _DIGITS) -> tuple[str, str]:
    """Two values of ε with so many digits, at least `digits`, that they look different if they are.

    >>> told_apart(3.62204, 3.62201), told_apart(3.0, 3.0)
    (('3.62204', '3.62201'), ('3.000', '3.000'))
    """
    if first is None or second is None or first == second or math.isclose(first, second, rel_tol=_SAME):
        return format_number(first, digits), format_number(second, digits)
    pairs = ((format_number(first, n), format_number(second, n)) for n in range(digits, _MOST_DIGITS + 1))
    return next((pair for pair in pairs if pair[0] != pair[1]), (shown(first), shown(second)))


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun.

    >>> counted(1, "check"), counted(0, "check"), counted(2, "canary", "canaries")
    ('1 check', '0 checks', '2 canaries')
    """
    return f"{format_count(count)} {noun if count == 1 else plural or f'{noun}s'}"


def capital(text: str) -> str:
    """A text that begins like a sentence."""
    return f"{text[:1].upper()}{text[1:]}"


def count_or_dash(count: int | None) -> str:
    """A number, or the sign that it is not known."""
    return MISSING if count is None else format_count(count)


def rich(text: str) -> Markup:
    """A text for a cell: escaped, `` `names in backticks` `` as code, long words able to break.

    >>> str(rich("`a` < b"))
    '<code>a</code> &lt; b'
    """
    parts = (_breakable(part) for part in _CODE.split(text))
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def strong(text: str) -> Markup:
    """A text that stands out."""
    return Markup("<strong>{}</strong>").format(text)


def lines(*parts: str) -> Markup:
    """Parts of a cell, each on a line of its own; plain text is escaped."""
    return Markup("<br>").join(part for part in parts if part)


def _breakable(text: str) -> Markup:
    """A digest of 64 letters has no place to break, and would push a table off the paper."""
    return Markup("").join(
        Markup("<wbr>").join(word[at : at + _PIECE] for at in range(0, len(word), _PIECE)) if i % 2 else escape(word)
        for i, word in enumerate(_LONG.split(text))
    )
