"""Secure aggregation for federated learning: the server combines what it cannot read and learns only the sum.

The face of the library: the names that an integrator needs. See `privfl.session` for the one interface, and
`privfl.errors` for the exceptions.
"""

from __future__ import annotations

from privfl.encoding.fixed_point import FixedPoint as FixedPoint
from privfl.encoding.layout import Layout as Layout
from privfl.encoding.update import UpdateCodec as UpdateCodec
from privfl.errors import BudgetExceeded as BudgetExceeded
from privfl.errors import ConfigurationError as ConfigurationError
from privfl.errors import DecodeError as DecodeError
from privfl.errors import DisclosureRefused as DisclosureRefused
from privfl.errors import LedgerError as LedgerError
from privfl.errors import LocalProtocolError as LocalProtocolError
from privfl.errors import MissingExtra as MissingExtra
from privfl.errors import PrivflError as PrivflError
from privfl.errors import ProtocolError as ProtocolError
from privfl.errors import ReconstructionError as ReconstructionError
from privfl.errors import RemoteProtocolError as RemoteProtocolError
from privfl.errors import RoundAborted as RoundAborted
from privfl.errors import UnsupportedEvent as UnsupportedEvent
from privfl.guard import FileGuard as FileGuard
from privfl.guard import MemoryGuard as MemoryGuard
from privfl.guard import StateGuard as StateGuard
from privfl.params import CommitteeShape as CommitteeShape
from privfl.params import ServerModel as ServerModel
from privfl.params import SessionParams as SessionParams
from privfl.params import ThreatModel as ThreatModel
from privfl.params import VectorSpec as VectorSpec
from privfl.params import WireForm as WireForm
from privfl.primitives.signatures import Identity as Identity
from privfl.roster import Credentials as Credentials
from privfl.roster import Roster as Roster
from privfl.session import Aggregate as Aggregate
from privfl.session import ClientPolicy as ClientPolicy
from privfl.session import ClientSession as ClientSession
from privfl.session import Phase as Phase
from privfl.session import ServerSession as ServerSession
from privfl.simulate import Simulation as Simulation
from privfl.simulate import aggregate as aggregate
from privfl.simulate import simulate as simulate
from privfl.suites import SUITE_NAMES as SUITE_NAMES
from privfl.suites import plan_session as plan_session
from privfl.suites import suite as suite
from privfl.suites import wake as wake
from privfl.wire.envelope import SERVER as SERVER
from privfl.wire.envelope import PartyId as PartyId
from privfl.wire.envelope import Role as Role
from privfl.wire.envelope import client as client

__version__ = "0.1.0"

__all__ = [
    "SERVER",
    "SUITE_NAMES",
    "Aggregate",
    "BudgetExceeded",
    "ClientPolicy",
    "ClientSession",
    "CommitteeShape",
    "ConfigurationError",
    "Credentials",
    "DecodeError",
    "DisclosureRefused",
    "FileGuard",
    "FixedPoint",
    "Identity",
    "Layout",
    "LedgerError",
    "LocalProtocolError",
    "MemoryGuard",
    "MissingExtra",
    "PartyId",
    "Phase",
    "PrivflError",
    "ProtocolError",
    "ReconstructionError",
    "RemoteProtocolError",
    "Role",
    "Roster",
    "RoundAborted",
    "ServerModel",
    "ServerSession",
    "SessionParams",
    "Simulation",
    "StateGuard",
    "ThreatModel",
    "UnsupportedEvent",
    "UpdateCodec",
    "VectorSpec",
    "WireForm",
    "__version__",
    "aggregate",
    "client",
    "plan_session",
    "simulate",
    "suite",
    "wake",
]
