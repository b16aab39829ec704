"""Defects planted into the report of an audit; the format is that of `mutants.py`."""

from mutants import Mutant

TESTS = "test_audit_report.py"

MUTANTS = (
    Mutant(
        "what failed shown as passed",
        "audit/report_words.py",
        '    Outcome.FAIL: f"✗{NBSP}FAIL",',
        '    Outcome.FAIL: f"✓{NBSP}pass",',
        (f"{TESTS}::test_guarantee_5_every_finding_stands_in_its_layer_with_its_outcome",),
    ),
    Mutant(
        "a verdict that is that of the first finding",
        "audit/report.py",
        "    return _HEADINGS[audit.verdict]\n",
        "    return _HEADINGS[audit.findings[0].outcome if audit.findings else audit.verdict]\n",
        (f"{TESTS}::test_guarantee_4_one_finding_decides_wherever_it_stands",),
    ),
    Mutant(
        "reasons that failed left out of the opening",
        "audit/report.py",
        "    if failed:\n",
        "    if failed and not undecided:\n",
        (f"{TESTS}::test_guarantee_4_reasons_stand_before_all_else_those_that_failed_first",),
    ),
    Mutant(
        "a control that is missing passed over",
        "audit/report_measured.py",
        'return "✗ None was run: whether this attack finds anything where there is something to find was not shown."',
        'return ""',
        (f"{TESTS}::test_guarantee_6_an_attack_without_a_control_is_said_to_be_one",),
    ),
    Mutant(
        "a control that found nothing taken for a good one",
        "audit/report_measured.py",
        "not one.control > one.claimed and",
        "not one.control >= 0 and",
        (f"{TESTS}::test_guarantee_6_an_attack_without_a_control_is_said_to_be_one",),
    ),
    Mutant(
        "releases without noise cut short",
        "audit/report_rest.py",
        "            blocks=(notes_block(audit.unprotected),),\n",
        "            blocks=(notes_block(audit.unprotected[:5]),),\n",
        (f"{TESTS}::test_guarantee_5_every_release_without_noise_is_named",),
    ),
    Mutant(
        "a layer that nobody asked for shown as passed",
        "audit/report_words.py",
        """    return f"–{NBSP}no{NBSP}checks" if layer in audit.layers else f"–{NBSP}not{NBSP}asked"\n""",
        "    return BADGES[Outcome.PASS]\n",
        (f"{TESTS}::test_a_pass_says_for_which_layers",),
    ),
    Mutant(
        "charts that are thinned to every so many rounds",
        "audit/report_rounds.py",
        "        ends = [min(numbers, key=_height), max(numbers, key=_height)] if numbers else []\n",
        "        ends = numbers[:1]\n",
        (f"{TESTS}::test_a_thousand_rounds_stay_light_and_no_dip_is_lost",),
    ),
    Mutant(
        "a claim and a larger ε rounded to the same digits",
        "audit/report_words.py",
        "    return next((pair for pair in pairs if pair[0] != pair[1]), (shown(first), shown(second)))\n",
        "    return next(pairs)\n",
        (f"{TESTS}::test_what_is_claimed_and_what_was_recomputed_look_different_if_they_are",),
    ),
    Mutant(
        "characters that turn a line around let through",
        "audit/report.py",
        '    return UNSEEN.sub("\\ufffd", render_page(page))\n',
        "    return render_page(page)\n",
        (f"{TESTS}::test_guarantee_2_characters_that_nobody_sees_are_replaced",),
    ),
    Mutant(
        "long words set without escaping",
        "audit/report_words.py",
        'Markup("<wbr>").join(word[at : at + _PIECE] for at in range(0, len(word), _PIECE)) if',
        'Markup("<wbr>".join(word[at : at + _PIECE] for at in range(0, len(word), _PIECE))) if',
        (f"{TESTS}::test_guarantee_2_every_text_is_escaped",),
    ),
)
