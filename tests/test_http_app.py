"""The coordinator's listeners as they are: uvicorn on a port of this machine, TLS, a hall behind them."""

import subprocess
import sys
import threading

import httpx
import pytest
from consortium_harness import MODEL, TinyWork, eventually, in_thread, make_order, make_participant, make_session
from harness import make_vectors
from http_harness import Papers, Raw, holding, make_hall, make_server

from privfl.errors import ConfigurationError, LocalProtocolError
from privfl.integrations.consortium import Over, Step, Wait
from privfl.integrations.consortium.messages import decode_offer, encode, model_digest
from privfl.integrations.http.tls import client_context


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def hall():
    return make_hall()


@pytest.fixture
def server(hall, papers):
    with make_server(hall, papers) as server:
        yield server


@pytest.fixture
def raw(server, papers):
    with Raw(server, papers) as raw:
        yield raw


def place_of(order, phase):
    return f"{order.params.nonce.hex()}/{phase}"


def test_what_is_not_signed_says_little(server, papers, hall):
    with httpx.Client(verify=client_context(papers.ca), base_url=f"https://localhost:{server.port}") as http:
        assert http.get("/health").json() == {"status": "ok"}
        epoch = http.get("/v1/epoch").json()
        assert epoch["run"] == hall.greeting.run.hex()
        assert len(bytes.fromhex(epoch["epoch"])) == 16
        for target in ("/v1/greeting", "/v1/offer", f"/v1/models/{'0' * 64}"):
            answer = http.get(target)
            assert answer.status_code == 401
            assert answer.json() == {
                "error": "the request is not signed by a client of the roster", "epoch": epoch["epoch"], "count": 0,
            }  # fmt: skip
        assert "server" not in answer.headers


def test_a_greeting_is_read_whole(raw, hall):
    assert raw.ask("GET", "/v1/greeting").content == encode(hall.greeting)


def test_an_offer_notes_who_asks(raw, hall):
    assert decode_offer(raw.ask("GET", "/v1/offer").content) == Wait(seconds=1.0)
    assert hall.present() == {0}


def test_a_poll_that_waited_may_ask_again_at_once(raw):
    assert decode_offer(raw.ask("GET", "/v1/offer?wait=1.1").content) == Wait(seconds=0.0)


def test_a_step_and_its_model_are_served(raw, hall):
    with holding(hall) as (order, _):
        step = decode_offer(raw.ask("GET", "/v1/offer?wait=20").content)
        assert isinstance(step, Step)
        assert step.params == order.params.to_bytes()
        target = f"/v1/models/{step.model.hex()}"
        answer = raw.ask("GET", target)
        assert (answer.status_code, answer.content) == (200, MODEL)
        answer = raw.ask("GET", target, headers={"range": "bytes=1000-"})
        assert (answer.status_code, answer.content) == (206, MODEL[1000:])
        assert answer.headers["content-range"] == f"bytes 1000-{len(MODEL) - 1}/{len(MODEL)}"
        assert raw.ask("GET", target, headers={"range": f"bytes={len(MODEL)}-"}).status_code == 416
        assert raw.ask("GET", target, headers={"range": "bytes=0-3,5-9"}).content == MODEL
        assert raw.ask("GET", f"/v1/models/{'0' * 64}").status_code == 409


def test_a_long_model_comes_in_pieces_and_whole(raw, hall):
    model = bytes(range(256)) * 20_000
    order = make_order(*make_session(model=model), model=model)
    with holding(hall, order):
        assert raw.ask("GET", f"/v1/models/{model_digest(model).hex()}").content == model


def test_a_poll_is_answered_when_a_session_opens(raw, hall):
    waiting = in_thread(lambda: raw.ask("GET", "/v1/offer?wait=60"))
    eventually(lambda: hall.present() == {0})
    with holding(hall):
        assert isinstance(decode_offer(waiting().content), Step)


def test_a_poll_is_answered_when_all_is_over(raw, hall):
    waiting = in_thread(lambda: raw.ask("GET", "/v1/offer?wait=60"))
    eventually(lambda: hall.present() == {0})
    hall.close("that was it")
    assert decode_offer(waiting().content) == Over(why="that was it")


def test_of_two_polls_of_a_client_the_older_is_answered(server, papers, hall):
    with Raw(server, papers) as first, Raw(server, papers) as second:
        waiting = in_thread(lambda: first.ask("GET", "/v1/offer?wait=60"))
        eventually(lambda: hall.present() == {0})
        second.signer.take_over(second.signer.epoch, 10)
        newer = in_thread(lambda: second.ask("GET", "/v1/offer?wait=60"))
        assert isinstance(decode_offer(waiting().content), Wait)
        hall.close("that was it")
        assert isinstance(decode_offer(newer().content), Over)


def test_polls_cost_no_threads(server, papers, hall):
    from privfl.integrations.http import app

    order = make_order(*make_session())
    raws = [Raw(server, papers, number) for number in range(7)]
    polls = [in_thread(lambda raw=raw: raw.ask("GET", "/v1/offer?wait=60")) for raw in raws]
    eventually(lambda: len(hall.present()) == 7)
    serving = [thread for thread in threading.enumerate() if thread.name.startswith("privfl-http")]
    assert len(serving) <= 1 + app._THREADS + app._HANDING_ON
    with holding(hall, order):
        assert all(isinstance(decode_offer(poll().content), Step) for poll in polls)
    for raw in raws:
        raw.close()


def test_a_whole_session_by_hand(server, papers, hall, tmp_path):
    params, served = make_session()
    vectors = make_vectors(params)
    raws = [Raw(server, papers, number) for number in range(7)]
    participants = [make_participant(tmp_path / str(number), number, TinyWork(vectors[number])) for number in range(7)]
    outcome = in_thread(lambda: hall.hold(make_order(params, served)))
    eventually(lambda: hall.snapshot().phase is not None)
    while (phase := hall.snapshot().phase) is not None:
        for raw, participant in zip(raws, participants, strict=True):
            step = decode_offer(raw.ask("GET", "/v1/offer").content)
            if not isinstance(step, Step):
                continue
            answer = participant.answer(
                step, lambda digest, _size, raw=raw: raw.ask("GET", f"/v1/models/{digest.hex()}").content
            )
            said = raw.put(f"{step.session.hex()}/{step.phase}", 0, len(answer), answer, whole=answer)
            assert (said.status_code, said.json()) == (200, {"received": len(answer), "complete": True})
        eventually(lambda phase=phase: hall.snapshot().phase is not phase)
    assert (outcome().aggregate.vector == sum(vectors.values() if isinstance(vectors, dict) else vectors)).all()
    for raw in raws:
        raw.close()


def test_an_answer_that_the_hall_refuses(raw, hall):
    with holding(hall) as (order, _):
        place = place_of(order, "AdvertiseKeys")
        answer = raw.put(place, 0, 7, b"garbage", whole=b"garbage")
        assert answer.status_code == 422
        assert "\n" not in answer.json()["error"]
        assert hall.snapshot().refused == 1
        assert 0 not in hall.snapshot().waiting
        # The last chunk again, as after a response that got lost: the same, and nothing is given to the hall twice.
        assert raw.put(place, 0, 7, b"garbage", whole=b"garbage").status_code == 422
        assert raw.ask("GET", f"/v1/answers/{place}").status_code == 422
        assert hall.snapshot().refused == 1


def test_a_client_that_declines_is_not_waited_for(raw, hall):
    with holding(hall) as (order, _):
        target = f"/v1/declined/{order.params.nonce.hex()}"
        assert raw.ask("POST", target, "not with me, café".encode()).status_code == 200
        assert 0 not in hall.snapshot().waiting
        assert raw.ask("POST", target, b"\xff").status_code == 400
        assert raw.ask("POST", target, b"x" * 501).status_code == 413
        assert raw.ask("POST", f"/v1/declined/{'0' * 32}", b"why").status_code == 409


def test_what_nobody_waits_for_is_409(raw, hall):
    answer = raw.put(f"{'0' * 32}/AdvertiseKeys", 0, 3, b"abc", whole=b"abc")
    assert answer.status_code == 409
    assert "received" not in answer.json()
    with holding(hall) as (order, _):
        assert raw.put(place_of(order, "Unmask"), 0, 3, b"abc", whole=b"abc").status_code == 409


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/v1/offer?wait=61", 400), ("GET", "/v1/offer?wait=-1", 400), ("GET", "/v1/offer?wait=nan", 400),
        ("GET", "/v1/offer?wait=1&wait=2", 400), ("GET", "/v1/models/xyz", 404), ("GET", "/v1/models/" + "A" * 64, 404),
        ("GET", "/v1/answers/00/Unmask", 404), ("GET", f"/v1/answers/{'0' * 32}/unmask", 404),
        ("GET", "/v1/nothing", 404), ("GET", "/", 404), ("DELETE", "/v1/offer", 405), ("GET", "/v1/offer/", 404),
        ("PUT", f"/v1/answers/{'0' * 32}/Unmask", 400), ("PUT", f"/v1/answers/{'0' * 32}/Unmask?offset=0&of=2", 400),
        ("PUT", f"/v1/answers/{'0' * 32}/Unmask?offset=00&of=3", 400),
        ("PUT", f"/v1/answers/{'0' * 32}/Unmask?offset=-1&of=3", 400),
        ("PUT", f"/v1/answers/{'0' * 32}/Unmask?offset=0&of=3&of=4", 400),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(raw, method, target, status):
    body = b"abc" if method == "PUT" else b""
    assert raw.ask(method, target, body).status_code == status


def test_a_malformed_digest_of_the_whole_is_refused(raw):
    target = f"/v1/answers/{'0' * 32}/Unmask?offset=0&of=3"
    assert raw.ask("PUT", target, b"abc", headers={"repr-digest": "sha-256=:x:"}).status_code == 400


def test_one_who_is_on_the_roster_but_not_in_the_run(papers):
    from privfl.integrations.consortium import Hall

    hall = Hall(make_hall().greeting, clients=range(1, 7))
    with make_server(hall, papers) as server, Raw(server, papers, 0) as raw:
        assert raw.ask("GET", "/v1/offer").status_code == 403


def test_the_server_ends_while_somebody_waits(papers, hall):
    server = make_server(hall, papers)
    server.start()
    with Raw(server, papers) as raw:
        waiting = in_thread(lambda: raw.ask("GET", "/v1/offer?wait=60"))
        eventually(lambda: hall.present() == {0})
        server.stop()
        assert isinstance(decode_offer(waiting().content), Wait)
    server.stop()
    with pytest.raises(LocalProtocolError, match="started before"):
        server.start()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("privfl-http")]


def test_a_coordinator_can_be_restarted_on_its_port(papers, hall):
    with make_server(hall, papers) as server:
        port = server.port
    with make_server(hall, papers, port=port) as server:
        assert server.port == port


def test_a_port_that_is_taken_is_named(papers, hall, server):
    with pytest.raises(
        ConfigurationError, match=rf"^port {server.port} at '127.0.0.1' cannot be listened at: .*in use.*8443$"
    ):
        make_server(hall, papers, port=server.port).start()
    with pytest.raises(ConfigurationError, match=r"^operator_port "):
        make_server(hall, papers, operator_port=server.port).start()
    with pytest.raises(ConfigurationError, match=r"^port is 70000: "):
        make_server(hall, papers, port=70000).start()


def test_a_status_page_for_the_world_is_refused(papers, hall):
    for host in ("0.0.0.0", "example.org", "::"):  # noqa: S104 - refused
        with pytest.raises(ConfigurationError, match="operator_host"):
            make_server(hall, papers, operator_host=host)


def test_files_that_do_not_do_are_named(papers, hall, tmp_path):
    certificate, key = papers.server
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    for own, name in (((tmp_path / "none.pem", key), "none.pem"), ((certificate, empty), "empty.pem")):
        with pytest.raises(ConfigurationError, match=name):
            make_server(hall, papers, own=own)
    with pytest.raises(ConfigurationError, match="no certificate and its unencrypted key"):
        make_server(hall, papers, own=(certificate, papers.client[1]))
    with pytest.raises(ConfigurationError, match="client_ca"):
        make_server(hall, papers, client_ca=empty)
    with pytest.raises(ConfigurationError, match="no upload can be kept in"):
        make_server(hall, papers, spool_folder=tmp_path / "nowhere")


def test_privfl_alone_imports_no_server_and_says_which_extra_is_missing():
    code = (
        "import sys, privfl, privfl.integrations.consortium\n"
        "assert not {'httpx', 'starlette', 'uvicorn', 'h11'} & set(sys.modules)\n"
        "sys.modules['uvicorn'] = None\n"
        "try:\n"
        "    import privfl.integrations.http\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert said == "'uvicorn' is not installed: pip install 'privfl[http]'\n"
