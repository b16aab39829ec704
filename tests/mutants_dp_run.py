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
        (f"{ANY_STEP}[distributed]", f"{ANY_STEP}[central]"),
    ),
    Mutant(
        "a charge is written and not asked onto the disk",
        "dp/appending.py",
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
        "learning/rounds.py",
        '"rounds": self.done, "epsilon": _finite(self.books.epsilon())',
        '"rounds": self.done, "epsilon": self.metrics[-1].epsilon',
        (f"{CRASH}::test_where_the_plan_uses_the_budget_up_a_crash_after_a_charge_costs_a_round",),
    ),
    Mutant(
        "a run that is gone on with starts a ledger of its own",
        "learning/books.py",
        "        ledger = Ledger.resume(out / LEDGER, identity or own_identity(out / COORDINATOR))\n",
        """        (out / LEDGER).unlink()
        ledger = Ledger.create(out / LEDGER, guarantee.opening(job, {}), identity or own_identity(out / COORDINATOR))
        head = None
""",
        (f"{ANY_STEP}[unlimited]",),
    ),
    Mutant(
        "the model does not remember how far the ledger was",
        "learning/rounds.py",
        """            state["ledger"] = self.books.head._asdict()
""",
        """            state["ledger"] = None
""",
        (f"{CRASH}::test_a_ledger_from_before_is_not_gone_on_with",),
    ),
    Mutant(
        "the next line is written behind a torn one",
        "dp/ledger.py",
        "        if tail:\n            ledger._recover(",
        "        if tail is None:\n            ledger._recover(",
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
        "learning/rounds.py",
        'self.averaging.clip = checkpoint.state["clip"]',
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
        "learning/rounds.py",
        "closing = closing_record(out / LEDGER)",
        "closing = None",
        (f"{CRASH}::test_a_run_that_is_over_stays_as_it_is",),
    ),
    Mutant(
        "a client uploads without a charge of its own",
        "learning/client_books.py",
        "            ledger.charge(params.nonce, params.digest, [self._cost], self._noise)\n"
        "            self._hand_in(ledger, params.nonce)\n",
        "",
        (f"{ANY_STEP}[clients]",),
    ),
)

MUTANTS = (*CRASHES, *RELEASED)
