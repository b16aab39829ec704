"""What parties agree on: one encoding, one digest, and every wrong value refused with one that works."""

import dataclasses
import hashlib
import itertools
import math
import pickle
import re
import struct
import tracemalloc

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privfl import params as params_module
from privfl.errors import ConfigurationError, DecodeError
from privfl.params import (
    MAX_COHORT,
    MAX_COMMITTEE,
    MAX_VECTOR_BOUND,
    MAX_VECTOR_LENGTH,
    CommitteeShape,
    MaskingSetting,
    PlainSetting,
    ServerModel,
    SessionParams,
    SettingWishes,
    ThreatModel,
    VectorSpec,
    WireForm,
)

NONCE, CONTEXT = bytes(range(16)), bytes(range(50, 82))


def make(**changes) -> SessionParams:
    base = {
        "cohort": (1, 4, 70_000),
        "vector": VectorSpec(length=1000, bound=32_767),
        "setting": MaskingSetting(degree=2, threshold=2),
        "threat": ThreatModel(),
        "minimum_contributors": 2,
        "nonce": NONCE,
        "context": CONTEXT,
    }
    return SessionParams(**(base | changes))


def make_active(**changes) -> SessionParams:
    return make(**({"threat": ThreatModel(server=ServerModel.ACTIVE), "roster_digest": bytes(32)} | changes))


def make_with(path: str, value) -> SessionParams:
    """Make parameters that differ from `make()` in one field, named as `cohort` or `threat.corrupt`.

    An active server and a roster come together: neither is lawful without the other.
    """
    outer, _, inner = path.partition(".")
    if path == "roster_digest":
        return make_active(roster_digest=value)
    if path == "threat.server":
        return make_active(threat=ThreatModel(server=value))
    if not inner:
        return make(**{outer: value})
    return make(**{outer: dataclasses.replace(getattr(make(), outer), **{inner: value})})


OTHER_VALUES = {
    "cohort": [(1, 4, 70_001), (0, 4, 70_000), (1, 4), (1, 2, 4, 70_000)],
    "vector.length": [999, 1],
    "vector.bound": [32_766, 127],
    "vector.sum_bound": [1, 98_301],
    "setting": [PlainSetting()],
    "setting.degree": [3, MAX_COHORT],
    "setting.threshold": [1],
    "setting.wire": [WireForm.PACKED],
    "threat.server": [ServerModel.ACTIVE],
    "threat.corrupt": [0.0, 0.2, math.nextafter(0.1, 1)],
    "threat.dropout": [0.0, 0.2, math.nextafter(0.1, 0)],
    "threat.statistical_bits": [41, 1],
    "threat.correctness_bits": [31, 128],
    "minimum_contributors": [3],
    "nonce": [bytes(16), NONCE[:-1] + b"\0"],
    "context": [b"", bytes(32), CONTEXT[::-1]],
    "roster_digest": [bytes(31) + b"\1", b"\1" + bytes(31), CONTEXT],
}
ALL_DIFFERENT = [make(), *(make_with(path, value) for path, values in OTHER_VALUES.items() for value in values)]

FRACTIONS = st.floats(0, 1, exclude_max=True) | st.sampled_from([0, 0.0, -0.0])
SETTINGS = st.integers(1, MAX_COHORT).flatmap(
    lambda degree: st.builds(
        MaskingSetting, degree=st.just(degree), threshold=st.integers(1, degree), wire=st.sampled_from(WireForm)
    )
)
COHORTS = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 300), min_size=2, max_size=12, unique=True)


@st.composite
def session_params(draw):
    cohort = tuple(sorted(draw(COHORTS)))
    setting = draw(st.just(PlainSetting()) | SETTINGS)
    threat = draw(
        st.builds(
            ThreatModel,
            server=st.sampled_from(ServerModel),
            corrupt=FRACTIONS,
            dropout=FRACTIONS,
            statistical_bits=st.integers(1, 128),
            correctness_bits=st.integers(1, 128),
        )
    )
    roster_bytes = 32 if threat.server is ServerModel.ACTIVE and isinstance(setting, MaskingSetting) else 0
    return SessionParams(
        cohort=cohort,
        vector=VectorSpec(
            length=draw(st.integers(1, MAX_VECTOR_LENGTH)),
            bound=draw(st.integers(1, MAX_VECTOR_BOUND)),
            sum_bound=draw(st.none() | st.integers(1, MAX_VECTOR_BOUND)),
        ),
        setting=setting,
        threat=threat,
        minimum_contributors=draw(st.integers(2, len(cohort))),
        nonce=draw(st.binary(min_size=16, max_size=16)),
        context=draw(
            st.binary(min_size=32, max_size=32) | st.just(b"" if isinstance(setting, MaskingSetting) else NONCE * 2)
        ),
        roster_digest=draw(st.binary(min_size=roster_bytes, max_size=roster_bytes)),
    )


# The digest


def test_every_field_is_varied_here():
    """A new field must join `OTHER_VALUES`, and so the digest."""
    paths = set()
    for field in dataclasses.fields(SessionParams):
        if field.name.startswith("_"):
            continue
        value = getattr(make(), field.name)
        paths |= {field.name} if not dataclasses.is_dataclass(value) or field.name == "setting" else set()
        if dataclasses.is_dataclass(value):
            paths |= {f"{field.name}.{inner.name}" for inner in dataclasses.fields(value)}
    assert paths == set(OTHER_VALUES)


def test_every_single_field_changes_the_digest_and_the_bytes():
    assert len({one.digest for one in ALL_DIFFERENT}) == len(ALL_DIFFERENT)
    assert len({one.to_bytes() for one in ALL_DIFFERENT}) == len(ALL_DIFFERENT)
    assert {len(one.digest) for one in ALL_DIFFERENT} == {32}


def test_the_server_model_alone_changes_the_digest():
    """Where no roster is due, in `plain`, nothing else tells the two models apart."""
    honest, active = (make(setting=PlainSetting(), threat=ThreatModel(server=model)) for model in ServerModel)
    assert honest.roster_digest == active.roster_digest == b""
    assert honest != active
    assert honest.digest != active.digest


def test_the_protocol_version_changes_the_digest_and_is_refused_by_others(monkeypatch):
    here = make()
    monkeypatch.setattr(params_module, "PROTOCOL_VERSION", 2)
    there = make()
    assert there.digest != here.digest
    with pytest.raises(DecodeError, match="another version"):
        SessionParams.from_bytes(here.to_bytes())


def test_the_digest_is_sha_256_of_the_canonical_encoding():
    """Known answer: the encoding from its definition, the digest over label and encoding with their lengths."""
    encoding = msgspec.msgpack.encode(
        [
            1,
            "masking",
            [2, 2, 0],
            [1, 4, 70_000],
            [1000, 32_767],
            ["honest-but-curious", 0.1, 0.1, 40, 30],
            2,
            NONCE,
            CONTEXT,
            b"",
        ]
    )
    assert make().to_bytes() == encoding
    roster = bytes(range(100, 132))
    active = make_active(roster_digest=roster).to_bytes()
    assert encoding.endswith(b"\xc4\x00")
    assert active == encoding[:-2].replace(b"\xb2honest-but-curious", b"\xa6active") + b"\xc4\x20" + roster
    hashed = b"".join(len(part).to_bytes(8, "big") + part for part in (b"privfl/v1/params", encoding))
    assert make().digest == hashlib.sha256(hashed).digest()
    assert make().digest.hex() == "2bf100e07a40e480cac1e42cf3724cdffa4fe543c49955624452fcfef59876bf"


def test_equal_parameters_have_equal_digests_however_they_were_made():
    one, other = make(), SessionParams.from_bytes(make().to_bytes())
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest


@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
def test_there_is_one_zero(zero):
    threat = ThreatModel(corrupt=zero, dropout=zero)
    for fraction in (threat.corrupt, threat.dropout):
        assert type(fraction) is float
        assert math.copysign(1, fraction) == 1
    assert make(threat=threat) == make(threat=ThreatModel(corrupt=0.0, dropout=0.0))
    assert make(threat=threat).digest == make(threat=ThreatModel(corrupt=0.0, dropout=0.0)).digest


@pytest.mark.parametrize(
    "cohort",
    [[3, 5, 9], iter((3, 5, 9)), range(3, 10, 2), np.array([3, 5, 9], np.uint32), (np.int64(3), 5, np.uint8(9))],
    ids=lambda cohort: type(cohort).__name__,
)
def test_a_cohort_of_whole_numbers_is_a_tuple_of_ints_however_it_was_given(cohort):
    params = make(cohort=cohort)
    assert type(params.cohort) is tuple
    assert {type(number) for number in params.cohort} == {int}
    plain = make(cohort=(3, 5, 7, 9) if len(params.cohort) == 4 else (3, 5, 9))
    assert params == plain
    assert hash(params) == hash(plain)
    assert params.digest == plain.digest


@pytest.mark.parametrize("model", ServerModel)
def test_a_server_model_may_be_given_by_its_name(model):
    threat = ThreatModel(server=str(model.value))
    assert threat.server is model
    assert threat == ThreatModel(server=model)
    roster = bytes(32) if model is ServerModel.ACTIVE else b""
    named, given_as_such = (make(threat=one, roster_digest=roster) for one in (threat, ThreatModel(server=model)))
    assert named.digest == given_as_such.digest


def test_the_setting_names_the_suite():
    assert make().suite == "masking"
    assert make(setting=PlainSetting()).suite == "plain"


# The context may be to come


def test_keys_are_made_for_all_but_the_context():
    """Parameters that differ in the context only have one keys digest; those that differ in anything else have not."""
    together = {}
    for params in ALL_DIFFERENT:
        together.setdefault(params.keys_digest, []).append(params)
    assert len(together) == len(ALL_DIFFERENT) - len(OTHER_VALUES["context"])
    assert len(together.pop(make().keys_digest)) == 1 + len(OTHER_VALUES["context"])
    assert all(len(alike) == 1 for alike in together.values())
    assert not {params.keys_digest for params in ALL_DIFFERENT} & {params.digest for params in ALL_DIFFERENT}


def test_a_context_that_was_to_come_is_filled_in_once():
    to_come = make(context=b"")
    known = to_come.with_context(CONTEXT)
    assert known == make()
    assert (known.digest, known.to_bytes()) == (make().digest, make().to_bytes())
    assert to_come.context == b""
    assert known.with_context(CONTEXT) is known
    for other in (bytes(32), CONTEXT[::-1], b"", None):
        with pytest.raises(ConfigurationError, match="bound to one context for good"):
            known.with_context(other)
    for wrong, what in ((b"", "0 bytes"), (bytes(31), "31 bytes"), (bytearray(32), "bytearray"), (None, "NoneType")):
        with pytest.raises(ConfigurationError, match=f"^context is {what}: exactly 32 bytes work$"):
            to_come.with_context(wrong)


def test_suites_without_keys_of_clients_want_the_context_from_the_start():
    with pytest.raises(ConfigurationError, match=r"^context is 0 bytes: exactly 32 bytes work$"):
        make(setting=PlainSetting(), context=b"")


# Bytes


@given(session_params())
def test_parameters_come_back_from_their_bytes(params):
    again = SessionParams.from_bytes(params.to_bytes())
    assert again == params
    assert again.to_bytes() == params.to_bytes()
    assert again.digest == params.digest
    assert isinstance(again.cohort, tuple)
    assert isinstance(again.threat.server, ServerModel)


@given(session_params(), st.data())
def test_mutated_bytes_are_refused_or_are_other_canonical_parameters(params, draw):
    raw = bytearray(params.to_bytes())
    for _ in range(draw.draw(st.integers(1, 3))):
        position = draw.draw(st.integers(0, len(raw)))
        removed = draw.draw(st.integers(0, 3))
        markers = st.integers(0, 255) | st.integers(0xC0, 0xE0)
        raw[position : position + removed] = bytes(draw.draw(st.lists(markers, max_size=3)))
    try:
        other = SessionParams.from_bytes(bytes(raw))
    except DecodeError:
        return
    assert other.to_bytes() == raw
    assert (other.digest == params.digest) == (raw == params.to_bytes())


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(raw):
    with pytest.raises(DecodeError):
        SessionParams.from_bytes(raw)


def test_every_flipped_bit_is_refused_or_changes_the_digest():
    for params in (make(), make(setting=PlainSetting()), make_active()):
        raw = params.to_bytes()
        for bit in range(8 * len(raw)):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            try:
                other = SessionParams.from_bytes(bytes(changed))
            except DecodeError:
                continue
            assert other.digest != params.digest
            assert other != params


def test_every_truncation_and_every_extension_is_refused():
    for raw in (make().to_bytes(), make_active().to_bytes()):
        for wrong in [raw[:end] for end in range(len(raw))] + [raw + b"\0", raw + b"\xc0", raw + raw, b"\0" + raw]:
            with pytest.raises(DecodeError):
                SessionParams.from_bytes(wrong)


@pytest.mark.parametrize(
    "raw", [None, 7, "parameters", [1], make(), bytearray(make().to_bytes()), memoryview(make().to_bytes())]
)
def test_what_is_not_bytes_is_refused(raw):
    with pytest.raises(DecodeError, match=f"^session parameters are bytes, not {type(raw).__name__}$"):
        SessionParams.from_bytes(raw)


def wire_fields() -> list:
    return msgspec.msgpack.decode(make().to_bytes())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 2),
        (0, 0),
        (0, "1"),
        (1, "plain"),  # with masking's numbers
        (1, "kahe"),
        (1, ""),
        (1, b"masking"),
        (1, None),
        (2, []),
        (2, [2]),
        (2, [2, 2]),
        (2, [2, 2, 0, 0]),
        (2, [2, 2.0, 0]),
        (2, [2, True, 0]),
        (2, [0, 0, 0]),
        (2, [2, 0, 0]),
        (2, [2, 3, 0]),
        (2, [-2, -2, 0]),
        (2, [2, 2, 2]),
        (2, [2, 2, -1]),
        (2, [2, 2, False]),
        (2, [2, 2, "words"]),
        (2, [MAX_COHORT + 1, 2, 0]),
        (3, []),
        (3, [1]),
        (3, "014"),
        (3, b"\1\2\4"),
        (3, [4, 1, 70_000]),
        (3, [1, 1, 4]),
        (3, [-1, 1, 4]),
        (3, [1, 4, 2**32]),
        (3, [False, True, 4]),
        (4, [1000]),
        (4, [0, 7]),
        (4, [1000, 0]),
        (4, [2**31, 7]),
        (4, [1000, 2**31]),
        (4, [1000.0, 7]),
        (5, ["evil", 0.1, 0.1, 40, 30]),
        (5, ["honest-but-curious", 1.0, 0.1, 40, 30]),
        (5, ["honest-but-curious", -0.1, 0.1, 40, 30]),
        (5, ["honest-but-curious", math.nan, 0.1, 40, 30]),
        (5, ["honest-but-curious", 0.1, math.inf, 40, 30]),
        (5, ["honest-but-curious", 0, 0.1, 40, 30]),  # a whole number where a float is canonical
        (5, ["honest-but-curious", -0.0, 0.1, 40, 30]),
        (5, ["honest-but-curious", 0.1, -0.0, 40, 30]),
        (5, ["honest-but-curious", 0.1, True, 40, 30]),
        (5, ["honest-but-curious", 0.1, 0.1, 40.0, 30]),
        (5, ["honest-but-curious", 0.1, 0.1, 40, True]),
        (5, ["honest-but-curious", 0.1, 0.1, 0, 30]),
        (5, ["honest-but-curious", 0.1, 0.1, 40, 129]),
        (5, ["honest-but-curious", 0.1, 0.1, 40]),
        (6, 1),
        (6, 4),
        (6, 2.0),
        (6, True),
        (7, bytes(15)),
        (7, bytes(17)),
        (7, "0123456789abcdef"),
        (8, bytes(31)),
        (8, bytes(33)),
        (8, None),
        (5, ["active", 0.1, 0.1, 40, 30]),  # without a roster
        (9, bytes(32)),  # a roster where no identities are due
        (9, b"\0"),
        (9, ""),
        (9, None),
        (9, []),
    ],
)
def test_announced_parameters_with_a_wrong_field_are_refused(place, value):
    fields = wire_fields()
    fields[place] = value
    with pytest.raises(DecodeError):
        SessionParams.from_bytes(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33), bytes(64), "r" * 32, None, 32, [bytes(32)]])
def test_announced_parameters_of_an_active_server_with_a_wrong_roster_digest_are_refused(wrong):
    fields = msgspec.msgpack.decode(make_active().to_bytes())
    assert fields[9] == bytes(32)
    with pytest.raises(DecodeError):
        SessionParams.from_bytes(msgspec.msgpack.encode([*fields[:9], wrong]))
    fields[1:3] = "plain", []  # where an active server signs nothing, a roster is refused
    with pytest.raises(DecodeError, match="roster_digest is 32 bytes: exactly 0 bytes work"):
        SessionParams.from_bytes(msgspec.msgpack.encode(fields))


def test_missing_and_further_fields_are_refused():
    fields = wire_fields()
    for wrong in (fields[:-1], [*fields, None], [*fields, b""], fields[1:], [fields], {"cohort": [1]}, []):
        with pytest.raises(DecodeError):
            SessionParams.from_bytes(msgspec.msgpack.encode(wrong))


def test_other_encodings_of_the_same_parameters_are_refused():
    raw = make().to_bytes()
    canonical_to_other = {
        b"\x9a\x01": b"\xdc\x00\x0a\x01",  # array16 for a fixarray
        b"\xa7masking": b"\xd9\x07masking",  # str8 for a fixstr
        b"\x93\x02\x02\x00\x93\x01\x04": b"\x93\x02\xcc\x02\x00\x93\x01\x04",  # uint8 for a fixint
        b"\xce\x00\x01\x11\x70": b"\xcf\x00\x00\x00\x00\x00\x01\x11\x70",  # uint64 for a uint32
        b"\xcd\x03\xe8": b"\xd1\x03\xe8",  # int16 for a uint16
        b"\xc4\x10" + NONCE: b"\xc5\x00\x10" + NONCE,  # bin16 for a bin8
    }
    for canonical, other in canonical_to_other.items():
        assert raw.count(canonical) == 1
        with pytest.raises(DecodeError, match="canonically"):
            SessionParams.from_bytes(raw.replace(canonical, other))
    float32 = raw.replace(b"\xcb" + struct.pack(">d", 0.1), b"\xca" + struct.pack(">f", 0.1))
    with pytest.raises(DecodeError, match="canonically"):
        SessionParams.from_bytes(float32)
    active = make_active(roster_digest=CONTEXT[::-1]).to_bytes()
    for whole, head in ((raw, b"\xc4\x00"), (active, b"\xc4\x20" + CONTEXT[::-1])):
        assert whole.endswith(head)
        for wider in (b"\xc5\x00" + head[1:], b"\xc6\x00\x00\x00" + head[1:]):
            with pytest.raises(DecodeError, match="canonically"):
                SessionParams.from_bytes(whole[: -len(head)] + wider)


@pytest.mark.parametrize("claimed", [2**16, 2**24, 2**32 - 1])
@pytest.mark.parametrize(
    "before", [b"", b"\x9a\x01\xa5plain", b"\x9a\x01\xa5plain\x90", b"\x9a\x01\xa5plain\x90\x91\x01"]
)
def test_a_claimed_array_length_allocates_nothing(before, claimed):
    raw = before + b"\xdd" + struct.pack(">I", claimed) + b"\x01\x02\x03"
    tracemalloc.start()
    with pytest.raises(DecodeError):
        SessionParams.from_bytes(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


# Validation


def suggested(error, pattern) -> str:
    return re.search(pattern, str(error.value)).group(1)


@pytest.mark.parametrize("key", ["corrupt", "dropout"])
@pytest.mark.parametrize(
    "value", [-0.01, 1.0, 1, 2, 50, 10**400, math.nan, math.inf, -math.inf, True, False, "0.1", None, 0.1j, (0.1,)]
)
def test_what_is_no_fraction_from_0_to_below_1_is_refused_by_key_with_one_that_works(key, value):
    with pytest.raises(
        ConfigurationError, match=rf"^threat\.{key} is {re.escape(repr(value))}: a fraction from 0 to below 1 works"
    ) as error:
        ThreatModel(**{key: value})
    ThreatModel(**{key: float(suggested(error, r"such as (\S+)$"))})


@pytest.mark.parametrize("key", ["corrupt", "dropout"])
def test_fractions_from_0_to_below_1_are_taken(key):
    for value in (0, 0.0, 0.5, math.nextafter(1, 0), np.float64(0.5)):
        kept = getattr(ThreatModel(**{key: value}), key)
        assert kept == value
        assert type(kept) is float


@pytest.mark.parametrize("server", ["evil", "", "ACTIVE", None, 1, True, ["active"]])
def test_unknown_server_models_are_refused_with_those_that_work(server):
    with pytest.raises(ConfigurationError, match=rf"^threat\.server is {re.escape(repr(server))}: ") as error:
        ThreatModel(server=server)
    works = re.findall(r"'([a-z-]+)'", str(error.value).partition(": ")[2])
    assert [ThreatModel(server=name).server for name in works] == list(ServerModel)


WHOLE = {
    "threat.statistical_bits": lambda value: ThreatModel(statistical_bits=value),
    "threat.correctness_bits": lambda value: ThreatModel(correctness_bits=value),
    "vector.length": lambda value: VectorSpec(length=value, bound=7),
    "vector.bound": lambda value: VectorSpec(length=7, bound=value),
    "masking degree": lambda value: MaskingSetting(degree=value, threshold=1),
    "masking threshold": lambda value: MaskingSetting(degree=20, threshold=value),
}


@pytest.mark.parametrize("key", WHOLE)
@pytest.mark.parametrize("value", [2.0, 2.5, True, "2", None, math.nan, np.int64(2), b"\2", (2,)], ids=repr)
def test_what_is_no_whole_number_is_refused_by_key_with_one_that_works(key, value):
    """Also those that compare equal to one: their encoding would differ, or fail."""
    refusal = rf"^{re.escape(key)} is {re.escape(repr(value))}: a whole number from \d+ to \d+ works, such as \d+$"
    with pytest.raises(ConfigurationError, match=refusal) as error:
        WHOLE[key](value)
    WHOLE[key](int(suggested(error, r"such as (\d+)$")))


@pytest.mark.parametrize("key", ["statistical_bits", "correctness_bits"])
@pytest.mark.parametrize("value", [-1, 0, 129, 10**6])
def test_failure_bits_out_of_range_are_refused_by_key_with_a_value_that_works(key, value):
    with pytest.raises(ConfigurationError, match=f"^threat.{key} is {value}: a whole number from 1 to 128") as error:
        ThreatModel(**{key: value})
    ThreatModel(**{key: int(suggested(error, r"such as (\S+)$"))})
    for works in (1, 128):
        ThreatModel(**{key: works})


@pytest.mark.parametrize("length", [-1, 0, MAX_VECTOR_LENGTH + 1])
def test_lengths_out_of_range_are_refused_by_key_with_a_range_that_works(length):
    with pytest.raises(ConfigurationError, match=f"^vector.length is {length}: ") as error:
        VectorSpec(length=length, bound=7)
    VectorSpec(length=int(suggested(error, r"such as (\d+)$")), bound=7)
    low, high = map(int, re.search(r"(\d+) to (\d+) works", str(error.value)).groups())
    assert VectorSpec(length=low, bound=7).length == 1
    assert VectorSpec(length=high, bound=7).length == MAX_VECTOR_LENGTH


@pytest.mark.parametrize("bound", [-7, 0, MAX_VECTOR_BOUND + 1])
def test_bounds_out_of_range_are_refused_by_key_with_a_value_that_works(bound):
    with pytest.raises(ConfigurationError, match=f"^vector.bound is {bound}: ") as error:
        VectorSpec(length=1, bound=bound)
    VectorSpec(length=1, bound=int(suggested(error, r"such as (\d+)")))
    low, high = map(int, re.search(r"(\d+) to (\d+) works", str(error.value)).groups())
    assert VectorSpec(length=1, bound=low).bound == 1
    assert VectorSpec(length=1, bound=high).bound == MAX_VECTOR_BOUND


@pytest.mark.parametrize("bound", [-7, 0, True, 2.0, MAX_COHORT * MAX_VECTOR_BOUND + 1])
def test_bounds_of_sums_out_of_range_are_refused_by_key_with_a_value_that_works(bound):
    with pytest.raises(ConfigurationError, match=f"^vector.sum_bound is {bound}: ") as error:
        VectorSpec(length=1, bound=7, sum_bound=bound)
    VectorSpec(length=1, bound=7, sum_bound=int(suggested(error, r"such as (\d+)")))


def test_sums_are_given_room_for_all_bounds_together_or_for_the_bound_of_the_sum_if_that_is_less():
    assert VectorSpec(length=1, bound=7).reach(10) == 70
    assert VectorSpec(length=1, bound=7, sum_bound=50).reach(10) == 50
    assert VectorSpec(length=1, bound=7, sum_bound=50).reach(5) == 35


@pytest.mark.parametrize("degree", [-2, 0, MAX_COHORT + 1, 2**31])
def test_degrees_out_of_range_are_refused_by_key_with_one_that_works(degree):
    with pytest.raises(ConfigurationError, match=f"^masking degree is {degree}: a whole number from 1 to ") as error:
        MaskingSetting(degree=degree, threshold=1)
    MaskingSetting(degree=int(suggested(error, r"such as (\d+)$")), threshold=1)
    low, high = map(int, re.search(r"(\d+) to (\d+) works", str(error.value)).groups())
    assert MaskingSetting(degree=low, threshold=1).degree == 1
    assert MaskingSetting(degree=high, threshold=1).degree == MAX_COHORT


@pytest.mark.parametrize("degree", [1, 2, 3, 10, MAX_COHORT])
def test_thresholds_lie_between_1_and_the_degree(degree):
    for threshold in (-1, 0, degree + 1):
        with pytest.raises(
            ConfigurationError, match=f"^masking threshold is {threshold}: a whole number from 1 to {degree} works"
        ) as error:
            MaskingSetting(degree=degree, threshold=threshold)
        MaskingSetting(degree=degree, threshold=int(suggested(error, r"such as (\d+)$")))
    for works in (1, degree):
        assert MaskingSetting(degree=degree, threshold=works).threshold == works


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cohort": ()}, f"^cohort has 0 clients: 2 to {MAX_COHORT} works"),
        ({"cohort": (5,)}, f"^cohort has 1 clients: 2 to {MAX_COHORT} works"),
        ({"cohort": (), "setting": PlainSetting()}, f"^cohort has 0 clients: 1 to {MAX_COHORT} works"),
        ({"cohort": tuple(range(MAX_COHORT + 1))}, f"^cohort has {MAX_COHORT + 1} clients: 2 to {MAX_COHORT} works"),
        ({"cohort": (1.0, 2, 3)}, "^cohort is not made of whole numbers"),
        ({"cohort": (1, 2.5, 3)}, "^cohort is not made of whole numbers"),
        ({"cohort": ("1", "2")}, "^cohort is not made of whole numbers"),
        ({"cohort": "123"}, "^cohort is not made of whole numbers"),
        ({"cohort": (1, None)}, "^cohort is not made of whole numbers"),
        ({"cohort": 3}, "^cohort is not made of whole numbers"),
        ({"cohort": None}, "^cohort is not made of whole numbers"),
        ({"cohort": (1, 1, 2)}, "^cohort numbers must strictly ascend"),
        ({"cohort": (2, 1, 3)}, "^cohort numbers must strictly ascend"),
        ({"cohort": (-1, 1, 2)}, "^cohort numbers lie in 0 … 2\\^32 − 1"),
        ({"cohort": (1, 2, 2**32)}, "^cohort numbers lie in 0 … 2\\^32 − 1"),
        ({"nonce": bytes(15)}, "^nonce is 15 bytes: exactly 16 bytes work$"),
        ({"nonce": b""}, "^nonce is 0 bytes: exactly 16 bytes work$"),
        ({"nonce": bytes(32)}, "^nonce is 32 bytes: exactly 16 bytes work$"),
        ({"context": bytes(16)}, "^context is 16 bytes: exactly 32 bytes work$"),
        ({"nonce": "0123456789abcdef"}, "^nonce is str: exactly 16 bytes work$"),
        ({"nonce": bytearray(16)}, "^nonce is bytearray: exactly 16 bytes work$"),
        ({"nonce": None}, "^nonce is NoneType: exactly 16 bytes work$"),
        ({"context": memoryview(bytes(32))}, "^context is memoryview: exactly 32 bytes work$"),
        ({"context": 32}, "^context is int: exactly 32 bytes work$"),
        ({"context": bytes(33)}, "^context is 33 bytes: exactly 32 bytes work$"),
        ({"roster_digest": bytes(32)}, "^roster_digest is 32 bytes: exactly 0 bytes work$"),
        ({"roster_digest": b"r"}, "^roster_digest is 1 bytes: exactly 0 bytes work$"),
        ({"roster_digest": ""}, "^roster_digest is str: exactly 0 bytes work$"),
        ({"roster_digest": None}, "^roster_digest is NoneType: exactly 0 bytes work$"),
        ({"threat": ThreatModel(server="active")}, "^roster_digest is 0 bytes: exactly 32 bytes work$"),
    ],
)
def test_parameters_that_do_not_work_are_refused_by_key(changes, message):
    with pytest.raises(ConfigurationError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("roster", "what"),
    [
        (b"", "0 bytes"),
        (bytes(16), "16 bytes"),
        (bytes(31), "31 bytes"),
        (bytes(33), "33 bytes"),
        ("r" * 32, "str"),
        (bytearray(32), "bytearray"),
        (None, "NoneType"),
    ],
)
def test_an_active_server_needs_a_roster_digest_of_32_bytes_except_in_plain(roster, what):
    with pytest.raises(ConfigurationError, match=f"^roster_digest is {what}: exactly 32 bytes work$"):
        make_active(roster_digest=roster)
    assert make_active(roster_digest=bytes(32)).roster_digest == bytes(32)
    if roster != b"":
        with pytest.raises(ConfigurationError, match=f"^roster_digest is {what}: exactly 0 bytes work$"):
            make_active(setting=PlainSetting(), roster_digest=roster)
    assert make_active(setting=PlainSetting(), roster_digest=b"").roster_digest == b""


@pytest.mark.parametrize(("setting", "fewest"), [(PlainSetting(), 1), (MaskingSetting(degree=2, threshold=2), 2)])
def test_the_minimum_lies_between_what_hides_anybody_and_the_cohort(setting, fewest):
    for minimum in (-1, 0, fewest - 1, 4, 100, 2.0, 2.5, True, math.nan, "2", None):
        with pytest.raises(ConfigurationError, match=f"^cohort.minimum is {minimum}: ") as error:
            make(setting=setting, minimum_contributors=minimum)
        low, high = map(int, re.search(r": (\d+) to (\d+)", str(error.value)).groups())
        assert (low, high) == (fewest, 3)
    for works in range(fewest, 4):
        assert make(setting=setting, minimum_contributors=works).minimum_contributors == works


def test_the_ends_of_the_cohort_s_range_work():
    assert make(cohort=(0, 2**32 - 1)).cohort == (0, 2**32 - 1)
    assert make(cohort=(5,), setting=PlainSetting(), minimum_contributors=1).cohort == (5,)
    assert len(make(cohort=tuple(range(MAX_COHORT))).cohort) == MAX_COHORT


@pytest.mark.parametrize("members", [-1, 0, MAX_COMMITTEE + 1, 5.0, True, "5", None])
def test_sizes_of_a_committee_out_of_range_are_refused_by_key_with_one_that_works(members):
    with pytest.raises(ConfigurationError) as error:
        CommitteeShape(members=members, threshold=3)
    assert str(error.value) == f"committee.members is {members!r}: a whole number from 1 to 32 works, such as 5"


@pytest.mark.parametrize("members", range(1, MAX_COMMITTEE + 1))
def test_a_committee_opens_by_more_than_half_of_its_members(members):
    """No two disjoint groups of members each open a sum; a committee of one is one."""
    lawful = [threshold for threshold in range(1, members + 1) if 2 * threshold > members]
    for threshold in lawful:
        shape = CommitteeShape(members=members, threshold=threshold)
        assert (shape.members, shape.threshold) == (members, threshold)
    for threshold in (*set(range(-1, members + 3)).difference(lawful), float(members), True, None):
        with pytest.raises(ConfigurationError, match=r"^committee\.threshold is ") as error:
            CommitteeShape(members=members, threshold=threshold)
        low, high, such_as = map(
            int, re.search(r"from (\d+) to (\d+) works, such as (\d+)$", str(error.value)).groups()
        )
        assert (low, high) == (lawful[0], lawful[-1])
        assert such_as in lawful


def test_a_committee_has_five_members_of_whom_three_open_unless_said():
    assert CommitteeShape() == CommitteeShape(members=5, threshold=3)


def test_configuration_errors_are_value_errors():
    with pytest.raises(ValueError, match=r"vector\.length"):
        VectorSpec(length=0, bound=1)


# Values


@pytest.mark.parametrize(
    "value",
    [
        make(),
        ThreatModel(),
        VectorSpec(length=1, bound=1),
        MaskingSetting(degree=2, threshold=1),
        CommitteeShape(),
        SettingWishes(bound=1),
    ],
)
def test_parameters_do_not_change(value):
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, getattr(value, field.name))
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(value, field.name)
    with pytest.raises((AttributeError, TypeError)):
        value.something_new = 1
    assert not hasattr(value, "__dict__")


def test_replacing_a_field_makes_the_bytes_and_the_digest_anew():
    replaced = dataclasses.replace(make(), nonce=bytes(16))
    assert replaced == make(nonce=bytes(16))
    assert replaced.digest == make(nonce=bytes(16)).digest
    assert replaced.to_bytes() == make(nonce=bytes(16)).to_bytes()


def test_bytes_and_digest_cannot_be_given_from_outside():
    for name in ("_encoded", "_digest"):
        with pytest.raises(TypeError):
            make(**{name: bytes(32)})


def test_parameters_survive_pickling():
    assert pickle.loads(pickle.dumps(make())).digest == make().digest  # noqa: S301 - our own bytes


def test_parameters_are_named_not_counted():
    with pytest.raises(TypeError):
        VectorSpec(1, 1)
    with pytest.raises(TypeError):
        MaskingSetting(2, 1)


def test_different_parameters_are_unequal():
    for one, other in itertools.combinations(ALL_DIFFERENT, 2):
        assert one != other
