"""What is said of a round: figures, checks, a table."""

from __future__ import annotations

from itertools import pairwise

from load.cast import MEGABYTE, PHASES
from load.coordinating import OVER
from load.living import HUNG_UP
from load.strangers import ALLOWED
from privfl.session import Phase

FLAT_BYTES = 16_000_000
"""What memory may grow by over a flood of garbage, as in the tests."""


def phases(outcome, watch, opened):
    """Wall and processor seconds of each phase, and what came in; the phase of uploads in two parts."""
    turns = outcome["phases"]
    spans = {}
    for (begin, phase), (end, _) in pairwise(turns):
        if phase == Phase.MASKED_INPUT.value:
            spans["model and making"] = (begin, opened)
            last = max((moment for moment, _, what, _ in outcome["answers"] if what == phase), default=end)
            spans["upload"], spans["waiting for the deadline, sum"] = (opened, last), (last, end)
        elif phase is not None:
            spans[phase] = (begin, end)
    return {
        name: {"seconds": round(end - begin, 2), "cpu_s": watch.used(begin, end)}
        for name, (begin, end) in spans.items()
    }


def uploads(outcome, tallies, opened, watch):
    """What came in while all uploaded."""
    phase = Phase.MASKED_INPUT.value
    came = sorted((at, client, size) for at, client, where, size in outcome["answers"] if where == phase)
    answered = {client for _, client, _ in came}
    back = [one for one in tallies if one["lost"] and one["number"] in answered]
    found = {
        "upload": {},
        "client_computing_cpu_s": round(sum(one["computing_cpu_s"] for one in tallies), 1),
        "cut_uploads_that_arrived": len(back),
        "resumed_past_their_beginning": sum(any(offset > 0 for offset in one["resumed_at"]) for one in back),
        "sent_again_mb": round(sum(one["put_bytes"] - one["answer_bytes"] for one in back) / MEGABYTE, 1),
    }
    if came:
        seconds, nine_tenths = came[-1][0] - opened, came[int(0.9 * (len(came) - 1))][0] - opened
        megabytes = sum(size for _, _, size in came) / MEGABYTE
        cpu = watch.used(opened, came[-1][0]).get("coordinator", 0.0)
        found["upload"] = {
            "mb": round(megabytes, 1),
            "seconds": round(seconds, 2),
            "nine_tenths_s": round(nine_tenths, 2),
            "mb_per_s": round(megabytes / seconds, 1),
            "mb_per_coordinator_cpu_s": round(megabytes / cpu, 1) if cpu else None,
            "coordinator_cpu_ms_per_upload": round(1e3 * cpu / len(came), 1),
            "suite_cpu_s": round(outcome["server_cpu_s"].get(phase, 0.0), 2),
        }
    return found


def checks(cast, outcome, tallies, record):
    """What has to hold, whatever it took."""
    repeated = [one["replayed"] for one in tallies if one["kind"] == "replayer"]
    contributors, away = set(outcome["contributors"]), set(cast.of("away"))
    held = {
        "nothing was aborted": outcome["aborted"] is None,
        "all uploads were ready at once": record["ready"] == cast.clients - bool(cast.lies),
        "the sum is exact": outcome["exact"] and outcome["error_std"] == 0,
        "contributors are all but those that stayed away or lied": contributors == set(cast.contributors),
        "every steady client contributed": contributors >= set(cast.of("steady")),
        "as many as contributed were charged": outcome["charged"] == [outcome["counted"]] == [len(contributors)],
        "nobody else was refused": set(outcome["failures"]) == set(cast.lies),
        "all that were there heard that it is over": not outcome["missed"]
        and {one["ended"] for one in tallies if one["kind"] not in {"away", "flapping"}} == {OVER},
        "nothing is left in the spool": outcome["under_way"] == 0,
        "all phases were held": [phase for _, phase in outcome["phases"] if phase] == [phase.value for phase in PHASES],
    }
    if cast.of("away"):
        lines, flood = record["lines"], record["strangers"]["statuses"]
        memory = record["memory_mb"]
        held |= {
            "every line that was to be cut was": all(lines[number]["cuts"] for number in cast.of("returning", "away")),
            "every flapping line flapped": all(lines[number]["cuts"] for number in cast.of("flapping")),
            "whoever came back contributed": contributors >= set(cast.of("returning", "flapping", "slow")),
            "who stayed away was not taken for a liar": not away & set(outcome["failures"]),
            "what was sent twice was refused": all(one and set(one) <= {401, 409, HUNG_UP} for one in repeated),
            "garbage was refused": set(flood) <= ALLOWED and sum(flood.values()) >= 2 * record["garbage"],
            "memory is flat under garbage": memory["after garbage"] - memory["before garbage"] < FLAT_BYTES / MEGABYTE,
            "the log is short": record["log_lines"] < 500,  # a line a minute of each kind
        }
    return {name: bool(good) for name, good in held.items()}


def table(records, limits):
    """What a reader wants to see."""
    rows = [f"{'':44}" + "".join(f"{record['scenario']:>14}" for record in records)]

    def row(name, value):
        rows.append(f"{name:44}" + "".join(f"{value(record)!s:>14}" for record in records))

    row("contributors", lambda one: f"{one['contributors']} of {one['clients']}")
    row("upload: MB", lambda one: one["upload"].get("mb"))
    row("  seconds", lambda one: one["upload"].get("seconds"))
    row("  seconds until nine tenths were there", lambda one: one["upload"].get("nine_tenths_s"))
    row("  MB/s", lambda one: one["upload"].get("mb_per_s"))
    row("  MB a second of the coordinator's CPU", lambda one: one["upload"].get("mb_per_coordinator_cpu_s"))
    row("  coordinator's CPU ms an upload", lambda one: one["upload"].get("coordinator_cpu_ms_per_upload"))
    row("cut uploads that arrived", lambda one: one["cut_uploads_that_arrived"])
    row("  gone on with past their beginning", lambda one: one["resumed_past_their_beginning"])
    row("  MB sent again", lambda one: one["sent_again_mb"])
    for name in dict.fromkeys(phase for record in records for phase in record["phases"]):
        row(f"{name}: s", lambda one, name=name: one["phases"].get(name, {}).get("seconds", ""))
    for role in ("coordinator", "clients", "insiders", "relay", "strangers"):
        row(f"CPU s, {role}", lambda one, role=role: _cpu(one, role))
    row("clients' own computing, CPU s", lambda one: one["client_computing_cpu_s"])
    for key in dict.fromkeys(key for record in records for key in record["memory_mb"]):
        row(f"memory, MB: {key}", lambda one, key=key: one["memory_mb"].get(key, ""))
    row("kB a connection", lambda one: one["kb_per_connection"])
    row("spool at most, MB", lambda one: one["spool_peak_mb"])
    rows.append("not to be avoided: " + ", ".join(f"{key} {value}" for key, value in limits.items()))
    failed = [
        f"{record['scenario']}: {name}" for record in records for name, good in record["checks"].items() if not good
    ]
    rows += [f"FAILED {what}" for what in failed] or [f"all {sum(len(one['checks']) for one in records)} checks hold"]
    return "\n".join(rows)


def _cpu(record, role):
    used = [phase["cpu_s"][role] for phase in record["phases"].values() if role in phase["cpu_s"]]
    return round(sum(used), 1) if used else ""
