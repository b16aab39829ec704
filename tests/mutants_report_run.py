"""Defects planted into what a run tells of drop-outs, time, evaluations and its end; the format: see `mutants`."""

from mutants import Mutant

TESTS = "test_report_fleet.py"
CLI = "test_cli.py"
PRIVATE = "test_cli_run_privacy.py"

MUTANTS = (
    Mutant(
        "one error that hides another of its kind",
        "report/run_reasons.py",
        "found.setdefault(kind_of(reason), set()).update(clients)",
        "found[kind_of(reason)] = set(clients)",
        (f"{TESTS}::test_a_client_that_two_reasons_name_in_one_round_is_counted_once",),
    ),
    Mutant(
        "silence after the upload left out",
        "report/run_dropouts.py",
        "max(row.dropped + row.vanished - len(known_lost(row)), 0)",
        "max(row.dropped - len(known_lost(row)), 0)",
        (f"{TESTS}::test_guarantee_9_every_reason_stands_with_who_it_was",),
    ),
    Mutant(
        "silence made up for buffers",
        "report/run_dropouts.py",
        "if row.aborted or _buffered(rows):",
        "if row.aborted:",
        (f"{TESTS}::test_clients_that_were_lost_before_a_buffer_are_told_of_and_no_silence_is_made_up",),
    ),
    Mutant(
        "accuracy over simulated time drawn over rounds",
        "report/run_time_charts.py",
        "(one.over_s / size, one.row.accuracy)",
        "(float(one.row.round), one.row.accuracy)",
        (f"{TESTS}::test_accuracy_is_drawn_over_simulated_time_from_its_beginning",),
    ),
    Mutant(
        "measured time shown as simulated",
        "report/run_time.py",
        "[took.format(one.took_s) for one in timed]",
        "[took.format(one.row.seconds) for one in timed]",
        (f"{TESTS}::test_what_was_simulated_and_what_was_measured_are_told_apart",),
    ),
    Mutant(
        "the few who reach more shown as the many who reach it",
        "report/run_evaluation_charts.py",
        "    share = 1 - float(name)\n",
        "    share = float(name)\n",
        (
            f"{TESTS}::test_evaluations_stand_in_a_table_with_what_all_and_what_the_worst_reach",
            f"{TESTS}::test_of_many_quantiles_all_stand_in_the_table_and_two_are_drawn",
        ),
    ),
    Mutant(
        "plain said to hide what clients found",
        "report/run_evaluation.py",
        "    if suite == PLAIN:\n",
        "    if not found:\n",
        (f"{TESTS}::test_what_the_server_learned_is_said_and_what_it_did_not",),
    ),
    Mutant(
        "a good ending that looks like a warning",
        "report/run_opening.py",
        "        tone=Tone.CALM,\n",
        "        tone=Tone.CAUTION,\n",
        (f"{TESTS}::test_guarantee_7_an_early_end_is_a_good_one",),
    ),
    Mutant(
        "an early stop taken for a failure",
        "cli/run_parts.py",
        "and run.stopped is None else",
        "and run.stopped is None and run.enough is None else",
        (f"{CLI}::test_an_early_stop_is_a_good_ending_and_is_said",),
    ),
    Mutant(
        "the clock of the last round alone",
        "cli/run_answer.py",
        "run.metrics[-1].simulated_clock if run.metrics",
        "run.metrics[-1].simulated_seconds if run.metrics",
        (f"{CLI}::test_buffers_a_fleet_and_evaluations_stand_in_answer_table_and_report",),
    ),
    Mutant(
        "noise that drowns the model untold before a run",
        "cli/run_live.py",
        "if not self._quiet and (noise",
        "if self._quiet and (noise",
        (f"{PRIVATE}::test_noise_that_drowns_the_model_is_said_before_a_round_and_after",),
    ),
    Mutant(
        "noise of one round held against what all can learn",
        "cli/run_privacy.py",
        "math.sqrt(run.job.rounds * run.guarantee.integers.dimension)",
        "math.sqrt(run.guarantee.integers.dimension)",
        (f"{PRIVATE}::test_noise_that_drowns_the_model_is_said_before_a_round_and_after",),
    ),
    Mutant(
        "a library's line named for somebody's own",
        "learning/own_code.py",
        "place = (own or places)[-1]",
        "place = places[-1]",
        ("test_learning_trainers.py::test_data_that_are_not_what_is_due_are_named_with_the_client",),
    ),
)
