"""What quickstart, the server's view and overhead are there to say, looked for in what they printed."""

import math
import re

from notebook_outputs import texts


def sums_exactly(notebook):
    said = texts(notebook)
    step = float(re.search(r"one step is (\S+)", said)[1])
    assert float(re.search(r"off by at most (\S+)", said)[1]) < 0.51 * step  # half of one, and float32's own rounding
    assert re.findall(r"; as under plain: (\w+)$", said, re.MULTILINE) == ["True"] * 3
    assert re.findall(r"the sum is exact: (\w+), over 10 clients", said) == ["True"] * 2
    assert "of weight 950, and equal to the mean above: True" in said


def sums_who_uploaded(notebook):
    said = texts(notebook)
    rows = re.findall(r"^ +(\d)   (\w+|-) +(\d+) +(True|False)$", said, re.MULTILINE)
    assert rows == [
        ("0", "-", "10", "True"),
        ("3", "AdvertiseKeys", "7", "True"),
        ("3", "ShareKeys", "7", "True"),
        ("3", "MaskedInput", "7", "True"),
        ("3", "Unmask", "10", "True"),
    ]
    assert re.findall(r"^ +(\d)   (\w+) +aborted: ", said, re.MULTILINE) == [("6", "MaskedInput"), ("7", "Unmask")]


def trains_as_plain_does(notebook):
    said = texts(notebook)
    rows = re.findall(r"^ +(\d) +10 +(\d+) +(\d) +(0\.\d+) +\S+ +(\S+)$", said, re.MULTILINE)
    assert [row[:3] for row in rows] == [(str(n), "8" if n == 3 else "10", "2" if n == 5 else "0") for n in range(1, 9)]
    assert float(rows[-1][3]) > 0.9  # seeded, and the sums are exact
    assert all(float(row[4]) > 1 for row in rows)
    assert "the same model as under plain, bit for bit: True" in said
    assert "report.html" in said
    assert re.search(r"^sections: .*Drop-outs.*Limits", said, re.MULTILINE)


CHANCE = 6 / math.sqrt(651)
"""Correlations of so many coordinates are beyond it by chance in two of a thousand million."""


def reads_images_that_nothing_protects(notebook):
    said = texts(notebook)
    assert "client 0 has a 3; the server reads: a 3" in said
    assert float(re.search(r"six images, off by at most (\S+)", said)[1]) < 0.002
    row = r"^(plain|masking|kahe) +([+-][\d.]+) +([+-][\d.]+) +([+-][\d.]+)$"
    rows = {name: list(map(float, rest)) for name, *rest in re.findall(row, said, re.MULTILINE)}
    assert rows.pop("plain") == [1.0, 1.0, 1.0]
    assert len(rows) == 2
    assert all(abs(r) < CHANCE for row in rows.values() for r in row)
    assert re.findall(r"the sum over 10 clients is exact: (\w+)", said) == ["True"] * 3
    assert "the same mean, bit for bit: True" in said


def says_what_sums_tell(notebook):
    said = texts(notebook)
    sizes = re.findall(
        r"^(AdvertiseKeys|ShareKeys|MaskedInput|Unmask) +[\d,]+ bytes from (\d+) clients$", said, re.MULTILINE
    )
    assert [senders for _, senders in sizes] == ["10", "10", "9", "9"]  # of one length each, whoever sends
    assert re.search(r"nine of ten subtract their own: client 0's vector: True, pixels off by at most 0\.000", said)
    assert "eight of ten: client 0's vector: False, the sum over clients 0 and 1: True" in said
    assert "sums over 10 and 9 clients; the difference is client 0's vector: True" in said
    assert "refused: cohort.size is 5, under this client's minimum of 8" in said
    assert "the second, of the same context: sum None; 9 clients refuse" in said


def opens_at_the_threshold(notebook):
    said = texts(notebook)
    assert "9 neighbours, a threshold of 4" in said
    assert "the session ends as always, its sum exact: True" in said
    rows = re.findall(r"^ +(\d) +(\d) +(True|False) +([+-]\S+)   (.*)$", said, re.MULTILINE)
    assert [(int(count), int(known), opened) for count, known, opened, _, _ in rows] == [
        *((count, count, "False") for count in range(4)),
        *((count, 9, "True") for count in range(4, 7)),
    ]
    assert all(abs(float(r)) < CHANCE for *_, r, _ in rows[:4])
    assert "3 shares of client 0's mask key are at hand and 4 are needed" in rows[3][-1]


def measures_beside_plain(notebook):
    said = texts(notebook)
    assert "left out:" not in said
    assert "34 lines; on " in said
    quartiles = r"[\d.]+ +[\d.]+ \([\d.]+ to [\d.]+\)"
    row = rf"^(plain|masking|kahe|kahe, packed|masking, packed) +({quartiles}) +({quartiles}) +(\S+)$"
    rows = re.findall(row, said, re.MULTILINE)
    assert [name for name, *_ in rows] == [
        *("plain", "masking", "kahe"),
        *("plain", "masking", "kahe", "masking, packed", "kahe, packed"),
    ]
    assert {error for *_, error in rows} == {"0e+00"}
    assert all("1.00 (1.00 to 1.00)" in cost for name, *costs, _ in rows if name == "plain" for cost in costs)


def counts_bytes_exactly(notebook):
    more = re.findall(r"^(\w+) +[\d,]+ parameters: +[\d,]+ +([\d,]+)$", texts(notebook), re.MULTILINE)
    assert len(more) == 15
    fixed = {suite: {count for name, count in more if name == suite} for suite in ("plain", "masking", "kahe")}
    assert all(len(counts) == 1 for counts in fixed.values())  # whatever the model
    plain, masking, kahe = (int(counts.pop().replace(",", "")) for counts in fixed.values())
    assert plain < masking == kahe - 4 * 2048


def projects_with_intervals(notebook):
    said = texts(notebook)
    fits = re.findall(
        r"^(plain|masking|kahe) +\w+_s +(?:clients|parameters) +-?[\d.]+ ± [\d.]+ +\w", said, re.MULTILINE
    )
    assert len(fits) == 9
    row = r"^(?:masking|kahe) +(\w+) +(100,000|1,000,000) +(\S+) \((\S+) to (\S+)\) +(.*)$"
    rows = re.findall(row, said, re.MULTILINE)
    assert len(rows) == 2 * 3 * 2
    for quantity, _, value, low, high, known in rows:
        assert float(low) <= 1.05 * float(value)  # of two digits
        assert float(value) <= 1.05 * float(high)
        if quantity == "upload_bytes_per_contributor":
            assert "; the planner: " in known
