"""A node's own directory: its secrets, its claims, and what its owner insists on.

```
HOME/
  policy.toml     optional: what the owner insists on (`NodePolicy`)
  identity.pem, roster.json, committee.json, state.key, claims/
                  as in every party's directory (`privfl.integrations.home`)
  committee/      made when a key is: the node's share of every committee's key, sealed
  ledger.jsonl    made with the first sum under differential privacy: what the node has spent of its own budget
  ledger.pem      made with it, where there is no identity: the key that signs it
```

Everything here is the node's owner's. The app's code comes with the run, from whoever submitted it; the directory does
not: it is named in the SuperNode's `--node-config`, which no run can change.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from flwr.app import Context

from privfl.errors import ConfigurationError
from privfl.integrations import policy
from privfl.integrations.flower.messages import Terms
from privfl.integrations.home import PartyHome
from privfl.integrations.policy import OwnerPolicy, both

Home = Path | Callable[[Context], Path]
HOME_KEY: Final = "privfl-home"
"""Of a SuperNode's `--node-config`."""
_COUNT: Final = "num-examples"
"""What Flower weighs by: no node's policy needs to name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePolicy(OwnerPolicy):
    """What a node insists on, whatever the server and the app's code propose.

    Attributes:
        metrics: names of the metrics that may enter sums, as may `num-examples`; None: any.
        clear: types of messages that are handed to the app unprotected and answered in clear, such as "query".

    >>> NodePolicy.from_toml('metrics = ["loss"]', what="policy.toml").metrics
    frozenset({'loss'})
    """

    LISTS: ClassVar[tuple[str, ...]] = (*OwnerPolicy.LISTS, "metrics", "clear")

    metrics: frozenset[str] | None = None
    clear: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        OwnerPolicy.__post_init__(self)  # `super()` does not know the class that `slots` makes
        counted = self.clear - self.budget.excluded.keys() if self.budget else frozenset[str]()
        if counted:
            raise ConfigurationError(
                f"clear lets {', '.join(sorted(counted))} pass beside a budget, and what is answered in clear is a "
                f'release without noise: exclude it by name and reason, such as excluded.{min(counted)} = "why"'
            )

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


def stricter(one: NodePolicy, other: NodePolicy) -> NodePolicy:
    """Return a policy that lets pass what both let pass.

    Args:
        one: the app's.
        other: the node's.

    Raises:
        ConfigurationError: they name different servers.
    """
    joined = policy.stricter(one, other, whose="the app and the node's policy")
    return NodePolicy(
        session=joined.session,
        server=joined.server,
        bits=joined.bits,
        budget=joined.budget,
        metrics=both(one.metrics, other.metrics),
        clear=one.clear & other.clear,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHome(PartyHome):
    """A node's directory, opened.

    Attributes:
        policy: what the owner insists on.
    """

    PARTY: ClassVar[str] = "node"
    SETTING: ClassVar[str] = HOME_KEY
    ELSEWHERE: ClassVar[str] = f"name another with {HOME_KEY!r} in the SuperNode's --node-config"
    POLICY: ClassVar[type[OwnerPolicy]] = NodePolicy

    policy: NodePolicy | None


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
