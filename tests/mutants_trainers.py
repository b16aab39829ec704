"""Defects planted in trainers and data of one's own, and in what of a model is trained and travels: see `mutants`."""

from mutants import Mutant

OWN = "test_learning_trainers.py"
TORCH = "test_learning_trainers_torch.py"

MUTANTS = (
    Mutant(
        "private examples trained without noise",
        "learning/assembly.py",
        "        if not isinstance(made, PrivateTrainer):\n",
        "        if False:\n",
        (f"{OWN}::test_guarantee_1_under_dp_of_examples_a_trainer_without_noise_is_refused",),
    ),
    Mutant(
        "private examples trained with less noise than is charged",
        "learning/assembly.py",
        "        if made.plan != guarantee.training:\n",
        "        if False:\n",
        (f"{OWN}::test_guarantee_1_under_dp_of_examples_a_private_trainer_needs_the_plan_that_is_charged",),
    ),
    Mutant(
        "a job that calls its trainer a test",
        "learning/assembly.py",
        "unnoised = given is not None and getattr(given,",
        "unnoised = getattr(made,",
        (f"{OWN}::test_a_jobs_function_cannot_call_itself_a_test",),
    ),
    Mutant(
        "trainers unchecked",
        "learning/assembly.py",
        "made if isinstance(made, TorchClassifier) else CheckedTrainer(made, settings)",
        "made",
        (f"{OWN}::test_a_function_may_return_a_trainer_which_is_used_as_it_is",),
    ),
    Mutant(
        "updates of any shape",
        "learning/checked_trainer.py",
        "            if array.shape != due.shape:\n",
        "            if False:\n",
        (f"{OWN}::test_guarantee_3_an_update_of_another_shape_or_dtype_is_named",),
    ),
    Mutant(
        "whole numbers taken for an update",
        "learning/checked_trainer.py",
        "    if array.dtype not in _FLOATS:\n",
        "    if False:\n",
        (
            f"{OWN}::test_guarantee_3_an_update_of_another_shape_or_dtype_is_named",
            f"{OWN}::test_guarantee_3_initial_weights_that_cannot_travel_are_named",
        ),
    ),
    Mutant(
        "updates in another order than the weights",
        "learning/checked_trainer.py",
        "        for name, due in self._initial.items():\n            array",
        "        for name in update:\n            due = self._initial[name]\n            array",
        (f"{OWN}::test_guarantee_1_arrays_of_any_float_become_float32_in_the_order_of_the_weights",),
    ),
    Mutant(
        "more examples right than there are",
        "learning/checked_trainer.py",
        "or not 0 <= value <= examples:",
        "or not 0 <= value:",
        (f"{OWN}::test_guarantee_2_counts_and_losses_are_numbers_that_can_be",),
    ),
    Mutant(
        "models of a function that imports torch late drawn by no seed",
        "learning/models.py",
        "if torch is not None and (made is None or isinstance(made, torch.nn.Module)):",
        "if torch is not None and made is None:",
        (f"{OWN}::test_a_job_without_torch_imports_none_and_one_whose_function_does_is_seeded_all_the_same",),
    ),
    Mutant(
        "softmax without momentum",
        "learning/numpy_trainer.py",
        "np.float32(settings.momentum) * speed[name] + gradient[name]",
        "gradient[name]",
        (f"{OWN}::test_guarantee_1_of_softmax_it_learns_as_the_logistic_model_of_torch_does",),
    ),
    Mutant(
        "modules in a folder before those of Python",
        "cli/run.py",
        "            sys.path.append(found)",
        "            sys.path.insert(0, found)",
        (f"{OWN}::test_the_command_finds_modules_beside_the_job_and_in_the_current_directory",),
    ),
    Mutant(
        "data of one's own that can be written to",
        "learning/own_data.py",
        "        view.flags.writeable = False\n",
        "",
        (f"{OWN}::test_every_client_holds_what_the_function_returns_for_it",),
    ),
    Mutant(
        "frozen parameters trained",
        "learning/adapters.py",
        "        if matches(name, training.freeze):\n",
        "        if False:\n",
        (f"{TORCH}::test_what_is_frozen_is_neither_sent_nor_trained",),
    ),
    Mutant(
        "what is not trained sent all the same",
        "learning/torch_weights.py",
        "if one.requires_grad and one.is_floating_point()}",
        "if one.is_floating_point()}",
        (
            f"{TORCH}::test_what_is_frozen_is_neither_sent_nor_trained",
            f"{TORCH}::test_parameters_that_the_model_itself_does_not_train_are_not_sent",
        ),
    ),
    Mutant(
        "the first factor of adapters trained",
        "learning/adapters.py",
        "self.down.weight.requires_grad = train_down",
        "self.down.weight.requires_grad = True",
        (f"{TORCH}::test_the_mean_of_adapters_is_the_mean_of_models_where_a_is_frozen_and_not_where_it_is_trained",),
    ),
    Mutant(
        "adapters drawn alike for every layer",
        "learning/adapters.py",
        'f"training.adapter.{name}"',
        '"training.adapter"',
        (f"{TORCH}::test_guarantee_1_adapters_follow_the_seed_and_leave_torchs_state_alone",),
    ),
    Mutant(
        "adapters that are not in the matrix",
        "learning/adapters.py",
        "self.base.weight + self.up.weight @ self.down.weight",
        "self.base.weight",
        (
            f"{TORCH}::test_a_model_with_adapters_is_the_one_without_once_they_are_merged",
            f"{TORCH}::test_a_transformer_layer_uses_its_adapters_in_evaluation_too",
        ),
    ),
    Mutant(
        "adapters merged twice where a layer stands in two places",
        "learning/adapters.py",
        "                layer.up.weight.zero_()  #",
        "                #",
        (f"{TORCH}::test_a_layer_that_stands_in_two_places_gets_one_adapter_and_a_model_may_be_one_layer",),
    ),
    Mutant(
        "all buffers sent",
        "learning/torch_weights.py",
        "for name, one in float_buffers(model).items() if matches(name, buffers)",
        "for name, one in float_buffers(model).items()",
        (f"{TORCH}::test_buffers_travel_by_name_and_the_others_are_as_they_were_built_in_every_call",),
    ),
    Mutant(
        "rounding taken for an update",
        "learning/torch_trainer.py",
        "np.asarray(array - received[name])",
        "np.asarray(array - weights[name])",
        (f"{TORCH}::test_rounding_on_arrival_is_no_update",),
    ),
    Mutant(
        "losses in the model's precision",
        "learning/torch_trainer.py",
        "logits = model(features[start : start + _EVALUATION_BATCH]).float()",
        "logits = model(features[start : start + _EVALUATION_BATCH])",
        (f"{TORCH}::test_a_loss_is_computed_in_float32",),
    ),
    Mutant(
        "gradients of single examples clipped in any precision",
        "learning/private_trainer.py",
        "            if parameter.dtype != import_torch().float32:",
        "            if False:",
        (f"{TORCH}::test_gradients_of_single_examples_are_clipped_in_float32_only",),
    ),
    Mutant(
        "trained models without their adapters",
        "learning/trained.py",
        'whole = prepared(built.to("cpu"), job.training, seed=job.seed)',
        'whole = prepared(built.to("cpu"), job.training, seed=0)',
        (f"{TORCH}::test_guarantee_1_a_model_that_is_loaded_does_as_the_run_said",),
    ),
)
