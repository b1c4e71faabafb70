"""Preprocess beside plain CSV parsing (the lower bound) and beside the blueprint's transformation in pandas.

Each measurement runs in its own process: seconds without imports, and the kernel's peak resident memory.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import polars as pl

from benchmarks.blueprint import differences, our_way, pandas_way
from benchmarks.results import Measurement, measurement, record
from training.data.preprocess import PreprocessConfig, prepare
from training.synthetic import generate, simulate, write_csv

FULL = 24_386_900
SIZES = (1_000_000, 10_000_000, FULL)
COMPARED = 100_000  # rows on which both transformations must give equal columns before anything is timed
SEED = 1


def _prepare(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        prepare([path], out, PreprocessConfig(min_frauds=0), today=date(2026, 1, 1))


TASKS: dict[str, Callable[[Path], object]] = {
    "parse": pl.read_csv,
    "prepare": _prepare,
    "pandas": pandas_way,
    "blueprint": our_way,
}


def run(sizes: Sequence[int] = SIZES) -> list[Measurement]:
    """All measurements. The largest size needs 2.5 GB of disk for its file and 4 GB for the result."""
    measurements = []
    with tempfile.TemporaryDirectory(prefix="fraudloop-bench-") as folder:
        measurements += _generated(Path(folder), min(sizes))
        measurements += _beside_pandas(_file(Path(folder), min(sizes)), min(sizes))
        measurements += tiny_objects(Path(folder))
        for rows in sizes:
            path = _file(Path(folder), rows)
            measurements += _beside_parsing(path, rows)
            path.unlink()
    return measurements


def _generated(folder: Path, rows: int) -> list[Measurement]:
    """The generator's speed, alone and with its CSV file."""
    began = time.perf_counter()
    made = simulate(rows, SEED)
    simulated = time.perf_counter()
    write_csv(folder / f"{rows}.csv", *made)
    written = time.perf_counter()
    print(f"   {rows:,} synthetic rows: {simulated - began:.2f} s, written as CSV in {written - simulated:.2f} s")
    return [measurement("synthetic.rows_per_s", rows / (simulated - began), "rows/s")]


def _beside_pandas(path: Path, rows: int) -> list[Measurement]:
    _refuse_if_different(path)
    pandas, blueprint, ours = (_measured(task, path, 3) for task in ("pandas", "blueprint", "prepare"))
    peer, peer_rate = "the blueprint's transformation, the pandas way", rows / pandas[0]
    print(
        f"   {rows:,} rows, the same columns: "
        f"pandas {pandas[0]:.2f} s, {pandas[1]:.2f} GB; ours {blueprint[0]:.2f} s, {blueprint[1]:.2f} GB"
    )
    return [
        measurement("preprocess.vs_pandas", rows / blueprint[0], "rows/s", peer, peer_rate),
        measurement("preprocess.prepare_vs_pandas", rows / ours[0], "rows/s", peer, peer_rate),
    ]


def _beside_parsing(path: Path, rows: int) -> list[Measurement]:
    label, times = _label(rows), 3 if rows <= SIZES[1] else 1
    parse, ours = _measured("parse", path, times), _measured("prepare", path, times)
    print(
        f"   {rows:,} rows: parsing {parse[0]:.2f} s, {parse[1]:.2f} GB; preprocess {ours[0]:.2f} s, {ours[1]:.2f} GB"
    )
    compared = "preprocess.vs_csv_parse" if rows == SIZES[0] else f"preprocess.vs_csv_parse_{label}"
    return [
        measurement(compared, ours[0], "s", "parsing the CSV file", parse[0]),
        measurement(
            f"preprocess.rows_per_s_{label}", rows / ours[0], "rows/s", "parsing the CSV file", rows / parse[0]
        ),
        measurement(f"preprocess.peak_rss_{label}", ours[1], "GB", "parsing the CSV file", parse[1]),
    ]


TINY = (1_000, 4_000)
TINY_ROWS = 20


def tiny_objects(folder: Path, counts: Sequence[int] = TINY) -> list[Measurement]:
    """Seconds for many objects of 20 overlapping rows, and their growth: four times the objects, at most four times."""
    seconds = {}
    for count in counts:
        rows = generate(count * TINY_ROWS, SEED).sort("Year", "Month", "Day", "Time")
        paths = [folder / f"{count}-{number:05}.csv" for number in range(count)]
        for number, path in enumerate(paths):
            rows.slice(number * TINY_ROWS, TINY_ROWS + 2).write_csv(path)
        began = time.perf_counter()
        prepare(paths, folder / f"of-{count}", PreprocessConfig(min_frauds=0), today=date(2026, 1, 1))
        seconds[count] = time.perf_counter() - began
        print(f"   {count:,} objects of {TINY_ROWS} rows: {seconds[count]:.2f} s")
    few, many = min(counts), max(counts)
    growth, expected = seconds[many] / seconds[few], many / few
    print(f"   {expected:g} times as many objects take {growth:.1f} times as long")
    return [measurement("preprocess.tiny_objects_growth", growth, "x", "growth in proportion", expected)]


def _label(rows: int) -> str:
    return f"{rows // 1_000_000}m" if rows >= 1_000_000 else str(rows)


def _file(folder: Path, rows: int) -> Path:
    path = folder / f"{rows}.csv"
    if not path.exists():
        write_csv(path, *simulate(rows, SEED))
    return path


def _refuse_if_different(path: Path) -> None:
    """Raise unless both transformations give equal columns, so that equal work is compared."""
    few = path.with_suffix(".few.csv")
    pl.read_csv(path, n_rows=COMPARED, infer_schema=False).write_csv(few)
    wrong = differences(pandas_way(few), our_way(few))
    if wrong:
        raise AssertionError(f"our columns differ from the pandas way's: {', '.join(wrong)}")


def _measured(task: str, path: Path, times: int) -> tuple[float, float]:
    """Seconds (the best of several) and peak GB (the worst) of one task, each in its own process."""
    command = [sys.executable, "-m", "benchmarks.preprocess", "--task", task, "--file", str(path)]
    results = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(times)]
    return min(one["seconds"] for one in results), max(one["peak_gb"] for one in results)


def _measure(task: str, path: Path) -> None:
    began = time.perf_counter()
    TASKS[task](path)
    print(json.dumps({"seconds": time.perf_counter() - began, "peak_gb": peak_gb()}))


def peak_gb() -> float:
    """This program's own peak memory. `ru_maxrss` is unsuitable: a child inherits its parent's value."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e9


def main() -> None:
    """`python -m benchmarks.preprocess [--rows N …]`: run and record only these measurements."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preprocess", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        _measure(arguments.task, arguments.file)
        return
    record(run(arguments.rows))


if __name__ == "__main__":
    main()
