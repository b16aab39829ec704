"""Messages as bytes: a fixed header, a small strict struct, and one raw vector."""

from __future__ import annotations

from privfl.wire.codec import (
    Bytes16,
    Bytes32,
    ClientNumber,
    Message,
    SecretMessage,
    decode_message,
    encode_message,
    message_type,
    require_ascending,
)
from privfl.wire.envelope import (
    CONTROL_BODY_LIMIT_BYTES,
    HEADER_BYTES,
    SERVER,
    Envelope,
    OutgoingFrame,
    PartyId,
    Role,
    SuiteCode,
    client,
    envelope_bytes,
    open_envelope,
    require_party,
)

__all__ = [
    "CONTROL_BODY_LIMIT_BYTES",
    "HEADER_BYTES",
    "SERVER",
    "Bytes16",
    "Bytes32",
    "ClientNumber",
    "Envelope",
    "Message",
    "OutgoingFrame",
    "PartyId",
    "Role",
    "SecretMessage",
    "SuiteCode",
    "client",
    "decode_message",
    "encode_message",
    "envelope_bytes",
    "message_type",
    "open_envelope",
    "require_ascending",
    "require_party",
]
