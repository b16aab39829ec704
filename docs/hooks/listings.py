"""Sources as pages on which every line has an address, for texts that name lines."""

from __future__ import annotations

from html import escape
from string import Template
from typing import Final

_PAGE: Final = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>$name</title>
<style>
body { margin: 1.5em; font: 13px/1.45 monospace; }
pre { margin: 0; tab-size: 4; }
pre > span { display: block; min-height: 1.45em; }
pre > span:target { background: Mark; color: MarkText; }
pre a { display: inline-block; width: 4em; color: GrayText; text-decoration: none; user-select: none; }
</style>
</head>
<body>
<h1>$name</h1>
<pre>$lines</pre>
</body>
</html>
""")


def listing(name: str, text: str) -> str:
    """Return a page of HTML that shows a source; line 7 is at #L7.

    Args:
        name: what stands above it.
        text: the source.

    >>> page = listing("a.py", "x = 1 < 2")
    >>> '<span id="L1"><a href="#L1">1</a>x = 1 &lt; 2</span>' in page
    True
    """
    lines = (
        f'<span id="L{number}"><a href="#L{number}">{number}</a>{escape(line)}</span>'
        for number, line in enumerate(text.splitlines(), 1)
    )
    return _PAGE.substitute(name=escape(name), lines="".join(lines))
