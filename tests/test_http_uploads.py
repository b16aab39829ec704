"""Answers that come in chunks: in order, once, within bounds, and without a trace."""

import contextlib
import hashlib
import time
from pathlib import Path

import pytest
from consortium_harness import eventually, in_thread, make_order, make_session
from http_harness import Papers, Raw, holding, make_hall, make_server

from privfl import ClientPolicy, suite
from privfl.integrations.consortium import NotWaited
from privfl.integrations.http.bodies import Refused
from privfl.integrations.http.uploads import Chunk, Place, Spool, Standing
from privfl.session import Phase
from privfl.wire import client as party

HERE, THERE = Place(bytes(16), Phase.UNMASK), Place(bytes(16), Phase.MASKED_INPUT)
WHOLE = bytes(range(250)) * 4


class Asker:
    """A hall's room, for tests that turn it."""

    def __init__(self, most=1000):
        self.most, self.asked = most, 0

    def __call__(self, client, session, phase):
        self.asked += 1
        if self.most is None:
            raise NotWaited("late")
        return self.most


def chunk(start=0, stop=None, *, whole=WHOLE, told=None):
    raw = whole[start:stop]
    told = start == 0 if told is None else told
    return Chunk(offset=start, total=len(whole), raw=raw, whole=hashlib.sha256(whole).digest() if told else None)


def refused(call, *arguments):
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value


@pytest.fixture
def room():
    return Asker()


@pytest.fixture
def spool(tmp_path, room):
    spool = Spool(tmp_path, room)
    yield spool
    spool.close()
    assert list(tmp_path.iterdir()) == []


def files_open_in(folder):
    """How many files of a folder this process has open, nameless ones too."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(descriptor.readlink()).startswith(f"{folder}/")
    return found


def test_chunks_make_a_whole(spool, tmp_path):
    assert spool.standing(5, HERE) == Standing(received=0)
    assert spool.put(5, HERE, chunk(0, 300)) == Standing(received=300)
    assert spool.standing(5, HERE) == Standing(received=300)
    assert spool.standing(5, THERE) == Standing(received=0)
    assert spool.put(5, HERE, chunk(300, 1000)) == Standing(received=1000, whole=True)
    assert files_open_in(tmp_path) == 1
    assert spool.take(5, HERE) == WHOLE
    assert files_open_in(tmp_path) == 0


def test_guarantee_1_a_file_has_no_name_and_is_gone_with_its_upload(spool, tmp_path):
    spool.put(5, HERE, chunk(0, 300))
    assert list(tmp_path.iterdir()) == []
    assert files_open_in(tmp_path) == 1
    spool.forget(5)
    assert files_open_in(tmp_path) == 0


def test_guarantee_1_a_second_upload_takes_the_firsts_place(spool, tmp_path):
    spool.put(5, HERE, chunk(0, 300))
    spool.put(5, THERE, chunk(0, 100))
    assert files_open_in(tmp_path) == 1
    assert spool.standing(5, HERE) == Standing(received=0)
    assert spool.standing(5, THERE) == Standing(received=100)
    spool.put(6, HERE, chunk(0, 300))
    assert files_open_in(tmp_path) == 2


def test_guarantee_1_no_byte_is_kept_beyond_the_halls_room(spool, room, tmp_path):
    room.most = 999
    assert refused(spool.put, 5, HERE, chunk(0, 300)).status == 413
    room.most = None
    with pytest.raises(NotWaited):
        spool.put(5, HERE, chunk(0, 300))
    assert files_open_in(tmp_path) == 0


def test_guarantee_1_the_room_is_asked_for_with_every_chunk(spool, room):
    spool.put(5, HERE, chunk(0, 300))
    room.most = None
    with pytest.raises(NotWaited):
        spool.put(5, HERE, chunk(300, 400))


def test_guarantee_1_what_nobody_waits_for_is_swept(spool, room, tmp_path):
    spool.put(5, HERE, chunk(0, 300))
    spool.forget_unwanted(5)
    assert spool.under_way == (5,)
    room.most = None
    spool.forget_unwanted(5)
    spool.forget_unwanted(6)
    assert spool.under_way == ()
    assert files_open_in(tmp_path) == 0


def test_guarantee_2_a_whole_that_is_not_what_was_promised_is_refused(spool, tmp_path):
    spool.put(5, HERE, chunk(0, 300))
    spool.put(5, HERE, Chunk(offset=300, total=1000, raw=bytes(700)))
    refusal = refused(spool.take, 5, HERE)
    assert (refusal.status, refusal.more) == (400, {"received": 0})
    assert files_open_in(tmp_path) == 0
    spool.put(5, HERE, chunk())
    assert spool.take(5, HERE) == WHOLE


def test_guarantee_2_only_a_whole_is_handed_out(spool):
    spool.put(5, HERE, chunk(0, 300))
    assert refused(spool.take, 5, HERE).status == 409


@pytest.mark.parametrize("offset", [0, 299, 301, 999])
def test_another_offset_is_told_where_the_upload_stands(spool, offset):
    spool.put(5, HERE, chunk(0, 300))
    refusal = refused(spool.put, 5, HERE, chunk(offset, offset + 1))
    assert (refusal.status, refusal.more) == (409, {"received": 300})
    assert spool.standing(5, HERE) == Standing(received=300)


def test_an_upload_begins_at_its_beginning_with_its_digest(spool):
    refusal = refused(spool.put, 5, HERE, chunk(300, 400))
    assert (refusal.status, refusal.more) == (409, {"received": 0})
    assert refused(spool.put, 5, HERE, chunk(0, 300, told=False)).status == 400
    assert spool.under_way == ()


def test_a_later_chunk_keeps_to_the_promised_length(spool):
    spool.put(5, HERE, chunk(0, 300))
    refusal = refused(spool.put, 5, HERE, Chunk(offset=300, total=900, raw=b"x"))
    assert (refusal.status, refusal.more) == (400, {"received": 300})


def test_another_answer_to_the_same_request_takes_the_place_of_the_first(spool):
    spool.put(5, HERE, chunk(0, 300))
    other = bytes(1000)
    assert spool.put(5, HERE, chunk(0, 200, whole=other)) == Standing(received=200)
    spool.put(5, HERE, chunk(200, whole=other))
    assert spool.take(5, HERE) == other


def test_a_repeated_last_chunk_hears_the_same_again(spool, room):
    spool.put(5, HERE, chunk(0, 300))
    spool.put(5, HERE, chunk(300))
    spool.take(5, HERE)
    spool.settle(5, HERE, chunk(300), refused=None)
    room.most = None  # the hall has it
    assert spool.put(5, HERE, chunk(300)) == Standing(received=1000, complete=True)
    assert spool.standing(5, HERE) == Standing(received=1000, complete=True)
    with pytest.raises(NotWaited):
        spool.put(5, HERE, chunk(0, 300))
    with pytest.raises(NotWaited):
        spool.put(5, THERE, chunk(300, told=True))


def test_a_repeated_last_chunk_of_a_refused_answer_is_refused_again(spool):
    spool.put(5, HERE, chunk())
    spool.take(5, HERE)
    spool.settle(5, HERE, chunk(), refused="not as agreed")
    assert refused(spool.put, 5, HERE, chunk()).status == 422
    assert refused(spool.standing, 5, HERE).status == 422
    assert spool.standing(5, THERE) == Standing(received=0)


# Through the door.


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


class Noting:
    """What a hall is given, counted; everything else is the hall's."""

    def __init__(self, hall):
        self._hall, self.given = hall, []

    def __getattr__(self, name):
        return getattr(self._hall, name)

    def answer(self, client, session, phase, body):
        self.given.append((client, body))
        self._hall.answer(client, session, phase, body)


def first_answer(order, client=0):
    """A client's honest first answer."""
    policy = ClientPolicy(minimum_contributors=1, servers=frozenset({order.params.threat.server}))
    session = suite(order.params.suite).client(order.params, client, policy=policy, credentials=None)
    return session.respond(order.server.request_for(party(client)))


def test_an_answer_in_chunks_reaches_the_hall_once(papers, tmp_path):
    hall = make_hall()
    noting = Noting(hall)
    order = make_order(*make_session())
    answer = first_answer(order)
    with make_server(noting, papers, spool_folder=tmp_path) as server, holding(hall, order), Raw(server, papers) as raw:
        place = f"{order.params.nonce.hex()}/AdvertiseKeys"
        half, total = len(answer) // 2, len(answer)
        assert raw.ask("GET", f"/v1/answers/{place}").json() == {"received": 0, "complete": False}
        assert raw.put(place, 0, total, answer[:half], whole=answer).json() == {"received": half, "complete": False}
        assert files_open_in(tmp_path) == 1
        said = raw.put(place, 0, total, answer[:half], whole=answer)
        assert (said.status_code, said.json()["received"]) == (409, half)
        for _ in range(3):
            assert raw.put(place, half, total, answer[half:]).json() == {"received": total, "complete": True}
        assert raw.ask("GET", f"/v1/answers/{place}").json() == {"received": total, "complete": True}
        assert noting.given == [(0, answer)]
        assert files_open_in(tmp_path) == 0
        assert list(tmp_path.iterdir()) == []


def test_the_same_last_chunk_twice_at_once_reaches_the_hall_once(papers, tmp_path):
    hall = make_hall()
    noting = Noting(hall)
    order = make_order(*make_session())
    answer = first_answer(order)
    with make_server(noting, papers) as server, holding(hall, order):
        raws = [Raw(server, papers) for _ in range(4)]
        for number, raw in enumerate(raws):
            raw.signer.take_over(raw.signer.epoch, 1000 * number)
        place = f"{order.params.nonce.hex()}/AdvertiseKeys"
        said = [in_thread(lambda raw=raw: raw.put(place, 0, len(answer), answer, whole=answer)) for raw in raws]
        statuses = {wait().status_code for wait in said}
        assert 200 in statuses
        assert statuses <= {200, 401, 408}  # one that came behind a higher count, or was ended by a newer one
        assert noting.given == [(0, answer)]
        for raw in raws:
            raw.close()


def test_what_is_too_long_is_refused_before_anything_is_kept(papers, tmp_path):
    hall = make_hall()
    with (
        make_server(hall, papers, spool_folder=tmp_path) as server,
        holding(hall) as (order, _),
        Raw(server, papers) as raw,
    ):
        place = f"{order.params.nonce.hex()}/AdvertiseKeys"
        body = bytes(hall.room(0, order.params.nonce, "AdvertiseKeys") + 1)
        assert raw.put(place, 0, len(body), body, whole=body).status_code == 413
        assert raw.put(place, 0, 2**50, b"x", whole=b"x").status_code == 413
        assert files_open_in(tmp_path) == 0


def test_an_upload_that_is_late_is_swept_when_the_session_ends(papers, tmp_path):
    hall = make_hall()
    with make_server(hall, papers, spool_folder=tmp_path) as server, Raw(server, papers) as raw:
        with holding(hall) as (order, _):
            raw.put(f"{order.params.nonce.hex()}/AdvertiseKeys", 0, 40, bytes(20), whole=bytes(40))
            assert files_open_in(tmp_path) == 1
        eventually(lambda: files_open_in(tmp_path) == 0)


def test_chunks_of_a_client_that_cross_come_one_by_one(papers, monkeypatch):
    hall = make_hall()
    under_way, most = [0], [0]

    def put(self, client, place, chunk):
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.1)
        under_way[0] -= 1
        return Standing(received=chunk.end)

    monkeypatch.setattr(Spool, "put", put)
    with make_server(hall, papers) as server:
        raws = [Raw(server, papers) for _ in range(3)]
        asked = []
        for number, raw in enumerate(raws):
            raw.signer.take_over(raw.signer.epoch, 1000 * number)
            asked.append(in_thread(lambda raw=raw: raw.put(f"{'0' * 32}/Unmask", 0, 3, b"abc", whole=b"abc")))
            time.sleep(0.03)  # each finds the one before it on the disk
        assert [wait().status_code for wait in asked] == [200, 200, 200]
        for raw in raws:
            raw.close()
    assert most == [1]
