"""Training of the encoders on a GPU beside the CPU: seconds per epoch, where they go, and whether the scores agree.

`python -m benchmarks gpu`, or `python -m benchmarks.gpu [--rows N] [--seeds N] [--out FILE]`: one process, at most 8
minutes; writes JSON. Without CUDA it measures the CPU alone and says so. The data are made here; their frauds can be
learned. Variants: the seeds read by the CPU ahead of the GPU (`prefetch`), or the graph in the GPU's memory
(`resident`); without and with mixed precision; batches of 256 and 4,096.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

import torch

from benchmarks.results import Measurement, measurement
from benchmarks.training import synthetic
from training.graph.graph import Graph
from training.graph.history import Reader
from training.model.config import TrainConfig
from training.model.encoder import Encoder, MessageBuilder, Messages
from training.model.features import width
from training.model.fit import DistributedContext, EncoderTrainer, TrainingSet, batches
from training.model.reading import own_features
from training.model.seeds import Seeds

OUT = Path(__file__).parent / "gpu.json"
ROWS, SEEDS, VALIDATION, EPOCHS = 1_000_000, 100_000, 50_000, 3
TOLERANCE = {"fp32": 1e-4, "mixed": 2e-2}  # of a probability, by the same weights on both devices
AUC_TOLERANCE = 0.01  # between encoders that were trained on either device
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@dataclass(frozen=True)
class Variant:
    """One way to train: where the graph is, precision and size of a batch."""

    name: str
    resident: bool = True
    mixed: bool = False
    batch: int = 256


VARIANTS = (
    Variant("prefetch", resident=False),
    Variant("prefetch, mixed", resident=False, mixed=True),
    Variant("resident"),
    Variant("resident, mixed", mixed=True),
    Variant("resident, batch 4096", batch=4096),
    Variant("resident, mixed, batch 4096", mixed=True, batch=4096),
)


def run() -> list[Measurement]:
    """All measurements; the details go into `gpu.json`."""
    return summary(measured(ROWS, SEEDS, OUT))


def measured(rows: int, seeds: int, out: Path) -> dict[str, Any]:
    """Trains on the CPU and, where there is one, on the GPU. Returns what is written to `out`."""
    began = time.perf_counter()
    prepared, config = training_set(rows, seeds), TrainConfig()
    here = f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads, {platform.machine()}"
    report: dict[str, Any] = {"machine": here, "rows": rows, "seeds": len(prepared.train.ids), "variants": {}}
    report["variants"]["cpu"], base = trained(prepared, config, CPU)
    if torch.cuda.is_available():
        report["gpu"] = torch.cuda.get_device_name()
        resident, report["resident"] = moved(prepared)
        report["scores"] = agreement(base, prepared, resident)
        for variant in VARIANTS:
            settings = replace(config, amp=variant.mixed, batch_size=variant.batch)
            one = resident if variant.resident else prepared
            report["variants"][variant.name], _ = trained(one, settings, CUDA)
    report["seconds"] = time.perf_counter() - began
    out.write_text(json.dumps(report, indent=1) + "\n")
    return report


def training_set(rows: int, seeds: int) -> TrainingSet:
    """Seeds of a random graph whose frauds follow from their features and from their card."""
    graph, config = learnable(synthetic(rows)), TrainConfig()
    reader = Reader(graph, config.k)
    drawn = torch.randperm(len(graph), generator=torch.Generator().manual_seed(1))
    train, validation = (
        Seeds(ids, graph.label[ids], 1.0)
        for ids in (drawn[:seeds].sort().values, drawn[seeds : seeds + VALIDATION].sort().values)
    )
    own, later = own_features(reader, train.ids), own_features(reader, validation.ids)
    builder = MessageBuilder(width(graph.features, config))
    builder.own.fit(own)
    builder.neighbour.fit(reader.node_features[train.ids])
    return TrainingSet(reader, config.fan_out, train, own, validation, later, builder)


def learnable(graph: Graph) -> Graph:
    """The same graph with about 3 % frauds: more of them on some cards, and with some features."""
    generator = torch.Generator().manual_seed(2)
    bad = torch.rand(int(graph.entities["card"].max()) + 1, generator=generator) < 0.1
    logit = graph.row[:, 3] + graph.row[:, 4] + 3 * bad[graph.entities["card"].long()] - 5.5
    fraud = torch.rand(len(graph), generator=generator) < torch.sigmoid(logit)
    return replace(graph, label=fraud.to(torch.int8))


def moved(prepared: TrainingSet) -> tuple[TrainingSet, dict[str, float]]:
    """The training set in the GPU's memory, with the seconds that it took and the memory that it holds."""
    began, before = time.perf_counter(), torch.cuda.memory_allocated()
    resident = prepared.to(CUDA)
    resident.reader.node_features  # noqa: B018 — computed once and kept
    torch.cuda.synchronize()
    return resident, {
        "seconds": time.perf_counter() - began,
        "gigabytes": (torch.cuda.memory_allocated() - before) / 1e9,
    }


def trained(prepared: TrainingSet, config: TrainConfig, device: torch.device) -> tuple[dict[str, Any], Encoder]:
    """Figures of `EPOCHS` epochs after a first one, which warms up, and the encoder."""
    trainer = EncoderTrainer(prepared, config, DistributedContext(), device)
    prepared.validation_messages  # noqa: B018 — built once and kept
    seconds = []
    with utilisation(device) as used:
        for number in range(1 + EPOCHS):
            if number == 1 and device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                used.clear()
            began = time.perf_counter()
            loss = trainer.epoch(prepared, trainer.encoder)
            synchronised(device)
            seconds.append(time.perf_counter() - began)
            trainer.state.epoch += 1
    auc = trainer.validate(prepared)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else None
    figures = {
        "seconds_per_epoch": median(seconds[1:]),
        "first_epoch": seconds[0],
        "seeds_per_s": len(prepared.train.ids) / median(seconds[1:]),
        "validation_rows_per_s": scoring_rate(trainer, prepared),
        "loss": loss,
        "val_auc_roc": auc,
        "gpu_gigabytes": memory,
        "gpu_utilisation": sum(used) / len(used) if used else None,
        "where": parts(trainer, prepared),
    }
    print(f"{device.type:5s} {one_line(figures)}", flush=True)
    return figures, trainer.encoder


def parts(trainer: EncoderTrainer, prepared: TrainingSet) -> dict[str, float]:
    """Seconds per epoch of reading batches, of moving them and of computing, one after the other."""
    shares = list(batches(prepared.train, trainer.config, trainer.state, trainer.context))
    read: list[tuple[Messages, torch.Tensor]] = []
    seconds = {}
    for name, work in (
        ("sampler", lambda: read.extend(trainer.read(prepared, share) for share in shares)),
        ("transfer", lambda: read.__setitem__(slice(None), [trainer.moved(batch) for batch in read])),
        ("kernels", lambda: [trainer.step(batch[0], batch[1], trainer.encoder) for batch in read]),
    ):
        seconds[name] = timed(work, trainer.device)
    return seconds


def scoring_rate(trainer: EncoderTrainer, prepared: TrainingSet) -> float:
    """Validation rows scored per second, from messages that are built already."""
    return len(prepared.validation.ids) / timed(lambda: trainer.validate(prepared), trainer.device)


def agreement(encoder: Encoder, prepared: TrainingSet, resident: TrainingSet) -> dict[str, Any]:
    """The largest difference of a probability between the devices, by the same weights, with its tolerance."""
    expected = probabilities(encoder, prepared, CPU, mixed=False)
    found: dict[str, Any] = {}
    for name, mixed in (("fp32", False), ("mixed", True)):
        difference = float((probabilities(encoder, prepared, CUDA, mixed) - expected).abs().max())
        found[name] = {"largest": difference, "tolerance": TOLERANCE[name], "holds": difference <= TOLERANCE[name]}
    built = zip(prepared.validation_messages, resident.validation_messages, strict=True)
    found["messages"] = max(float((one.own - other.own.cpu()).abs().max()) for one, other in built)
    encoder.to(CPU)
    return found


@torch.no_grad()
def probabilities(encoder: Encoder, prepared: TrainingSet, device: torch.device, mixed: bool) -> torch.Tensor:
    """The fraud probabilities [V] of the validation seeds."""
    encoder.to(device).eval()
    with torch.autocast(device.type, dtype=torch.float16, enabled=mixed):
        logits = [encoder(messages.to(device))[1].float().cpu() for messages in prepared.validation_messages]
    return torch.cat(logits).sigmoid()


@contextmanager
def utilisation(device: torch.device) -> Iterator[list[int]]:
    """Samples of how busy the GPU was, in percent, ten a second; none on a CPU."""
    samples: list[int] = []
    over = Event()

    def sample() -> None:
        while not over.wait(0.1):
            samples.append(torch.cuda.utilization())

    thread = Thread(target=sample, daemon=True)
    if device.type == "cuda":
        thread.start()
    try:
        yield samples
    finally:
        over.set()
        if thread.ident:
            thread.join()


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds that it takes, until the device has finished."""
    synchronised(device)
    began = time.perf_counter()
    work()
    synchronised(device)
    return time.perf_counter() - began


def synchronised(device: torch.device) -> None:
    """Waits for the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def summary(report: dict[str, Any]) -> list[Measurement]:
    """Prints the comparison. Returns the records for `benchmarks/results.json`."""
    cpu, others = report["variants"]["cpu"], {n: v for n, v in report["variants"].items() if n != "cpu"}
    if not others:
        print("no GPU here: only the CPU was measured; run `python -m benchmarks gpu` where CUDA is")
        return [measurement("gpu.cpu_seeds_per_s", cpu["seeds_per_s"], "seeds/s")]
    for name, one in report["scores"].items():
        print(f"same weights, {name}: {one}")
    for name, one in others.items():
        gap = one["val_auc_roc"] - cpu["val_auc_roc"]
        print(
            f"{name}: AUC-ROC {gap:+.4f} to the CPU's, {'within' if abs(gap) <= AUC_TOLERANCE else 'BEYOND'} tolerance"
        )
    best = max(others, key=lambda name: others[name]["seeds_per_s"])
    return [
        measurement(
            f"gpu.{name.replace(', ', '_').replace(' ', '_')}", one["seeds_per_s"], "seeds/s", "CPU", cpu["seeds_per_s"]
        )
        for name, one in others.items()
    ] + [measurement("gpu.scores_difference", report["scores"]["fp32"]["largest"], f"probability; fastest: {best}")]


def one_line(figures: dict[str, Any]) -> str:
    """Figures in one line."""
    return json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()})


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    for one in summary(measured(arguments.rows, arguments.seeds, arguments.out)):
        print(one)


if __name__ == "__main__":
    main()
