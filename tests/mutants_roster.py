"""Defects of rosters that expire, planted on purpose."""

from mutants import Mutant

TESTS = "test_roster_expiry.py"
ROSTER = "roster.py"

MUTANTS = (
    Mutant(
        "rosters that expire a second late",
        ROSTER,
        "_now() >= self.expires",
        "_now() > self.expires",
        (f"{TESTS}::test_a_roster_is_good_until_its_very_second",),
    ),
    Mutant(
        "rosters' dates by no clock",
        ROSTER,
        "    return datetime.now(UTC)\n",
        "    return datetime.fromtimestamp(0, UTC)\n",
        (f"{TESTS}::test_the_clock_is_the_machines",),
    ),
    Mutant(
        "rosters' dates outside their digests",
        ROSTER,
        "            parts.append(int(self.expires.timestamp())",
        "            _ = (int(self.expires.timestamp())",
        (f"{TESTS}::test_the_date_is_part_of_the_digest_and_its_absence_changes_none",),
    ),
    Mutant(
        "words of a roster passed over",
        ROSTER,
        "        if unknown:\n",
        "        if False:\n",
        (f"{TESTS}::test_a_date_that_is_not_understood_is_not_passed_over",),
    ),
    Mutant(
        "dates of a roster that are none mean none",
        ROSTER,
        'expires=_time(table["expires"]) if "expires" in table else None',
        'expires=_time(table["expires"]) if table.get("expires") else None',
        (f"{TESTS}::test_a_date_that_is_not_understood_is_not_passed_over",),
    ),
    Mutant(
        "a date of a roster in two spellings",
        ROSTER,
        '    if time is None or f"{time:{_TIME}}" != text:\n',
        "    if time is None:\n",
        (f"{TESTS}::test_a_date_that_is_not_understood_is_not_passed_over",),
    ),
    Mutant(
        "credentials whose roster has expired",
        ROSTER,
        "        self.roster.require_current()\n",
        "",
        (
            f"{TESTS}::test_no_session_begins_under_a_roster_that_has_expired",
            f"{TESTS}::test_no_session_is_woken_under_a_roster_that_has_expired",
        ),
    ),
    Mutant(
        "sessions planned under a roster that has expired",
        "suites.py",
        "        roster.require_current()\n",
        "",
        (f"{TESTS}::test_no_session_begins_under_a_roster_that_has_expired",),
    ),
    Mutant(
        "encryption for a committee whose roster has expired",
        "ckks/client.py",
        "        require_key(params, committee).roster.require_current()\n",
        "        require_key(params, committee)\n",
        (f"{TESTS}::test_nobody_encrypts_for_a_committee_whose_roster_has_expired",),
    ),
    Mutant(
        "ceremonies under a roster that has expired",
        "ckks/ceremony.py",
        "        params.roster.require_current()\n",
        "",
        (f"{TESTS}::test_no_member_takes_part_in_a_ceremony_under_a_roster_that_has_expired",),
    ),
    Mutant(
        "requests under a roster that has expired",
        "integrations/http/signing.py",
        "            self._roster.require_current()\n",
        "            pass\n",
        (
            f"{TESTS}::test_guarantee_4_nobody_is_admitted_under_a_roster_that_has_expired",
            f"{TESTS}::test_a_coordinator_answers_401_from_the_date_on_and_counts_it",
        ),
    ),
    Mutant(
        "runs entered under a roster that has expired",
        "integrations/consortium/participant.py",
        "        self._home.require_current()\n        if greeting",
        "        if greeting",
        (f"{TESTS}::test_guarantee_8_a_client_answers_nothing_from_the_date_on_and_loses_nothing",),
    ),
    Mutant(
        "steps answered under a roster that has expired",
        "integrations/consortium/participant.py",
        "        self._home.require_current()\n        if not self._one",
        "        if not self._one",
        (f"{TESTS}::test_guarantee_8_a_client_answers_nothing_from_the_date_on_and_loses_nothing",),
    ),
    Mutant(
        "rounds of a run whose roster has expired",
        "integrations/consortium/coordinator.py",
        "        self._clients.roster.require_current()\n",
        "",
        ("test_consortium_learning.py::test_a_run_ends_when_its_roster_expires_and_goes_on_under_another",),
    ),
    Mutant(
        "clients that join with a roster that has expired",
        "cli/join.py",
        "    home.require_current()\n",
        "",
        (f"{TESTS}::test_a_client_with_an_old_roster_does_not_join",),
    ),
    Mutant(
        "nodes of Flower enrolled by a roster that has expired",
        "integrations/flower/node.py",
        "        roster.require_current()\n",
        "",
        ("test_flower_strategy.py::test_a_strategy_and_a_node_whose_rosters_have_expired_are_told_so",),
    ),
    Mutant(
        "a strategy of Flower whose roster has expired",
        "integrations/flower/planning.py",
        "                roster.require_current()\n",
        "                pass\n",
        ("test_flower_strategy.py::test_a_strategy_and_a_node_whose_rosters_have_expired_are_told_so",),
    ),
)
