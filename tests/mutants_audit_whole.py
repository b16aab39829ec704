"""Defects planted into the audit's checks, and into how their findings become a verdict; the format is that of
`mutants.py`."""

from mutants import Mutant

TESTS = "test_audit.py"
COMMAND = "test_cli_audit.py"
TERMS = f"{TESTS}::test_terms_that_contradict_each_other_are_found"


def fraud(label: str) -> str:
    """The test of one row of the table."""
    return f"{TESTS}::test_a_fraud_is_caught_by_the_finding_that_it_contradicts[{label.replace(' ', '-')}]"


MUTANTS = (
    Mutant(
        "a verdict that is the best of all findings",
        "audit/findings.py",
        "    return max(outcomes, key=_ORDER.index, default=Outcome.NOT_CLAIMED)",
        "    return min(outcomes, key=_ORDER.index, default=Outcome.NOT_CLAIMED)",
        (f"{TESTS}::test_the_verdict_is_the_weakest_of_all", f"{COMMAND}::test_exit_codes_tell_the_verdict"),
    ),
    Mutant(
        "values that no run writes down bring it down",
        "audit/checks.py",
        "    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, AttributeError) as error:",
        "    except ValueError as error:",
        (f"{TESTS}::test_whatever_is_signed_the_answer_is_an_audit",),
    ),
    Mutant(
        "a ledger that cannot be believed passed over",
        "audit/checks.py",
        "    if read.problem:\n",
        "    if False:\n",
        (
            f"{TESTS}::test_a_byte_that_was_changed_is_found_in_its_line",
            f"{TESTS}::test_lines_that_were_moved_are_found",
        ),
    ),
    Mutant(
        "lines that are wrong not named",
        "audit/artefacts.py",
        "line=int(line.group(1)) if line else None",
        "line=None",
        (f"{TESTS}::test_a_byte_that_was_changed_is_found_in_its_line",),
    ),
    Mutant(
        "files read from outside the run's directory",
        "audit/artefacts.py",
        "        if not path.resolve().is_relative_to(self.folder.resolve()):",
        "        if False:",
        (f"{TESTS}::test_no_name_leads_out_of_the_run",),
    ),
    Mutant(
        "a missing end passed over",
        "audit/ledger.py",
        "    if contents.closed is None:\n",
        "    if False:\n",
        (
            f"{TESTS}::test_a_ledger_alone_that_lacks_its_end_is_inconclusive",
            f"{TESTS}::test_a_run_that_has_not_ended_is_inconclusive",
        ),
    ),
    Mutant(
        "evidence that the ledger does not know",
        "audit/sessions.py",
        "        if head != evidence.head._asdict():",
        "        if False:",
        (f"{TESTS}::test_evidence_that_lacks_its_end_fails_beside_a_closed_ledger",),
    ),
    Mutant(
        "evidence of another ledger",
        "audit/coverage.py",
        '    if evidence.facts.get("ledger") != contents.identifier:',
        "    if False:",
        (fraud("accountant reset: a new ledger after a round"), f"{TESTS}::test_a_file_of_another_run_is_found_out"),
    ),
    Mutant(
        "keys that are not compared",
        "audit/ledger.py",
        "            if value != signer:\n",
        "            if False:\n",
        (
            fraud("replaced key: of ledger and evidence, and receipts"),
            f"{TESTS}::test_a_key_that_is_not_the_coordinators_fails",
            f"{COMMAND}::test_the_coordinators_key_is_compared",
        ),
    ),
    Mutant(
        "any epsilon believed",
        "audit/ledger.py",
        "    if not real <= claimed * (1 + ACCURACY) + ACCURACY:",
        "    if False:",
        (
            fraud("accountant reset: only the last round's epsilon claimed"),
            f"{TESTS}::test_a_smaller_epsilon_than_was_spent_fails",
        ),
    ),
    Mutant(
        "a budget that is not asked again",
        "audit/ledger.py",
        "        limit.check((), events_of(contents.charges))",
        "        pass",
        (fraud("budget overrun: by a run without a limit"),),
    ),
    Mutant(
        "sums that were never charged",
        "audit/coverage.py",
        "        if session.released and session.params_digest not in charged:",
        "        if False:",
        (
            fraud("round left out: of the ledger"),
            f"{TESTS}::test_a_ledger_that_lacks_a_charge_fails_beside_its_evidence",
        ),
    ),
    Mutant(
        "drop-outs that are counted",
        "audit/coverage.py",
        "        if claimed > min(arrived, summed):",
        "        if False:",
        (fraud("drop-outs hidden: in the ledger"), TERMS),
    ),
    Mutant(
        "local metrics passed over",
        "audit/coverage.py",
        "            if row.get(name) not in {None, 0.0}:",
        "            if False:",
        (fraud("metric leaked: accuracy on clients' data, of private clients"),),
    ),
    Mutant(
        "messages of any length",
        "audit/sessions.py",
        "        if not sizes[role, phase].admits(message.client, message.size_bytes):",
        "        if False:",
        (fraud("metric leaked: eight bytes behind an upload"),),
    ),
    Mutant(
        "a suite that is what it is called",
        "audit/sessions.py",
        "        if value != claimed:",
        "        if False:",
        (fraud("plain called kahe: by name"),),
    ),
    Mutant(
        "amplification that nobody fixed",
        "audit/terms.py",
        '            if facts.get("sampling") != "poisson" or not claims or probability != drawn:',
        "            if False:",
        (fraud("amplification: events charged as sampled, and nothing said of it"),),
    ),
    Mutant(
        "charges for more noise than contributors make",
        "audit/terms.py",
        "    if charged > made * (1 + ACCURACY):",
        "    if False:",
        (fraud("drop-outs hidden: told, and their noise counted"),),
    ),
    Mutant(
        "sessions without receipts",
        "audit/participation.py",
        "        if len(clients) < due:",
        "        if False:",
        (fraud("receipts withheld: one client's"),),
    ),
    Mutant(
        "too little noise is enough",
        "audit/conformity.py",
        "    if found.deficit < FAIL_LEVEL:",
        "    if False:",
        (fraud("noise: 0.7 times its size, by the server"),),
    ),
    Mutant(
        "cohorts of few rounds believed",
        "audit/conformity.py",
        "    if not found.detectable:",
        "    if False:",
        (f"{TESTS}::test_cohorts_of_too_few_rounds_are_neither_believed_nor_accused",),
    ),
    Mutant(
        "a recorded upload of another suite",
        "audit/sessions.py",
        " or frame.suite.name.lower() != one.params.suite:",
        ":",
        (fraud("plain called kahe: with parameters, phases and sizes, under noise"),),
    ),
)
