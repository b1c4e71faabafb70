"""The scoring client keeps asking under one request id until its deadline, and takes a refusal as final."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from clients.scoring import LONGEST_ANSWER, InvalidTransaction, NotScored, ScoringClient
from statemachine.contracts.errors import Misconfigured

Reply = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]
LINE = "7,1,2019,5,17,06:21,$134.09"


def answered(handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
    """As Triton answers for `fraud_live`: flat data, two relations, the outputs that were asked for."""
    rows = request["inputs"][0]["shape"][0]
    made = {
        "PROBABILITY": [0.25 + at for at in range(rows)],
        "DECISION": [True] * rows,
        "HISTORY_USED": [3, 4] * rows,
        "VERSION": ["fraud-1-aabbccdd"] * rows,
        "DEGRADED": [""] * rows,
        "REASONS": ["amount", "", ""] * rows,
    }
    told = [{"name": one["name"], "data": made[one["name"]]} for one in request["outputs"]]
    replied(handler, 200, {"outputs": told})


def replied(handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    """A whole answer."""
    told = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(told)))
    handler.end_headers()
    handler.wfile.write(told)


def failing(status: int, error: str) -> Reply:
    """An error as Triton words it."""
    return lambda handler, _: replied(handler, status, {"error": error})


def hanging(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """No answer in time."""
    time.sleep(0.4)
    handler.close_connection = True


def cut(handler: BaseHTTPRequestHandler, _: dict[str, Any]) -> None:
    """The connection ends in the middle."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.close_connection = True


@contextmanager
def serving(*replies: Reply) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these replies in turn, the last one again and again; and what it was asked."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(request | {"path": self.path})
            replies[min(len(seen), len(replies)) - 1](self, request)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ids(request: dict[str, Any]) -> list[str]:
    """The request ids that were sent."""
    (found,) = (one["data"] for one in request["inputs"] if one["name"] == "REQUEST_ID")
    return list(found)


def test_an_answer_is_a_record() -> None:
    """All outputs of one payment; reasons are only asked for when wanted."""
    with serving(answered) as (url, seen), ScoringClient.of(url) as client:
        plain = client.score({"Amount": "$1", "Time": "06:21"}, "order-7")
        told = client.score(LINE, reasons=True)
    assert (plain.request_id, plain.probability, plain.decision) == ("order-7", 0.25, True)
    assert (plain.version, plain.history_used, plain.degraded, plain.reasons) == ("fraud-1-aabbccdd", (3, 4), "", ())
    assert told.reasons == ("amount",)
    assert seen[0]["path"] == "/v2/models/fraud_live/infer"
    assert json.loads(seen[0]["inputs"][0]["data"][0]) == {"Amount": "$1", "Time": "06:21"}
    assert "REASONS" not in str(seen[0])


def test_many_are_answered_in_order() -> None:
    """Each row gets its own values and id."""
    with serving(answered) as (url, _), ScoringClient.of(url) as client:
        scores = client.score_many([LINE] * 3, ["a", "b", "c"])
    assert [(one.request_id, one.probability) for one in scores] == [("a", 0.25), ("b", 1.25), ("c", 2.25)]


@pytest.mark.parametrize(
    "failure",
    [
        failing(503, "the server is not ready"),
        failing(500, "the model failed"),
        failing(400, "Request for unknown model: 'fraud_live' has no available versions"),
        hanging,
        cut,
        lambda handler, _: replied(handler, 200, {"outputs": None}),
        lambda handler, _: replied(handler, 200, "x" * (LONGEST_ANSWER + 1)),
    ],
    ids=["503", "500", "reloading", "hanging", "cut", "no outputs", "too long"],
)
def test_a_failure_is_tried_again_with_the_same_id(failure: Reply) -> None:
    """So a payment that was counted by the first attempt is not counted by the second."""
    with serving(failure, failure, answered) as (url, seen), ScoringClient.of(url, attempt=0.2) as client:
        assert client.score(LINE).probability == 0.25
    assert len(seen) == 3
    assert len({tuple(ids(request)) for request in seen}) == 1


def test_another_server_is_asked() -> None:
    """One that is not there costs an attempt, and the next call begins with the one that answered."""
    with serving(answered) as (url, seen), ScoringClient.of("http://127.0.0.1:9", url) as client:
        client.score(LINE)
        client.score(LINE)
    assert len(seen) == 2


def test_an_invalid_transaction_is_not_tried_again() -> None:
    """The server's words reach the caller."""
    with (
        serving(failing(400, "TRANSACTION[0]: Amount is 'nan'")) as (url, seen),
        ScoringClient.of(url) as client,
        pytest.raises(InvalidTransaction, match=r"TRANSACTION\[0\]: Amount is 'nan'"),
    ):
        client.score(LINE)
    assert len(seen) == 1


def test_the_deadline_ends_it() -> None:
    """Whatever the server does: no call takes much longer than its deadline."""
    with serving(hanging) as (url, _), ScoringClient.of(url, deadline=0.5, attempt=0.2) as client:
        began = time.monotonic()
        with pytest.raises(NotScored, match=r"within 0\.5 s in \d attempts"):
            client.score(LINE)
        assert time.monotonic() - began < 1.5


def test_what_cannot_be_asked_is_said() -> None:
    """No server, no URL, no or too many transactions."""
    for wrong in ((), ("127.0.0.1:8000",), ("ftp://x",)):
        with pytest.raises(Misconfigured, match="such as http"):
            ScoringClient.of(*wrong)
    with ScoringClient.of("http://127.0.0.1:9") as client, pytest.raises(Misconfigured, match="1 to 64"):
        client.score_many([LINE] * 65)


def test_an_answer_of_another_form_is_no_score() -> None:
    """A wrong model behind the URL is named, not guessed at."""
    strange = lambda handler, _: replied(handler, 200, {"outputs": [{"name": "PROBABILITY", "data": []}]})  # noqa: E731
    with (
        serving(strange) as (url, _),
        ScoringClient.of(url) as client,
        pytest.raises(NotScored, match="not one of fraud_live"),
    ):
        client.score(LINE)
