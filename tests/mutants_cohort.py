"""Defects planted where cohorts are drawn: see `mutants`."""

from mutants import Mutant

COHORT = "test_learning_cohort.py"
COIN = f"{COHORT}::test_a_coin_tells_no_more_of_a_loss_than_it_promises"

MUTANTS = (
    Mutant(
        "clients invited that did not check in",
        "learning/cohort.py",
        "if roll is None or roll.available(client)]",
        "if roll is None or job.cohort_size]",
        (f"{COHORT}::test_nobody_is_invited_who_did_not_check_in",),
    ),
    Mutant(
        "speeds told to the last digit",
        "learning/cohort.py",
        "round(math.log2(roll.speed(int(client))))",
        "math.log2(roll.speed(int(client)))",
        (f"{COHORT}::test_of_a_speed_nothing_counts_but_its_power_of_two",),
    ),
    Mutant(
        "the slow ones left out for good",
        "learning/cohort.py",
        "chance.binomial(places, job.cohort.exploring)",
        "chance.binomial(places, 0)",
        (f"{COHORT}::test_nobody_who_checks_in_is_left_out_for_good[speed]",),
    ),
    Mutant(
        "staying away tells more than a coin may",
        "learning/cohort.py",
        "LARGEST_SHARE: Final = LARGEST_LIFT / (LARGEST_LIFT**2 + 1)",
        "LARGEST_SHARE: Final = 0.99 / LARGEST_LIFT",
        (COIN,),
    ),
    Mutant(
        "coins that follow a loss wherever it is",
        "learning/cohort.py",
        "min(max(exponent * (math.log(own) - math.log(mean)), -reach), reach)",
        "exponent * (math.log(own) - math.log(mean))",
        (COIN,),
    ),
    Mutant(
        "clients preferred whom the model serves well",
        "learning/cohort.py",
        "math.log(own) - math.log(mean)",
        "math.log(mean) - math.log(own)",
        (f"{COHORT}::test_a_client_that_the_model_serves_worse_comes_more_often",),
    ),
    Mutant(
        "losses asked for where there is no mean",
        "learning/cohort.py",
        "(sampling is Sampling.LOSS and not tells)",
        "(sampling is Sampling.LOSS and losses is None)",
        (f"{COHORT}::test_without_a_mean_to_compare_with_nobody_is_asked_or_preferred",),
    ),
    Mutant(
        "one more invited than were asked for",
        "learning/cohort_job.py",
        "math.ceil(self.size * (1 + self.over_selection) - 1e-9)",
        "math.ceil(self.size * (1 + self.over_selection))",
        (f"{COHORT}::test_over_selection_invites_so_many_more_and_goes_on_with_the_size",),
    ),
)
