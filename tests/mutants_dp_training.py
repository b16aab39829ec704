"""Defects planted in training with protected examples: see `mutants`."""

from mutants import Mutant

TESTS = "test_learning_private_trainer.py"

MUTANTS = (
    Mutant(
        "sum divided by the client's own number of examples",
        "learning/private_trainer.py",
        "plan.l2_clip, plan.expected_batch, self._entropy",
        "plan.l2_clip, float(len(labels)), self._entropy",
        (f"{TESTS}::test_guarantee_2_the_divisor_is_the_public_one",),
    ),
    Mutant(
        "no noise where the batch is empty",
        "learning/per_example.py",
        "            self._optimiser.take_no_gradients()\n",
        "            return\n",
        (f"{TESTS}::test_guarantee_2_an_empty_batch_moves_the_weights_as_any_other",),
    ),
    Mutant(
        "noise not sized for the clip",
        "learning/per_example.py",
        " * (noise.noise_multiplier * noise.l2_clip)",
        " * noise.noise_multiplier",
        (f"{TESTS}::test_guarantee_2_the_noise_has_the_planned_deviation_in_every_step",),
    ),
    Mutant(
        "noise from torch's seeded generator",
        "learning/per_example.py",
        "continuous_gaussian(sum(sizes), noise.entropy)",
        "torch.randn(sum(sizes), dtype=torch.float64).numpy()",
        (f"{TESTS}::test_batches_and_noise_do_not_follow_the_seed",),
    ),
    Mutant(
        "every parameter clipped by a norm of its own",
        "learning/per_example.py",
        "            squares += piece.square().sum(dim=1)",
        "            squares = piece.square().sum(dim=1)",
        (f"{TESTS}::test_the_released_sum_is_that_of_explicitly_clipped_gradients",),
    ),
    Mutant(
        "small gradients scaled up to the clip",
        "learning/per_example.py",
        ".clamp(min=1e-30)).clamp(max=1.0)",
        ".clamp(min=1e-30))",
        (f"{TESTS}::test_the_released_sum_is_that_of_explicitly_clipped_gradients",),
    ),
    Mutant(
        "no room for rounding",
        "learning/per_example.py",
        "_ROOM: Final = 1 - 2.0**-12",
        "_ROOM: Final = 1 + 2.0**-20",
        (f"{TESTS}::test_guarantee_1_an_examples_share_never_exceeds_the_clip",),
    ),
    Mutant(
        "batches follow the seed",
        "learning/private_trainer.py",
        "torch.from_numpy(poisson_sample(len(labels), plan.sampling_probability, self._entropy))",
        "torch.rand(len(labels)) < plan.sampling_probability",
        (f"{TESTS}::test_batches_and_noise_do_not_follow_the_seed",),
    ),
    Mutant(
        "batches of one size",
        "learning/private_trainer.py",
        "torch.from_numpy(poisson_sample(len(labels), plan.sampling_probability, self._entropy))",
        "torch.randperm(len(labels))[: round(len(labels) * plan.sampling_probability)]",
        (f"{TESTS}::test_guarantee_3_batches_are_poisson_samples_with_the_planned_probability",),
    ),
    Mutant(
        "batches sampled with what gives the public size",
        "learning/private_trainer.py",
        "poisson_sample(len(labels), plan.sampling_probability, self._entropy)",
        "poisson_sample(len(labels), min(1.0, plan.expected_batch / len(labels)), self._entropy)",
        (f"{TESTS}::test_guarantee_3_batches_are_poisson_samples_with_the_planned_probability",),
    ),
    Mutant(
        "only Opacus' own list of types refused",
        "learning/per_example_checks.py",
        "if isinstance(layer, kind)]",
        "if type(layer) is kind]",
        (f"{TESTS}::test_guarantee_4_layers_without_gradients_of_single_examples_are_refused_at_once",),
    ),
    Mutant(
        "only the last example replaced",
        "learning/per_example_checks.py",
        "        for i in range(len(features)):",
        "        for i in [len(features) - 1]:",
        (f"{TESTS}::test_guarantee_4_models_that_mix_or_remember_examples_are_refused",),
    ),
    Mutant(
        "Opacus' gradients believed",
        "learning/per_example_checks.py",
        "    if not (off <= 1e-3 * true.norm(dim=1) + 1e-5).all():",
        "    if False:",
        (f"{TESTS}::test_guarantee_4_models_on_which_opacus_is_mistaken_are_refused",),
    ),
    Mutant(
        "as many gradients as there happen to be",
        "learning/per_example.py",
        "    if rows != examples:\n",
        "    if False:\n",
        (f"{TESTS}::test_guarantee_4_models_on_which_opacus_is_mistaken_are_refused",),
    ),
    Mutant(
        "amplification where nothing is sampled",
        "learning/private_trainer.py",
        "        if self.sampling_probability != 1:",
        "        if True:",
        (f"{TESTS}::test_clients_smaller_than_a_batch_are_not_sampled_from",),
    ),
    Mutant(
        "books opened anew after a restart",
        "learning/opacus_books.py",
        '"history": _read(state)}',
        '"history": _read(state)[:0]}',
        (f"{TESTS}::test_books_guarantee_1_restarts_do_not_forget",),
    ),
)
