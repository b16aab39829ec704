"""Defects planted where runs charge, crash and go on, and in what they release: see `mutants`."""

from mutants import Mutant
from mutants_dp_released import MUTANTS as RELEASED

CRASH = "test_crash.py"
ANY_STEP = f"{CRASH}::test_a_crash_at_any_step_opens_nothing_uncharged_and_forgets_no_charge"

CRASHES = (
    Mutant(
        "a sum is charged after it was opened",
        "simulate.py",
        """                if before_opening is not None and server.ready:
                    before_opening(len(contributors))
            started = time.process_time()
            server.advance()
""",
        """            started = time.process_time()
            server.advance()
            if before_opening is not None and server.phase is Phase.FINISHED:
                before_opening(len(contributors))
""",
        (
            "test_simulate.py::test_nothing_is_opened_unless_the_callers_word_was_taken_first",
            f"{ANY_STEP}[distributed]",
            f"{ANY_STEP}[central]",
        ),
    ),
    Mutant(
        "a charge is written and not asked onto the disk",
        "journal/appending.py",
        """            rest = rest[os.write(self._descriptor, rest) :]
        os.fsync(self._descriptor)
""",
        """            rest = rest[os.write(self._descriptor, rest) :]
""",
        (f"{ANY_STEP}[unlimited]",),
    ),
    Mutant(
        "the whole cohort is charged for",
        "simulate.py",
        "before_opening(len(contributors))",
        "before_opening(len(params.cohort))",
        (f"{ANY_STEP}[distributed]",),
    ),
    Mutant(
        "what was planned is charged, whoever took part",
        "learning/books.py",
        "cost = self._guarantee.cost(contributors)",
        "cost = self._guarantee.planned",
        (f"{ANY_STEP}[distributed]",),
    ),
    Mutant(
        "a ledger is closed with what the model's rounds have cost",
        "learning/paperwork.py",
        '"epsilon": finite(self.books.epsilon())',
        '"epsilon": __import__("json").loads((self.out / "metrics.jsonl").open().readlines()[-1])["epsilon"]',
        (f"{CRASH}::test_where_the_plan_uses_the_budget_up_a_crash_after_a_charge_costs_a_round",),
    ),
    Mutant(
        "a run that is gone on with starts a ledger of its own",
        "learning/books.py",
        "        ledger = Ledger.resume(out / LEDGER, identity_of(out, LEDGER, identity))\n",
        """        (out / LEDGER).unlink()
        ledger = Ledger.create(
            out / LEDGER, guarantee.opening(job, {JOB_DIGEST: job_digest(job)}), identity_of(out, LEDGER, identity)
        )
        head = None
""",
        (f"{ANY_STEP}[unlimited]",),
    ),
    Mutant(
        "the model does not remember how far the ledger was",
        "learning/rounds.py",
        '{"ledger": books.head._asdict()}',
        "{}",
        (f"{CRASH}::test_a_ledger_from_before_is_not_gone_on_with",),
    ),
    Mutant(
        "the next line is written behind a torn one",
        "journal/writer.py",
        "        if tail:\n            journal._recover(",
        "        if tail is None:\n            journal._recover(",
        (f"{ANY_STEP}[distributed]",),
    ),
    Mutant(
        "a line of metrics that a crash kept back is there twice",
        "learning/rounds.py",
        'if row["round"] < checkpoint.round]',
        'if row["round"] <= checkpoint.round]',
        (f"{CRASH}::test_an_adaptive_clip_goes_on_from_where_the_noise_had_taken_it",),
    ),
    Mutant(
        "an adaptive clip begins anew",
        "learning/memory.py",
        'self.averaging.clip = float(state["clip"])',
        "self.averaging.clip = self.averaging.clip",
        (f"{CRASH}::test_an_adaptive_clip_goes_on_from_where_the_noise_had_taken_it",),
    ),
    Mutant(
        "a model takes the old one's place before its bytes are on the disk",
        "learning/checkpoint.py",
        "        os.fsync(file.fileno())\n",
        "",
        (f"{ANY_STEP}[central]",),
    ),
    Mutant(
        "a run that has ended is taken up again",
        "learning/paperwork.py",
        "self.closed = closing_record(self._job, self._guarantee, out, self._identity, head)",
        "self.closed = None",
        (f"{CRASH}::test_a_run_that_is_over_stays_as_it_is",),
    ),
    Mutant(
        "a client uploads without a charge of its own",
        "learning/client_books.py",
        "            ledger.charge(params.nonce, params.digest, [self._cost], self._noise, "
        "coordinator=self._coordinator)\n"
        "            self._hand_in(ledger, params.nonce)\n",
        "",
        (f"{ANY_STEP}[clients]",),
    ),
)

PRIVATE = "test_learning_private.py"

FOUND = (
    Mutant(
        "each client's own share counted as hidden from it",
        "learning/job.py",
        "return max(corrupt, 1) if",
        "return corrupt if",
        (f"{PRIVATE}::test_one_curious_client_is_not_hidden_by_its_own_share",),
    ),
    Mutant(
        "noised updates charged when they are summed",
        "learning/sessions.py",
        "        if before_uploads:\n            charge(len(inputs.vectors))\n",
        "        before_uploads = False\n",
        (f"{PRIVATE}::test_noised_updates_are_charged_before_they_leave_whether_or_not_they_are_summed",),
    ),
    Mutant(
        "rounds that abort off by one",
        "learning/guarantee.py",
        "others, below = job.data.clients - 1, fewest - 1",
        "others, below = job.data.clients - 1, fewest - 2",
        (f"{PRIVATE}::test_what_aborts_tell_is_what_a_table_of_binomials_says",),
    ),
    Mutant(
        "drop-outs that do not thin a cohort",
        "learning/guarantee.py",
        "for thinned in {0.0, job.threat.dropout}",
        "for thinned in {0.0}",
        (f"{PRIVATE}::test_what_aborts_tell_is_what_a_table_of_binomials_says[30-3-0.3]",),
    ),
    Mutant(
        "a client that takes part in any session",
        "learning/client_books.py",
        "if params.minimum_contributors < self._minimum or params.threat.corrupt < self._corrupt:",
        "if False:",
        (f"{PRIVATE}::test_a_client_takes_part_in_no_session_that_its_share_is_not_made_for",),
    ),
    Mutant(
        "a closed ledger taken on faith",
        "learning/books.py",
        "    if own is not None and contents.signer != own.public:",
        "    if False:",
        (f"{PRIVATE}::test_a_closed_ledger_of_another_run_is_refused",),
    ),
    Mutant(
        "a changed job that goes on",
        "learning/books.py",
        "    if opened.facts.get(JOB_DIGEST) != job_digest(job):",
        "    if False:",
        (f"{PRIVATE}::test_a_changed_job_does_not_go_on_with_the_ledger_of_the_old_one",),
    ),
    Mutant(
        "amplification without a secret cohort",
        "learning/job.py",
        "        if privacy.amplification and self.cohort.sampling is not Sampling.POISSON:",
        "        if False:",
        ("test_learning_job.py::test_a_wrong_job_is_one_sentence_that_names_the_key_and_what_works",),
    ),
    Mutant(
        "a cohort that a claim rests on drawn from the seed",
        "learning/cohort.py",
        "        if job.privacy.amplification:",
        "        if False:",
        (f"{PRIVATE}::test_a_cohort_that_a_claim_rests_on_is_drawn_from_no_seed",),
    ),
    Mutant(
        "a true update in the report of a private run",
        "learning/rounds.py",
        "if self.view is None and self.guarantee is None:",
        "if self.view is None:",
        (f"{PRIVATE}::test_no_true_update_is_kept_for_a_report",),
    ),
)

MUTANTS = (*CRASHES, *RELEASED, *FOUND)
