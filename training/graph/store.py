"""The graph of a data set as files that are mapped into memory: written once by preprocess, read by every later stage.

    graph/graph.json      format, rows, k, features, sides, and the scalars of timelines and reports
    graph/nodes.npy       float32 [N, F + S]: row features, then the state of each transaction for histories of k
    graph/sources.npy     float32 [N, 3]: the row features that velocity is made of
    graph/time.npy …      label, known_day, split and the codes of each relation [N]
    graph/<side>.….npy    the tensors of its `Timeline` and `Reports`

A mapped file takes memory only where it is read, and the kernel may take that back: what a stage needs does not grow
with the rows of the graph. The two matrices are written in parts, in order, so that they are never whole in memory.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from training.graph.days import DAY
from training.graph.graph import (
    CENTS,
    COLUMNS,
    FOLDER,
    FORMAT,
    KNOWN_AT,
    RECORD,
    Graph,
    Reports,
    Timeline,
    base,
    reports,
    running,
    tensor,
    timeline,
    with_nodes,
)
from training.graph.history import STATE_CHUNK, Stateless
from training.graph.velocity import SOURCES, source_columns, state_names

PART = 8 * STATE_CHUNK  # rows that are read, computed and written at once
Floats = NDArray[np.float32]
Frames = Callable[[int, int | None], pl.LazyFrame]  # the row features of so many rows from a number on


def write(dataset: Path, features: tuple[str, ...], sides: tuple[str, ...], unit: int, k: int) -> None:
    """Adds the graph's files to a data set's folder, made of its `transactions.parquet`."""
    folder, table = dataset / FOLDER, pl.scan_parquet(dataset / "transactions.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    made = {"known_day": (pl.col(KNOWN_AT) // DAY).cast(pl.Int32), "cents": pl.col(CENTS).cast(pl.Int64)}
    for name in (*COLUMNS, *sides):
        column = table.select(made.get(name, pl.col(name)).alias(name)).collect(engine="streaming")[name]
        np.save(folder / f"{name}.npy", column.to_numpy())
    scalars = {side: _ordered(folder, side) for side in sides}
    record = {"format": FORMAT, "k": k, "features": features, "sides": sides, "unit": unit, "scalars": scalars}
    write_nodes(folder, folder, record, features, lambda first, count: table.slice(first, count), k)
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")


def exists(dataset: Path) -> bool:
    """Whether a data set has the graph's files; those of earlier releases have none."""
    return (dataset / FOLDER / RECORD).is_file()


def other(dataset: Path, out: Path, features: tuple[str, ...], frames: Frames, k: int) -> Graph:
    """The graph of a data set with other row features, whose files are written into the folder `out`."""
    folder = dataset / FOLDER
    record = json.loads((folder / RECORD).read_bytes())
    write_nodes(out, folder, record, features, frames, k)
    return with_nodes(out, folder, record, features, k)


def write_nodes(
    out: Path, folder: Path, record: Mapping[str, Any], features: tuple[str, ...], frames: Frames, k: int
) -> None:
    """Writes `sources.npy` and `nodes.npy` into the folder `out`, for the graph whose other files are in `folder`."""
    columns, rows = source_columns(features), len(tensor(folder, "time"))
    starts = range(0, rows, PART)
    with _array(out / "sources.npy", rows, len(columns)) as put:
        for first in starts:
            put(_picked(frames(first, PART), features, columns))
    reader = Stateless(base(folder, record, tensor(out, "sources"), SOURCES), k)
    with _array(out / "nodes.npy", rows, len(features) + len(state_names(record["sides"]))) as put:
        for first in starts:
            row = _floats(frames(first, PART).select(features))
            put(np.concatenate([row, reader.states(first, len(row)).numpy()], axis=1))


def _ordered(folder: Path, side: str) -> dict[str, dict[str, int]]:
    """Writes the tensors of a relation's timeline and of what follows from it; returns their scalars."""
    codes = tensor(folder, side)
    line = timeline(codes, tensor(folder, "time"))
    np.save(folder / f"{side}.spent.npy", running(tensor(folder, "cents"), line).numpy())
    found = {Timeline.__name__: _saved(folder, side, line)}
    del line
    known = reports(codes, tensor(folder, "known_day"), tensor(folder, "label"))
    return found | {Reports.__name__: _saved(folder, side, known)}


def _saved(folder: Path, side: str, part: Timeline | Reports) -> dict[str, int]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    for name, value in values.items():
        if isinstance(value, Tensor):
            np.save(folder / f"{side}.{name}.npy", value.numpy())
    return {name: value for name, value in values.items() if not isinstance(value, Tensor)}


@contextmanager
def _array(path: Path, rows: int, columns: int) -> Iterator[Callable[[Floats], None]]:
    """A `.npy` file of float32 [rows, columns] that is written part by part."""
    with path.open("wb") as file:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
        npy.write_array_header_1_0(file, shape)  # type: ignore[no-untyped-call]
        yield lambda part: part.tofile(file)


def _floats(frame: pl.LazyFrame) -> Floats:
    return np.ascontiguousarray(frame.cast(pl.Float32).collect().to_numpy(), dtype=np.float32)


def _picked(frame: pl.LazyFrame, features: tuple[str, ...], columns: list[int]) -> Floats:
    """Some of the row features; zeros in place of column -1."""
    chosen = [pl.lit(0.0) if column < 0 else pl.col(features[column]) for column in columns]
    named = {str(number): column for number, column in enumerate(chosen)}
    return _floats(frame.with_columns(**named).select(list(named)))
