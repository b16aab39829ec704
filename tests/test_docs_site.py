"""The documentation's site: it builds without a warning, loads nothing from elsewhere, and shows what the code is."""

import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from harness import ACTIVE, Play, epoch, make_params

import privfl
from privfl import SERVER, Phase
from privfl.lockstep.party import LockstepParty
from privfl.wire import message_type
from privfl.wire.envelope import HEADER_BYTES, read_frame

for needed in ("mkdocs", "material", "mkdocstrings_handlers"):
    pytest.importorskip(needed, reason="the site is built with it: `make docs` installs it")

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "docs" / "hooks"))
import drawing  # noqa: E402 - mkdocs finds it by its path, and so do we
import ladders  # noqa: E402
import wire_tables  # noqa: E402

LADDERS = ladders.all_ladders()


class Loads(HTMLParser):
    """What a page has a browser fetch, and the links, headings and text of it."""

    def __init__(self, html):
        super().__init__()
        self.fetched, self.classes, self.ids, self.paragraphs, self._inside = [], set(), set(), [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.classes |= set((found.get("class") or "").split())
        self.ids.add(found.get("id"))
        self.fetched += [found[key] for key in ("src", "srcset", "poster", "data") if found.get(key)]
        if tag == "link" and found.get("rel") not in {"canonical", "next", "prev"}:
            self.fetched.append(found.get("href") or "")
        self.fetched += re.findall(r"url\(([^)]*)\)", found.get("style") or "")
        if tag == "p":
            self._inside = ""

    def handle_endtag(self, tag):
        if tag == "p" and self._inside is not None:
            self.paragraphs.append(self._inside)
            self._inside = None

    def handle_data(self, data):
        if self._inside is not None:
            self._inside += data


def is_elsewhere(address):
    return re.match(r"\s*['\"]?(https?:)?//", address) is not None


def test_the_site_builds_strictly_and_is_whole(tmp_path):
    site = tmp_path / "site"
    outcome = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in ROOT.glob("docs/**/*.md")} <= {
        *pages
    }
    assert not list(site.rglob("*.py"))
    read = {name: Loads(html) for name, html in pages.items()}
    for name, page in read.items():
        assert not [address for address in page.fetched if is_elsewhere(address)], name
        assert "mermaid" not in page.classes, f"{name}: the theme would fetch what draws it"
        assert "<!-- made:" not in pages[name], name
        assert not re.search(r"<blockquote>\s*<blockquote>", pages[name]), f"{name}: a doctest as text"
        for text in page.paragraphs:  # a list or table without a blank line before it
            assert not re.search(r"\n(- |1\. |\| )", text), f"{name}: {text}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not [address for address in re.findall(r"url\(([^)]*)\)", text) if is_elsewhere(address)], sheet
        assert "@import" not in text, sheet
    shows_what_the_code_is(pages, read)
    promises_lead_to_lines(pages["threats.html"], pages, read)


def promises_lead_to_lines(text, pages, read):
    """Every promise's line is where the site says."""
    led = re.findall(r'href="(files/[^"]*\.html)#(L\d+)"', text)
    assert len(led) > 200
    for name, line in led:
        assert line in read[name].ids, f"{name}#{line}"
    (source, line), *_ = [one for one in led if one[0] == "files/privfl/primitives/shamir.py.html"]
    code = (ROOT / "privfl/primitives/shamir.py").read_text(encoding="utf-8").splitlines()[int(line[1:]) - 1]
    assert f'<span id="{line}"><a href="#{line}">{line[1:]}</a>{escape(code)}</span>' in pages[source]


def shows_what_the_code_is(pages, read):
    for name, shown in LADDERS.items():
        assert drawing.svg(shown) in pages["protocols.html"], name
    for label in privfl.primitives.labels.Label:
        assert f"<code>{label.value.decode()}</code>" in pages["wire.html"]
    named = set().union(*(page.ids for name, page in read.items() if name.startswith("reference/")))
    assert {f"privfl.{name}" for name in privfl.__all__ if name != "__version__"} <= named
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py")):
        text = path.read_text(encoding="utf-8")
        for module, names in re.findall(r"^from (privfl[\w.]*) import ([\w, ]+)", text, re.MULTILINE):
            for one in re.split(r", *", names.strip()):
                assert {f"{module}.{one}", f"privfl.{one}"} & named, f"{path.name} imports {one} of {module}"
    guarantees = re.findall(
        r'<details class="guarantees" open>.*?</details>', pages["reference/sessions.html"], re.DOTALL
    )
    assert all("<ol>" in shown for shown in guarantees)
    assert '<details class="guarantees" open>' in pages["reference/learning.html"]


def texts_of(svg):
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314


@pytest.mark.parametrize("name", LADDERS)
def test_a_diagram_names_all_and_is_drawn_in_the_colour_of_the_text(name):
    shown = LADDERS[name]
    svg = drawing.svg(shown)
    texts = texts_of(svg)
    for rung in shown.rungs:
        assert rung.phase in texts
        for kind in (rung.request, rung.answer):
            assert f"{kind.__name__} {message_type(kind):#04x}" in texts
    for move in shown.moves:
        assert {move.before, "over" if move.after == "SessionOver" else move.after} <= set(texts)
    assert set(re.findall(r'(?:fill|stroke)="([^"]*)"', svg)) <= {"none", "currentColor"}
    assert "\n" not in svg


def played(play, silent=()):
    """Hold a session; `silent` are phases in which a party does not answer."""
    phases, server = [], play.server
    while server.phase is not Phase.FINISHED:
        phases.append(server.phase.value)
        for party in sorted(server.waiting):
            if (server.phase, party.number) not in silent:
                session = (play.clients if party.role is privfl.Role.CLIENT else play.members)[party.number]
                server.receive(party, session.respond(server.request_for(party)))
        server.advance()
    return phases


def held(name):
    if name == "ceremony":
        from privfl.ckks import hold_ceremony

        return hold_ceremony(epoch()) and None
    if name == "active":  # a client that signed nothing is asked to unmask all the same
        return played(Play(make_params(server=ACTIVE)), silent={(Phase.CONSISTENCY_CHECK, 12)})
    return played(Play(suite_name=name))


@pytest.mark.parametrize("name", [*LADDERS, "kahe"])
def test_a_ladder_is_what_sessions_do(name, monkeypatch):
    """Every move of a session is drawn, and every move that is drawn is made."""
    if name in {"ckks", "ceremony"}:
        pytest.importorskip("tenseal")
    shown, made = LADDERS.get(name, LADDERS["masking"]), set()
    respond = LockstepParty._respond

    def watched(self, request):
        before = type(self._state).__name__
        answer = respond(self, request)
        numbers = (read_frame(frame).type_number for frame in (request, answer))
        made.add((before, *numbers, type(self._state).__name__))
        return answer

    if name == "ckks":
        Play(suite_name=name)  # the ceremony of its committee, held once, is no move of a session under it
    monkeypatch.setattr(LockstepParty, "_respond", watched)
    phases = held(name)
    drawn = {(move.before, message_type(move.request), message_type(move.answer), move.after) for move in shown.moves}
    assert made == drawn
    assert phases in (None, [rung.phase for rung in shown.rungs])


def test_a_request_that_nobody_answers_is_no_ladder():
    with pytest.raises(ValueError, match="nobody answers"):
        ladders.ladder("x", ladders.PlainUploadStep, {privfl.Role.CLIENT: {}})
    table = {**ladders.table_of(ladders.PlainClient), **ladders.table_of(ladders.CkksClient)}
    with pytest.raises(ValueError, match="no step asks"):
        ladders.ladder("x", ladders.PlainUploadStep, {privfl.Role.CLIENT: table})


def test_the_header_is_as_its_table_says():
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (.+) \|$", wire_tables.header(), re.MULTILINE)
    assert len(rows) == 8
    ends = [int(offset) + int(size) for offset, size, _ in rows]
    assert [int(offset) for offset, _, _ in rows] == [0, *ends[:-1]]
    assert ends[-1] == HEADER_BYTES
    params = make_params(suite_name="plain", n=2, length=3)
    play = Play(params)
    session = play.clients[params.cohort[0]]
    upload = session.respond(play.server.request_for(privfl.client(params.cohort[0])))
    fields = struct.unpack("<4sBBBBI32sI", upload[:HEADER_BYTES])
    assert fields[:2] == (b"PVFL", 1)
    assert fields[4:7] == (privfl.Role.CLIENT, params.cohort[0], params.digest)
    assert np.frombuffer(upload[-12:], np.int32).tolist() == play.vectors[params.cohort[0]].tolist()
    assert SERVER.number == 0


def test_every_message_has_a_number_of_its_own_and_a_line():
    kinds = wire_tables.messages()
    assert len({message_type(kind) for kind in kinds}) == len(kinds) >= 30
    text = wire_tables.message_tables()
    for kind in kinds:
        assert text.count(f"| `{message_type(kind):#04x}` | `{kind.__name__}` |") == 1
    spoken = {kind for shown in LADDERS.values() for move in shown.moves for kind in (move.request, move.answer)}
    assert {kind.__name__ for kind in set(kinds) - spoken} == {"NeighbourKeys", "SurvivorShare", "DroppedShare"}


def test_sizes_that_are_told_are_those_that_are_sent():
    told = wire_tables.sizes()
    for name in ("masking", "kahe"):
        play = Play(
            make_params(
                suite_name=name, cohort=wire_tables.COHORT, length=1000, bound=32_767, threat=privfl.ThreatModel()
            )
        )
        server = play.server
        while server.phase is not Phase.FINISHED:
            line = next(row for row in told.splitlines() if f"| `{name}` | `words` | `{server.phase.value}` |" in row)
            most = int(line.rsplit("|", 2)[1].replace(",", "").split()[-1])
            for party in sorted(server.waiting):
                answer = play.clients[party.number].respond(server.request_for(party))
                assert len(answer) <= most
                if party.number == 9 and server.phase is not Phase.UNMASK:
                    assert len(answer) == most
                server.receive(party, answer)
            server.advance()
