"""The whole way, with the real programs: a failing stage → Pushgateway → Prometheus → Alertmanager → a Slack stub."""

import contextlib
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.outcome import Permanent
from training.ports import free_port
from training.runtime import telemetry
from training.runtime.stage import run_stage

MONITORING = Path(__file__).parents[2] / "monitoring"
PROGRAMS = ("prometheus", "prometheus-pushgateway", "prometheus-alertmanager")
MISSING = [name for name in PROGRAMS if not shutil.which(name)]
BUDGET = 30.0  # seconds from the failure to Slack

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"apt-get install {' '.join(MISSING)}"),
    pytest.mark.xdist_group("live-monitoring"),
]


class SlackStub(ThreadingHTTPServer):
    """Stands in for Slack's incoming webhook: keeps each message with the time it came."""

    def __init__(self):
        self.messages = []
        super().__init__(("127.0.0.1", 0), SlackHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/services/T0/B0/secret"


class SlackHandler(BaseHTTPRequestHandler):
    server: Any  # a SlackStub

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append((time.monotonic(), json.loads(body)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def configure(folder, slack, ports):
    """The committed configurations with local addresses and shorter intervals; rules and routes unchanged."""
    prometheus = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    prometheus["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    prometheus["rule_files"] = [str(MONITORING / "rules/*.yml")]
    prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{ports['alertmanager']}"]
    [gateway] = [job for job in prometheus["scrape_configs"] if job["job_name"] == "pushgateway"]
    gateway["static_configs"][0]["targets"] = [f"127.0.0.1:{ports['pushgateway']}"]
    prometheus["scrape_configs"] = [gateway]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus))
    alertmanager = yaml.safe_load((MONITORING / "alertmanager.yml").read_text())
    (folder / "slack-webhook").write_text(slack)
    alertmanager["global"]["slack_api_url_file"] = str(folder / "slack-webhook")
    alertmanager["templates"] = [str(MONITORING / "slack.tmpl")]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager))


def commands(folder, ports):
    local = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    return [
        ["prometheus-pushgateway", f"--web.listen-address={local['pushgateway']}"],
        [
            "prometheus-alertmanager",
            f"--web.listen-address={local['alertmanager']}",
            f"--config.file={folder}/alertmanager.yml",
            f"--storage.path={folder}/alertmanager",
            "--cluster.listen-address=",
        ],
        [
            "prometheus",
            f"--web.listen-address={local['prometheus']}",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/tsdb",
        ],
    ]


@contextlib.contextmanager
def running(programs, folder):
    """The programs, ended again whatever happens."""
    started = []
    try:
        for command in programs:
            log = (folder / f"{command[0]}.log").open("w")
            started.append(subprocess.Popen(command, stdout=log, stderr=log))
            log.close()
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def until(true, seconds, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := true():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return response.read()
    except OSError:
        return b""


@pytest.fixture
def slack():
    stub = SlackStub()
    thread = threading.Thread(target=stub.serve_forever, daemon=True)
    thread.start()
    yield stub
    stub.shutdown()
    stub.server_close()
    thread.join()


@pytest.fixture
def stack(tmp_path, slack):
    """Pushgateway, Alertmanager and Prometheus on loopback; yields the gateway's address."""
    ports = {name: free_port() for name in ("pushgateway", "alertmanager", "prometheus")}
    configure(tmp_path, slack.url, ports)
    with running(commands(tmp_path, ports), tmp_path):
        for port in ports.values():
            until(lambda port=port: answers(f"http://127.0.0.1:{port}/-/ready"), 15, f"port {port} ready")
        yield f"http://127.0.0.1:{ports['pushgateway']}", f"http://127.0.0.1:{ports['prometheus']}"


def fail_a_stage(tmp_path, gateway):
    def work(_):
        raise Permanent("column Amount is missing")

    order = StageRequest("fraud-9", "fraud", Stage.TRAIN, 1, "0123456789ab", str(tmp_path / "out"))
    environment = {"FRAUDLOOP_PUSHGATEWAY": gateway}
    telemetry.push_started(order, time.time(), environment)
    with pytest.raises(Permanent):
        run_stage(order, work, announce=lambda report: telemetry.push_finished(order, report, environment))


def test_a_failing_stage_reaches_slack_within_the_budget(tmp_path, slack, stack, record_property):
    """From the failure to the message in Slack less than 30 s pass, and the webhook's address is not in the message."""
    gateway, prometheus = stack
    failed_at = time.monotonic()
    fail_a_stage(tmp_path, gateway)

    def message():
        return next(((at, body) for at, body in slack.messages if "StageFailed" in json.dumps(body)), None)

    arrived_at, body = until(message, BUDGET, "the Slack message")
    text = json.dumps(body)
    record_property("seconds_to_slack", round(arrived_at - failed_at, 1))
    print(f"failure → Slack: {arrived_at - failed_at:.1f} s")
    assert arrived_at - failed_at < BUDGET
    assert body["channel"] == "#fraud-pages"
    assert "fraud: stage train failed" in text
    assert "docs/runbook.md#stagefailed" in text
    assert "secret" not in text
    loaded = json.loads(answers(f"{prometheus}/api/v1/rules"))["data"]["groups"]
    assert [rule["name"] for group in loaded for rule in group["rules"] if rule["health"] == "err"] == []
