"""The materialise stage: brings the online store up to a data set, before a version that needs it may serve.

Of each entity the store gets its last transactions, its counts by day and its labels by the day of their report. The
data set's last day may be incomplete, so what came as payments from that day on stands (`until`). Entities that are not
in the data set lose all before it: their file was set aside, or never came. A data set that ends earlier than the one
before changes nothing.

Entities are written one by one, and each is whole at any moment. A killed stage goes on where it was. The fill that
began last owns the store: an earlier one that still works is refused, and so ends.
"""

import hashlib
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.data import schema
from training.data.schema import FeatureSchema
from training.graph.graph import Graph, load_graph
from training.graph.history import Reader
from training.live import settings as live_settings
from training.live.client import definitions, opened
from training.live.contents import DatasetContents
from training.live.definition import DAY, LATE, LiveDefinition
from training.live.keys import EntityHash, Names
from training.live.scripts import ADVANCE, BEGIN, FINISH, MERGE
from training.live.settings import LiveSettings, variable
from training.model.config import TrainConfig
from training.outcome import Permanent, StageResult, Transient

CHUNK = 64  # entities that are sent together: a payment waits for at most these
PAGE = 500  # records of one look, about
PROGRESS_SECONDS = 86_400
SCRIPTS = {"merge": MERGE, "advance": ADVANCE, "finish": FINISH}
OTHER = "another fill of the online store has begun since; this one ends"
Progress = Callable[[str, Mapping[str, float]], None]


@dataclass(frozen=True)
class Brought:
    """What was done for one definition: its digest, entities written, and whether a later data set was there before."""

    definition: str
    entities: int
    fenced: bool
    as_of: int
    until: int


def materialise(order: StageRequest) -> StageResult:
    """The work of the stage (docs/contracts.md): input `dataset`, parameter `k` if train's is not preprocess's.

    Raises:
        Permanent: no store is set, or the data set cannot be used.
        Transient: the store does not answer.
    """
    if "dataset" not in order.inputs:
        raise Permanent("the materialise order lacks the input 'dataset'")
    with tempfile.TemporaryDirectory(prefix="fraudloop-materialise-") as scratch:
        folder = storage.local(order.inputs["dataset"], Path(scratch) / "dataset")
        k = int(order.parameters.get("k", 0))
        brought = fill(order.model, folder, k, live_settings.read())
    return StageResult(
        metrics={"entities": float(sum(one.entities for one in brought))},
        details={"materialised": [vars(one) for one in brought]},
    )


def fill(
    model: str,
    dataset: Path,
    k: int,
    settings: LiveSettings,
    *,
    whole: bool = False,
    replace: bool = False,
    progress: Progress = lambda *_: None,
) -> list[Brought]:
    """Bring the store up to a local data set folder, for `k` (0: the data set's own) and for every definition of the
    same declaration that has state already. `whole`: the data set's last day counts as complete, too; so does that of a
    definition's first fill. `replace`: also if the data set before ended later, which then counts as withdrawn.

    Raises:
        Permanent, Transient: as `materialise` says.
    """
    if settings.missing:
        names = " and ".join(variable(name) for name in ("url", "entity_key"))
        raise Permanent(f"there is {settings.missing}: set {names} (the key has at least 16 characters)")
    fitted = schema.loads((dataset / "schema.json").read_bytes())
    table = _table(dataset, fitted)
    if table.is_empty():
        raise Permanent(f"{dataset} has no transactions")
    graph = load_graph(dataset, fitted.features)
    k = k or next(iter(graph.nodes), TrainConfig.k)
    first = LiveDefinition(fitted.data, k)
    with opened(settings) as store:
        others = {one.k for one in definitions(store, model, fitted.data).values()} - {k}
        wanted = [first, *(LiveDefinition(fitted.data, other) for other in sorted(others))]
        way = _Way(model, settings, whole, replace, progress)
        return [_bring(store, table, graph, one, way) for one in wanted]


def _table(dataset: Path, fitted: FeatureSchema) -> pl.DataFrame:
    sides = fitted.data.relations
    columns = ["time", *(f"{side}_key" for side in sides), "label", "known_at"]
    columns += [f"clean_{name}" for name in fitted.data.source]
    file = dataset / "transactions.parquet"
    if lacking := set(columns) - set(pl.read_parquet_schema(file)):
        raise Permanent(f"{file} has no {', '.join(sorted(lacking))}: an earlier release made it; run preprocess again")
    return pl.read_parquet(file, columns=columns)


@dataclass(frozen=True)
class _Way:
    """How to fill: see `fill`."""

    model: str
    settings: LiveSettings
    whole: bool
    replace: bool
    progress: Progress


def _bring(store: Any, table: pl.DataFrame, graph: Graph, definition: LiveDefinition, way: _Way) -> Brought:
    names = Names.of(way.model, definition.digest, way.settings.entity_key)
    as_of = int(table["time"][-1])
    filled, former, reach = (store.get(name) for name in (names.filled, names.fence, names.reach))
    complete = way.whole or filled is None or int(reach or 0) > as_of + 1
    until = as_of + 1 if complete else max(as_of // DAY * DAY, int(reach or 0))
    later = Brought(definition.digest, 0, True, as_of, until)
    if filled is not None and int(filled) > as_of and not way.replace:
        return later
    state = Reader(graph, definition.k).state.numpy()
    contents = DatasetContents.of(table, state, definition, EntityHash(way.settings.entity_key))
    what = f"{until}:{hashlib.blake2b(contents.entries.view(np.uint8).data, digest_size=16).hexdigest()}"
    fence = f"{what}:{uuid.uuid4().hex}"
    goes_on = (former or b"").decode().startswith(f"{what}:")
    told = [as_of, int(way.replace), former or b"", fence, int(goes_on)]
    begun = store.eval(BEGIN, 3, names.filled, names.fence, names.progress, *told)
    if begun == 0:
        return later
    if begun < 0:
        raise Transient(OTHER)
    scripts = {name: store.script_load(script) for name, script in SCRIPTS.items()}
    fill = _Fill(store, names, fence, until, contents, scripts)
    written = _write(fill, way)
    _withdraw(fill, way.progress)
    record = {"k": definition.k, "as_of": as_of, "at": int(time.time())}
    keys = [names.filled, names.definitions, names.fence, names.reach, names.progress]
    told = [as_of, definition.digest, json.dumps(record), fence, f"done:{uuid.uuid4().hex}", until]
    fill.run("finish", keys, told)
    return Brought(definition.digest, written, False, as_of, until)


@dataclass(frozen=True)
class _Fill:
    """A fill that has begun: its fence, and its scripts by their digests.

    A store that was restarted, or its successor, may have lost what was written last, and knows no scripts. So the fill
    ends; the next attempt goes on from what is on record.
    """

    store: Any
    names: Names
    fence: str
    until: int
    contents: DatasetContents
    scripts: Mapping[str, str]

    def merge(self, pipeline: Any, key: str | bytes, keep: int, days: bytes, reports: bytes, entries: bytes) -> None:
        """Queue one entity's part; its record expires after `keep` seconds, with 0 when it would have anyway."""
        definition = self.contents.definition
        cents, offset = definition.entry.fields["clean cents"][:2]  # type: ignore[index]
        arguments = [self.until, keep, definition.k, definition.most, LATE, definition.entry.itemsize]
        parts = [days, reports, entries]
        tail = [offset, "<i4" if cents.itemsize == 4 else "<i8", self.contents.as_of, self.fence]
        keys = [key, self.names.fence, self.names.reach]
        pipeline.evalsha(self.scripts["merge"], 3, *keys, *arguments, *parts, *tail)

    def run(self, script: str, keys: list[str], arguments: list[Any]) -> None:
        """Run a script. Raises Transient: another fill has begun."""
        if self.store.evalsha(self.scripts[script], len(keys), *keys, *arguments) < 0:
            raise Transient(OTHER)


def _sent(pipeline: Any) -> int:
    """How many records were written by what was queued. Raises Transient: another fill has begun."""
    told: list[int] = pipeline.execute()
    if -1 in told:
        raise Transient(OTHER)
    return sum(told)


def _write(fill: _Fill, way: _Way) -> int:
    """Merge all entities; returns how many were written. It goes on after the last chunk that is on record."""
    names, contents, keep = fill.names, fill.contents, int(way.settings.retention_days * DAY)
    at, first = json.loads(fill.store.get(names.progress) or '["", 0]')
    written, sides = 0, contents.definition.data.relations
    for side in sides[sides.index(at) if at else 0 :]:
        number = first if side == at else 0
        total = len(contents.hashes[side])
        for chunk in contents.chunks(side, fill.until, CHUNK, number):
            pipeline = fill.store.pipeline(transaction=False)
            for one in chunk:
                fill.merge(pipeline, names.entity(side, one.hashed), keep, one.days, one.reports, one.entries)
            written += _sent(pipeline)
            number += len(chunk)
            reached = [fill.fence, json.dumps([side, number]), PROGRESS_SECONDS]
            fill.run("advance", [names.fence, names.progress], reached)
            if number % (CHUNK * 100) == 0 or number == total:
                way.progress(f"{side}s", {"written": number, "of": total})
    return written


def _withdraw(fill: _Fill, progress: Progress) -> None:
    """Take what is before `until` from the records of entities that the data set does not have."""
    known = {side: {one.hex().encode() for one in hashes} for side, hashes in fill.contents.hashes.items()}
    walked = emptied = 0

    def others() -> Iterator[bytes]:
        nonlocal walked
        for key in fill.store.scan_iter(match=fill.names.entities, count=PAGE):
            walked += 1
            side, hashed = key.rsplit(b":", 2)[1:]
            if hashed not in known.get(side.decode(), ()):
                yield key

    found = others()
    while keys := list(islice(found, CHUNK)):
        pipeline = fill.store.pipeline(transaction=False)
        for key in keys:
            fill.merge(pipeline, key, 0, b"", b"", b"")
        emptied += _sent(pipeline)
    progress("not in the data set", {"entities": emptied, "of": walked})
