"""The objectives of live scoring are those of the counters, as a real Prometheus sums them over the window."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from cli.commands.slo import _counted
from clients import prometheus
from local.process import end, spawn
from statemachine.contracts.errors import Misconfigured, Unreachable
from statemachine.reporting.slo import LiveCounts, live_objectives
from training.ports import free_port

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
DAY = 86_400
# By counter: what is added each minute two days ago and yesterday.
GROWTH = {
    'fraudloop_live_answers_total{model="fraud",degraded=""}': (100, 98),
    'fraudloop_live_answers_total{model="fraud",degraded="down"}': (0, 2),
    'fraudloop_live_answers_total{model="other",degraded="down"}': (50, 50),
    'fraudloop_live_slow_total{model="fraud"}': (3, 1),
    'fraudloop_live_refused_total{model="fraud"}': (1, 1),
    'nv_inference_request_success{model="fraud_live",version="1"}': (99, 98),
    'nv_inference_request_failure{model="fraud_live",version="1",reason="BACKEND"}': (1, 2),
    'nv_inference_request_failure{model="fraud_score",version="1",reason="BACKEND"}': (7, 7),
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that has scraped those counters for two days."""
    if not PROMETHEUS or not PROMTOOL:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples").write_text(_samples(int(time.time())))
    (folder / "config.yml").write_text("global: {}\n")
    made = [PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", "samples", "data"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True, timeout=60)
    port = free_port()
    options = ["--config.file=config.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = spawn([PROMETHEUS, *options], log=log, folder=folder)
    try:
        _wait(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process, 10)


def _samples(now: int) -> str:
    """OpenMetrics of two days, every ten minutes."""
    lines = []
    for series, (before, recently) in GROWTH.items():
        lines.append(f"# TYPE {series.partition('{')[0]} unknown")
        total = 0
        for at in range(now - 2 * DAY, now + 1, 600):
            total += 10 * (before if at <= now - DAY else recently)
            lines.append(f"{series} {total} {at}")
    return "\n".join(dict.fromkeys(lines)) + "\n# EOF\n"


def _wait(url: str) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{url}/-/ready", timeout=2).close()
            return
        except (OSError, urllib.error.HTTPError) as error:
            if time.monotonic() > until:
                raise TimeoutError(f"Prometheus is not ready: {error}") from error
            time.sleep(0.1)


def test_objectives_over_a_window_and_the_one_before(address: str) -> None:
    """Each objective by hand: of this model alone, and a wrong transaction is nobody's outage."""
    recent, earlier = (_counted(address, "fraud", 1, back) for back in (0, 1))
    found = {each.name: each for each in live_objectives(recent, earlier)}
    assert found["live_fast_share"].value == pytest.approx(0.99, abs=1e-3)
    assert found["live_fast_share"].before == pytest.approx(0.97, abs=1e-3)
    assert found["live_availability"].value == pytest.approx(0.99, abs=1e-3)
    assert found["live_availability"].before == pytest.approx(1.0, abs=1e-3)
    assert found["live_degraded_share"].value == pytest.approx(0.02, abs=1e-3)
    assert found["live_degraded_share"].before == pytest.approx(0.0, abs=1e-3)
    assert [each.met for each in found.values()][1:] == [False, False]
    assert [each.trend for each in found.values()] == ["better", "worse", "worse"]


def test_a_model_without_payments_is_unknown(address: str) -> None:
    """No series: neither met nor missed."""
    counts = _counted(address, "nosuch", 1, 0)
    assert counts.answers is None
    assert {each.met for each in live_objectives(LiveCounts(), LiveCounts())} == {None}


def test_prometheus_gives_one_number_or_says_why_not(address: str) -> None:
    """Several series, an expression that is none, and a server that is not there."""
    assert prometheus.number(address, "1 + 1") == 2
    assert prometheus.number(address, "0 / 0") is None
    with pytest.raises(Misconfigured, match="2 series"):
        prometheus.number(address, f'last_over_time(fraudloop_live_answers_total{{model="fraud"}}[{DAY}s])')
    for url, query in ((address, "sum("), ("http://127.0.0.1:9", "1")):
        with pytest.raises(Unreachable, match="Prometheus at"):
            prometheus.number(url, query)


def test_the_command_asks_for_them(address: str, fraudloop, system) -> None:
    """`--prometheus` adds the three objectives to the table; a missed one is status 1."""
    done = fraudloop("slo", "--days", "1", "--prometheus", address, "--json")
    found = {each["name"]: each for each in json.loads(done.stdout)}
    assert {"success_rate", "live_fast_share", "live_availability", "live_degraded_share"} <= set(found)
    assert found["live_degraded_share"]["value"] == pytest.approx(0.02, abs=1e-3)
    assert done.exit_code == 1
    assert "no number" not in done.output


def test_without_prometheus_a_person_is_told_and_a_job_goes_on(fraudloop, system) -> None:
    """One sentence and status 1; the job tells what it has, which is pushed or not."""
    gone = ("slo", "--prometheus", "http://127.0.0.1:9", "--json")
    refused, told = fraudloop(*gone), fraudloop(*gone, "--scheduled")
    assert refused.exit_code == 1
    assert "Prometheus at http://127.0.0.1:9" in str(refused.exception)
    assert "Prometheus at http://127.0.0.1:9" in told.stderr
    assert {each["name"] for each in json.loads(told.stdout)} >= {"success_rate", "auc_roc"}


def test_counts_are_shares() -> None:
    """Counters that do not exist count as none, and no payment is no share."""
    assert LiveCounts(answers=200.0).fast_share == 1
    assert LiveCounts(answers=200.0, degraded=1.0).degraded_share == 0.005
    assert LiveCounts(asked=100.0, failed=2.0, refused=3.0).availability == 1
    assert LiveCounts(asked=0.0).availability is None
