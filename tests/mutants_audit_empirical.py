"""Defects planted into tails and into the empirical bounds of the audit; the format is that of `mutants.py`."""

from mutants import Mutant

TESTS = "test_audit_empirical.py"
TAILS, EMPIRICAL = "audit/tails.py", "audit/empirical.py"

MUTANTS = (
    Mutant(
        "a small tail that is 1 less a large one",
        TAILS,
        "    return 1 - _gamma_lower(x, a) if x < a else _gamma_upper(x, a)",
        "    return 1 - chi_square_lower(2 * x, degrees)",
        (f"{TESTS}::test_chi_square_tails_agree_with_another_implementation",),
    ),
    Mutant(
        "sums of tails ended early",
        TAILS,
        "_NEGLIGIBLE: Final = 2.0**-60",
        "_NEGLIGIBLE: Final = 2.0**-24",
        (
            f"{TESTS}::test_binomial_tails_agree_with_another_implementation",
            f"{TESTS}::test_chi_square_tails_of_ten_million_degrees",
        ),
    ),
    Mutant(
        "so many hits not counted among so many or more",
        TAILS,
        'whole("trials", trials, 0) - whole("hits", hits), trials',
        'whole("trials", trials, 0) - whole("hits", hits) - 1, trials',
        (f"{TESTS}::test_binomial_tails_are_exact_at_small_numbers",),
    ),
    Mutant(
        "a confidence limit of twice the level",
        TAILS,
        "binomial_lower(hits, trials, p) < level",
        "binomial_lower(hits, trials, p) < 2 * level",
        (f"{TESTS}::test_confidence_limits_hold_as_often_as_they_say",),
    ),
    Mutant(
        "delta left out of the chance of right guesses",
        EMPIRICAL,
        " + 2 * guessed.canaries * delta * means.max())",
        ")",
        (
            f"{TESTS}::test_the_chance_of_right_guesses_is_that_of_the_theorem_exactly",
            f"{TESTS}::test_no_private_mechanism_at_all_makes_the_bound_exceed_the_truth_too_often",
        ),
    ),
    Mutant(
        "delta of only those canaries that are guessed at",
        EMPIRICAL,
        "2 * guessed.canaries * delta",
        "2 * guessed.guesses * delta",
        (
            f"{TESTS}::test_the_chance_of_right_guesses_is_that_of_the_theorem_exactly",
            f"{TESTS}::test_bounds_agree_with_another_implementation",
        ),
    ),
    Mutant(
        "two thirds of the chance that it was luck",
        EMPIRICAL,
        "law[v:].sum()",
        "law[v:].sum() / 1.5",
        (
            f"{TESTS}::test_no_private_mechanism_at_all_makes_the_bound_exceed_the_truth_too_often",
            f"{TESTS}::test_reference_values",
        ),
    ),
    Mutant(
        "more owed to right guesses than they owe",
        EMPIRICAL,
        "i / (guessed.guesses - i) * (owed - wrong)",
        "(i + 12) / (guessed.guesses - i) * (owed - wrong)",
        (f"{TESTS}::test_no_mechanism_contradicts_a_curve_that_it_has_too_often", f"{TESTS}::test_reference_values"),
    ),
    Mutant(
        "both confidence limits at the whole level",
        EMPIRICAL,
        "    return fpr, clopper_pearson_upper(false_negatives, positives, level / 2)",
        "    return fpr, clopper_pearson_upper(false_negatives, positives, level)",
        (
            f"{TESTS}::test_trials_are_what_their_confidence_limits_say",
            f"{TESTS}::test_trials_agree_with_another_implementation",
        ),
    ),
    Mutant(
        "upper limits beyond one half taken for a signal",
        EMPIRICAL,
        "gdp_epsilon(max(0.0, -normal_quantile(fpr) - normal_quantile(fnr)), delta)",
        "gdp_epsilon(min(9.0, abs(-normal_quantile(fpr) - normal_quantile(fnr))), delta)",
        (f"{TESTS}::test_rates_that_show_nothing",),
    ),
    Mutant(
        "canaries of one score guessed at in the order in which they are listed",
        EMPIRICAL,
        "np.lexsort((~inside, score))",
        'np.argsort(score, kind="stable")',
        (
            f"{TESTS}::test_ties_are_guessed_wrong_whatever_their_order",
            f"{TESTS}::test_one_score_for_all_says_nothing_though_canaries_are_listed_in_order",
        ),
    ),
    Mutant(
        "several numbers of guesses tried at the price of one",
        EMPIRICAL,
        "_bound(method, one, level / len(tried), delta)",
        "_bound(method, one, level, delta)",
        (f"{TESTS}::test_the_best_of_several_is_paid_for",),
    ),
    Mutant(
        "a shift measured by the spread of the cosines",
        EMPIRICAL,
        "mu = max(0.0, math.sqrt(dimension) * float(np.mean(cosines)))",
        "mu = max(0.0, float(np.mean(cosines)) / float(np.std(cosines)))",
        (f"{TESTS}::test_one_shot_is_the_shift_alone",),
    ),
    Mutant(
        "a claim about epsilon taken for one about mu",
        EMPIRICAL,
        "gdp_mu(claimed, delta) if method is Method.F_DP else claimed",
        "claimed",
        (
            f"{TESTS}::test_a_gaussian_mechanism_is_detected_about_as_often_as_stated",
            f"{TESTS}::test_what_no_guesses_could_contradict_is_not_detectable",
        ),
    ),
    Mutant(
        "detected in every other run",
        EMPIRICAL,
        "binomial_upper(enough, guesses, p) >= power",
        "binomial_upper(enough, guesses, p) >= power / 2",
        (f"{TESTS}::test_what_is_detectable_is_detected_as_often_as_stated",),
    ),
)
