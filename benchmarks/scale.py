"""Every stage of one run by itself: seconds, CPU seconds and peak memory, from a CSV file to a version for Triton.

`python -m benchmarks scale` takes a million rows; `--rows 24386900` the size of TabFormer's own file. Each stage runs in
a process of its own, with every seed and all arithmetic, as its pod would.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path

from benchmarks.preprocess import peak_gb

ROWS, FULL, SEED = 1_000_000, 24_386_900, 1


def _generate(folder: Path, rows: int) -> None:
    from training.synthetic import simulate, write_csv

    write_csv(folder / "rows.csv", *simulate(rows, SEED))


def _preprocess(folder: Path, rows: int) -> None:
    from training.data.preprocess import PreprocessConfig, prepare

    prepare([folder / "rows.csv"], folder / "dataset", PreprocessConfig(), today=date(2026, 1, 1))


def _train(folder: Path, rows: int) -> None:
    from training.model.checkpoint import StoredCheckpoints
    from training.model.config import TrainConfig
    from training.model.train import train_model

    checkpoints = StoredCheckpoints(str(folder / "checkpoints"))
    model = train_model(folder / "dataset", TrainConfig(), checkpoints, _said)
    model.save(folder / "model")


def _evaluate(folder: Path, rows: int) -> None:
    from training.evaluation.evaluate import EvaluateConfig, measured, pages_of, score, write
    from training.model.model import load

    config, dataset, model = EvaluateConfig(), folder / "dataset", load(folder / "model")
    scored = score(model, dataset, {}, config)
    evaluation = measured(model, dataset, scored, config)
    write(str(folder), evaluation, pages_of("scale", model, dataset, evaluation, scored, config))
    _said("evaluated", evaluation["metrics"])


def _export(folder: Path, rows: int) -> None:
    from training.export.export import build

    build(folder / "version", folder / "model", folder / "dataset", "scale")


def _said(event: str, metrics: Mapping[str, float]) -> None:
    print(event, *(f"{name}={value:.6g}" for name, value in metrics.items()), file=sys.stderr, flush=True)


STAGES: dict[str, Callable[[Path, int], None]] = {
    "preprocess": _preprocess,
    "train": _train,
    "evaluate": _evaluate,
    "export": _export,
}
ALL = {"generate": _generate, **STAGES}


def _child(stage: str, folder: Path, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", "--stage", stage, "--folder", str(folder), "--rows", str(rows)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    print(f"   {stage:<10} {rows:,} rows: " + ", ".join(f"{k} {v:.2f}" for k, v in found.items()), flush=True)
    return found


def _measure(stage: str, folder: Path, rows: int) -> None:
    import torch, polars, xgboost, torch_geometric  # noqa

    began, used = time.perf_counter(), _cpu()
    ALL[stage](folder, rows)
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu_s": _cpu() - used, "peak_gb": peak_gb()}))


def _cpu() -> float:
    return sum(
        u.ru_utime + u.ru_stime
        for u in (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--stage", choices=ALL)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--stages", nargs="+", default=list(ALL))
    a = parser.parse_args()
    if a.stage:
        _measure(a.stage, a.folder, a.rows)
        return
    folder = a.folder or Path(tempfile.mkdtemp())
    for stage in a.stages:
        _child(stage, folder, a.rows)


if __name__ == "__main__":
    main()
