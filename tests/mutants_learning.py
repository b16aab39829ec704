"""Defects planted in how a run goes: its fleet, cohorts, strategies, evaluations and their report."""

from mutants_cohort import MUTANTS as COHORT
from mutants_combinations import MUTANTS as COMBINATIONS
from mutants_evaluation import MUTANTS as EVALUATION
from mutants_fleet import MUTANTS as FLEET
from mutants_loop import MUTANTS as LOOP
from mutants_narrow import MUTANTS as NARROW
from mutants_report_run import MUTANTS as REPORT
from mutants_report_upload import MUTANTS as UPLOAD
from mutants_resume import MUTANTS as RESUME
from mutants_strategy import MUTANTS as STRATEGY
from mutants_trainers import MUTANTS as TRAINERS

MUTANTS = (*STRATEGY, *TRAINERS, *FLEET, *COHORT, *COMBINATIONS, *EVALUATION, *LOOP, *NARROW, *REPORT, *RESUME, *UPLOAD)
