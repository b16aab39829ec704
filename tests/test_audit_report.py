"""The report of an audit: the verdict first, nothing left out, escaped, self-contained, calm about what is missing."""

import dataclasses
import html
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privfl.audit.findings import (
    Assurance,
    Audit,
    Claim,
    ClientSpending,
    Finding,
    Hazard,
    Layer,
    Measured,
    Outcome,
    RoundAudit,
    Word,
)
from privfl.audit.report import render_audit
from privfl.audit.report_rounds import MOST_ROWS
from privfl.report.charts.epsilons import EpsilonCurve, Interval, Intervals, epsilon_curve, interval_chart

VOID = {"meta", "img", "br", "link", "hr", "input", "wbr"}
DIGEST = "9f2feb0f1ef425b292f2f94bdbf4c3b1a1d3c1a3e3ac1b4a2d1e8c7b6a5f4e3d"
PASS, FAIL, OPEN, NONE = Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.NOT_CLAIMED
RECOMPUTATION, CONFORMITY, EMPIRICAL = Layer.RECOMPUTATION, Layer.CONFORMITY, Layer.EMPIRICAL


class Page(HTMLParser):
    """Collects tags, texts and attributes, and complains about tags that do not match."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.texts, self.tags, self.keys = [], [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.keys += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "style" not in self.open:
            self.texts.append(text)

    @property
    def text(self):
        return re.sub(r"[ \n]+", " ", "".join(self.texts)).replace("\u00a0", " ")


def finding(key, outcome=PASS, layer=RECOMPUTATION, title=None, detail=None, **changes):
    title = title or f"The check {key} holds"
    return Finding(key=key, layer=layer, outcome=outcome, title=title, detail=detail or f"Seen by {key}.", **changes)


def rdp(z, rounds, delta=1e-5):
    """ε of Gaussian noise by way of zero-concentrated privacy: near enough to what an accountant says."""
    rho = rounds / (2 * z * z)
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


Z = 4.4
SPENT = rdp(4.7, 10)  # drop-outs were fewer than planned for


def round_audit(number, contributors=44, **changes):
    z = Z * math.sqrt((contributors or 0) / 40)
    values = {
        "round": number,
        "charges": 1,
        "released": True,
        "cohort": 50,
        "contributors": contributors,
        "uploads": contributors,
        "planned": Z,
        "effective": z,
        "epsilon": rdp(4.7, number),
    }
    return RoundAudit(**(values | changes))


def scores(shift, count, seed):
    return tuple(float(x) for x in np.random.default_rng(seed).normal(shift, 1.0, count))


FINDINGS = (
    finding(
        "ledger",
        title="The ledger is whole: hashes, signatures, closing record",
        detail="12 lines, 10 charges; every hash and every signature holds.",
        figures={"lines": 12, "charges": 10, "head": DIGEST},
    ),
    finding(
        "writer",
        title="One coordinator signed it all, and it is the one that is known",
        detail=f"All signatures are by {DIGEST}, on which ledger.jsonl, evidence.jsonl, the key that lies in the run's "
        f"directory and 440 receipts of clients agree. Whose key that is, only somebody who knows the coordinator can "
        f"say: `--signer` compares it.",
        rests_on=Word.BOTH,
    ),
    finding(
        "accountants",
        title="Two accountants agree",
        detail=f"rdp {SPENT:.6g}, formula {SPENT + 0.0007:.6g} at δ = 1e-05. They differ by 0.0007: both bound the "
        f"same noise, at orders and by conversions of their own.",
    ),
    finding(
        "epsilon",
        title="ε is at most what is claimed",
        detail=f"Claimed: {SPENT:.6g}; recomputed: {SPENT:.6g} at δ = 1e-05, for one client.",
    ),
    finding(
        "budget",
        title="The budget was kept",
        detail="By the rule that was fixed when the ledger opened, all 10 charges are within ε = 4 at δ = 1e-05.",
    ),
    finding(
        "amplification",
        NONE,
        title="Amplification is claimed only where something was sampled",
        detail="No amplification is claimed, and none was charged.",
    ),
    finding(
        "drop-outs",
        title="Clients that dropped out are not counted as adding noise",
        detail="In all 10 rounds that are shown, no more contributors were charged for than uploads arrived; 41 at the "
        "fewest.",
        rests_on=Word.COORDINATOR,
    ),
    finding(
        "receipts",
        title="The clients' receipts say what the ledger says",
        detail="440 receipts by 50 clients: signatures hold, counts have no gap, every session is charged or shown as "
        "aborted, and every share of noise is the one that was planned.",
        rests_on=Word.BOTH,
    ),
    finding(
        "known-sums",
        layer=CONFORMITY,
        title="Sums of known inputs come out as they must, but for the noise",
        detail="Two recorded sessions: (released − exact)² / σ² over 4096 coordinates is 1.004 of what is due; a noise "
        "that is a tenth too small would have been caught 99 % of the time.",
        rests_on=Word.COORDINATOR,
    ),
    finding(
        "uploads",
        layer=CONFORMITY,
        title="No clear update, weight or metric left a client",
        detail="440 vectors look uniform, and every message has the size that the suite makes it.",
        rests_on=Word.COORDINATOR,
    ),
    finding(
        "canaries",
        layer=EMPIRICAL,
        title="Attacks on canaries do not contradict the claim",
        detail="The largest lower bound is 1.09, of 3.62 that is claimed.",
        rests_on=Word.COORDINATOR,
    ),
)

MEASURED = (
    Measured(
        key="one-run",
        name="One run",
        what="Canaries in the recorded sessions on known inputs, guessed at from their released sums.",
        epsilon=0.62,
        claimed=SPENT,
        control=5.31,
        detectable=6.4,
        canaries=1000,
        guesses=100,
        correct=71,
        inside=scores(0.6, 498, 1),
        outside=scores(0.0, 502, 2),
    ),
    Measured(
        key="f-dp",
        name="One run, f-DP",
        what="The same guesses, held against Gaussian differential privacy",
        epsilon=1.09,
        claimed=SPENT,
        control=7.9,
        detectable=4.9,
        canaries=1000,
        guesses=100,
        correct=71,
    ),
    Measured(
        key="one-shot",
        name="One shot",
        what="Cosines of the canaries with the released sums.",
        epsilon=1.7,
        is_bound=False,
        confidence=None,
        claimed=SPENT,
        control=31.0,
        canaries=1000,
        guesses=1000,
        correct=520,
        inside=scores(0.4, 1000, 3),
    ),
)

HAZARDS = (
    Hazard(
        name="Randomness",
        answer="Noise is drawn from AES-128-CTR keyed by the operating system; tables of 144 bits are inverted.",
        rests_on=Word.CLIENTS,
    ),
    Hazard(
        name="Floating point",
        answer="Noise is drawn in whole numbers: no last bit tells more than ε says.",
        rests_on=Word.CLIENTS,
    ),
    Hazard(
        name="Timing",
        answer="How long drawing takes depends on what is drawn; whoever can time a client may learn about its noise.",
        rests_on=Word.CLIENTS,
        open=True,
    ),
    Hazard(
        name="Unit of privacy",
        answer="One client, whatever it holds: all its examples together.",
        rests_on=Word.NOBODY,
    ),
    Hazard(
        name="Tuning",
        answer="Runs that were made to find good settings are not in this ledger. Nobody can tell how many there were.",
        rests_on=Word.COORDINATOR,
        open=True,
    ),
)

ASSURANCES = (
    Assurance(
        part="Noise of the stated size was added",
        honest="37 of 50 clients: each adds a share, and so many shares make the noise that is charged",
        shown="two recorded sessions on known inputs, 440 receipts",
    ),
    Assurance(
        part="All that was released was charged",
        honest="the coordinator: it could release beside the ledger",
        shown="evidence of every session, and receipts whose counts have no gap",
    ),
    Assurance(
        part="Clients clip their updates",
        honest="every client for itself: it only harms its own privacy",
        shown="",
    ),
)

CLAIM = Claim(
    secure=True,
    suite="kahe",
    server="honest-but-curious",
    corrupt=0.1,
    dropout=0.2,
    mode="client-distributed",
    unit="client",
    relation="zero-out",
    against="the server, other clients, and whoever sees the models",
    epsilon=SPENT,
    delta=1e-5,
    budget=4.0,
    population=50,
)

VERSIONS = (
    ("privfl, this audit", "0.1.0"),
    ("privfl, the run", "0.1.0"),
    ("Python", "3.11.2"),
    ("numpy", "2.3.4"),
    ("dp-accounting", "0.6.0"),
)

CURVE = tuple((10.0**-power, rdp(4.7, 10, 10.0**-power)) for power in range(2, 13))


def audit(**changes):
    values = {
        "source": "runs/private_hospitals",
        "kind": "run",
        "layers": tuple(Layer),
        "claim": CLAIM,
        "findings": FINDINGS,
        "opinions": {"pld": None, "rdp": SPENT, "formula": SPENT + 0.0007},
        "reported": "rdp",
        "curve": CURVE,
        "rounds": tuple(round_audit(n, 41 + n * 7 % 9) for n in range(1, 11)),
        "measured": MEASURED,
        "clients": tuple(
            ClientSpending(
                client=f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}", sessions=10 - n % 4, epsilon=rdp(4.4, 10 - n % 4)
            )
            for n in range(1, 51)
        ),
        "unprotected": ("held-out accuracy: excluded when the ledger opened, because its data are the server's own",),
        "hazards": HAZARDS,
        "assurances": ASSURANCES,
        "versions": VERSIONS,
        "digests": tuple(
            (name, f"{index:x}{DIGEST[1:]}")
            for index, name in enumerate(("ledger.jsonl", "evidence.jsonl", "job.toml", "clients/0.jsonl"))
        ),
        "command": "privfl audit runs/private_hospitals --report audit.html",
    }
    return Audit(**(values | changes))


def failing():
    broken = (
        finding(
            "epsilon",
            FAIL,
            title="ε is at most what is claimed",
            detail=f"The closing record claims ε = {SPENT:.6g} at δ = 1e-05, and what was charged costs 4.6.",
            where="ledger.jsonl, line 12",
        ),
        finding(
            "budget",
            FAIL,
            title="The budget was kept",
            detail="Round 9 overran it: ε would be 4.112, and the budget is 4.",
            where="ledger.jsonl, line 10",
        ),
        finding(
            "drop-outs",
            FAIL,
            title="Clients that dropped out are not counted as adding noise",
            detail="Round 4 is charged for 50 contributors; 31 uploads left the clients, and 31 are in the sum.",
            where="ledger.jsonl, line 5",
            rests_on=Word.COORDINATOR,
        ),
        finding(
            "uploads",
            FAIL,
            CONFORMITY,
            title="No clear update, weight or metric left a client",
            detail="Round 6: the vector of client 17 is no ring element in disguise: its words lie within 2^12 of 0.",
            where="evidence.jsonl, line 231",
            rests_on=Word.COORDINATOR,
        ),
        finding(
            "canaries",
            FAIL,
            EMPIRICAL,
            title="Attacks on canaries do not contradict the claim",
            detail="One run says ε ≥ 5.24 with 95 % confidence, and 3.62 is claimed.",
            rests_on=Word.COORDINATOR,
        ),
        finding(
            "rounds",
            OPEN,
            title="Every sum that was released was charged, and every charge is shown",
            detail="Rounds [8] were charged, and no session of theirs is shown.",
            where="evidence.jsonl",
            missing="evidence of those rounds, or word of a crash between the two",
        ),
    )
    keys = {(one.layer, one.key) for one in broken}
    rounds = [round_audit(n, 41 + n * 7 % 9, epsilon=0.46 * n) for n in range(1, 11)]
    rounds[3] = round_audit(4, 50, uploads=31, effective=4.6, epsilon=1.84)
    rounds[6] = round_audit(7, charges=0, contributors=None, uploads=44, planned=None, effective=None, epsilon=2.76)
    rounds[7] = round_audit(8, 42, released=None, cohort=None, uploads=None, charges=2, epsilon=3.68)
    rounds[8] = round_audit(9, 44, released=False, effective=3.1, epsilon=4.112)
    worst = dataclasses.replace(MEASURED[0], epsilon=5.24, correct=97, inside=scores(3.5, 498, 4))
    blind = dataclasses.replace(MEASURED[1], control=2.0, detectable=None)
    bare = dataclasses.replace(MEASURED[2], control=None)
    return audit(
        findings=(*(one for one in FINDINGS if (one.layer, one.key) not in keys), *broken),
        opinions={"pld": None, "rdp": 4.6, "formula": 4.6007},
        rounds=tuple(rounds),
        measured=(worst, blind, bare),
        clients=(
            ClientSpending(client="00ff00ff00ff00ff", sessions=12, epsilon=4.4, budget=4.0),
            ClientSpending(client="1122334455667788", sessions=9, epsilon=3.1, budget=4.0),
        ),
        unprotected=("mean of the labels: in round 6, and counted as ε = ∞",),
    )


def bare_ledger(rounds=1000):
    missing = (
        finding(
            "writer",
            OPEN,
            title="One coordinator signed it all, and it is the one that is known",
            detail=f"All signatures are by {DIGEST}, a key that nothing but the file itself names.",
            missing="the coordinator's public key from elsewhere (`--signer`), or the run's evidence: anybody can "
            "write a ledger that is consistent with a key of its own",
            rests_on=Word.COORDINATOR,
        ),
        finding(
            "rounds",
            OPEN,
            title="Every sum that was released was charged, and every charge is shown",
            detail=f"{rounds} charges; which sums were released was not shown.",
            missing="evidence.jsonl, which tells what was released",
        ),
    )
    kept = tuple(one for one in FINDINGS if one.key in {"ledger", "accountants", "epsilon", "budget"})
    return audit(
        source="ledger.jsonl",
        kind="ledger",
        findings=(*kept, *missing),
        claim=dataclasses.replace(
            CLAIM,
            secure=False,
            suite="",
            server="",
            corrupt=None,
            dropout=None,
            mode="client-central",
            against="other clients and whoever sees the models; not the server, which adds the noise",
            budget=None,
            epsilon=None,
            population=20_000,
        ),
        assurances=(
            Assurance(
                part="All of it",
                honest="the coordinator, and whoever handed this file over: nothing else was shown",
                shown="",
            ),
        ),
        opinions={"pld": rdp(14.0, 1000), "rdp": rdp(14.0, 1000) + 0.9, "formula": rdp(14.0, 1000) + 0.0005},
        reported="pld",
        rounds=tuple(
            round_audit(
                n,
                950 + n * 37 % 60,
                released=None,
                cohort=None,
                uploads=None,
                planned=22.0,
                effective=22.0 if n != 617 else 11.0,
                epsilon=rdp(14.0, n),
            )
            for n in range(1, rounds + 1)
        ),
        curve=tuple((10.0**-power, rdp(14.0, 1000, 10.0**-power)) for power in range(2, 13)),
        measured=(),
        clients=(),
        unprotected=(),
        digests=(("ledger.jsonl", DIGEST),),
        command="privfl audit ledger.jsonl",
    )


def without_privacy():
    return audit(
        source="runs/demo",
        claim=Claim(secure=True, suite="masking", server="active", corrupt=0.1, dropout=0.3),
        findings=(
            finding(
                "ledger",
                NONE,
                title="The ledger is whole: hashes, signatures, closing record",
                detail="No differential privacy is claimed, and there is no ledger.",
            ),
            *(one for one in FINDINGS if one.key in {"uploads", "known-sums"}),
        ),
        opinions={},
        reported="",
        curve=(),
        rounds=tuple(RoundAudit(round=n, released=n != 2, cohort=10, uploads=10 - n % 3) for n in range(1, 6)),
        measured=(),
        clients=(),
        unprotected=(),
        hazards=(),
        assurances=ASSURANCES[1:],
    )


def central():
    return audit(
        source="runs/plain_central",
        claim=dataclasses.replace(
            CLAIM,
            secure=False,
            suite="plain",
            mode="client-central",
            against="other clients and whoever sees the models; not the server, which adds the noise",
        ),
        layers=(RECOMPUTATION, CONFORMITY),
        findings=tuple(one for one in FINDINGS if one.layer is not EMPIRICAL),
        opinions={"pld": 3.21207, "rdp": SPENT, "formula": 3.21205},
        reported="pld",
        measured=(),
        clients=(),
        unprotected=(),
    )


CASES = {
    "pass": audit(),
    "fail": failing(),
    "inconclusive": bare_ledger(),
    "without privacy": without_privacy(),
    "central": central(),
}


def section(page, key):
    start = page.index(f'<section id="{key}"')
    return page[start : page.index("</section>", start)]


def text_of(part):
    """What a reader sees of a part of a page, every stretch of white space as one space."""
    bare = re.sub(r"<style>.*?</style>|<wbr>|</?(?:code|strong|span)\b[^>]*>", "", part, flags=re.DOTALL)
    return re.sub(r"[ \n\u00a0]+", " ", html.unescape(re.sub(r"<[^>]*>", " ", bare)))


def rows(page):
    return [text_of(row) for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL)]


def drawings(page):
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_report_is_well_formed(case):
    page = render_audit(case)
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert len(parsed.keys) == len(set(parsed.keys))
    assert not re.search(r"\b(nan|inf)\b|\bNone\b(?!:| is| was| of)", parsed.text)
    for drawing in drawings(page):
        root = ET.fromstring(drawing)  # noqa: S314 - our own
        assert [child.tag for child in root[:2]] == ["title", "desc"]
        assert not re.search(r"\b(nan|inf)\b", drawing)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_guarantee_1_it_refers_to_nothing_outside_itself(case):
    page = render_audit(case)
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "form", "img"} & set(parsed.tags)
    for _, name, value in parsed.attributes:
        assert not name.startswith("on")
        assert name not in {"src", "srcset", "action"}
        assert name != "href" or value[1:] in parsed.keys
    assert not re.search(r"url\(|@import|https?:|src=", page)
    assert "default-src 'none'" in page


EVIL = "<script>alert(1)</script>\"'&`<b>`http://evil.example/\x00\u202e\udc80"


def hostile(value, key=""):
    """The same audit, and every text that files could have put there is evil."""
    if dataclasses.is_dataclass(value):
        kept = {"relation", "mode", "kind"}  # decide what is said; of any other value only the name is said
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(
            value, **{name: getattr(value, name) if name in kept else hostile(getattr(value, name)) for name in names}
        )
    if type(value) is str:
        return f"{EVIL}{value}"
    if isinstance(value, tuple):
        return tuple(hostile(part) for part in value)
    return value


def test_guarantee_2_every_text_is_escaped():
    for case in CASES.values():
        page = render_audit(hostile(case))
        parsed = Page(page)
        assert "<script" not in page
        assert "<b>" not in page
        assert parsed.text.count("<script>alert(1)</script>") > 15
        assert not {"script", "b"} & set(parsed.tags)
        assert not [value for _, name, value in parsed.attributes if name in {"href", "src"} and "evil" in value]
        for drawing in drawings(page):
            ET.fromstring(drawing)  # noqa: S314 - our own
    for field in ("relation", "mode", "unit", "server"):
        changed = audit(claim=dataclasses.replace(CLAIM, **{field: EVIL}), kind=EVIL, reported=EVIL)
        assert "<script" not in render_audit(changed)
    assert "<script" not in render_audit(audit(opinions={EVIL: 1.0}, reported=EVIL))


def test_guarantee_2_characters_that_nobody_sees_are_replaced():
    odd = "a\u202eLIAF\u202c \u200b\x00\x1b\udcff\ufeff.jsonl"
    page = render_audit(audit(source=odd, digests=((f"x\n{DIGEST}  forged\u2028", DIGEST),)))
    page.encode("utf-8")
    assert not re.search("[\u200b\u202a-\u202e\u2028\ufeff\x00\x1b\udcff]", page)
    assert "LIAF" in page
    listing = page[page.index("sha256sum") :]
    assert f"{DIGEST}  x\ufffd{DIGEST}  forged" in listing  # one line, not two


def test_guarantee_3_equal_audits_give_equal_bytes():
    assert render_audit(audit()) == render_audit(audit())
    assert render_audit(failing()) == render_audit(failing())


VERDICTS = {
    "pass": "PASS: nothing found that contradicts what is claimed",
    "fail": "FAIL: what is claimed does not hold",
    "inconclusive": "INCONCLUSIVE: what is claimed is not shown",
    "without privacy": "PASS: secure aggregation alone; no differential privacy is claimed",
    "central": "PASS: nothing found that contradicts what is claimed",
}


@pytest.mark.parametrize("name", CASES)
def test_guarantee_4_the_heading_is_the_verdict(name):
    page = render_audit(CASES[name])
    assert f"<h1>{VERDICTS[name]}</h1>" in page
    assert f"<title>{VERDICTS[name]}</title>" in page


@pytest.mark.parametrize("place", [0, 5, 11])
@pytest.mark.parametrize(("outcome", "word"), [(FAIL, "FAIL"), (OPEN, "INCONCLUSIVE")])
def test_guarantee_4_one_finding_decides_wherever_it_stands(place, outcome, word):
    findings = (*FINDINGS[:place], finding("odd", outcome), *FINDINGS[place:])
    assert f"<h1>{word}: " in render_audit(audit(findings=findings))
    if outcome is OPEN:
        assert "<h1>FAIL: " in render_audit(audit(findings=(*findings, finding("worse", FAIL, EMPIRICAL))))


def test_guarantee_4_reasons_stand_before_all_else_those_that_failed_first():
    case = failing()
    page = render_audit(case)
    opening = page[: page.index("<section")]
    for one in case.reasons:
        for part in (one.title, one.detail, one.where, one.missing):
            assert part in text_of(opening[opening.index('class="banner') :] if part else opening)
    assert opening.index('class="banner alarm"') < opening.index('class="banner caution"')
    assert "5 checks failed" in opening
    assert "1 check could not be decided" in opening
    assert "Missing: evidence of those rounds, or word of a crash between the two." in text_of(opening)
    assert "“The budget was kept” (budget): not so. Round 9 overran it" in text_of(opening)
    assert 'class="banner' not in render_audit(audit())
    calm = render_audit(bare_ledger(3))
    assert 'class="banner alarm"' not in calm
    assert 'class="banner caution"' in calm


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_guarantee_5_every_finding_stands_in_its_layer_with_its_outcome(case):
    page = render_audit(case)
    words = {PASS: "✓ pass", FAIL: "✗ FAIL", OPEN: "? inconclusive", NONE: "– not claimed"}
    for layer in Layer:
        found = rows(section(page, layer.value))
        due = [one for one in case.findings if one.layer is layer]
        assert len(found) == (len(due) + 1 if due else 0)
        for one, row in zip(due, found[1:], strict=False):
            assert row.strip().startswith(f"{words[one.outcome]} {one.key}")
            for part in (one.title, one.detail.replace("`", ""), one.where, one.missing.replace("`", "")):
                assert part in row
    tones = {PASS: "", FAIL: "alarm", OPEN: "caution", NONE: "muted"}
    for one in case.findings:
        start = page.rindex(
            "<tr", 0, page.index(f"<code>{one.key}</code>", page.index(f'id="{one.layer.value}-table"'))
        )
        assert (f'class="{tones[one.outcome]}"' in page[start : start + 24]) == bool(tones[one.outcome])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_guarantee_5_every_release_without_noise_is_named(case):
    told = text_of(section(render_audit(case), "releases"))
    for release in case.unprotected:
        assert release in told
    if case.claim.mode == "none":
        assert "All of them" in told
    elif not case.unprotected:
        assert "None is known" in told
    many = tuple(f"release number {number}" for number in range(300))
    told = text_of(section(render_audit(dataclasses.replace(case, unprotected=many)), "releases"))
    assert all(f"{one} " in told for one in many)
    assert "300 kinds of release without noise" in told


def measured(**changes):
    return dataclasses.replace(MEASURED[0], **changes)


def attacks(*found):
    return section(render_audit(audit(measured=found)), "attacks")


def test_guarantee_6_an_attack_without_a_control_is_said_to_be_one():
    sound = attacks(measured())
    assert "✓ Without noise, the same attack finds ε ≥ 5.31, more than is claimed, as it must." in text_of(sound)
    assert "✗" not in sound
    none = attacks(measured(control=None))
    assert "✗ None was run" in text_of(none)
    assert "✗ none" in rows(none)[1]
    for control in (0.0, SPENT, math.nan):
        blind = attacks(measured(control=control))
        assert "it does not find what is there to be found, and its result says nothing" in text_of(blind)
        assert "✗" in rows(blind)[1]
        assert '<tr class="caution">' in blind
    assert '<tr class="caution">' in none
    assert '<tr class="caution">' not in sound


def test_a_bound_above_the_claim_is_an_alarm_and_an_estimate_is_not():
    against = attacks(measured(epsilon=5.24))
    assert 'class="alarm"' in against
    assert "which contradicts the 3.45 that is claimed" in text_of(against)
    assert 'class="dot alarming"' in against
    # As the report rounds them, the two are equal: it takes more digits.
    close = attacks(measured(epsilon=SPENT + 2e-5))
    assert "ε ≥ 3.45494 with 95" in text_of(close)
    assert "the 3.45492 that is claimed" in text_of(close)
    assert "≥ 3.45494 95\u202f% 3.45492 5.31" in rows(close)[1]
    assert 'class="alarm"' in attacks(measured(claimed=math.nan))
    for one in (measured(epsilon=5.24, is_bound=False, confidence=None), measured(epsilon=9.0, claimed=math.inf)):
        assert 'class="alarm"' not in attacks(one)
        assert "contradicts" not in text_of(attacks(one))
    assert "it bounds nothing" in text_of(attacks(measured(is_bound=False, confidence=None)))
    assert "Nothing is promised of what was attacked" in text_of(attacks(measured(claimed=math.inf)))


def test_power_is_told():
    assert "A true ε of 6.40 or more would have been noticed nine times of ten" in text_of(attacks(measured()))
    assert "None: no true ε, however large" in text_of(attacks(measured(detectable=None)))


def test_scores_are_drawn_where_there_are_any():
    assert len(drawings(attacks(*MEASURED))) == 3
    assert len(drawings(attacks(measured(inside=(), outside=())))) == 1
    odd = measured(inside=(1.0, math.nan, math.inf), outside=(1.0,))
    assert "2 scores that were no finite number are left out" in attacks(odd)
    assert len(drawings(attacks(measured(inside=(math.nan,), outside=())))) == 1


def test_a_pass_says_for_which_layers():
    page = render_audit(central())
    opening = text_of(page[: page.index("<section")])
    assert "not asked for: empirical audit" in opening
    assert "Empirical audit – not asked" in opening
    assert "Nothing was checked under: empirical audit." in opening
    assert "It was not asked for" in section(page, "empirical")
    assert "Nobody asked for the empirical audit" in section(page, "attacks")
    page = render_audit(audit(findings=FINDINGS[:3], measured=()))
    opening = text_of(page[: page.index("<section")])
    assert "Conformity – no checks" in opening
    assert "Nothing was checked under: conformity, empirical audit." in opening
    assert "✓ pass" not in text_of(section(page, "conformity"))


def test_what_is_claimed_and_what_was_recomputed_look_different_if_they_are():
    page = render_audit(audit(opinions={"rdp": SPENT + 2e-5}, reported="rdp"))
    opening = text_of(page[: page.index("<section")])
    assert "ε, recomputed 3.45494" in opening
    assert "claimed: 3.45492; budget: 4" in opening
    assert "claimed: 3.455; budget: 4" in text_of(render_audit(audit()))


def test_another_delta_is_told_apart_from_the_claim():
    other = audit(at_delta=1e-7, opinions={"rdp": 4.25}, reported="rdp")
    page = render_audit(other)
    opening = text_of(page[: page.index("<section")])
    assert "ε, recomputed 4.250 claimed: 3.455, at δ = 10⁻⁵; budget: 4 δ 10⁻⁷" in opening
    told = text_of(section(page, "claim"))
    assert "What is claimed: ε = 3.455 at δ = 10⁻⁵" in told
    assert "Recomputed from all that was charged: ε = 4.250 at δ = 10⁻⁷." in told
    assert "ε = 4.250 at δ = 10⁻⁷" in drawings(section(page, "claim"))[0]
    assert "ε = 4.250 at δ = 10⁻⁷" in text_of(section(page, "accountants"))
    assert render_audit(audit(at_delta=1e-5)) == render_audit(audit())


def test_epsilon_of_some_rounds_is_one_line():
    some = tuple(round_audit(n, epsilon=rdp(4.7, n) if n % 5 == 0 else None) for n in range(1, 101))
    told = section(render_audit(audit(rounds=some)), "claim")
    assert drawings(told)[1].count('<path class="stroke"') == 1
    assert "It was recomputed after 20 of them." in told


def test_the_claim_is_told_in_words():
    told = text_of(section(render_audit(audit()), "claim"))
    for part in (
        "What is claimed: ε = 3.455 at δ = 10⁻⁵ for one client, and to protect against the server, other clients",
        "Recomputed from all that was charged: ε = 3.455.",
        "Neighbours (zero-out): a client’s updates, or zeros in their place.",
        "is right at most 96.9\u202f% of the time",
        "No more than ε = 4 may be spent",
        "up to 10.0\u202f% of a cohort",
        "honest but curious",
        "client-distributed; noise is added by every client a share",
    ):
        assert part in told
    example = dataclasses.replace(CLAIM, mode="example", unit="example")
    assert "an example’s gradients, or zeros" in text_of(section(render_audit(audit(claim=example)), "claim"))
    assert "promises little" in text_of(section(render_audit(bare_ledger(3)), "claim"))
    assert "promises little" not in told
    gives = dataclasses.replace(CLAIM, delta=0.02)
    assert "δ is not below one in 50" in text_of(section(render_audit(audit(claim=gives)), "claim"))


def test_without_privacy_the_page_says_so_and_what_was_checked_instead():
    page = render_audit(without_privacy())
    opening = text_of(page[: page.index("<section")])
    assert "No claim of differential privacy is made" in opening
    told = text_of(section(page, "claim"))
    assert "No claim of differential privacy is made: no noise was added, and there is no ε." in told
    assert "No clear update, weight or metric left a client: ✓ pass" in told
    assert "The ledger is whole" not in told  # nothing of the kind is claimed
    for key in ("accountants", "clients"):
        assert "No differential privacy is claimed" in section(page, key) or "no differential privacy" in page
    nothing = dataclasses.replace(without_privacy(), claim=Claim(secure=False, suite="plain"))
    page = render_audit(nothing)
    assert "<h1>PASS: nothing is claimed that could be contradicted</h1>" in page
    assert 'class="banner alarm"' in page
    assert "Neither secure aggregation nor differential privacy is claimed" in page


def test_without_secure_aggregation_the_page_says_what_that_means():
    def opening(mode):
        claim = dataclasses.replace(central().claim, mode=mode)
        page = render_audit(dataclasses.replace(central(), claim=claim))
        return page[: page.index("<section")]

    for mode in ("client-central", "client-distributed", "example"):
        assert "The server reads every update: under <code>plain</code>" in opening(mode)
        assert ('class="banner alarm"' in opening(mode)) == (mode == "client-distributed")
    assert "against the server the claim does not hold" in opening("client-distributed")
    assert "The server reads every update" not in render_audit(bare_ledger(3))  # which suite it was is not known
    assert "The server reads every update" not in render_audit(audit())


def test_who_must_be_honest_and_for_what_nothing_was_shown():
    told = section(render_audit(audit()), "trust")
    for one in ASSURANCES:
        assert one.part in told
        assert one.honest in told
        assert one.shown in told
    assert "! nothing: it is their word alone" in told
    assert "1 rests on somebody’s word alone" in text_of(told)


def test_hazards_one_by_one_and_open_ones_marked():
    told = section(render_audit(audit()), "hazards")
    assert "2 leave something to worry about: Timing, Tuning." in text_of(told)
    for one, row in zip(HAZARDS, rows(told)[1:], strict=True):
        assert one.name in row
        assert one.answer in row
        assert ("! open" if one.open else "✓ answered") in row
    assert "None of 5 hazards is left open" in text_of(
        section(render_audit(audit(hazards=tuple(dataclasses.replace(one, open=False) for one in HAZARDS))), "hazards")
    )


def test_rounds_are_told_with_what_is_odd_about_them():
    found = rows(section(render_audit(failing()), "rounds"))[1:]
    odd = {int(row.split()[0]): row for row in found if "✗" in row or "!" in row}
    assert sorted(odd) == [4, 7, 8, 9]
    assert "✗ charged for more than were heard" in odd[4]
    assert "✗ opened, never charged" in odd[7]
    assert "! charged 2 times" in odd[8]
    assert "! charged, not opened; ! less noise than planned" in odd[9]
    assert "Remark" not in section(render_audit(audit()), "rounds")
    assert "never charged" not in text_of(render_audit(without_privacy()))


def test_a_thousand_rounds_stay_light_and_no_dip_is_lost():
    page = render_audit(bare_ledger(1000))
    assert len(page.encode()) < 1_500_000
    told = section(page, "rounds")
    shown, folded = told.split("<details>")
    assert any(row.startswith(" 617 ") and "less noise than planned" in row for row in rows(shown))
    assert [int(row.replace("\u202f", "").split()[0]) for row in rows(folded)[1:]] == list(range(1, 1001))
    assert "The charts are thinned: of every 9 rounds" in shown
    lowest = max(float(y) for y in re.findall(r"L[\d.]+ ([\d.]+)", drawings(shown)[0]))
    base = next(float(y) for y in re.findall(r'class="axis" x1="[\d.]+" y1="([\d.]+)"', drawings(shown)[0]))
    assert base - lowest == pytest.approx(190 * 11 / 25, abs=1)  # z = 11 on an axis up to 25
    page = render_audit(bare_ledger(5000))
    assert len(page.encode()) < 1_500_000
    assert "3\u202f000 between are in the JSON" in page
    assert "617" in section(page, "rounds").split("<details>")[0]


def test_few_rounds_are_not_folded():
    assert "<details>" not in render_audit(bare_ledger(MOST_ROWS))
    assert "<details>" in render_audit(bare_ledger(MOST_ROWS + 1))


def test_reasons_that_are_alike_are_said_once_with_all_their_names():
    gone = {"detail": "What left the clients was not shown.", "missing": "evidence.jsonl"}
    alike = (finding("a", OPEN, **gone), finding("b", OPEN, **gone), finding("c", OPEN, detail=gone["detail"]))
    page = render_audit(audit(findings=(*FINDINGS, *alike)))
    opening = text_of(page[: page.index("<section")])
    assert "? 3 checks could not be decided" in opening
    assert (
        "“The check a holds” (a), “The check b holds” (b): not shown. What left the clients was not shown." in opening
    )
    assert opening.count("What left the clients was not shown.") == 2


def test_rounds_of_which_many_are_odd_show_the_loudest():
    many = [round_audit(n, charges=2) for n in range(1, 400)]
    many[321] = round_audit(322, charges=0)
    shown = section(render_audit(audit(rounds=tuple(many))), "rounds").split("<details>")[0]
    assert "opened, never charged" in text_of(shown)
    assert "those with a remark, of which 100 are shown here" in text_of(shown)
    assert "399 rounds with a remark" in text_of(shown)


def test_accountants_their_gap_and_which_is_quoted():
    told = section(render_audit(central()), "accountants")
    assert "that of PLD: ε = 3.212 at δ = 10⁻⁵. The others differ, at the most, from it by 0.243" in text_of(told)
    assert [("quoted" in row) for row in rows(told)[1:]] == [True, False, False]
    assert "does not apply" in section(render_audit(audit()), "accountants")
    same = audit(opinions={"rdp": 3.0, "formula": 3.0}, reported="rdp")
    assert "The other opinion is the same." in section(render_audit(same), "accountants")
    alone = audit(opinions={"rdp": 3.0}, reported="rdp")
    assert "there is no second opinion" in section(render_audit(alone), "accountants")
    assert "Nothing that was charged could be recomputed" in render_audit(audit(opinions={}, reported=""))


def test_clients_beyond_their_budget_are_all_listed():
    clients = tuple(
        ClientSpending(client=f"{n:016x}", sessions=n, epsilon=n / 10, budget=4.0 if n % 2 else 100.0)
        for n in range(1, 121)
    )
    told = section(render_audit(audit(clients=clients)), "clients")
    over = [row for row in rows(told)[1:] if "✗ beyond its budget" in row]
    assert len(over) == sum(one.epsilon > 4.0 for one in clients if one.budget == 4.0)
    assert "120 clients showed what they spent: ε = 12.00 at the most, 6.050 in the median" in text_of(told)
    assert "80 other clients spent up to ε = 12.00" in text_of(told)
    assert "Budget" not in section(render_audit(audit()), "clients")


def test_versions_digests_and_command():
    told = section(render_audit(audit()), "rerun")
    for name, value in (*VERSIONS, *audit().digests):
        assert name in told
        assert value in told
    assert "privfl audit runs/private_hospitals --report audit.html" in told
    gone = text_of(section(render_audit(audit(digests=(("metrics.jsonl", "cannot be read"),))), "rerun"))
    assert "metrics.jsonl: cannot be read" in gone
    assert "sha256sum" not in gone


def test_whatever_is_missing_is_said_in_a_sentence():
    empty = Audit(
        source="runs/empty",
        kind="run",
        layers=tuple(Layer),
        claim=dataclasses.replace(CLAIM, epsilon=None, delta=None, unit="", relation="", against="", population=None),
        findings=(),
    )
    page = render_audit(empty)
    assert "<h1>INCONCLUSIVE: nothing was checked</h1>" in page
    assert "Nothing was checked." in page[: page.index("<section")]
    assert "<table" not in page
    assert "<svg" not in page
    assert not re.search(r"\bNone\b(?! is known)", text_of(page))
    for key in re.findall(r'<section id="([a-z]+)"', page):
        assert len(text_of(section(page, key))) > 40
    for one in ("No round is known", "could be recomputed", "Nothing was recorded", "They were not gone through"):
        assert one in page


def test_numbers_that_are_none_are_taken_calmly():
    for odd in (math.nan, math.inf, -math.inf, 0.0, 1e300):
        page = render_audit(
            audit(
                claim=dataclasses.replace(CLAIM, epsilon=odd, delta=odd, budget=odd, corrupt=odd, dropout=odd),
                opinions={"pld": odd, "rdp": 1.0, "formula": odd},
                reported="pld",
                curve=((odd, odd), (1e-5, odd), (odd, 1.0), (0.0, 1.0)),
                rounds=tuple(round_audit(n, planned=odd, effective=odd, epsilon=odd) for n in (1, 2)),
                measured=tuple(
                    measured(
                        epsilon=odd, claimed=claimed, control=odd, detectable=odd, inside=(odd, 1.0), confidence=odd
                    )
                    for claimed in (odd, 1.0)
                ),
                clients=(ClientSpending(client="ab", sessions=1, epsilon=odd, budget=odd),),
            )
        )
        parsed = Page(page)
        assert not re.search(r"\b(nan|inf)\b", parsed.text)
        for drawing in drawings(page):
            assert not re.search(r"\b(nan|inf)\b", drawing)
            ET.fromstring(drawing)  # noqa: S314 - our own


ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)
MAYBE = st.none() | ANY_FLOAT
WORDS = {"key": "chart", "title": "T", "description": "D"}


def within(drawing):
    assert "nan" not in drawing
    assert not re.search(r"\binf\b", drawing)
    root = ET.fromstring(drawing)  # noqa: S314 - our own
    width = float(root.get("viewBox").split()[2])
    for place in re.findall(r'(?:x1|x2|cx)="(-?[\d.]+)"|translate\((-?[\d.]+) ', drawing):
        assert -0.1 <= float(place[0] or place[1]) <= width + 0.1
    return root


@given(st.lists(st.tuples(ANY_FLOAT, st.booleans(), ANY_FLOAT, MAYBE, MAYBE), max_size=4))
def test_intervals_draw_whatever_was_found(found):
    intervals = tuple(
        Interval(label="<a>" * 40, text="", found=a, bounds=b, claimed=c, control=d, detectable=e)
        for a, b, c, d, e in found
    )
    within(interval_chart(Intervals(**WORDS, rows=intervals)))


@given(st.lists(st.tuples(ANY_FLOAT, ANY_FLOAT), max_size=6), st.none() | st.tuples(ANY_FLOAT, ANY_FLOAT))
def test_a_curve_draws_whatever_was_recomputed(points, quoted):
    within(epsilon_curve(EpsilonCurve(**WORDS, points=tuple(points), quoted=quoted)))


def test_a_curve_has_powers_of_ten_below_it_and_a_dot_where_it_is_quoted():
    root = within(epsilon_curve(EpsilonCurve(**WORDS, points=CURVE, quoted=(1e-5, SPENT))))
    labels = [one.text for one in root.iter("text")]
    assert {"10⁻¹²", "10⁻⁴", "10⁻²", "δ", "ε = 3.455 at δ = 10⁻⁵"} <= set(labels)
    dot = [one for one in root.iter("circle") if one.get("r") == "5" and one.find("title") is not None]
    ticks = {one.text: float(one.get("x")) for one in root.iter("text")}
    assert len(dot) == 1
    assert ticks["10⁻⁶"] < float(dot[0].get("cx")) < ticks["10⁻⁴"]


def test_intervals_reach_from_what_was_found_to_the_edge():
    base = {"text": "", "bounds": True, "claimed": 4.0}
    chart = Intervals(**WORDS, rows=(Interval(label="a", found=1.0, control=50.0, **base),))
    root = within(interval_chart(chart))
    bands = [one for one in root.iter("rect") if one.find("title") is not None]
    assert len(bands) == 1
    claim = next(one for one in root.iter("line") if one.find("title") is not None)
    start = float(bands[0].get("x"))
    assert (float(claim.get("x1")) - 6) == pytest.approx(4 * (start - 6), abs=0.5)
    assert start + float(bands[0].get("width")) == pytest.approx(447, abs=0.2)  # the rest is the arrow
    assert not [one for one in root.iter("circle") if "alarming" in one.get("class")]
    against = Intervals(**WORDS, rows=(Interval(label="a", found=5.0, **base),))
    assert len([one for one in within(interval_chart(against)).iter("circle") if "alarming" in one.get("class")]) == 1
