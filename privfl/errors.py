"""The exceptions that privfl raises.

```
PrivflError
├── ConfigurationError (also ValueError)    a setting or an input is wrong; the sentence names it and a value that works
├── ProtocolError
│   ├── LocalProtocolError                  you called a session out of turn or gave it what it cannot take
│   └── RemoteProtocolError                 the peer broke the rules; `.peer` names it
│       ├── DecodeError                     its bytes are not a message: nothing changed, the session waits on
│       └── DisclosureRefused               it asked for what must not be told: secrets destroyed, session over
├── RoundAborted                            too few are left; nothing is released
├── ReconstructionError                     shares do not give the secret they should
├── BudgetExceeded                          a privacy budget would be overrun
├── LedgerError                             a ledger is damaged, forged or held by another writer
├── UnsupportedEvent                        an accountant does not know a mechanism
└── MissingExtra (also ImportError)         an optional dependency is not installed; names the extra
```
"""

from __future__ import annotations


class PrivflError(Exception):
    """Root of everything that privfl raises on purpose."""


class ConfigurationError(PrivflError, ValueError):
    """A setting or an input is wrong; the message names the key and a value that works."""


class ProtocolError(PrivflError):
    """A step that the protocol does not allow."""


class LocalProtocolError(ProtocolError):
    """The caller misused a session: out of turn, twice, or with a vector that does not fit."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules.

    Attributes:
        peer: the `PartyId` that did, or None where the bytes do not tell.
    """

    def __init__(self, message: str, *, peer: tuple[int, int] | None = None) -> None:
        super().__init__(message)
        self.peer = peer


class DecodeError(RemoteProtocolError):
    """Bytes that are no message of the expected kind; the state of the receiver has not moved."""


class DisclosureRefused(RemoteProtocolError):
    """A well-formed request that must not be answered; the session has destroyed its secrets."""


class RoundAborted(PrivflError):
    """Too few parties are left to finish; nothing is released, and only a new session may try again."""


class ReconstructionError(PrivflError):
    """The shares at hand do not give the secret that was committed to."""


class BudgetExceeded(PrivflError):
    """The next release would overrun a privacy budget."""


class LedgerError(PrivflError):
    """A privacy ledger is damaged, forged, or held by another writer."""


class UnsupportedEvent(PrivflError):
    """An accountant met a mechanism that it does not know."""


class MissingExtra(PrivflError, ImportError):
    """An optional dependency is missing.

    Attributes:
        extra: name of the extra that brings it.
    """

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(f"{package!r} is not installed: pip install 'privfl[{extra}]'")
        self.extra = extra
