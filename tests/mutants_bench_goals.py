"""Defects planted into what measures goals; the format is that of `mutants.py`."""

from mutants import Mutant

GOALS = "test_bench_goals.py"

MUTANTS = (
    Mutant(
        "a goal is reached from the other side",
        "bench/goals/goal.py",
        "return measured >= self.limit if self.at_least else measured <= self.limit",
        "return measured <= self.limit if self.at_least else measured >= self.limit",
        (f"{GOALS}::test_reached_follows_from_figure_and_limit",),
    ),
    Mutant(
        "small runs pass for full ones",
        "bench/goals/goal.py",
        '(_QUICK if quick else "") + reading.detail',
        "reading.detail",
        (f"{GOALS}::test_a_small_run_says_so",),
    ),
    Mutant(
        "the vector that was played is the one that is told",
        "bench/goals/small_work.py",
        " + (more if phase is Phase.MASKED_INPUT else 0)",
        "",
        (f"{GOALS}::test_bytes_of_a_long_vector_are_told_from_a_short_one",),
    ),
    Mutant(
        "the message at hand takes no memory",
        "bench/goals/memory.py",
        "self._inner.receive(sender, response)) + len(response)",
        "self._inner.receive(sender, response))",
        (f"{GOALS}::test_the_servers_peak_holds_accumulator_and_message",),
    ),
    Mutant(
        "survivors cost what dropped pairs cost",
        "bench/kahe_server.py",
        " - usual * beside.survivors)",
        ")",
        (f"{GOALS}::test_a_dropped_pair_costs_what_the_survivors_alone_do_not",),
    ),
    Mutant(
        "ratios of figures from different turns",
        "bench/turns.py",
        "zip(work, limit, strict=True)",
        "zip(work, sorted(limit), strict=True)",
        (f"{GOALS}::test_ratios_are_those_of_the_same_turn",),
    ),
    Mutant(
        "a limit that does half of the work",
        "bench/limits.py",
        "    for start in range(0, len(words), step):\n",
        "    for start in range(0, len(words), 2 * step):\n",
        (f"{GOALS}::test_the_bare_loop_adds_what_a_mask_adds",),
    ),
)
