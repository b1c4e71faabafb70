"""The materialise stage: brings the online store up to a data set, before a version that needs it may serve.

Of each entity the store gets its last transactions, its counts by day and its labels by the day of their report. The
data set's last day may be incomplete, so what came as payments from that day on stands (`until`). Entities that are not
in the data set lose all before it: their file was set aside, or never came. A data set that ends earlier changes
nothing. Entities are written one by one, and each is whole at any moment; a killed stage goes on where it was.
"""

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
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
from training.live.scripts import FINISH, MERGE
from training.live.settings import LiveSettings, variable
from training.model.config import TrainConfig
from training.outcome import Permanent, StageResult

CHUNK = 64  # entities that are sent together: a payment waits for at most these
PAGE = 500  # records of one look, about
PROGRESS_SECONDS = 86_400
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
    progress: Progress = lambda *_: None,
) -> list[Brought]:
    """Bring the store up to a local data set folder, for `k` (0: the data set's own) and for every definition of the
    same declaration that has state already. `whole`: the data set's last day counts as complete, too; so does that of a
    definition's first fill.

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
        return [_bring(store, model, table, graph, one, settings, whole, progress) for one in wanted]


def _table(dataset: Path, fitted: FeatureSchema) -> pl.DataFrame:
    sides = fitted.data.relations
    columns = ["time", *(f"{side}_key" for side in sides), "label", "known_at"]
    columns += [f"clean_{name}" for name in fitted.data.source]
    file = dataset / "transactions.parquet"
    if lacking := set(columns) - set(pl.read_parquet_schema(file)):
        raise Permanent(f"{file} has no {', '.join(sorted(lacking))}: an earlier release made it; run preprocess again")
    return pl.read_parquet(file, columns=columns)


def _bring(
    store: Any,
    model: str,
    table: pl.DataFrame,
    graph: Graph,
    definition: LiveDefinition,
    settings: LiveSettings,
    whole: bool,
    progress: Progress,
) -> Brought:
    names = Names(model, definition.digest)
    as_of = int(table["time"][-1])
    filled = store.get(names.filled)
    until = as_of + 1 if whole or filled is None else as_of // DAY * DAY
    if filled is not None and int(filled) > as_of:
        return Brought(definition.digest, 0, True, as_of, until)
    state = Reader(graph, definition.k).state.numpy()
    contents = DatasetContents.of(table, state, definition, EntityHash(settings.entity_key))
    merge = _Merge(store.script_load(MERGE), until, contents)
    written = _write(store, names, merge, settings, progress)
    _withdraw(store, names, merge)
    told = {
        "k": definition.k,
        "as_of": as_of,
        "at": int(time.time()),
    }
    done = store.eval(FINISH, 2, names.filled, names.definitions, as_of, definition.digest, json.dumps(told))
    store.delete(f"{names.state}progress")
    return Brought(definition.digest, written, not done, as_of, until)


@dataclass(frozen=True)
class _Merge:
    """The script `MERGE`, loaded, with the arguments that a data set's entities share."""

    script: str
    until: int
    contents: DatasetContents

    def queue(self, pipeline: Any, key: str | bytes, keep: int, days: bytes, reports: bytes, entries: bytes) -> None:
        """Merge one entity's part; its record expires after `keep` seconds, with 0 when it would have anyway."""
        definition = self.contents.definition
        cents, offset = definition.entry.fields["clean cents"][:2]  # type: ignore[index]
        arguments = [self.until, keep, definition.k, definition.most, LATE, definition.entry.itemsize]
        parts = [days, reports, entries]
        tail = [offset, "<i4" if cents.itemsize == 4 else "<i8", self.contents.as_of]
        pipeline.evalsha(self.script, 1, key, *arguments, *parts, *tail)


def _write(store: Any, names: Names, merge: _Merge, settings: LiveSettings, progress: Progress) -> int:
    """Merge all entities; returns how many were written.

    It goes on after the last chunk that an earlier call with the same rows and labels told of.
    """
    contents, keep = merge.contents, int(settings.retention_days * DAY)
    same = f"{merge.until}:{hashlib.blake2b(contents.entries.view(np.uint8).data, digest_size=16).hexdigest()}"
    told = json.loads(store.get(f"{names.state}progress") or "[]")
    at, first = (told[1], told[2]) if told[:1] == [same] else ("", 0)
    written, sides = 0, contents.definition.data.relations
    for side in sides[sides.index(at) if at else 0 :]:
        number = first if side == at else 0
        total = len(contents.hashes[side])
        for chunk in contents.chunks(side, merge.until, CHUNK, number):
            pipeline = store.pipeline(transaction=False)
            for one in chunk:
                merge.queue(pipeline, names.entity(side, one.hashed), keep, one.days, one.reports, one.entries)
            number += len(chunk)
            pipeline.set(f"{names.state}progress", json.dumps([same, side, number]), ex=PROGRESS_SECONDS)
            written += sum(pipeline.execute()[:-1])
            if number % (CHUNK * 100) == 0 or number == total:
                progress(f"{side}s", {"written": number, "of": total})
    return written


def _withdraw(store: Any, names: Names, merge: _Merge) -> None:
    """Take what is before `until` from the records of entities that the data set does not have."""
    for side, hashes in merge.contents.hashes.items():
        known = {one.hex().encode() for one in hashes}
        walk = store.scan_iter(match=names.entities(side), count=PAGE)
        others = (key for key in walk if key.rpartition(b":")[2] not in known)
        while keys := list(islice(others, CHUNK)):
            pipeline = store.pipeline(transaction=False)
            for key in keys:
                merge.queue(pipeline, key, 0, b"", b"", b"")
            pipeline.execute()
