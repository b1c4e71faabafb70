import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from local.demo.client import Client, Question

GOLDEN = {
    "format": 1,
    "tolerance": 1e-5,
    "exchanges": [
        {
            "model": "fraud_score",
            "inputs": [{"name": "amount", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}],
            "outputs": [
                {"name": "probability", "datatype": "FP32", "shape": [1], "data": [0.25]},
                {"name": "decision", "datatype": "BOOL", "shape": [1], "data": [False]},
            ],
        }
    ],
}
RIGHT = [{"name": "decision", "data": [False]}, {"name": "probability", "data": [0.250001]}]


@pytest.fixture
def triton():
    """A server that gives these answers in turn, and the last one forever."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            answers = server.answers
            status, outputs = answers.pop(0) if len(answers) > 1 else answers[0]
            if status == 0:
                self.close_connection = True
                return
            body = json.dumps({"outputs": outputs}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answers = [(200, RIGHT)]
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def asked(triton, requests):
    client = Client(f"http://127.0.0.1:{triton.server_port}", Question.of_golden(GOLDEN), rate=200)
    client.reach(requests, 5)
    client.close()
    return client


def test_it_asks_at_its_rate_and_counts(triton):
    """Fifty requests at 200 a second, all answered."""
    began = time.monotonic()
    client = asked(triton, 50)
    assert client.requests >= 50
    assert time.monotonic() - began >= 49 / 200
    assert client.failed == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((503, []), "status 503"),
        ((0, []), "RemoteDisconnected"),
        ((200, [{"name": "probability", "data": [0.26]}, RIGHT[0]]), "another answer: probability"),
        ((200, [{"name": "probability", "data": []}, RIGHT[0]]), "another answer: probability"),
        ((200, [RIGHT[1]]), "another answer: decision"),
        (
            (200, [{"name": "probability", "data": [0.25]}, {"name": "decision", "data": [True]}]),
            "another answer: decision",
        ),
    ],
)
def test_one_bad_answer_is_one_failure(triton, answer, words):
    """No retry hides it, whatever is wrong: no answer, an error, or the answer of another model."""
    triton.answers = [(200, RIGHT), answer, (200, RIGHT)]
    client = asked(triton, 20)
    assert client.failed == 1
    assert words in next(iter(client.failures))


def test_nobody_there_is_a_failure_of_each_request():
    """A refused connection is counted, not raised."""
    client = Client("http://127.0.0.1:9", Question.of_golden(GOLDEN), rate=200)
    client.reach(5, 5)
    client.close()
    assert client.failed == client.requests >= 5
