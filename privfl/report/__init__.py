"""HTML reports: the pieces that `privfl run`, `privfl audit` and `privfl bench` share, and the report of a run."""

from __future__ import annotations

from privfl.report.run_report import BestModel as BestModel
from privfl.report.run_report import PrivacyCharge as PrivacyCharge
from privfl.report.run_report import RunPrivacy as RunPrivacy
from privfl.report.run_report import RunReport as RunReport
from privfl.report.run_report import ServerView as ServerView
from privfl.report.run_report import render_run_report as render_run_report

__all__ = ["BestModel", "PrivacyCharge", "RunPrivacy", "RunReport", "ServerView", "render_run_report"]
