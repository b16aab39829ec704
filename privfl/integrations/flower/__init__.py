"""privfl inside Flower: a mod for nodes and a wrapper for strategies of the Message API.

    app = ClientApp(mods=[SecureAggregationMod()])                       # on the nodes, first among mods
    strategy = SecureAggregation(FedAvg(), clip=0.5, weight_max=1000)    # on the server

Theory of operation. The wrapper holds a session of any suite through the grid; the mod answers for its node. A round
trip costs seconds where every message is a new process, so there are as few as the protocol allows: keys follow from
what is known before the model (`SessionParams.keys_digest`), and those of the next session are advertised and shared
with the messages of this one. From the second round on, a sum takes two round trips: the input, which the node's own
training answers, and Unmask. There are three against an active server, whose sets of survivors are signed, and under
`ckks`, whose committee opens the sum.

Only `flwr.app`, `flwr.clientapp` and `flwr.serverapp` are used.
"""

from __future__ import annotations

from privfl.errors import MissingExtra

try:
    import flwr.app  # noqa: F401 - to say which extra is missing
except ModuleNotFoundError:
    raise MissingExtra("flower", "flwr") from None

from privfl.integrations.flower.home import NodeHome as NodeHome
from privfl.integrations.flower.mod import SecureAggregationMod as SecureAggregationMod
from privfl.integrations.flower.privacy import ClientDistributed as ClientDistributed
from privfl.integrations.flower.private_sums import BudgetSpent as BudgetSpent
from privfl.integrations.flower.records import RoundRecord as RoundRecord
from privfl.integrations.flower.strategy import SecureAggregation as SecureAggregation

__all__ = [
    "BudgetSpent",
    "ClientDistributed",
    "NodeHome",
    "RoundRecord",
    "SecureAggregation",
    "SecureAggregationMod",
]
