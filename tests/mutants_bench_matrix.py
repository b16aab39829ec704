"""Defects of the benchmark's matrix, planted on purpose."""

from mutants import Mutant

TESTS = "test_bench_matrix.py"

MUTANTS = (
    Mutant(
        "ratios to a session of another turn",
        "bench/matrix.py",
        "[turn.client_cpu_s / plain.client_cpu_s for turn, plain in turns]",
        "[turn.client_cpu_s / turns[0][1].client_cpu_s for turn, _ in turns]",
        (f"{TESTS}::test_ratios_are_formed_turn_by_turn_and_their_median_reported",),
    ),
    Mutant(
        "calls held against a session of another turn",
        "bench/matrix.py",
        "[(turn.client_pieces(), plain.client_pieces()) for turn, plain in turns]",
        "[(turn.client_pieces(), turns[0][1].client_pieces()) for turn, _ in turns]",
        (f"{TESTS}::test_ratios_are_formed_turn_by_turn_and_their_median_reported",),
    ),
    Mutant(
        "whole turns whose slow moments count",
        "bench/matrix.py",
        "    if len({len(pieces) for pieces in turns}) > 1:",
        "    if turns:",
        (f"{TESTS}::test_a_moment_that_slows_one_call_of_a_turn_is_left_out_though_every_turn_has_one",),
    ),
    Mutant(
        "peers held against a baseline without its slow moments",
        "bench/matrix.py",
        "    if any(len(own) == 1 for own, _ in turns):",
        "    if False:",
        (f"{TESTS}::test_a_moment_that_slows_one_call_of_a_turn_is_left_out_though_every_turn_has_one",),
    ),
    Mutant(
        "the first of several baselines counts",
        "bench/matrix.py",
        "[(len(played) - 1) // 2]",
        "[0]",
        (f"{TESTS}::test_beside_a_long_session_the_middle_of_several_of_the_baseline_counts",),
    ),
    Mutant(
        "calls of the server that are forgotten",
        "simulate.py",
        "        self.server_calls_s.append(seconds)\n",
        "        self.server_calls_s.append(0.0)\n",
        (f"{TESTS}::test_pieces_of_a_session_add_up_to_what_it_cost",),
    ),
    Mutant(
        "a committee whose work costs nothing",
        "bench/contenders.py",
        " + self.server_cpu_s + self.committee_cpu_s\n",
        " + self.server_cpu_s\n",
        (f"{TESTS}::test_ratios_are_formed_turn_by_turn_and_their_median_reported",),
    ),
    Mutant(
        "the same goes first in every turn",
        "bench/matrix.py",
        "if around or len(turns) % 2 else []",
        "if around else []",
        (f"{TESTS}::test_who_goes_first_changes_from_turn_to_turn",),
    ),
    Mutant(
        "around a long session the baseline is before it alone",
        "bench/matrix.py",
        "        if around or not plain:",
        "        if not plain:",
        (f"{TESTS}::test_around_a_long_session_there_are_sessions_of_the_baseline",),
    ),
    Mutant(
        "turns of any length are as many",
        "bench/turns.py",
        "        return wanted and spent_s < self.most_s",
        "        return wanted",
        (f"{TESTS}::test_where_sessions_are_long_fewer_are_held_but_one_is",),
    ),
    Mutant(
        "messages that were sent count as kept",
        "bench/metered.py",
        "        self.held_bytes -= sys.getsizeof(result)\n",
        "",
        (f"{TESTS}::test_what_a_party_keeps_adds_up_and_what_it_sends_does_not",),
    ),
    Mutant(
        "a line of results that was cut off stays",
        "bench/store.py",
        "    if end != len(raw):\n",
        "    if False:\n",
        (f"{TESTS}::test_guarantee_1_of_stores_a_run_that_was_killed_goes_on_where_it_was",),
    ),
    Mutant(
        "results of two machines in one file",
        "bench/store.py",
        "        if not same_machine(begun_on, here):\n",
        "        if False:\n",
        (f"{TESTS}::test_guarantee_2_of_stores_results_of_two_machines_are_not_mixed",),
    ),
    Mutant(
        "what was measured is measured again",
        "bench/program.py",
        "        if str(cell) not in done:\n",
        "        if True:\n",
        (f"{TESTS}::test_guarantee_1_of_stores_a_run_that_was_killed_goes_on_where_it_was",),
    ),
    Mutant(
        "a cell that does not fit the memory is begun",
        "bench/forecast.py",
        "    if free is not None and ahead.memory_bytes > free:\n",
        "    if False:\n",
        (f"{TESTS}::test_a_cell_that_does_not_fit_says_so_before_it_starts",),
    ),
    Mutant(
        "a cell that takes more than an hour is begun",
        "bench/forecast.py",
        "    if ahead.seconds > MOST_S:\n",
        "    if False:\n",
        (f"{TESTS}::test_a_cell_that_does_not_fit_says_so_before_it_starts",),
    ),
)
