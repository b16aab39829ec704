"""Defects planted into what a run tells of its uploads; the format: see `mutants`."""

from mutants import Mutant

TESTS = "test_report_upload.py"

MUTANTS = (
    Mutant(
        "uploads of aborted rounds that cost nothing",
        "report/run_upload.py",
        "return list(accumulate(row.upload_bytes for row in rows))",
        "return list(accumulate(0 if row.aborted else row.upload_bytes for row in rows))",
        (f"{TESTS}::test_accuracy_is_drawn_over_the_bytes_of_all_rounds_so_far_from_none",),
    ),
    Mutant(
        "accuracy over the bytes of its own round",
        "report/run_upload.py",
        "places = [total / unit.size for total in so_far]",
        "places = [row.upload_bytes / unit.size for row in rows]",
        (f"{TESTS}::test_accuracy_is_drawn_over_the_bytes_of_all_rounds_so_far_from_none",),
    ),
    Mutant(
        "a ratio that old rounds spoil",
        "report/run_upload.py",
        "if row.float32_bytes or row.coordinates is not None]",
        "]",
        (f"{TESTS}::test_rounds_without_word_of_float32_are_left_out_of_the_ratio_and_not_of_the_curve",),
    ),
    Mutant(
        "keys of a round in which nobody trained left out of the ratio",
        "report/run_upload.py",
        "if row.float32_bytes or row.coordinates is not None]",
        "if row.float32_bytes]",
        (f"{TESTS}::test_guarantee_10_aborted_rounds_count_and_it_is_said_what_they_do",),
    ),
    Mutant(
        "a ratio boasted of where nothing was released",
        "report/run_upload.py",
        "if not any(row.float32_bytes > 0 and not row.aborted for row in rows):",
        "if not any(row.float32_bytes > 0 for row in rows):",
        (f"{TESTS}::test_guarantee_10_it_takes_a_finished_round",),
    ),
    Mutant(
        "such an answer",
        "cli/run_answer.py",
        "if sums.ratio is None or all(row.aborted for row in run.metrics):",
        "if sums.ratio is None:",
        (f"{TESTS}::test_an_answer_of_nothing_released_boasts_of_no_ratio",),
    ),
    Mutant(
        "the inverse of the ratio",
        "report/run_upload.py",
        "return self.upload_bytes / self.float32_bytes if self.float32_bytes else None",
        "return self.float32_bytes / self.upload_bytes if self.upload_bytes else None",
        (f"{TESTS}::test_figures_are_sums_over_all_rounds",),
    ),
)
