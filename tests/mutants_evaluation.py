"""Defects planted in how clients evaluate, what is made of it, and how examples are dealt to them: see `mutants`."""

from mutants import Mutant

TESTS = "test_learning_evaluation.py"
OF_DATA = "test_learning_data.py"

MUTANTS = (
    Mutant(
        "losses of clients added up as if each had one example",
        "learning/federated_evaluation.py",
        "round(loss * examples * _LOSS_UNITS)",
        "round(loss * _LOSS_UNITS)",
        (
            f"{TESTS}::test_examples_weigh_the_same_in_the_loss_and_clients_the_same_in_the_mean_accuracy",
            f"{TESTS}::test_guarantee_1_sums_are_exact_even_where_those_of_the_suite_are_not",
        ),
    ),
    Mutant(
        "counts that rely on exact sums",
        "learning/federated_evaluation.py",
        "error = largest_error(self.error_std)",
        "error = 0",
        (
            f"{TESTS}::test_guarantee_1_sums_are_exact_even_where_those_of_the_suite_are_not",
            f"{TESTS}::test_guarantee_1_holds_through_a_session_of_every_suite[ckks]",
        ),
    ),
    Mutant(
        "bands in floats",
        "learning/federated_evaluation.py",
        "correct * self.bins // examples",
        "int(evaluation.accuracy * self.bins)",
        (f"{TESTS}::test_bands_hold_their_lower_edge_and_the_last_one_holds_1[49]",),
    ),
    Mutant(
        "infinite losses left as they are",
        "learning/federated_evaluation.py",
        "if math.isfinite(evaluation.loss) else LOSS_MAXIMUM",
        "if not math.isnan(evaluation.loss) else 0.0",
        (f"{TESTS}::test_guarantee_2_a_loss_that_is_no_number_counts_as_the_greatest_and_spoils_nothing",),
    ),
    Mutant(
        "clients that write none of the bands, or two",
        "learning/federated_evaluation.py",
        "            sum(histogram) == clients\n            and correct <= examples",
        "            correct <= examples",
        (f"{TESTS}::test_guarantee_3_sums_that_contradict_themselves_are_refused",),
    ),
    Mutant(
        "coordinates below what anybody can write",
        "learning/federated_evaluation.py",
        "int(summed.vector.min()) < -slack or ",
        "",
        (
            f"{TESTS}::test_guarantee_3_coordinates_beyond_all_bounds_are_refused",
            f"{TESTS}::test_guarantee_3_sums_that_contradict_themselves_are_refused",
        ),
    ),
    Mutant(
        "a quantile of one client more",
        "learning/federated_evaluation.py",
        "math.ceil(share * self.clients - 1e-9)",
        "math.floor(share * self.clients) + 1",
        (f"{TESTS}::test_a_quantile_is_the_band_of_the_client_in_that_place",),
    ),
    Mutant(
        "the last of the best kept",
        "learning/stopping.py",
        "        return gain > by\n",
        "        return gain >= by\n",
        (
            f"{TESTS}::test_guarantee_1_of_stopping_the_first_of_the_best_is_kept_whatever_follows",
            f"{TESTS}::test_guarantee_2_of_stopping_patience_counts_measured_rounds_in_a_row",
        ),
    ),
    Mutant(
        "rounds without an evaluation wear patience down",
        "learning/stopping.py",
        "        if value is None:\n            return None\n",
        "        value = math.nan if value is None else value\n",
        (f"{TESTS}::test_guarantee_2_of_stopping_patience_counts_measured_rounds_in_a_row",),
    ),
    Mutant(
        "patience new after a resumption",
        "learning/stopping.py",
        'self._to_beat, self._in_vain = state["to_beat"], state["in_vain"]',
        'self._to_beat, self._in_vain = state["to_beat"], 0',
        (f"{TESTS}::test_guarantee_3_of_stopping_a_restored_one_goes_on_as_the_other_would_have",),
    ),
    Mutant(
        "what is held out trained on as well",
        "learning/data.py",
        "[share[cut:] for share, cut in",
        "[share for share, cut in",
        (f"{OF_DATA}::test_guarantee_1_and_2_with_a_holdout_every_example_is_held_once",),
    ),
    Mutant(
        "shards of examples in no order",
        "learning/partition.py",
        'shuffled[np.argsort(labels[shuffled], kind="stable")]',
        "shuffled",
        (f"{OF_DATA}::test_shards_give_clients_few_classes_and_examples_alike_in_number",),
    ),
)
