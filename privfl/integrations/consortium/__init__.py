"""What a coordinator and its distant clients do, whatever carries their messages: HTTP, MQTT, a test.

Theory of operation. The coordinator has one run, and in it one session after another. Its side is the `Hall`: the run
holds sessions there, in one thread, and transports ask there for their clients, in any. A client's side is the
`Participant`, over the directory of its owner: it answers one step at a time, and has written its answer and the next
state to disk before the answer leaves. So a coordinator may repeat itself, a client may be killed at any moment, and
nothing is answered twice in two ways. Nothing here knows a network, and nothing knows what is learned.
"""

from __future__ import annotations

from privfl.integrations.consortium.hall import Hall as Hall
from privfl.integrations.consortium.messages import Facts as Facts
from privfl.integrations.consortium.messages import Greeting as Greeting
from privfl.integrations.consortium.messages import Offer as Offer
from privfl.integrations.consortium.messages import Over as Over
from privfl.integrations.consortium.messages import Step as Step
from privfl.integrations.consortium.messages import Wait as Wait
from privfl.integrations.consortium.orders import Order as Order
from privfl.integrations.consortium.orders import Outcome as Outcome
from privfl.integrations.consortium.orders import PhaseTraffic as PhaseTraffic
from privfl.integrations.consortium.orders import Snapshot as Snapshot
from privfl.integrations.consortium.participant import Participant as Participant
from privfl.integrations.consortium.refusals import Closed as Closed
from privfl.integrations.consortium.refusals import Declined as Declined
from privfl.integrations.consortium.refusals import NotWaited as NotWaited
from privfl.integrations.consortium.work import Work as Work

__all__ = [
    "Closed",
    "Declined",
    "Facts",
    "Greeting",
    "Hall",
    "NotWaited",
    "Offer",
    "Order",
    "Outcome",
    "Over",
    "Participant",
    "PhaseTraffic",
    "Snapshot",
    "Step",
    "Wait",
    "Work",
]
