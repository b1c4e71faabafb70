"""Intake: objects join the open window of their model, a window closes into a run, and nothing is in two."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from statemachine.contracts.errors import Conflict, Malformed
from statemachine.contracts.limits import clipped
from statemachine.core import codec
from statemachine.core.events import counted
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.run import Run, Transition, Trigger, queued
from statemachine.core.states import State
from statemachine.core.window import Object, Status, Window, admit, closing, is_news, judged, rewritten
from statemachine.ports import Clause, Key, Put
from statemachine.store import ATTEMPTS, Store

BATCH = 90  # objects a transaction: DynamoDB takes 100 items, and the header is one
NOWHERE = "-"  # the "model" of objects that belong to none


@dataclass(frozen=True)
class IngestResult:
    """What became of a batch: joined, already known, set aside, ignored as side files of other programs."""

    joined: int = 0
    known: int = 0
    quarantined: int = 0
    ignored: int = 0


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

    # -- arrivals -----------------------------------------------------------------------------------------------

    def arrive(self, things: Iterable[Object]) -> IngestResult:
        """Put each object on record: in the open window of its model, or set aside with the reason."""
        joining: dict[str, list[Object]] = {}
        aside: list[tuple[str, Object]] = []
        markers: list[tuple[str, Object]] = []
        for thing in things:
            admission = admit(thing, self.bucket, self.policies)
            if admission.marker:
                markers.append((admission.model, thing))
            elif admission.reason:
                status = Status.IGNORED if admission.ignored else Status.QUARANTINED
                aside.append((admission.model or NOWHERE, replace(thing, reason=admission.reason, status=status)))
            else:
                joining.setdefault(admission.model, []).append(thing)
        taken = [self._join_all(model, batch) for model, batch in joining.items()]
        put = [thing.status for model, thing in aside if self._set_aside(model, thing)]
        for model, marker in markers:
            self._close_by(model, marker)
        quarantined, ignored = put.count(Status.QUARANTINED), put.count(Status.IGNORED)
        return IngestResult(sum(t.joined for t in taken), sum(t.known for t in taken), quarantined, ignored)

    def _join_all(self, model: str, things: Sequence[Object]) -> IngestResult:
        distinct = {thing.identity: thing for thing in things}
        if len(distinct) > BATCH:  # a whole prefix was listed: one query costs less than a read for each
            distinct = {identity: distinct[identity] for identity in distinct.keys() - self._known(model)}
        left = sorted(distinct.values(), key=lambda thing: thing.key)
        joined = sum(self._join(model, left[at : at + BATCH]) for at in range(0, len(left), BATCH))
        return IngestResult(joined, len(things) - joined)

    def _join(self, model: str, batch: Sequence[Object]) -> int:
        """Objects of `batch` that were not known before: they are in the open epoch now, all or none."""
        left = list(batch)
        for attempt in range(ATTEMPTS * 4):
            known = {thing.identity: self.object(model, thing.identity) for thing in left}
            self._rewrite(model, (rewritten(thing, known[thing.identity]) for thing in left))
            left = [thing for thing in left if is_news(thing, known[thing.identity])]
            if not left:
                return 0
            window, writer = self.window(model), self.new_id()
            grown = _grown(window, len(left), self.clock())
            versions = {identity: found.version + 1 if found else 1 for identity, found in known.items()}
            joined = [replace(t, epoch=window.epoch, version=versions[t.identity]) for t in left]
            puts = [_put_object(model, t, writer) for t in joined]
            try:
                self.store.table.write(_put_window(grown, writer), *puts)
            except Conflict:
                self.pause(attempt)
                continue
            return len(left)
        raise Conflict("the window was not changed meanwhile", f"{model}: {ATTEMPTS * 4} tries")

    def _rewrite(self, model: str, things: Iterable[Object | None]) -> None:
        for thing in things:
            if thing is not None:
                with suppress(Conflict):  # somebody else saw it too
                    self.store.table.write(_put_object(model, thing, self.new_id()))

    def _known(self, model: str) -> set[str]:
        """Identities that need not be looked at; what was overwritten may have returned."""
        return {thing.identity for thing in self.objects(model) if thing.status is not Status.SUPERSEDED}

    def _close_by(self, model: str, marker: Object) -> None:
        """A success marker asks once a write of it, so by its sequencer; one that a night lists asks nothing."""
        if not marker.sequencer:
            return
        once = replace(marker, etag=f"{marker.etag}@{marker.sequencer}", status=Status.MARKER, version=1)
        trigger = Trigger("arrival", marker.etag, f"{marker.key} arrived")
        for attempt in range(ATTEMPTS):
            if self.object(model, once.identity) is not None:
                return
            window, writer = self.window(model), self.new_id()
            wished = replace(window, version=window.version + 1, asked=window.asked or trigger)
            try:
                self.store.table.write(_put_window(wished, writer), _put_object(model, once, writer))
            except Conflict:
                self.pause(attempt)
                continue
            return
        raise Conflict("the window was not changed meanwhile", f"{model}: {ATTEMPTS} tries")

    def _set_aside(self, model: str, thing: Object) -> bool:
        try:
            self.store.table.write(_put_object(model, replace(thing, version=1), self.new_id()))
        except Conflict:
            return False
        return True

    # -- closing ------------------------------------------------------------------------------------------------

    def ask(self, model: str, trigger: Trigger, slot: str) -> bool:
        """Wish that the open window closes. The same `slot` (a night) counts once; false if it was counted before."""
        for attempt in range(ATTEMPTS):
            window = self.window(model)
            last = counted(window.last_slot, self.clock())
            if slot and slot <= last:
                return False
            asked = trigger if window.asked is None or window.asked.kind != "person" else window.asked
            wished = replace(window, version=window.version + 1, asked=asked, last_slot=slot or last)
            try:
                self.store.table.write(_put_window(wished, self.new_id()))
            except Conflict:
                self.pause(attempt)
                continue
            return True
        raise Conflict("the window was not changed meanwhile", f"{model}: {ATTEMPTS} tries")

    def close_due(self, model: str) -> Run | None:
        """Close the model's window if it is time and nobody trains; the new run, if there is one."""
        window, now = self.window(model), self.clock()
        trigger = closing(window, self.policies[model].intake, now)
        if trigger is None:
            return None
        before = self.store.model(model)
        if before.training or before.hold is not None:
            return None  # the window simply stays open: that is the queue
        if not window.count and self._nothing_new(model, before, trigger):
            self._skip(window, trigger, now)
            return None
        return self._close(window, before, trigger, now)

    def _close(self, window: Window, before: Model, trigger: Trigger, now: float) -> Run | None:
        model, writer = window.model, self.new_id()
        parameters = self.parameters(model, before)
        run = queued(f"{model}-{window.epoch}", model, window.epoch, now, trigger=trigger, parameters=parameters)
        entry = Transition(run.id, 1, now, "", State.QUEUED.value, trigger.kind, trigger.why, who=trigger.by)
        following = Window(model, window.epoch + 1, window.version + 1, last_slot=window.last_slot)
        after = replace(before, training=run.id, fingerprint=self.fingerprint(model, before))
        try:
            self.store.begin(run, after, entry, _put_window(following, writer))
        except Conflict:
            return None  # an arrival or another closer came first; the next tick looks again
        return run

    def _nothing_new(self, model: str, before: Model, trigger: Trigger) -> bool:
        """Nobody joined the window: is there a reason to train all the same?"""
        found = {thing.status for thing in self.objects(model)}
        if Status.PENDING in found:  # a run failed or was cancelled before it had checked them
            return False
        if Status.ACCEPTED not in found:
            return True
        if trigger.kind == "nightly":
            unchanged = before.fingerprint == self.fingerprint(model, before)
            return unchanged and self.policies[model].skip_unchanged_night
        return trigger.kind != "person"

    def _skip(self, window: Window, trigger: Trigger, now: float) -> None:
        """Nothing new in data, code and parameters: the wish is done, and it is said."""
        writer = self.new_id()
        key = Key(f"MODEL#{window.model}", f"SKIPPED#{now:014.3f}")
        told = {
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
            self.store.table.write(_put_window(quiet, writer), Put(key, told, Clause("the skip is told once")))
        except Conflict:
            return

    def skipped(self, model: str) -> Iterator[Mapping[str, Any]]:
        """The nights that began no run, newest first."""
        return self.store.table.query(f"MODEL#{model}", "SKIPPED#", newest_first=True)

    def free_slots(self, model: str) -> str:
        """Release slots whose holder is at rest or gone; the ids of such holders."""
        found = self.store.model(model)
        holders = {found.training, found.deploying.run_id if found.deploying else ""} - {""}
        gone = {holder for holder in holders if (run := self.store.load(holder)) is None or run.state.terminal}
        if gone:
            self.store.change_model(model, lambda now: _without(now, gone))
        return ", ".join(sorted(gone))

    def parameters(self, model: str, item: Model) -> dict[str, dict[str, Any]]:
        """What the next run's stages are told: the configuration, then what was adopted from tuning."""
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
        return codec.loads(Window, str(item["body"]), int(item.get("format", 0))) if item else Window(model)

    def object(self, model: str, identity: str) -> Object | None:
        """One object."""
        item = self.store.table.get(Key(f"OBJECTS#{model}", identity))
        return _read_object(item) if item else None

    def objects(self, model: str) -> Iterator[Object]:
        """All objects of a model (or of `-`, those that belong to none)."""
        return (_read_object(item) for item in self.store.table.query(f"OBJECTS#{model}"))

    def mark(self, run: Run, verdicts: bytes | None) -> None:
        """Put the stage's verdicts on record: ACCEPTED, or QUARANTINED with the first problems. Safe to repeat."""
        said = {verdict.identity: verdict for verdict in _verdicts(verdicts)}
        changed = list(judged(self.objects(run.model), said, run.id, run.epoch))
        for at in range(0, len(changed), BATCH):
            writer = self.new_id()
            self.store.table.write(*[_rewritten(run.model, thing, writer) for thing in changed[at : at + BATCH]])

    def set_aside(self, model: str, thing: Object, reason: str) -> None:
        """A person quarantines an object."""
        aside = replace(thing, status=Status.QUARANTINED, reason=reason)
        self.store.table.write(_rewritten(model, aside, self.new_id()))

    def rejoin(self, model: str, thing: Object, reason: str) -> None:
        """A person released an object: it joins the open window, as if it had just arrived."""
        window, now, writer = self.window(model), self.clock(), self.new_id()
        again = replace(thing, status=Status.PENDING, reason=reason, epoch=window.epoch)
        self.store.table.write(_put_window(_grown(window, 1, now), writer), _rewritten(model, again, writer))


def _grown(window: Window, more: int, now: float) -> Window:
    opened_at, count = window.opened_at or now, window.count + more
    return replace(window, version=window.version + 1, opened_at=opened_at, newest_at=now, count=count)


def _without(model: Model, gone: set[str]) -> Model:
    freed = replace(model, training="") if model.training in gone else model
    if freed.deploying is not None and freed.deploying.run_id in gone:
        freed = replace(freed, deploying=None)
    return freed


def _verdicts(body: bytes | None) -> Iterator[Object]:
    try:
        for verdict in json.loads(body or b"[]"):
            problems = verdict.get("problems", [])
            yield Object(
                bucket=str(verdict["bucket"]),
                key=str(verdict["key"]),
                etag=str(verdict["etag"]),
                status=Status(verdict["status"]),
                reason=clipped("; ".join(_problem(problem) for problem in problems[:3]), 1000),
            )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"the stage's verdicts on objects cannot be read: {error}") from error


def _problem(problem: Mapping[str, Any]) -> str:
    where = f"row {problem['row']}, " if problem.get("row") is not None else ""
    return f"{where}column {problem.get('column')}: found {problem.get('found')!r}, expected {problem.get('expected')}"


def _read_object(item: Mapping[str, Any]) -> Object:
    return codec.loads(Object, str(item["body"]), int(item.get("format", 0)))


def _rewritten(model: str, thing: Object, writer: str) -> Put:
    return _put_object(model, replace(thing, version=thing.version + 1), writer)


def _put_object(model: str, thing: Object, writer: str) -> Put:
    item = {
        "type": "object",
        "format": codec.FORMAT,
        "version": thing.version,
        "writer": writer,
        "model": model,
        "object_key": thing.key,
        "status": thing.status.value,
        "reason": thing.reason,
        "body": codec.dumps(thing),
    }
    new = Clause("the object is new")
    changed = Clause("the object was not changed meanwhile", "version", thing.version - 1)
    return Put(Key(f"OBJECTS#{model}", thing.identity), item, new if thing.version == 1 else changed)


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
