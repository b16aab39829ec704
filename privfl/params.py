"""What all parties agree on before a session, and the digest that binds them to it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from itertools import pairwise
from typing import Final

import msgspec

from privfl.encoding.residues import Ring
from privfl.errors import ConfigurationError, DecodeError
from privfl.primitives.labels import Label
from privfl.primitives.transcript import DIGEST_BYTES, digest
from privfl.wire.typed import decoder_of

PROTOCOL_VERSION: Final = 1
NONCE_BYTES: Final = 16
MAX_COHORT: Final = 1_000_000
MAX_VECTOR_LENGTH: Final = 2**31 - 1
MAX_VECTOR_BOUND: Final = 2**31 - 1
DEFAULT_STATISTICAL_BITS: Final = 40
DEFAULT_CORRECTNESS_BITS: Final = 30
MAX_COMMITTEE: Final = 32
MAX_OPENINGS: Final = 1 << 16
DEFAULT_OPENINGS: Final = 16
DEFAULT_PRECISION: Final = 1e-5


class ServerModel(StrEnum):
    """What the server may do besides looking."""

    HONEST_BUT_CURIOUS = "honest-but-curious"
    ACTIVE = "active"


class WireForm(StrEnum):
    """How vectors of residues travel: server time against bytes."""

    WORDS = "words"
    PACKED = "packed"


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
        if self.server not in list(ServerModel):
            names = " or ".join(repr(model.value) for model in ServerModel)
            raise ConfigurationError(f"threat.server is {self.server!r}: {names} works")
        object.__setattr__(self, "server", ServerModel(self.server))
        for key in ("corrupt", "dropout"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
                raise ConfigurationError(f"threat.{key} is {value!r}: a fraction from 0 to below 1 works, such as 0.1")
            # Adding zero turns −0.0 into 0.0: equal parameters have one encoding.
            object.__setattr__(self, key, float(value) + 0.0)
        _check_whole("threat.statistical_bits", self.statistical_bits, 1, 128, such_as=DEFAULT_STATISTICAL_BITS)
        _check_whole("threat.correctness_bits", self.correctness_bits, 1, 128, such_as=DEFAULT_CORRECTNESS_BITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSpec:
    """The vectors of a session.

    Attributes:
        length: coordinates.
        bound: largest magnitude of a coordinate of one client.
        sum_bound: largest magnitude that a coordinate of the sum is given room for, where that is less than all
            clients' bounds together: noise has long tails, of which sums reach the ends with a probability that whoever
            states this bound answers for. A sum beyond it may wrap, and is not released as one where that shows.
    """

    length: int
    bound: int
    sum_bound: int | None = None

    def __post_init__(self) -> None:
        _check_whole("vector.length", self.length, 1, MAX_VECTOR_LENGTH, such_as=1000)
        _check_whole("vector.bound", self.bound, 1, MAX_VECTOR_BOUND, such_as=32_767)
        if self.sum_bound is not None:
            _check_whole("vector.sum_bound", self.sum_bound, 1, MAX_COHORT * MAX_VECTOR_BOUND, such_as=1_000_000)

    def reach(self, contributors: int) -> int:
        """Return the largest magnitude that a coordinate of the sum of so many clients is given room for."""
        return _reach(contributors, self.bound, self.sum_bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitteeShape:
    """Size of a committee, and how many of its members open a sum.

    Attributes:
        members: how many hold a share of the key.
        threshold: how many have to answer; of several members more than half, so that no two disjoint groups of them
            open different sums.
        openings: sums that each member helps to open under one key; then the committee makes another. The more there
            are, the wider the flood that hides the errors of each.
    """

    members: int = 5
    threshold: int = 3
    openings: int = DEFAULT_OPENINGS

    def __post_init__(self) -> None:
        _check_whole("committee.members", self.members, 1, MAX_COMMITTEE, such_as=5)
        majority = self.members // 2 + 1
        _check_whole("committee.threshold", self.threshold, majority, self.members, such_as=majority)
        _check_whole("committee.openings", self.openings, 1, MAX_OPENINGS, such_as=DEFAULT_OPENINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingWishes:
    """What a session is to be, beside cohort and threat model; a suite derives its setting from it.

    What does not fit together is for the suite to say, which knows the cohort.

    Attributes:
        bound: largest magnitude of a coordinate.
        sum_bound: of a coordinate of the sum, if that is less than all clients' bounds together.
        minimum: fewest contributors; the suite's own unless given.
        wire: how vectors travel.
        length: coordinates of a vector, if they are known.
        committee: who opens the sum; for suites that have a committee.
        precision: largest standard deviation of the mean's error, as a fraction of the largest magnitude, where a suite
            has a choice.
        key: the committee's key, if it is made already.
    """

    bound: int
    sum_bound: int | None = None
    minimum: int | None = None
    wire: WireForm = WireForm.WORDS
    length: int | None = None
    committee: CommitteeShape | None = None
    precision: float = DEFAULT_PRECISION
    key: object | None = None

    def reach(self, contributors: int) -> int:
        """Return the largest magnitude that a coordinate of the sum of so many clients is given room for."""
        return _reach(contributors, self.bound, self.sum_bound)


def refuse_committee(suite: str, *committees: object) -> None:
    """Raise where a suite that has no committee is given one.

    Raises:
        ConfigurationError: it is.
    """
    if any(committee is not None for committee in committees):
        raise ConfigurationError(f"suite {suite!r} has no committee: leave committee out")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSetting:
    """What the `plain` suite needs to know: nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskingSetting:
    """What the `masking` suite needs to know; `privfl.masking.planner` derives it from a threat model.

    Attributes:
        degree: k, neighbours of each client; n − 1 is the complete graph, else even.
        threshold: t, shares that rebuild a secret.
        wire: masked vectors travel as machine words, or packed into no more bits than their sum needs.
    """

    degree: int
    threshold: int
    wire: WireForm = WireForm.WORDS

    def __post_init__(self) -> None:
        if self.wire not in list(WireForm):
            raise ConfigurationError(f"encoding.wire is {self.wire!r}: {' or '.join(map(repr, _WIRE_FORMS))} works")
        object.__setattr__(self, "wire", WireForm(self.wire))
        _check_whole("masking degree", self.degree, 1, MAX_COHORT, such_as=10)
        _check_whole("masking threshold", self.threshold, 1, self.degree, such_as=self.degree // 2 + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class KaheSetting:
    """What the `kahe` suite needs to know; `privfl.kahe.planner` derives it.

    Attributes:
        masking: of the inner session, which sums the one-time keys; its wire form is that of the ciphertexts.
        modulus_bits: b; ciphertexts live modulo 2^b.
        scale_bits: log₂ Δ; how far the vector stands above the errors.
    """

    masking: MaskingSetting
    modulus_bits: int
    scale_bits: int

    def __post_init__(self) -> None:
        if not isinstance(self.masking, MaskingSetting):
            raise ConfigurationError(f"kahe masking is {self.masking!r}: a MaskingSetting works")
        _check_whole("kahe modulus_bits", self.modulus_bits, 20, 32, such_as=32)
        _check_whole("kahe scale_bits", self.scale_bits, 0, self.modulus_bits - 2, such_as=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEpoch:
    """What a committee's key is made for; `privfl.ckks.planner` derives it.

    Attributes:
        degree: N, coefficients of a polynomial.
        modulus_bits: bits of each of the two primes that ciphertexts live modulo.
        committee: who holds the key, how many open a sum, and how many sums.
        clients: most contributors of a session.
        length: most coordinates of a vector.
        statistical_bits: s; what all opened sums of the epoch together tell about the key is below 2^(−s/2)/9 in
            statistical distance, s bits as `privfl.ckks.flood` counts them.
    """

    degree: int
    modulus_bits: int
    committee: CommitteeShape
    clients: int
    length: int
    statistical_bits: int

    def __post_init__(self) -> None:
        if not isinstance(self.committee, CommitteeShape):
            raise ConfigurationError(f"ckks committee is {self.committee!r}: a CommitteeShape works")
        if self.degree not in CKKS_DEGREES:
            raise ConfigurationError(f"ckks degree is {self.degree!r}: {' or '.join(map(str, CKKS_DEGREES))} works")
        _check_whole("ckks modulus_bits", self.modulus_bits, FEWEST_MODULUS_BITS, CKKS_DEGREES[self.degree], such_as=36)
        _check_whole("ckks clients", self.clients, 2, MAX_COHORT, such_as=100)
        _check_whole("ckks length", self.length, 1, 2 * MAX_VECTOR_LENGTH, such_as=1_000_000)
        _check_whole("ckks statistical_bits", self.statistical_bits, FEWEST_FLOOD_BITS, 128, such_as=50)

    def numbers(self) -> tuple[int, ...]:
        """Return all of it as numbers, in their one order."""
        shape = self.committee
        return (
            self.degree,
            self.modulus_bits,
            shape.members,
            shape.threshold,
            shape.openings,
            self.clients,
            self.length,
            self.statistical_bits,
        )

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> KeyEpoch:
        """Read what `numbers` wrote.

        Raises:
            ConfigurationError: not so many numbers, or one is out of range.
        """
        if len(numbers) != len(fields(cls)) + 2:
            raise ConfigurationError(f"a key epoch of {len(numbers)} numbers")
        degree, bits, members, threshold, openings, clients, length, statistical = numbers
        return cls(
            degree=degree,
            modulus_bits=bits,
            committee=CommitteeShape(members=members, threshold=threshold, openings=openings),
            clients=clients,
            length=length,
            statistical_bits=statistical,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CkksSetting:
    """What the `ckks` suite needs to know.

    Attributes:
        epoch: what the committee's key is made for.
        scale_bits: log₂ Δ; how far the vector stands above errors and floods.
        key: digest of the committee's key, 32 bytes; empty in plans, for which no session can be held.
    """

    epoch: KeyEpoch
    scale_bits: int
    key: bytes = b""

    def __post_init__(self) -> None:
        if not isinstance(self.epoch, KeyEpoch):
            raise ConfigurationError(f"ckks epoch is {self.epoch!r}: a KeyEpoch works")
        _check_whole("ckks scale_bits", self.scale_bits, 0, 2 * self.epoch.modulus_bits, such_as=40)
        if len(self.key) not in {0, DIGEST_BYTES}:
            raise ConfigurationError(f"ckks key is {len(self.key)} bytes: the {DIGEST_BYTES} of a digest work")


FEWEST_FLOOD_BITS: Final = 50
"""s of `ckks`, and what is taken unless more is asked for."""
FEWEST_MODULUS_BITS: Final = 33
"""Of a prime of `ckks`: residues are computed and sent in 64-bit words."""
CKKS_DEGREES: Final = {4096: 43, 8192: 48}
"""N, and the most bits of each of its two primes. The 2024 guidelines for homomorphic encryption (Bossuat et al., IACR
Communications in Cryptology 1(4)) allow 106 and 214 bits in all at 128 bits of security; 86 and 96 leave SEAL room for
a third prime, which it asks for, and keep the clients' products exact."""

_WIRE_FORMS: Final = tuple(form.value for form in WireForm)
_DIGEST_WORDS: Final = DIGEST_BYTES // 8
Setting = PlainSetting | MaskingSetting | KaheSetting | CkksSetting
_SUITE_OF: Final[dict[type, str]] = {
    PlainSetting: "plain",
    MaskingSetting: "masking",
    KaheSetting: "kahe",
    CkksSetting: "ckks",
}


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
        context: 32 bytes, digest of global model, training configuration and round number. Empty if it is to come:
            in `masking` and `kahe` keys and shares may be exchanged before it is known (`with_context`).
        roster_digest: of the roster that identities come from, 32 bytes; empty unless the server may be active, or
            uploads of `ckks` are signed.
    """

    cohort: tuple[int, ...]
    vector: VectorSpec
    setting: Setting
    threat: ThreatModel = field(default_factory=ThreatModel)
    minimum_contributors: int
    nonce: bytes
    context: bytes
    roster_digest: bytes = b""
    _encoded: bytes = field(init=False, repr=False, compare=False)
    _digest: bytes = field(init=False, repr=False, compare=False)
    _keys_digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for key, kind in (("vector", VectorSpec), ("setting", Setting), ("threat", ThreatModel)):
            if not isinstance(getattr(self, key), kind):
                raise ConfigurationError(f"{key} is {getattr(self, key)!r}: a {kind} works")
        object.__setattr__(self, "cohort", _whole_numbers(self.cohort))
        fewest = 1 if isinstance(self.setting, PlainSetting) else 2
        if not fewest <= len(self.cohort) <= MAX_COHORT:
            raise ConfigurationError(f"cohort has {len(self.cohort)} clients: {fewest} to {MAX_COHORT} works")
        if any(a >= b for a, b in pairwise(self.cohort)):
            raise ConfigurationError("cohort numbers must strictly ascend: sorted, and none twice")
        if self.cohort[0] < 0 or self.cohort[-1] >= 2**32:
            raise ConfigurationError("cohort numbers lie in 0 … 2^32 − 1")
        minimum: object = self.minimum_contributors
        if type(minimum) is not int or not fewest <= minimum <= len(self.cohort):
            raise ConfigurationError(
                f"cohort.minimum is {self.minimum_contributors}: {fewest} to {len(self.cohort)}, "
                f"the size of the cohort, works"
            )
        signed = self.threat.server is ServerModel.ACTIVE and not isinstance(self.setting, PlainSetting)
        digests = (DIGEST_BYTES,) if signed else (0, DIGEST_BYTES) if isinstance(self.setting, CkksSetting) else (0,)
        for key, value, lengths in (
            ("nonce", self.nonce, (NONCE_BYTES,)),
            ("context", self.context, (DIGEST_BYTES,) if self.masking is None else (0, DIGEST_BYTES)),
            ("roster_digest", self.roster_digest, digests),
        ):
            raw: object = value
            if not isinstance(raw, bytes) or len(raw) not in lengths:
                what = f"{len(raw)} bytes" if isinstance(raw, bytes) else type(raw).__name__
                raise ConfigurationError(f"{key} is {what}: exactly {lengths[-1]} bytes work")
        agreed = _plain(self)
        encoded = msgspec.msgpack.encode(agreed)
        without_context = msgspec.msgpack.encode(msgspec.structs.replace(agreed, context=b""))
        object.__setattr__(self, "_encoded", encoded)
        object.__setattr__(self, "_digest", digest(Label.PARAMS, encoded))
        object.__setattr__(self, "_keys_digest", digest(Label.KEYS, without_context))

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return _SUITE_OF[type(self.setting)]

    @property
    def masking(self) -> MaskingSetting | None:
        """Setting of the session of pairwise masks, which is the whole of `masking` and within `kahe`."""
        return masking_of(self.setting)

    @property
    def ring(self) -> Ring:
        """The ring that sums live in; it says how vectors travel.

        Every cohort and bound within this module's limits has one: the largest sum takes 52 bits.
        """
        if isinstance(self.setting, KaheSetting):
            return Ring(self.setting.modulus_bits)
        if isinstance(self.setting, CkksSetting):
            return Ring(self.setting.epoch.modulus_bits)  # of residues modulo either prime, packed
        packed = isinstance(self.setting, MaskingSetting) and self.setting.wire is WireForm.PACKED
        return Ring.for_sum(len(self.cohort), self.vector.bound, sum_bound=self.vector.sum_bound, packed=packed)

    @property
    def digest(self) -> bytes:
        """`params_digest`: SHA-256 of the one canonical encoding, 32 bytes; names the session in books and evidence."""
        return self._digest

    @property
    def keys_digest(self) -> bytes:
        """SHA-256 of all but the context, 32 bytes: what keys of `masking` and `kahe` are made for.

        Equal before and after the context is known. The nonce is in it, which a client accepts once.
        """
        return self._keys_digest

    def with_context(self, context: bytes) -> SessionParams:
        """Return the same parameters with a context that was to come.

        Raises:
            ConfigurationError: they have another already, or it is not 32 bytes.
        """
        if self.context and context != self.context:
            raise ConfigurationError("context is another already: parameters are bound to one context for good")
        raw: object = context
        if not isinstance(raw, bytes) or len(raw) != DIGEST_BYTES:
            what = f"{len(raw)} bytes" if isinstance(raw, bytes) else type(raw).__name__
            raise ConfigurationError(f"context is {what}: exactly {DIGEST_BYTES} bytes work")
        return self if self.context else replace(self, context=context)

    def to_bytes(self) -> bytes:
        """Return the canonical encoding, to be sent to the parties."""
        return self._encoded

    @classmethod
    def from_bytes(cls, raw: bytes) -> SessionParams:
        """Read parameters that a server announces.

        Raises:
            DecodeError: not canonical, or not valid parameters.
        """
        message: object = raw
        if not isinstance(message, bytes):
            raise DecodeError(f"session parameters are bytes, not {type(message).__name__}")
        try:
            wire = decoder_of(_Wire).decode(raw)
            params = cls(
                cohort=wire.cohort,
                vector=_vector(wire.vector),
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
                roster_digest=wire.roster_digest,
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
    vector: tuple[int, ...]
    threat: tuple[str, float, float, int, int]
    minimum_contributors: int
    nonce: bytes
    context: bytes
    roster_digest: bytes


def _plain(params: SessionParams) -> _Wire:
    threat = params.threat
    return _Wire(
        version=PROTOCOL_VERSION,
        suite=params.suite,
        setting=_numbers(params.setting),
        cohort=params.cohort,
        vector=_vector_numbers(params.vector),
        threat=(
            threat.server.value,
            threat.corrupt,
            threat.dropout,
            threat.statistical_bits,
            threat.correctness_bits,
        ),
        minimum_contributors=params.minimum_contributors,
        nonce=params.nonce,
        context=params.context,
        roster_digest=params.roster_digest,
    )


def _whole_numbers(cohort: Iterable[object]) -> tuple[int, ...]:
    try:
        numbers = tuple(operator.index(number) for number in cohort)  # type: ignore[arg-type]  # raises if it is none
    except TypeError:
        raise ConfigurationError("cohort is not made of whole numbers: such as (0, 1, 2)") from None
    if any(isinstance(number, bool) for number in numbers):
        raise ConfigurationError("cohort holds truth values: whole numbers work, such as (0, 1, 2)")
    return numbers


def _reach(contributors: int, bound: int, sum_bound: int | None) -> int:
    return contributors * bound if sum_bound is None else min(contributors * bound, sum_bound)


def _vector_numbers(vector: VectorSpec) -> tuple[int, ...]:
    return (
        (vector.length, vector.bound) if vector.sum_bound is None else (vector.length, vector.bound, vector.sum_bound)
    )


def _vector(numbers: tuple[int, ...]) -> VectorSpec:
    if len(numbers) not in {2, 3}:
        raise ConfigurationError(f"a vector of {len(numbers)} numbers")
    return VectorSpec(length=numbers[0], bound=numbers[1], sum_bound=numbers[2] if len(numbers) == 3 else None)


def _check_whole(key: str, value: object, low: int, high: int, *, such_as: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ConfigurationError(f"{key} is {value!r}: a whole number from {low} to {high} works, such as {such_as}")


def masking_of(setting: Setting) -> MaskingSetting | None:
    """Return the setting of the session of pairwise masks, if there is one."""
    if isinstance(setting, KaheSetting):
        return setting.masking
    return setting if isinstance(setting, MaskingSetting) else None


def _numbers(setting: Setting) -> tuple[int, ...]:
    if isinstance(setting, MaskingSetting):
        return (setting.degree, setting.threshold, _WIRE_FORMS.index(setting.wire))
    if isinstance(setting, KaheSetting):
        return (*_numbers(setting.masking), setting.modulus_bits, setting.scale_bits)
    if isinstance(setting, CkksSetting):
        # The digest as 64-bit words: a setting is written as numbers.
        words = [int.from_bytes(setting.key[i : i + 8], "big") for i in range(0, len(setting.key), 8)]
        return (*setting.epoch.numbers(), setting.scale_bits, *words)
    return ()


def _setting(suite: str, numbers: tuple[int, ...]) -> Setting:
    if suite == "plain" and not numbers:
        return PlainSetting()
    if (suite, len(numbers)) in {("masking", 3), ("kahe", 5)} and numbers[2] in range(len(_WIRE_FORMS)):
        masking = MaskingSetting(degree=numbers[0], threshold=numbers[1], wire=WireForm(_WIRE_FORMS[numbers[2]]))
        if suite == "masking":
            return masking
        return KaheSetting(masking=masking, modulus_bits=numbers[3], scale_bits=numbers[4])
    if suite == "ckks" and len(numbers) > _DIGEST_WORDS and all(0 <= word < 2**64 for word in numbers):
        *epoch, scale_bits = numbers[:-_DIGEST_WORDS]
        key = b"".join(word.to_bytes(8, "big") for word in numbers[-_DIGEST_WORDS:])
        return CkksSetting(epoch=KeyEpoch.from_numbers(epoch), scale_bits=scale_bits, key=key)
    raise ConfigurationError(f"suite {suite!r} with {len(numbers)} settings is not known here")
