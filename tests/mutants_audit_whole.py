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
        (f"{TESTS}::test_known_inputs_for_a_clip_that_is_no_number_are_found_wrong_and_bring_nothing_down",),
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
        "line = int(place.group(1)) if place else None",
        "line=None",
        (f"{TESTS}::test_a_byte_that_was_changed_is_found_in_its_line",),
    ),
    Mutant(
        "files read from outside the run's directory",
        "audit/artefacts.py",
        "        if not inside:",
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
        "        if opened(session, uploads=example) and session.params_digest not in charged:",
        "        if False:",
        (
            fraud("round left out: of the ledger"),
            f"{TESTS}::test_a_ledger_that_lacks_a_charge_fails_beside_its_evidence",
        ),
    ),
    Mutant(
        "drop-outs that are counted",
        "audit/coverage.py",
        "        if exact and claimed > min(arrived, summed):",
        "        if False:",
        (fraud("drop-outs hidden: in the ledger"), TERMS),
    ),
    Mutant(
        "local metrics passed over",
        "audit/coverage.py",
        "            if row.get(name) not in (None, 0.0):",
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
        "audit/noise.py",
        "    if deficit < FAIL_LEVEL:",
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
    Mutant(
        "seeds that do not follow from the line before",
        "learning/witness.py",
        'digest(Label.PROBE, b"seed", bytes.fromhex(line))',
        'digest(Label.PROBE, b"seed")',
        (
            fraud("known inputs chosen: of another run"),
            fraud("sum denied: opened, and its messages too"),
        ),
    ),
    Mutant(
        "seeds that are not asked about",
        "audit/probes.py",
        '    if facts.get("seed") != seed.hex():',
        "    if False:",
        (fraud("known inputs chosen: of another run"),),
    ),
    Mutant(
        "sums that were opened, and denied",
        "audit/coverage.py",
        "        if opened(session, uploads=example) and",
        "        if session.released and",
        (
            fraud("sum denied: opened, and said to have aborted"),
            fraud("sum denied: for which clients signed"),
        ),
    ),
    Mutant(
        "uploads that are releases passed over",
        "audit/coverage.py",
        "    phases = _OPENINGS | _UPLOADS if uploads else _OPENINGS",
        "    phases = _OPENINGS",
        (fraud("sum denied: private uploads that were read"),),
    ),
    Mutant(
        "sums of known inputs that were opened, and not kept",
        "audit/probes.py",
        "            if opened(session, uploads=False):",
        "            if False:",
        (
            fraud("known inputs chosen: one not kept"),
            fraud("known inputs chosen: one said to have aborted"),
            fraud("sum denied: called a session on known inputs, and bound"),
        ),
    ),
    Mutant(
        "sessions on known inputs that may be dropped",
        "audit/conformity.py",
        "    if shown < planned:",
        "    if False:",
        (
            fraud("known inputs chosen: the last dropped"),
            fraud("known inputs chosen: one said to have aborted, its openings gone"),
        ),
    ),
    Mutant(
        "sessions on known inputs of any number",
        "audit/probes.py",
        '    if facts.get("number") != number:',
        "    if False:",
        (
            fraud("known inputs chosen: the first dropped"),
            fraud("known inputs chosen: another number"),
        ),
    ),
    Mutant(
        "known inputs for any clip",
        "audit/conformity.py",
        '        if not _follows(job, one.facts.get("clip"), clip):',
        "        if False:",
        (fraud("known inputs chosen: for another clip"),),
    ),
    Mutant(
        "any client's upload",
        "audit/probes.py",
        ' or facts.get("uploader") != number % len(cohort):',
        ":",
        (fraud("known inputs chosen: another client's upload"),),
    ),
    Mutant(
        "a gap in rounds",
        "audit/coverage.py",
        "    if lost := sorted(set(range(1, len(shown) + 1)) - shown):",
        "    if lost := []:",
        (
            fraud("round left out: of all files"),
            fraud("accountant reset: in all files"),
        ),
    ),
    Mutant(
        "metrics that are not compared",
        "audit/coverage.py",
        "            if row.get(key, value) != value:",
        "            if False:",
        (
            fraud("terms unfixed: metrics of more contributors"),
            fraud("terms unfixed: metrics of a larger cohort"),
        ),
    ),
    Mutant(
        "releases that do not count, and do not matter",
        "audit/coverage.py",
        "    if left_out:",
        "    if False:",
        (fraud("terms unfixed: nothing counts"),),
    ),
    Mutant(
        "a ledger of no job",
        "audit/terms.py",
        "    if named is None:\n",
        "    if False:\n",
        (
            fraud("terms unfixed: no job, and more noise"),
            fraud("terms unfixed: a job of no name"),
        ),
    ),
    Mutant(
        "an epsilon that is no number",
        "audit/ledger.py",
        '    if claimed is None and closed.get("epsilon") is not None:',
        "    if False:",
        (
            fraud("terms unfixed: epsilon as a word"),
            fraud("terms unfixed: epsilon as a truth"),
        ),
    ),
    Mutant(
        "evidence that begins with other words",
        "audit/sessions.py",
        "        if name in evidence.facts and evidence.facts[name] != value:",
        "        if False:",
        (
            fraud("terms unfixed: evidence of another mode"),
            fraud("terms unfixed: evidence of another job"),
        ),
    ),
    Mutant(
        "a model that is not compared",
        "audit/sessions.py",
        "    if hashlib.sha256(content).hexdigest() != named:",
        "    if False:",
        (fraud("terms unfixed: another model than the run's"),),
    ),
    Mutant(
        "messages that were copied",
        "audit/sessions.py",
        "        if digests & seen:",
        "        if False:",
        (fraud("known inputs chosen: messages of another session"),),
    ),
    Mutant(
        "sessions with room for more",
        "audit/conformity.py",
        "        elif params.vector != due:",
        "        elif False:",
        (fraud("session agreed otherwise: with room for a second vector"),),
    ),
    Mutant(
        "sums of fewer than the job asks for",
        "audit/conformity.py",
        "        if params.minimum_contributors != least",
        "        if False",
        (fraud("session agreed otherwise: to open sums of fewer"),),
    ),
    Mutant(
        "weights that noise hides, of single clients",
        "audit/conformity.py",
        "together([*p_values, *(one.p_value for one in pooled)])",
        "together(p_values)",
        (fraud("hidden by noise: three times the weight, for half of ten clients"),),
    ),
    Mutant(
        "a control that could be chance",
        "audit/attacks.py",
        "    if not claim.contradicted_by(found.control, clear, DOUBT_LEVEL):",
        "    if not claim.contradicted_by(found.control, clear, 1 - CONFIDENCE):",
        (f"{TESTS}::test_a_control_that_could_be_chance_is_none",),
    ),
    Mutant(
        "one training of several",
        "audit/subject.py",
        "        if len(recorded) > 1:",
        "        if False:",
        (fraud("training made up: twice"),),
    ),
    Mutant(
        "training of any seed",
        "audit/subject.py",
        '        if probe.seed != seed_after(before) or facts.get("seed") != probe.seed.hex():',
        "        if False:",
        (
            fraud("training made up: of another seed"),
            fraud("training made up: of a seed that is not told"),
        ),
    ),
    Mutant(
        "a control that is noise",
        "audit/subject.py",
        "probe.control_noise_multiplier != LEAST_NOISE or ",
        "",
        (fraud("training made up: a control that is noise"),),
    ),
    Mutant(
        "as many canaries as somebody likes",
        "audit/subject.py",
        " or len(probe.scores) != canaries:",
        ":",
        (fraud("training made up: of sixteen canaries"),),
    ),
    Mutant(
        "receipts for other sessions",
        "audit/participation.py",
        "        if session is not None and session.params is not None and session.params.nonce != receipt.session:",
        "        if False:",
        (fraud("receipts made up: for other sessions"),),
    ),
    Mutant(
        "receipts by more clients than there are",
        "audit/participation.py",
        " and len(everybody) > population:",
        " and False:",
        (fraud("receipts made up: by more clients than there are"),),
    ),
    Mutant(
        "clients accused of a crash",
        "audit/participation.py",
        " and receipt.params_digest.hex() in begun:",
        " and False:",
        (
            f"{TESTS}::test_a_crash_accuses_nobody",
            fraud("sum denied: begun, and lost in a crash"),
        ),
    ),
)
