"""One payment through the real Triton with its state in a real Valkey: latency, throughput per core, where time goes.

Beside it, in the same run: an empty python model, which is the floor of Triton and its client; the head without the
GNN; and `fraud_score`, today's and the former one, whose caller brings the history along.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import peers
from benchmarks.results import Measurement, measurement
from benchmarks.serving import CONFIG, Connection, cpu_of_children, encoded, sent, step_ms
from clients.scoring import ScoringClient
from local import valkey
from local.process import end, spawn
from local.triton import Triton
from training.graph.graph import TEST
from training.live import settings as live_settings
from training.live.materialise import fill
from training.live.settings import LiveSettings
from training.model import head
from training.model.features import OWN
from training.ports import free_port
from training.serving.fraud_live import FraudLive
from training.serving.fraud_score import FraudScore
from training.serving.live_metrics import LiveMetrics

ROWS = 60_000
CLOSED = 1500  # payments one after another
WARM_UP = 100
CLIENTS = 4  # of the closed loop that fills the server
OPEN_SECONDS = 10.0
OPEN_SHARE = 0.5  # of what the server can do; arrivals at random
MODEL = "bench"
FLOOR = "an empty python model"
Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class LiveLoad:
    """What one model did: seconds of each payment alone and in an open loop, payments a second, CPU seconds of each."""

    closed: Seconds
    opened: Seconds
    rate: float
    cpu: float

    def line(self, name: str) -> str:
        """As it is printed."""
        closed, opened = _ms(self.closed), _ms(self.opened)
        return (
            f"   {name:<28} p50 {closed[0]:6.2f} ms  p99 {closed[1]:6.2f} ms   open loop p50 {opened[0]:6.2f} "
            f"p99 {opened[1]:7.2f} ms   {self.rate:6.0f}/s with {CLIENTS} clients   {1 / self.cpu:6.0f}/s per core"
        )


def run(rows: int = ROWS, closed: int = CLOSED, open_seconds: float = OPEN_SECONDS) -> list[Measurement]:
    """All measurements."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-bench-") as scratch, _store(Path(scratch)) as given:
        folder = Path(scratch)
        made = peers.dataset(folder, rows)
        whole = peers.version(made, folder / "whole", CONFIG)
        bare = peers.version(made, folder / "bare", replace(CONFIG, groups=OWN))
        fill(MODEL, made, CONFIG.k, given, whole=True)
        lines = _lines(whole, closed + WARM_UP)
        peers.add_empty(whole.repository)
        peers.add_former(whole.repository)
        with _served(whole, folder / "triton") as server:
            floor = _load(server, lines, closed, open_seconds, peers.EMPTY)
            live = _load(server, lines, closed, open_seconds)
            scores = {name: _scored(server, whole, name, closed // 3) for name in ("fraud_score", peers.FORMER)}
        with _served(bare, folder / "triton") as server:
            without = _load(server, lines, closed, open_seconds)
        print(f"   load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for name, one in {FLOOR: floor, "fraud_live": live, "fraud_live without the GNN": without}.items():
            print(one.line(name))
        for name, seconds in scores.items():
            told = _ms(seconds)
            print(f"   {name:<28} p50 {told[0]:6.2f} ms  p99 {told[1]:6.2f} ms   with the history in the request")
        _say_where_time_goes(whole, given, lines, live, floor)
    return _metrics(live, floor)


@contextmanager
def _store(folder: Path) -> Iterator[LiveSettings]:
    """A Valkey of its own, which this process and the Triton that it starts use."""
    port = free_port()
    given = {"FRAUDLOOP_LIVE_URL": f"valkey://127.0.0.1:{port}", "FRAUDLOOP_ENTITY_KEY": "a key of the benchmark"}
    former = {name: os.environ.get(name) for name in given}
    with (folder / "valkey.log").open("wb") as log:
        process = spawn(valkey.command(port, folder / "valkey"), log=log)
        try:
            os.environ.update(given)
            until = time.monotonic() + 20
            while not valkey.pings(given["FRAUDLOOP_LIVE_URL"]):
                if time.monotonic() > until:
                    raise TimeoutError(f"valkey-server did not answer: {(folder / 'valkey.log').read_text()[-300:]}")
                time.sleep(0.05)
            yield live_settings.read()
        finally:
            end(process, 10)
            for name, value in former.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def _served(version: peers.Version, folder: Path) -> Iterator[Triton]:
    with Triton(version.repository, folder) as server:
        server.wait_ready()
        yield server


def _lines(version: peers.Version, count: int) -> list[str]:
    """The last transactions, in time order, as lines."""
    builder = version.builder()
    ids = torch.arange(len(builder.reader.graph))[-count:]
    return [line.decode() for line in builder.request(ids).transaction]


def _load(server: Triton, lines: Sequence[str], closed: int, seconds: float, model: str = "fraud_live") -> LiveLoad:
    """The same payments one after another, then by several clients at once, then at random times."""
    alone = _closed(server, lines, model)[-closed:]
    rate, cpu = _filled(server, lines, model)
    return LiveLoad(alone, _opened(server, lines, model, OPEN_SHARE * rate, seconds), rate, cpu)


def _client(server: Triton, model: str) -> ScoringClient:
    return ScoringClient.of(server.url, model=model, deadline=10, attempt=10)


def _closed(server: Triton, lines: Sequence[str], model: str) -> Seconds:
    with _client(server, model) as client:
        return np.array([_seconds(lambda line=line: client.score(line)) for line in lines])  # type: ignore[misc]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _filled(server: Triton, lines: Sequence[str], model: str) -> tuple[float, float]:
    """Payments a second of several clients, and the CPU seconds of Triton and Valkey for each."""
    begun, before = time.perf_counter(), cpu_of_children()
    parts = [lines[at::CLIENTS] for at in range(CLIENTS)]
    threads = [threading.Thread(target=_closed, args=(server, part, model)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(lines) / (time.perf_counter() - begun), (cpu_of_children() - before) / len(lines)


def _opened(server: Triton, lines: Sequence[str], model: str, rate: float, seconds: float) -> Seconds:
    """Seconds from when each payment was due; a late answer delays none of the others' due times."""
    rng = np.random.default_rng(1)
    due = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    took, begun = np.zeros(len(due)), time.perf_counter() + 0.1
    taken = iter(range(len(due)))
    lock = threading.Lock()

    def work() -> None:
        with _client(server, model) as client:
            while True:
                with lock:
                    number = next(taken, None)
                if number is None:
                    return
                time.sleep(max(0.0, begun + due[number] - time.perf_counter()))
                client.score(lines[number % len(lines)])
                took[number] = time.perf_counter() - begun - due[number]

    threads = [threading.Thread(target=work) for _ in range(4 * CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return took


def _scored(server: Triton, version: peers.Version, model: str, count: int) -> Seconds:
    """Seconds of each request of one transaction with its history."""
    builder = version.builder()
    test = builder.reader.graph.where(TEST)
    requests = [encoded(builder.request(test[-1 - number][None])) for number in range(min(count, 40))]
    with Connection(server.url) as client:
        return sent(client, model, requests, count)


def _say_where_time_goes(
    version: peers.Version, given: LiveSettings, lines: Sequence[str], live: LiveLoad, floor: LiveLoad
) -> None:
    """Print the median milliseconds of each step of one payment in this process, and what Triton adds."""
    model = version.model
    served = FraudLive(model, MODEL, "bench-1", given, LiveMetrics())
    try:
        line = lines[-1].encode()
        tensors_of = {"TRANSACTION": np.array([[line]], dtype=np.object_)}
        wanted = [frozenset({"PROBABILITY"})]
        whole = step_ms(lambda: served.answer([tensors_of], wanted), 300)
        off = tensors_of | {"STORE": np.array([[False]])}
        alone = step_ms(lambda: served.answer([off], wanted), 300)
    finally:
        served.close()
    builder, today = version.builder(), datetime.now(UTC).date()
    featuriser = FraudScore(model).featuriser
    block = featuriser.block(builder.request(builder.reader.graph.where(TEST)[-1:]), today)
    inputs = model.head_inputs(block)
    bare = replace(model, config=replace(model.config, groups=OWN), weights=None)
    own = step_ms(lambda: bare.head_inputs(block), 300)
    steps = {
        "velocity, amounts, risk": own,
        "GNN": step_ms(lambda: model.head_inputs(block), 300) - own,
        "boosted head": step_ms(lambda: head.predict(model.booster, inputs), 300),
        "reading the line": step_ms(lambda: featuriser.reader.read([line], today), 300),
        "store, histories, log": whole - alone,
    }
    steps["row features, answer, entry"] = whole - sum(steps.values())
    steps["Triton and HTTP (the floor)"] = float(np.median(floor.closed)) * 1000
    told = ", ".join(f"{name} {elapsed:.2f} ms" for name, elapsed in steps.items())
    print(f"   of {np.median(live.closed) * 1000:.2f} ms: {told}")


def _ms(elapsed: Seconds) -> tuple[float, float]:
    """The median and the 99th percentile in milliseconds."""
    return float(np.percentile(elapsed, 50)) * 1000, float(np.percentile(elapsed, 99)) * 1000


def _metrics(live: LiveLoad, floor: LiveLoad) -> list[Measurement]:
    quantiles = [
        measurement(
            f"live.p{quantile}_ms",
            float(np.percentile(live.closed, quantile)) * 1000,
            "ms",
            FLOOR,
            float(np.percentile(floor.closed, quantile)) * 1000,
        )
        for quantile in [50, 99]
    ]
    return [*quantiles, measurement("live.per_s_per_core", 1 / live.cpu, "1/s", FLOOR, 1 / floor.cpu)]
