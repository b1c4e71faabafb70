"""A payment is never failed or delayed by the store: it is answered in time from what is known, and says why."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from broken_store import Proxy, answering
from live_cases import DEADLINE_MS, Counted, Replayed, Server, ask, impatient, pod, settings

from training.export.export import alone
from training.live.connection import StoreConnection, Unavailable
from training.live.definition import DAY
from training.live.keys import Names
from training.live.settings import LiveSettings
from training.serving.fraud_live import FraudLive

DEADLINE = DEADLINE_MS / 1000
ROOM = 0.4  # seconds for the model itself and a busy machine, on top of the deadline


@pytest.fixture
def lines(replayed: Replayed) -> list[bytes]:
    return replayed.lines(range(len(replayed.table) - 40, len(replayed.table)))


@pytest.fixture
def by_row(replayed: Replayed) -> np.ndarray:
    """What these payments score by their rows alone."""
    ids = torch.arange(len(replayed.table) - 40, len(replayed.table))
    return replayed.model.score(alone(replayed.builder.reader.block(ids)))


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    made = Proxy(server.port)
    yield made
    made.close()


def timed(live: FraudLive, lines: list[bytes]) -> tuple[list[str], list[float], list[float]]:
    """Why each answer is degraded, its probability, and the seconds it took."""
    why, scores, seconds = [], [], []
    for line in lines:
        began = time.perf_counter()
        answer = ask(live, line)
        seconds.append(time.perf_counter() - began)
        why.append(answer["DEGRADED"][0, 0].decode())
        scores.append(float(answer["PROBABILITY"][0, 0]))
    return why, scores, seconds


def begun(live: FraudLive, lines: list[bytes]) -> None:
    """Return once the store answers in time, three payments in succession."""
    until = time.monotonic() + 30
    while timed(live, lines[:3])[0] != ["not filled"] * 3:
        assert time.monotonic() < until


def test_no_store_is_said(replayed: Replayed, lines: list[bytes], by_row: np.ndarray) -> None:
    """Without a URL, or without a key, payments are scored by their rows alone."""
    for given, why in ((LiveSettings(), "no store"), (LiveSettings(url="valkey://127.0.0.1:1"), "no key")):
        with pod(replayed.model, given) as (live, _):
            told, scores, _ = timed(live, lines)
        assert set(told) == {why}
        assert np.allclose(scores, by_row, atol=1e-6)


def test_a_store_that_is_down_costs_nothing(replayed: Replayed, server: Server, lines: list[bytes], by_row) -> None:
    """After the first payment that notices, none waits; when the store is back, it is used again, within seconds."""
    given = impatient(settings(server))
    with pod(replayed.model, given) as (live, counted):
        begun(live, lines)
        port = server.port
        server.stop()
        told, scores, _ = timed(live, lines)
        assert set(told) == {"down"}
        assert np.allclose(scores, by_row, atol=1e-6)
        assert sorted(counted.waited)[-2] < DEADLINE / 2, "no payment tries to connect"
        with Server(port=port):
            until = time.monotonic() + 10
            while timed(live, lines[:1])[0] == ["down"]:
                assert time.monotonic() < until
                time.sleep(0.05)
            begun(live, lines)


@pytest.mark.parametrize("how", ["delay", "trickle"])
def test_a_slow_store_costs_one_deadline(
    replayed: Replayed, server: Server, proxy: Proxy, lines: list[bytes], by_row: np.ndarray, how: str
) -> None:
    """Whether it answers late or byte by byte: one payment waits for the deadline, the next ones not at all."""
    given = impatient(settings(server, url=f"valkey://127.0.0.1:{proxy.port}/0"))
    with pod(replayed.model, given) as (live, counted):
        begun(live, lines)
        known = len(counted.waited)
        setattr(proxy, how, 0.5 if how == "delay" else 0.03)
        told, scores, seconds = timed(live, lines)
    assert set(told) <= {"slow", "not counted: slow"}
    assert told[1:] == ["slow"] * (len(lines) - 1)
    assert np.allclose(scores[1:], by_row[1:], atol=1e-6)
    assert max(seconds) < DEADLINE + ROOM
    assert DEADLINE * 0.9 < max(counted.waited[known:]) < DEADLINE + ROOM
    assert sum(wait > DEADLINE / 10 for wait in counted.waited[known:]) <= 2


def test_a_full_store_is_read_and_not_written(replayed: Replayed, server: Server, tmp_path: Path, lines) -> None:
    """Histories are read, so the score is whole; that the payment is missing from later ones is said."""
    row = replayed.last(1)[0]  # the first one of its day: nothing of its day is missing yet
    given = settings(server)
    replayed.night(tmp_path, given, int(replayed.times()[row]) // DAY * DAY, whole=True)
    server.client().config_set("maxmemory", "1mb")
    with pod(replayed.model, given) as (live, _):
        told, scores, _ = timed(live, replayed.lines([row]))
        assert told == ["not counted: full"]
        assert np.allclose(scores, replayed.offline([row]), atol=1e-5)
        assert set(timed(live, lines)[0]) == {"not counted: full"}
        server.client().config_set("maxmemory", "0")
        assert timed(live, lines[:1])[0] == [""]


ERRORS = {
    b"-READONLY You can't write against a read only replica.\r\n": "failing over",
    b"-MOVED 3999 127.0.0.1:6381\r\n": "failing over",
    b"-CLUSTERDOWN The cluster is down\r\n": "failing over",
    b"-LOADING Valkey is loading the dataset in memory\r\n": "loading",
    b"-BUSY Valkey is busy running a script.\r\n": "slow",
    b"-NOPERM this user has no permissions\r\n": "refused",
    b"-ERR something new\r\n": "error",
    b"?nonsense\r\n": "down",
}


@pytest.mark.parametrize("line", ERRORS, ids=list(ERRORS.values()))
def test_an_error_of_the_store_is_a_reason(replayed: Replayed, lines, by_row, line: bytes) -> None:
    """A store that fails over, loads or refuses: the payments are answered, with the reason."""
    with answering(line) as port:
        given = impatient(LiveSettings(f"valkey://127.0.0.1:{port}/0", "", "a key of the tests"))
        with pod(replayed.model, given) as (live, _):
            told, scores, seconds = timed(live, lines)
    assert ERRORS[line] in told[0]
    assert all(told)
    assert np.allclose(scores, by_row, atol=1e-6)
    assert max(seconds) < DEADLINE + ROOM


def test_a_wrong_password_is_said(replayed: Replayed, server: Server, lines: list[bytes]) -> None:
    """The store wants one, and another is given."""
    server.client().config_set("requirepass", "right")
    with pod(replayed.model, settings(server, password="wrong")) as (live, _):
        assert set(timed(live, lines[:3])[0]) == {"refused"}
    with pod(replayed.model, settings(server, password="right")) as (live, _):
        assert set(timed(live, lines[:3])[0]) == {"not filled"}


def test_an_emptied_store_is_said(replayed: Replayed, server: Server, tmp_path: Path, lines: list[bytes]) -> None:
    """A store that came back without its data says that it was not filled, until it is."""
    given = settings(server)
    midnight = int(replayed.times()[-1]) // DAY * DAY + DAY
    with pod(replayed.model, given) as (live, _):
        replayed.night(tmp_path, given, midnight, whole=True)
        assert timed(live, lines[:1])[0] == [""]
        server.client().flushall()
        assert timed(live, lines[:1])[0] == ["not filled"]
        replayed.night(tmp_path, given, midnight, whole=True)
        assert timed(live, lines[:1])[0] == [""]


def test_a_damaged_record_is_said(replayed: Replayed, server: Server, lines: list[bytes]) -> None:
    """A value that is no record fails no payment."""
    with pod(replayed.model, settings(server)) as (live, _):
        ask(live, lines[0])
        client = server.client()
        for key in client.keys("*:card:*"):
            client.set(key, b"\x07")
        assert timed(live, lines[:1])[0] == ["damaged"]


@pytest.mark.parametrize("kept", [b"{", b"[]", b'{"probability": 0.5, "of_another_release": 1}'])
def test_a_damaged_answer_is_said(replayed: Replayed, server: Server, lines: list[bytes], kept: bytes) -> None:
    """What was kept of a request id and is no answer fails no payment."""
    with pod(replayed.model, settings(server)) as (live, _):
        server.client().set(Names("fraud").answer("an id"), kept)
        answer = ask(live, lines[0], "an id")
        assert answer["DEGRADED"][0, 0] == b"damaged"


def test_a_deadline_that_is_over_costs_no_connection(server: Server) -> None:
    """Nothing was sent, so the next payment uses the same connection."""
    connection = StoreConnection(settings(server))
    try:
        assert connection.wait(10)
        with pytest.raises(Unavailable, match="slow"):
            connection.call(time.monotonic(), [["PING"]])
        assert connection.call(time.monotonic() + 5, [["PING"]]) == [b"PONG"]
    finally:
        connection.close()


def test_what_is_not_asked_is_not_counted(replayed: Replayed, server: Server, lines: list[bytes]) -> None:
    """STORE false: the warm-up and the golden requests are no payments."""
    with pod(replayed.model, settings(server)) as (live, counted):
        answer = ask(live, lines[0], "an id", stored=False)
        assert answer["DEGRADED"][0, 0] == b"not asked"
        assert server.client().dbsize() == 0
    assert Counted().degraded == counted.degraded
