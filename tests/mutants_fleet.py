"""Defects planted into the simulated fleet and its clock: see `mutants`."""

from mutants import Mutant

FLEET = "test_learning_fleet.py"

MUTANTS = (
    Mutant(
        "all waited for, though enough have uploaded",
        "learning/timing.py",
        "closed_s = min(closed_s, uploads[-1][0])",
        "closed_s = max(closed_s, uploads[-1][0])",
        (
            f"{FLEET}::test_uploads_close_when_enough_have_arrived_and_the_rest_are_late",
            f"{FLEET}::test_guarantee_1_of_a_round_goal_and_deadline_cut_off_what_would_have_come",
        ),
    ),
    Mutant(
        "deadline on the clock of the run, not of the round",
        "learning/timing.py",
        "closed_s = min(closed_s, start_s + deadline_s)",
        "closed_s = min(closed_s, deadline_s)",
        (
            f"{FLEET}::test_uploads_close_at_the_deadline",
            f"{FLEET}::test_guarantee_1_of_a_round_goal_and_deadline_cut_off_what_would_have_come",
        ),
    ),
    Mutant(
        "those who fall silent after uploading not waited for either",
        "learning/timing.py",
        "if gone.get(client) in {None, *_AFTER_UPLOADS}",
        "if client not in gone",
        (f"{FLEET}::test_whoever_is_gone_already_is_not_waited_for_and_has_no_reason",),
    ),
    Mutant(
        "keys exchanged before anybody trains",
        "learning/timing.py",
        "    ready_s = max(keyed_s, trained_s)",
        "    ready_s = keyed_s + trained_s - start_s",
        (f"{FLEET}::test_keys_are_exchanged_while_clients_train",),
    ),
    Mutant(
        "a client lost later than uploads close has a reason of its own",
        "learning/timing.py",
        "noticed = course.lost if course.until_s <= closed_s else None",
        "noticed = course.lost",
        (f"{FLEET}::test_uploads_close_at_the_deadline",),
    ),
    Mutant(
        "batteries that nothing empties",
        "learning/timing.py",
        "until_s = upload_s if lasts >= trains else ready_s",
        "until_s, lasts = upload_s, float(trains)",
        (f"{FLEET}::test_who_has_less_battery_than_training_drops_out_when_it_is_empty",),
    ),
    Mutant(
        "batteries recharged during training",
        "learning/fleet.py",
        "at_s + self.training_s(client, spent))",
        "at_s)",
        (f"{FLEET}::test_a_battery_empties_with_training_and_recharges_when_it_is_over",),
    ),
    Mutant(
        "slow clients counted short",
        "learning/fleet.py",
        "slow[: round(job.slow_fraction * clients)]",
        "slow[: int(job.slow_fraction * clients)]",
        (f"{FLEET}::test_that_share_of_the_clients_is_slow",),
    ),
    Mutant(
        "smaller batches and the more of them",
        "learning/fleet.py",
        "batch_size=_in_proportion(examples / batches, share), steps=steps)",
        "batch_size=_in_proportion(examples / batches, share))",
        (
            f"{FLEET}::test_guarantee_1_of_work_a_slower_client_is_done_as_soon_as_a_typical_one",
            f"{FLEET}::test_slower_clients_take_fewer_steps_or_smaller_batches",
        ),
    ),
    Mutant(
        "stretches of whatever was asked for last",
        "learning/presence.py",
        "if self._held is None or self._held[0] != block:",
        "if self._held is None or self._held[0] < block:",
        (f"{FLEET}::test_guarantee_2_of_a_fleet_answers_do_not_depend_on_the_order_of_questions",),
    ),
    Mutant(
        "everybody online at first",
        "learning/presence.py",
        "bool(chance.random() < online_s / (online_s + offline_s))",
        "bool(chance.random() < 1)",
        (f"{FLEET}::test_stretches_are_as_long_as_told_and_have_been_going_on_for_ever",),
    ),
)
