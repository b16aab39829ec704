"""Secure aggregation for federated learning: the server combines what it cannot read and learns only the sum.

The face of the library: the names that an integrator needs. See `privfl.session` for the one interface, and
`privfl.errors` for the exceptions.

Importing it loads nothing: each name loads what defines it when it is first used (PEP 562), numpy and all.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

_HOMES = {
    "encoding.fixed_point": ("FixedPoint",),
    "encoding.layout": ("Layout",),
    "encoding.update": ("UpdateCodec",),
    "errors": (
        "BudgetExceeded",
        "ConfigurationError",
        "DecodeError",
        "DisclosureRefused",
        "LedgerError",
        "LocalProtocolError",
        "MissingExtra",
        "PrivflError",
        "ProtocolError",
        "ReconstructionError",
        "RemoteProtocolError",
        "RoundAborted",
        "UnsupportedEvent",
    ),
    "guard": ("FileGuard", "MemoryGuard", "StateGuard"),
    "params": ("CommitteeShape", "ServerModel", "SessionParams", "ThreatModel", "VectorSpec", "WireForm"),
    "primitives.signatures": ("Identity",),
    "roster": ("Credentials", "Roster"),
    "session": ("Aggregate", "ClientPolicy", "ClientSession", "Phase", "ServerSession"),
    "simulate": ("Simulation", "aggregate", "simulate"),
    "suites": ("SUITE_NAMES", "plan_session", "suite", "wake"),
    "wire.envelope": ("SERVER", "PartyId", "Role", "client"),
}
"""Which module defines which names: what the imports above tell type checkers, for Python."""
_HOME_OF = {name: f"privfl.{home}" for home, names in _HOMES.items() for name in names}
_PARTS = {home.split(".")[0] for home in _HOMES}


class _Face(ModuleType):
    """The class of this module, for the sake of one name: `privfl.simulate` is the function.

    Whoever imports the module `privfl.simulate` has Python bind that module to the package's name "simulate"; here
    it does not, in whatever order the two are first used. All other names are as in any module.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name != "simulate" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face


def __getattr__(name: str) -> object:
    """Load what defines a name, the first time that it is asked for."""
    if name in _HOME_OF:
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value
    if name in _PARTS:
        return import_module(f"privfl.{name}")
    raise AttributeError(f"module 'privfl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
