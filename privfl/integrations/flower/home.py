"""A node's own directory: its secrets, its claims, and what its owner insists on.

```
HOME/
  policy.toml     optional: what the owner insists on (`NodePolicy`)
  identity.pem    optional: the node's Ed25519 identity, as `privfl identity new` makes it
  roster.json     optional: the consortium's identities, as `privfl identity roster` makes it
  committee.json  optional: identities of the committee that opens sums of `ckks`, numbered from 0
  state.key       made at the first message: seals sessions between messages
  committee/      made when a key is: the node's share of every committee's key, sealed
  claims/         made at the first message: what the node has done and must not do again
  ledger.jsonl    made with the first sum under differential privacy: what the node has spent of its own budget
  ledger.pem      made with it, where there is no identity: the key that signs it
```

Everything here is the node's owner's. The app's code comes with the run, from whoever submitted it; the directory does
not: it is named in the SuperNode's `--node-config`, which no run can change.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from flwr.app import Context

from privfl.encoding.fixed_point import MAX_BITS, MIN_BITS
from privfl.errors import ConfigurationError
from privfl.guard import FileGuard, make_folder, to_disk
from privfl.integrations.flower.messages import Terms
from privfl.integrations.flower.node_books import NodeBudget
from privfl.params import ServerModel, SessionParams, ThreatModel
from privfl.primitives.sealing import KEY_BYTES
from privfl.primitives.signatures import IDENTITY_BYTES, Identity, check_identity
from privfl.roster import Credentials, Roster
from privfl.session import ClientPolicy

Home = Path | Callable[[Context], Path]
HOME_KEY: Final = "privfl-home"
"""Of a SuperNode's `--node-config`."""
_POLICY: Final = "policy.toml"
_IDENTITY: Final = "identity.pem"
_ROSTER: Final = "roster.json"
_COMMITTEE: Final = "committee.json"
_COUNT: Final = "num-examples"
"""What Flower weighs by: no node's policy needs to name it."""
_STATE_KEY: Final = "state.key"
_CLAIMS: Final = "claims"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePolicy:
    """What a node insists on, whatever the server and the app's code propose.

    Attributes:
        session: which sessions it takes part in.
        server: Ed25519 public key that requests must be signed with, 32 bytes; None: anybody's are answered.
        metrics: names of the metrics that may enter sums, as may `num-examples`; None: any.
        bits: fewest bits of a quantised coordinate: where rounding is too coarse, a sum shows little but the largest.
        clear: types of messages that are handed to the app unprotected and answered in clear, such as "query".
        budget: of privacy, that the node keeps a ledger for (`[budget]`); None: nothing is refused for it.
    """

    session: ClientPolicy = field(default_factory=ClientPolicy)
    server: bytes | None = None
    metrics: frozenset[str] | None = None
    bits: int = 8
    clear: frozenset[str] = frozenset()
    budget: NodeBudget | None = None

    def __post_init__(self) -> None:
        if self.server is not None:
            if len(self.server) != IDENTITY_BYTES:
                raise ConfigurationError(f"server is no Ed25519 public key: its {IDENTITY_BYTES} bytes work")
            check_identity(self.server)
        if type(self.bits) is not int or not MIN_BITS <= self.bits <= MAX_BITS:
            raise ConfigurationError(f"bits is {self.bits!r}: a whole number from {MIN_BITS} to {MAX_BITS} works")
        counted = self.clear - self.budget.excluded.keys() if self.budget else frozenset[str]()
        if counted:
            raise ConfigurationError(
                f"clear lets {', '.join(sorted(counted))} pass beside a budget, and what is answered in clear is a "
                f'release without noise: exclude it by name and reason, such as excluded.{min(counted)} = "why"'
            )

    def check(self, params: SessionParams) -> None:
        """Raise unless a session suits the policy; errors as those of `ClientPolicy.check`."""
        self.session.check(params)

    def check_terms(self, terms: Terms) -> None:
        """Raise unless the terms of a sum suit the policy: the bits of coordinates, the metrics, and the weight.

        Raises:
            ConfigurationError: names the first that does not.
        """
        if terms.privacy is None and terms.bits < self.bits:
            raise ConfigurationError(
                f"bits is {terms.bits} of {terms.kind}: this node wants {self.bits} or more (bits)"
            )
        if self.metrics is None:
            return
        for name in (terms.weighted_by, *(name for name, _ in terms.metrics)):
            if name not in self.metrics and name != _COUNT:
                raise ConfigurationError(f"metric {name!r} was agreed on, which this node keeps out of sums (metrics)")

    @classmethod
    def from_toml(cls, text: str, *, what: str) -> NodePolicy:
        """Read a policy file.

        Args:
            text: its text.
            what: the file, for error messages.

        Raises:
            ConfigurationError: names the key that is not as it should be.

        >>> NodePolicy.from_toml("minimum_contributors = 5", what="policy.toml").session.minimum_contributors
        5
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{what} is no TOML: {error}") from None
        known = {one.name for one in fields(ClientPolicy)} | {"server", "metrics", "bits", "clear", "budget"}
        for key in table:
            if key not in known:
                raise ConfigurationError(f"{what} names {key!r}, which is not known here: {sorted(known)} are")
        if "server" in table:
            try:
                table["server"] = bytes.fromhex(table["server"])
            except (TypeError, ValueError):
                raise ConfigurationError(f"server in {what} is no hexadecimal public key") from None
        for key in ("suites", "servers", "metrics", "clear"):
            if key in table:
                table[key] = _names(table[key], f"{key} in {what}")
        if "budget" in table:
            table["budget"] = NodeBudget.of_table(table["budget"], f"[budget] in {what}")
        own = {key: table.pop(key) for key in ("server", "metrics", "bits", "clear", "budget") if key in table}
        if "servers" in table:
            table["servers"] = frozenset(_server_model(name, what) for name in table["servers"])
        return cls(session=ClientPolicy(**table), **own)


def stricter(one: NodePolicy, other: NodePolicy) -> NodePolicy:
    """Return a policy that lets pass what both let pass.

    Raises:
        ConfigurationError: they name different servers.
    """
    a, b = one.session, other.session
    if one.server and other.server and one.server != other.server:
        raise ConfigurationError("the app and the node's policy name different servers (server)")
    session = replace(
        a,
        minimum_contributors=max(a.minimum_contributors, b.minimum_contributors),
        suites=a.suites & b.suites,
        servers=_both(a.servers, b.servers),
        corrupt=_larger(a.corrupt, b.corrupt),
        corrupt_clients=max(a.corrupt_clients, b.corrupt_clients),
        statistical_bits=max(a.statistical_bits, b.statistical_bits),
    )
    return NodePolicy(
        session=session,
        server=one.server or other.server,
        metrics=_both(one.metrics, other.metrics),
        bits=max(one.bits, other.bits),
        clear=one.clear & other.clear,
        budget=other.budget or one.budget,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHome:
    """A node's directory, opened.

    Attributes:
        folder: the directory.
        key: 32 secret bytes that seal sessions between messages.
        guard: the node's claims.
        policy: what the owner insists on.
        identity: the node's key, if the file is there.
        credentials: identity and roster, if both files are there.
        committee: roster of the committee, if the file is there.
    """

    folder: Path
    key: bytes = field(repr=False)
    guard: FileGuard
    policy: NodePolicy | None
    identity: Identity | None
    credentials: Credentials | None
    committee: Roster | None

    @classmethod
    def open(cls, folder: Path, *, named: bool = False) -> NodeHome:
        """Open a node's directory, and make what it needs.

        Args:
            folder: the directory.
            named: whether its owner named it: then it is there already, policy and claims in it, or nothing is opened.
                A volume that is not mounted must not pass for a node without a policy.

        Raises:
            ConfigurationError: it cannot be made or read, others can get at it, or a file in it is not as it should be.
        """
        folder = folder.absolute()
        if named and not folder.is_dir():
            raise ConfigurationError(f"the node's directory {folder} ({HOME_KEY}) is not there: mkdir -m 700 makes it")
        try:
            make_folder(folder, private=True)
            _require_private(folder)
            key = _state_key(folder / _STATE_KEY)
        except OSError as error:
            raise ConfigurationError(
                f"the node's directory {folder} cannot be used: {error.strerror}; name another with {HOME_KEY!r} in "
                f"the SuperNode's --node-config"
            ) from None
        pem, roster = _text_of(folder / _IDENTITY), _roster(folder / _ROSTER)
        identity = None if pem is None else Identity.from_pem(pem.encode())
        if roster is not None and identity is None:
            raise ConfigurationError(f"{folder / _IDENTITY} is missing, beside a roster: the node cannot sign")
        return cls(
            folder=folder,
            key=key,
            guard=FileGuard(folder / _CLAIMS),
            policy=_policy(folder / _POLICY),
            identity=identity,
            credentials=Credentials(identity, roster) if identity and roster else None,
            committee=_roster(folder / _COMMITTEE),
        )


def home_of(context: Context, default: Home | None) -> tuple[Path, bool]:
    """Return a node's directory: as its SuperNode was told, else as the app says, else one for run and node.

    Returns:
        The directory, and whether the node's owner named it.

    Raises:
        ConfigurationError: the SuperNode was told something that is no path.
    """
    told = context.node_config.get(HOME_KEY)
    if told is not None:
        if not isinstance(told, str) or not told:
            raise ConfigurationError(f"{HOME_KEY!r} in the SuperNode's --node-config is {told!r}: a path works")
        return Path(told), True
    if callable(default):
        return default(context), False
    name = f"{context.run_id % 2**64:016x}-{context.node_id % 2**64:016x}"
    if default is not None:
        return default / name, False
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "privfl" / "flower" / name, False


def _require_private(folder: Path) -> None:
    said = folder.stat()
    if said.st_uid != os.geteuid() or said.st_mode & _OTHERS:
        raise ConfigurationError(
            f"others can get at the node's directory {folder}, which holds its secrets: chmod 700 it, and own it"
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


def _policy(path: Path) -> NodePolicy | None:
    text = _text_of(path)
    return None if text is None else NodePolicy.from_toml(text, what=str(path))


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


def _names(value: Any, what: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"{what} is {value!r}: a list of names works")
    return frozenset(value)


def _server_model(name: str, what: str) -> ServerModel:
    try:
        return ServerModel(name)
    except ValueError:
        models = " or ".join(repr(model.value) for model in ServerModel)
        raise ConfigurationError(f"servers in {what} names {name!r}: {models} works") from None


def _larger(one: float | None, other: float | None) -> float | None:
    """Return a fraction that is enough for both; None asks for a tenth where the server may lie, and for none else."""
    said = max((part for part in (one, other) if part is not None), default=0.0)
    if one is None or other is None:
        return max(said, ThreatModel().corrupt) if said else None
    return said


def _both(one: frozenset[Any] | None, other: frozenset[Any] | None) -> frozenset[Any] | None:
    if one is None or other is None:
        return one if other is None else other
    return one & other
