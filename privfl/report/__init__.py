"""HTML reports: the pieces that `privfl run`, `privfl audit` and `privfl bench` share, and two of the reports."""

from __future__ import annotations

from privfl.report.bench_content import BenchReport as BenchReport
from privfl.report.bench_content import Growth as Growth
from privfl.report.bench_report import render_bench_report as render_bench_report
from privfl.report.run_report import BestModel as BestModel
from privfl.report.run_report import PrivacyCharge as PrivacyCharge
from privfl.report.run_report import RunPrivacy as RunPrivacy
from privfl.report.run_report import RunReport as RunReport
from privfl.report.run_report import ServerView as ServerView
from privfl.report.run_report import render_run_report as render_run_report

__all__ = [
    "BenchReport",
    "BestModel",
    "Growth",
    "PrivacyCharge",
    "RunPrivacy",
    "RunReport",
    "ServerView",
    "render_bench_report",
    "render_run_report",
]
