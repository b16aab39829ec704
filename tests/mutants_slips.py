"""Defects in what is asked of whoever builds on sessions, planted on purpose."""

from mutants import Mutant

SLIPS = "test_slips.py"

MUTANTS = (
    Mutant(
        "sessions wake with a guard of their own",
        "lockstep/waking.py",
        "        if not self._may_sleep:\n            # One of its own",
        "        if False:\n            # One of its own",
        (f"{SLIPS}::test_a_session_does_not_wake_without_a_guard",),
    ),
    Mutant(
        "anything is a guard",
        "guard.py",
        '    if not all(callable(getattr(guard, method, None)) for method in ("claim", "claimed")):\n',
        "    if False:\n",
        (f"{SLIPS}::test_a_guard_that_is_none_is_found_when_it_is_given",),
    ),
    Mutant(
        "a string is searched for the suite's name",
        "session.py",
        '        object.__setattr__(self, "suites", _chosen("suites", self.suites, _SUITES))\n',
        "",
        (f"{SLIPS}::test_a_policy_names_suites_that_there_are_as_a_set",),
    ),
    Mutant(
        "clients of a lying server without a guard",
        "masking/client.py",
        "        if active and guard is None:\n",
        "        if False:\n",
        ("test_masking_active.py::test_a_client_of_a_server_that_may_lie_needs_a_guard",),
    ),
    Mutant(
        "a vector is looked at when it is submitted, and never again",
        "lockstep/client.py",
        "        check_chunk(piece, self._bound)\n",
        "",
        (f"{SLIPS}::test_a_vector_that_changes_after_it_was_submitted_is_not_summed_beyond_its_bound",),
    ),
    Mutant(
        "fractions of a client are corrupt",
        "dp/planner.py",
        '    check_whole("corrupt", corrupt, 0, _MOST_CLIENTS, such_as="1")\n',
        "",
        ("test_dp_planner.py::test_clients_are_counted_not_measured",),
    ),
)
