"""Defects planted in `dp`: see `mutants`."""

from mutants_dp_accounting import MUTANTS as ACCOUNTING
from mutants_dp_ledger import MUTANTS as LEDGER
from mutants_dp_noise import MUTANTS as NOISE

MUTANTS = (*ACCOUNTING, *NOISE, *LEDGER)
