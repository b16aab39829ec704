"""A party's own directory: its secrets, its claims, and what its owner insists on.

```
HOME/
  policy.toml     optional: what the owner insists on (`OwnerPolicy`)
  identity.pem    optional: the party's Ed25519 identity, as `privfl identity new` makes it
  roster.json     optional: the consortium's identities, as `privfl identity roster` makes it
  committee.json  optional: identities of the committee that opens sums of `ckks`, numbered from 0
  state.key       made when the directory is opened first: seals sessions between messages
  claims/         made with it: what the party has done and must not do again
  lock            made by those that want the directory for one process
```

Everything here is the owner's: what comes with a run, settings or code, neither names the directory nor writes to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Self

from privfl.errors import ConfigurationError
from privfl.guard import FileGuard, make_folder, to_disk
from privfl.integrations.policy import OwnerPolicy
from privfl.primitives.sealing import KEY_BYTES
from privfl.primitives.signatures import Identity
from privfl.roster import Credentials, Roster

_POLICY: Final = "policy.toml"
_IDENTITY: Final = "identity.pem"
_ROSTER: Final = "roster.json"
_COMMITTEE: Final = "committee.json"
_STATE_KEY: Final = "state.key"
_CLAIMS: Final = "claims"
_LOCK: Final = "lock"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyHome:
    """A party's directory, opened.

    Attributes:
        folder: the directory.
        key: 32 secret bytes that seal sessions between messages.
        guard: the party's claims.
        policy: what the owner insists on; None if there is no file, never because it cannot be read.
        identity: the party's key, if the file is there.
        credentials: identity and roster, if both files are there.
        committee: roster of the committee, if the file is there.
    """

    PARTY: ClassVar[str] = "client"
    """What errors call the party."""
    SETTING: ClassVar[str] = "--home"
    """What names the directory."""
    ELSEWHERE: ClassVar[str] = "name another with --home"
    """What to do where it cannot be used."""
    POLICY: ClassVar[type[OwnerPolicy]] = OwnerPolicy
    """What reads its policy."""

    folder: Path
    key: bytes = field(repr=False)
    guard: FileGuard
    policy: OwnerPolicy | None
    identity: Identity | None
    credentials: Credentials | None
    committee: Roster | None

    @classmethod
    def open(cls, folder: Path, *, named: bool = False) -> Self:
        """Open a party's directory, and make what it needs.

        Args:
            folder: the directory.
            named: whether its owner named it: then it is there already, policy and claims in it, or nothing is opened.
                A volume that is not mounted must not pass for a party without a policy.

        Raises:
            ConfigurationError: it cannot be made or read, others can get at it, or a file in it is not as it should be.

        Guarantees:
            1. Nobody but its owner can look into a directory that is opened, and the key in it has been his alone from
               its first byte on.
            2. All who open a directory have one key, also if they open it at once for the first time.
            3. A file that is there and cannot be read, or holds a word that is not known, stops the party.
        """
        folder = folder.absolute()
        if named and not folder.is_dir():
            raise ConfigurationError(
                f"the {cls.PARTY}'s directory {folder} ({cls.SETTING}) is not there: mkdir -m 700 makes it"
            )
        try:
            make_folder(folder, private=True)
            _require_private(folder, cls.PARTY)
            key = _state_key(folder / _STATE_KEY)
        except OSError as error:
            raise ConfigurationError(
                f"the {cls.PARTY}'s directory {folder} cannot be used: {error.strerror}; {cls.ELSEWHERE}"
            ) from None
        pem, roster = _text_of(folder / _IDENTITY), _roster(folder / _ROSTER)
        identity = None if pem is None else Identity.from_pem(pem.encode())
        if roster is not None and identity is None:
            raise ConfigurationError(f"{folder / _IDENTITY} is missing, beside a roster: the {cls.PARTY} cannot sign")
        policy = _text_of(folder / _POLICY)
        return cls(
            folder=folder,
            key=key,
            guard=FileGuard(folder / _CLAIMS),
            policy=None if policy is None else cls.POLICY.from_toml(policy, what=str(folder / _POLICY)),
            identity=identity,
            credentials=Credentials(identity, roster) if identity and roster else None,
            committee=_roster(folder / _COMMITTEE),
        )

    def require_current(self) -> None:
        """Raise if the roster in the directory has expired.

        Raises:
            ConfigurationError: it has; names the file.
        """
        if self.credentials is not None:
            try:
                self.credentials.roster.require_current()
            except ConfigurationError as expired:
                raise ConfigurationError(f"{self.folder / _ROSTER}: {expired}") from None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the directory for this process: of two that answer in turns, one would forget what the other keeps.

        Claims hold without it; it spares an owner who starts a party twice the rounds that both would spoil.

        Raises:
            ConfigurationError: another process holds it.
        """
        with (self.folder / _LOCK).open("ab") as lock:
            try:
                # Given back when the file is closed, or the process ends.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigurationError(
                    f"another process is using the {self.PARTY}'s directory {self.folder} ({self.SETTING}): stop it "
                    f"first, or {self.ELSEWHERE}"
                ) from None
            yield


def _require_private(folder: Path, party: str) -> None:
    said = folder.stat()
    if said.st_uid != os.geteuid() or said.st_mode & _OTHERS:
        raise ConfigurationError(
            f"others can get at the {party}'s directory {folder}, which holds its secrets: chmod 700 it, and own it"
        )


def _state_key(path: Path) -> bytes:
    """Read the sealing key, or make it: of several processes that do at once, one wins.

    Raises:
        OSError: it cannot be.
        ConfigurationError: it is damaged.
    """
    if not path.exists():
        draft = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        file = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(file, "wb") as target:
                target.write(os.urandom(KEY_BYTES))
                target.flush()
                os.fsync(file)
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            to_disk(path.parent)
        finally:
            draft.unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{path} is damaged: remove it; sessions that wait for their next message are lost")
    return key


def _roster(path: Path) -> Roster | None:
    text = _text_of(path)
    return None if text is None else Roster.from_json(text)


def _text_of(path: Path) -> str | None:
    """Return the text of a file; None only if there is none: a policy that cannot be read is not left out."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if path.is_symlink():
            raise ConfigurationError(f"{path} is a link to a file that is not there") from None
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from None
