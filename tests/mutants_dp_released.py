"""Defects planted on the way from a share of noise to the sum that is released; the format is that of `mutants.py`."""

from mutants import Mutant

TESTS = "test_dp_released.py"
SUMS = f"{TESTS}::test_released_sums_have_the_noise_that_the_ledger_says"
CHARGES = f"{TESTS}::test_charges_are_worked_out_again_from_what_was_done"
COORDINATES = f"{TESTS}::test_no_coordinate_is_left_without_noise"
SHARES = f"{TESTS}::test_every_client_adds_its_own_share_anew_in_every_round"
CORRUPT = f"{TESTS}::test_what_corrupt_clients_cannot_subtract_is_what_was_charged"
MOVING = f"{TESTS}::test_noise_follows_a_clip_that_moves"

MUTANTS = (
    Mutant(
        "all shares of noise from one stream",
        "dp/noise.py",
        "[[stream_keys(entropy) for _ in copies]",
        "[[(Secret(bytes(PRG_KEY_BYTES)), Secret(bytes(PRG_KEY_BYTES))) for _ in copies]",
        (f"{SUMS}[masking-skellam-none]", f"{SUMS}[kahe-gaussian-none]", f"{SHARES}[skellam]"),
    ),
    Mutant(
        "every other batch of draws left out",
        "dp/noise.py",
        "for begin in range(0, len(block), _BATCH):",
        "for begin in range(0, len(block), 2 * _BATCH):",
        (f"{SUMS}[masking-discrete-gaussian-none]", f"{COORDINATES}[skellam]"),
    ),
    Mutant(
        "draws one short",
        "dp/noise.py",
        "                    for begin in range(0, len(block), _BATCH):",
        "                    block = block[:-1]\n                    for begin in range(0, len(block), _BATCH):",
        (f"{COORDINATES}[gaussian]", f"{COORDINATES}[skellam]"),
    ),
    Mutant(
        "noise on the coordinates of the update only",
        "dp/codec.py",
        "self.noise.add_to(whole, ",
        "self.noise.add_to(whole[:m], ",
        (f"{TESTS}::test_padded_vectors_and_arrays_clipped_one_by_one_have_that_noise_too[skellam]",),
    ),
    Mutant(
        "noise only for updates that were clipped",
        "dp/codec.py",
        "        if self.noise:\n            self.noise.add",
        "        if self.noise and clipped.norm > clip:\n            self.noise.add",
        (f"{SUMS}[masking-skellam-none]", f"{SHARES}[discrete-gaussian]"),
    ),
    Mutant(
        "the ledger told of a cohort's noise",
        "dp/planner.py",
        "        shares = 1 if self.mechanism is Mechanism.GAUSSIAN else contributors\n",
        "        shares = 1 if self.mechanism is Mechanism.GAUSSIAN else self.cohort\n",
        (f"{SUMS}[kahe-skellam-a tenth]",),
    ),
    Mutant(
        "the server's noise added to a copy",
        "learning/private.py",
        "self.plan.server_noise.add_to(total, ",
        "self.plan.server_noise.add_to(total.copy(), ",
        (f"{SUMS}[masking-gaussian-none]", f"{COORDINATES}[gaussian]"),
    ),
    Mutant(
        "the server's noise without that of the last coordinate",
        "learning/private.py",
        "self.plan.server_noise.add_to(total, ",
        "self.plan.server_noise.add_to(total[:-1], ",
        (f"{COORDINATES}[gaussian]",),
    ),
    Mutant(
        "sums divided by a little more than was agreed",
        "learning/private.py",
        "clip=self.clip, denominator=self._denominator, seed=_seed(context))",
        "clip=self.clip, denominator=self._denominator * 1.02, seed=_seed(context))",
        (f"{SUMS}[masking-gaussian-none]", f"{SUMS}[ckks-skellam-three tenths]"),
    ),
    Mutant(
        "a mean over whoever came",
        "learning/private.py",
        "denominator=self._denominator, seed",
        "denominator=len(summed.contributors), seed",
        (f"{SUMS}[masking-skellam-a tenth]", f"{SUMS}[kahe-gaussian-three tenths]"),
    ),
    Mutant(
        "noise that follows a seed",
        "learning/assembly.py",
        "clip=job.privacy.clip, entropy=OsEntropy(), workers",
        'clip=job.privacy.clip, entropy=__import__("privfl.testing").testing.UnsafeFixedEntropy(bytes(16)), workers',
        (f"{TESTS}::test_the_same_job_has_other_noise_every_time",),
    ),
    Mutant(
        "the clip that the job began with in the ledger",
        "learning/rounds.py",
        '            "clip": self.clip,\n            **',
        '            "clip": self.job.privacy.clip,\n            **',
        (f"{MOVING}[skellam]", f"{MOVING}[gaussian]"),
    ),
    Mutant(
        "charged for the cohort whoever came",
        "simulate.py",
        "before_opening(len(contributors))",
        "before_opening(len(params.cohort))",
        (f"{SUMS}[masking-skellam-a tenth]", f"{SUMS}[ckks-discrete-gaussian-three tenths]"),
    ),
    Mutant(
        "noise that corrupt clients know charged as if it hid",
        "learning/guarantee.py",
        "        corrupt = job.corrupt_clients if distributed else 0\n        event",
        "        corrupt = 0\n        event",
        (f"{CORRUPT}[skellam]", f"{CHARGES}[discrete-gaussian]"),
    ),
    Mutant(
        "shares sized for those who were invited",
        "learning/guarantee.py",
        "honest_minimum=job.honest_minimum if distributed else None,",
        "honest_minimum=job.cohort_size if distributed else None,",
        (f"{CHARGES}[skellam]", f"{TESTS}::test_every_drop_out_costs"),
    ),
    Mutant(
        "a planned round costs what a full one does",
        "learning/guarantee.py",
        "    fewest = job.minimum if distributed and job.minimum is not None else 1\n",
        "    fewest = job.cohort_size\n",
        (f"{TESTS}::test_every_drop_out_costs",),
    ),
)
