"""What a party's owner insists on, whatever the server and the code that runs there propose: `policy.toml`.

```toml
minimum_contributors = 5            # keys of `privfl.ClientPolicy`
suites = ["kahe"]
server = "9f86d0…"                  # Ed25519 public key: nobody else is answered
bits = 12                           # fewest of a quantised coordinate

[budget]                            # of privacy, for all runs together
epsilon = 3.0
```
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Final, Self

from privfl.dp.budget import Budget
from privfl.dp.events import Relation
from privfl.encoding.fixed_point import MAX_BITS, MIN_BITS
from privfl.errors import ConfigurationError
from privfl.params import ServerModel, SessionParams, ThreatModel
from privfl.primitives.signatures import IDENTITY_BYTES, check_identity
from privfl.session import ClientPolicy

DELTA: Final = 1e-5
"""δ of a party's own ledger unless its owner says another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyBudget:
    """`[budget]` of a `policy.toml`: what a party's owner is willing to spend in all runs together.

    Attributes:
        epsilon: ε.
        delta: δ.
        excluded: releases without noise that are not counted, each with the reason why that is right: "train" or
            "evaluate" for sums, or what an integration answers in clear.
    """

    epsilon: float
    delta: float = DELTA
    excluded: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no ledger would open with."""
        object.__setattr__(self, "excluded", dict(self.budget.excluded))

    @property
    def budget(self) -> Budget:
        """As a ledger has it: without a plan, since runs are not the party's to plan."""
        return Budget(epsilon=self.epsilon, delta=self.delta, relation=Relation.ZERO_OUT, excluded=self.excluded)

    @classmethod
    def of_table(cls, table: object, what: str) -> PartyBudget:
        """Read it.

        Args:
            table: as TOML has it.
            what: where, for error messages.

        Raises:
            ConfigurationError: names the key that is not as it should be.
        """
        known = {"epsilon", "delta", "excluded"}
        if not isinstance(table, dict) or "epsilon" not in table or not table.keys() <= known:
            raise ConfigurationError(
                f"{what} is {table!r}: epsilon, delta and excluded work, and epsilon must be there"
            )
        try:
            return cls(**table)
        except (ConfigurationError, TypeError) as error:
            raise ConfigurationError(f"{what}: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerPolicy:
    """What the owner insists on.

    Attributes:
        session: which sessions the party takes part in.
        server: Ed25519 public key of the only server that it answers, 32 bytes; None: anybody's.
        bits: fewest bits of a quantised coordinate: where rounding is too coarse, a sum shows little but the largest.
        budget: of privacy, that the party keeps a ledger for (`[budget]`); None: nothing is refused for it.
    """

    LISTS: ClassVar[tuple[str, ...]] = ("suites", "servers")
    """Keys of the file that hold lists of names."""

    session: ClientPolicy = field(default_factory=ClientPolicy)
    server: bytes | None = None
    bits: int = 8
    budget: PartyBudget | None = None

    def __post_init__(self) -> None:
        if self.server is not None:
            if len(self.server) != IDENTITY_BYTES:
                raise ConfigurationError(f"server is no Ed25519 public key: its {IDENTITY_BYTES} bytes work")
            check_identity(self.server)
        if type(self.bits) is not int or not MIN_BITS <= self.bits <= MAX_BITS:
            raise ConfigurationError(f"bits is {self.bits!r}: a whole number from {MIN_BITS} to {MAX_BITS} works")

    def check(self, params: SessionParams) -> None:
        """Raise unless a session suits the policy; errors as those of `ClientPolicy.check`."""
        self.session.check(params)

    @classmethod
    def from_toml(cls, text: str, *, what: str) -> Self:
        """Read a policy file.

        Args:
            text: its text.
            what: the file, for error messages.

        Raises:
            ConfigurationError: names the key that is not as it should be.

        >>> OwnerPolicy.from_toml("minimum_contributors = 5", what="policy.toml").session.minimum_contributors
        5
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"{what} is no TOML: {error}") from None
        own_keys = {one.name for one in fields(cls)} - {"session"}
        known = own_keys | {one.name for one in fields(ClientPolicy)}
        for key in table:
            if key not in known:
                raise ConfigurationError(f"{what} names {key!r}, which is not known here: {sorted(known)} are")
        if "server" in table:
            table["server"] = _public_key(table["server"], what)
        for key in cls.LISTS:
            if key in table:
                table[key] = _names(table[key], f"{key} in {what}")
        if "corrupt" in table:
            _require_number(table["corrupt"], what)
        if "budget" in table:
            table["budget"] = PartyBudget.of_table(table["budget"], f"[budget] in {what}")
        own = {key: table.pop(key) for key in own_keys & table.keys()}
        if "servers" in table:
            table["servers"] = frozenset(_server_model(name, what) for name in table["servers"])
        return cls(session=ClientPolicy(**table), **own)


def stricter(one: OwnerPolicy, other: OwnerPolicy, *, whose: str = "the two policies") -> OwnerPolicy:
    """Return a policy that lets pass what both let pass.

    Args:
        one: the first policy, whose budget counts only where the other has none.
        other: the owner's.
        whose: they are, for error messages.

    Raises:
        ConfigurationError: they name different servers.
    """
    a, b = one.session, other.session
    if one.server and other.server and one.server != other.server:
        raise ConfigurationError(f"{whose} name different servers (server)")
    session = replace(
        a,
        minimum_contributors=max(a.minimum_contributors, b.minimum_contributors),
        suites=a.suites & b.suites,
        servers=both(a.servers, b.servers),
        corrupt=_larger(a.corrupt, b.corrupt),
        corrupt_clients=max(a.corrupt_clients, b.corrupt_clients),
        statistical_bits=max(a.statistical_bits, b.statistical_bits),
    )
    return OwnerPolicy(
        session=session,
        server=one.server or other.server,
        bits=max(one.bits, other.bits),
        budget=other.budget or one.budget,
    )


def both(one: frozenset[Any] | None, other: frozenset[Any] | None) -> frozenset[Any] | None:
    """Return what two sets let pass together, where None lets everything pass."""
    if one is None or other is None:
        return one if other is None else other
    return one & other


def _public_key(text: Any, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise ConfigurationError(f"server in {what} is no hexadecimal public key") from None


def _require_number(value: Any, what: str) -> None:
    if type(value) not in {int, float}:
        raise ConfigurationError(f"corrupt in {what} is {value!r}: a fraction such as 0.1 works")


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
