"""Every stage of one run, from a CSV file to a version for Triton: seconds, CPU seconds and peak memory, by size.

`python -m benchmarks scale` takes 200,000 and a million rows; `--rows 24386900` is the size of TabFormer's file. Each
stage runs in a process of its own, with every seed and all arithmetic, as its pod would. Resident memory counts the
pages of mapped files, which the kernel may take back; `anonymous` memory it cannot.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from threading import Event, Thread

from benchmarks.preprocess import peak_gb
from benchmarks.results import Measurement, measurement, record

ROWS = (200_000, 1_000_000)
FULL, SEED = 24_386_900, 1
FORMER_GB = {"preprocess": 3.5, "train": 8.5, "evaluate": 5.8, "export": 9.5}  # at FULL, before files were mapped
FORMER = "before the graph was mapped, at 24.4M rows"
PERIOD = 0.1  # seconds between two looks at the anonymous memory


def _generate(folder: Path) -> None:
    from training.synthetic import simulate, write_csv

    write_csv(folder / "rows.csv", *simulate(int(folder.name), SEED))


def _preprocess(folder: Path) -> None:
    from training.data.preprocess import PreprocessConfig, prepare

    config = PreprocessConfig(conversion_seconds=3600)  # a busy machine says nothing about the file
    prepare([folder / "rows.csv"], folder / "dataset", config, today=date(2026, 1, 1))


def _train(folder: Path) -> None:
    from training.model.checkpoint import StoredCheckpoints
    from training.model.config import TrainConfig
    from training.model.train import train_model

    checkpoints = StoredCheckpoints(str(folder / "checkpoints"))
    train_model(folder / "dataset", TrainConfig(), checkpoints, lambda *_: None).save(folder / "model")


def _evaluate(folder: Path) -> None:
    from training.evaluation.evaluate import EvaluateConfig, measured, pages_of, score, write
    from training.model.model import load

    config, dataset, model = EvaluateConfig(), folder / "dataset", load(folder / "model")
    scored = score(model, dataset, {}, config)
    evaluation = measured(model, dataset, scored, config)
    write(str(folder), evaluation, pages_of("scale", model, dataset, evaluation, scored, config))


def _export(folder: Path) -> None:
    from training.export.export import build

    build(folder / "version", folder / "model", folder / "dataset", "scale")


STAGES: dict[str, Callable[[Path], None]] = {
    "preprocess": _preprocess,
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
}
TASKS = {"generate": _generate, **STAGES}


def run(sizes: Sequence[int] = ROWS, keep: Path | None = None) -> list[Measurement]:
    """All measurements; the largest of several sizes gives the figures, and the growth is against the one before."""
    found = {}
    for rows in sorted(sizes):
        with tempfile.TemporaryDirectory(prefix="fraudloop-scale-") as scratch:
            folder = (keep or Path(scratch)) / str(rows)
            folder.mkdir(parents=True, exist_ok=True)
            found[rows] = {name: _child(name, folder) for name in TASKS}
    return [*_figures(found[max(found)], max(found)), *_growth(found)]


def _figures(found: dict[str, dict[str, float]], rows: int) -> Iterator[Measurement]:
    for stage in STAGES:
        former = FORMER_GB[stage] if rows == FULL else None
        yield measurement(f"scale.peak_gb.{stage}", found[stage]["peak_gb"], f"GB at {rows:,} rows", FORMER, former)
        yield measurement(f"scale.anonymous_gb.{stage}", found[stage]["anonymous_gb"], f"GB at {rows:,} rows")
        yield measurement(f"scale.seconds.{stage}", found[stage]["seconds"], f"s at {rows:,} rows")
        yield measurement(f"scale.cpu_s.{stage}", found[stage]["cpu_s"], f"CPU-s at {rows:,} rows")
    minutes = sum(found[stage]["seconds"] for stage in STAGES) / 60
    yield measurement("scale.chain_minutes", minutes, f"min at {rows:,} rows")


def _growth(found: dict[int, dict[str, dict[str, float]]]) -> Iterator[Measurement]:
    """CPU seconds per row, against the next smaller size."""
    if len(found) < 2:
        return
    few, many = sorted(found)[-2:]
    each = {rows: sum(found[rows][stage]["cpu_s"] for stage in STAGES) / rows * 1e6 for rows in (few, many)}
    yield measurement("scale.cpu_s_per_1m", each[many], f"CPU-s at {many:,} rows", f"at {few:,} rows", each[few])


def _child(task: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", "--task", task, "--folder", str(folder)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    shown = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    print(f"   {int(folder.name):>10,} rows, {task:<10} {shown}, load {os.getloadavg()[0]:.1f}", flush=True)
    return found


def _measure(task: str, folder: Path) -> None:
    began, used = time.perf_counter(), _cpu()
    with _watched() as most:
        TASKS[task](folder)
    spent = {"seconds": time.perf_counter() - began, "cpu_s": _cpu() - used}
    print(json.dumps(spent | {"peak_gb": peak_gb(), "anonymous_gb": most[0]}))


@contextmanager
def _watched() -> Iterator[list[float]]:
    """The most anonymous memory of this process, in GB."""
    most, over = [0.0], Event()

    def watch() -> None:
        while not over.wait(PERIOD):
            status = Path("/proc/self/status").read_text()
            most[0] = max(most[0], int(status.partition("RssAnon:")[2].split()[0]) * 1024 / 1e9)

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main(given: Sequence[str] | None = None) -> None:
    """`python -m benchmarks scale [--rows N …] [--folder KEEP]`: run and record only these measurements."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(ROWS))
    parser.add_argument("--folder", type=Path, help="where files are kept; else they are deleted")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    if arguments.task:
        _measure(arguments.task, arguments.folder)
        return
    record(run(arguments.rows, arguments.folder))


if __name__ == "__main__":
    main()
