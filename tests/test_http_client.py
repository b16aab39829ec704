"""Clients over lines that are cut, and through restarts of their coordinator."""

import contextlib
import hashlib
import logging
import ssl
import threading

import numpy as np
import pytest
from consortium_harness import (
    COORDINATOR_KEY,
    TinyWork,
    context_of,
    eventually,
    exact_sum,
    greeting,
    in_thread,
    make_order,
    make_session,
)
from harness import identity_of, make_vectors
from http_harness import CuttingProxy, Impostor, Papers, holding, make_hall, make_joined, make_server

from privfl.errors import ConfigurationError, DisclosureRefused, RemoteProtocolError, RoundAborted
from privfl.integrations.consortium import Over
from privfl.integrations.http import Server, client
from privfl.integrations.http.client import STOPPED, Joined
from privfl.integrations.http.patience import MOST_PAUSE_S, Lost, Patience
from privfl.integrations.http.vouching import check_vouched, vouch
from privfl.simulate import roster_of

N = 5


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


class Clients:
    """Clients in threads."""

    def __init__(self, server, papers, folder, vectors, **options):
        self.stop = threading.Event()
        ports = options.pop("ports", {})
        self.works = {number: TinyWork(vectors[number]) for number in range(N)}
        self.joined = {
            number: make_joined(
                server, papers, folder / str(number), number, self.works[number],
                stop=self.stop, port=ports.get(number, server.port), **options,
            )
            for number in range(N)
        }  # fmt: skip
        self.ends = {number: in_thread(joined.run) for number, joined in self.joined.items()}

    def end(self):
        return {number: end() for number, end in self.ends.items()}


def session(suite="kahe", *, length=16, **options):
    params, served = make_session(suite, n=N, length=length, **options)
    return make_order(params, served, upload_timeout_s=30.0), make_vectors(params)


def test_a_round_over_https(papers, tmp_path):
    hall = make_hall(N)
    order, vectors = session()
    with make_server(hall, papers, n=N) as server:
        clients = Clients(server, papers, tmp_path, vectors)
        outcome = hall.hold(order)
        hall.close("all rounds are done")
        assert server.farewell(range(N), 30) == frozenset()
        assert set(clients.end().values()) == {"all rounds are done"}
        assert server.farewell(range(N + 1), 0.01) == {N}
    assert np.array_equal(outcome.aggregate.vector, exact_sum(vectors, range(N)))
    assert outcome.contributors == tuple(range(N))
    assert not outcome.failures
    assert {work.trained for work in clients.works.values()} == {1}


def test_mutual_tls(papers, tmp_path):
    hall = make_hall(N)
    order, vectors = session("plain")
    with make_server(hall, papers, n=N, client_ca=papers.ca) as server:
        clients = Clients(server, papers, tmp_path, vectors, client_certificate=papers.client)
        outcome = hall.hold(order)
        hall.close("done")
        clients.end()
    assert outcome.contributors == tuple(range(N))


def test_uploads_that_are_cut_go_on_where_they_were(papers, tmp_path):
    """Hundreds of kilobytes a client, over lines that are cut in headers, in chunks and at their ends."""
    hall = make_hall(N)
    order, vectors = session("plain", length=500_000)
    rng = np.random.default_rng(7)
    with make_server(hall, papers, n=N) as server:
        proxies = {
            number: CuttingProxy(server.port, [int(cut) for cut in rng.integers(500, 200_000, size=6)])
            for number in range(3)
        }
        clients = Clients(
            server, papers, tmp_path, vectors, ports={number: proxy.port for number, proxy in proxies.items()}
        )
        outcome = hall.hold(order)
        hall.close("done")
        clients.end()
        for proxy in proxies.values():
            proxy.close()
    assert sum(proxy.made for proxy in proxies.values()) >= 3
    assert np.array_equal(outcome.aggregate.vector, exact_sum(vectors, range(N)))
    assert {work.trained for work in clients.works.values()} == {1}


def test_downloads_that_are_cut_go_on_where_they_were(papers, tmp_path):
    hall = make_hall(N)
    model = np.random.default_rng(3).bytes(400_000)
    params, served = make_session("plain", n=N, model=model)
    order, vectors = make_order(params, served, model=model, upload_timeout_s=30.0), make_vectors(params)
    assert params.context == context_of(order.terms, model, 1)
    with make_server(hall, papers, n=N) as server:
        proxy = CuttingProxy(server.port, [60_000, 150_000, 100_000, 70_000, 3_000], down=True)
        clients = Clients(server, papers, tmp_path, vectors, ports={0: proxy.port})
        outcome = hall.hold(order)
        sent = hall.snapshot().bytes_out
        hall.close("done")
        clients.end()
        proxy.close()
    assert proxy.made >= 3
    assert sent >= N * len(model)
    assert outcome.contributors == tuple(range(N))
    assert clients.works[0].trained == 1


def test_a_coordinator_that_was_restarted_is_joined_again(papers, tmp_path, caplog):
    order, vectors = session()
    hall = make_hall(N)
    server = make_server(hall, papers, n=N)
    server.start()
    clients = Clients(server, papers, tmp_path, vectors)
    hall.gather(N, 60)
    with holding(hall, make_order(*make_session(n=N))):
        server.stop()  # in the middle of something
    again = make_hall(N)
    with make_server(again, papers, n=N, port=server.port) as second:
        assert second.port == server.port
        found = again.hold(order)
        again.close("done")
        assert set(clients.end().values()) == {"done"}
    assert found.contributors == tuple(range(N))
    assert np.array_equal(found.aggregate.vector, exact_sum(vectors, range(N)))


def test_a_coordinator_with_another_job_under_the_same_name_is_left(papers, tmp_path):
    from privfl.integrations.consortium import Hall

    hall = make_hall(N)
    server = make_server(hall, papers, n=N)
    server.start()
    end = in_thread(make_joined(server, papers, tmp_path / "0", 0, TinyWork()).run)
    hall.gather(1, 60)
    server.stop()
    other = Hall(greeting(job="rounds = 4\n"), clients=range(N))
    other.close("nobody hears this")
    with make_server(other, papers, n=N, port=server.port), pytest.raises(DisclosureRefused):
        end()


def test_a_client_declines_and_goes_on(papers, tmp_path):
    hall = make_hall(N)
    order, vectors = session("plain")
    with make_server(hall, papers, n=N) as server:
        clients = Clients(server, papers, tmp_path, vectors)
        clients.works[2]._fails["vector"] = ValueError("a secret of client 2")
        outcome = hall.hold(order)
        assert outcome.contributors == (0, 1, 3, 4)
        assert list(outcome.failures) == [2]
        assert "secret" not in outcome.failures[2]
        clients.works[2]._fails.clear()
        second, _ = session("plain", round_number=2)
        second = make_order(second.params, second.server, round=2)
        assert hall.hold(second).contributors == tuple(range(N))
        hall.close("done")
        clients.end()


def test_an_answer_that_is_refused_is_dropped(papers, tmp_path):
    hall = make_hall(N)
    order, vectors = session("plain")
    with make_server(hall, papers, n=N) as server:
        clients = Clients(server, papers, tmp_path, vectors)
        participant = clients.joined[1]._participant
        answer, participant.answer = participant.answer, lambda *step: answer(*step)[:-1] + b"?"
        outcome = hall.hold(order)
        hall.close("done")
        clients.end()
    assert outcome.contributors == (0, 2, 3, 4) or 1 in outcome.contributors  # one byte may be a number like another
    assert len(outcome.contributors) >= 4


def test_a_late_answer_is_dropped(papers, tmp_path):
    hall = make_hall(N)
    order, vectors = session("plain")
    order = make_order(order.params, order.server, upload_timeout_s=1.5)
    go_on = threading.Event()
    with make_server(hall, papers, n=N) as server:
        clients = Clients(server, papers, tmp_path, vectors)
        vector = clients.works[4].vector
        clients.works[4].vector = lambda *asked: (go_on.wait(60), vector(*asked))[1]
        outcome = hall.hold(order)
        go_on.set()
        assert outcome.contributors == (0, 1, 2, 3)
        hall.close("done")
        assert clients.end()[4] == "done"


def test_a_client_that_is_told_to_stop(papers, tmp_path):
    hall, stop = make_hall(N), threading.Event()
    with make_server(hall, papers, n=N) as server:
        end = in_thread(make_joined(server, papers, tmp_path / "0", 0, TinyWork(), stop=stop, poll_s=0.5).run)
        hall.gather(1, 60)
        stop.set()
        assert end() == STOPPED


def test_a_client_gives_up_when_it_was_told_to(papers, tmp_path):
    with make_server(make_hall(N), papers, n=N) as server:
        pass
    with pytest.raises(RoundAborted, match="nothing was heard of the coordinator for"):
        make_joined(server, papers, tmp_path / "0", 0, TinyWork(), give_up_after_s=0.5).run()


def test_a_client_that_is_not_on_the_roster_is_told(papers, tmp_path):
    hall = make_hall(N)
    hall.close("nobody hears this")
    certificate, key = papers.server
    others = {number: identity_of(number + 100) for number in range(N)}
    with (
        Server(
            hall,
            roster_of(others),
            identity=COORDINATOR_KEY,
            host="127.0.0.1",
            port=0,
            certificate=certificate,
            key=key,
        ) as server,
        pytest.raises(RemoteProtocolError, match="does not take this client's signature"),
    ):
        make_joined(server, papers, tmp_path / "0", 0, TinyWork()).run()
    assert hall.present() == frozenset()


def test_guarantee_1_a_certificate_that_the_coordinators_key_does_not_vouch_for_is_not_listened_to(papers, tmp_path):
    """Not even one that the authority has made, for the right name."""
    hall = make_hall(N)
    hall.close("nobody hears this")
    work = TinyWork()
    with make_server(hall, papers, n=N) as server, contextlib.closing(Impostor(server.port, papers)) as impostor:
        joined = make_joined(server, papers, tmp_path / "0", 0, work, port=impostor.port)
        with pytest.raises(RemoteProtocolError, match="its certificate is not vouched for"):
            joined.run()
    assert not work.calls


@pytest.fixture
def less_wary(monkeypatch):
    monkeypatch.setattr(client, "_WARY_S", 0.1)


@pytest.mark.usefixtures("less_wary")
def test_guarantee_1_nobody_comes_between_later(papers, tmp_path, caplog):
    hall = make_hall(N)
    with (
        make_server(hall, papers, n=N) as server,
        contextlib.closing(Impostor(server.port, papers, reading=False)) as impostor,
    ):
        joined = make_joined(server, papers, tmp_path / "0", 0, TinyWork(), port=impostor.port, poll_s=0.2)
        told = in_thread(joined.run)
        eventually(lambda: 0 in hall.present())
        impostor.reading = True
        impostor.cut()
        eventually(lambda: impostor.met > 3 and impostor.heard)
        hall.close("all is well")
        eventually(lambda: impostor.met > 6)
        impostor.reading = False
        impostor.cut()
        assert told() == "all is well"
    assert asked_of(impostor) == {"/v1/greeting"}
    assert "its certificate is not vouched for; asking again" in caplog.text


@pytest.mark.usefixtures("less_wary")
@pytest.mark.parametrize("suite", ["kahe", "plain"])
def test_guarantee_1_no_answer_goes_to_who_comes_between_while_it_is_made(papers, tmp_path, suite):
    hall = make_hall(N)
    order, vectors = session(suite)
    with (
        make_server(hall, papers, n=N) as server,
        contextlib.closing(Impostor(server.port, papers, reading=False)) as impostor,
    ):
        clients = Clients(server, papers, tmp_path, vectors, ports={2: impostor.port})
        made = clients.works[2].vector

        def vector(*arguments):
            impostor.reading = True
            impostor.cut()
            return made(*arguments)

        clients.works[2].vector = vector
        held = in_thread(lambda: hall.hold(order))
        eventually(lambda: impostor.met > 3)
        impostor.reading = False
        impostor.cut()
        outcome = held()
        hall.close("done")
        clients.end()
    assert outcome.contributors == tuple(range(N))
    assert asked_of(impostor) <= {"/v1/greeting"}


def asked_of(impostor):
    """The targets of all requests that it read."""
    return {line.split()[1].decode() for line in impostor.heard.split(b"\r\n") if line.endswith(b"HTTP/1.1")}


def test_a_coordinator_that_comes_back_with_a_new_certificate_is_the_same(papers, tmp_path):
    hall = make_hall(N)
    with make_server(hall, papers, n=N) as server:
        told = in_thread(make_joined(server, papers, tmp_path / "0", 0, TinyWork()).run)
        eventually(lambda: 0 in hall.present())
    hall.close("all is well")
    with make_server(hall, papers, n=N, port=server.port, own=papers.impostor):
        assert told() == "all is well"


@pytest.mark.parametrize("wrong", ["key", "run", "certificate", "none", "noise", "letters"])
def test_what_does_not_vouch(papers, wrong):
    certificate = hashlib.sha256(ssl.PEM_cert_to_DER_cert(papers.server[0].read_text())).digest()
    vouched = vouch(COORDINATOR_KEY, greeting(), papers.server[0])
    check_vouched(greeting(), certificate, vouched)
    said = {"none": "", "noise": "AAAA", "letters": "é€"}.get(wrong, vouched)
    shown = greeting(
        **{"key": {"coordinator": identity_of(5).public}, "run": {"run": b"another run here"}}.get(wrong, {})
    )
    with pytest.raises(RemoteProtocolError, match="not vouched for"):
        check_vouched(shown, bytes(32) if wrong == "certificate" else certificate, said)


def test_a_coordinator_vouches_with_the_key_that_it_greets_with(papers, tmp_path):
    with pytest.raises(ConfigurationError, match="identity is not the key"):
        make_server(make_hall(N), papers, n=N, identity=identity_of(5))
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(ConfigurationError, match="no certificate in PEM"):
        vouch(COORDINATOR_KEY, greeting(), empty)


@pytest.mark.parametrize("other", ["authority", "name"])
def test_guarantee_1_another_authority_or_name_is_not_listened_to(papers, tmp_path, other, caplog):
    hall = make_hall(N)
    hall.close("nobody hears this")
    theirs = Papers(tmp_path / "theirs").server if other == "authority" else papers.elsewhere
    with make_server(hall, papers, n=N, own=theirs) as server:
        joined = make_joined(server, papers, tmp_path / "0", 0, TinyWork(), give_up_after_s=0.3)
        with pytest.raises(RoundAborted, match="CERTIFICATE_VERIFY_FAILED"):
            joined.run()
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    assert hall.present() == frozenset()


def test_guarantee_1_settings_of_the_surroundings_change_nothing(papers, tmp_path, monkeypatch):
    theirs = Papers(tmp_path / "theirs")
    monkeypatch.setenv("SSL_CERT_FILE", str(theirs.ca))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    hall = make_hall(N)
    with make_server(hall, papers, n=N) as server:
        end = in_thread(make_joined(server, papers, tmp_path / "0", 0, TinyWork()).run)
        hall.gather(1, 60)
        hall.close("done")
        assert end() == "done"
    with make_server(hall, papers, n=N, own=theirs.server) as server, pytest.raises(RoundAborted):
        make_joined(server, papers, tmp_path / "1", 1, TinyWork(), give_up_after_s=0.2).run()


def test_guarantee_2_logs_hold_no_answer_and_no_key(papers, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    hall = make_hall(N)
    order, vectors = session("plain")
    with make_server(hall, papers, n=N) as server:
        clients = Clients(server, papers, tmp_path, vectors)
        outcome = hall.hold(order)
        hall.close("done")
        clients.end()
    assert outcome.contributors == tuple(range(N))
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("privfl"))
    assert "round 1: Upload" in ours
    for number in range(N):
        vector = vectors[number]
        for secret in (vector.tobytes().hex(), str(vector[:4]), str(vector[:4].tolist())[1:-1]):
            assert secret not in ours


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "127.0.0.1:1", "https://", "https://host/path", "https://me:pw@host", "https://host?x=1", 5],
)
def test_only_an_https_url_of_a_coordinator_does(papers, tmp_path, url):
    with pytest.raises(ConfigurationError, match=r"https://coordinator\.example:8443"):
        Joined(None, url=url, ca=papers.ca, identity=identity_of(0), number=0)


def test_files_and_numbers_that_do_not_do_are_named(papers, tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        Joined(None, url="https://host", ca=tmp_path / "none.pem", identity=identity_of(0), number=0)
    with pytest.raises(ConfigurationError, match="poll_s"):
        Joined(None, url="https://host", ca=papers.ca, identity=identity_of(0), number=0, poll_s=0)


def test_pauses_grow_to_ten_seconds_and_start_again_after_an_answer(monkeypatch):
    patience, waited, glances = Patience(stop=threading.Event()), [], []
    monkeypatch.setattr(patience, "wait", glances.append)

    def back_off(lost):
        patience.back_off(lost)
        waited.append(sum(glances))
        glances.clear()

    for _ in range(12):
        back_off(Lost("away"))
    assert all(0.125 * 2**n <= pause <= 0.375 * 2**n for n, pause in enumerate(waited[:5]))
    assert all(MOST_PAUSE_S / 2 <= pause <= MOST_PAUSE_S + 1e-9 for pause in waited[6:])
    assert len(set(waited[:6])) == 6
    patience.served()
    back_off(Lost("away"))
    assert waited[-1] < 0.4
    back_off(Lost("full", retry_after_s=5.0))
    assert waited[-1] == pytest.approx(5.0)


def test_offers_are_strict(papers, tmp_path):
    hall = make_hall(N)
    with make_server(hall, papers, n=N) as server:
        hall.offer = lambda client: Over(why="x" * 400) if client else None
        end = in_thread(make_joined(server, papers, tmp_path / "1", 1, TinyWork()).run)
        assert end() == "x" * 400


def test_a_client_that_trains_hears_later_that_all_is_over(papers, tmp_path):
    hall = make_hall(N)
    order, vectors = session("plain")
    go_on = threading.Event()
    with make_server(hall, papers, n=N) as server:
        clients = Clients(server, papers, tmp_path, vectors)
        vector = clients.works[4].vector
        clients.works[4].vector = lambda *asked: (go_on.wait(60), vector(*asked))[1]
        with holding(hall, order):
            eventually(lambda: hall.snapshot().waiting == (4,))
            hall.close("done")
            assert server.farewell(range(N), 0.3) == {4}
            go_on.set()
            assert server.farewell(range(N), 30) == frozenset()
        assert clients.end()[4] == "done"


def test_a_server_does_not_wait_for_a_client_that_trains(papers, tmp_path, monkeypatch):
    from privfl.integrations.http import server as module

    monkeypatch.setattr(module, "_GRACE_S", 0.2)
    hall, stop = make_hall(N), threading.Event()
    order, vectors = session("plain")
    go_on = threading.Event()
    server = make_server(hall, papers, n=N)
    server.start()
    work = TinyWork(vectors[0])
    work.vector = lambda *asked: go_on.wait(60)
    with holding(hall, order):
        end = in_thread(make_joined(server, papers, tmp_path / "0", 0, work, stop=stop).run)
        eventually(lambda: "charge" in work.calls)
        server.stop()
        stop.set()
        go_on.set()
    assert end() == STOPPED
