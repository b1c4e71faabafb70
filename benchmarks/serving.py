"""`fraud_score` beside what it was, with DataFrames and torch, and beside the head without the GNN; time per step.

One small model of synthetic transactions, at the default sizes of history, encoder and head, is exported and served by
the real Triton, and so is one without the `embedding` group. One caller on the same machine sends one request at a
time, each to the model and then to its peer. Rows a second are those of two callers at once: the server never waits.
Requests are encoded before the clock starts: that is the caller's work.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import tritonclient.http as triton
from numpy.typing import NDArray

from benchmarks import peers
from benchmarks.results import Measurement, measurement
from local.triton import Triton
from training.export.export import spread
from training.graph.graph import TEST
from training.model import head
from training.model.config import TrainConfig
from training.model.features import OWN
from training.model.model import FraudModel
from training.serving.fraud_score import FraudScore, tensors_of
from training.serving.request import ScoringRequest
from training.serving.request_builder import RequestBuilder

ROWS = 100_000
SCORES = ("PROBABILITY", "DECISION", "STATE")
BATCHES = {1: 1000, 1024: 30}  # requests per batch size
PEER = "the former path: DataFrames and torch"
CONFIG = TrainConfig(epochs=1, folds=3)
WARM_UP = 5  # requests that do not count
CALLERS = 2  # at once, so that the server never waits for the next request
ROUNDS = 5
Seconds = NDArray[np.float64]


def run(rows: int = ROWS, batches: dict[int, int] = BATCHES) -> list[Measurement]:
    """All measurements."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-bench-") as scratch:
        folder = Path(scratch)
        made = peers.dataset(folder, rows)
        whole = peers.version(made, folder / "whole", CONFIG)
        bare = peers.version(made, folder / "bare", replace(CONFIG, groups=OWN))
        peers.add_former(whole.repository)
        timed = _timed(whole, folder / "triton", ("fraud_score", peers.FORMER), batches)
        filled = _filled(whole, folder / "triton", ("fraud_score", peers.FORMER), batches)
        (without,) = _timed(bare, folder / "triton", ("fraud_score",), batches)
        for size in batches:
            print(f"   batch {size}, the head without the GNN: p50 {np.median(without[size]) * 1000:.2f} ms")
        _say_where_time_goes(whole.model, whole.builder(), timed[0], batches)
    return [
        entry
        for size in batches
        for entry in (*_latency(size, timed[0][size], timed[1][size]), *_rates(size, *(one[size] for one in filled)))
    ]


@dataclass
class Filled:
    """What a server did that always had a request to go on with: in all, `seconds` and CPU seconds of `rows` rows."""

    rows: int = 0
    seconds: float = 0.0
    cpu: float = 0.0


def _filled(
    version: peers.Version, folder: Path, models: Sequence[str], batches: dict[int, int]
) -> list[dict[int, Filled]]:
    """What several callers at once get, by model and batch size; the models have the server in turn."""
    builder = version.builder()
    taken = [{size: Filled() for size in batches} for _ in models]
    with _served(version, folder) as url:
        for size, count in batches.items():
            requests = list(_requests(builder, size, count))
            for number in range(ROUNDS + 1):
                for one, model in zip(taken, models, strict=True):
                    begun, before = time.perf_counter(), cpu_of_children()
                    asked = _together(url, model, requests, max(CALLERS, count // ROUNDS))
                    if number:  # the first round is a warm-up
                        one[size].rows += size * asked
                        one[size].seconds += time.perf_counter() - begun
                        one[size].cpu += cpu_of_children() - before
    return taken


def _together(url: str, model: str, requests: Sequence["Encoded"], count: int) -> int:
    """Each of the callers sends its share of `count` requests; returns how many were answered."""

    def call(number: int) -> int:
        with Connection(url) as connection:
            return len(sent(connection, model, requests[number:], count // CALLERS, warm_up=0))

    with ThreadPoolExecutor(CALLERS) as callers:
        return sum(callers.map(call, range(CALLERS)))


def cpu_of_children() -> float:
    """CPU seconds of all processes that this one started: Triton, its interpreters and Valkey."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            total += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total


def _timed(
    version: peers.Version, folder: Path, models: Sequence[str], batches: dict[int, int]
) -> list[dict[int, Seconds]]:
    """Seconds of each request by model and batch size; the models get each request in turn."""
    builder = version.builder()
    taken: list[dict[int, Seconds]] = [{} for _ in models]
    with _served(version, folder) as url, Connection(url) as client:
        for size, count in batches.items():
            requests = list(_requests(builder, size, count))
            found = zip(*(_in_turn(client, models, requests, count)), strict=True)
            for one, elapsed in zip(taken, found, strict=True):
                one[size] = np.array(elapsed[WARM_UP:])
    return taken


@contextmanager
def _served(version: peers.Version, folder: Path) -> Iterator[str]:
    """The address of a Triton that serves this version."""
    with Triton(version.repository, folder) as server:
        server.wait_ready()
        yield server.url


def _in_turn(
    client: "Connection", models: Sequence[str], requests: Sequence["Encoded"], count: int
) -> Iterator[list[float]]:
    for number in range(count + WARM_UP):
        request = requests[number % len(requests)]
        yield [float(sent(client, model, [request], 1, warm_up=0)[0]) for model in models]


def _requests(builder: RequestBuilder, size: int, count: int) -> Iterator["Encoded"]:
    """Return different requests of one size, ready to send."""
    test = builder.reader.graph.where(TEST)
    for number in range(min(count, 50)):
        yield encoded(builder.request(test[(torch.arange(size) * 7 + number * 101) % len(test)]))


@dataclass(frozen=True)
class Encoded:
    """A request as it is sent: the body, and how much of it is JSON."""

    body: bytes
    json_bytes: int


def encoded(request: ScoringRequest) -> Encoded:
    """A request, ready to send."""
    inputs = [_tensor(name, values) for name, values in tensors_of(request).items()]
    outputs = [triton.InferRequestedOutput(name) for name in SCORES]
    return Encoded(*triton.InferenceServerClient.generate_request_body(inputs, outputs=outputs))


def _tensor(name: str, values: NDArray[Any]) -> triton.InferInput:
    kind = "BYTES" if values.dtype == np.object_ else "FP32"
    return triton.InferInput(name, list(values.shape), kind).set_data_from_numpy(values)


class Connection:
    """A kept connection to a Triton."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=60)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, model: str, request: Encoded) -> None:
        """Send a request and read the whole answer.

        Raises:
            RuntimeError: the server's words, if it is not an answer.
        """
        told = {"Inference-Header-Content-Length": str(request.json_bytes)}
        self._connection.request("POST", f"/v2/models/{model}/infer", request.body, told)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(answer.decode())


def sent(client: Connection, model: str, requests: Sequence[Encoded], count: int, warm_up: int = WARM_UP) -> Seconds:
    """Seconds of each of `count` requests, which are sent after a warm-up."""
    elapsed = []
    for number in range(count + warm_up):
        begun = time.perf_counter()
        client.ask(model, requests[number % len(requests)])
        elapsed.append(time.perf_counter() - begun)
    return np.array(elapsed[warm_up:])


def _latency(size: int, ours: Seconds, peer: Seconds) -> Iterator[Measurement]:
    for quantile in (50, 99):
        of = [float(np.percentile(elapsed, quantile)) * 1000 for elapsed in (ours, peer)]
        yield measurement(f"serve.p{quantile}_ms_batch{size}", of[0], "ms", PEER, of[1])


def _rates(size: int, ours: Filled, peer: Filled) -> Iterator[Measurement]:
    rates = [one.rows / one.seconds for one in (ours, peer)]
    yield measurement(f"serve.rows_per_s_batch{size}", rates[0], "rows/s", PEER, rates[1])
    rates = [one.rows / one.cpu for one in (ours, peer)]
    yield measurement(f"serve.rows_per_cpu_s_batch{size}", rates[0], "rows/CPU-s", PEER, rates[1])


def _say_where_time_goes(
    model: FraudModel, builder: RequestBuilder, ours: dict[int, Seconds], batches: dict[int, int]
) -> None:
    """Print the median milliseconds of each step in this process, and those added by HTTP and Triton."""
    for size in batches:
        request = builder.request(spread(builder.reader.graph.where(TEST), size))
        steps = _steps(model, request)
        inside = sum(steps.values()) - steps["Shapley values (when asked for)"]
        steps["HTTP, Triton and its interpreter"] = float(np.median(ours[size])) * 1000 - inside
        print(f"   batch {size}: " + ", ".join(f"{name} {elapsed:.2f} ms" for name, elapsed in steps.items()))


def _steps(model: FraudModel, request: ScoringRequest) -> dict[str, float]:
    featuriser = FraudScore(model).featuriser
    today = datetime.now(UTC).date()
    history = (line for texts in request.histories.values() for text in texts for line in text.split(b"\n") if line)
    lines = list(dict.fromkeys([*request.transaction, *history]))
    block = featuriser.block(request, today)
    inputs = model.head_inputs(block)
    reading = step_ms(lambda: featuriser.reader.read(lines, today))
    bare = replace(model, config=replace(model.config, groups=OWN), weights=None)
    features = step_ms(lambda: bare.head_inputs(block))
    return {
        f"reading {len(lines)} different lines": reading,
        "features of lines, histories": step_ms(lambda: featuriser.block(request, today)) - reading,
        "velocity and risk": features,
        "GNN": step_ms(lambda: model.head_inputs(block)) - features,
        "boosted head": step_ms(lambda: head.predict(model.booster, inputs)),
        "state": step_ms(lambda: model.state(block)),
        "Shapley values (when asked for)": step_ms(lambda: head.contributions(model.booster, inputs)),
    }


def step_ms(work: Callable[[], object], times: int = 15) -> float:
    """The median in milliseconds."""
    elapsed = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        elapsed.append(time.perf_counter() - begun)
    return float(np.median(elapsed)) * 1000
