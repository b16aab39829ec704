"""Defects planted in the audit, in what a run writes down for it, and in the sizes of messages."""

from mutants_audit_empirical import MUTANTS as EMPIRICAL
from mutants_audit_report import MUTANTS as REPORT
from mutants_audit_statistics import MUTANTS as STATISTICS
from mutants_audit_whole import MUTANTS as WHOLE
from mutants_sizes import MUTANTS as SIZES

MUTANTS = (*EMPIRICAL, *STATISTICS, *REPORT, *WHOLE, *SIZES)
