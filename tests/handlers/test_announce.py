"""Announcements: what the history says, once a line; Slack never holds up the stream."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest


@pytest.fixture
def slack(monkeypatch):
    """A Slack on loopback; the messages it got, and the status it answers."""

    class Slack(BaseHTTPRequestHandler):
        posted: ClassVar[list] = []
        status = 200

        def do_POST(self):
            Slack.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(Slack.status)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Slack)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("FRAUDLOOP_SLACK_WEBHOOK", f"http://127.0.0.1:{server.server_port}/hook")
    yield Slack
    server.shutdown()
    server.server_close()


def test_a_failure_is_told(slack, invoke):
    """Which run, which step, and why."""
    assert invoke("announce", "stream")["announced"] == 1
    assert "fraud-1" in json.dumps(slack.posted)
    assert "left no report" in json.dumps(slack.posted)


@pytest.mark.parametrize("torn", [{"model": None}, {"body": {}}, {"format": {"N": "two"}}, {"format": {"N": "99"}}])
def test_a_line_that_cannot_be_read_holds_up_no_other(slack, invoke, recorded, torn):
    """It is counted and skipped, and the next one is announced."""
    (poison, *_), (record, *_) = recorded("stream"), recorded("stream")
    poison["dynamodb"]["NewImage"] |= torn
    assert invoke("announce", {"Records": [poison, record]})["announced"] == 1
    assert len(slack.posted) == 1


def test_a_slack_that_fails_does_not_hold_up_the_stream(slack, invoke):
    """The metrics are out, the record is done."""
    slack.status = 500
    assert invoke("announce", "stream")["announced"] == 1
