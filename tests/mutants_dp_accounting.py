"""Defects planted in events, accountants and calibration: see `mutants`."""

from mutants import Mutant

ACCOUNTANTS = "test_dp_accountants.py"
LAWS = f"{ACCOUNTANTS}::TestEveryAccountant"
EVENTS = "test_dp_events.py"
CLI = "test_cli_privacy.py"

MUTANTS = (
    Mutant(
        "sensitivity not doubled under replace-one",
        "dp/accountants/reduce.py",
        "noise_multiplier=_least(event.noise_multiplier / 2)",
        "noise_multiplier=_least(event.noise_multiplier)",
        (
            f"{LAWS}::test_under_replace_one_sensitivities_are_doubled",
            f"{ACCOUNTANTS}::test_core_cases_within_the_bars[c12_replace_one_gauss]",
        ),
    ),
    Mutant(
        "composes as far as it gets",
        "dp/accountants/base.py",
        "        admitted = [(*self._admit(part), times) for part, times in reduced(event, count, self._relation)]",
        "        admitted = ((*self._admit(part), times) for part, times in reduced(event, count, self._relation))",
        (f"{LAWS}::test_composing_tries_first_and_then_commits",),
    ),
    Mutant(
        "a non-private release from a sample forgotten",
        "dp/accountants/reduce.py",
        "        return [part for part, _ in inner if isinstance(part, NonPrivate)]",
        "        return []",
        (f"{LAWS}::test_without_noise_epsilon_is_infinite_for_good",),
    ),
    Mutant(
        "several releases from one sample counted once each",
        "dp/accountants/reduce.py",
        "        information += times / part.noise_multiplier**2",
        "        information += 1 / part.noise_multiplier**2",
        (f"{LAWS}::test_several_releases_from_one_sample_are_not_samples_of_their_own",),
    ),
    Mutant(
        "tree one level too low",
        "dp/accountants/reduce.py",
        "math.sqrt(event.steps.bit_length())",
        "math.sqrt(max(1, (event.steps - 1).bit_length()))",
        (f"{LAWS}::test_a_tree_is_a_gaussian_of_its_height_under_zero_out_only",),
    ),
    Mutant(
        "rounding costs no variance",
        "dp/accountants/reduce.py",
        "    variance = event.contributors * event.local_std**2 - _ROUNDING_VARIANCE\n",
        "    variance = event.contributors * event.local_std**2\n",
        (f"{ACCOUNTANTS}::test_the_stand_in_for_discrete_noise",),
    ),
    Mutant(
        "statistical distance not asked for",
        "dp/accountants/base.py",
        "        if self._lost(epsilon) > _SHARE * delta:",
        "        if False:",
        (f"{LAWS}::test_noise_too_narrow_for_the_lemma_is_refused_where_the_lemma_is_needed",),
    ),
    Mutant(
        "statistical distance not paid for",
        "dp/accountants/base.py",
        "self._epsilon(self._spent, (1 - _SHARE) * delta)",
        "self._epsilon(self._spent, delta)",
        (f"{ACCOUNTANTS}::test_the_stand_in_for_discrete_noise",),
    ),
    Mutant(
        "amplification claimed for sampled Skellam noise",
        "dp/accountants/rdp.py",
        "        if not isinstance(inner, Gaussian):\n",
        "        if not isinstance(inner, Gaussian | Skellam):\n",
        (f"{LAWS}::test_what_it_does_not_know_it_refuses",),
    ),
    Mutant(
        "series that cancel out taken for no cost",
        "dp/accountants/rdp.py",
        "                return np.where(sampled > 0, sampled, orders / (2 * noise**2))",
        "                return sampled",
        (f"{ACCOUNTANTS}::test_where_series_cancel_out_sampling_still_costs_something",),
    ),
    Mutant(
        "sampled noise rounded up",
        "dp/accountants/pld.py",
        "min(noise, least)",
        "least * 2 ** (1 / steps)",
        (f"{ACCOUNTANTS}::test_many_sampled_noise_levels_are_rounded_down_and_never_up",),
    ),
    Mutant(
        "sampled replace-one accounted as add-or-remove",
        "dp/accountants/pld.py",
        'relations[relation.name.replace("ZERO_OUT", "REPLACE_SPECIAL")]',
        "relations.ADD_OR_REMOVE_ONE",
        (f"{ACCOUNTANTS}::test_sampled_replace_one_is_dp_accountings",),
    ),
    Mutant(
        "Skellam surcharge too small",
        "dp/integer.py",
        "    return gaussian + min(sharp, 3 * l1 / (2 * variance))",
        "    return gaussian + min(sharp, l1 / (2 * variance))",
        (f"{ACCOUNTANTS}::test_skellam_divergence_by_hand_and_between_whole_orders",),
    ),
    Mutant(
        "between whole orders the lower one's divergence",
        "dp/integer.py",
        "    if part == 0:\n",
        "    if below > 1:\n",
        (f"{ACCOUNTANTS}::test_skellam_divergence_by_hand_and_between_whole_orders",),
    ),
    Mutant(
        "bits of adaptive clipping of sensitivity 1",
        "dp/calibration.py",
        "(2 * clip_bits_std) ** -2",
        "clip_bits_std**-2",
        (f"{ACCOUNTANTS}::test_adaptive_clipping_splits_the_noise",),
    ),
    Mutant(
        "calibrated noise rounded down",
        "dp/calibration.py",
        "    place = math.ceil(found / step)\n",
        "    return at(math.ceil(found / step) - 1)\n",
        (f"{ACCOUNTANTS}::test_calibrated_noise_is_enough_and_no_more",),
    ),
    Mutant(
        "unknown keys of an event ignored",
        "dp/events.py",
        "        if key not in known:",
        "        if False:",
        (f"{EVENTS}::test_no_key_is_ignored",),
    ),
    Mutant(
        "a key that stands twice read once",
        "dp/located.py",
        "            if key in table:",
        "            if False:",
        (f"{EVENTS}::test_what_is_wrong_in_a_file_is_named_with_its_line",),
    ),
    Mutant(
        "infinite epsilon is a good answer",
        "cli/epsilon.py",
        "    return Exit.GOOD if math.isfinite(cost.epsilon) else Exit.BAD",
        "    return Exit.GOOD",
        (f"{CLI}::test_without_noise_epsilon_is_infinite_and_the_exit_code_says_so",),
    ),
)
