"""The few SVG strokes that every chart shares. Colours come from the page's style sheet, through classes.

Elements are built as a tree, never as strings: what a caller names a series cannot break the markup.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # builds only; nothing foreign is parsed
from typing import TypeAlias

from markupsafe import Markup

from privfl.errors import ConfigurationError

Point: TypeAlias = tuple[float, float]

FONT_SIZE = 12.5
_GLYPH_WIDTH = 0.58 * FONT_SIZE  # of an average letter; fonts differ, so layouts leave room
_KEY = re.compile(r"[a-z][a-z0-9-]*")
# XML knows no control characters, escaped or not.
_UNPRINTABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def canvas(*, key: str, title: str, description: str, width: float, height: float) -> ET.Element:
    """An empty drawing with its spoken title and description.

    Raises:
        ConfigurationError: `key` cannot serve as an HTML id.
    """
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"chart key must be lower-case letters, digits and hyphens, not {key!r}")
    root = ET.Element(
        "svg",
        {
            "class": "chart",
            "role": "img",
            "viewBox": f"0 0 {number(width)} {number(height)}",
            "aria-labelledby": f"{key}-title {key}-desc",
        },
    )
    ET.SubElement(root, "title", {"id": f"{key}-title"}).text = printable(title)
    ET.SubElement(root, "desc", {"id": f"{key}-desc"}).text = printable(description)
    return root


def markup(root: ET.Element) -> Markup:
    """The drawing as markup for a page."""
    # Safe: the serialiser escaped every text and attribute, and no raw string ever entered the tree.
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704


def group(parent: ET.Element, kind: str) -> ET.Element:
    """A group whose class the style sheet colours."""
    return ET.SubElement(parent, "g", {"class": kind})


def line(parent: ET.Element, kind: str, start: Point, end: Point) -> ET.Element:
    """A straight line."""
    ends = {"x1": number(start[0]), "y1": number(start[1]), "x2": number(end[0]), "y2": number(end[1])}
    return ET.SubElement(parent, "line", {"class": kind, **ends})


def rectangle(parent: ET.Element, kind: str, corner: Point, extent: tuple[float, float]) -> ET.Element:
    """A rectangle from its upper left corner; a negative width or height counts as none."""
    width, height = (number(max(0, length)) for length in extent)
    box = {"x": number(corner[0]), "y": number(corner[1]), "width": width, "height": height}
    return ET.SubElement(parent, "rect", {"class": kind, **box})


def path(parent: ET.Element, kind: str, points: list[Point], *, closed: bool = False) -> ET.Element:
    """A polyline through pixel positions."""
    steps = " ".join(f"{'L' if i else 'M'}{number(x)} {number(y)}" for i, (x, y) in enumerate(points))
    return ET.SubElement(parent, "path", {"class": kind, "d": steps + (" Z" if closed else "")})


def text(parent: ET.Element, x: float, y: float, content: str, *, anchor: str = "start", kind: str = "") -> ET.Element:
    """A text whose baseline starts, is centred or ends at (x, y)."""
    place = {"x": number(x), "y": number(y), "text-anchor": anchor}
    element = ET.SubElement(parent, "text", place | ({"class": kind} if kind else {}))
    element.text = printable(content)
    return element


def tooltip(element: ET.Element, content: str) -> None:
    """What a pointer resting on the element is told."""
    ET.SubElement(element, "title").text = printable(content)


def text_width(content: str) -> float:
    """About how wide a text is."""
    return len(content) * _GLYPH_WIDTH


def number(value: float) -> str:
    """A coordinate: a tenth of a pixel is finer than any screen shows."""
    return f"{value:.1f}".removesuffix(".0")


def printable(content: str) -> str:
    """The text without characters that XML cannot hold."""
    return _UNPRINTABLE.sub("\ufffd", content)
