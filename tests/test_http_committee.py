"""A committee among clients over HTTPS: its members are asked as clients are, and fetch what is long."""

import threading

import numpy as np
import pytest
from committee_harness import CLIENTS, COMMITTEE, ROSTER, ceremony_params, ckks_params, small_epoch
from consortium_harness import CKKS_POLICY, SEATS, TinyWork, exact_sum, in_thread, make_home, make_order
from harness import make_vectors
from http_harness import CuttingProxy, Papers, make_hall, make_joined, make_server

from privfl import Phase, suite
from privfl.ckks.coordinator import CeremonyCoordinator
from privfl.integrations.consortium.ceremony_orders import CeremonyOrder
from privfl.integrations.consortium.messages import MOST_INLINE_BYTES

MEMBERS = {client: member for member, client in enumerate(SEATS)}
LENGTH = 8192


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


def test_a_key_is_made_and_a_sum_opened_over_https(papers, tmp_path):
    """One member's line is cut again and again, in what is long among others: a request of hundreds of kilobytes."""
    hall, stop = make_hall(CLIENTS), threading.Event()
    params = ceremony_params(small_epoch())
    vectors = make_vectors(ckks_params(None, length=LENGTH))
    with make_server(hall, papers, n=CLIENTS) as server:
        proxy = CuttingProxy(server.port, [60_000, 150_000, 40_000, 70_000, 3_000], down=True)
        works, ends = [], []
        for number in range(CLIENTS):
            folder, work = tmp_path / str(number), TinyWork(vectors[number])
            make_home(folder, number, policy=CKKS_POLICY, committee=COMMITTEE)
            port = proxy.port if number == SEATS[0] else server.port
            works.append(work)
            ends.append(in_thread(make_joined(server, papers, folder, number, work, stop=stop, port=port).run))
        ceremony = CeremonyOrder(
            round=1, params=params, server=CeremonyCoordinator(params), members=MEMBERS, phase_timeout_s=60.0
        )
        made = hall.hold(ceremony)
        assert made.aborted is None
        assert made.phases[Phase.CHECK_SHARES].download_bytes > len(SEATS) * MOST_INLINE_BYTES
        key = ceremony.server.result
        assert key.statement.qualified == (0, 1, 2)
        session = ckks_params(key, length=LENGTH)
        served = suite("ckks").server(session, roster=ROSTER, committee=key)
        order = make_order(session, served, upload_timeout_s=60.0, members=MEMBERS, committee=key.to_bytes())
        outcome = hall.hold(order)
        assert [len(list((tmp_path / str(client)).glob("shares/*"))) for client in SEATS] == [1, 1, 1]
        hall.close("done")
        assert {end() for end in ends} == {"done"}
        proxy.close()
    assert proxy.made >= 3
    assert outcome.contributors == tuple(range(CLIENTS))
    assert np.array_equal(outcome.aggregate.vector, exact_sum(vectors, range(CLIENTS)))
    assert outcome.phases[Phase.OPEN].download_bytes > 2 * MOST_INLINE_BYTES
    assert not outcome.failures
    assert not outcome.member_failures
    assert [work.trained for work in works] == [1] * CLIENTS
    # The run is over, and with it the key.
    assert [len(list((tmp_path / str(client)).glob("shares/*"))) for client in SEATS] == [0, 0, 0]
