"""Defects planted into what tells how long messages may be; the format is that of `mutants.py`."""

from mutants import Mutant

SIZES = "test_message_sizes.py"

MUTANTS = (
    Mutant(
        "any length between the shortest and the longest admitted",
        "lockstep/sizes.py",
        "        return size_bytes in self.of(sender)",
        "        return self.least <= size_bytes <= self.most",
        (
            f"{SIZES}::test_whatever_leaves_is_admitted_whenever_clients_drop_out",
            f"{SIZES}::test_groups_answer_for_their_own_members_only",
        ),
    ),
    Mutant(
        "clients reckoned among their own neighbours",
        "masking/sizes.py",
        "min(len(kind) - (length == own), degree)",
        "min(len(kind), degree)",
        (f"{SIZES}::test_lengths_that_depend_on_neighbours_are_those_of_all_that_can_be_said",),
    ),
    Mutant(
        "all neighbours up to the threshold may be missing, whatever the minimum",
        "masking/sizes.py",
        "max(threshold, setting.degree - (clients - params.minimum_contributors))",
        "threshold",
        (f"{SIZES}::test_where_nobody_may_be_missing_lengths_are_exact",),
    ),
    Mutant(
        "entries of the dropped as short as those of survivors",
        "masking/sizes.py",
        "seed, peers - fewest)",
        "seed, 0)",
        (
            f"{SIZES}::test_whatever_leaves_is_admitted_whenever_clients_drop_out",
            f"{SIZES}::test_the_shortest_and_the_longest_leave_in_some_session",
        ),
    ),
    Mutant(
        "every share readable",
        "masking/sizes.py",
        "lengths |= _spread(_spread(of_peers, share, peers - threshold), seed, peers - fewest)",
        "lengths |= _spread(of_peers << (share * (peers - threshold)), seed, peers - fewest)",
        (
            f"{SIZES}::test_a_share_that_could_not_be_read_shortens_what_is_told_by_an_admitted_length",
            f"{SIZES}::test_where_nobody_may_be_missing_lengths_are_exact",
        ),
    ),
    Mutant(
        "shares left out beyond what lets a client upload",
        "masking/sizes.py",
        "numbers[peers] << (_untold_unmask_bytes(peers) + share * threshold)",
        "numbers[peers] << (_untold_unmask_bytes(peers) + share * (threshold - 1))",
        (
            f"{SIZES}::test_lengths_that_depend_on_neighbours_are_those_of_all_that_can_be_said",
            f"{SIZES}::test_the_shortest_and_the_longest_leave_in_some_session",
        ),
    ),
    Mutant(
        "signatures of sets by whoever likes",
        "masking/sizes.py",
        "frame_bytes(signed), witnesses, fewest_senders",
        "frame_bytes(signed), params.cohort, fewest_senders",
        (f"{SIZES}::test_signatures_of_sets_leave_witnesses_only",),
    ),
    Mutant(
        "uploads without their masked key",
        "kahe/suite.py",
        "upload_bytes=KEY_BYTES + params",
        "upload_bytes=params",
        (
            f"{SIZES}::test_whatever_leaves_a_crowd_is_admitted",
            f"{SIZES}::test_a_plain_upload_is_none_of_what_other_suites_send",
        ),
    ),
    Mutant(
        "as many answers for a sum as there are members",
        "ckks/suite.py",
        "fewest_senders=shape.threshold, most_senders=shape.threshold",
        "fewest_senders=shape.threshold",
        (f"{SIZES}::test_only_as_many_members_as_open_a_sum_may_answer_for_it",),
    ),
)
