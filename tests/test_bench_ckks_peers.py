"""The CKKS baselines: they sum rightly, send what they are known to send, and say what they are worth."""

import json
import sys
from dataclasses import FrozenInstanceError
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from privfl import ConfigurationError, DecodeError
from privfl.bench.peers import metering, tenseal_ckks
from privfl.bench.peers.tenseal_ckks import NVFLARE, NVFLARE_PUBLIC, PEERS, PROTECTION, TUTORIAL
from privfl.errors import MissingExtra
from privfl.suites import SUITE_NAMES

pytest.importorskip("tenseal", reason="the peer is not installed")

SLOTS = 4096


@pytest.fixture(scope="module", params=PEERS, ids=lambda peer: peer.name)
def peer(request):
    return request.param


@pytest.fixture(scope="module")
def key(peer):
    return peer.keys()


@pytest.mark.parametrize("length", [1, SLOTS, SLOTS + 1])
def test_a_sum_is_right(key, length, capfd):
    vectors = np.random.default_rng(length).normal(0, 0.05, (3, length))
    total = None
    for vector in vectors:
        total = key.server_add(total, key.client(vector))
    opened = key.decrypt(key.written(total))
    assert opened.shape == (length,)
    assert 0 < np.abs(opened - vectors.sum(axis=0)).max() < 1e-6
    assert capfd.readouterr().out == ""  # no ciphertext overflows, of which TenSEAL would warn


def test_one_key_reads_every_single_upload(key):
    vector = np.random.default_rng(0).normal(0, 0.05, 10)
    assert np.allclose(key.decrypt(key.client(vector)), vector, atol=1e-6)


def test_the_server_does_not_hold_the_secret_key(key):
    assert key._clients.has_secret_key()
    assert not key._servers.has_secret_key()


# Two polynomials of 8,192 words for each prime but the last, which zstd shortens to about their 60 or 40 bits.
@pytest.mark.parametrize(("peer", "limit"), [(NVFLARE, 64), (NVFLARE_PUBLIC, 64), (TUTORIAL, 96)])
def test_a_record_is_plausible(peer, limit):
    record = peer.measure(2 * SLOTS, 3, 1)
    assert json.loads(json.dumps(record)) == record
    assert record["protection"] == PROTECTION
    assert limit * 0.8 < record["upload_bytes_per_contributor"] / (2 * SLOTS) < limit
    assert record["upload_bytes"] == pytest.approx(record["download_bytes"], rel=0.01)
    assert record["client_cpu_s"] > 0
    assert record["server_cpu_s"] > 0
    assert 0 < record["max_abs_error"] < 1e-6


def test_those_who_uploaded_are_answered_and_open_what_they_get(monkeypatch):
    monkeypatch.setattr(metering, "time", SimpleNamespace(process_time=count().__next__))  # whatever is timed takes 1
    session = NVFLARE.session(2 * SLOTS, 5, frozenset({0, 3}))
    upload, answer = session.phases["upload"], session.phases["answer"]
    assert (upload["client_cpu_s"], upload["server_cpu_s"]) == (3, 3)
    assert (answer["client_cpu_s"], answer["server_cpu_s"]) == (3, 1)
    assert (session.client_cpu_s, session.server_cpu_s) == (2, 4)
    assert (upload["upload_bytes"], answer["download_bytes"]) == (session.upload_bytes, session.download_bytes)
    assert session.download_bytes == pytest.approx(session.upload_bytes, rel=0.01)  # a sum is as long as an upload


def test_nothing_to_measure_is_refused():
    for arguments in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        with pytest.raises(ConfigurationError, match="at least 1 works"):
            NVFLARE.measure(*arguments)


def test_an_upload_that_is_cut_is_refused(key):
    upload = key.client(np.zeros(3))
    for cut in (4, len(upload) - 1):
        with pytest.raises(DecodeError, match="ciphertexts that end"):
            key.server_add(None, upload[:cut])


def test_peers_are_no_suites():
    assert not {peer.name for peer in PEERS} & set(SUITE_NAMES)
    with pytest.raises(FrozenInstanceError):
        NVFLARE.symmetric = False


def test_a_missing_extra_names_itself(monkeypatch):
    tenseal_ckks._tenseal.cache_clear()
    monkeypatch.setitem(sys.modules, "tenseal", None)
    try:
        with pytest.raises(MissingExtra, match=r"privfl\[ckks\]"):
            NVFLARE.keys()
    finally:
        tenseal_ckks._tenseal.cache_clear()
