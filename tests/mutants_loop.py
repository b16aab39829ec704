"""Defects planted in the federated loop: in plans, buffers, training, evaluation, checkpoints and their audit: see
`mutants`."""

from mutants import Mutant

SCHEDULING = "test_learning_scheduling.py"
BUFFERED = "test_learning_buffered.py"
WORK = "test_learning_local_work.py"
EVALUATING = "test_learning_evaluating.py"
RESUME = "test_learning_resume.py"
FRAUD = "test_audit.py::test_a_fraud_is_caught_by_the_finding_that_it_contradicts[evaluation-made-up:-"
BUFFERS = f"{BUFFERED}::test_guarantees_1_to_3_of_buffers"
TRACE = f"{BUFFERED}::test_staleness_is_that_of_a_trace_by_hand"
WEIGHED = f"{BUFFERED}::test_the_mean_of_a_buffer_is_weighed_by_age_and_examples[plain]"
LATE = f"{SCHEDULING}::test_guarantee_5_who_is_late_or_empty_does_not_follow_from_what_a_private_client_holds"
SHORTER = f"{BUFFERED}::test_under_privacy_a_stale_update_is_shorter_than_the_clip_and_the_denominator_stays"

MUTANTS = (
    Mutant(
        "drop-outs of the last phase that names them",
        "learning/scheduling.py",
        "first.setdefault(client, phase)",
        "first[client] = phase",
        (f"{SCHEDULING}::test_whoever_is_lost_twice_is_lost_in_the_earlier_phase",),
    ),
    Mutant(
        "rounds that wait for everybody who was invited",
        "learning/synchronous.py",
        "goal=job.goal,",
        "goal=None,",
        (f"{SCHEDULING}::test_a_round_goes_on_when_as_many_have_uploaded_as_were_wanted",),
    ),
    Mutant(
        "rounds that begin with as few as a sum may be over",
        "learning/synchronous.py",
        "there >= self._enough or",
        "there >= self._fewest or",
        (f"{SCHEDULING}::test_a_round_waits_a_while_for_one_more_than_a_sum_may_be_over",),
    ),
    Mutant(
        "no pause after a round that came to nothing",
        "learning/synchronous.py",
        "self._clock_s += PAUSE_S",
        "self._clock_s += 0.0",
        (f"{SCHEDULING}::test_after_a_round_that_came_to_nothing_there_is_a_pause",),
    ),
    Mutant(
        "training that costs no battery",
        "learning/synchronous.py",
        "self._fleet.spend(client, examples_seen, plan.began_s)",
        "self._fleet.spend(client, 0, plan.began_s)",
        (f"{SCHEDULING}::test_a_battery_pays_for_what_was_computed_and_empty_ones_are_waited_for",),
    ),
    Mutant(
        "private clients timed by what they hold",
        "learning/assembly.py",
        "examples = (max(sum(examples) // len(examples), 1),) * len(examples)",
        "pass",
        (f"{LATE}[deadline_s-client-central]", f"{LATE}[deadline_s-example]"),
    ),
    Mutant(
        "updates of any age",
        "learning/buffered.py",
        "elif self._buffering.takes(model.version - task.model.version):",
        "else:",
        (f"{BUFFERED}::test_updates_that_are_too_old_are_thrown_away_and_their_clients_begin_anew", BUFFERS),
    ),
    Mutant(
        "updates that are offered again",
        "learning/buffered.py",
        "        self._waiting = []\n        cohort",
        "        cohort",
        (TRACE, BUFFERS),
    ),
    Mutant(
        "clients that train while their update waits",
        "learning/buffered.py",
        "for task in (*self._tasks, *self._waiting)}",
        "for task in self._tasks}",
        (BUFFERS,),
    ),
    Mutant(
        "a list of the current model alone",
        "learning/buffered.py",
        "used = {model.version: model} | {task.model.version: task.model for task in here}",
        "used = {model.version: model}",
        (BUFFERS,),
    ),
    Mutant(
        "models taken by their version alone",
        "learning/versions.py",
        "if self.digests.get(version) != model:",
        "if version not in self.digests:",
        (
            f"{BUFFERED}::test_guarantee_1_of_versions_nothing_is_told_of_a_model_that_is_not_on_the_list",
            f"{BUFFERED}::test_a_client_whose_model_is_not_on_the_list_uploads_nothing",
        ),
    ),
    Mutant(
        "contexts that the list of models is not in",
        "learning/versions.py",
        "*numbers, job, *listed)",
        "*numbers, job)",
        (f"{BUFFERED}::test_guarantee_2_of_versions_another_list_or_job_has_another_context",),
    ),
    Mutant(
        "lists that nobody compares with the context",
        "learning/local_work.py",
        "if not agrees:",
        "if False:",
        (f"{BUFFERED}::test_clients_whose_list_is_another_than_the_agreed_one_upload_nothing",),
    ),
    Mutant(
        "age that does not count",
        "learning/averaging.py",
        "weight * (min(result.examples, self.codec.weight_max) if self._tells else 1), self.codec.least_weight",
        "min(result.examples, self.codec.weight_max) if self._tells else 1, self.codec.least_weight",
        (WEIGHED,),
    ),
    Mutant(
        "updates so old that they cannot be written",
        "learning/averaging.py",
        "if self._tells else 1), self.codec.least_weight",
        "if self._tells else 1), 0.0",
        (f"{BUFFERED}::test_whatever_the_exponent_stale_updates_do_not_end_a_run[10.0]",),
    ),
    Mutant(
        "age that does not count under privacy",
        "learning/private.py",
        "            weight=weight,\n            workers",
        "            workers",
        (f"{SHORTER}[client-central]", f"{SHORTER}[client-distributed]"),
    ),
    Mutant(
        "stale updates as long as the clip",
        "dp/codec.py",
        "scale=weight * step",
        "scale=step",
        (f"{SHORTER}[client-central]",),
    ),
    Mutant(
        "reasons told of private clients",
        "learning/local_work.py",
        "return TRAINING_FAILED if self._private else told_of",
        "return told_of",
        (f"{WORK}::test_guarantee_2_of_private_examples_nothing_is_told_but_that_it_failed",),
    ),
    Mutant(
        "private clients that are seen to fail",
        "learning/local_work.py",
        "if self._zeros:",
        "if False:",
        (f"{WORK}::test_guarantee_2_of_private_clients_not_even_that_is_told_and_they_add_nothing[client-central]",),
    ),
    Mutant(
        "what is not installed taken for a client's failure",
        "learning/local_work.py",
        "except MissingExtra:\n                raise",
        "except ZeroDivisionError:\n                raise",
        (f"{WORK}::test_what_is_nobodys_training_passes[error0-MissingExtra-privacy0]",),
    ),
    Mutant(
        "evaluations of clients that are not there",
        "learning/evaluating.py",
        "sorted(self._evaluators & online)",
        "sorted(self._evaluators)",
        (f"{EVALUATING}::test_only_those_that_are_reachable_when_the_round_is_over_are_asked",),
    ),
    Mutant(
        "the server's memory begins anew",
        "learning/memory.py",
        "self.strategy.restore(slots)",
        "self.strategy.restore({})",
        (f"{RESUME}::test_a_run_ends_in_the_model_of_the_uninterrupted_one_whatever_the_strategy[1-fedadam]",),
    ),
    Mutant(
        "the clock begins anew",
        "learning/memory.py",
        'self.scheduler.restore(state["scheduler"], models)',
        'state["scheduler"]',
        (f"{RESUME}::test_clock_and_batteries_go_on",),
    ),
    Mutant(
        "the best model is kept in memory alone",
        "learning/memory.py",
        "slots[_BEST] = self.best.best_weights",
        "pass",
        (f"{RESUME}::test_patience_and_the_best_model_go_on_wherever_a_run_stops",),
    ),
    Mutant(
        "work under way that a crash takes",
        "learning/buffered.py",
        "self._clock_s, self._begun, self._tasks = clock_s, begun, tasks",
        "self._clock_s, self._begun = clock_s, begun",
        (
            f"{BUFFERED}::test_guarantee_1_a_scheduler_goes_on_with_what_was_under_way[1]",
            f"{RESUME}::test_fedbuff_goes_on_with_the_same_updates[1]",
        ),
    ),
    Mutant(
        "models that are evaluated again",
        "learning/rounds.py",
        "and self._memory.asked < self.version",
        "and self.version > 0",
        (f"{EVALUATING}::test_a_model_that_has_not_moved_is_not_evaluated_again",),
    ),
    Mutant(
        "evaluations of one model again",
        "audit/conformity.py",
        "elif not moved or session.round != last:",
        "elif session.round != last:",
        (f"{FRAUD}of-a-round-twice]",),
    ),
    Mutant(
        "evaluations that the job does not ask for",
        "audit/conformity.py",
        "if not job.evaluation.due(session.round, job.rounds):",
        "if False:",
        (f"{FRAUD}of-a-round-that-the-job-does-not-evaluate]",),
    ),
    Mutant(
        "evaluations of another length",
        "audit/conformity.py",
        "    due = evaluation_vector(job)\n    if params.vector != due:",
        "    due = evaluation_vector(job)\n    if False:",
        (f"{FRAUD}in-two-bands]",),
    ),
    Mutant(
        "evaluations that are not charged",
        "audit/coverage.py",
        "            if session.probe is None:\n                yield session",
        "            if session.probe is None and not session.evaluation:\n                yield session",
        (f"{FRAUD}under-privacy,-beside-the-rounds]",),
    ),
)
