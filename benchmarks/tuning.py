"""Whether a search pays: 20 trials of `fraudloop tune --local` on two data sets, then the found settings on the test.

`python -m benchmarks.tuning [--rows N] [--handbook-rows N] [--trials N] [--seeds 1,2,…]`. The search sees validation
alone. Afterwards the defaults and what was found are trained anew with each seed, and compared on the test, paired.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.encoder_trials import gain, tested
from benchmarks.quality import DataGenerator, cpu_seconds, generated, sources
from benchmarks.results import bounds
from training.model.config import TrainConfig
from training.tuning.search import Trial, search
from training.tuning.space import OBJECTIVE
from training.tuning.trial import score

ROWS, HANDBOOK_ROWS, TRIALS, DATA_SEED, SEEDS = 400_000, 40_000, 20, 61, (1, 2, 3)


def run(given: Sequence[DataGenerator] | None = None, trials: int = TRIALS, seeds: Sequence[int] = SEEDS) -> None:
    """Search on each data set, and print what was found and what it gains."""
    gains: list[float] = []
    for source in given or sources(ROWS, HANDBOOK_ROWS):
        with tempfile.TemporaryDirectory() as scratch:
            gains += _searched(generated(Path(scratch), source, DATA_SEED), source.name, trials, seeds)
    print(
        f"median gain in average precision on the test rows of all data sets and seeds: {statistics.median(gains):+.4f}"
    )


def _searched(dataset: Path, name: str, trials: int, seeds: Sequence[int]) -> list[float]:
    began = cpu_seconds()
    optimum, _ = search(lambda tried: score(dataset, tried)[OBJECTIVE], TrainConfig(), trials=trials, show=_show)
    print(f"  {name}: {OBJECTIVE} {optimum.default_value:.4f} → {optimum.value:.4f} after {trials} trials, ", end="")
    print(f"{cpu_seconds() - began:.0f} CPU-s: {optimum.parameters}", flush=True)
    gains = []
    for seed in seeds:
        default = replace(TrainConfig(), seed=seed)
        theirs, labels, usual = tested(dataset, default)
        ours, _, spent = tested(dataset, replace(default, **optimum.parameters))  # type: ignore[arg-type]
        gained = gain(labels, ours, theirs, seed)
        gains.append(gained["mean"])
        print(f"  {name}, training seed {seed}: test {bounds(gained)}, {spent / usual:.2f} times the CPU", flush=True)
    return gains


def _show(trial: Trial) -> None:
    value = "failed" if trial.value is None else f"{trial.value:.4f}"
    print(f"    trial {trial.number:2d}: {value} {trial.parameters} {trial.reason}", flush=True)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--handbook-rows", type=int, default=HANDBOOK_ROWS)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--seeds", default=",".join(str(seed) for seed in SEEDS))
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    run(sources(arguments.rows, arguments.handbook_rows), arguments.trials, seeds)


if __name__ == "__main__":
    main()
