"""What a run writes down for an audit: sessions on known inputs, what goes in, what comes out, and what they cost."""

import hashlib
import json
import math

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("dp_accounting")

from privfl.dp.ledger import read_ledger
from privfl.encoding.layout import Layout
from privfl.errors import ConfigurationError, LedgerError
from privfl.evidence import read_evidence
from privfl.learning import witness
from privfl.learning.audit_job import MOST_PROBES, AuditJob
from privfl.learning.job import job_from_table
from privfl.learning.known_inputs import (
    OVERLONG,
    SEED_BYTES,
    KnownInputs,
    carriers_of,
    layout_from_json,
    layout_to_json,
)
from privfl.learning.rounds import FederatedRun
from privfl.learning.torch_trainer import TorchTrainer
from privfl.learning.trainer import Evaluation, LocalResult
from privfl.primitives.labels import Label
from privfl.primitives.signatures import Identity
from privfl.primitives.transcript import digest

MODES = ("client-central", "client-distributed")
ERRORS = 5
"""Standard errors that a statistic may be off: by chance 6 times in 10⁷."""
LAYOUT = Layout((("weight", (30, 2)), ("bias", (2,))))


def job(mode=None, /, *, probes=None, rounds=2, clients=10, **changes):
    """Logistic regression on the hospitals: 62 parameters."""
    table = {
        "rounds": rounds,
        "suite": "masking",
        "model": "logistic",
        "data": {"clients": clients},
        "strategy": {"epochs": 1},
        "audit": {"canaries": 0} | ({} if probes is None else {"probes": probes}),
    }
    if mode is not None:
        table["privacy"] = {"mode": mode, "noise_multiplier": 1.0, "delta": 1e-5, "clip": 0.5}
    return job_from_table(table | changes)


def finished(run):
    list(run)
    return run


def evidence_of(out):
    return read_evidence(out / "evidence.jsonl", Identity.from_pem((out / "coordinator.pem").read_bytes()).public)


def known_of(session, run, *, canaries):
    """The inputs of a recorded session, made again by whoever reads of it; and their context."""
    seed = bytes.fromhex(session.probe["seed"])
    layout = Layout.of(run.weights)
    known = KnownInputs(seed=seed, layout=layout, clip=session.probe["clip"], canaries=canaries)
    return [known.result(client) for client in session.params.cohort], digest(Label.PROBE, seed)


def kept(out, session):
    """What came out of it, and one upload."""
    content = (out / session.probe["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == session.probe["sha256"]
    with np.load(out / session.probe["file"], allow_pickle=False) as archive:
        assert set(archive.files) == {"released", "upload"}
        return archive["released"], archive["upload"].tobytes()


# Known inputs


def known(seed=0, **changes):
    usual = {"seed": seed.to_bytes(SEED_BYTES, "big"), "layout": LAYOUT, "clip": 0.3, "canaries": True}
    return KnownInputs(**usual | changes)


def flat(result):
    return np.concatenate([array.ravel() for array in result.update.values()])


@pytest.mark.parametrize("canaries", [True, False])
def test_one_seed_makes_the_same_inputs_again_and_another_one_others(canaries):
    """Guarantee 2 of `Witness`. That two seeds agree by chance is out of the question: 62 signs, or 992 bits."""
    first, again, other = (
        [known(seed, canaries=canaries).result(client) for client in range(40)] for seed in (7, 7, 8)
    )
    for one, same in zip(first, again, strict=True):
        assert (flat(one) == flat(same)).all()
        assert (one.examples, one.loss, one.correct) == (same.examples, same.loss, same.correct)
        assert all(array.dtype == np.float32 for array in one.update.values())
    assert any((flat(one) != flat(another)).any() for one, another in zip(first, other, strict=True))


def test_the_inputs_of_a_seed_are_these_on_every_machine():
    """An auditor makes them again years later, elsewhere: they never change."""
    told = hashlib.sha256()
    for canaries in (True, False):
        for client in range(40):
            told.update(flat(known(1, canaries=canaries).result(client)).tobytes())
    assert told.hexdigest() == "a7d6d431ec71e44f884129aaaf616167018bb0555702aca1e3589303f5905120"


def test_coins_are_fair():
    """Of 300 seeds, 32 coins each. Seeds are fixed; of fair coins, one choice of them in 10⁶ would fail."""
    coins = np.array([[known(seed).included(client) for client in range(32)] for seed in range(300)], float)
    total = coins.size
    assert abs(coins.sum() - total / 2) < ERRORS * math.sqrt(total) / 2
    for coins_of in (coins, coins.T):  # no client and no session has a coin of its own
        for one in coins_of:
            assert abs(one.sum() - len(one) / 2) < 6 * math.sqrt(len(one)) / 2
    follows = (coins[:, 1:] == coins[:, :-1]).mean()  # nor does one follow from the one before
    assert abs(follows - 0.5) < ERRORS / 2 / math.sqrt(300 * 31)


@pytest.mark.parametrize("shapes", [(("a", (3,)),), (("a", (30, 2)), ("b", (2,))), (("a", (333, 7)),)])
@pytest.mark.parametrize("clip", [1e-6, 0.3, 7.0])
def test_a_canary_is_overlong_as_the_clip_and_zero_when_out(shapes, clip):
    inputs = [known(seed, layout=Layout(shapes), clip=clip) for seed in range(20)]
    seen = set()
    for one in inputs:
        for client in range(one.carriers):
            update = flat(one.result(client)).astype(np.float64)
            assert np.linalg.norm(flat(one.canary(client)).astype(np.float64)) == pytest.approx(256 * clip, rel=1e-6)
            assert not flat(one.nothing(client)).any()
            seen.add(one.included(client))
            assert np.linalg.norm(update) == pytest.approx(256 * clip * one.included(client), rel=1e-6)
    assert seen == {True, False}
    assert OVERLONG == 256


def test_there_are_as_many_canaries_as_directions_and_whoever_has_none_is_silent():
    for length, carriers in ((1, 1), (3, 1), (40, 8), (62, 32), (64, 64), (96, 32), (1554, 64), (10**6, 64)):
        assert carriers_of(Layout((("a", (length,)),))) == carriers
    inputs = known()
    assert inputs.carriers == 32
    assert not any(inputs.included(client) or flat(inputs.result(client)).any() for client in range(32, 200))


@pytest.mark.parametrize(
    ("length", "cosine"), [(64, 0.0), (96, 0.0), (128, 0.0), (62, 0.04), (300, 0.1), (1554, 0.012), (10_000, 0.005)]
)
def test_canaries_do_not_stand_in_each_others_way(length, cosine):
    inputs = known(layout=Layout((("a", (length,)),)))
    canaries = np.array([flat(inputs.canary(client)) for client in range(inputs.carriers)], np.float64)
    canaries /= np.linalg.norm(canaries, axis=1, keepdims=True)
    assert np.abs(canaries @ canaries.T - np.eye(len(canaries))).max() <= cosine + 1e-6


def test_without_privacy_updates_are_numbers_within_and_beyond_the_clip():
    """All clients are in, and all of them differ; beyond the clip is a fifth of the coordinates. Seeds are fixed."""
    inputs = known(canaries=False, layout=Layout((("a", (1000,)),)))
    updates = np.array([flat(inputs.result(client)) for client in range(40)])
    assert all(inputs.included(client) for client in range(40))
    assert inputs.carriers == 0
    assert np.abs(updates).max() <= 1.25 * 0.3 * (1 + 1e-6)
    assert abs((np.abs(updates) > 0.3).mean() - 0.2) < ERRORS * math.sqrt(0.2 * 0.8 / updates.size)
    assert len({update.tobytes() for update in updates}) == 40
    assert len({inputs.result(client).examples for client in range(40)}) == 7


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seed": bytes(15)}, "a probe's seed is 15 bytes: 16 public bytes work"),
        ({"clip": 0.0}, "a probe's clip is 0.0: a number above 0 works, such as 1.0"),
        ({"clip": math.inf}, "a probe's clip is inf"),
        ({"clip": math.nan}, "a probe's clip is nan"),
    ],
)
def test_inputs_that_cannot_be_are_refused(changes, match):
    with pytest.raises(ConfigurationError, match=match):
        KnownInputs(**{"seed": bytes(16), "layout": LAYOUT, "clip": 1.0, "canaries": True} | changes)


def test_a_layout_goes_through_json_and_back():
    assert layout_from_json(json.loads(json.dumps(layout_to_json(LAYOUT)))) == LAYOUT
    for bad in (None, 3, [["a"]], [["a", 3]], [["a", ["x"]]], [3]):
        with pytest.raises(ConfigurationError, match=r"a layout of .*: \[\[name, \[sizes\]\], …\] works"):
            layout_from_json(bad)


# How many


def planned(audit=None, **changes):
    usual = {"noisy": True, "protects": True, "length": 64, "clients": 10, "epsilon": 1.0}
    return (audit or AuditJob()).probes_of(**usual | changes)


def test_as_many_sessions_are_held_as_show_something():
    assert planned(noisy=False) == 1
    assert planned(noisy=False, protects=False) == 0
    assert planned(length=64) == 8  # 512 coordinates
    assert planned(length=30) == 16  # and no more, unless a job says so
    assert planned(length=10**6, clients=64) == 2
    assert planned(length=10**6, clients=10, epsilon=1.0) == 6  # 16·(1 + e) canaries
    assert planned(length=10**6, clients=10, epsilon=math.inf) == 16
    assert [planned(AuditJob(probes=probes), noisy=False, protects=False) for probes in (0, 5, 100)] == [0, 5, 100]


def test_a_number_of_sessions_that_cannot_be_is_refused():
    for probes in (-1, MOST_PROBES + 1):
        with pytest.raises(ConfigurationError, match=f"audit.probes is {probes}: 0 to 100 works, such as 2"):
            AuditJob(probes=probes)


# Sessions on known inputs


@pytest.fixture(scope="module", params=MODES)
def private(request, tmp_path_factory):
    """A private run of ten hospitals, and what it wrote."""
    out = tmp_path_factory.mktemp("private") / "out"
    return finished(FederatedRun(job(request.param, probes=8), out=out)), out


def test_half_are_held_before_the_first_round_and_half_after_the_last(private):
    _, out = private
    evidence = evidence_of(out)
    assert [session.round for session in evidence.sessions] == [0, 0, 0, 0, 1, 2, 0, 0, 0, 0]
    assert [session.probe["number"] for session in evidence.probes] == list(range(1, 9))
    assert len({session.probe["seed"] for session in evidence.probes}) == 8
    assert sorted(path.name for path in (out / "probes").iterdir()) == [f"{n:04d}.npz" for n in range(1, 9)]
    assert [session.probe["uploader"] for session in evidence.probes] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all((session.released, session.contributors) == (True, 10) for session in evidence.sessions)


@pytest.mark.parametrize(("probes", "before", "after"), [(1, 1, 0), (3, 2, 1), (2, 1, 1)])
def test_of_an_odd_number_the_first_half_is_the_larger_one(probes, before, after, tmp_path):
    finished(FederatedRun(job(MODES[0], probes=probes, rounds=1), out=tmp_path / "out"))
    assert [session.round for session in evidence_of(tmp_path / "out").sessions] == [0] * before + [1] + [0] * after


def test_what_comes_out_beside_the_canaries_is_noise_of_the_size_that_the_ledger_says(private):
    """Eight sessions of 62 or 64 coordinates: the standard deviation is known to 3 %. False alarm: 6·10⁻⁷.

    Besides, roundings: a variance of 1/4 for each client and coordinate at most, a hundredth of the noise's.
    """
    run, out = private
    evidence, (charge, _) = evidence_of(out), read_ledger(out / "ledger.jsonl").charges
    residuals, canaries = [], 0
    for session in evidence.probes:
        results, context = known_of(session, run, canaries=True)
        canaries += sum(bool(flat(result).any()) for result in results)
        exact = sum(run.averaging.unrounded(result, context=context) for result in results)
        residuals.append(kept(out, session)[0] - exact)
    assert 0 < canaries < 80  # all coins are alike once in 2⁷⁹
    every = np.concatenate(residuals)
    facts = charge.facts
    assert facts["contributors"] == 10
    std = facts["noise_std_of_sum"] / (facts["granularity"] * facts["clip"])
    assert std**2 / 100 > 10 / 4
    assert abs(every.std() / std - 1) < ERRORS / math.sqrt(2 * every.size)
    assert abs(every.mean()) < ERRORS * std / math.sqrt(every.size)
    # Noise is drawn anew for each session.
    correlations = np.corrcoef(residuals)[np.triu_indices(8, 1)]
    assert np.abs(correlations).max() < 6 / math.sqrt(len(residuals[0]))


@pytest.mark.parametrize(
    ("suite_name", "mode"), [("masking", None), ("kahe", None), ("plain", None), ("masking", "example")]
)
def test_without_noise_of_its_own_what_comes_out_is_the_sum(suite_name, mode, tmp_path):
    out = tmp_path / "out"
    run = finished(FederatedRun(job(mode, probes=2, rounds=1, suite=suite_name), out=out))
    evidence = evidence_of(out)
    assert [session.round for session in evidence.sessions] == [1, 0, 0]  # all of them at the end
    for session in evidence.probes:
        results, context = known_of(session, run, canaries=False)
        vectors = [run.averaging.encode(result, context=context).astype(np.int64) for result in results]
        assert (kept(out, session)[0] == sum(vectors)).all()
        assert session.probe["clip"] == run.job.encoding.clip


@pytest.mark.parametrize(("suite_name", "probes"), [("masking", 1), ("plain", 0)])
def test_without_noise_one_is_held_where_the_suite_protects(suite_name, probes, tmp_path):
    finished(FederatedRun(job(suite=suite_name, rounds=1), out=tmp_path / "out"))
    assert len(evidence_of(tmp_path / "out").probes) == probes
    assert (tmp_path / "out" / "probes").exists() == bool(probes)


def test_the_upload_that_is_kept_is_the_one_that_left_its_client(private):
    _, out = private
    for session in evidence_of(out).probes:
        upload = kept(out, session)[1]
        (told,) = [
            message
            for message in session.messages
            if (message.client, message.phase) == (session.probe["uploader"], "MaskedInput")
        ]
        assert (told.sha256, told.size_bytes) == (hashlib.sha256(upload).hexdigest(), len(upload))


def test_the_parameters_are_those_of_the_runs_own_sessions_but_for_nonce_and_context(private):
    """What is tested is what is done in rounds: suite, threat model, minimum, ring, and length."""
    run, out = private
    evidence = evidence_of(out)
    own = evidence.rounds[0].params
    for session in evidence.probes:
        assert session.suite == run.job.suite
        for what in ("cohort", "vector", "setting", "threat", "minimum_contributors"):
            assert getattr(session.params, what) == getattr(own, what)
        assert session.params.context == digest(Label.PROBE, bytes.fromhex(session.probe["seed"]))
    assert len({session.params.nonce for session in evidence.sessions}) == 10


def test_the_opening_says_what_an_auditor_needs_and_the_ledger_how_the_evidence_ends(private):
    run, out = private
    evidence, ledger = evidence_of(out), read_ledger(out / "ledger.jsonl")
    assert layout_from_json(evidence.facts["layout"]) == Layout.of(run.weights)
    assert evidence.facts["ledger"] == ledger.identifier
    assert evidence.facts["secure"] is True
    assert evidence.facts["mode"] == run.job.privacy.mode.value
    assert evidence.closed is not None
    assert ledger.closed["evidence"] == evidence.head._asdict()
    assert ledger.signer == evidence.signer


def test_of_many_clients_some_take_part(tmp_path, monkeypatch):
    """As many as a session needs, and no more than have something to say."""
    monkeypatch.setattr(witness, "MOST_CLIENTS", 10)
    out = tmp_path / "out"
    finished(FederatedRun(job(MODES[0], probes=2, rounds=1, clients=30, cohort={"minimum": 4}), out=out))
    assert [session.params.cohort for session in evidence_of(out).probes] == [tuple(range(10))] * 2
    out = tmp_path / "more"
    finished(FederatedRun(job(MODES[0], probes=1, rounds=1, clients=30, cohort={"minimum": 25}), out=out))
    assert [session.params.cohort for session in evidence_of(out).probes] == [tuple(range(25))]


# What they cost


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_charged_for_one(mode, tmp_path):
    """Guarantee 1 of `Witness`: neither to the run nor to a client, and no clip moves."""
    privacy = {"mode": mode, "noise_multiplier": 1.0, "client_epsilon": 40.0, "delta": 1e-5, "clip": 0.5}
    out = tmp_path / "out"
    run = finished(FederatedRun(job(mode, probes=4, rounds=1, privacy=privacy), out=out))
    evidence = evidence_of(out)
    contents = read_ledger(out / "ledger.jsonl")
    assert [charge.facts["params_digest"] for charge in contents.charges] == [evidence.rounds[0].params_digest]
    books = sorted((out / "clients").glob("*.jsonl"))
    assert len(books) == 10
    for path in books:
        (charge,) = read_ledger(path).charges
        assert charge.facts["params_digest"] == evidence.rounds[0].params_digest
    assert len((out / "receipts.jsonl").read_text().splitlines()) == 10
    assert run.metrics[0].epsilon == contents.closed["epsilon"]


def test_a_clip_that_moves_is_not_moved_by_one(tmp_path):
    # No share of clients is 0.3: whatever the noise, the round moves the clip.
    adaptive = {"noise": 2.0, "quantile": 0.3}
    privacy = {"mode": "client-central", "noise_multiplier": 1.0, "delta": 1e-5, "clip": 0.5, "adaptive": adaptive}
    out = tmp_path / "out"
    run = finished(FederatedRun(job(probes=5, rounds=1, privacy=privacy), out=out))
    assert run.metrics[0].clip == 0.5
    assert run.clip != 0.5
    clips = [session.probe["clip"] for session in evidence_of(out).probes]
    assert clips == [0.5, 0.5, 0.5, run.clip, run.clip]  # the last ones are held under the clip of the round to come


class Counting:
    """A trainer that tells how often it trained, and can fail."""

    def __init__(self, *, fails=False):
        self.trained = 0
        self._fails = fails

    def initial_weights(self):
        return {"a": np.zeros(100, np.float32)}

    def train(self, _weights, examples, *, seed, settings=None):
        self.trained += 1
        if self._fails:
            raise KeyboardInterrupt
        return LocalResult(update={"a": np.full(100, 0.01, np.float32)}, examples=len(examples), loss=1.0, correct=1)

    def evaluate(self, _weights, examples):
        return Evaluation(loss=1.0, correct=1, examples=len(examples))


@pytest.mark.parametrize("mode", [None, *MODES])
def test_nobodys_data_go_into_one(mode, tmp_path):
    """Guarantee 1 of `Witness`: nobody has trained when the first ones are held, and nobody does for the others."""
    trainer = Counting()
    run = FederatedRun(job(mode, probes=4, rounds=2), out=tmp_path / "out", trainer=trainer)
    trained, hold = [], run._sessions.hold

    def holding(inputs, **others):
        if inputs.number == 0:
            trained.append(trainer.trained)
        return hold(inputs, **others)

    run._sessions.hold = holding
    finished(run)
    early = 2 if mode else 0
    assert trained == [0] * early + [20] * (4 - early)
    assert trainer.trained == 20


# Stops, crashes, and the end


class Stopped(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("before_it_is_recorded", [True, False])
def test_a_stop_between_two_neither_repeats_nor_forgets_one(at, before_it_is_recorded, tmp_path, monkeypatch):
    mode = MODES[at % 2]
    out, hold, record = tmp_path / "out", witness.Witness._hold, witness.Witness.record

    def holding(self, number, *rest):
        if number > at:
            raise Stopped
        hold(self, number, *rest)

    def recording(self, number, held, *, probe=None, **rest):
        if probe is not None and probe["number"] == at:
            raise Stopped
        record(self, number, held, probe=probe, **rest)

    with monkeypatch.context() as patched:
        if before_it_is_recorded:
            patched.setattr(witness.Witness, "record", recording)
        else:
            patched.setattr(witness.Witness, "_hold", holding)
        if at == 4 and not before_it_is_recorded:
            finished(FederatedRun(job(mode, probes=4, rounds=1), out=out))
        else:
            with pytest.raises(Stopped):
                finished(FederatedRun(job(mode, probes=4, rounds=1), out=out))
    found = read_evidence(out / "evidence.jsonl").probes
    assert len(found) == at - before_it_is_recorded
    finished(FederatedRun.resume(out))
    evidence = evidence_of(out)
    assert evidence.probes[: len(found)] == found
    assert [session.round for session in evidence.sessions] == [0, 0, 1, 0, 0]
    assert [session.probe["number"] for session in evidence.probes] == [1, 2, 3, 4]
    for session in evidence.probes:
        kept(out, session)  # of the session that was recorded, where it was held twice
    assert [charge.round for charge in read_ledger(out / "ledger.jsonl").charges] == [1]


@pytest.mark.parametrize("mode", [None, MODES[0]])
def test_evidence_that_was_closed_before_the_process_died_stays_as_it_is(mode, tmp_path, monkeypatch):
    out = tmp_path / "out"
    close = witness.Witness.close

    def dying(self, model):
        close(self, model)
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(witness.Witness, "close", dying)
        with pytest.raises(Stopped):
            finished(FederatedRun(job(mode, rounds=1), out=out))
    before = (out / "evidence.jsonl").read_bytes()
    assert evidence_of(out).closed is not None
    run = finished(FederatedRun.resume(out))
    assert (out / "evidence.jsonl").read_bytes() == before
    if run.books is not None:
        assert read_ledger(out / "ledger.jsonl").closed["evidence"] == evidence_of(out).head._asdict()


def stopped_after_a_round(out, mode):
    iterator = iter(FederatedRun(job(mode), out=out))
    next(iterator)
    iterator.close()  # as a process ends
    return out / "evidence.jsonl"


@pytest.mark.parametrize("mode", [None, MODES[1]])
def test_evidence_that_is_gone_damaged_or_anothers_is_not_gone_on_with(mode, tmp_path):
    path, other = (stopped_after_a_round(tmp_path / name, mode) for name in ("a", "b"))
    own = path.read_bytes()
    path.unlink()
    with pytest.raises(LedgerError, match=r"evidence\.jsonl is missing, though rounds were done: put it back"):
        FederatedRun.resume(path.parent)
    for content, match in (
        (own.replace(b'"kind":"session"', b'"kind":"sessiom"', 1), "line 2: its signature is not by"),
        (other.read_bytes(), "only the key that opened the evidence can go on with it"),
    ):
        path.write_bytes(content)
        with pytest.raises(LedgerError, match=match):
            FederatedRun.resume(path.parent)
        assert path.read_bytes() == content
    path.write_bytes(own)
    finished(FederatedRun.resume(path.parent))
    assert evidence_of(path.parent).closed is not None


def test_closed_evidence_of_another_run_is_not_taken(tmp_path):
    path = stopped_after_a_round(tmp_path / "a", None)
    finished(FederatedRun(job(rounds=1), out=tmp_path / "b"))
    path.write_bytes((tmp_path / "b" / "evidence.jsonl").read_bytes())
    with pytest.raises(LedgerError, match="was signed by another key than this run's"):
        FederatedRun.resume(path.parent)


def test_a_torn_line_is_cut_off_when_the_run_goes_on(tmp_path):
    path = stopped_after_a_round(tmp_path / "a", None)
    path.write_bytes(path.read_bytes() + b'{"body":{"coh')
    finished(FederatedRun.resume(path.parent))
    evidence = evidence_of(path.parent)
    assert evidence.recovered == ((13, hashlib.sha256(b'{"body":{"coh').hexdigest()),)
    assert [session.round for session in evidence.sessions] == [1, 2, 0]


def test_a_run_that_fails_in_its_first_round_without_privacy_leaves_nothing_behind(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        finished(FederatedRun(job(), out=out, trainer=Counting(fails=True)))
    assert list(tmp_path.iterdir()) == []
    finished(FederatedRun(job(rounds=1), out=out, trainer=Counting()))  # nothing is in its way
    assert len(evidence_of(out).rounds) == 1


def test_a_private_run_that_fails_in_its_first_round_keeps_its_evidence_and_goes_on(tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(TorchTrainer, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finished(FederatedRun(job(MODES[0], probes=2), out=out))
    assert [session.round for session in evidence_of(out).sessions] == [0]
    finished(FederatedRun.resume(out))
    assert [session.round for session in evidence_of(out).sessions] == [0, 1, 2, 0]


def test_a_run_that_keeps_nothing_holds_none(monkeypatch):
    monkeypatch.setattr(witness.Witness, "_hold", lambda *_: pytest.fail("one was held"))
    assert len(finished(FederatedRun(job(MODES[0], rounds=1))).metrics) == 1
