"""Defects planted in what travels of an update and in how it is rounded: see `mutants`."""

from mutants import Mutant

WHOLE = "test_compression.py"
SELECTION = "test_compression_selection.py"
WINDOWS = "test_compression_windows.py"
ENCODING = "test_encoding.py"
MEAN = f"{WHOLE}::test_guarantee_1_the_mean_of_what_was_sent_is_the_mean_update_where_it_was_chosen"
REMEMBERED = f"{WHOLE}::test_guarantee_3_what_was_not_sent_is_remembered"
LOST = f"{WHOLE}::test_guarantee_3_with_a_feedback_of_1_nothing_is_lost"
FOLLOWS = f"{WHOLE}::test_guarantee_2_the_choice_follows_from_the_seed_or_from_the_model"
FINITE = f"{WHOLE}::test_guarantee_4_what_is_not_finite_is_refused_by_name_whether_it_was_chosen_or_not"
LARGEST = f"{SELECTION}::test_guarantee_1_the_largest_of_all_matrices_are_kept_and_of_equal_ones_the_first"
AVERAGE = f"{ENCODING}::test_guarantee_2_rounding_is_right_on_average_at_both_signs"
VANISHES = f"{ENCODING}::test_an_update_that_vanishes_is_told_of_with_what_works"
NOT_VANISHED = f"{ENCODING}::test_updates_of_zeros_or_of_little_weight_or_below_every_clip_do_not_count_as_vanished"

MUTANTS = (
    Mutant(
        "one window for every length",
        "compression/windows.py",
        "return windows if width == len(vector) else",
        "return windows if width else",
        (f"{WINDOWS}::test_guarantee_3_whatever_the_vector_it_is_spread_evenly[1500]",),
    ),
    Mutant(
        "two windows of the same signs",
        "compression/windows.py",
        "(vector[-width:], last)",
        "(vector[-width:], first)",
        (f"{WINDOWS}::test_seeds_have_signs_of_their_own_and_so_have_windows[3-16]",),
    ),
    Mutant(
        "windows that are undone in the order in which they were done",
        "compression/windows.py",
        "reversed(_windows(vector, seed))",
        "_windows(vector, seed)",
        (f"{WINDOWS}::test_guarantee_2_it_is_undone",),
    ),
    Mutant(
        "windows whose rotation is thrown away where it has an array of its own",
        "compression/windows.py",
        "    if rotated is not window:",
        "    if rotated is window:",
        (f"{WINDOWS}::test_the_first_coordinates_are_rotated_and_then_the_last",),
    ),
    Mutant(
        "of equal keys whichever",
        "compression/selection.py",
        "chosen[np.flatnonzero(keys == last)[-beyond:]] = False",
        "chosen[np.flatnonzero(keys == last)[:beyond]] = False",
        (f"{SELECTION}::test_guarantee_1_of_equal_words_the_first_are_chosen", LARGEST),
    ),
    Mutant(
        "of equal keys all",
        "compression/selection.py",
        "    if beyond:  # several",
        "    if False:  # several",
        (f"{SELECTION}::test_guarantee_1_of_equal_words_the_first_are_chosen", LARGEST),
    ),
    Mutant(
        "the same coordinates whatever the seed",
        "compression/selection.py",
        "_least(public_words(seed, length), count)",
        "_least(public_words(bytes(16), length), count)",
        (
            f"{SELECTION}::test_guarantee_1_the_choice_is_the_same_on_every_machine",
            f"{SELECTION}::test_guarantee_2_every_set_is_as_likely_as_any_other",
        ),
    ),
    Mutant(
        "coordinates near each other",
        "compression/selection.py",
        "_least(public_words(seed, length), count)",
        "np.sort((np.arange(count) + int(public_words(seed, 1)[0] % np.uint64(length))) % length)",
        (f"{SELECTION}::test_guarantee_2_every_set_is_as_likely_as_any_other",),
    ),
    Mutant(
        "the smallest magnitudes",
        "compression/selection.py",
        "        np.negative(part, out=part)\n",
        "",
        (LARGEST,),
    ),
    Mutant(
        "biases chosen like matrices",
        "compression/selection.py",
        "keys = np.full(layout.length, -np.inf, np.float32)",
        "keys = np.zeros(layout.length, np.float32)",
        (LARGEST, f"{SELECTION}::test_arrays_with_fewer_than_two_axes_are_kept_though_they_are_zero"),
    ),
    Mutant(
        "magnitudes that are all 0 choose the first",
        "compression/selection.py",
        "    if not largest:",
        "    if False:",
        (f"{SELECTION}::test_magnitudes_that_are_all_0_choose_nothing",),
    ),
    Mutant(
        "fractions as floats",
        "compression/selection.py",
        "Fraction(str(float(fraction))) * count",
        "fraction * count",
        (f"{SELECTION}::test_a_fraction_is_the_decimal_that_was_written",),
    ),
    Mutant(
        "a mask that keeps nothing",
        "compression/selection.py",
        "    if not part:",
        "    if False:",
        (f"{SELECTION}::test_fractions_that_keep_nothing_are_refused_with_the_least_that_works",),
    ),
    Mutant(
        "a residual that is never added",
        "compression/compressor.py",
        "                vector += residual\n",
        "                pass\n",
        (REMEMBERED, LOST),
    ),
    Mutant(
        "what was sent is remembered too",
        "compression/compressor.py",
        "        vector[self.coordinates] = 0\n",
        "",
        (REMEMBERED, LOST),
    ),
    Mutant(
        "feedback of everything",
        "compression/compressor.py",
        "        vector *= np.float32(self.compressor.feedback)\n",
        "",
        (f"{REMEMBERED}[0.25]",),
    ),
    Mutant(
        "what was not chosen looked at by nobody",
        "compression/compressor.py",
        "if not np.isfinite(vector[place]).all():",
        "if False:",
        (FINITE,),
    ),
    Mutant(
        "rotated and never rotated back",
        "compression/compressor.py",
        "            values = rotate_windows_back(values.astype(np.float64), self.rotation)",
        "            pass",
        (MEAN,),
    ),
    Mutant(
        "a rotation that is the same in every round",
        "compression/compressor.py",
        "rotation=rotation if self.rotate else None",
        "rotation=bytes(16) if self.rotate else None",
        (FOLLOWS,),
    ),
    Mutant(
        "coordinates that are the same in every round",
        "compression/compressor.py",
        "self.layout, self.fraction, self.whole, choice)",
        "self.layout, self.fraction, self.whole, bytes(16))",
        (FOLLOWS,),
    ),
    Mutant(
        "feedback where it would pile up",
        "compression/compressor.py",
        "if self.feedback and self.keep is not Keep.RANDOM:",
        "if self.feedback and self.keep is Keep.ALL:",
        (f"{WHOLE}::test_contradictions_are_refused_with_what_works",),
    ),
    Mutant(
        "rounding at random that is rounding down",
        "encoding/fixed_point.py",
        "    values += np.multiply(words, 2.0**-_DICE_BITS, out=uniform)\n",
        "",
        (AVERAGE, f"{ENCODING}::test_what_every_client_loses_to_the_nearest_arrives_at_random"),
    ),
    Mutant(
        "rounding at random by few bits",
        "encoding/fixed_point.py",
        "np.multiply(words, 2.0**-_DICE_BITS, out=uniform)",
        "np.multiply(words >> np.uint32(30), 2.0**-2, out=uniform)",
        (AVERAGE,),
    ),
    Mutant(
        "clipped values that dice lift beyond the bound",
        "encoding/fixed_point.py",
        "                np.clip(part, -self.bound, self.bound, out=part)\n",
        "",
        (f"{ENCODING}::test_guarantee_1_not_even_the_worst_dice_lead_beyond_the_bound",),
    ),
    Mutant(
        "dice that nobody rolls",
        "encoding/update.py",
        "name=name, dice=dice)",
        "name=name)",
        (f"{ENCODING}::test_only_the_update_is_rounded_at_random",),
    ),
    Mutant(
        "honest sums refused where roundings went up",
        "encoding/update.py",
        "self._weight_units + contributors + slack",
        "self._weight_units + contributors / 2 + slack",
        (f"{ENCODING}::test_sums_of_what_was_rounded_away_from_zero_are_taken",),
    ),
    Mutant(
        "clients refused for their little weight",
        "encoding/update.py",
        "if largest < CLIP_RANGE[0] or round(largest * (self.bound / self.coding.clip)):",
        "if largest < CLIP_RANGE[0]:",
        (NOT_VANISHED,),
    ),
    Mutant(
        "a clip that is twice what works",
        "encoding/update.py",
        "clip = math.ldexp(1.0, exponent - (mantissa == _HALF))",
        "clip = math.ldexp(1.0, exponent + 1)",
        (VANISHES,),
    ),
)
