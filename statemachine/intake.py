"""Intake: objects join the open window of their model, a window closes into a run, and nothing is in two."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any

from statemachine.contracts.errors import Conflict
from statemachine.contracts.report import Artifact
from statemachine.core import codec
from statemachine.core.events import counted
from statemachine.core.head import Head, advanced, joined, moved
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition, Trigger, queued
from statemachine.core.states import State
from statemachine.core.window import Object, Status, Window, admit, closing, later
from statemachine.dataset import DataSet
from statemachine.objects import Objects, put_head, put_removed
from statemachine.ports import Clause, Key, Put
from statemachine.store import ATTEMPTS, AuditEntry, Store, put_act

BATCH = 49  # objects a transaction: DynamoDB takes 100 items, two an object, and the header is one
NOWHERE = "-"  # the "model" of objects that belong to none


@dataclass(frozen=True)
class IngestResult:
    """Counts of a batch: joined, already known, quarantined, ignored as side files of other programs."""

    joined: int = 0
    known: int = 0
    quarantined: int = 0
    ignored: int = 0

    def __add__(self, more: "IngestResult") -> "IngestResult":
        return IngestResult(*(getattr(self, part.name) + getattr(more, part.name) for part in fields(self)))


@dataclass(frozen=True)
class Intake:
    """The windows and objects of every model. `pause` waits between tries when many arrive at once."""

    store: Store
    policies: Mapping[str, Policy]
    bucket: str
    clock: Callable[[], float]
    new_id: Callable[[], str]
    pause: Callable[[int], None]
    code: str = ""

    @property
    def kept(self) -> Objects:
        """Where the objects are."""
        return Objects(self.store.table)

    @property
    def data_set(self) -> DataSet:
        """What runs train on."""
        return DataSet(self.store, self.kept, self.new_id)

    # -- arrivals -----------------------------------------------------------------------------------------------

    def arrive(self, objects: Iterable[Object], listed_at: float = 0.0) -> IngestResult:
        """Put each object on record: in the open window of its model, or set aside with the reason.

        With `listed_at` they are a page of a listing that was asked for then: what their keys hold now.
        """
        joining: dict[str, list[Object]] = {}
        aside: list[tuple[str, Object]] = []
        markers: list[tuple[str, Object]] = []
        for obj in objects:
            admission = admit(obj, self.bucket, self.policies)
            obj = replace(obj, kind=admission.kind)
            if admission.marker:
                markers.append((admission.model, obj))
            elif admission.reason:
                status = Status.IGNORED if admission.ignored else Status.QUARANTINED
                aside.append((admission.model or NOWHERE, replace(obj, reason=admission.reason, status=status)))
            else:
                joining.setdefault(admission.model, []).append(obj)
        taken = [self._join_all(model, batch, listed_at) for model, batch in joining.items()]
        put = [obj.status for model, obj in aside if self._set_aside(model, obj)]
        for model, marker in markers:
            self._close_by(model, marker)
        quarantined, ignored = put.count(Status.QUARANTINED), put.count(Status.IGNORED)
        return IngestResult(sum(t.joined for t in taken), sum(t.known for t in taken), quarantined, ignored)

    def _join_all(self, model: str, objects: Sequence[Object], listed_at: float) -> IngestResult:
        remaining, total, heads = _in_order(objects), 0, {}
        if listed_at:  # one query over the page costs less than a read for each
            heads = self.kept.heads(model, {obj.key for obj in remaining})
            remaining = [obj for obj in remaining if joined(heads[obj.key], obj, 0, listed_at)]
        while remaining:
            batch, remaining = _one_of_each_key(remaining)
            total += self._join(model, batch, heads, listed_at)
        return IngestResult(total, len(objects) - total)

    def _join(self, model: str, batch: Sequence[Object], heads: Mapping[str, Head], listed_at: float) -> int:
        """Objects of `batch` that were not known before: they are in the open epoch now, all or none."""
        remaining = list(batch)
        for attempt in range(ATTEMPTS * 4):
            window, writer = self.window(model), self.new_id()
            if attempt or not heads:
                heads = {obj.key: self.kept.head(model, obj.key) for obj in remaining}
            pairs = [joined(heads[obj.key], obj, window.epoch, listed_at) for obj in remaining]
            fresh = [pair for pair in pairs if pair and not self._old(window, pair[1])]
            again = [(head, obj) for obj in remaining if (head := advanced(heads[obj.key], obj))]
            remaining = [obj for _, obj in (*fresh, *again)]
            if not remaining:
                return 0
            grown = _grown(window, len(fresh), self.clock()) if fresh else replace(window, version=window.version + 1)
            puts = [put for pair in fresh for put in self._puts(model, *pair, writer)]
            puts += [put_head(model, head, writer) for head, _ in again]
            try:
                self.store.table.write(_put_window(grown, writer), *puts)
            except Conflict:
                self.pause(attempt)
                continue
            return len(fresh)
        raise Conflict("the window was not changed meanwhile", f"{model}: {ATTEMPTS * 4} tries")

    def _puts(self, model: str, head: Head, obj: Object, writer: str) -> list[Put]:
        return [put_head(model, head, writer), *self.kept.new(model, obj, writer)]

    def _old(self, window: Window, obj: Object) -> bool:
        """An earlier release took it in, and its key was not written since."""
        return window.old_layout and not obj.over and self.kept.at(window.model, obj.content) is not None

    def _close_by(self, model: str, marker: Object) -> None:
        """A success marker requests a close once per write. A listed marker has no sequencer and is ignored."""
        if not marker.sequencer:
            return
        once = replace(marker, etag=f"{marker.etag}@{marker.sequencer}", status=Status.MARKER, version=1)
        trigger = Trigger("arrival", marker.etag, f"{marker.key} arrived")
        for attempt in range(ATTEMPTS):
            window, writer = self.window(model), self.new_id()
            if self.kept.at(model, once.place) is not None or self._old(window, once):
                return
            updated = replace(window, version=window.version + 1, asked=window.asked or trigger)
            try:
                self.store.table.write(_put_window(updated, writer), *self.kept.new(model, once, writer))
            except Conflict:
                self.pause(attempt)
                continue
            return
        raise Conflict("the window was not changed meanwhile", f"{model}: {ATTEMPTS} tries")

    def _set_aside(self, model: str, obj: Object) -> bool:
        """True if it was not on record. What belongs to no model has no head: nobody asks for it by its key."""
        head = Head(obj.key) if model == NOWHERE else self.kept.head(model, obj.key)
        status = Status.QUARANTINED if obj.status is Status.PENDING else obj.status
        pair = joined(head, replace(obj, status=status), 0)
        if pair is None or self._old(self.window(model), pair[1]):
            return False
        head, aside = pair
        writer = self.new_id()
        puts = self.kept.new(model, aside, writer)
        try:
            self.store.table.write(*puts, *([] if model == NOWHERE else [put_head(model, head, writer)]))
        except Conflict:
            return False
        return True

    # -- closing ------------------------------------------------------------------------------------------------

    def ask(self, model: str, trigger: Trigger, slot: str, act: AuditEntry | None = None) -> bool:
        """Request that the open window closes. The same nightly `slot` counts once; false if it was counted before.

        `act` is an operator's, and is recorded with the request.
        """
        for attempt in range(ATTEMPTS):
            window = self.window(model)
            last = counted(window.last_slot, self.clock())
            if slot and slot <= last:
                return False
            asked = trigger if window.asked is None or window.asked.kind != "person" else window.asked
            updated = replace(window, version=window.version + 1, asked=asked, last_slot=slot or last)
            writer = self.new_id()
            try:
                self.store.table.write(_put_window(updated, writer), *_acts(model, act, writer))
            except Conflict:
                self.pause(attempt)
                continue
            return True
        raise Conflict("the window was not changed meanwhile", f"{model}: {ATTEMPTS} tries")

    def close_due(self, model: str, window: Window | None = None) -> Run | None:
        """Close the model's window if it is time and nobody trains; the new run, if there is one.

        `window` saves a read: if it was changed meanwhile, closing it fails.
        """
        window, now = window or self.window(model), self.clock()
        trigger = closing(window, self.policies[model].intake, now)
        if trigger is None:
            return None
        before = self.store.model(model)
        if before.training or before.hold is not None:
            return None  # the window stays open and acts as the queue
        if not window.count and self._nothing_new(window, before, trigger):
            self._skip(window, trigger, now)
            return None
        return self._close(window, before, trigger, now)

    def _close(self, window: Window, before: Model, trigger: Trigger, now: float) -> Run | None:
        model, writer = window.model, self.new_id()
        parameters = self.parameters(model, before)
        run = queued(f"{model}-{window.epoch}", model, window.epoch, now, trigger=trigger, parameters=parameters)
        run = replace(run, parameters_by=str(before.parameters_from.get("who", "")) if before.parameters else "")
        entry = Transition(
            run.id, 1, now, "", State.QUEUED.value, TransitionReason(trigger.kind), trigger.why, who=trigger.by
        )
        following = Window(
            model, window.epoch + 1, window.version + 1, last_slot=window.last_slot, old_layout=window.old_layout
        )
        after = replace(before, training=run.id, fingerprint=self.fingerprint(model, before))
        try:
            self.store.begin(run, after, entry, _put_window(following, writer))
        except Conflict:
            return None  # an arrival or another closer was faster; the next tick tries again
        return run

    def _nothing_new(self, window: Window, before: Model, trigger: Trigger) -> bool:
        """Whether an empty window gives no reason to train. Reads the epochs that no index covers yet."""
        model, epochs = window.model, range(before.indexed + 1, window.epoch + 1)
        found = {obj.status for obj in self.data_set.unindexed(model, before, epochs)}
        if Status.PENDING in found:  # a run failed or was cancelled before it had checked them
            return False
        if Status.ACCEPTED not in found and before.index is None:
            return True
        if trigger.kind == "nightly":
            unchanged = before.fingerprint == self.fingerprint(model, before)
            same = unchanged and not any(self.kept.removed(model, epochs))
            return same and self.policies[model].skip_unchanged_night
        return trigger.kind != "person"

    def _skip(self, window: Window, trigger: Trigger, now: float) -> None:
        """Record that nothing changed in data, code and parameters, and drop the request to close."""
        writer = self.new_id()
        key = Key(f"MODEL#{window.model}", f"SKIPPED#{now:014.3f}")
        skip = {
            "type": "skipped",
            "writer": writer,
            "model": window.model,
            "why": "nothing new in data, code and parameters",
            "trigger": trigger.kind,
            "slot": trigger.by,
            "at": now,
        }
        quiet = replace(window, version=window.version + 1, asked=None)
        try:
            self.store.table.write(_put_window(quiet, writer), Put(key, skip, Clause("the skip is recorded once")))
        except Conflict:
            return

    def skipped(self, model: str) -> Iterator[Mapping[str, Any]]:
        """The nightly slots that started no run, newest first."""
        return self.store.table.query(f"MODEL#{model}", "SKIPPED#", newest_first=True)

    def free_slots(self, model: str) -> str:
        """Free slots whose holder is terminal or missing; returns the ids of those holders."""
        return self.tend_slots(model)[0]

    def tend_slots(self, model: str) -> tuple[str, list[Run]]:
        """As `free_slots`; and the runs that hold a slot and go on, which are all runs in flight."""
        found = self.store.model(model)
        holders = {found.training, found.deploying.run_id if found.deploying else ""} - {""}
        runs = {holder: self.store.load(holder) for holder in sorted(holders)}
        gone = {holder for holder, run in runs.items() if run is None or run.state.terminal}
        if gone:
            self.store.change_model(model, lambda now: _without(now, gone))
        return ", ".join(sorted(gone)), [run for run in runs.values() if run is not None and not run.state.terminal]

    def parameters(self, model: str, item: Model) -> dict[str, dict[str, Any]]:
        """The parameters of the next run's stages: the configuration, overridden by what was adopted from tuning."""
        configured = self.policies[model].parameters
        names = sorted({*configured, *item.parameters})
        return {name: {**configured.get(name, {}), **item.parameters.get(name, {})} for name in names}

    def fingerprint(self, model: str, item: Model) -> str:
        """Equal while neither code nor parameters change."""
        text = json.dumps([self.code, self.parameters(model, item)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # -- what is on record --------------------------------------------------------------------------------------

    def window(self, model: str) -> Window:
        """The open window."""
        item = self.store.table.get(Key(f"MODEL#{model}", "WINDOW"))
        if item is None:
            return Window(model, old_layout=model == NOWHERE)
        return codec.loads(Window, str(item["body"]), int(item.get("format", 0)))

    def objects(self, model: str) -> Iterator[Object]:
        """All objects of a model (or of `-`, those that belong to none). For people; a pass never calls this."""
        window = self.window(model)
        if window.old_layout:
            yield from self.kept.of_old_layout(model)
        for epoch in range(window.epoch + 1):
            yield from self.kept.of_epoch(model, epoch)

    def of_epoch(self, model: str, epoch: int) -> list[Object]:
        """The objects of one epoch."""
        old = self.kept.of_old_layout(model) if self.window(model).old_layout else ()
        return [*(obj for obj in old if obj.epoch == epoch), *self.kept.of_epoch(model, epoch)]

    def quarantined(self, model: str) -> list[Object]:
        """What is set aside, from a list of just those."""
        old = self.kept.of_old_layout(model) if self.window(model).old_layout else ()
        early = {obj.identity: obj for obj in old if obj.status is Status.QUARANTINED}
        return list((early | {obj.identity: obj for obj in self.kept.aside(model)}).values())

    def newest(self, model: str, key: str) -> Object | None:
        """The newest write of a key."""
        head = self.kept.head(model, key)
        if head.writes:
            return self.kept.at(model, head.writes[0].place)
        old = self.kept.of_old_layout(model) if self.window(model).old_layout else ()
        writes = [obj for obj in old if obj.key == key]
        return reduce(lambda one, other: other if later(other, one) else one, writes) if writes else None

    def manifest(self, run: Run) -> bytes:
        """What `run` learns from."""
        return self.data_set.manifest(run)

    def mark(self, run: Run, verdicts: bytes | None, index: Artifact | None = None) -> None:
        """Put the stage's verdicts and its index on record. Safe to repeat."""
        self.data_set.mark(run, verdicts, index)

    def set_aside(self, model: str, obj: Object, reason: str, act: AuditEntry | None = None) -> None:
        """A person quarantines an object; the open epoch notes it, so the next manifest takes it out of the index."""

        def puts(window: Window, now: Object, writer: str) -> list[Put]:
            noted = replace(window, version=window.version + 1)
            aside = replace(now, status=Status.QUARANTINED, reason=reason)
            removed = put_removed(model, now, window.epoch, noted.version, writer)
            changed = [removed, *self.kept.changed(model, aside, writer)]
            return [_put_window(noted, writer), *changed, *_acts(model, act, writer)]

        self._by_a_person(model, obj, puts)

    def rejoin(self, model: str, obj: Object, reason: str, act: AuditEntry | None = None) -> None:
        """A person released an object: it joins the open window, as if it had just arrived."""

        def puts(window: Window, now: Object, writer: str) -> list[Put]:
            again = replace(now, status=Status.PENDING, reason=reason, epoch=window.epoch, old=False)
            grown = _put_window(_grown(window, 1, self.clock()), writer)
            return [grown, *self._moved(model, now, again, writer), *_acts(model, act, writer)]

        self._by_a_person(model, obj, puts)

    def _moved(self, model: str, obj: Object, again: Object, writer: str) -> list[Put]:
        """The object in the epoch that it joins again, and what is left of it where it was."""
        if again.place == obj.place:
            return self.kept.changed(model, again, writer)
        gone = replace(obj, status=Status.SUPERSEDED, reason=f"{again.reason}; it is in epoch {again.epoch}")
        head = self.kept.head(model, obj.key)
        heads = [put_head(model, moved(head, obj.place, again), writer)] if head.writes else []
        return [
            *self.kept.new(model, replace(again, version=1), writer),
            self.kept.superseded(model, gone, writer),
            *heads,
        ]

    def _by_a_person(self, model: str, obj: Object, puts: Callable[[Window, Object, str], list[Put]]) -> None:
        for attempt in range(ATTEMPTS):
            now = self.kept.at(model, obj.place) or obj
            try:
                self.store.table.write(*puts(self.window(model), now, self.new_id()))
            except Conflict:
                self.pause(attempt)
                continue
            return
        raise Conflict("the object was not changed meanwhile", f"{obj.key}: {ATTEMPTS} tries")


def _in_order(objects: Iterable[Object]) -> list[Object]:
    """Each write once, those of one key in the order in which they were made."""
    distinct = {(obj.key, obj.etag, obj.sequencer): obj for obj in objects}
    return sorted(distinct.values(), key=lambda t: (t.key, t.sequencer.rjust(40, "0").lower(), t.arrived_at))


def _one_of_each_key(objects: Sequence[Object]) -> tuple[list[Object], list[Object]]:
    """At most `BATCH` of them, no two of one key; and the others."""
    batch: dict[str, Object] = {}
    for obj in objects:
        if len(batch) < BATCH:
            batch.setdefault(obj.key, obj)
    taken = {id(obj) for obj in batch.values()}
    return list(batch.values()), [obj for obj in objects if id(obj) not in taken]


def _grown(window: Window, more: int, now: float) -> Window:
    opened_at, count = window.opened_at or now, window.count + more
    return replace(window, version=window.version + 1, opened_at=opened_at, newest_at=now, count=count)


def _acts(model: str, act: AuditEntry | None, writer: str) -> list[Put]:
    return [put_act(model, act, writer)] if act else []


def _without(model: Model, gone: set[str]) -> Model:
    freed = replace(model, training="") if model.training in gone else model
    if freed.deploying is not None and freed.deploying.run_id in gone:
        freed = replace(freed, deploying=None)
    return freed


def _put_window(window: Window, writer: str) -> Put:
    item = {
        "type": "window",
        "format": codec.FORMAT,
        "version": window.version,
        "writer": writer,
        "model": window.model,
        "epoch": window.epoch,
        "body": codec.dumps(window),
    }
    new = Clause("the window is still open: it is new")
    open_still = Clause("the window is still open", "version", window.version - 1)
    return Put(Key(f"MODEL#{window.model}", "WINDOW"), item, new if window.version == 1 else open_still)
