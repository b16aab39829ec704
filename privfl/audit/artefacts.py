"""What a run left behind, read strictly: a file that cannot be believed is a finding, and never repaired."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from privfl.dp.ledger import Contents, read_ledger
from privfl.dp.receipts import Receipt, verify_receipt
from privfl.errors import ConfigurationError, LedgerError, PrivflError
from privfl.evidence import Evidence, read_evidence
from privfl.learning.books import COORDINATOR, LEDGER
from privfl.learning.client_books import CLIENTS, RECEIPTS
from privfl.learning.job import Job, load_job
from privfl.learning.rounds import JOB, METRICS
from privfl.learning.witness import EVIDENCE, PROBES
from privfl.primitives.signatures import Identity

_LINE: Final = re.compile(r"line (\d+)")
_LARGEST_BYTES: Final = 1 << 30

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
            LedgerError: it is not there, not within the folder, or too large.
        """
        if self.folder is None:
            raise LedgerError(f"{name} was not shown")
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise LedgerError(f"{name} lies outside the run's directory")
        try:
            if not path.is_file():
                raise LedgerError(f"{name} cannot be read: it is missing, or no regular file")
            if path.stat().st_size > _LARGEST_BYTES:
                raise LedgerError(f"{name} is larger than {_LARGEST_BYTES} bytes")
            return path.read_bytes()
        except OSError as error:
            raise LedgerError(f"{name} cannot be read: {error.strerror}") from None


def read_artefacts(source: Path, signer: bytes | None = None) -> Artefacts:
    """Read a run's directory, or a bare ledger.

    Args:
        source: the directory, or the ledger's file.
        signer: public key that the coordinator is known by, 32 bytes.

    Raises:
        ConfigurationError: there is nothing at that path that an audit could be about.
    """
    if source.is_file():
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
    if not source.is_dir():
        raise ConfigurationError(f"{source} does not exist: the directory of a run works, or its {LEDGER}")
    if not any((source / name).exists() for name in (LEDGER, EVIDENCE)):
        raise ConfigurationError(f"{source} holds no run: neither {LEDGER} nor {EVIDENCE} is in it")
    clients = sorted((source / CLIENTS).glob("*.jsonl"))
    probes = sorted((source / PROBES).glob("*.npz"))
    files = [source / name for name in (LEDGER, EVIDENCE, JOB, METRICS, RECEIPTS)]
    return Artefacts(
        source=source,
        folder=source,
        ledger=_read(source / LEDGER, read_ledger),
        evidence=_read(source / EVIDENCE, read_evidence),
        job=_read(source / JOB, load_job),
        metrics=_read(source / METRICS, _metrics),
        receipts=_read(source / RECEIPTS, _receipts),
        clients=tuple(_read(path, read_ledger, f"{CLIENTS}/{path.name}") for path in clients),
        signer=signer,
        own=_own(source / COORDINATOR),
        digests=_digests(source, [path for path in (*files, *probes, *clients) if path.exists()]),
    )


def _read(path: Path, reader: Callable[[Path], T], name: str = "") -> Read[T]:
    name = name or path.name
    if not path.exists():
        return Read(name=name)
    if not path.is_file():
        return Read(name=name, problem="no regular file")
    if path.stat().st_size > _LARGEST_BYTES:
        return Read(name=name, problem=f"larger than {_LARGEST_BYTES} bytes")
    try:
        return Read(name=name, value=reader(path))
    except PrivflError as error:
        said = str(error).removeprefix(f"{path}: ").removeprefix(str(path)).strip()
        line = _LINE.search(said)
        return Read(name=name, problem=said, line=int(line.group(1)) if line else None)


def _metrics(path: Path) -> tuple[dict[str, Any], ...]:
    rows = []
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise LedgerError(f"line {number}: no JSON") from None
        if not isinstance(row, dict) or type(row.get("round")) is not int:
            raise LedgerError(f"line {number}: no line of metrics: an object with a round is due")
        rows.append(row)
    return tuple(rows)


def _receipts(path: Path) -> tuple[ReceiptLine, ...]:
    found = []
    for number, line in enumerate(_lines(path), 1):
        try:
            receipt = Receipt.from_json(line)
            verify_receipt(receipt)
        except LedgerError as error:
            raise LedgerError(f"line {number}: {error}") from None
        found.append(ReceiptLine(receipt=receipt, line=number))
    return tuple(found)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise LedgerError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LedgerError(f"no text: byte {error.start}") from None
    if text and not text.endswith("\n"):
        raise LedgerError(f"line {text.count(chr(10)) + 1}: torn, without an end")
    return text.split("\n")[:-1]


def _own(path: Path) -> bytes | None:
    try:
        return Identity.from_pem(path.read_bytes()).public
    except (OSError, ConfigurationError):
        return None


def _digests(folder: Path, paths: list[Path]) -> tuple[tuple[str, str], ...]:
    found = []
    for path in paths:
        try:
            found.append((str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()))
        except OSError:
            found.append((str(path.relative_to(folder)), "cannot be read"))
    return tuple(found)
