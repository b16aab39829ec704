"""Defects planted in compression in the loop: what travels, what clients keep, how coordinates are rounded."""

from mutants import Mutant

TESTS = "test_learning_compression.py"

MUTANTS = (
    Mutant(
        "residuals that an aborted round takes",
        "learning/rounds.py",
        "held.outcome.contributors if mean is not None else ())",
        "plan.cohort)",
        (f"{TESTS}::test_an_aborted_round_takes_nothing_from_what_clients_keep",),
    ),
    Mutant(
        "what clients kept is not sent",
        "learning/contributing.py",
        "chosen.compress(trained.update, residual)",
        "chosen.compress(trained.update)",
        (f"{TESTS}::test_with_feedback_what_was_summed_and_what_clients_keep_are_all_that_was_learned",),
    ),
    Mutant(
        "the same coordinates in every round",
        "learning/contributing.py",
        "return digest(Label.COMPRESSION, context)[:SEED_BYTES]",
        "return bytes(SEED_BYTES)",
        (f"{TESTS}::test_without_feedback_the_model_moves_by_the_mean_on_the_rounds_coordinates_and_nowhere_else",),
    ),
    Mutant(
        "one client's dice for all",
        "learning/contributing.py",
        'client.to_bytes(_NUMBER_BYTES, "big"), seed',
        "bytes(_NUMBER_BYTES), seed",
        (f"{TESTS}::test_stochastic_rounding_is_right_on_average_and_each_client_has_dice_of_its_own",),
    ),
    Mutant(
        "an adaptive clip that sessions do not know of",
        "learning/rounds.py",
        "scaled(agreed, self.averaging.clip if moves else None)",
        "scaled(agreed, None)",
        (f"{TESTS}::test_an_adaptive_clip_is_part_of_what_a_session_is_about",),
    ),
    Mutant(
        "an adaptive clip by all coordinates, moved or not",
        "learning/averaging.py",
        "self._scale(counts, of=counts[_MOVED])",
        "self._scale(counts, of=10_000 * counts[_MOVED])",
        (f"{TESTS}::test_an_adaptive_clip_is_not_led_by_coordinates_that_never_move",),
    ),
    Mutant(
        "a clip that is forgotten by a crash",
        "learning/memory.py",
        'self.averaging.clip = float(state["clip"])',
        'float(state["clip"])',
        (f"{TESTS}::test_a_run_that_goes_on_has_the_clip_and_what_clients_kept",),
    ),
    Mutant(
        "noise for whole updates where less travels",
        "learning/assembly.py",
        "parameters=sent.length",
        "parameters=2 * sent.length",
        (f"{TESTS}::test_noise_of_a_compressed_private_run_is_for_what_travels",),
    ),
    Mutant(
        "probes whose clip the audit does not look at",
        "audit/conformity.py",
        "return math.frexp(found / clip)[0] == 0.5",
        "return True",
        (f"{TESTS}::test_an_audit_takes_clips_that_an_adaptive_one_can_have_and_no_others",),
    ),
    Mutant(
        "updates that round away unnoticed at every client",
        "learning/local_work.py",
        "if vectors and too_coarse.keys() == vectors.keys():",
        "if False:",
        (f"{TESTS}::test_bits_that_round_a_whole_update_away_are_refused_with_a_clip_that_works",),
    ),
    Mutant(
        "one update that rounds away ends the run",
        "learning/local_work.py",
        "if vectors and too_coarse.keys() == vectors.keys():",
        "if too_coarse:",
        (f"{TESTS}::test_one_client_whose_update_rounds_away_is_no_drop_out",),
    ),
    Mutant(
        "settled models end the run",
        "learning/local_work.py",
        "if not self.succeeded and (why := averaging",
        "if (why := averaging",
        (f"{TESTS}::test_where_a_model_has_settled_updates_may_round_away_and_nobody_drops_out",),
    ),
    Mutant(
        "residuals of statistics",
        "learning/assembly.py",
        "statistics=statistics)",
        "statistics=frozenset())",
        (f"{TESTS}::test_statistics_of_a_batch_normalisation_travel_whole_and_stay_variances",),
    ),
    Mutant(
        "matrices that never move",
        "learning/assembly.py",
        "        require_all_can_move(weights, compressor.layout)",
        "        pass",
        (f"{TESTS}::test_a_mask_by_magnitude_is_refused_where_a_matrix_would_never_move",),
    ),
)
