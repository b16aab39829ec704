"""Defects planted in checkpoints and in what clients keep from round to round: see `mutants`."""

from mutants import Mutant

CHECKPOINT = "test_learning_checkpoint.py"
RESIDUALS = "test_learning_residuals.py"
EXACT = "test_crash_exact.py"
FORMATS = f"{CHECKPOINT}::test_another_format_is_refused_with_what_was_found_and_what_works_and_its_arrays_are_read"
CRASH = f"{RESIDUALS}::test_guarantee_1_wherever_a_process_ends_the_next_one_finds_what_its_checkpoint_knows"
HOSTILE = f"{CHECKPOINT}::test_guarantee_1_a_hostile_file_costs_no_more_than_its_length_and_is_refused"
DUE = f"{RESIDUALS}::test_guarantee_2_what_must_be_there_and_is_not_is_refused_by_name"

MUTANTS = (
    Mutant(
        "checkpoints of later formats",
        "learning/checkpoint.py",
        "if note[_FORMAT] != FORMAT:",
        "if note[_FORMAT] < FORMAT:",
        (f"{FORMATS}[newer]",),
    ),
    Mutant(
        "checkpoints without a format, taken for one with it",
        "learning/checkpoint.py",
        "_FIRST: Final = 1 ",
        "_FIRST: Final = FORMAT ",
        (f"{FORMATS}[from before there were numbers]",),
    ),
    Mutant(
        "checkpoints of any job",
        "learning/memory.py",
        "if checkpoint.job != job_digest(self.job) and",
        "if checkpoint.job is None and",
        (
            f"{CHECKPOINT}::test_a_job_that_was_changed_by_hand_is_named[seed = 0-seed = 1]",
            f"{CHECKPOINT}::test_another_run_s_model_is_refused",
        ),
    ),
    Mutant(
        "arrays that are longer than their bytes",
        "learning/checkpoint.py",
        "!= member.file_size - header.end():",
        "< 0:",
        (f"{HOSTILE}[letters of a length]",),
    ),
    Mutant(
        "archives that are longer than their files",
        "learning/checkpoint.py",
        "if sum(member.file_size for member in members) > there:",
        "if False:",
        (f"{HOSTILE}[an array within another]",),
    ),
    Mutant(
        "models that somebody packed",
        "learning/checkpoint.py",
        "if any(member.compress_type != zipfile.ZIP_STORED for member in members):",
        "if False:",
        (f"{HOSTILE}[four bytes that were packed]",),
    ),
    Mutant(
        "files that take their place before they are on disk",
        "learning/checkpoint.py",
        "        os.fsync(file.fileno())\n    beside.replace(path)",
        "    beside.replace(path)",
        (CRASH,),
    ),
    Mutant(
        "residuals that everybody can read",
        "learning/residuals.py",
        "residual), private=True",
        "residual), private=False",
        (f"{RESIDUALS}::test_guarantee_4_nobody_else_reads_them",),
    ),
    Mutant(
        "residuals of updates that are in no sum",
        "learning/residuals.py",
        "if client in contributors and staged[0] == round_number",
        "if staged[0] == round_number",
        (f"{RESIDUALS}::test_guarantee_3_only_whose_update_is_in_a_sum_has_another_residual[False]",),
    ),
    Mutant(
        "residuals of a round that came to nothing",
        "learning/residuals.py",
        "if client in contributors and staged[0] == round_number",
        "if client in contributors",
        (f"{RESIDUALS}::test_what_was_staged_for_another_round_is_dropped",),
    ),
    Mutant(
        "residuals whose names a crash takes",
        "learning/residuals.py",
        "to_disk(self._home)",
        "pass",
        (CRASH,),
    ),
    Mutant(
        "residuals that are removed while a checkpoint needs them",
        "learning/residuals.py",
        "        self._current |= settled\n",
        "        self._current |= settled\n        self.saved(round_number)\n",
        (CRASH,),
    ),
    Mutant(
        "residuals of rounds that are done again",
        "learning/residuals.py",
        "            self._remove_leftovers(self._home)\n",
        "",
        (CRASH, f"{RESIDUALS}::test_a_run_without_a_checkpoint_takes_nothing_that_lies_there"),
    ),
    Mutant(
        "residuals that begin anew where they are missing",
        "learning/residuals.py",
        'raise ConfigurationError(f"{path} is missing, {told}") from None',
        "return np.zeros(self._length, np.float32)",
        (f"{DUE}[missing]",),
    ),
    Mutant(
        "residuals of whomever",
        "learning/residuals.py",
        "if arrays[_OF].tolist() != [client, number]:",
        "if False:",
        (f"{DUE}[another client's]", f"{DUE}[another round's]"),
    ),
    Mutant(
        "runs that go on without residuals",
        "learning/memory.py",
        'self.residuals.restore(state["residuals"], checkpoint.round)',
        "pass",
        (f"{EXACT}::test_crashes_while_a_run_is_gone_on_with_cost_no_bit_either[feedback]",),
    ),
    Mutant(
        "runs that have no place for what clients keep",
        "learning/rounds.py",
        "run._residuals.keep_in(out)",
        "pass",
        (f"{EXACT}::test_crashes_while_a_run_is_gone_on_with_cost_no_bit_either[feedback]",),
    ),
)
