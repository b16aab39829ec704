"""Defects planted in the server's steps, schedules and proximal training: see `mutants`."""

from mutants import Mutant

TESTS = "test_learning_strategy.py"
ALGORITHM_2 = f"{TESTS}::test_adaptive_steps_are_those_of_algorithm_2_of_reddi_et_al"
PROXIMAL = f"{TESTS}::test_proximal_steps_are_those_of_a_loop_written_by_hand"
SEEN = f"{TESTS}::test_guarantee_4_a_client_computes_as_many_gradients_as_its_settings_say"
PRIVATE = f"{TESTS}::test_a_private_trainer_takes_rate_and_momentum_of_a_call_and_refuses_what_its_plan_has_no_room_for"

MUTANTS = (
    Mutant(
        "server momentum that averages",
        "learning/strategy.py",
        "self._momentum * slots[0] + mean,",
        "self._momentum * slots[0] + (1 - self._momentum) * mean,",
        (f"{TESTS}::test_fedavgm_is_the_recurrence_of_hsu_et_al",),
    ),
    Mutant(
        "second moment of Yogi the wrong way",
        "learning/strategy.py",
        "np.sign(second - square)",
        "np.sign(square - second)",
        (ALGORITHM_2,),
    ),
    Mutant(
        "second moments that begin at zero",
        "learning/strategy.py",
        'self._adaptivity**2 if slot == "second" else 0.0',
        "0.0",
        (ALGORITHM_2,),
    ),
    Mutant(
        "adaptivity under the root",
        "learning/strategy.py",
        "(np.sqrt(slots[1]) + self._adaptivity)",
        "np.sqrt(slots[1] + self._adaptivity)",
        (ALGORITHM_2,),
    ),
    Mutant(
        "server state more exact than what is saved of it",
        "learning/server_state.py",
        "after[slot][name] = np.asarray(value, np.float32)",
        "after[slot][name] = np.asarray(value, np.float64)",
        (f"{TESTS}::test_guarantee_2_a_restored_optimiser_goes_on_to_the_bit",),
    ),
    Mutant(
        "server state handed out",
        "learning/server_state.py",
        "{name: array.copy() for name, array in held.items()}",
        "dict(held)",
        (f"{TESTS}::test_guarantee_2_a_restored_optimiser_goes_on_to_the_bit",),
    ),
    Mutant(
        "server state of another model restored",
        "learning/server_state.py",
        "            _check_shapes(slots, like=(self._state or slots)[self.slots[0]])\n",
        "            pass\n",
        (f"{TESTS}::test_guarantee_3_states_of_other_optimisers_and_models_are_refused_and_change_nothing",),
    ),
    Mutant(
        "clients pulled back to zero",
        "learning/torch_trainer.py",
        "settings.proximal * (parameter.detach() - start)",
        "settings.proximal * parameter.detach()",
        (PROXIMAL,),
    ),
    Mutant(
        "clients pushed away",
        "learning/torch_trainer.py",
        "settings.proximal * (parameter.detach() - start)",
        "settings.proximal * (start - parameter.detach())",
        (PROXIMAL,),
    ),
    Mutant(
        "unused parameters not pulled back",
        "learning/torch_trainer.py",
        "parameter.grad = pull if parameter.grad is None else parameter.grad.add_(pull)",
        "parameter.grad = None if parameter.grad is None else parameter.grad.add_(pull)",
        (f"{TESTS}::test_a_parameter_that_a_step_does_not_use_is_pulled_back_all_the_same",),
    ),
    Mutant(
        "slow clients do all the steps",
        "learning/torch_trainer.py",
        "order), settings.steps)",
        "order), None)",
        (SEEN,),
    ),
    Mutant(
        "larger batches of an epoch forgotten",
        "learning/trainer.py",
        " + min(rest, examples % batches)",
        "",
        (SEEN,),
    ),
    Mutant(
        "schedules pass private training by",
        "learning/private_trainer.py",
        "                learning_rate=settings.learning_rate,\n",
        "                learning_rate=self.settings.learning_rate,\n",
        (PRIVATE,),
    ),
    Mutant(
        "private training with fewer steps than planned for",
        "learning/private_trainer.py",
        "        _check_settings(settings or self.settings)\n",
        "",
        (PRIVATE,),
    ),
    Mutant(
        "cosine that ends a round early",
        "learning/schedules.py",
        "min(since / span, 1.0)",
        "min(since / max(span - 1, 1), 1.0)",
        (f"{TESTS}::test_guarantee_2_a_cosine_falls_from_the_whole_rate_towards_its_minimum",),
    ),
    Mutant(
        "warm-up counted into the decay",
        "learning/schedules.py",
        "round_number - schedule.warmup - 1",
        "round_number - 1",
        (f"{TESTS}::test_guarantee_2_steps_and_powers_count_from_the_first_whole_rate",),
    ),
    Mutant(
        "strategies of single updates known by one spelling",
        "learning/strategy_names.py",
        're.sub(r"[^a-z0-9]", "", name.lower())',
        "name",
        (f"{TESTS}::test_strategies_of_single_updates_are_refused_with_the_reason_and_what_to_do",),
    ),
    Mutant(
        "stale updates as good as fresh ones",
        "learning/strategy_job.py",
        "(1 + staleness) ** -self.staleness_exponent",
        "1.0",
        (f"{TESTS}::test_only_fedbuff_buffers",),
    ),
)
