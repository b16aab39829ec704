"""All that the report of a run says."""

from __future__ import annotations

from dataclasses import dataclass

from privfl.report.privacy_claim import RunPrivacy
from privfl.report.server_view import ServerView
from privfl.round_metrics import RoundMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class BestModel:
    """The best of the rounds' models.

    Attributes:
        round: whose it is.
        measure: what they were compared by, in words.
        value: what it reached, as text.
        file: where it is kept.
    """

    round: int
    measure: str
    value: str
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """All that the report of a run says. Texts may mark code with `` `backticks` ``.

    Attributes:
        title: of the page.
        suite: the suite of the job.
        job_text: the job, TOML.
        data_name: the data set.
        clients: clients in the federation.
        model: the model, in a word or two.
        parameters: its parameters.
        rows: the rounds, ascending; may be empty.
        view: one client's update beside what the server got; None where none was kept.
        warnings: sentences for the top of the page, such as one on many clipped coordinates.
        security_notes: sentences; the first names the suite's threat model and opens the page.
        facts: (name, value) of the session: threshold, degree, ring bits, versions.
        command: what was typed.
        privacy: the claim of differential privacy and what the ledger holds; None where no noise was added.
        enough: why the run ended before its last round, with nothing better to come; None if it did not.
        planned: rounds of the job; None where it is not to be told.
        best: whose model is the best, where the job says what it is judged by; None where that is not to be told.
    """

    title: str
    suite: str
    job_text: str
    data_name: str
    clients: int
    model: str
    parameters: int
    rows: tuple[RoundMetrics, ...]
    view: ServerView | None
    warnings: tuple[str, ...]
    security_notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    command: str
    privacy: RunPrivacy | None = None
    enough: str | None = None
    planned: int | None = None
    best: BestModel | None = None
