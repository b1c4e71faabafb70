"""A model's data set: the index of trained objects, which preprocess writes to S3, and the epochs since.

A run's manifest names the index, what joined since, and what was set aside since. Once the stage has judged them and
left its own index, both go on record. So a run reads and writes what is new, however much there is.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from statemachine.contracts.errors import Malformed
from statemachine.contracts.limits import clipped
from statemachine.contracts.report import Artifact
from statemachine.core import manifest
from statemachine.core.model import Model
from statemachine.core.run import Run
from statemachine.core.window import Object, Status, data_set, judged, superseded
from statemachine.objects import Objects
from statemachine.ports import Put
from statemachine.store import Store

ITEMS = 98  # a transaction of objects: DynamoDB takes 100 items
REASON = 1000  # characters


@dataclass(frozen=True)
class DataSet:
    """What the runs of every model train on."""

    store: Store
    kept: Objects
    new_id: Callable[[], str]

    def unindexed(self, model: str, item: Model, epochs: Iterable[int]) -> Iterator[Object]:
        """The objects that the model's index does not cover, those of a run's epochs."""
        if item.indexed < 0:
            yield from self.kept.of_old_layout(model)
        for epoch in epochs:
            yield from self.kept.of_epoch(model, epoch)

    def manifest(self, run: Run) -> bytes:
        """What `run` trains on: the model's index, plus what joined since, minus what was quarantined since."""
        item = self.store.model(run.model)
        epochs = range(item.indexed + 1, run.epoch + 1)
        objects = list(self.unindexed(run.model, item, epochs))
        learnable = self._learnable(run.model, objects, run.epoch)
        return manifest.manifest(run, learnable, self.kept.removed(run.model, epochs), item.index)

    def _learnable(self, model: str, objects: Sequence[Object], epoch: int) -> list[Object]:
        """The newest write of each key, but for those that came after a newer write of an epoch before."""
        here = {obj.place for obj in objects}
        late = {t.identity for t in objects if t.under and t.under not in here and self._usable(model, t.under)}
        return [obj for obj in data_set(objects, epoch) if obj.identity not in late]

    def _usable(self, model: str, place: str) -> bool:
        found = self.kept.at(model, place)
        return found is not None and found.status.usable

    def mark(self, run: Run, verdicts: bytes | None, index: Artifact | None = None) -> None:
        """Record the stage's verdicts (ACCEPTED, or QUARANTINED with the first problems), then its index.

        Safe to repeat after a crash.
        """
        reported = {verdict.content: verdict for verdict in _verdicts(verdicts)}
        item = self.store.model(run.model)
        objects = list(self.unindexed(run.model, item, range(item.indexed + 1, run.epoch + 1)))
        changed = {obj.place: obj for obj in judged(objects, reported, run.id, run.epoch)}
        here = {obj.content for obj in objects}
        lost = [verdict for verdict in reported.values() if verdict.content not in here]
        changed.update({obj.place: obj for verdict in lost for obj in self._lost(run.model, verdict)})
        for obj in [*objects, *changed.values()]:
            changed.update(self._superseding(run, changed.get(obj.place, obj)))
        self._write(run.model, list(changed.values()))
        if index is not None and run.epoch > item.indexed:
            left = [t for t in objects if changed.get(t.place, t).status is Status.PENDING and t.epoch <= run.epoch]
            covered = min((-1 if obj.old else obj.epoch - 1 for obj in left), default=run.epoch)
            self.store.change_model(run.model, lambda now: replace(now, index=index, indexed=max(now.indexed, covered)))

    def _superseding(self, run: Run, obj: Object) -> dict[str, Object]:
        """Writes of other epochs that an accepted write overwrites, or that overwrite a late one."""
        found: dict[str, Object] = {}
        if obj.status is Status.PENDING and obj.under:
            newer = self.kept.at(run.model, obj.under)
            if newer is not None and newer.status is Status.ACCEPTED:
                found[obj.place] = superseded(obj, newer, run.id)
        place = obj.over if obj.status is Status.ACCEPTED else ""
        while place and (older := self.kept.at(run.model, place)) is not None:
            if older.status is Status.ACCEPTED:
                found[older.place] = superseded(older, obj, run.id)
            place = older.over if older.status is Status.QUARANTINED else ""
        return found

    def _lost(self, model: str, verdict: Object) -> Iterator[Object]:
        """An object that an earlier run accepted and this one could not read: gone from bucket and cache, say."""
        if verdict.status is not Status.QUARANTINED:
            return
        writes = self.kept.head(model, verdict.key).writes
        place = next((w.place for w in writes if (w.bucket, w.etag) == (verdict.bucket, verdict.etag)), verdict.content)
        found = self.kept.at(model, place)
        if found is not None and found.status is Status.ACCEPTED:
            yield replace(found, status=verdict.status, reason=verdict.reason)

    def _write(self, model: str, objects: Sequence[Object]) -> None:
        """Writes in transactions of at most 100 items. The next pass completes a write that a crash cut off."""
        puts: list[Put] = []
        for obj in objects:
            more = self.kept.changed(model, obj, self.new_id())
            if len(puts) + len(more) > ITEMS:
                self.store.table.write(*puts)
                puts = []
            puts += more
        if puts:
            self.store.table.write(*puts)


def _verdicts(body: bytes | None) -> Iterator[Object]:
    try:
        for verdict in json.loads(body or b"[]"):
            problems = verdict.get("problems", [])
            yield Object(
                bucket=str(verdict["bucket"]),
                key=str(verdict["key"]),
                etag=str(verdict["etag"]),
                status=Status(verdict["status"]),
                reason=clipped("; ".join(_problem(problem) for problem in problems[:3]), REASON),
            )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"the stage's verdicts on objects cannot be read: {error}") from error


def _problem(problem: Mapping[str, Any]) -> str:
    """As a person reads it. Row 0 and an empty column mean the file; only a cell's own text is quoted."""
    row, column, found = problem.get("row"), problem.get("column"), problem.get("found")
    where = f"{f'row {row}' if row else 'the file'}{f', column {column}' if column else ''}"
    return f"{where}: found {repr(found) if row else found}, expected {problem.get('expected')}"
