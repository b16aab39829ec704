"""Defects planted into the statistics of the audit; the format is that of `mutants.py`."""

from mutants import Mutant

TESTS = "test_audit_statistics.py"

MUTANTS = (
    Mutant(
        "several tests that count as one",
        "audit/levels.py",
        "    return min(1.0, len(found) * min(found)) if found else 1.0",
        "    return min(found, default=1.0)",
        (f"{TESTS}::test_several_tests_count_as_tries", f"{TESTS}::test_honest_sums_have_nothing_left_of_anybody"),
    ),
    Mutant(
        "tails of counts without what higher moments add",
        "audit/moments.py",
        "    third *= 1 + margin if upper else 1 - margin",
        "    third *= 1",
        (
            f"{TESTS}::test_the_margin_makes_both_tails_heavier",
            f"{TESTS}::test_crowded_bins_are_no_rarer_than_they_say",
        ),
    ),
    Mutant(
        "single draws of Skellam noise taken for normal ones",
        "audit/residuals.py",
        "    if kurtosis:\n",
        "    if False:\n",
        (f"{TESTS}::test_spikes_and_shifts_of_skellam_noise_are_no_rarer_than_they_say",),
    ),
    Mutant(
        "squares of Skellam noise taken for those of normal noise",
        "audit/residuals.py",
        "    spread = degrees * (2 + excess_kurtosis)",
        "    spread = degrees * 2",
        (f"{TESTS}::test_deficits_and_excesses_are_no_rarer_than_they_say",),
    ),
    Mutant(
        "power of one half promised as more",
        "audit/residuals.py",
        "_quantile(effective, 1 - power, upper=True)",
        "_quantile(effective, 0.5, upper=True)",
        (f"{TESTS}::test_detectable_ratios_are_those_of_chi_square",),
    ),
    Mutant(
        "all noise measured by the narrowest",
        "audit/residuals.py",
        "    whitened = noise / np.sqrt(variances)\n    statistic",
        "    whitened = noise / np.sqrt(narrowest)\n    statistic",
        (f"{TESTS}::test_each_coordinate_is_measured_by_its_own_variance",),
    ),
    Mutant(
        "coefficients that take on what is wrong with others",
        "audit/residuals.py",
        "    inverse = (vectors / values) @ vectors.T",
        "    inverse = np.eye(count)",
        (f"{TESTS}::test_coefficients_are_those_of_least_squares",),
    ),
    Mutant(
        "words beyond the last whole bin sorted as well",
        "audit/uniformity.py",
        "        whole = found[found <= np.uint64(bins * int(width) - 1)]",
        "        whole = found",
        (f"{TESTS}::test_bins_are_equal_for_moduli_that_they_do_not_divide",),
    ),
    Mutant(
        "small negative numbers taken for large ones",
        "audit/uniformity.py",
        "np.sort(np.minimum(words, _negated(words, modulus)))",
        "np.sort(words)",
        (f"{TESTS}::test_plain_vectors_are_known_at_64_words",),
    ),
    Mutant(
        "a mask that is used twice for the words of a vector",
        "audit/uniformity.py",
        "_repeats(_less(found, vector, modulus), modulus)",
        "_repeats(found, modulus)",
        (f"{TESTS}::test_masks_that_are_no_masks_have_names",),
    ),
    Mutant(
        "fixed sizes looked for at the expected size only",
        "audit/cohorts.py",
        "    centre = min(max(round(float(sizes.mean())), expected - width), expected + width)",
        "    centre = expected",
        (f"{TESTS}::test_a_fixed_size_that_is_not_the_expected_one_is_found",),
    ),
    Mutant(
        "drop-outs held against the sampling",
        "audit/cohorts.py",
        "    if not thinned:\n",
        "    if True:\n",
        (
            f"{TESTS}::test_clients_that_never_answer_accuse_nobody",
            f"{TESTS}::test_poisson_sampled_cohorts_pass",
        ),
    ),
    Mutant(
        "rounds that depend on each other by threes left out",
        "audit/cohorts.py",
        "    third = 6 * triangles * clients**3",
        "    third = 0 * triangles * clients**3",
        (f"{TESTS}::test_moments_of_participation_are_exact",),
    ),
    Mutant(
        "rounds compared with the next from the first on only",
        "audit/cohorts.py",
        "            for first in (0, 1)\n",
        "            for first in (0,)\n",
        (f"{TESTS}::test_cohorts_kept_for_two_rounds_are_found",),
    ),
    Mutant(
        "a kept cohort said to be found where it is found half the time",
        "audit/cohorts.py",
        "np.floor(size * staying - _MISSED * np.sqrt(",
        "np.floor(size * staying + _MISSED * np.sqrt(",
        (f"{TESTS}::test_a_cohort_kept_by_flaky_clients_is_found_where_it_is_said",),
    ),
)
