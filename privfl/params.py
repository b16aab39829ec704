"""What all parties agree on before a session, and the digest that binds them to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final

import msgspec

from privfl.errors import ConfigurationError, DecodeError
from privfl.primitives.labels import Label
from privfl.primitives.transcript import DIGEST_BYTES, digest

PROTOCOL_VERSION: Final = 1
NONCE_BYTES: Final = 16
MAX_COHORT: Final = 1_000_000
MAX_VECTOR_LENGTH: Final = 2**31 - 1
MAX_VECTOR_BOUND: Final = 2**31 - 1
DEFAULT_STATISTICAL_BITS: Final = 40
DEFAULT_CORRECTNESS_BITS: Final = 30


class ServerModel(StrEnum):
    """What the server may do besides looking."""

    HONEST_BUT_CURIOUS = "honest-but-curious"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreatModel:
    """Whom a session withstands.

    Attributes:
        server: follows the protocol and looks, or lies.
        corrupt: γ, largest fraction of the cohort that colludes with the server, 0 ≤ γ < 1.
        dropout: δ, largest fraction of the cohort that may vanish, 0 ≤ δ < 1.
        statistical_bits: σ; a bad draw of the communication graph has probability < 2^−σ.
        correctness_bits: η; a round within δ fails with probability < 2^−η.
    """

    server: ServerModel = ServerModel.HONEST_BUT_CURIOUS
    corrupt: float = 0.1
    dropout: float = 0.1
    statistical_bits: int = DEFAULT_STATISTICAL_BITS
    correctness_bits: int = DEFAULT_CORRECTNESS_BITS

    def __post_init__(self) -> None:
        for key, value in (("corrupt", self.corrupt), ("dropout", self.dropout)):
            if not (math.isfinite(value) and 0 <= value < 1):
                raise ConfigurationError(f"threat.{key} is {value}: a fraction from 0 to below 1 works, such as 0.1")
        for key, bits in (
            ("statistical_bits", self.statistical_bits),
            ("correctness_bits", self.correctness_bits),
        ):
            if not 1 <= bits <= 128:
                raise ConfigurationError(f"threat.{key} is {bits}: 1 to 128 works, such as 40")


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSpec:
    """The vectors of a session.

    Attributes:
        length: coordinates.
        bound: largest magnitude of a coordinate of one client.
    """

    length: int
    bound: int

    def __post_init__(self) -> None:
        if not 1 <= self.length <= MAX_VECTOR_LENGTH:
            raise ConfigurationError(f"vector.length is {self.length}: 1 to {MAX_VECTOR_LENGTH} works")
        if not 1 <= self.bound <= MAX_VECTOR_BOUND:
            raise ConfigurationError(
                f"vector.bound is {self.bound}: 1 to {MAX_VECTOR_BOUND} works, such as 32767 (16 bits)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSetting:
    """What the `plain` suite needs to know: nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingSetting:
    """What the `masking` suite needs to know; `privfl.masking.planner` derives it from a threat model.

    Attributes:
        degree: k, neighbours of each client; n − 1 is the complete graph, else even.
        threshold: t, shares that rebuild a secret.
    """

    degree: int
    threshold: int


Setting = PlainSetting | MaskingSetting
_SUITE_OF: Final[dict[type, str]] = {PlainSetting: "plain", MaskingSetting: "masking"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParams:
    """Everything that the parties of one session agree on; public.

    Attributes:
        cohort: numbers of the invited clients, strictly ascending.
        vector: length and bound.
        setting: what the suite needs besides; its type names the suite.
        threat: the threat model that the setting was made for.
        minimum_contributors: the sum is not opened over fewer; at least 2 (`plain`: 1).
        nonce: 16 fresh bytes; a client takes part once under one nonce.
        context: 32 bytes, digest of global model, training configuration and round number.
    """

    cohort: tuple[int, ...]
    vector: VectorSpec
    setting: Setting
    threat: ThreatModel = field(default_factory=ThreatModel)
    minimum_contributors: int
    nonce: bytes
    context: bytes
    _encoded: bytes = field(init=False, repr=False, compare=False)
    _digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.cohort) <= MAX_COHORT:
            raise ConfigurationError(f"cohort has {len(self.cohort)} clients: 1 to {MAX_COHORT} works")
        if any(a >= b for a, b in pairwise(self.cohort)):
            raise ConfigurationError("cohort numbers must strictly ascend: sorted, and none twice")
        if self.cohort[0] < 0 or self.cohort[-1] >= 2**32:
            raise ConfigurationError("cohort numbers lie in 0 … 2^32 − 1")
        fewest = 1 if isinstance(self.setting, PlainSetting) else 2
        if not fewest <= self.minimum_contributors <= len(self.cohort):
            raise ConfigurationError(
                f"cohort.minimum is {self.minimum_contributors}: {fewest} to {len(self.cohort)}, "
                f"the size of the cohort, works"
            )
        if len(self.nonce) != NONCE_BYTES:
            raise ConfigurationError(f"nonce has {len(self.nonce)} bytes: exactly {NONCE_BYTES} work")
        if len(self.context) != DIGEST_BYTES:
            raise ConfigurationError(f"context has {len(self.context)} bytes: exactly {DIGEST_BYTES} work")
        encoded = msgspec.msgpack.encode(_plain(self))
        object.__setattr__(self, "_encoded", encoded)
        object.__setattr__(self, "_digest", digest(Label.PARAMS, encoded))

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return _SUITE_OF[type(self.setting)]

    @property
    def digest(self) -> bytes:
        """`params_digest`: SHA-256 of the one canonical encoding, 32 bytes; enters every key derivation."""
        return self._digest

    def to_bytes(self) -> bytes:
        """Return the canonical encoding, to be sent to the parties."""
        return self._encoded

    @classmethod
    def from_bytes(cls, raw: bytes) -> SessionParams:
        """Read parameters that a server announces.

        Raises:
            DecodeError: not canonical, or not valid parameters.
        """
        try:
            wire = msgspec.msgpack.decode(raw, type=_Wire)
            params = cls(
                cohort=wire.cohort,
                vector=VectorSpec(length=wire.vector[0], bound=wire.vector[1]),
                setting=_setting(wire.suite, wire.setting),
                threat=ThreatModel(
                    server=ServerModel(wire.threat[0]),
                    corrupt=wire.threat[1],
                    dropout=wire.threat[2],
                    statistical_bits=wire.threat[3],
                    correctness_bits=wire.threat[4],
                ),
                minimum_contributors=wire.minimum_contributors,
                nonce=wire.nonce,
                context=wire.context,
            )
        except (msgspec.MsgspecError, ValueError) as error:
            raise DecodeError(f"not session parameters: {error}") from None
        if params.to_bytes() != raw:
            raise DecodeError("session parameters that are not canonically encoded, or of another version")
        return params


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    suite: str
    setting: tuple[int, ...]
    cohort: tuple[int, ...]
    vector: tuple[int, int]
    threat: tuple[str, float, float, int, int]
    minimum_contributors: int
    nonce: bytes
    context: bytes


def _plain(params: SessionParams) -> _Wire:
    setting = params.setting
    threat = params.threat
    return _Wire(
        version=PROTOCOL_VERSION,
        suite=params.suite,
        setting=(setting.degree, setting.threshold) if isinstance(setting, MaskingSetting) else (),
        cohort=params.cohort,
        vector=(params.vector.length, params.vector.bound),
        threat=(
            threat.server.value,
            float(threat.corrupt),
            float(threat.dropout),
            threat.statistical_bits,
            threat.correctness_bits,
        ),
        minimum_contributors=params.minimum_contributors,
        nonce=params.nonce,
        context=params.context,
    )


def _setting(suite: str, numbers: tuple[int, ...]) -> Setting:
    if suite == "plain" and not numbers:
        return PlainSetting()
    if suite == "masking" and len(numbers) == 2:
        return MaskingSetting(degree=numbers[0], threshold=numbers[1])
    raise ConfigurationError(f"suite {suite!r} with {len(numbers)} settings is not known here")
