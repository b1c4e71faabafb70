"""Serving beside the same XGBoost head without the GNN: latency and throughput of the real Triton, and time per step.

One small model of synthetic transactions, at the default sizes of history, encoder and head, is exported and served
twice: whole, and retrained without the `embedding` group. One client on the same machine sends one request at a time.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tritonclient.http as triton
from numpy.typing import NDArray

from benchmarks.results import Measurement, measurement
from local.triton import Triton
from training.data.preprocess import PreprocessConfig, prepare
from training.export.export import build, spread
from training.graph.graph import TEST
from training.model import head
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.features import OWN
from training.model.model import FraudModel, load
from training.model.train import train_model
from training.serving.csv_codec import parse
from training.serving.fraud_score import tensors_of
from training.serving.request import Featuriser, ScoringRequest
from training.serving.request_builder import RequestBuilder
from training.synthetic import generate

ROWS = 100_000
SEED = 5
SCORES = ("PROBABILITY", "DECISION", "STATE")
BATCHES = {1: 1000, 1024: 30}  # requests per batch size
PEER = "the same boosted head without the GNN"
CONFIG = TrainConfig(epochs=1, folds=3)
Seconds = NDArray[np.float64]


def run(rows: int = ROWS, batches: dict[int, int] = BATCHES) -> list[Measurement]:
    """All measurements."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-bench-") as scratch:
        folder = Path(scratch)
        generate(rows, SEED, fraud_rate=0.005, start=date(2016, 1, 1)).write_csv(folder / "transactions.csv")
        prepare([folder / "transactions.csv"], folder / "dataset", PreprocessConfig(), today=date(2026, 1, 1))
        ours = _served(folder, "whole", CONFIG, batches)
        peer = _served(folder, "peer", replace(CONFIG, groups=OWN), batches)
        model = load(folder / "whole" / "model")
        _say_where_time_goes(model, RequestBuilder.of(folder / "dataset", model), ours, batches)
    return [entry for size in batches for entry in _metrics(size, ours[size], peer[size])]


def _served(folder: Path, name: str, config: TrainConfig, batches: dict[int, int]) -> dict[int, Seconds]:
    """Seconds of each request, by batch size."""
    root = folder / name
    checkpoints = StoredCheckpoints(str(root / "checkpoints"))
    train_model(folder / "dataset", config, checkpoints, lambda *_: None).save(root / "model")
    build(root / "version", root / "model", folder / "dataset", "bench-1")
    builder = RequestBuilder.of(folder / "dataset", load(root / "model"))
    with Triton(root / "version" / "repository", root / "triton") as server:
        server.wait_ready()
        with triton.InferenceServerClient(server.url.removeprefix("http://"), network_timeout=60.0) as client:
            return {
                size: _timed(client, list(_requests(builder, size, count)), count) for size, count in batches.items()
            }


def _requests(builder: RequestBuilder, size: int, count: int) -> Iterator[list[triton.InferInput]]:
    """Return different requests of one size, ready to send."""
    test = builder.reader.graph.where(TEST)
    for number in range(min(count, 50)):
        ids = test[(torch.arange(size) * 7 + number * 101) % len(test)]
        yield [_tensor(name, values) for name, values in tensors_of(builder.request(ids)).items()]


def _tensor(name: str, values: NDArray[Any]) -> triton.InferInput:
    kind = "BYTES" if values.dtype == np.object_ else "FP32"
    return triton.InferInput(name, list(values.shape), kind).set_data_from_numpy(values)


def _timed(client: triton.InferenceServerClient, requests: Sequence[list[triton.InferInput]], count: int) -> Seconds:
    """Seconds of each request. The first requests are a warm-up and do not count."""
    outputs = [triton.InferRequestedOutput(name) for name in SCORES]
    elapsed = []
    for number in range(count + 5):
        begun = time.perf_counter()
        client.infer("fraud_score", requests[number % len(requests)], outputs=outputs)
        elapsed.append(time.perf_counter() - begun)
    return np.array(elapsed[5:])


def _metrics(size: int, ours: Seconds, peer: Seconds) -> list[Measurement]:
    def milliseconds(quantile: int) -> Measurement:
        of = [float(np.percentile(elapsed, quantile)) * 1000 for elapsed in (ours, peer)]
        return measurement(f"serve.p{quantile}_ms_batch{size}", of[0], "ms", PEER, of[1])

    rates = [size / float(elapsed.mean()) for elapsed in (ours, peer)]
    rate = measurement(f"serve.rows_per_s_batch{size}", rates[0], "rows/s", PEER, rates[1])
    return [milliseconds(50), milliseconds(99), rate]


def _say_where_time_goes(
    model: FraudModel, builder: RequestBuilder, ours: dict[int, Seconds], batches: dict[int, int]
) -> None:
    """Print the median milliseconds of each step in this process, and those added by HTTP and Triton."""
    for size in batches:
        request = builder.request(spread(builder.reader.graph.where(TEST), size))
        steps = _steps(model, request)
        inside = sum(steps.values()) - steps["Shapley values (when asked for)"]
        steps["HTTP, Triton and its interpreter"] = float(np.median(ours[size])) * 1000 - inside
        print(f"   batch {size}: " + ", ".join(f"{name} {elapsed:.1f} ms" for name, elapsed in steps.items()))


def _steps(model: FraudModel, request: ScoringRequest) -> dict[str, float]:
    featuriser = Featuriser(model.feature_schema, model.row, model.config.k)
    today = datetime.now(UTC).date()
    lines = [line for texts in request.histories.values() for text in texts for line in text.split(b"\n") if line]
    block = featuriser.block(request, today)
    inputs = model.head_inputs(block)
    parsing = _median(lambda: parse([*request.transaction, *lines], today))
    bare = replace(model, config=replace(model.config, groups=OWN), encoders=None)
    features = _median(lambda: bare.head_inputs(block))
    return {
        "parsing and checking lines": parsing,
        "features of lines, histories": _median(lambda: featuriser.block(request, today)) - parsing,
        "velocity and risk": features,
        "GNN": _median(lambda: model.head_inputs(block)) - features,
        "boosted head": _median(lambda: head.predict(model.booster, inputs)),
        "state": _median(lambda: model.state(block)),
        "Shapley values (when asked for)": _median(lambda: head.contributions(model.booster, inputs)),
    }


def _median(work: Callable[[], object], times: int = 15) -> float:
    """The median in milliseconds."""
    elapsed = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        elapsed.append(time.perf_counter() - begun)
    return float(np.median(elapsed)) * 1000
