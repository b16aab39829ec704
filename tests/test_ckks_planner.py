"""What is planned for `ckks`: nothing wraps, promises are kept, refusals name a value that works, and one encoding."""

import math
import re
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from harness import committee, epoch, make_params, make_vectors

from privfl import (
    ConfigurationError,
    DecodeError,
    ServerModel,
    SessionParams,
    ThreatModel,
    VectorSpec,
    plan_session,
    simulate,
    suite,
)
from privfl.ckks import cipher, planner
from privfl.ckks.client import CkksClient
from privfl.ckks.flood import NARROW_STD, STEP, Flood, wanted_std
from privfl.ckks.modulus import modulus
from privfl.ckks.planner import DEVIATIONS, flood_of, most_scale_bits, verified
from privfl.params import (
    CKKS_DEGREES,
    DEFAULT_PRECISION,
    FEWEST_MODULUS_BITS,
    CkksSetting,
    CommitteeShape,
    KeyEpoch,
    SettingWishes,
)
from privfl.primitives.entropy import OsEntropy
from privfl.simulate import simulated_committee

HALF = SettingWishes(bound=2**15 - 1, length=100_000)
THREAT = ThreatModel(corrupt=0.1, dropout=0.1)


# Plans


@pytest.mark.parametrize("clients", [2, 3, 8, 10, 64, 100, 1000])
@pytest.mark.parametrize("bits", [2, 8, 16, 24])
@pytest.mark.parametrize(("members", "threshold"), [(1, 1), (5, 3), (32, 32)])
def test_no_plan_wraps_or_breaks_its_promise(clients, bits, members, threshold):
    bound = 2 ** (bits - 1) - 1
    wishes = replace(HALF, bound=bound, committee=CommitteeShape(members=members, threshold=threshold))
    setting = planner.plan(clients, THREAT, wishes)
    made_for = setting.epoch
    std = math.sqrt(
        threshold * flood_of(made_for).std ** 2
        + (1.1 * cipher.error_std(made_for.degree, members, made_for.clients)) ** 2
    )
    assert std == pytest.approx(planner.coefficient_std(made_for))
    product = modulus(made_for.degree, made_for.modulus_bits).product
    assert clients * bound * 2**setting.scale_bits + DEVIATIONS * std < product / 2
    left = clients - math.floor(0.1 * clients)
    assert std / 2**setting.scale_bits <= min(DEFAULT_PRECISION, 1 / (64 * clients)) * left * bound
    assert made_for.length % made_for.degree == 0
    assert made_for.length - made_for.degree < 100_000 <= made_for.length
    assert setting.key == b""


def test_no_smaller_modulus_would_do():
    for clients in (3, 100):
        setting = planner.plan(clients, THREAT, HALF)
        assert setting.epoch.modulus_bits > FEWEST_MODULUS_BITS or setting.epoch.degree == min(CKKS_DEGREES)
        for bits in range(FEWEST_MODULUS_BITS, setting.epoch.modulus_bits):
            smaller = replace(setting.epoch, modulus_bits=bits)
            scale = most_scale_bits(smaller, clients * HALF.bound)
            error = planner.coefficient_std(smaller) / 2.0**scale
            left = clients - math.floor(0.1 * clients)
            assert scale < 0 or error > min(DEFAULT_PRECISION, 1 / (64 * clients)) * left * HALF.bound


def test_plans_follow_wishes_and_threat():
    setting = planner.plan(10, replace(THREAT, statistical_bits=60), replace(HALF, length=4097, precision=1e-6))
    assert setting.epoch.statistical_bits == 60
    assert setting.epoch.length == 8192
    assert setting.epoch.committee == CommitteeShape()
    assert planner.plan(10, THREAT, HALF).epoch.statistical_bits == 50
    assert planner.plan(10, THREAT, replace(HALF, length=None)).epoch.length == 245 * 4096
    finer = planner.plan(10, THREAT, replace(HALF, precision=1e-8)).epoch
    assert (finer.degree, finer.modulus_bits) > (4096, planner.plan(10, THREAT, HALF).epoch.modulus_bits)


def test_a_plan_is_kept_by_a_session_from_ceremony_to_sum():
    """Ten clients of 16 bits, one of whom drops: 5,000 coordinates estimate the deviation to 1 %, asserted to ten."""
    threat = ThreatModel(corrupt=0.1, dropout=0.1)
    setting = suite("ckks").setting(10, threat, bound=2**15 - 1, length=5000)
    held = simulated_committee(setting)
    params = plan_session(
        "ckks",
        cohort=tuple(range(10)),
        vector=VectorSpec(length=5000, bound=2**15 - 1),
        threat=threat,
        nonce=bytes(16),
        context=bytes(32),
        committee=held.key,
    )
    assert replace(params.setting, key=b"") == setting
    vectors = make_vectors(params)
    total = simulate(params, vectors, committee=held).aggregate
    error = total.vector - sum(vectors[n].astype(np.int64) for n in params.cohort)
    assert total.error_std == suite("ckks").error_std(params.setting, 10)
    assert error.std() == pytest.approx(total.error_std, rel=0.1)
    assert error.std() / (9 * (2**15 - 1)) <= DEFAULT_PRECISION


def test_errors_far_below_a_half_are_none():
    """Rounded away with more than 2^−140 to spare; beside that, rounding itself is told."""
    setting = make_params(suite_name="ckks").setting
    assert planner.error_std(setting) == 0.0
    coarse = replace(setting, scale_bits=50)
    expected = math.hypot(planner.coefficient_std(setting.epoch) / 2.0**50, 1 / math.sqrt(12))
    assert planner.error_std(coarse) == pytest.approx(expected)
    with pytest.raises(TypeError, match="given to suite 'ckks'"):
        suite("ckks").error_std(make_params(suite_name="plain").setting, 5)


def test_fewest_contributors_are_two_more_than_the_corrupt():
    assert planner.fewest_contributors(100, THREAT) == 12
    assert planner.fewest_contributors(10, THREAT) == 3
    assert planner.fewest_contributors(2, THREAT) == 2


# Floods


@pytest.mark.parametrize(("members", "threshold", "openings"), [(1, 1, 1), (5, 3, 10), (32, 17, 100)])
def test_floods_are_as_wide_as_the_formula_says(members, threshold, openings):
    """F = √(24·m·Q)·2^(s/2)·E, with Q of every member that t − 1 others leave, and the ceremony's polynomial."""
    made_for = epoch(members=members, threshold=threshold, openings=openings)
    coefficients = 8192 * openings * (members - threshold + 1) + 4096
    errors = 1.1 * 3.2 * math.sqrt(100 * (1 + 4096 * members * 4 / 3))
    least = math.sqrt(24 * coefficients) * 2**25 * errors
    assert least == pytest.approx(wanted_std(errors, coefficients=coefficients, statistical_bits=50))
    assert least <= flood_of(made_for).std <= 1.001 * least


@pytest.mark.parametrize("bits", range(1, 60, 7))
def test_a_flood_is_no_narrower_than_asked_and_hardly_wider(bits):
    for std in (2.0**bits, 2.0**bits * 1.37):
        flood = Flood.at_least(std)
        assert flood.steps[0] == 1
        assert flood.std == pytest.approx(NARROW_STD * math.sqrt(sum(step * step for step in flood.steps)))
        assert flood.std >= std
        assert flood.std <= max(1.001 * std, 1.2 * std if std < 2000 else 0, NARROW_STD)
        # Each step is at most nine times the one before, and below 0.466 of all that is finer.
        for i in range(1, len(flood.steps)):
            assert flood.steps[i] <= STEP * flood.steps[i - 1]
            assert flood.steps[i] <= 0.466 * NARROW_STD * math.sqrt(sum(step**2 for step in flood.steps[:i]))


@pytest.mark.parametrize("count", [1, 4096, (1 << 16) + 3])
def test_floods_are_drawn_for_any_number_of_coefficients(count):
    """Of 60 bits, beyond what 64-bit words add up: 65,539 draws estimate the deviation to 0.3 %, asserted to ten."""
    ring, flood = modulus(4096, 40), Flood.at_least(2.0**60)
    drawn = flood.residues(ring, count, OsEntropy())
    assert drawn.shape == (2, count)
    assert all(0 <= int(row.min()) <= int(row.max()) < prime for row, prime in zip(drawn, ring.primes, strict=True))
    numbers = ring.centred(drawn)
    assert np.abs(numbers).max() < 7.5 * flood.std
    if count > 4096:
        assert numbers.std() == pytest.approx(flood.std, rel=0.03)
        assert abs(np.corrcoef(numbers[: count // 2], numbers[count // 2 : 2 * (count // 2)])[0, 1]) < 6 / math.sqrt(
            count // 2
        )


# Refusals


def test_an_active_server_is_refused_and_those_who_withstand_it_named():
    active = ThreatModel(server=ServerModel.ACTIVE)
    with pytest.raises(
        ConfigurationError, match=r"threat\.server is 'active': 'honest-but-curious' works .* 'masking'"
    ):
        planner.plan(10, active, HALF)


@pytest.mark.parametrize("precision", [0, 1, -1e-5, 2.0, math.nan])
def test_a_precision_that_is_no_fraction_is_refused(precision):
    with pytest.raises(ConfigurationError, match=r"encoding\.precision is .*: a fraction such as 1e-5 works"):
        planner.plan(10, THREAT, replace(HALF, precision=precision))


@pytest.mark.parametrize(
    ("clients", "threat", "wishes"),
    [
        (10, THREAT, replace(HALF, precision=1e-14)),
        (100, replace(THREAT, statistical_bits=128), HALF),
        (10_000, replace(THREAT, statistical_bits=100), replace(HALF, committee=CommitteeShape(openings=2**16))),
        (100, THREAT, replace(HALF, bound=2**23 - 1, precision=1e-13)),
    ],
)
def test_what_does_not_fit_is_refused_with_values_that_work(clients, threat, wishes):
    with pytest.raises(ConfigurationError, match=r"exceed the widest modulus: .*take suite 'masking'") as error:
        planner.plan(clients, threat, wishes)
    text = str(error.value)
    found = {
        key: re.search(rf"{word} {key} to (\S+?),", text)
        for word, key in (
            ("raise", "encoding.precision"),
            ("lower", "committee.openings"),
            ("lower", "threat.statistical_bits"),
        )
    }
    if found["encoding.precision"]:
        planner.plan(clients, threat, replace(wishes, precision=float(found["encoding.precision"][1])))
    if found["committee.openings"]:
        shape = replace(wishes.committee or CommitteeShape(), openings=int(found["committee.openings"][1]))
        planner.plan(clients, threat, replace(wishes, committee=shape))
    if found["threat.statistical_bits"]:
        fewer = replace(threat, statistical_bits=int(found["threat.statistical_bits"][1]))
        planner.plan(clients, fewer, wishes)
        more = replace(fewer, statistical_bits=fewer.statistical_bits + 1)
        with pytest.raises(ConfigurationError):
            planner.plan(clients, more, wishes)
    assert any(found.values())


def test_a_key_serves_cohorts_and_vectors_up_to_what_it_is_made_for():
    key = committee().key
    with pytest.raises(ConfigurationError, match=r"cohort\.size is 101: up to 100 works"):
        make_params(n=101, suite_name="ckks")
    make_params(n=100, suite_name="ckks")
    with pytest.raises(ConfigurationError, match="committee is a bytes: a CommitteeKey works"):
        make_params(suite_name="ckks", key=b"key")
    with pytest.raises(ConfigurationError, match=r"do not fit the committee's key: lower encoding\.bits"):
        planner.keyed(replace(key.epoch, modulus_bits=33, statistical_bits=80), key.digest, 100, 100 * (2**31 - 1))


def test_settings_that_wrap_or_exceed_the_key_are_refused():
    """Whoever proposed them: client, member and server look at the same."""
    params = make_params(suite_name="ckks")
    assert verified(params) == params.setting
    setting = params.setting
    assert verified(replace(params, setting=replace(setting, scale_bits=setting.scale_bits - 1)))
    for wrong, why in (
        (replace(params, setting=replace(setting, scale_bits=setting.scale_bits + 1)), "scale_bits is"),
        (replace(params, setting=replace(setting, key=b"")), "needs a committee's key"),
        (replace(params, vector=VectorSpec(length=8193, bound=1000)), r"vector\.length is 8193: up to 8192 works"),
        (replace(params, vector=VectorSpec(length=16, bound=4000)), "scale_bits is"),
        (replace(params, cohort=tuple(range(101))), r"cohort\.size is 101: up to 100 works"),
        (
            replace(params, threat=replace(params.threat, statistical_bits=51)),
            r"threat\.statistical_bits is 51: up to 50 works",
        ),
        (
            replace(params, threat=replace(params.threat, server=ServerModel.ACTIVE), roster_digest=bytes(32)),
            r"threat\.server is 'active'",
        ),
        (make_params(suite_name="plain"), "parameters of suite 'plain' where 'ckks' is needed"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            verified(wrong)
        with pytest.raises(ConfigurationError, match=why):
            CkksClient(wrong, wrong.cohort[0], committee=committee().key)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("degree", 2048, "4096 or 8192 works"),
        ("modulus_bits", 32, "from 33 to 43"),
        ("modulus_bits", 44, "from 33 to 43"),
        ("clients", 1, "from 2 to"),
        ("length", 0, "from 1 to"),
        ("statistical_bits", 0, "from 50 to 128"),
        ("statistical_bits", 129, "from 50 to 128"),
        ("statistical_bits", 50.0, "from 50 to 128"),
        ("committee", (5, 3), "a CommitteeShape works"),
    ],
)
def test_epochs_that_cannot_be_are_refused(name, value, why):
    with pytest.raises(ConfigurationError, match=why):
        replace(epoch(), **{name: value})


def test_an_epoch_of_8192_takes_longer_primes():
    assert replace(epoch(), degree=8192, modulus_bits=48)
    with pytest.raises(ConfigurationError, match="from 33 to 48"):
        replace(epoch(), degree=8192, modulus_bits=49)


# One encoding


def fields_of(params):
    return msgspec.msgpack.decode(params.to_bytes())


def test_parameters_survive_being_sent():
    for signed in (False, True):
        params = make_params(suite_name="ckks", signed=signed)
        again = SessionParams.from_bytes(params.to_bytes())
        assert again == params
        assert again.digest == params.digest
        assert isinstance(again.setting, CkksSetting)
    assert KeyEpoch.from_numbers(epoch().numbers()) == epoch()


def test_everything_about_the_key_is_in_the_params_digest():
    params = make_params(suite_name="ckks")
    setting = params.setting
    others = [
        replace(setting, key=bytes(32)),
        replace(setting, key=setting.key[:-1] + bytes([setting.key[-1] ^ 1])),
        replace(setting, scale_bits=setting.scale_bits - 1),
        *(
            replace(setting, epoch=replace(setting.epoch, **{name: value}))
            for name, value in (("clients", 99), ("length", 100), ("statistical_bits", 51), ("modulus_bits", 41))
        ),
        *(
            replace(setting, epoch=replace(setting.epoch, committee=replace(setting.epoch.committee, **{name: value})))
            for name, value in (("members", 4), ("threshold", 4), ("openings", 11))
        ),
    ]
    digests = {params.digest, *(replace(params, setting=other).digest for other in others)}
    assert len(digests) == 1 + len(others)


@pytest.mark.parametrize(
    "change",
    [
        lambda numbers: numbers[:-1],
        lambda numbers: [*numbers, 0],
        lambda numbers: numbers[:-4],
        lambda numbers: numbers[:4],
        lambda numbers: [],
        lambda numbers: [2048, *numbers[1:]],
        lambda numbers: [*numbers[:1], 44, *numbers[2:]],
        lambda numbers: [*numbers[:3], 2, *numbers[4:]],
        lambda numbers: [*numbers[:8], 81, *numbers[9:]],
        lambda numbers: [*numbers[:8], -1, *numbers[9:]],
        lambda numbers: [*numbers[:-1], True],
        lambda numbers: [*numbers[:-1], -1],
        lambda numbers: [*numbers[:-1], 1.5],
        lambda numbers: [*numbers[:7], 129, *numbers[8:]],
    ],
)
def test_settings_that_cannot_be_are_not_decoded(change):
    fields = fields_of(make_params(suite_name="ckks"))
    place = next(i for i, field in enumerate(fields) if isinstance(field, list) and field[:1] == [4096])
    assert len(fields[place]) == 8 + 1 + 4
    fields[place] = change(fields[place])
    with pytest.raises(DecodeError):
        SessionParams.from_bytes(msgspec.msgpack.encode(fields))


def test_parameters_without_a_key_are_not_sent():
    """A plan is not a session: its parameters have no encoding that is read."""
    params = make_params(suite_name="ckks")
    with pytest.raises(DecodeError):
        SessionParams.from_bytes(replace(params, setting=replace(params.setting, key=b"")).to_bytes())
    for length in (1, 31, 33, 64):
        with pytest.raises(ConfigurationError, match=f"ckks key is {length} bytes: the 32 of a digest work"):
            replace(params.setting, key=bytes(length))


def test_another_suites_numbers_are_no_setting_of_ckks():
    for name in ("masking", "kahe", "plain"):
        fields = fields_of(make_params(suite_name=name))
        fields[fields.index(name)] = "ckks"
        with pytest.raises(DecodeError):
            SessionParams.from_bytes(msgspec.msgpack.encode(fields))
