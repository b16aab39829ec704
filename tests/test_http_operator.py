"""The page of whoever operates a coordinator: what it says, to whom, and how it looks in a real browser."""

import json
import re
from collections import Counter

import httpx
import pytest
from browser import Browser, needs_browser
from consortium_harness import eventually, in_thread, make_order, make_session
from http_harness import Papers, holding, make_hall, make_server

from privfl.errors import ConfigurationError
from privfl.integrations.consortium import Snapshot
from privfl.integrations.http import operator
from privfl.integrations.http.standing import metrics, status

EVIL = "</script><script>document.title='caught'</script><img src=x onerror=alert(1)>"


def row(number, **changes):
    usual = {
        "round": number, "contributors": 5, "dropped": 0, "accuracy": 0.9 - 0.4 / number, "loss": 1 / number,
        "epsilon": None, "upload_bytes": 123_456, "download_bytes": 4_567_890, "seconds": 12.3, "aborted": False,
        "aborted_because": None, "dropped_because": {},
    }  # fmt: skip
    return usual | changes


ROUNDS = [
    *(row(number, epsilon=0.3 * number) for number in range(1, 13)),
    row(13, accuracy=None, contributors=0, aborted=True, aborted_because=f"too few are left {EVIL}", epsilon=3.6),
    row(14, epsilon=4.2, dropped=2, dropped_because={f"silent {EVIL}": [3], "slow": [1, 4]}),
]


def snapshot(**changes):
    usual = {
        "run": "00" * 16, "over": None, "round": 15, "kind": "train", "phase": "MaskedInput", "phase_age_s": 3.7,
        "cohort": (0, 1, 2, 3, 4), "waiting": (1, 4), "present": (0, 1, 2, 3), "answers": 200, "refused": 2,
        "declined": 1, "bytes_in": 5_000_000, "bytes_out": 70_000_000,
    }  # fmt: skip
    return Snapshot(**usual | changes)


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def hall():
    return make_hall(5)


@pytest.fixture
def server(hall, papers):
    with make_server(hall, papers, n=5, rounds=lambda: ROUNDS, rounds_planned=20) as server:
        yield server


@pytest.fixture
def http(server):
    with httpx.Client(base_url=f"http://127.0.0.1:{server.operator_port}", trust_env=False, timeout=30) as http:
        yield http


def events(response):
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def test_the_status_is_what_json_has():
    said = json.loads(json.dumps(status(snapshot(), ROUNDS, 20), allow_nan=False))
    assert (said["round"], said["planned"], said["rounds"], said["phase"]) == (15, 20, 14, "MaskedInput")
    assert said["phase_age_s"] == 3
    assert said["waiting"] == [1, 4]
    assert said["epsilon"] == 4.2
    assert said["accuracy"] == ROUNDS[-1]["accuracy"]
    assert said["last"] == {"round": 14, "dropped_because": {f"silent {EVIL}": [3], "slow": [1, 4]}}
    assert [line["round"] for line in said["table"]] == list(range(14, 2, -1))
    assert [round_ for round_, _ in said["chart"]] == list(range(1, 15))


def test_numbers_that_are_none_are_left_out():
    rounds = [row(1, accuracy=float("nan"), loss=float("inf"), epsilon=float("inf"))]
    said = json.dumps(status(snapshot(), rounds, None), allow_nan=False)
    assert json.loads(said)["accuracy"] is None
    assert "privfl_accuracy" not in metrics(snapshot(), rounds, {})


def test_a_run_that_has_just_begun():
    said = status(snapshot(round=None, phase=None, phase_age_s=None, cohort=(), waiting=(), present=()), [], None)
    assert (said["rounds"], said["table"], said["chart"], said["accuracy"]) == (0, [], [], None)
    assert "privfl_rounds_total 0\n" in metrics(snapshot(), [], {})


def test_the_chart_of_a_long_run_is_thinned():
    chart = status(snapshot(), [row(number) for number in range(1, 2002)], None)["chart"]
    assert len(chart) <= 400
    assert chart[-1][0] == 2001


def test_metrics_are_in_the_format_that_prometheus_reads():
    text = metrics(snapshot(), ROUNDS, {"401-forged": 3, 'odd "kind"\\\n': 1})
    assert text.endswith("\n")
    declared, samples = Counter(), {}
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, _rest = line.split(" ", 3)
            assert word in {"HELP", "TYPE"}
            declared[name] += 1
        else:
            found = re.fullmatch(
                r'([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\\\|\\"|\\n)*"\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)', line
            )
            assert found, line
            assert declared[found[1]] == 2  # help and type stand before
            samples[found[1] + (found[2] or "")] = float(found[3])
    assert set(declared.values()) == {2}
    assert samples["privfl_round"] == 15
    assert samples["privfl_clients_present"] == 4
    assert samples["privfl_answers_total"] == 200
    assert samples['privfl_refused_total{why="answer"}'] == 2
    assert samples['privfl_refused_total{why="401-forged"}'] == 3
    assert samples['privfl_bytes_total{direction="in"}'] == 5_000_000
    assert samples["privfl_epsilon"] == 4.2
    assert samples["privfl_rounds_aborted_total"] == 1


def test_the_page_loads_nothing_and_runs_only_its_own(http):
    page = http.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"\b(?:src|href)=\"(?!data:|/status\.json|/metrics)", page.text)
    assert not re.search(r"\son[a-z]+=", page.text)
    assert " style=" not in page.text
    assert "innerHTML" not in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert len(re.findall("<script>", page.text)) == len(re.findall("<style>", page.text)) == 1


def test_all_that_is_asked_for(http, hall):
    assert http.get("/health").json() == {"status": "ok"}
    assert http.get("/status.json").json()["run"] == hall.greeting.run.hex()
    answer = http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "privfl_rounds_total 14\n" in answer.text
    assert http.get("/v1/offer").status_code == 404
    assert http.post("/status.json").status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[::2]"])
def test_another_name_than_the_machines_own_is_not_answered(http, host):
    for target in ("/", "/status.json", "/events", "/metrics", "/health"):
        answer = http.get(target, headers={"host": host})
        assert answer.status_code in {400, 421}
        assert "run" not in answer.text


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1", "[::1]:80"])
def test_the_machines_own_names_are_answered(http, host):
    assert http.get("/status.json", headers={"host": host}).status_code == 200


def test_events_come_when_something_has_changed(http, hall, server):
    with http.stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = events(stream)
        assert next(told)["phase"] is None
        with holding(hall, make_order(*make_session(n=5))):
            assert next(told)["phase"] == "AdvertiseKeys"
        assert next(told)["over"] == "the test is over"


def test_events_end_with_the_server(hall, papers):
    server = make_server(hall, papers, n=5)
    server.start()

    def listen():
        with httpx.stream("GET", f"http://127.0.0.1:{server.operator_port}/events", timeout=30) as stream:
            return list(events(stream))

    listening = in_thread(listen)
    eventually(lambda: server._operator._listeners == 1)
    server.stop()
    assert len(listening()) == 1


def test_only_so_many_pages_listen(http, server, monkeypatch):
    monkeypatch.setattr(operator, "_MOST_LISTENERS", 1)
    with http.stream("GET", "/events") as stream:
        told = events(stream)
        next(told)
        assert http.get("/events").status_code == 503
        told.close()
    eventually(lambda: server._operator._listeners == 0)


def test_a_page_that_cannot_be_made_is_a_line_in_the_log(papers, hall, caplog):
    def rounds():
        raise RuntimeError("a secret of the run")

    with make_server(hall, papers, n=5, rounds=rounds) as server:
        for target in ("/status.json", "/metrics"):
            answer = httpx.get(f"http://127.0.0.1:{server.operator_port}{target}")
            assert answer.status_code == 500
            assert "secret" not in answer.text + caplog.text


def test_no_page_where_none_is_wanted(papers, hall):
    with make_server(hall, papers, n=5, operator_port=None) as server:
        assert server.operator_port is None


def test_a_page_of_another_machine_is_refused(papers, hall):
    with pytest.raises(ConfigurationError, match="ssh -L"):
        make_server(hall, papers, n=5, operator_host="192.0.2.1")


@needs_browser
def test_the_page_in_a_browser(server, hall, tmp_path):
    """It shows how things stand, says so when they change, and takes nothing for markup."""
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"http://127.0.0.1:{server.operator_port}/")
        browser.until("!document.getElementById('main').hidden")
        assert browser.text("state") == "Between rounds: 14 of 20 done"
        with holding(hall, make_order(*make_session(n=5), round=15)) as (order, _):
            hall.decline(2, order.params.nonce, "not today")
            hall.offer(0)
            browser.until("document.getElementById('present').textContent === '2'")
            assert browser.text("state") == "Round 15 of 20"
            assert browser.text("phase").startswith("Clients advertise their keys, for ")
            assert browser.text("run") == hall.greeting.run.hex()
            assert browser.text("answered") == "1 of 5"
            assert browser.text("epsilon") == "4.200"
            assert browser.text("told") == "Live."
        browser.until("document.getElementById('state').textContent === 'Over: the test is over'")
        assert browser.ask("document.title") == "Over: the test is over – privfl"
        assert browser.ask("document.querySelectorAll('#rounds tr').length") == 12
        assert browser.ask("document.querySelectorAll('#chart polyline').length") == 1
        assert browser.ask("document.getElementById('state').getAttribute('aria-live')") == "polite"
        # What others wrote is text, whatever it looks like; and the page's policy has nothing to complain of.
        assert EVIL in browser.text("dropped")
        assert browser.ask("document.images.length") == 0
        assert browser.ask("document.scripts.length") == 1
        assert browser.console == []
        server.stop()
        browser.until("!document.getElementById('lost').hidden")


@needs_browser
@pytest.mark.parametrize(("width", "dark"), [(1100, False), (1100, True), (420, False)])
def test_the_page_fits_and_can_be_read(server, hall, tmp_path, width, dark):
    with Browser(tmp_path / "profile", width=width, dark=dark) as browser:
        browser.open(f"http://127.0.0.1:{server.operator_port}/")
        browser.until("!document.getElementById('main').hidden")
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
        for selector in ("#state", "#told", "#rounds-note", "#s-rounds th", "#s-rounds tr.alarm td:last-child", "a"):
            assert browser.ask(CONTRAST.replace("SELECTOR", selector)) >= 4.5, selector
        browser.photograph(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 10_000


CONTRAST = """(() => {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const text = getComputedStyle(document.querySelector("SELECTOR")), page = getComputedStyle(document.body);
  const [low, high] = [text.color, page.backgroundColor].map(luminance).sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
})()"""
"""The contrast of an element's text with the page, as WCAG 2 reckons it."""
