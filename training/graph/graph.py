"""The graph of transactions and their entities (card–transaction–merchant), sorted by time.

Edges are not stored. A `Timeline` keeps the transactions of each card (or merchant, …) side by side, sorted by time.
So the last K transactions before a given one are K neighbouring positions, and a count over a time window is a binary
search. Every look-up stops before the first transaction of the same second: a tie is not earlier.
"""

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from torch import Tensor

from training.graph.block import SIDES
from training.graph.days import DAY, NEVER
from training.outcome import Permanent

TRAIN, VALIDATE, TEST, IMMATURE = 0, 1, 2, 3
KNOWN_AT, CENTS = "known_at", "clean_cents"
NEVER_DAY = NEVER // DAY
FOLDER, RECORD, FORMAT = "graph", "graph.json", 1  # of the mapped files (`training.graph.store`)
COLUMNS = ("time", "label", "known_day", "split", "cents")
SMALL = 1 << 20  # bytes of a file that is read rather than mapped


@dataclass(frozen=True)
class Timeline:
    """All N transactions grouped by one kind of entity and, within it, sorted by time.

    `order` [N]: transaction ids in that order. `first` [N]: position in `order` of the first transaction of the same
    entity. `before` [N]: one past the position of the entity's last strictly earlier transaction. `clock` [N]: the
    sorted key entity · span + (time − start) + 1, which makes one binary search over (entity, time) possible.
    """

    order: Tensor
    first: Tensor
    before: Tensor
    clock: Tensor
    start: int
    span: int

    def previous(self, seeds: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The last `k` strictly earlier transactions, most recent first: ids [B, k] and whether each exists [B, k]."""
        position = taken(self.before, seeds)[:, None] - 1 - torch.arange(k, dtype=torch.int32, device=seeds.device)
        present = position >= taken(self.first, seeds)[:, None]
        return taken(self.order, position.clamp_(min=0)).long(), present

    def count_until(self, entity: Tensor, time: Tensor) -> Tensor:
        """One past the position of the last transaction of `entity` [B] at or before `time` [B]."""
        second = (time - self.start + 1).clamp(min=0, max=self.span - 1)
        return torch.searchsorted(self.clock, entity.long() * self.span + second, right=True)


@dataclass(frozen=True)
class Reports:
    """The M known labels by entity and the day on which they became known, at the end of which they count.

    `key` [M]: sorted 2 · (entity · span + (day − start) + 1) + fraud. `frauds` [M + 1]: frauds before each position.
    """

    key: Tensor
    frauds: Tensor
    start: int
    span: int

    def until(self, entity: Tensor, day: Tensor) -> tuple[Tensor, Tensor]:
        """Labels of `entity` [B] that were known by the end of `day` [B], and frauds among them, counted from the
        first of all entities: take differences.
        """
        at = (day - self.start + 1).clamp(min=0, max=self.span - 1)
        position = torch.searchsorted(self.key, (entity.long() * self.span + at) * 2 + 1, right=True)
        return position, self.frauds[position]


Part = TypeVar("Part", Timeline, Reports)


@dataclass(frozen=True)
class Graph:
    """N transactions sorted by time: `time`, `label`, `split` [N], `row` [N, F] features and, by relation, the codes
    [N] of its `entities`. `known_day` [N]: the day since the epoch on which the label became known, never before the
    transaction's own; `NEVER_DAY` if it is not. `cents` [N]: the amounts in minor units, of which `unit` are one whole.
    """

    time: Tensor
    entities: Mapping[str, Tensor]
    label: Tensor
    known_day: Tensor
    split: Tensor
    row: Tensor
    features: tuple[str, ...]
    cents: Tensor
    unit: int = 100

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the relations, in order."""
        return tuple(self.entities)

    @cached_property
    def timelines(self) -> dict[str, Timeline]:
        """The transactions by the entities of each relation."""
        return {side: timeline(codes, self.time) for side, codes in self.entities.items()}

    @cached_property
    def reports(self) -> dict[str, Reports]:
        """The known labels by the entities of each relation."""
        return {side: reports(codes, self.known_day, self.label) for side, codes in self.entities.items()}

    @cached_property
    def spent(self) -> dict[str, Tensor]:
        """Sum of the amounts before each position of a relation's timeline [N + 1], exact."""
        return {side: running(self.cents, line) for side, line in self.timelines.items()}

    @cached_property
    def maps(self) -> list[mmap.mmap]:
        """The files that its tensors are mapped from."""
        return []

    def release(self) -> None:
        """Gives back the memory of what was read of mapped files; it is read again where it is needed again.

        The kernel maps 64 KB around each row that is read, so that few rows of a large graph take all of it.
        """
        for one in self.maps:
            one.madvise(mmap.MADV_DONTNEED)

    @cached_property
    def nodes(self) -> dict[int, Tensor]:
        """Row features and states [N, F + S] that were computed before, by the k of their histories."""
        return {}

    @cached_property
    def sources(self) -> dict[int, Tensor]:
        """The row features [N, 3] that velocity is made of, if they lie apart."""
        return {}

    def __len__(self) -> int:
        return len(self.time)

    def where(self, split: int) -> Tensor:
        """The transaction ids of one split, in time order."""
        return (self.split == split).nonzero().flatten()

    def to(self, device: torch.device) -> "Graph":
        """The same graph on another device."""
        moved = {
            name: getattr(self, name).to(device) for name in ("time", "label", "known_day", "split", "row", "cents")
        }
        return replace(self, entities={side: codes.to(device) for side, codes in self.entities.items()}, **moved)


def taken(values: Tensor, ids: Tensor) -> Tensor:
    """`values[ids]`, several times as fast: this copies whole rows."""
    return values.index_select(0, ids.reshape(-1)).reshape(*ids.shape, *values.shape[1:])


def timeline(entity: Tensor, time: Tensor) -> Timeline:
    """Groups transactions that are already sorted by time; a stable sort keeps that order within each entity."""
    entity = entity.long()
    order = torch.sort(entity, stable=True).indices
    start = int(time[0]) if len(time) else 0
    span = int(time[-1]) - start + 3 if len(time) else 3
    clock = entity[order] * span + (time[order].long() - start) + 1
    first, before = torch.empty_like(order), torch.empty_like(order)
    first[order] = torch.searchsorted(clock, entity[order] * span)
    before[order] = torch.searchsorted(clock, clock)
    return Timeline(order.int(), first.int(), before.int(), clock, start, span)


def running(cents: Tensor, line: Timeline) -> Tensor:
    """Sums of the amounts before each position of a timeline [N + 1]."""
    sums = torch.zeros(len(cents) + 1, dtype=torch.int64, device=cents.device)
    torch.cumsum(cents[line.order.long()], dim=0, out=sums[1:])
    return sums


def reports(entity: Tensor, known_day: Tensor, label: Tensor) -> Reports:
    """Orders the known labels of all transactions by entity and day."""
    known = (known_day < NEVER_DAY).nonzero().flatten()
    day = known_day[known].long()
    start, end = (int(day.min()), int(day.max())) if len(day) else (0, 0)
    span = end - start + 3
    key = torch.sort((entity[known].long() * span + day - start + 1) * 2 + (label[known] == 1)).values
    frauds = torch.zeros(len(key) + 1, dtype=torch.int32, device=key.device)
    torch.cumsum(key % 2, dim=0, dtype=torch.int32, out=frauds[1:])
    return Reports(key, frauds, start, span)


def load_graph(dataset: str | Path, features: tuple[str, ...]) -> Graph:
    """The graph of a local dataset folder, with the row features in the schema's order; mapped if it has the files.

    Raises:
        Permanent: the data set does not say when labels became known.
    """
    if (found := mapped(Path(dataset) / FOLDER, features)) is not None:
        return found
    schema = json.loads((Path(dataset) / "schema.json").read_bytes())
    sides = relations(schema)
    columns = ["time", *sides, "label", KNOWN_AT, "split", CENTS, *features]
    file = Path(dataset) / "transactions.parquet"
    if KNOWN_AT not in pl.read_parquet_schema(file):
        raise Permanent(f"{file} has no {KNOWN_AT}: an earlier release made this data set; run preprocess again")
    return graph_of(pl.read_parquet(file, columns=columns), features, sides, unit_of(schema))


def mapped(folder: Path, features: tuple[str, ...]) -> Graph | None:
    """The graph whose files are in `folder`, with these row features or none; None if it has others, or no files.

    Raises:
        Permanent: the files are of a format that this code cannot read.
    """
    record = json.loads((folder / RECORD).read_bytes()) if (folder / RECORD).is_file() else {}
    if not record or (features and tuple(record["features"]) != features):
        return None
    if record["format"] != FORMAT:
        raise Permanent(f"{folder} has format {record['format']!r}, readable is {FORMAT}; run preprocess again")
    return with_nodes(folder, folder, record, features, record["k"])


def with_nodes(out: Path, folder: Path, record: Mapping[str, Any], features: tuple[str, ...], k: int) -> Graph:
    """The graph in `folder` with the row features and states that are in the folder `out`."""
    maps: list[mmap.mmap] = []
    nodes = tensor(out, "nodes", maps)
    made = base(folder, record, nodes[:, : len(features)], features)
    if features:
        made.nodes[k], made.sources[k] = nodes, tensor(out, "sources", maps)
    made.maps.extend(maps)
    return made


def base(folder: Path, record: Mapping[str, Any], row: Tensor, features: tuple[str, ...]) -> Graph:
    """The graph of mapped columns with these row features; timelines and what follows are mapped too, not computed."""
    maps: list[mmap.mmap] = []
    columns = {name: tensor(folder, name, maps) for name in COLUMNS}
    sides, scalars = record["sides"], record["scalars"]
    entities = {side: tensor(folder, side, maps) for side in sides}
    made = Graph(entities=entities, row=row, features=features, unit=record["unit"], **columns)
    # They follow from the columns; a graph that is made of this one by `replace` computes its own.
    made.__dict__["timelines"] = {side: _part(Timeline, folder, side, scalars, maps) for side in sides}
    made.__dict__["reports"] = {side: _part(Reports, folder, side, scalars, maps) for side in sides}
    made.__dict__["spent"] = {side: tensor(folder, f"{side}.spent", maps) for side in sides}
    made.maps.extend(maps)
    return made


def tensor(folder: Path, name: str, maps: list[mmap.mmap] | None = None) -> Tensor:
    """A file of the graph as a tensor: mapped copy-on-write, so that nothing can change the file; adds to `maps`."""
    file = folder / f"{name}.npy"
    array = np.load(file, mmap_mode="c" if file.stat().st_size > SMALL else None)
    if maps is not None and isinstance(getattr(array, "_mmap", None), mmap.mmap):
        maps.append(array._mmap)
    return torch.from_numpy(array)


def _part(kind: type[Part], folder: Path, side: str, scalars: Mapping[str, Any], maps: list[mmap.mmap]) -> Part:
    told = scalars[side][kind.__name__]
    names = [field.name for field in fields(kind)]
    found: dict[str, Any] = {name: tensor(folder, f"{side}.{name}", maps) for name in names if name not in told}
    return kind(**found, **told)


def relations(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the relations that a `schema.json` declares; before columns were declared they were `SIDES`."""
    return tuple(sorted(schema["data"]["entities"])) if "data" in schema else SIDES


def unit_of(schema: Mapping[str, Any]) -> int:
    """How many minor units are one whole of the currency that a `schema.json` declares."""
    return int(10 ** schema.get("data", {}).get("amount", {}).get("minor_units", 2))


def graph_of(table: pl.DataFrame, features: tuple[str, ...], sides: tuple[str, ...] = SIDES, unit: int = 100) -> Graph:
    """The graph of a table that is sorted by time."""
    row = torch.empty(len(table), len(features))
    for number, name in enumerate(features):
        row.numpy()[:, number] = table[name].cast(pl.Float32).to_numpy()

    def column(name: str) -> Tensor:
        return torch.from_numpy(table[name].to_numpy(writable=True))

    return Graph(
        time=column("time"),
        entities={side: column(side) for side in sides},
        label=column("label"),
        known_day=torch.from_numpy((table[KNOWN_AT] // DAY).cast(pl.Int32).to_numpy(writable=True)),
        split=column("split"),
        row=row,
        features=features,
        cents=torch.from_numpy(table[CENTS].cast(pl.Int64).to_numpy(writable=True)),
        unit=unit,
    )
