"""Defects of runs whose clients are elsewhere, planted on purpose."""

from mutants import Mutant

TESTS = "test_consortium_learning.py"
_PART = "learning/participation.py"

MUTANTS = (
    Mutant(
        "somebody else's code is run",
        _PART,
        "if is_own(name) and name != model:",
        "if False:",
        (f"{TESTS}::test_no_code_is_imported_because_a_coordinators_job_names_it",),
    ),
    Mutant(
        "somebody else's function is asked for data",
        "learning/distant_data.py",
        '    if is_own(job.data.name):\n        raise ConfigurationError(\n            f"the job is for',
        '    if False:\n        raise ConfigurationError(\n            f"the job is for',
        (f"{TESTS}::test_data_of_ones_own_need_a_public_weight_and_stay_where_they_are",),
    ),
    Mutant(
        "any scale of a round's updates",
        _PART,
        "or abs(math.log2(clip / self._first_clip)) > furthest",
        "",
        (f"{TESTS}::test_updates_are_scaled_as_the_job_says",),
    ),
    Mutant(
        "a context without the run",
        _PART,
        "scaled(self.agreed, clip)",
        'scaled(b"", clip)',
        (f"{TESTS}::test_the_context_follows_from_all_that_a_client_was_shown",),
    ),
    Mutant(
        "a context without the scale",
        _PART,
        "scaled(self.agreed, clip)",
        "scaled(self.agreed, None)",
        (f"{TESTS}::test_an_adaptive_clip_is_the_rounds_and_part_of_what_it_is_about",),
    ),
    Mutant(
        "models of what is no number",
        _PART,
        "if not np.isfinite(values).all():",
        "if False:",
        (f"{TESTS}::test_models_travel_whole_and_finite",),
    ),
    Mutant(
        "a failed training that is seen under privacy",
        _PART,
        "if not isinstance(self._averaging, PrivateAveraging):",
        "if True:",
        (f"{TESTS}::test_under_privacy_of_clients_one_whose_training_fails_adds_its_noise_to_nothing",),
    ),
    Mutant(
        "coarser roundings than the owner wants",
        "integrations/consortium/trainee.py",
        "job.encoding.bits < self._policy.bits",
        "job.encoding.bits < 0",
        (f"{TESTS}::test_a_policys_bits_and_budget_are_kept_or_the_client_stays_away",),
    ),
    Mutant(
        "the same job anew under another name",
        "integrations/consortium/coordinator.py",
        "encode(msgspec.structs.replace(greeting, run=bytes(len(greeting.run))))",
        "encode(greeting)",
        (f"{TESTS}::test_the_name_of_a_run_is_in_no_context",),
    ),
    Mutant(
        "a round that is trained for again and again",
        "integrations/consortium/trainee.py",
        "            self._guard.claim(_ROUND, this_round)\n",
        "            pass\n",
        (f"{TESTS}::test_guarantee_1_a_client_trains_for_one_session_of_a_round",),
    ),
    Mutant(
        "rounds that the job does not have",
        "integrations/consortium/trainee.py",
        "if not 1 <= step.round <= part.job.rounds:",
        "if False:",
        (f"{TESTS}::test_a_step_that_is_not_of_the_job_is_refused_before_anything_is_fetched",),
    ),
    Mutant(
        "models of any length",
        "integrations/consortium/trainee.py",
        "if step.model_bytes != part.model_bytes:",
        "if False:",
        (f"{TESTS}::test_a_step_that_is_not_of_the_job_is_refused_before_anything_is_fetched",),
    ),
    Mutant(
        "a ledger of who was drawn",
        "learning/rounds.py",
        '"cohort": len(self.params.cohort),',
        '"cohort": len(plan.cohort),',
        (f"{TESTS}::test_the_ledger_says_who_was_invited",),
    ),
    Mutant(
        "distant rounds that nobody charges",
        "integrations/consortium/coordinator.py",
        "            before_opening=charge,\n",
        "",
        (f"{TESTS}::test_a_private_distant_run_charges_every_round_before_it_is_opened",),
    ),
    Mutant(
        "a minimum that follows from who is invited",
        "learning/job.py",
        "        if self.minimum is not None:\n            return self\n        cohort",
        "        if True:\n            return self\n        cohort",
        (f"{TESTS}::test_guarantee_4_a_session_is_held_as_the_job_says",),
    ),
    Mutant(
        "sessions otherwise than the job says",
        "integrations/consortium/trainee.py",
        "        part.require_planned(params)\n",
        "",
        (f"{TESTS}::test_guarantee_4_a_session_is_held_as_the_job_says",),
    ),
    Mutant(
        "sessions under another threat model than the job's",
        _PART,
        '            ("threat", params.threat, self.job.threat),\n',
        "",
        (f"{TESTS}::test_guarantee_4_a_session_is_held_as_the_job_says",),
    ),
    Mutant(
        "noise shared among fewer than it is made for",
        _PART,
        "        if params.minimum_contributors < fewest:",
        "        if False:",
        (
            f"{TESTS}::test_guarantee_4_a_session_is_held_as_the_job_says",
            f"{TESTS}::test_guarantee_4_noise_is_not_shared_among_fewer_than_it_is_made_for",
        ),
    ),
    Mutant(
        "sums that a distant client's budget is not asked for",
        "integrations/consortium/trainee.py",
        "            self._books.charge(params, self._cost(part, params))",
        "            pass",
        (
            f"{TESTS}::test_guarantee_2_a_client_whose_budget_is_spent_stays_away_and_nobody_hears_why",
            f"{TESTS}::test_a_session_is_charged_once_and_one_that_is_refused_not_at_all",
        ),
    ),
    Mutant(
        "sums without noise that a distant client's budget is not asked for",
        "integrations/consortium/trainee.py",
        "            self._books.require_room(self._books.without_noise(TRAIN))",
        "            pass",
        (f"{TESTS}::test_a_budget_refuses_runs_without_noise_unless_their_owner_excludes_them",),
    ),
    Mutant(
        "corrupt clients that only the job fears",
        _PART,
        "corrupt=max(1, corrupt, self.job.corrupt_clients)",
        "corrupt=max(1, self.job.corrupt_clients)",
        (f"{TESTS}::test_the_owner_who_fears_more_corrupt_clients_is_charged_more",),
    ),
)
