"""What notebooks on privacy budgets, audits and `ckks` are there to say, looked for in what they printed."""

import math
import re
import statistics

from notebook_outputs import texts


def shows_the_attack(notebook):
    said = texts(notebook)
    assert "8192 of 8192 coefficients are -1, 0 or 1" in said
    assert float(re.search(r"as the server has it:.*\noff by at most (\S+)", said)[1]) < 1e-6
    assert re.search(r"from the released sum: +0 of 4096", said)
    assert re.search(r"from the opened sum, all its digits: +0 of 4096", said)
    known = re.findall(r"(\d) of 3 floods known: +(\d+) of 4096", said)
    assert known == [("0", "0"), ("1", "0"), ("2", "0"), ("3", "4096")]


def keeps_its_promises(notebook):
    pairs = re.findall(r"measured (\S+), promised (\S+)", texts(notebook))
    assert len(pairs) == 6
    for measured, promised in pairs:
        assert float(measured) <= 1.05 * float(promised)


def reaches_its_points(notebook):
    said = texts(notebook)
    rows = re.findall(r"^(?:hospitals|digits), .*ε = \d +([\d. ]+)   ([\d. ]+)   (0\.\d\d): (\w+)$", said, re.MULTILINE)
    assert len(rows) == 3
    for private, _, bar, verdict in rows:
        assert verdict == "reached"
        assert statistics.median(map(float, private.split())) >= float(bar)


def counts_who_dropped_out(notebook):
    table = re.findall(r"^ +(\d+) % +([\d.]+) +([\d.]+|aborts)$", texts(notebook), re.MULTILINE)
    assert [row[:2] for row in table] == [
        ("0", "3.50"),
        ("10", "3.92"),
        ("30", "5.18"),
        ("50", "7.69"),
        ("60", "10.10"),
    ]
    assert [row[2] for row in table][-2:] == ["3.50", "aborts"]
    assert all(float(ours) <= 3.50 for _, _, ours in table[:-1])


def stays_within_its_budget(notebook):
    said = texts(notebook)
    spent = re.findall(r"spent ([\d.]+) by PLD, ([\d.]+) by RDP; planned ([\d.]+) of (\d)", said)
    assert len(spent) == 3
    for row in spent:
        pld, rdp, planned, budget = map(float, row)
        assert pld <= rdp <= planned <= budget
    assert re.search(r"2 of 10 rounds, ε spent: (\S+)", said)
    assert "refused: privacy.delta is 0.02 with 50 clients" in said


def audits_an_honest_run(notebook):
    said = texts(notebook)
    assert re.findall(r"^(\w+): pass$", said, re.MULTILINE)[0] == "recomputation"  # arithmetic only: no chance in it
    assert re.search(r"^verdict: (pass|inconclusive)$", said, re.MULTILINE)  # doubted once in a few hundred
    claimed, pld, rdp = re.search(r"claimed (\S+) at .* recomputed: pld (\S+)   rdp (\S+)", said).groups()
    assert claimed == pld
    assert float(pld) <= float(rdp)
    effective = [float(row) for row in re.findall(r"^ +\d +2[14] +1\.876 +(\S+) +\S+$", said, re.MULTILINE)]
    assert len(effective) == 3
    assert effective[1] < effective[0] == effective[2]
    assert float(re.search(r"own ledgers the 24 clients spent (\S+)", said)[1]) > float(claimed)


def catches_what_it_plants(notebook):
    rows = re.findall(r"^(\w[^:\n]+?) {2,}(fail|pass|inconclusive) +(.*)$", texts(notebook), re.MULTILINE)
    caught = {name: (verdict, by) for name, verdict, by in rows}
    for name, by in (
        ("a byte changed", "evidence (conformity)"),
        ("0.7 of the noise, by the server", "noise-added (conformity)"),
        ("0.7 of the noise, by the clients", "noise-added (conformity)"),
        ("a charge removed", "metrics (recomputation), rounds (recomputation)"),
    ):
        assert caught[name] == ("fail", by)
    verdict, by = caught["a round removed"]
    assert verdict == "fail"
    assert {"receipts (recomputation)", "probes (conformity)"} <= set(by.split(", "))
    verdict, by = caught["and its receipts withheld"]
    assert verdict == "fail"
    assert "probes (conformity)" in by
    assert "(recomputation)" not in by


def gives_false_comfort(notebook):
    row = r"^(nobody dropped|half dropped|no noise at all) +(\S+) +(\S+) +(\S+) +(\d+) of 200 +(\d+) of 200$"
    rows = {name: rest for name, *rest in re.findall(row, texts(notebook), re.MULTILINE)}
    claimed = float(re.search(r"claimed of the round: ε = (\S+)", texts(notebook))[1])
    true, *bounds, attacks, residuals = map(float, rows["half dropped"])
    assert true > 1.4 * claimed > 1.4 * max(bounds)
    assert attacks <= 2
    assert residuals == 200
    assert rows["nobody dropped"][0] == f"{claimed:.2f}"
    assert rows["nobody dropped"][-2:] == ["0", "0"]
    assert rows["no noise at all"][-2:] == ["200", "200"]


def says_what_it_could_have_seen(notebook):
    said = texts(notebook)
    at_best = re.findall(r"^ +(64|256|1024|4096) +(\S+) +(\S+)   ", said, re.MULTILINE)
    assert [row[1:] for row in at_best] == [("2.32", "4.94"), ("3.74", "7.59"), ("5.11", "9.96"), ("6.42", "12.19")]
    assert re.search(r"^ +64 .* never;", said, re.MULTILINE)
    assert "64: 0.50, 128: 0.63, 512: 0.80, 4096: 0.92, 100000: 0.98" in said


def estimates_the_shift(notebook):
    rows = re.findall(
        r"^ *([\d.]+) +[\d.]+ +([\d.]+) ± 0\.0(?:2[6-9]|3\d) +([\d.]+) +[\d.]+ +[\d.]+$", texts(notebook), re.MULTILINE
    )
    assert len(rows) == 4
    for z, mu, spread in (map(float, row) for row in rows):
        assert abs(mu - 1 / math.sqrt(z * z + 1024 / 32768)) < 6 * 0.033  # canaries stand in each other's way
        assert abs(spread - 1) < 0.14
