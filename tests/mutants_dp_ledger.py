"""Defects planted in the ledger, its budget and clients' receipts."""

from mutants import Mutant

TESTS = "test_dp_ledger.py"
CRASH = "test_dp_ledger_crash.py"
BUDGET = "test_dp_budget.py"
RECEIPTS = "test_dp_receipts.py"

MUTANTS = (
    Mutant(
        "a line's place is not checked",
        "journal/chain.py",
        'if not is_whole(value["sequence"]) or value["sequence"] != len(self.hashes):',
        "if False:",
        (f"{TESTS}::test_a_line_that_means_nothing_is_refused_though_its_owner_signed_it",),
    ),
    Mutant(
        "hashes are not chained",
        "journal/chain.py",
        'if value["previous"] != (self.hashes[-1] if self.hashes else NO_LINE):',
        "if False:",
        (f"{TESTS}::test_a_line_of_another_ledger_of_the_same_owner_is_refused",),
    ),
    Mutant(
        "signatures are not verified",
        "journal/chain.py",
        "        verify_line(signer, value, self.LABEL, where)\n",
        "",
        (
            f"{TESTS}::test_a_forged_line_is_refused_though_its_hashes_fit",
            f"{TESTS}::test_a_flipped_byte_is_refused_wherever_it_is",
        ),
    ),
    Mutant(
        "lines may follow the closing record",
        "journal/chain.py",
        "if self.closed is not None:\n            raise",
        "if False:\n            raise",
        (f"{TESTS}::test_nothing_follows_the_closing_record",),
    ),
    Mutant(
        "a release needs no charge",
        "dp/chain.py",
        "if not self._unreleased[number]:",
        "if False:",
        (
            f"{TESTS}::test_a_release_needs_a_charge_of_its_own",
            f"{TESTS}::test_a_second_release_on_one_charge_is_refused",
        ),
    ),
    Mutant(
        "other forms of a line are accepted",
        "journal/lines.py",
        "    if not same:\n",
        "    if False:\n",
        (f"{TESTS}::test_a_line_in_another_form_is_refused",),
    ),
    Mutant(
        "anything without a newline passes for torn",
        "journal/lines.py",
        "    return end == len(tail)",
        "    return True",
        (f"{TESTS}::test_a_whole_line_whose_end_was_damaged_is_not_taken_for_a_torn_one",),
    ),
    Mutant(
        "a charge is not fsynced",
        "journal/appending.py",
        "            rest = rest[os.write(self._descriptor, rest) :]\n        os.fsync(self._descriptor)\n",
        "            rest = rest[os.write(self._descriptor, rest) :]\n",
        (f"{TESTS}::test_the_charge_is_on_disk_when_charge_returns",),
    ),
    Mutant(
        "a short write is taken for a whole one",
        "journal/appending.py",
        "        while rest:\n            rest = rest[os.write(self._descriptor, rest) :]\n",
        "        os.write(self._descriptor, rest)\n",
        (f"{TESTS}::test_a_short_write_is_continued",),
    ),
    Mutant(
        "a torn line stays",
        "journal/writer.py",
        "            self._storage.cut(size_bytes)\n",
        "            pass\n",
        (
            f"{TESTS}::test_a_torn_ledger_goes_on_from_its_last_whole_line",
            f"{CRASH}::test_a_crash_at_any_call_costs_one_charge_at_most_and_never_a_release_without_one",
        ),
    ),
    Mutant(
        "there is no lock",
        "journal/appending.py",
        "            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "            pass\n",
        (
            f"{TESTS}::test_a_second_writer_is_refused_until_the_first_lets_go",
            f"{TESTS}::test_a_second_writer_in_another_process_is_refused_and_named_until_the_first_is_killed",
        ),
    ),
    Mutant(
        "a failed ledger writes on",
        "journal/writer.py",
        "        self._usable = False\n        try:\n",
        "        try:\n",
        (
            f"{TESTS}::test_after_a_failed_write_nothing_more_is_written",
            f"{TESTS}::test_a_failed_fsync_is_not_tried_again",
        ),
    ),
    Mutant(
        "the budget is not asked",
        "dp/ledger.py",
        "            self.opening.budget.check(self.spent, charge.events)\n",
        "",
        (
            f"{TESTS}::test_a_budget_that_would_be_overrun_writes_nothing_and_the_ledger_goes_on",
            f"{RECEIPTS}::test_a_session_beyond_the_clients_own_budget_is_refused_with_nothing_written",
        ),
    ),
    Mutant(
        "any key may go on with a ledger",
        "journal/writer.py",
        "        if chain.signer != identity.public:\n",
        "        if False:\n",
        (f"{RECEIPTS}::test_the_ledger_of_another_client_or_in_use_is_refused",),
    ),
    Mutant(
        "lines may be missing since the checkpoint",
        "journal/writer.py",
        "        if not 0 <= sequence < len(hashes):\n",
        "        if not 0 <= sequence < len(hashes):\n            return\n        if False:\n",
        (f"{TESTS}::test_the_head_of_a_checkpoint_is_required",),
    ),
    Mutant(
        "a ledger is written in place",
        "journal/appending.py",
        'beside = path.with_name(f".{path.name}.{OsEntropy().token_bytes(8).hex()}.new")',
        "beside = path",
        (f"{TESTS}::test_a_ledger_is_not_made_over_another_file",),
    ),
    Mutant(
        "the filter takes the order that looks best",
        "dp/renyi.py",
        "        divergence = float(self._divergences(spent)[places[0]])\n",
        "        return super()._epsilon(spent, delta)\n",
        (f"{BUDGET}::test_the_filter_keeps_to_its_order_though_another_would_look_better",),
    ),
    Mutant(
        "places may be taken twice",
        "dp/plan.py",
        "                self._left[index] = (planned, left - taken)\n",
        "",
        (f"{BUDGET}::test_no_place_is_taken_twice_whoever_takes_it",),
    ),
    Mutant(
        "all planned rounds are taken for paid",
        "dp/plan.py",
        "    if plan.cost(plan.rounds) <= plan.epsilon:\n",
        "    if plan.rounds:\n",
        (f"{BUDGET}::test_a_plan_that_costs_too_much_lasts_for_as_many_rounds_as_the_budget_affords",),
    ),
    Mutant(
        "a wider discrete Gaussian passes for one more",
        "dp/plan.py",
        "same = event.local_std == planned.local_std",
        "same = event.local_std >= planned.local_std",
        (f"{BUDGET}::test_what_cannot_be_compared_takes_no_place",),
    ),
    Mutant(
        "releases without noise are not counted",
        "dp/budget.py",
        "if not (isinstance(part.event, NonPrivate) and part.event.reason in self.excluded)",
        "if not isinstance(part.event, NonPrivate)",
        (f"{BUDGET}::test_a_release_without_noise_is_refused_unless_it_is_excluded_by_name_and_reason",),
    ),
    Mutant(
        "a nonce may be used for another session",
        "dp/client_ledger.py",
        "        if (before.events, before.facts) != (events, facts):\n",
        "        if False:\n",
        (f"{RECEIPTS}::test_under_the_nonce_of_a_charged_session_nothing_else_is_charged",),
    ),
    Mutant(
        "the count of rounds is not signed",
        "dp/receipts.py",
        '            "rounds": self.rounds,\n',
        '            "rounds": 1,\n',
        (f"{RECEIPTS}::test_a_receipt_that_was_changed_does_not_hold",),
    ),
)
