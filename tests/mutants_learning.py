"""Defects planted in how a run goes: its fleet, cohorts, strategies, evaluations and their report."""

from mutants_cohort import MUTANTS as COHORT
from mutants_combinations import MUTANTS as COMBINATIONS
from mutants_evaluation import MUTANTS as EVALUATION
from mutants_fleet import MUTANTS as FLEET
from mutants_loop import MUTANTS as LOOP
from mutants_report_run import MUTANTS as REPORT
from mutants_strategy import MUTANTS as STRATEGY

MUTANTS = (*STRATEGY, *FLEET, *COHORT, *COMBINATIONS, *EVALUATION, *LOOP, *REPORT)
