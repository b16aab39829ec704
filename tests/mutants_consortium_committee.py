"""Defects of committees among distant clients, planted on purpose."""

from mutants import Mutant

COMMITTEE = "test_consortium_committee.py"
LEARNING = "test_consortium_ckks.py"
SEAT = "test_consortium_seat.py"
_OF = "integrations/consortium/"

MUTANTS = (
    Mutant(
        "what a client spoils is its member's",
        _OF + "sitting.py",
        "if party in self._failures}",
        "if speaker in {self._seats[failed] for failed in self._failures}}",
        (f"{COMMITTEE}::test_what_a_client_declines_is_not_its_members",),
    ),
    Mutant(
        "a late word of a client is its member's",
        _OF + "sitting.py",
        "return self._spoken_to.get(client) or phase.parties",
        "return phase.parties",
        (f"{COMMITTEE}::test_who_declines_declines_what_it_was_last_shown",),
    ),
    Mutant(
        "clients without a seat are heard as members",
        _OF + "sitting.py",
        "for party in self._server.waiting if party in self._seats}",
        "for party in self._server.waiting if party in self._seats} | {5: PartyId(Role.COMMITTEE, 0)}",
        (f"{COMMITTEE}::test_steps_say_to_whom_they_are",),
    ),
    Mutant(
        "long requests stand in steps",
        _OF + "sitting.py",
        "if party.role is not Role.COMMITTEE or len(request) <= MOST_INLINE_BYTES:",
        "if True:",
        (f"{COMMITTEE}::test_a_long_request_is_fetched_while_its_phase_is_open",),
    ),
    Mutant(
        "requests can be fetched when nobody waits for their answers",
        _OF + "sitting.py",
        "        if fetched is None and digest != self.model:\n",
        "        if False:\n",
        (f"{COMMITTEE}::test_a_request_that_was_fetched_is_gone_with_its_phase",),
    ),
    Mutant(
        "a ceremony has a sum",
        _OF + "sitting.py",
        "if self._aborted is None and isinstance(order, Order) else None",
        "if self._aborted is None else None",
        (f"{COMMITTEE}::test_a_key_is_made_and_its_sums_are_opened",),
    ),
    Mutant(
        "the rooms of dealings are too small",
        "ckks/ceremony_sizes.py",
        "(sealed,) * (shape.members - 1)",
        "(sealed,) * (shape.members - 2)",
        (f"{COMMITTEE}::test_a_long_request_is_fetched_while_its_phase_is_open",),
    ),
    Mutant(
        "keys outlive their openings",
        _OF + "committee.py",
        " and self._opened < epoch.committee.openings:",
        ":",
        (
            f"{COMMITTEE}::test_a_key_is_kept_until_its_openings_are_spent",
            f"{LEARNING}::test_one_key_serves_as_many_rounds_as_it_has_openings",
        ),
    ),
    Mutant(
        "what was not opened costs nothing",
        _OF + "committee.py",
        "self._opened += Phase.OPEN in outcome.phases",
        "self._opened += outcome.aggregate is not None",
        (f"{COMMITTEE}::test_a_key_is_kept_until_its_openings_are_spent",),
    ),
    Mutant(
        "members that have no share are counted on",
        _OF + "committee.py",
        "        self._lost |= outcome.member_failures.keys()\n",
        "",
        (
            f"{COMMITTEE}::test_a_key_is_made_anew_when_too_few_of_its_holders_are_left",
            f"{LEARNING}::test_a_committee_that_loses_its_shares_makes_another_key",
        ),
    ),
    Mutant(
        "members that hold no share of a key are counted on",
        _OF + "committee.py",
        "return set(key.statement.qualified) - self._lost",
        "return set(self.members.values()) - self._lost",
        (f"{COMMITTEE}::test_a_member_that_comes_back_is_in_the_next_key",),
    ),
    Mutant(
        "keys are made for sums of another job",
        _OF + "committee.py",
        "if key is not None and key.epoch == epoch and",
        "if key is not None and",
        (f"{COMMITTEE}::test_a_key_is_kept_until_its_openings_are_spent",),
    ),
    Mutant(
        "clients train though nobody could open their sum",
        _OF + "committee.py",
        "        if len(there) < threshold:\n",
        "        if False:\n",
        (
            f"{COMMITTEE}::test_a_key_is_made_anew_when_too_few_of_its_holders_are_left",
            f"{LEARNING}::test_without_enough_of_the_committee_nobody_trains",
        ),
    ),
    Mutant(
        "a committee of anybody",
        _OF + "committee.py",
        "        if strangers:\n",
        "        if False:\n",
        (f"{COMMITTEE}::test_a_committee_is_of_clients",),
    ),
    Mutant(
        "any key of a committee will do",
        _OF + "trainee.py",
        "        if epoch != wanted:\n",
        "        if False:\n",
        (f"{LEARNING}::test_a_committees_key_is_made_as_the_job_says",),
    ),
    Mutant(
        "nobody asks what a key was made for",
        _OF + "participant.py",
        "            self._work.check_key(params.setting.epoch)\n",
        "            pass\n",
        (
            f"{SEAT}::test_a_client_encrypts_for_no_key_that_is_not_for_the_runs_sums",
            f"{SEAT}::test_a_member_helps_to_open_nothing_that_is_not_the_runs",
        ),
    ),
    Mutant(
        "keys are made for whatever a coordinator likes",
        _OF + "participant.py",
        "            self._work.check_key(ceremony.epoch)\n",
        "",
        (f"{SEAT}::test_no_key_is_made_that_is_not_for_the_runs_sums",),
    ),
    Mutant(
        "ceremonies under any name",
        _OF + "participant.py",
        "            _require_named(step, ceremony.nonce)\n",
        "",
        (f"{SEAT}::test_a_ceremony_has_its_nonce_for_a_name_and_parameters_of_its_own",),
    ),
    Mutant(
        "shares are kept after the signature has left, or not at all",
        _OF + "participant.py",
        "            self._seat.keep(member)\n",
        "",
        (
            f"{SEAT}::test_a_key_is_made_and_its_sums_are_opened",
            f"{SEAT}::test_the_share_is_on_disk_before_the_signature_leaves",
        ),
    ),
    Mutant(
        "shares outlive their openings",
        _OF + "seat.py",
        "            if not remaining_openings(key, self._home.guard):\n",
        "            if False:\n",
        (f"{SEAT}::test_a_share_goes_when_its_openings_are_spent",),
    ),
    Mutant(
        "shares of old keys pile up",
        _OF + "seat.py",
        "        self.forget_all_but(path.name)\n",
        "",
        (f"{SEAT}::test_another_key_takes_the_place_of_the_last",),
    ),
    Mutant(
        "shares outlive their run",
        _OF + "participant.py",
        '        if not session:\n            self._seat.forget_all_but("")\n',
        "",
        (f"{SEAT}::test_a_share_goes_when_the_run_is_over_and_not_before",),
    ),
    Mutant(
        "a policy says nothing about ceremonies",
        _OF + "seat.py",
        "        if _SUITE not in self._policy.session.suites:\n",
        "        if False:\n",
        (f"{SEAT}::test_no_key_is_made_where_the_policy_does_not_allow_the_suite",),
    ),
    Mutant(
        "both parts of a party have one memory",
        _OF + "attempt.py",
        '(b"" if step.part is Part.CLIENT else step.part.encode())',
        'b""',
        (
            f"{SEAT}::test_a_step_that_comes_again_gets_the_same_bytes_whoever_is_asked",
            f"{SEAT}::test_what_a_client_spoils_is_not_its_members_and_the_other_way_round",
        ),
    ),
    Mutant(
        "a member that spoils its part spoils the client's",
        _OF + "attempt.py",
        "self._shelf.forget(self._attempt.step.session, self._attempt.step.part)",
        "[self._shelf.forget(self._attempt.step.session, part) for part in Part]",
        (f"{SEAT}::test_what_a_client_spoils_is_not_its_members_and_the_other_way_round",),
    ),
    Mutant(
        "whatever is fetched is answered",
        _OF + "attempt.py",
        "        if len(request) != self.step.fetched_bytes or model_digest(request) != self.step.fetched:\n",
        "        if False:\n",
        (f"{SEAT}::test_a_request_that_is_not_the_one_that_was_named_is_refused",),
    ),
    Mutant(
        "anything is fetched, however long",
        _OF + "participant.py",
        "            if step.fetched_bytes > member.most_request_bytes:\n",
        "            if False:\n",
        (f"{SEAT}::test_nothing_is_fetched_that_is_longer_than_any_request",),
    ),
    Mutant(
        "distant uploads are not signed",
        "learning/sessions.py",
        "signed = active or suite(job.suite).has_committee",
        "signed = active",
        (f"{LEARNING}::test_a_distant_run_comes_to_the_model_of_a_simulated_one_within_the_error_of_ckks",),
    ),
    Mutant(
        "a committee's bytes are the clients'",
        _OF + "coordinator.py",
        "    if phase in _OF_COMMITTEE:\n",
        "    if False:\n",
        (f"{LEARNING}::test_one_key_serves_as_many_rounds_as_it_has_openings",),
    ),
)
