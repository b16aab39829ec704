"""Defects planted into noise, clipping, rounding, rotation, codec and planner; the format is that of `mutants.py`."""

from mutants import Mutant

NOISE_TESTS = "test_dp_noise.py"
CODEC = "test_dp_codec.py"
PLANNER = "test_dp_planner.py"
ROTATION = "test_compression_rotation.py"

MUTANTS = (
    Mutant(
        "draws that tie with a threshold in 64 bits passed above it",
        "primitives/sampling.py",
        "    for i in np.flatnonzero(high[passed - 1] == words):",
        "    for i in ():",
        ("test_lattice.py::test_bisection_finds_the_value_on_either_side_of_every_threshold",),
    ),
    Mutant(
        "a Skellam recurrence that begins where the table ends",
        "dp/tables.py",
        "for bits in (TAIL_BITS, _BEYOND_BITS))",
        "for bits in (TAIL_BITS, 40))",
        (f"{NOISE_TESTS}::test_skellam_tables_are_within_their_distance_of_the_exact_law",),
    ),
    Mutant(
        "Skellam noise of half the variance",
        "dp/tables.py",
        "following + 2 * k * bottom",
        "following + 4 * k * bottom",
        (
            f"{NOISE_TESTS}::test_skellam_tables_are_within_their_distance_of_the_exact_law",
            f"{CODEC}::test_the_released_sum_has_the_variance_that_is_charged",
        ),
    ),
    Mutant(
        "tails cut early",
        "dp/tables.py",
        "TAIL_BITS: Final = 136",
        "TAIL_BITS: Final = 16",
        (f"{NOISE_TESTS}::test_distances_and_tails_stay_far_from_what_anyone_could_use",),
    ),
    Mutant(
        "wide draws multiplied in 16 bits",
        "dp/noise.py",
        "out=scaled[: len(batch)], dtype=vector.dtype)",
        'out=scaled[: len(batch)], casting="unsafe")',
        (f"{NOISE_TESTS}::test_draws_fit_the_exact_law",),
    ),
    Mutant(
        "the narrow summand of a wide Gaussian left out",
        "dp/tables.py",
        "        Part(discrete_gaussian(offset), 1, 1),\n",
        "",
        (f"{NOISE_TESTS}::test_draws_fit_the_exact_law",),
    ),
    Mutant(
        "every block drawn from the first one's keys",
        "dp/noise.py",
        "zip(copies, keys[start // _BLOCK], strict=True)",
        "zip(copies, keys[0], strict=True)",
        (
            f"{NOISE_TESTS}::test_neighbouring_draws_are_not_correlated",
            f"{NOISE_TESTS}::test_every_block_and_summand_has_keys_of_its_own",
        ),
    ),
    Mutant(
        "Poisson sampling at a probability rounded up",
        "dp/noise.py",
        "    threshold = int(Fraction(probability) * (1 << 64))",
        "    threshold = int(Fraction(probability) * (1 << 64)) + 1",
        (f"{NOISE_TESTS}::test_inclusion_thresholds_are_rounded_down",),
    ),
    Mutant(
        "choices biased by a remainder",
        "dp/noise.py",
        "        if int(word[0]) < (1 << 64) // count * count:",
        "        if int(word[0]) >= 0:",
        (f"{NOISE_TESTS}::test_words_beyond_the_last_whole_multiple_are_drawn_again",),
    ),
    Mutant(
        "clipping that lengthens short updates",
        "dp/clip.py",
        "    return clip / norm if norm > clip else 1.0",
        "    return clip / norm",
        (f"{CODEC}::test_short_updates_are_left_alone",),
    ),
    Mutant(
        "layers clipped to the whole norm each",
        "dp/clip.py",
        "_factor(clip / math.sqrt(len(norms)), each)",
        "_factor(clip, each)",
        (f"{CODEC}::test_clipped_updates_have_the_norm_and_the_direction",),
    ),
    Mutant(
        "any rounding accepted",
        "dp/rounding.py",
        "    return sum(squares) <= l2_squared",
        "    return True",
        (
            f"{CODEC}::test_the_norm_is_bounded_exactly_or_the_vector_refused",
            f"{CODEC}::test_roundings_are_redrawn_until_they_fit",
        ),
    ),
    Mutant(
        "norms compared with one unit to spare",
        "dp/rounding.py",
        "    return sum(squares) <= l2_squared",
        "    return sum(squares) <= l2_squared + 1",
        (f"{CODEC}::test_the_comparison_is_exact_to_the_last_unit",),
    ),
    Mutant(
        "every retry with the same bits",
        "dp/rounding.py",
        "        key = Secret(entropy.token_bytes(PRG_KEY_BYTES))",
        "        key = Secret(bytes(PRG_KEY_BYTES))",
        (f"{CODEC}::test_roundings_are_redrawn_until_they_fit",),
    ),
    Mutant(
        "rounding to the nearest",
        "dp/rounding.py",
        "                np.multiply(uniform, 2.0**-32, out=piece)",
        "                piece[:] = 0.5",
        (f"{CODEC}::test_rounding_is_right_on_average",),
    ),
    Mutant(
        "a rotation without signs",
        "compression/rotation.py",
        "_SIGN: Final = np.uint64(1 << 63)",
        "_SIGN: Final = np.uint64(0)",
        (
            f"{ROTATION}::test_it_is_the_matrix",
            f"{ROTATION}::test_a_spike_is_spread_evenly_and_a_flat_vector_is_no_spike",
        ),
    ),
    Mutant(
        "extras sent unchecked",
        "dp/codec.py",
        "        if not float(np.sqrt(values @ values)) <= self.extras_norm * (1 + _SLACK):",
        "        if False:",
        (f"{CODEC}::test_what_is_not_as_agreed_is_refused_by_name",),
    ),
    Mutant(
        "clients that add no noise",
        "dp/codec.py",
        "            self.noise.add_to(whole, entropy=entropy, workers=workers)",
        "            pass",
        (f"{CODEC}::test_the_released_sum_has_the_variance_that_is_charged",),
    ),
    Mutant(
        "shares sized for the whole cohort",
        "dp/planner.py",
        "    shares = 1 if mechanism is Mechanism.GAUSSIAN else honest\n",
        "    shares = 1 if mechanism is Mechanism.GAUSSIAN else cohort\n",
        (f"{PLANNER}::test_the_loss_is_small_and_the_noise_is_enough",),
    ),
    Mutant(
        "noise sized for the norm before rounding",
        "dp/planner.py",
        "    target = Fraction(noise_multiplier) ** 2 * l2_squared",
        "    target = Fraction(noise_multiplier * norm) ** 2",
        (f"{PLANNER}::test_the_loss_is_small_and_the_noise_is_enough",),
    ),
    Mutant(
        "extras outside the joint norm",
        "dp/planner.py",
        "    joint = math.hypot(1.0, extras_norm)",
        "    joint = 1.0",
        (f"{PLANNER}::test_joint_norms_share_the_noise",),
    ),
    Mutant(
        "corrupt clients' noise counted",
        "dp/planner.py",
        "    honest = contributors - corrupt\n",
        "    honest = contributors\n",
        (f"{PLANNER}::test_drop_outs_take_their_noise_along_and_corrupt_clients_theirs",),
    ),
    Mutant(
        "the lemma's sixteen forgotten when noise is charged",
        "dp/planner.py",
        "root_below((variance - LEMMA_VARIANCE) / made.l2_squared)",
        "root_below(variance / made.l2_squared)",
        (f"{PLANNER}::test_the_loss_is_small_and_the_noise_is_enough",),
    ),
    Mutant(
        "no union over the coordinates of a sum",
        "dp/planner.py",
        "    bits = correctness_bits + 2 + math.log2(length)",
        "    bits = correctness_bits + 2",
        (f"{PLANNER}::test_sums_have_room_by_the_papers_tails",),
    ),
    Mutant(
        "a histogram in which clients count as much as they like",
        "dp/quantile.py",
        "        vector[int(np.searchsorted(self.edges, norm))] = self.scale",
        "        vector[int(np.searchsorted(self.edges, norm)) :] = self.scale",
        (f"{PLANNER}::test_a_clients_vector_has_one_coordinate_whatever_its_norm",),
    ),
)
