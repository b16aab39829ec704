"""Defects planted in differential privacy inside Flower: see `mutants`."""

from mutants import Mutant

TESTS = "test_flower_privacy.py"
FLOWER = "integrations/flower"
RELEASED = f"{TESTS}::test_the_aggregate_is_the_clipped_mean_with_the_noise_that_was_promised"
BUDGET = f"{TESTS}::test_a_budget_of_two_rounds_ends_with_the_second"
TERMS = f"{TESTS}::test_terms_that_let_more_out_than_noise_covers_are_refused"
NODE_COST = f"{TESTS}::test_a_node_charges_what_the_session_may_come_to_and_not_what_the_server_says"
BESIDE = f"{TESTS}::test_what_noise_does_not_cover_is_refused"

MUTANTS = (
    Mutant(
        "a Flower sum charged after it was opened",
        f"{FLOWER}/rounds.py",
        "        self._charge(summed)\n        while not summed.over:\n"
        "            sharing = [one for one in under_way.ahead if not one.over and one.phase in KEY_PHASES]\n"
        "            under_way.post.exchange([summed, *sharing], under_way.message_type)\n",
        "        while not summed.over:\n"
        "            sharing = [one for one in under_way.ahead if not one.over and one.phase in KEY_PHASES]\n"
        "            under_way.post.exchange([summed, *sharing], under_way.message_type)\n"
        "        self._charge(summed)\n",
        (
            f"{TESTS}::test_a_round_is_charged_before_anything_is_asked_that_opens_its_sum",
            f"{TESTS}::test_what_cannot_be_charged_is_not_opened",
        ),
    ),
    Mutant(
        "a Flower sum that could not be charged opened all the same",
        f"{FLOWER}/rounds.py",
        "            summed.abort(str(error))\n            raise\n",
        "            pass\n",
        (f"{TESTS}::test_what_cannot_be_charged_is_not_opened",),
    ),
    Mutant(
        "a Flower sum charged for its cohort",
        f"{FLOWER}/rounds.py",
        "summed.params, len(summed.contributors))",
        "summed.params, len(summed.numbers))",
        (f"{TESTS}::test_the_charge_is_for_those_who_contributed",),
    ),
    Mutant(
        "a Flower sum that is given up charged",
        f"{FLOWER}/rounds.py",
        "        if private is None or summed.record.aborted is not None:",
        "        if private is None:",
        (f"{TESTS}::test_under_the_minimum_nothing_is_opened_and_nothing_is_charged",),
    ),
    Mutant(
        "Flower's nodes asked to train for a round that nothing pays for",
        f"{FLOWER}/planning.py",
        "            self.private.require_room()\n",
        "",
        (BUDGET,),
    ),
    Mutant(
        "more of Flower's rounds begun than the budget has room for",
        f"{FLOWER}/strategy.py",
        "            private.require_room(num_rounds)\n",
        "",
        (BUDGET, f"{TESTS}::test_a_ledger_is_gone_on_with_closed_and_then_left_alone"),
    ),
    Mutant(
        "rounds charged before a restart of Flower forgotten",
        f"{FLOWER}/private_sums.py",
        "        left = affordable - len(ledger.charges)",
        "        left = affordable",
        (BUDGET, f"{TESTS}::test_a_ledger_is_gone_on_with_closed_and_then_left_alone"),
    ),
    Mutant(
        "a ledger in memory begun again with Flower's next start",
        f"{FLOWER}/private_sums.py",
        "        if self._ledger is None or self.settings.ledger is None:",
        "        if self._ledger is None:",
        (BUDGET,),
    ),
    Mutant(
        "a ledger of another promise gone on with in Flower",
        f"{FLOWER}/private_sums.py",
        "        if _without_version(ledger.opening) != _without_version(opening):",
        "        if False:",
        (f"{TESTS}::test_a_ledger_is_gone_on_with_closed_and_then_left_alone",),
    ),
    Mutant(
        "more nodes asked in Flower than noise was made for",
        f"{FLOWER}/planning.py",
        "            self.private.check_cohort(len(numbers))\n",
        "            pass\n",
        (f"{TESTS}::test_a_cohort_larger_than_noise_was_made_for_is_refused",),
    ),
    Mutant(
        "noise of Flower's nodes sized for the whole cohort",
        f"{FLOWER}/promise.py",
        "                honest_minimum=minimum - corrupt,",
        "                honest_minimum=settings.cohort,",
        (f"{TESTS}::test_noise_is_sized_for_the_fewest_contributors_less_who_may_tell",),
    ),
    Mutant(
        "no node of Flower's knows its own noise",
        f"{FLOWER}/privacy.py",
        "        return max(1, math.floor(threat.corrupt * self.cohort + 1e-9))",
        "        return math.floor(threat.corrupt * self.cohort + 1e-9)",
        (f"{TESTS}::test_fewest_contributors_are_what_planned_drop_outs_leave",),
    ),
    Mutant(
        "a share of Flower's noise left out",
        f"{FLOWER}/private_terms.py",
        "l2_squared=privacy.l2_squared, noise=self._noise\n",
        "l2_squared=privacy.l2_squared, noise=None\n",
        (f"{RELEASED}[masking-skellam-None]",),
    ),
    Mutant(
        "Flower's noisy sums divided by who came",
        f"{FLOWER}/private_terms.py",
        "denominator=self._privacy.denominator, seed=_seed(context)",
        "denominator=summed.contributors, seed=_seed(context)",
        (f"{RELEASED}[kahe-skellam-3.0]",),
    ),
    Mutant(
        "weights and metrics beside the noise of Flower's nodes",
        f"{FLOWER}/private_terms.py",
        'terms.kind != "train" or terms.metrics or terms.bits or terms.weight_max != 1:',
        'terms.kind != "train":',
        (TERMS,),
    ),
    Mutant(
        "a bound accepted by Flower's nodes that tells long updates from short ones",
        f"{FLOWER}/private_terms.py",
        "        if privacy.l2_squared * privacy.granularity**2 < 1 + _SLACK:",
        "        if False:",
        (f"{TESTS}::test_no_bound_is_accepted_that_some_updates_would_not_keep_to",),
    ),
    Mutant(
        "noise of no size accepted by Flower's nodes",
        f"{FLOWER}/private_terms.py",
        '    for key in ("variance", "denominator", "epsilon", "delta"):',
        '    for key in ("denominator", "epsilon", "delta"):',
        (TERMS,),
    ),
    Mutant(
        "Flower's nodes take part with fewer than their noise is made for",
        f"{FLOWER}/private_terms.py",
        "        if params.minimum_contributors < privacy.minimum or cohort > privacy.cohort:",
        "        if False:",
        (NODE_COST,),
    ),
    Mutant(
        "Flower's nodes believe the server's number of corrupt ones",
        f"{FLOWER}/private_terms.py",
        "        told = max(1, corrupt, privacy.corrupt, math.floor(params.threat.corrupt * cohort + 1e-9))",
        "        told = privacy.corrupt",
        (NODE_COST,),
    ),
    Mutant(
        "Flower's nodes upload what they did not charge",
        f"{FLOWER}/mod.py",
        "            node.books.charge(asked.session.params, asked.cost)\n",
        "",
        (
            f"{TESTS}::test_nodes_write_down_what_a_sum_of_the_fewest_costs_before_they_upload",
            f"{TESTS}::test_a_node_uploads_nothing_that_it_could_not_charge",
        ),
    ),
    Mutant(
        "Flower's nodes train for a round that their own budget does not pay for",
        f"{FLOWER}/mod.py",
        "    node.books.require_room(cost)\n",
        "",
        (f"{TESTS}::test_a_node_that_has_spent_its_own_budget_takes_no_part",),
    ),
    Mutant(
        "budgets of Flower's nodes not looked at",
        "integrations/policy.py",
        "        budget=other.budget or one.budget,",
        "        budget=None,",
        (
            f"{TESTS}::test_a_node_that_has_spent_its_own_budget_takes_no_part",
            f"{TESTS}::test_a_budget_of_a_policy_is_read_and_outranks_what_the_app_says",
        ),
    ),
    Mutant(
        "sums without noise free of charge to Flower's nodes",
        "integrations/party_books.py",
        "        if self._budget is None and not self._path.exists():",
        "        if True:",
        (
            f"{TESTS}::test_a_node_with_a_budget_takes_no_part_in_sums_without_noise",
            f"{TESTS}::test_a_ledger_tells_of_sums_without_noise_too",
        ),
    ),
    Mutant(
        "Flower's server told how much a node has spent",
        "integrations/party_books.py",
        '        return BudgetExceeded(f"this {self.PARTY}\'s own privacy budget has no room for this sum")',
        "        return error",
        (f"{TESTS}::test_a_node_that_has_spent_its_own_budget_takes_no_part",),
    ),
    Mutant(
        "clear answers beside a budget of a Flower node",
        f"{FLOWER}/home.py",
        "        if counted:\n",
        "        if False:\n",
        (f"{TESTS}::test_a_budget_of_a_policy_is_read_and_outranks_what_the_app_says",),
    ),
    Mutant(
        "evaluation on Flower's nodes beside privacy, by a strategy that decides later",
        f"{FLOWER}/planning.py",
        "            if model is None:\n",
        "            if False:\n",
        (f"{TESTS}::test_evaluation_on_nodes_is_refused_beside_privacy",),
    ),
    Mutant(
        "evaluation on Flower's nodes beside privacy",
        f"{FLOWER}/privacy.py",
        "        if evaluates:\n",
        "        if False:\n",
        (f"{TESTS}::test_evaluation_on_nodes_is_refused_beside_privacy",),
    ),
    Mutant(
        "metrics beside privacy in Flower",
        f"{FLOWER}/privacy.py",
        "        if metrics:\n",
        "        if False:\n",
        (BESIDE,),
    ),
    Mutant(
        "privacy from a server that reads Flower's updates",
        f"{FLOWER}/privacy.py",
        "        if not suite.protects:\n",
        "        if False:\n",
        (BESIDE,),
    ),
    Mutant(
        "a delta that lets one of Flower's nodes be published",
        f"{FLOWER}/privacy.py",
        "        if self.delta * self.nodes >= 1:",
        "        if False:",
        (f"{TESTS}::test_settings_that_promise_nothing_are_refused",),
    ),
    Mutant(
        "Flower's claims of privacy vouched for",
        f"{FLOWER}/linear.py",
        "    _check_claim(kind)\n",
        "",
        (f"{TESTS}::test_strategies_whose_claim_would_not_hold_are_refused_whoever_vouches",),
    ),
)
