"""Defects planted where keys of a job are compared with each other, and with a fleet: see `mutants`."""

from mutants import Mutant

COMBINATIONS = "test_learning_combinations.py"
REFUSAL = f"{COMBINATIONS}::test_what_a_refusal_says_works_does_work"

MUTANTS = (
    Mutant(
        "buffers taken for a secret draw",
        "learning/combinations.py",
        "    if job.privacy.amplification:\n        yield (\n",
        "    if False:\n        yield (\n",
        (f"{REFUSAL}[fedbuff, and a secret draw]",),
    ),
    Mutant(
        "failures forgotten beside over-selection",
        "learning/combinations.py",
        "lost, fails, fewest = 1 - goal / invited, job.failures.rate,",
        "lost, fails, fewest = 1 - goal / invited, 0.0,",
        (f"{REFUSAL}[over-selection beside failures]",),
    ),
    Mutant(
        "remedies named that the threat model does not bear",
        "learning/combinations.py",
        "for one in islice(possible, _MOST_TRIED) if _has_a_setting(job, one)",
        "for one in islice(possible, _MOST_TRIED) if one",
        (f"{REFUSAL}[an evaluation of so few that they do not withstand the threat either]",),
    ),
    Mutant(
        "slow links taken for slow clients",
        "learning/combinations.py",
        "slowdowns = {entry.slowdown for entry in fleet.client}",
        "slowdowns = {entry.link_slowdown for entry in fleet.client}",
        (f"{REFUSAL}[the fastest where all are told apart alike]",),
    ),
    Mutant(
        "clients counted that go when others come",
        "learning/feasibility.py",
        "        yield at_s, -1\n",
        "        yield math.nextafter(at_s, math.inf), -1\n",
        (f"{COMBINATIONS}::test_clients_that_are_never_there_together_are_refused",),
    ),
    Mutant(
        "buffers content with the fewest contributors",
        "learning/feasibility.py",
        "if buffering is None else buffering.buffer",
        "if True or buffering is None else buffering.buffer",
        (
            f"{COMBINATIONS}::test_a_buffer_takes_as_many_at_once_as_it_holds",
            f"{COMBINATIONS}::test_batteries_have_to_last_for_a_buffer",
        ),
    ),
    Mutant(
        "deadlines judged by who is online at the start",
        "learning/feasibility.py",
        "        _always_there(job),\n",
        "        fleet,\n",
        (f"{COMBINATIONS}::test_a_deadline_is_judged_as_if_everybody_were_there_with_a_full_battery",),
    ),
)
