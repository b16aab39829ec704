"""Defects that take away what a sentence of SECURITY.md promises, where no other list has one."""

from mutants import LIES, Mutant

GRAPH = "test_masking_graph.py"
COHORT = "test_learning_cohort.py"
HOSTILE = "test_audit_hostile.py"
PRIMITIVES = "test_primitives.py"

MUTANTS = (
    Mutant(
        "no attempts at a root allowed for",
        "masking/planner.py",
        "    grinding = GRINDING_BITS if threat.server is ServerModel.ACTIVE else 0\n",
        "    grinding = 0\n",
        (f"{GRAPH}::test_active_figures[1000-0.1-162-118]",),
    ),
    Mutant(
        "any number of corrupt neighbours",
        "masking/planner.py",
        "    tail = _log_hypergeometric(n, corrupt_clients(n, threat), k, range(t, k + 1))\n"
        "    return math.log(n) + tail < _log_statistical_bound(threat)\n",
        "    return True\n",
        (f"{GRAPH}::test_semi_honest_figures",),
    ),
    Mutant(
        "neighbours that drop-outs leave are not counted",
        "masking/planner.py",
        "    return math.log(n) + tail < -threat.correctness_bits * math.log(2)\n",
        "    return True\n",
        (f"{GRAPH}::test_verify_refuses_thresholds_too_low_for_privacy_or_too_high_for_dropouts",),
    ),
    Mutant(
        "one-time keys half as long",
        "kahe/ring.py",
        "N: Final = 2048\n",
        "N: Final = 1024\n",
        ("test_kahe_security.py::test_the_smallest_secrets_of_the_reduction_are_out_of_reach",),
    ),
    Mutant(
        "moduli as wide as SEAL allows",
        "params.py",
        "CKKS_DEGREES: Final = {4096: 43, 8192: 48}",
        "CKKS_DEGREES: Final = {4096: 54, 8192: 60}",
        ("test_ckks_security.py::test_no_allowed_modulus_is_longer_than_those_of_the_table",),
    ),
    Mutant(
        "a committee's polynomial one degree short",
        "ckks/sharing.py",
        "for _ in range(threshold - 1)]\n",
        "for _ in range(threshold - 2)]\n",
        ("test_server_view.py::test_the_server_and_fewer_than_t_members_of_a_committee_cannot_open_an_upload",),
    ),
    Mutant(
        "secrets at rest sealed under a key that everybody knows",
        "primitives/sealing.py",
        "    return derive(Secret(key), salt=salted",
        "    return derive(Secret(bytes(KEY_BYTES)), salt=salted",
        (
            "test_sleep.py::test_another_key_does_not_open_and_no_key_is_said_so",
            "test_ckks_key.py::test_a_damaged_file_and_another_sealing_key_are_said_so",
        ),
    ),
    Mutant(
        "sessions asleep in clear",
        "lockstep/sleep.py",
        "    return seal(plaintext, key, head=_MAGIC + bytes([suite]), label=Label.SLEEP)\n",
        "    return seal(plaintext, key, head=_MAGIC + bytes([suite]), label=Label.SLEEP) + plaintext\n",
        ("test_sleep.py::test_no_secret_stands_in_the_bytes",),
    ),
    Mutant(
        "rounds of one context",
        "learning/contributing.py",
        'digest(Label.CONTEXT, model, agreed, number.to_bytes(_NUMBER_BYTES, "big"))',
        "digest(Label.CONTEXT, model, agreed)",
        ("test_learning_rounds.py::test_a_round_that_follows_an_aborted_one_has_another_context",),
    ),
    Mutant(
        "a secret that cannot be rebuilt is nobody's",
        "masking/recovery.py",
        "f\"the shares of client {number}'s {what} contradict",
        "f\"the shares of somebody's {what} contradict",
        (f"{LIES}::test_inconsistent_dealing_ends_the_round_if_the_dealer_then_vanishes",),
    ),
    Mutant(
        "noise for the corrupt clients of a cohort where all may come",
        "learning/job.py",
        "whom = self.data.clients if self.cohort.by_presence or self.strategy.buffering() else self.cohort_size\n",
        "whom = self.cohort_size\n",
        (f"{COHORT}::test_where_clients_choose_when_to_come_all_corrupt_ones_may_be_in_one_sum",),
    ),
    Mutant(
        "speeds believed without a limit",
        "learning/cohort.py",
        "np.clip(classes, middle - LARGEST_LEAD, middle + LARGEST_LEAD)",
        "classes",
        (f"{COHORT}::test_a_claim_of_speed_counts_for_eight_times_the_median_at_most",),
    ),
    Mutant(
        "what an error says is told",
        "learning/local_work.py",
        '    return f"{what}: {type(raised).__name__}"',
        '    return f"{what}: {raised}"',
        ("test_learning_local_work.py::test_what_an_error_says_stays_with_its_client",),
    ),
    Mutant(
        "features that are no number trained on",
        "learning/private_trainer.py",
        "    finite = np.where(np.isfinite(features), features, np.float32(0))\n",
        "    finite = features\n",
        ("test_learning_private_trainer.py::test_an_example_that_would_make_training_fail_does_not_show",),
    ),
    Mutant(
        "whose word it is forgotten where a check passes",
        "audit/checks.py",
        "        detail=seen.detail,\n        rests_on=seen.rests_on,\n",
        "        detail=seen.detail,\n",
        ("test_audit.py::test_a_finding_says_whose_word_it_rests_on_whatever_came_of_it",),
    ),
    Mutant(
        "an audit builds the job's data",
        "audit/artefacts.py",
        "    return job_from_toml(content_of(path, MOST_BYTES))\n",
        "    from privfl.learning.own_data import load_own_test\n\n"
        "    found = job_from_toml(content_of(path, MOST_BYTES))\n"
        "    load_own_test(found.data.name, clients=found.data.clients, seed=found.seed, test=found.data.test)\n"
        "    return found\n",
        (f"{HOSTILE}::test_no_code_is_run_because_an_audited_job_names_it",),
    ),
    Mutant(
        "archives of runs unpickled",
        "learning/npz.py",
        "    header = _HEADER.match(content)\n    if header is None:\n",
        "    header = _HEADER.match(content)\n    if header is None:\n"
        "        return np.load(io.BytesIO(content), allow_pickle=True)\n"
        "    if header is None:\n",
        (f"{HOSTILE}::test_nothing_is_unpickled_of_what_an_audited_run_recorded",),
    ),
    Mutant(
        "secrets that print",
        "primitives/secret.py",
        '        return f"<{len(self._value)} secret bytes>"',
        '        return f"<{self._value!r}>"',
        (f"{PRIMITIVES}::test_a_secret_does_not_print",),
    ),
    Mutant(
        "secrets that are pickled",
        "primitives/secret.py",
        "    def __reduce__(self) -> NoReturn:\n"
        '        raise TypeError("a secret is not pickled")\n\n'
        "    def __getstate__(self) -> NoReturn:\n"
        '        raise TypeError("a secret is not pickled")\n',
        "    def __reduce__(self):\n        return Secret, (self._value,)\n",
        (f"{PRIMITIVES}::test_a_secret_is_not_pickled",),
    ),
    Mutant(
        "what a decoder raises goes on to the caller",
        "wire/codec.py",
        "    except msgspec.MsgspecError as error:\n",
        "    except ZeroDivisionError as error:\n",
        ("test_fuzz.py::test_nothing_but_our_own_errors_comes_of_any_bytes",),
    ),
    Mutant(
        "secrets from a seeded generator",
        "primitives/entropy.py",
        "        return os.urandom(length)\n",
        '        return __import__("random").Random(length).randbytes(length)\n',
        (f"{PRIMITIVES}::test_system_entropy_gives_the_length_asked_for_and_never_the_same",),
    ),
)
