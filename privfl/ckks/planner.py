"""N, primes, flood and scale from what is to be summed, how often, and how precisely.

Of a sum of n vectors, a coefficient is Δ·Σx + errors + the floods of t members. With E the standard deviation of the
errors (`cipher.error_std`) and F that of a flood (`flood.wanted_std`, for m coefficients in every opening that there
can be under one key):

- nothing wraps: n · bound · Δ plus 14 deviations of floods and errors stay below (Q − q₁)/2. Δ takes all the room but
  for a hundredth: what does not decrypt is uniform modulo Q, and must not pass for a sum by its range. (Of m
  coordinates it does with a probability of up to 0.99^m: for vectors of a few coordinates, the range says little.)
- the error of the *mean* is √(t·F² + E²) / (Δ · k · bound) of the full scale, k being the contributors that are left
  when as many drop out as planned; N and primes are the smallest for which that is no more than the precision wanted.
  Beside that, a sum is to be off by no more than a 64th of a coordinate's range, so that whole numbers can be told.

There can be more openings under a key than the budget of each member, as different members may open different sums: up
to t − 1 members who do not count leave n − t + 1 who do, and every opening needs one of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Final

from privfl.ckks.cipher import error_std as cipher_error_std
from privfl.ckks.flood import Flood, wanted_std
from privfl.ckks.modulus import Modulus, modulus
from privfl.errors import ConfigurationError
from privfl.params import (
    CKKS_DEGREES,
    FEWEST_FLOOD_BITS,
    FEWEST_MODULUS_BITS,
    CkksSetting,
    CommitteeShape,
    KeyEpoch,
    ServerModel,
    SessionParams,
    SettingWishes,
    ThreatModel,
)

LENGTH: Final = 1_000_000
"""Coordinates where a plan is asked for without saying."""
DEVIATIONS: Final = 14
"""Of a sum's error, to either side: exceeded with a probability below 2^−140."""
KEY_MARGIN: Final = 1.1
"""How much longer than expected a key's secret and errors may be: with 4,096 coefficients or more, a tenth is over six
deviations of their norm."""
_CROWDED_PERCENT: Final = 99
_TELLING: Final = 64
_ROUNDING: Final = 1 / math.sqrt(12)
_HALF: Final = 0.5


def plan(clients: int, threat: ThreatModel, wishes: SettingWishes) -> CkksSetting:
    """Choose N, primes and scale.

    Args:
        clients: n, size of the cohort and most contributors.
        threat: the threat model; its statistical_bits raise s above 50.
        wishes: bound, length, committee and precision.

    Returns:
        A setting without a key.

    Raises:
        ConfigurationError: nothing fits; names what would.
    """
    if threat.server is ServerModel.ACTIVE:
        raise ConfigurationError(
            "threat.server is 'active': 'honest-but-curious' works with suite 'ckks', whose parties must follow the "
            "protocol; suites 'masking' and 'kahe' withstand a server that lies"
        )
    if not 0 < wishes.precision < 1:
        raise ConfigurationError(f"encoding.precision is {wishes.precision!r}: a fraction such as 1e-5 works")
    found = _smallest(clients, threat, wishes)
    if found is not None:
        return found
    raise ConfigurationError(
        f"sums of {clients} clients with vector.bound {wishes.bound} to within {wishes.precision:.1g} of full scale "
        f"(encoding.precision), under the floods that {_shape(wishes).openings} openings take, exceed the widest "
        f"modulus: {', or '.join(_helps(clients, threat, wishes))}"
    )


def _smallest(clients: int, threat: ThreatModel, wishes: SettingWishes) -> CkksSetting | None:
    expected = expected_contributors(clients, threat)
    precision = min(wishes.precision, 1 / (_TELLING * clients))
    for degree, most in CKKS_DEGREES.items():
        for bits in range(FEWEST_MODULUS_BITS, most + 1):
            epoch = KeyEpoch(
                degree=degree,
                modulus_bits=bits,
                committee=_shape(wishes),
                clients=max(clients, 2),
                length=_whole(wishes.length or LENGTH, degree),
                statistical_bits=max(FEWEST_FLOOD_BITS, threat.statistical_bits),
            )
            scale = most_scale_bits(epoch, wishes.reach(clients))
            if scale < 0:
                continue
            setting = CkksSetting(epoch=epoch, scale_bits=scale)
            if _coordinate_std(setting) <= precision * expected * wishes.bound:
                return setting
    return None


def _helps(clients: int, threat: ThreatModel, wishes: SettingWishes) -> list[str]:
    """Say which single changes would do, each with a value that works."""
    shape, helps = _shape(wishes), []

    def first(changes: Iterable[tuple[str, ThreatModel, SettingWishes]]) -> None:
        for text, other_threat, other_wishes in changes:
            if _smallest(clients, other_threat, other_wishes) is not None:
                helps.append(text)
                return

    first(
        (f"raise encoding.precision to {10.0**-power:.0e}", threat, replace(wishes, precision=10.0**-power))
        for power in range(12, 0, -1)
        if 10.0**-power > wishes.precision
    )
    first(
        (
            f"lower committee.openings to {openings}",
            threat,
            replace(wishes, committee=replace(shape, openings=openings)),
        )
        for openings in (1 << power for power in range(15, -1, -1))
        if openings < shape.openings
    )
    first(
        (f"lower threat.statistical_bits to {bits}", replace(threat, statistical_bits=bits), wishes)
        for bits in range(threat.statistical_bits - 1, FEWEST_FLOOD_BITS - 1, -1)
    )
    helps.append("take suite 'masking', whose sums are exact")
    return helps


def _shape(wishes: SettingWishes) -> CommitteeShape:
    return wishes.committee or CommitteeShape()


def keyed(epoch: KeyEpoch, key: bytes, clients: int, reach: int, length: int | None = None) -> CkksSetting:
    """Return the setting of a session under a key that is there, for sums of clients that reach so far.

    Raises:
        ConfigurationError: the key is not made for so many clients, so long vectors, or sums that reach so far.
    """
    _require_length(length or 1, epoch)
    if clients > epoch.clients:
        raise ConfigurationError(
            f"cohort.size is {clients}: up to {epoch.clients} works, which the committee's key is made for"
        )
    scale = most_scale_bits(epoch, reach)
    if scale < 0:
        raise ConfigurationError(
            f"sums of {clients} clients up to {reach} do not fit the committee's key: lower encoding.bits, "
            f"or have a key made for them"
        )
    return CkksSetting(epoch=epoch, scale_bits=scale, key=key)


def _require_length(length: int, epoch: KeyEpoch) -> None:
    if length > epoch.length:
        raise ConfigurationError(
            f"vector.length is {length}: up to {epoch.length} works, which the committee's key is made for"
        )


def verified(params: SessionParams) -> CkksSetting:
    """Return a session's setting, once it is checked.

    Raises:
        ConfigurationError: another suite's, no key, or sums that would wrap or exceed what the key is made for.
    """
    setting = params.setting
    if not isinstance(setting, CkksSetting):
        raise ConfigurationError(f"parameters of suite {params.suite!r} where 'ckks' is needed")
    if not setting.key:
        raise ConfigurationError(
            "a ckks session needs a committee's key: hold a key ceremony, and give its result when a session is planned"
        )
    if params.threat.server is ServerModel.ACTIVE:
        raise ConfigurationError("threat.server is 'active': 'honest-but-curious' works with suite 'ckks'")
    if params.threat.statistical_bits > setting.epoch.statistical_bits:
        raise ConfigurationError(
            f"threat.statistical_bits is {params.threat.statistical_bits}: up to {setting.epoch.statistical_bits} "
            f"works, which the committee's key is made for"
        )
    _require_length(params.vector.length, setting.epoch)
    allowed = keyed(setting.epoch, setting.key, len(params.cohort), params.vector.reach(len(params.cohort)))
    if setting.scale_bits > allowed.scale_bits:
        raise ConfigurationError(f"ckks scale_bits is {setting.scale_bits}: up to {allowed.scale_bits} works")
    return setting


def expected_contributors(clients: int, threat: ThreatModel) -> int:
    """Contributors that are left when as many clients drop out as planned."""
    return max(1, clients - math.floor(threat.dropout * clients + 1e-9))


def fewest_contributors(clients: int, threat: ThreatModel) -> int:
    """Smallest minimum that makes sense: two honest clients beside the corrupt ones."""
    return min(clients, math.floor(threat.corrupt * clients + 1e-9) + 2)


def modulus_of(epoch: KeyEpoch) -> Modulus:
    """Return N and the primes of an epoch."""
    return modulus(epoch.degree, epoch.modulus_bits)


@lru_cache(maxsize=64)  # epochs come from parameters, which anybody may propose
def flood_of(epoch: KeyEpoch) -> Flood:
    """Return what every member adds to its answers."""
    shape = epoch.committee
    openings = shape.openings * (shape.members - shape.threshold + 1)
    # The test that ends the ceremony opens one polynomial more.
    coefficients = _whole(epoch.length, epoch.degree) * openings + epoch.degree
    errors = KEY_MARGIN * cipher_error_std(epoch.degree, shape.members, epoch.clients)
    return Flood.at_least(wanted_std(errors, coefficients=coefficients, statistical_bits=epoch.statistical_bits))


def coefficient_std(epoch: KeyEpoch, floods: int | None = None) -> float:
    """Standard deviation of what a coefficient of an opened sum is off by, in units of its own.

    Args:
        epoch: of the key.
        floods: members that answered; as many as open a sum unless given.
    """
    shape = epoch.committee
    errors = KEY_MARGIN * cipher_error_std(epoch.degree, shape.members, epoch.clients)
    return math.sqrt((floods or shape.threshold) * flood_of(epoch).std ** 2 + errors**2)


def error_std(setting: CkksSetting) -> float:
    """Standard deviation of a coordinate's error in the sum, whatever the number of contributors; 0.0 is exact."""
    error = _coordinate_std(setting)
    # The sum is rounded to whole numbers: away with what is far below one, or one error more.
    return 0.0 if DEVIATIONS * error <= _HALF else math.hypot(error, _ROUNDING)


def _coordinate_std(setting: CkksSetting) -> float:
    """Standard deviation of what a coordinate of the sum is off by, before it is rounded."""
    return coefficient_std(setting.epoch) / 2.0**setting.scale_bits


def most_scale_bits(epoch: KeyEpoch, reach: int) -> int:
    """Largest log₂ Δ under which no sum up to `reach` wraps, or fills the modulus; −1 if there is none."""
    slack = math.ceil(DEVIATIONS * coefficient_std(epoch))
    modulus = modulus_of(epoch)
    product = modulus.product
    # Up to there `Modulus.centred` reads numbers as themselves, on the shorter of both sides.
    room = min((product - modulus.primes[0]) // 2 - slack, product * _CROWDED_PERCENT // 200)
    return max(room // reach, 0).bit_length() - 1


def _whole(length: int, degree: int) -> int:
    return -(-length // degree) * degree
