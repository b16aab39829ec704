"""Defects planted where differential privacy is made, counted and carried out: see `mutants`."""

from mutants_dp_accounting import MUTANTS as ACCOUNTING
from mutants_dp_ledger import MUTANTS as LEDGER
from mutants_dp_noise import MUTANTS as NOISE
from mutants_dp_run import MUTANTS as RUN
from mutants_dp_training import MUTANTS as TRAINING

MUTANTS = (*ACCOUNTING, *NOISE, *LEDGER, *TRAINING, *RUN)
