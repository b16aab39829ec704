"""What a run left behind, read strictly: a file that cannot be believed is a finding, and never repaired."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from privfl.dp.ledger import Contents, read_ledger
from privfl.dp.receipts import Receipt, verify_receipt
from privfl.errors import ConfigurationError, LedgerError, PrivflError
from privfl.evidence import Evidence, read_evidence
from privfl.journal.reading import MOST_JOURNAL_BYTES, content_of, regular_file
from privfl.learning.books import COORDINATOR, LEDGER
from privfl.learning.client_books import CLIENTS, RECEIPTS
from privfl.learning.job import MAX_ROUNDS, Job, job_from_toml
from privfl.learning.paperwork import JOB
from privfl.learning.rounds import METRICS
from privfl.learning.witness import EVIDENCE, PROBES
from privfl.primitives.signatures import Identity
from privfl.report.formats import visible

MOST_BYTES: Final = 64 << 20
"""Of what is written for people or line by line: 100 000 rounds of metrics take less, and as many receipts."""
MOST_PROBE_BYTES: Final = 1 << 30
"""Of a recorded session or a model, which are in memory while they are looked at."""
_MOST_LINE_BYTES: Final = 1 << 20  # of metrics, which name who dropped out, or a receipt, which has some hundred
_MOST_FIGURES: Final = 256  # in a line of metrics, which has some thirty
_CLIENTS_BY_REASON: Final = frozenset({"dropped_because", "evaluation_failed"})
_LISTED: Final = frozenset({"client_accuracy_quantiles", "client_accuracy_histogram"})
_MOST_SAID: Final = 500  # characters of a complaint, which may quote what it complains of
_LINE: Final = re.compile(r"line (\d+)")
_ODD: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError, MemoryError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Read(Generic[T]):
    """A file, as it could be read.

    Attributes:
        name: of the file, as findings call it.
        value: what it holds; None if it is not there, or cannot be believed.
        problem: what is wrong with it, in a sentence; empty if nothing is.
        line: which line is wrong, from 1; None if none in particular.
    """

    name: str
    value: T | None = None
    problem: str = ""
    line: int | None = None

    @property
    def missing(self) -> bool:
        """Whether it is not there."""
        return self.value is None and not self.problem

    @property
    def where(self) -> str:
        """File and line that are wrong."""
        return self.name if self.line is None else f"{self.name}, line {self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptLine:
    """One receipt, and where it stands."""

    receipt: Receipt
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefacts:
    """All that is there to look at.

    Attributes:
        source: the path, as it was given.
        folder: of the run; None for a bare ledger.
        ledger: the privacy ledger.
        evidence: what left the clients.
        job: what was to be done.
        metrics: what was told of every round.
        receipts: handed in by clients.
        clients: ledgers of the clients' own, by file name.
        signer: public key that the coordinator is known by, 32 bytes; None where nobody told.
        own: public key of a signing key that lies in the folder; None if there is none.
        digests: (file, SHA-256) of all that was read.
    """

    source: Path
    folder: Path | None
    ledger: Read[Contents]
    evidence: Read[Evidence]
    job: Read[Job]
    metrics: Read[tuple[dict[str, Any], ...]]
    receipts: Read[tuple[ReceiptLine, ...]]
    clients: tuple[Read[Contents], ...] = ()
    signer: bytes | None = None
    own: bytes | None = None
    digests: tuple[tuple[str, str], ...] = field(default=())

    @property
    def bare(self) -> bool:
        """Whether there is nothing but a ledger."""
        return self.folder is None

    def bytes_of(self, name: str) -> bytes:
        """Return a file of the run's folder.

        Raises:
            LedgerError: it is not there, not within the folder, no regular file, or too large.
        """
        if self.folder is None:
            raise LedgerError(f"{name} was not shown")
        path = self.folder / name
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, ValueError, RuntimeError):  # no name that a file can have, or links in a circle
            raise LedgerError(f"{name} cannot be read: no name of a file") from None
        if not inside:
            raise LedgerError(f"{name} lies outside the run's directory")
        try:
            return content_of(path, MOST_PROBE_BYTES)
        except LedgerError as error:
            raise LedgerError(f"{name}{str(error).removeprefix(str(path))}") from None


def read_artefacts(source: Path, signer: bytes | None = None) -> Artefacts:
    """Read a run's directory, or a bare ledger.

    Args:
        source: the directory, or the ledger's file.
        signer: public key that the coordinator is known by, 32 bytes.

    Raises:
        ConfigurationError: there is nothing at that path that an audit could be about.
    """
    if os.path.isfile(source):  # noqa: PTH113 - Path.is_file raises where the directory may not be read
        return Artefacts(
            source=source,
            folder=None,
            ledger=_read(source, read_ledger),
            evidence=Read(name=EVIDENCE),
            job=Read(name=JOB),
            metrics=Read(name=METRICS),
            receipts=Read(name=RECEIPTS),
            signer=signer,
            digests=_digests(source.parent, [source]),
        )
    if not os.path.isdir(source):  # noqa: PTH112 - as above
        what = "is neither directory nor regular file" if _is_there(source) else "does not exist"
        raise ConfigurationError(f"{visible(str(source))} {what}: the directory of a run works, or its {LEDGER}")
    if not any(_is_there(source / name) for name in (LEDGER, EVIDENCE)):
        raise ConfigurationError(f"{visible(str(source))} holds no run: neither {LEDGER} nor {EVIDENCE} is in it")
    clients = sorted((source / CLIENTS).glob("*.jsonl"))
    probes = sorted((source / PROBES).glob("*.npz"))
    files = [source / name for name in (LEDGER, EVIDENCE, JOB, METRICS, RECEIPTS)]
    return Artefacts(
        source=source,
        folder=source,
        ledger=_read(source / LEDGER, read_ledger),
        evidence=_read(source / EVIDENCE, read_evidence),
        job=_read(source / JOB, _job),
        metrics=_read(source / METRICS, _metrics),
        receipts=_read(source / RECEIPTS, _receipts),
        clients=tuple(_read(path, read_ledger, f"{CLIENTS}/{path.name}") for path in clients),
        signer=signer,
        own=_own(source / COORDINATOR),
        digests=_digests(source, [path for path in (*files, *probes, *clients) if _is_there(path)]),
    )


def _read(path: Path, reader: Callable[[Path], T], name: str = "") -> Read[T]:
    name = name or path.name
    if not _is_there(path):
        return Read(name=name)
    line: int | None = None
    try:
        return Read(name=name, value=reader(path))
    except PrivflError as error:
        said = str(error).removeprefix(f"{path}: ").removeprefix(str(path)).strip()
        place = _LINE.search(said[:_MOST_SAID])
        line = int(place.group(1)) if place else None
    except _ODD as error:
        said = f"values that no run writes down ({type(error).__name__})"
    return Read(name=name, problem=said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}…", line=line)


def _is_there(path: Path) -> bool:
    """Whether anything stands there, be it a link to nothing: what it is, reading tells."""
    return os.path.lexists(path)


def _job(path: Path) -> Job:
    return job_from_toml(content_of(path, MOST_BYTES))


def _metrics(path: Path) -> tuple[dict[str, Any], ...]:
    rows: list[dict[str, Any]] = []
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise LedgerError(f"line {number}: no JSON") from None
        if not isinstance(row, dict) or type(row.get("round")) is not int or not 0 <= row["round"] <= MAX_ROUNDS:
            raise LedgerError(f"line {number}: no line of metrics: an object with a round is due")
        if len(row) > _MOST_FIGURES or not all(_is_told(*entry) for entry in row.items()):
            raise LedgerError(f"line {number}: no line of metrics: some numbers and words are due")
        if len(rows) == MAX_ROUNDS:
            raise LedgerError(f"line {number}: more than {MAX_ROUNDS} rounds")
        rows.append(row)
    return tuple(rows)


def _is_told(name: str, value: object) -> bool:
    """Whether a run tells such a thing of a round under this name."""
    if name in _CLIENTS_BY_REASON:
        return isinstance(value, dict) and all(_are_figures(clients) for clients in value.values())
    if name in _LISTED:
        parts = list(value.values()) if isinstance(value, dict) else value
        return parts is None or _are_figures(parts)
    return _is_figure(value)


def _are_figures(values: object) -> bool:
    return isinstance(values, list) and all(_is_figure(value) for value in values)


def _is_figure(value: object) -> bool:
    """Whether a run tells such a thing of a round: it can be a float, and a key."""
    return value is None or isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63)


def _receipts(path: Path) -> tuple[ReceiptLine, ...]:
    found = []
    for number, line in _lines(path):
        try:
            receipt = Receipt.from_json(line)
            verify_receipt(receipt)
        except LedgerError as error:
            raise LedgerError(f"line {number}: {error}") from None
        except _ODD as error:
            raise LedgerError(f"line {number}: no receipt ({type(error).__name__})") from None
        found.append(ReceiptLine(receipt=receipt, line=number))
    return tuple(found)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers, one after the other: a file may be nothing but ends of lines."""
    content, start, number = content_of(path, MOST_BYTES), 0, 0
    while start < len(content):
        end, number = content.find(b"\n", start), number + 1
        if end < 0:
            raise LedgerError(f"line {number}: torn, without an end")
        if end - start > _MOST_LINE_BYTES:
            raise LedgerError(f"line {number}: longer than {_MOST_LINE_BYTES} bytes")
        try:
            yield number, content[start:end].decode("utf-8")
        except UnicodeDecodeError as error:
            raise LedgerError(f"line {number}: no text: byte {error.start}") from None
        start = end + 1


def _own(path: Path) -> bytes | None:
    try:
        return Identity.from_pem(content_of(path, MOST_BYTES)).public
    except (PrivflError, *_ODD):
        return None


def _digests(folder: Path, paths: list[Path]) -> tuple[tuple[str, str], ...]:
    found = []
    for path in paths:
        try:
            with regular_file(path, MOST_JOURNAL_BYTES) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except LedgerError:
            digest = "cannot be read"
        found.append((str(path.relative_to(folder)), digest))
    return tuple(found)
