"""`fraud_score` beside what it was, with DataFrames and torch, and beside the head without the GNN; time per step.

One small model of synthetic transactions, at the default sizes of history, encoder and head, is exported and served by
the real Triton, and so is one without the `embedding` group. One client on the same machine sends one request at a
time, each to the model and then to its peer.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
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
CPU_REQUESTS = 200  # at most, to measure CPU seconds with
Seconds = NDArray[np.float64]
Inputs = list[triton.InferInput]


def run(rows: int = ROWS, batches: dict[int, int] = BATCHES) -> list[Measurement]:
    """All measurements."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-bench-") as scratch:
        folder = Path(scratch)
        made = peers.dataset(folder, rows)
        whole = peers.version(made, folder / "whole", CONFIG)
        bare = peers.version(made, folder / "bare", replace(CONFIG, groups=OWN))
        peers.add_former(whole.repository)
        timed = _timed(whole, folder / "triton", ("fraud_score", peers.FORMER), batches)
        spent = _spent(whole, folder / "triton", ("fraud_score", peers.FORMER), batches)
        (without,) = _timed(bare, folder / "triton", ("fraud_score",), batches)
        for size in batches:
            print(f"   batch {size}, the head without the GNN: p50 {np.median(without[size]) * 1000:.2f} ms")
        _say_where_time_goes(whole.model, whole.builder(), timed[0], batches)
    return [
        entry
        for size in batches
        for entry in (*_metrics(size, timed[0][size], timed[1][size]), _per_core(size, *(one[size] for one in spent)))
    ]


def _spent(
    version: peers.Version, folder: Path, models: Sequence[str], batches: dict[int, int]
) -> list[dict[int, float]]:
    """CPU seconds that the server takes for a request, by model and batch size: what a full machine answers with."""
    builder = version.builder()
    taken: list[dict[int, float]] = [{} for _ in models]
    with _asked(version, folder) as client:
        for size, count in batches.items():
            requests, count = list(_requests(builder, size, count)), min(count, CPU_REQUESTS)
            for one, model in zip(taken, models, strict=True):
                sent(client, model, requests, 0)
                before = cpu_of_children()
                sent(client, model, requests, count, warm_up=0)
                one[size] = (cpu_of_children() - before) / count
    return taken


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
    with _asked(version, folder) as client:
        for size, count in batches.items():
            requests = list(_requests(builder, size, count))
            found = zip(*(_in_turn(client, models, requests, count)), strict=True)
            for one, elapsed in zip(taken, found, strict=True):
                one[size] = np.array(elapsed[WARM_UP:])
    return taken


@contextmanager
def _asked(version: peers.Version, folder: Path) -> Iterator[triton.InferenceServerClient]:
    """A client of a Triton that serves this version."""
    with Triton(version.repository, folder) as server:
        server.wait_ready()
        with triton.InferenceServerClient(server.url.removeprefix("http://"), network_timeout=60.0) as client:
            yield client


def _in_turn(
    client: triton.InferenceServerClient, models: Sequence[str], requests: Sequence[Inputs], count: int
) -> Iterator[list[float]]:
    for number in range(count + WARM_UP):
        request = requests[number % len(requests)]
        yield [float(sent(client, model, [request], 1, warm_up=0)[0]) for model in models]


def _requests(builder: RequestBuilder, size: int, count: int) -> Iterator[Inputs]:
    """Return different requests of one size, ready to send."""
    test = builder.reader.graph.where(TEST)
    for number in range(min(count, 50)):
        yield tensors(builder.request(test[(torch.arange(size) * 7 + number * 101) % len(test)]))


def tensors(request: ScoringRequest) -> Inputs:
    """A request, ready to send."""
    return [_tensor(name, values) for name, values in tensors_of(request).items()]


def _tensor(name: str, values: NDArray[Any]) -> triton.InferInput:
    kind = "BYTES" if values.dtype == np.object_ else "FP32"
    return triton.InferInput(name, list(values.shape), kind).set_data_from_numpy(values)


def sent(
    client: triton.InferenceServerClient, model: str, requests: Sequence[Inputs], count: int, warm_up: int = WARM_UP
) -> Seconds:
    """Seconds of each of `count` requests, which are sent after a warm-up."""
    outputs = [triton.InferRequestedOutput(name) for name in SCORES]
    elapsed = []
    for number in range(count + warm_up):
        begun = time.perf_counter()
        client.infer(model, requests[number % len(requests)], outputs=outputs)
        elapsed.append(time.perf_counter() - begun)
    return np.array(elapsed[warm_up:])


def _metrics(size: int, ours: Seconds, peer: Seconds) -> list[Measurement]:
    def milliseconds(quantile: int) -> Measurement:
        of = [float(np.percentile(elapsed, quantile)) * 1000 for elapsed in (ours, peer)]
        return measurement(f"serve.p{quantile}_ms_batch{size}", of[0], "ms", PEER, of[1])

    rates = [size / float(elapsed.mean()) for elapsed in (ours, peer)]
    rate = measurement(f"serve.rows_per_s_batch{size}", rates[0], "rows/s", PEER, rates[1])
    return [milliseconds(50), milliseconds(99), rate]


def _per_core(size: int, ours: float, peer: float) -> Measurement:
    return measurement(f"serve.rows_per_cpu_s_batch{size}", size / ours, "rows/CPU-s", PEER, size / peer)


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
    bare = replace(model, config=replace(model.config, groups=OWN), encoders=None)
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
