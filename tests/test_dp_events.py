"""Events: what they accept, and that files of them are read whole or refused with a line."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privfl.dp import events as face
from privfl.dp.events import (
    Composed,
    DiscreteGaussian,
    Gaussian,
    Laplace,
    NonPrivate,
    PoissonSampled,
    Relation,
    Repeated,
    Skellam,
    TreeAggregation,
    Unsupported,
    event_from_json,
    event_to_json,
    read_events,
)
from privfl.dp.integer import DEFAULT_BETA, l1_bound, rounded_norm
from privfl.dp.located import Table, read_json
from privfl.dp.mechanisms import LEAST_NOISE, MAX_COUNT, MAX_DIMENSION, MOST_L2, MOST_NOISE
from privfl.errors import ConfigurationError, UnsupportedEvent

NOISE = st.floats(LEAST_NOISE, MOST_NOISE)
NORM = st.floats(1e-3, MOST_L2)
WORDS = st.text(min_size=1).filter(str.strip)
PLAIN = st.one_of(
    st.builds(Gaussian, noise_multiplier=NOISE),
    st.builds(Laplace, noise_multiplier=NOISE),
    st.builds(Skellam, l2_sensitivity=NORM, l1_sensitivity=NORM, variance=st.floats(1e-6, 1e30)),
    st.builds(
        DiscreteGaussian,
        l2_sensitivity=NORM,
        l1_sensitivity=NORM,
        local_std=st.floats(1e-3, 1e15),
        contributors=st.integers(1, MAX_COUNT),
        dimension=st.integers(1, MAX_DIMENSION),
    ),
    st.builds(TreeAggregation, noise_multiplier=NOISE, steps=st.integers(1, MAX_COUNT)),
    st.builds(NonPrivate, reason=WORDS),
    st.builds(Unsupported, name=WORDS),
)
PROBABILITY = st.floats(0, 1, exclude_min=True)


def repeated(events):
    return st.builds(Repeated, event=events, count=st.integers(1, MAX_COUNT))


def composed(events):
    return st.builds(Composed, events=st.lists(repeated(events), max_size=3).map(tuple))


UNSAMPLED = st.one_of(PLAIN, composed(PLAIN))
SAMPLED = st.builds(PoissonSampled, sampling_probability=PROBABILITY, event=UNSAMPLED)
EVENTS = repeated(st.one_of(UNSAMPLED, SAMPLED, composed(SAMPLED)))
GAUSSIAN = Gaussian(noise_multiplier=1.1)


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "key"),
    [
        *((lambda z=z, kind=kind: kind(noise_multiplier=z), "noise_multiplier")
          for kind in (Gaussian, Laplace) for z in (0, -1, 1e-4, 1e10, math.nan, math.inf, True, "1", None)),
        (lambda: Skellam(l2_sensitivity=0, l1_sensitivity=1, variance=1), "l2_sensitivity"),
        (lambda: Skellam(l2_sensitivity=1, l1_sensitivity=0, variance=1), "l1_sensitivity"),
        (lambda: Skellam(l2_sensitivity=1, l1_sensitivity=1, variance=0), "variance"),
        (lambda: Skellam(l2_sensitivity=1, l1_sensitivity=1, variance=10**400), "variance"),
        *((lambda field=field, value=value: DiscreteGaussian(**discrete(**{field: value})), field)
          for field, value in (("l2_sensitivity", -1), ("l1_sensitivity", math.nan), ("local_std", 0),
                               ("contributors", 0), ("contributors", 1.0), ("dimension", 0), ("dimension", True))),
        (lambda: TreeAggregation(noise_multiplier=0, steps=1), "noise_multiplier"),
        (lambda: TreeAggregation(noise_multiplier=1, steps=0), "steps"),
        (lambda: NonPrivate(reason=" "), "reason"),
        (lambda: Unsupported(name=3), "name"),
        *((lambda q=q: PoissonSampled(sampling_probability=q, event=GAUSSIAN), "sampling_probability")
          for q in (0, -0.1, 1.1, math.nan, True, "0.1")),
        (lambda: PoissonSampled(sampling_probability=0.1, event="gaussian"), "event"),
        (lambda: PoissonSampled(sampling_probability=0.1,
                                event=PoissonSampled(sampling_probability=0.1, event=GAUSSIAN)), "sampled"),
        *((lambda n=n: Repeated(event=GAUSSIAN, count=n), "count") for n in (0, -1, 1.0, True, MAX_COUNT + 1)),
        (lambda: Repeated(event=Repeated(event=GAUSSIAN)), "event"),
        (lambda: Composed(events=[Repeated(event=GAUSSIAN)]), "events"),
        (lambda: Composed(events=(GAUSSIAN,)), "events"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_refused_in_one_sentence_that_says_what_works(make, key):
    with pytest.raises(ConfigurationError, match=r"works?") as caught:
        make()
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


def discrete(**changes):
    fields = {"l2_sensitivity": 10, "l1_sensitivity": 100, "local_std": 5, "contributors": 3, "dimension": 100}
    return fields | changes


def test_composed_events_do_not_nest_without_end():
    event = GAUSSIAN
    for _ in range(8):
        event = Composed(events=(Repeated(event=event),))
    with pytest.raises(ConfigurationError, match="deep"):
        Composed(events=(Repeated(event=event),))


def test_events_are_values():
    assert {GAUSSIAN, Gaussian(noise_multiplier=1.1)} == {GAUSSIAN}
    with pytest.raises(AttributeError):
        GAUSSIAN.noise_multiplier = 2
    for name in face.__all__:
        assert hasattr(face, name)


# -- JSON -------------------------------------------------------------------------------------------------------------


@given(EVENTS)
def test_an_event_survives_json(event):
    """Guarantee 1 of `event_from_json`: through text too, to the last bit."""
    written = event_to_json(event)
    assert event_from_json(written, "here") == event
    text = json.dumps(written, allow_nan=False)
    assert event_from_json(json.loads(text), "here") == event
    assert read_events(f"[{text}]").events == (event,)


def test_events_files_are_read_as_documented():
    text = """[{"event": "gaussian", "noise_multiplier": 1.1, "sampling_probability": 0.01, "count": 100},
               {"event": "laplace", "noise_multiplier": 10, "count": 10},
               {"event": "composed", "events": [{"event": "tree-aggregation", "noise_multiplier": 2, "steps": 9}]},
               {"event": "non-private", "reason": "published anyway"}]"""
    sampled = PoissonSampled(sampling_probability=0.01, event=GAUSSIAN)
    tree = Repeated(event=TreeAggregation(noise_multiplier=2, steps=9))
    expected = (
        Repeated(event=sampled, count=100),
        Repeated(event=Laplace(noise_multiplier=10), count=10),
        Repeated(event=Composed(events=(tree,))),
        Repeated(event=NonPrivate(reason="published anyway")),
    )
    events = read_events(text)
    assert (events.relation, events.events, events.names_relation) == (Relation.ADD_OR_REMOVE_ONE, expected, False)
    for relation in Relation:
        events = read_events(json.dumps({"relation": relation.value, "events": json.loads(text)}))
        assert (events.relation, events.events, events.names_relation) == (relation, expected, True)
    assert read_events(' {"events": []} ').events == ()


def one(**fields):
    (event,) = read_events(json.dumps([fields])).events
    return event.event


def test_skellam_and_discrete_gaussian_are_written_low_or_as_the_pipeline():
    assert one(event="skellam", l2_sensitivity=10, variance=400) == Skellam(
        l2_sensitivity=10, l1_sensitivity=100, variance=400
    )
    assert one(event="skellam", l2_sensitivity=10, variance=400, dimension=25).l1_sensitivity == 50
    assert one(event="skellam", l2_sensitivity=10, variance=400, l1_sensitivity=30).l1_sensitivity == 30
    assert one(event="discrete-gaussian", l2_sensitivity=10, local_std=5, contributors=3, dimension=25) == (
        DiscreteGaussian(**discrete(l1_sensitivity=50, dimension=25))
    )
    line = {"contributors": 100, "dimension": 16384, "clip": 0.5, "noise_multiplier": 2, "granularity": 2**-10}
    l2 = rounded_norm(512, 16384, DEFAULT_BETA)
    l1 = min(128 * l2, l2**2)
    assert one(event="skellam", **line) == Skellam(l2_sensitivity=l2, l1_sensitivity=l1, variance=1024**2)
    assert one(event="discrete-gaussian", **line) == DiscreteGaussian(
        l2_sensitivity=l2, l1_sensitivity=l1, local_std=102.4, contributors=100, dimension=16384
    )
    assert one(event="skellam", **line, beta=0.01).l2_sensitivity == rounded_norm(512, 16384, 0.01) > l2
    assert one(event="skellam", **line, sampling_probability=0.1) == PoissonSampled(
        sampling_probability=0.1, event=one(event="skellam", **line)
    )


def test_norms_after_rounding():
    """By hand: of two bounds each, the smaller."""
    assert rounded_norm(3, 16, 0.5) == min(3 + 4, math.sqrt(9 + 4 + math.sqrt(2 * math.log(2)) * (3 + 2)))
    assert rounded_norm(0.001, 4, 1e-12) == 2.001  # conditional rounding promises less than none at all
    assert l1_bound(3) == l1_bound(3, 100) == 9
    assert l1_bound(30, 100) == 300


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "no JSON"),
        ("3", 1, "no list of events"),
        ('{"relation": "zero-out"}', 1, "no list of events"),
        ('[{"event": "gaussian", "noise_multiplier": 1}]\n]', 2, "follows the end"),
        ('[\n{"event": "gaussian"\n"noise_multiplier": 1}]', 3, "','"),
        ('[\n{"event": "gaussian", 3: 1}]', 2, "double quotes"),
        ('[\n\n{"event": "gaussian",\n\n"noise_multiplier": NaN}]', 5, "finite"),
        ('[{"event": "gaussian",\n"noise_multiplier": -Infinity}]', 2, "finite"),
        ('[{"event": "gaussian",\n"noise_multiplier": 1e999}]', 2, "noise_multiplier is inf"),
        ('[{"event": "gaussian", "noise_multiplier": 1,\n"noise_multiplier": 2}]', 2, "twice"),
        ('[{"event": "gaussian",\n"noise_multiplier": 0}]', 2, "noise_multiplier is 0"),
        ('[\n{"event": "gaussian"}]', 2, "has no noise_multiplier"),
        ('[{"event": "gaussian", "noise_multiplier": 1,\n"sigma": 2}]', 2, "no key 'sigma'"),
        ('[{"event": "gaussian", "noise_multiplier": 1,\n"count": 0}]', 2, "count is 0"),
        ('[{"event": "gaussian", "noise_multiplier": 1,\n"sampling_probability": 0}]', 2, "sampling_probability is 0"),
        ('{"events":\n[],\n"delta": 1e-5}', 3, "no key 'delta'"),
        ('{"relation":\n"swap-one", "events": []}', 1, "relation is 'swap-one'"),
        ('{"relation": ["zero-out"], "events": []}', 1, "relation is"),
        ("[\n7]", 1, "7 is no event"),
        ('[\n{"noise_multiplier": 1}]', 2, "event is None"),
        ('[{\n"event": {}}]', 2, "event is {}"),
        ('[{"event": "composed",\n"events": 3}]', 2, "a list of events works"),
        ('[{"event": "composed", "events": [\n{"event": "gaussian"}]}]', 2, "has no noise_multiplier"),
        ('[{"event": "skellam", "l2_sensitivity": 1, "variance": 1,\n"dimension": 0}]', 2, "dimension is 0"),
        ('[{"event": "skellam",\n"l2_sensitivity": "1", "variance": 1}]', 2, "l2_sensitivity is '1'"),
        ('[\n{"event": "skellam", "granularity": 1, "clip": 1}]', 2, "has no contributors"),
        ("[" * 100, 1, "deep"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(text, line, said):
    with pytest.raises(ConfigurationError, match=f"^line {line}: ") as caught:
        read_events(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("contributors", 0), ("dimension", 1.5), ("clip", 0), ("noise_multiplier", -1), ("granularity", 2), ("beta", 1)],
)
def test_every_number_of_the_pipeline_is_checked(field, value):
    line = {"contributors": 9, "dimension": 16, "clip": 1, "noise_multiplier": 2, "granularity": 0.01, "beta": 0.5}
    with pytest.raises(ConfigurationError, match=f"^line 1: {field} is {value}"):
        one(event="discrete-gaussian", **line | {field: value})
    with pytest.raises(ConfigurationError, match="no key 'variance'"):
        one(event="skellam", **line, variance=1)


def test_an_unknown_event_is_an_unsupported_event_and_names_its_line():
    for text in ('[\n{"event":\n"exponential"}]', '[{"event": "composed",\n"events": [\n{"event": "exponential"}]}]'):
        with pytest.raises(UnsupportedEvent, match=r"^line [23]: event 'exponential' is not known: one of gaussian"):
            read_events(text)
    with pytest.raises(UnsupportedEvent, match=r"^charge 7: event 'os\.system'"):
        event_from_json({"event": "os.system"}, "charge 7")
    with pytest.raises(ConfigurationError, match=r"^charge 7: count is 0"):
        event_from_json({"event": "gaussian", "noise_multiplier": 1, "count": 0}, "charge 7")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 1]))
def test_json_is_read_as_json_reads_it(value, indent):
    for text in (json.dumps(value, indent=indent), json.dumps(value, ensure_ascii=False)):
        assert read_json(text) == json.loads(text)


def test_tables_know_their_lines():
    table = read_json('{"a": 1,\n "b":\n {"c": [\n{}, {"d": 2}]}}')
    assert (table.line, table.lines) == (1, {"a": 1, "b": 2})
    assert (table["b"].line, table["b"].lines, table["b"]["c"][1].lines) == (3, {"c": 3}, {"d": 4})
    assert isinstance(table, Table)


VALID = json.dumps([event_to_json(Repeated(event=PoissonSampled(sampling_probability=0.1, event=GAUSSIAN)))], indent=1)


@given(st.one_of(st.text(), JSON.map(json.dumps), st.tuples(st.integers(0, len(VALID)), st.text(max_size=3)).map(
    lambda cut: VALID[: cut[0]] + cut[1] + VALID[cut[0] + 1 :]
)))  # fmt: skip
def test_whatever_the_text_it_is_read_or_refused(text):
    """Guarantee 1 of `read_events`; of arbitrary texts, JSON, and files with one place changed."""
    refusal = None
    try:
        read_events(text)
    except (ConfigurationError, UnsupportedEvent) as error:
        refusal = str(error)
    assert refusal is None or refusal.startswith("line ")


@given(EVENTS, st.text())
def test_no_key_is_ignored(event, key):
    """Guarantee 2 of `read_events`: one key more is refused, in events and in what they are composed of."""
    written = event_to_json(event)
    places = [written, *(written["events"] if written["event"] == "composed" else [])]
    for place in places:
        if key not in place and key != "sampling_probability":
            place[key] = 1
            with pytest.raises(ConfigurationError):
                read_events(json.dumps([written]))
            del place[key]
