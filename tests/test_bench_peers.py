"""The peers: their means are right, their bytes are what they are known to be, and what is missing is named."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from itertools import count, pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from privfl import ConfigurationError
from privfl.bench.peers import PEERS, metering, peers
from privfl.bench.peers.float32 import FLOAT32
from privfl.bench.peers.flower import COLLECT, EXAMPLES, FLOWER, SETUP, SHARE_KEYS, UNMASK
from privfl.bench.peers.flower_ring import MODULUS, MOST_CLIENTS, QUANTIZATION, ring, shares_for, threshold_for
from privfl.bench.peers.metering import Meter, Updates
from privfl.bench.peers.peer import evenly
from privfl.bench.peers.tenseal_ckks import NVFLARE, TUTORIAL
from privfl.errors import MissingExtra
from privfl.suites import SUITE_NAMES

ALL = peers(PEERS)
CLIENTS = 12  # more than a client has neighbours in Flower
FLOWER_STEP = 16 / 2**22  # it clips at 8 and resolves 2^22 steps

needs_flower = pytest.mark.skipif(find_spec("flwr") is None, reason="the peer is not installed")


@pytest.fixture(params=ALL, ids=lambda peer: peer.name)
def peer(request):
    if not request.param.available():
        pytest.skip("the peer is not installed")
    return request.param


@pytest.fixture
def fresh_flower(monkeypatch):
    """Let the module that calls Flower be imported anew, now and after the test."""
    monkeypatch.delitem(sys.modules, "privfl.bench.peers.flower_secagg", raising=False)


def test_words_select_peers():
    assert [peer.name for peer in peers(["float32", "flower", "float32"])] == ["float32-mean", "flower-secagg+"]
    assert {*PEERS} == {"float32", "flower", "tenseal", "nvflare"}
    assert len({peer.name for peer in ALL} - {*SUITE_NAMES}) == len(ALL) == 5
    with pytest.raises(ConfigurationError, match="--peers holds 'flwr': float32, flower, tenseal, nvflare work"):
        peers(["flwr"])


def test_whether_it_is_installed_is_found_without_importing_it():
    """Guarantee 1 of `Peer`."""
    code = (
        "import sys\n"
        "from privfl.bench.peers import PEERS, peers\n"
        "[(peer.available(), peer.skipped()) for peer in peers(PEERS)]\n"
        "print([name for name in ('flwr', 'tenseal', 'Crypto', 'grpc', 'torch') if name in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "[]"


@pytest.mark.parametrize("dropped", [frozenset(), frozenset({0, 7}), frozenset({3, 4, 5})], ids=str)
def test_a_mean_is_right(peer, dropped):
    session = peer.session(4000, CLIENTS, dropped)
    assert session.contributors == CLIENTS - len(dropped)
    assert 0 < session.error_std_of_mean <= session.max_abs_error < (FLOWER_STEP if peer is FLOWER else 1e-6)
    assert session.client_cpu_s > 0
    assert session.server_cpu_s > 0
    for key in ("server_cpu_s", "upload_bytes", "download_bytes"):
        assert getattr(session, key) == sum(phase[key] for phase in session.phases.values())
    assert session.versions.keys() == {peer.package}
    assert json.loads(json.dumps(asdict(session))) == asdict(session)


def test_updates_are_within_full_scale_the_same_every_time_and_summed_exactly():
    updates, again = Updates(1000), Updates(1000)
    made = np.array([updates(number) for number in (0, 4)])
    assert made.dtype == np.float32
    assert np.abs(made).max() <= 1
    assert np.abs(made.mean()) < 0.05
    assert made.std() == pytest.approx(1 / np.sqrt(3), rel=0.05)
    assert np.array_equal(made[1], again(4))
    assert not np.array_equal(*made)
    assert np.array_equal(updates.mean(), made.astype(np.float64).mean(axis=0))


@pytest.mark.parametrize("off", [0.01, np.nan, -np.inf])
def test_costs_of_a_mean_that_is_off_are_an_error(off):
    """Guarantee 2 of `Peer`."""
    exact = np.linspace(-1, 1, 5)
    with pytest.raises(ConfigurationError, match=r"off by .* under flwr 9\.9, .*: pip install it works"):
        Meter().session([0], exact + np.array([0, 0, off, 0, 0]), exact, {"flwr": "9.9"}, "pip install it")


@needs_flower
def test_a_mask_that_is_left_in_is_an_error(monkeypatch):
    """Guarantee 2 of `Peer`."""
    from privfl.bench.peers.flower_secagg import FlowerSession

    unmask = FlowerSession.unmask_survivor
    left_in = []

    def forget_the_first(session, shares):
        if left_in:
            unmask(session, shares)
        left_in.append(shares)

    monkeypatch.setattr(FlowerSession, "unmask_survivor", forget_the_first)
    with pytest.raises(ConfigurationError, match="the mean is off by"):
        FLOWER.session(100, 3, frozenset())


def test_a_meter_adds_up_by_phase_and_party(monkeypatch):
    ticks = iter([0, 10, 10, 11, 20, 22, 30, 33, 40, 60, 70, 75, 80, 83])
    monkeypatch.setattr(metering, "time", SimpleNamespace(process_time=lambda: next(ticks)))
    meter = Meter()
    for number in range(5):  # 10, 1, 2, 3 and 20 seconds
        with meter.client("keys", number):
            pass
    with meter.server("keys"):  # 5
        pass
    with meter.client("upload", 1):  # 3
        pass
    meter.alike("upload", 1, [2, 3])
    meter.sent("upload", upload=7, download=2)
    meter.sent("upload", upload=7)
    exact = np.zeros(4)
    session = meter.session([1, 2, 3], exact + np.array([0, 3e-4, 0, -5e-4]), exact, {}, "")
    assert session.client_cpu_s == 2 + 3  # of those that upload, the one in the middle
    assert session.server_cpu_s == 5
    assert (session.upload_bytes, session.download_bytes) == (14, 2)
    assert session.phases == {
        "keys": {"client_cpu_s": 36, "server_cpu_s": 5, "upload_bytes": 0, "download_bytes": 0},
        "upload": {"client_cpu_s": 9, "server_cpu_s": 0, "upload_bytes": 14, "download_bytes": 2},
    }
    assert session.max_abs_error == pytest.approx(5e-4)
    assert session.error_std_of_mean == pytest.approx(np.std([0, 3e-4, 0, -5e-4]))


def test_float32_sends_four_bytes_a_parameter_and_nothing_else():
    session = FLOAT32.session(1001, 10, frozenset({2}))
    assert session.upload_bytes == 9 * 4 * 1001
    assert session.download_bytes == 0


@needs_flower
def test_flower_sends_eight_bytes_a_parameter_and_its_keys_and_shares():
    """Lengths are chosen so that what frames them has as many digits for both."""
    dropped = frozenset({1, 6})
    short, long = (FLOWER.session(length, CLIENTS, dropped) for length in (4000, 8000))
    contributors = CLIENTS - len(dropped)
    assert long.upload_bytes - short.upload_bytes == contributors * 4000 * 8
    assert long.download_bytes == short.download_bytes
    assert [*short.phases] == [SETUP, SHARE_KEYS, COLLECT, UNMASK]
    # Both arrays, the weight and the vector, have numpy's header of 128 bytes before words of 8.
    framing = short.phases[COLLECT]["upload_bytes"] / contributors - (8 * 4001 + 2 * 128)
    assert 0 < framing < 100
    # A client's shares go up once and come down once, to those that are still there.
    assert short.phases[SHARE_KEYS]["upload_bytes"] > short.phases[COLLECT]["download_bytes"]
    assert short.phases[COLLECT]["download_bytes"] / contributors == pytest.approx(
        short.phases[SHARE_KEYS]["upload_bytes"] / CLIENTS, rel=0.02
    )


@needs_flower
def test_all_of_flowers_stages_count(monkeypatch):
    monkeypatch.setattr(metering, "time", SimpleNamespace(process_time=count().__next__))  # whatever is timed takes 1
    session = FLOWER.session(100, 5, frozenset({2}))
    spent = {name: (phase["client_cpu_s"], phase["server_cpu_s"]) for name, phase in session.phases.items()}
    assert spent == {SETUP: (5, 5), SHARE_KEYS: (5, 5), COLLECT: (4, 5), UNMASK: (4, 5)}
    assert (session.client_cpu_s, session.server_cpu_s) == (4, 20)


@needs_flower
def test_what_the_ring_says_of_flower_is_what_flower_does(monkeypatch):
    """Its own set-up stage, up to the first message, with the shuffling left out."""
    from flwr.common.secure_aggregation.secaggplus_constants import Key, Stage
    from flwr.server.workflow import SecAggPlusWorkflow
    from flwr.server.workflow.secure_aggregation import secaggplus_workflow as module

    def set_up(clients, num_shares):
        sent, state = [], module.WorkflowState()
        chosen = [(SimpleNamespace(node_id=number), None) for number in range(clients)]
        context = SimpleNamespace(
            state=SimpleNamespace(
                config_records={module.MAIN_CONFIGS_RECORD: {module.WorkflowKey.CURRENT_ROUND: 1}},
                array_records={module.MAIN_PARAMS_RECORD: None},
            ),
            strategy=SimpleNamespace(configure_fit=lambda *_: chosen),
            client_manager=SimpleNamespace(num_available=lambda: clients),
        )
        grid = SimpleNamespace(send_and_receive=lambda messages, timeout: sent.extend(messages) or [])
        SecAggPlusWorkflow(num_shares, 2).setup_stage(grid, context, state)
        told = sent[0].content.config_records[module.RECORD_KEY_CONFIGS]
        return state.nid_to_neighbours, told[Key.SHARE_NUMBER]

    monkeypatch.setattr(module, "Message", SimpleNamespace)  # a real one asks which run it belongs to
    monkeypatch.setattr(module, "random", SimpleNamespace(shuffle=lambda _: None))
    monkeypatch.setattr(module.compat, "arrayrecord_to_parameters", lambda *_, **__: None)
    monkeypatch.setattr(module.compat, "fitins_to_recorddict", lambda *_: None)
    for clients, neighbours in ((3, 10), (10, 10), (11, 10), (12, 10), (100, 10), (20, 9), (30, 4)):
        num_shares = shares_for(clients, neighbours)
        theirs, told = set_up(clients, num_shares)
        assert theirs == ring(clients, num_shares)
        assert {len(members) for members in theirs.values()} == {num_shares} == {told}
        assert min(neighbours, clients - 1) <= num_shares - 1 <= neighbours + 1
    theirs, told = set_up(20, 10)  # an even number: one neighbour more than shares
    assert ({len(members) for members in theirs.values()}, told) == ({11}, 10)

    defaults = SecAggPlusWorkflow(3, threshold_for(3))
    assert (defaults.modulus_range, defaults.quantization_range) == (MODULUS, QUANTIZATION)
    assert (defaults.max_weight, defaults.reconstruction_threshold) == (EXAMPLES, 2)
    assert Stage.all() == (SETUP, SHARE_KEYS, COLLECT, UNMASK)


@needs_flower
def test_flower_sums_on_a_ring_that_is_not_complete():
    peer = replace(FLOWER, neighbours=4)
    session = peer.session(50, 20, evenly(20, 0.3))
    assert session.contributors == 14
    assert session.max_abs_error < FLOWER_STEP


@pytest.mark.parametrize(
    ("peer", "parameters", "clients", "dropout", "sentence"),
    [
        (FLOAT32, 0, 3, 0.0, "parameters is 0: at least 1 works"),
        (NVFLARE, 10, 0, 0.0, "clients is 0: at least 1 works"),
        (FLOAT32, 10, 1, 0.9, "all of 1 clients vanish: a dropout of 0 works"),
        (NVFLARE, 10, 4, 0.99, "all of 4 clients vanish: a dropout of 0.75 works"),
        (FLOWER, 10, 2, 0.0, "3 to 1023 work"),
        (FLOWER, 10, MOST_CLIENTS + 1, 0.0, "3 to 1023 work"),
        (FLOWER, 10, 20, 0.6, "4 of 11 shares are left of a secret, and 6 rebuild it"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_same_sentence(peer, parameters, clients, dropout, sentence):
    """Guarantee 3 of `Peer`."""
    refusal = peer.refuse(parameters, clients, dropout)
    assert sentence in refusal
    with pytest.raises(ConfigurationError) as raised:
        peer.session(parameters, clients, evenly(max(clients, 1), dropout))
    assert str(raised.value) == refusal


def test_dropouts_are_fractions_and_the_dropped_are_clients(peer):
    assert "0 to below 1 works" in peer.refuse(10, 10, 1.0)
    with pytest.raises(ConfigurationError, match="dropped names 10: numbers from 0 to 9 work"):
        peer.session(10, 10, frozenset({1, 10}))


def test_what_the_matrix_asks_for_can_be_measured(peer):
    for clients in (10, 100, 1000):
        for dropout in (0.0, 0.1, 0.3):
            assert peer.refuse(1_000_000, clients, dropout) is None


def test_who_vanishes_is_spread_over_the_cohort():
    assert evenly(10, 0.0) == frozenset()
    assert evenly(10, 0.3) == {0, 4, 9}
    for clients in (3, 10, 99, 100, 1000):
        for dropout in (0.1, 0.3, 0.5):
            gone = sorted(evenly(clients, dropout))
            assert len(gone) == round(dropout * clients)
            assert set(gone) <= set(range(clients))
            gaps = {after - before for before, after in pairwise(gone)}
            assert not gaps or max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("peer", "command"),
    [(FLOWER, "pip install 'privfl[flower]' 'flwr<1.42'"), (TUTORIAL, "pip install 'privfl[ckks]'")],
)
def test_a_peer_that_is_not_installed_is_named_with_its_command(peer, command, monkeypatch, fresh_flower):
    from privfl.bench.peers import tenseal_ckks

    tenseal_ckks._tenseal.cache_clear()
    monkeypatch.setitem(sys.modules, peer.package, None)
    try:
        assert not peer.available()
        assert peer.skipped() == f"{peer.package!r} is not installed: {command}"
        assert peer.refuse(10, 10, 0.1) is None
        with pytest.raises(MissingExtra, match=peer.package):
            peer.session(10, 10, frozenset())
    finally:
        tenseal_ckks._tenseal.cache_clear()


@needs_flower
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("flwr.client.mod.secure_aggregation.secaggplus_mod", "_unmask"),
        ("flwr.common.secure_aggregation.secaggplus_utils", "pseudo_rand_gen"),
    ],
)
def test_a_flower_without_what_is_called_is_one_sentence(module, name, monkeypatch, fresh_flower):
    __import__(module)
    monkeypatch.delattr(sys.modules[module], name)
    refusal = FLOWER.refuse(10, 10, 0.0)
    assert name in refusal
    assert refusal.startswith("flwr ")
    assert refusal.endswith(": pip install 'privfl[flower]' 'flwr<1.42' works")
    with pytest.raises(ConfigurationError) as raised:
        FLOWER.session(10, 10, frozenset())
    assert str(raised.value) == refusal
