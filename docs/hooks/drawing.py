"""A ladder as SVG: lines and text in the colour of the page's own text, so that it can be read on light and dark."""

from __future__ import annotations

from html import escape

from ladders import Ladder, Move, Rung

from privfl.lockstep.party import SessionOver
from privfl.wire import Message, message_type

_WIDTH = 740
_SERVER, _PARTY = 95, 520  # middles of the columns
_BOX_WIDTH, _BOX_HEIGHT = 150, 26
_HEAD, _RUNG = 62, 96  # heights: of the beginning of a party, and of a phase with the state that it leads to
_MARGIN = 12


def svg(shown: Ladder) -> str:
    """Draw a ladder, as one line of SVG for a page to hold."""
    parts, places = [], dict[str, float]()  # of a party: where its states are
    y, before, last_box = float(_MARGIN), None, None
    parts.append(_text(_SERVER, y + 14, "server", bold=True))
    for rung in shown.rungs:
        if before is None:
            move, places = rung.moves[-1], {}
            parts += [_text(_PARTY, y + 14, rung.who, bold=True), _box(_PARTY, y + 42, move.before, round_=True)]
            places[move.before] = y + 42
            y += _HEAD
        else:
            move = next(one for one in rung.moves if one.before == before)
        if last_box is not None:
            parts.append(_arrow(_SERVER, last_box + _BOX_HEIGHT / 2, _SERVER, y + 30 - _BOX_HEIGHT / 2))
        last_box = y + 30
        parts += [_box(_SERVER, last_box, rung.phase), *_messages(rung, y)]
        end = y + _RUNG - 20
        parts += [_arrow(_PARTY, places[move.before] + _BOX_HEIGHT / 2, _PARTY, end - _BOX_HEIGHT / 2)]
        parts.append(_box(_PARTY, end, _named(move), round_=True))
        places[_named(move)] = end
        parts += [_around(places[other.before], end, rung.request) for other in rung.moves if other is not move]
        before = None if move.after == SessionOver.__name__ else move.after
        y += _RUNG
    parts.append(_arrow(_SERVER, (last_box or y) + _BOX_HEIGHT / 2, _SERVER, y - 20 - _BOX_HEIGHT / 2))
    parts.append(_box(_SERVER, y - 20, shown.result, round_=True))
    return (
        f'<svg class="ladder" role="img" viewBox="0 0 {_WIDTH} {y + _MARGIN:.0f}" xmlns="http://www.w3.org/2000/svg" '
        f'fill="none" stroke="currentColor" font-size="13"><title>{escape(shown.title)}</title>'
        + "".join(parts)
        + "</svg>"
    )


def _named(move: Move) -> str:
    return "over" if move.after == SessionOver.__name__ else move.after


def _messages(rung: Rung, y: float) -> list[str]:
    left, right, middle = _SERVER + _BOX_WIDTH / 2, _PARTY - 3, (_SERVER + _BOX_WIDTH / 2 + _PARTY) / 2
    return [
        _arrow(left, y + 22, right, y + 22),
        _text(middle, y + 17, _message(rung.request)),
        _arrow(right, y + 42, left, y + 42),
        _text(middle, y + 57, _message(rung.answer)),
    ]


def _message(kind: type[Message]) -> str:
    return f"{kind.__name__} {message_type(kind):#04x}"


def _around(start: float, end: float, request: type[Message]) -> str:
    """A way from one state to another past those between them."""
    edge, out = _PARTY + _BOX_WIDTH / 2, _PARTY + _BOX_WIDTH / 2 + 24
    path = f"M{edge:g} {start:g}H{out:g}V{end:g}H{edge + 7:g}"
    head = _head(edge, end, -1, 0)
    return f'<path d="{path}"/>{head}{_text(out + 6, (start + end) / 2 + 4, request.__name__, anchor="start")}'


def _box(x: float, y: float, name: str, *, round_: bool = False) -> str:
    corner = _BOX_HEIGHT / 2 if round_ else 2
    return (
        f'<rect x="{x - _BOX_WIDTH / 2:g}" y="{y - _BOX_HEIGHT / 2:g}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" '
        f'rx="{corner:g}" fill="currentColor" fill-opacity="0.06"/>{_text(x, y + 4.5, name)}'
    )


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    across, down = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    line = f'<path d="M{x1:g} {y1:g}L{x2 - 7 * across:g} {y2 - 7 * down:g}"/>'
    return line + _head(x2, y2, across, down)


def _head(x: float, y: float, across: int, down: int) -> str:
    """The tip of an arrow that points at (x, y)."""
    corners = [(x, y), (x - 8 * across - 4 * down, y - 8 * down - 4 * across)]
    corners.append((x - 8 * across + 4 * down, y - 8 * down + 4 * across))
    points = " ".join(f"{a:g},{b:g}" for a, b in corners)
    return f'<polygon points="{points}" fill="currentColor" stroke="none"/>'


def _text(x: float, y: float, words: str, *, bold: bool = False, anchor: str = "middle") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="currentColor" stroke="none"{weight}>'
        f"{escape(words)}</text>"
    )
