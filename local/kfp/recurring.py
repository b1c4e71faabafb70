"""Recurring runs: a cron or periodic trigger that really starts runs."""

import logging
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, takewhile

from local.kfp import clock, cron
from local.kfp.errors import ApiError, internal, invalid, not_found
from local.kfp.parameters import check_arguments
from local.kfp.pipelines import Registry, as_internal
from local.kfp.runs import ACTIVE, RunService
from local.kfp.store import Document, DocumentStore

LOG = logging.getLogger("local.kfp")
KEPT = (
    "pipeline_spec",
    "pipeline_version_reference",
    "runtime_config",
    "service_account",
    "description",
    "experiment_id",
)


class RecurringRuns:
    """The recurring runs. `tick` starts the runs that are due by the given clock.

    `_last_slot` is the latest slot that was started or skipped, `_index` the number of runs so far.
    """

    def __init__(self, store: DocumentStore, registry: Registry, runs: RunService, now: clock.Clock) -> None:
        self._store, self._registry, self._runs, self._now = store, registry, runs, now

    def create(self, body: Document) -> Document:
        """Create a recurring run. Its first slot is later than its start time or, without one, than now.

        It is enabled only if its mode is ENABLE (api_converter.go, toModelJobEnabled: unspecified is disabled).
        """
        if not body.get("display_name"):
            doing = "Failed to convert a API recurring run to its internal representation"
            raise internal(doing, invalid("Recurring run's name cannot be empty"))
        most = int(body.get("max_concurrency") or 0)
        if not 1 <= most <= 10:
            raise invalid(f"Max concurrency of a recurring run must be at least 1 and at most 10. Received {most}")
        moment = self._now()
        next(slots(body.get("trigger") or {}, moment), None)  # refuses an invalid trigger
        experiment = body.get("experiment_id") or self._registry.default_experiment()
        namespace = self._registry.get("experiment", experiment)["namespace"]
        with as_internal("Failed to create a recurring run with an invalid pipeline spec manifest"):
            spec = self._registry.spec_of(body)
        config = body.get("runtime_config") or {}
        if config:
            config = config | {"parameters": check_arguments(spec, config.get("parameters") or {})}
        else:
            check_arguments(spec, {})
        recurring = {
            **{name: body[name] for name in KEPT if body.get(name)},
            **({"runtime_config": config} if config else {}),
            "experiment_id": experiment,
            "namespace": namespace,
            "recurring_run_id": str(uuid.uuid4()),
            "display_name": body["display_name"],
            "trigger": body.get("trigger") or {},
            "max_concurrency": str(most),
            "no_catchup": bool(body.get("no_catchup")),
            "created_at": clock.write(moment),
            "_last_slot": _start_of(body.get("trigger") or {}) or clock.write(moment),
            "_index": 0,
        }
        return self._switch(recurring, body.get("mode") == "ENABLE")

    def get(self, key: str) -> Document:
        """Return one recurring run."""
        recurring = self._store.get("recurring_run", key)
        if recurring is None:
            raise not_found("RecurringRun", key)
        return recurring

    def all(self) -> list[Document]:
        """Return all recurring runs, oldest first."""
        return self._store.all("recurring_run")

    def switch(self, key: str, enabled: bool) -> None:
        """Enable or disable. Slots missed while disabled are caught up later, unless `no_catchup` is set."""
        with self._store.lock:
            self._switch(self.get(key), enabled)

    def delete(self, key: str) -> None:
        """Delete it. Its runs stay."""
        self.get(key)
        self._store.delete("recurring_run", key)

    def tick(self) -> None:
        """Start the runs that are due."""
        with self._store.lock:
            for recurring in self._store.all("recurring_run"):
                if recurring["mode"] == "ENABLE":
                    self._start_due(recurring)

    def disable_all_of(self, experiment: str) -> None:
        """Disable all recurring runs of an archived experiment."""
        with self._store.lock:
            for recurring in self._store.find("recurring_run", "scope = ?", (experiment,)):
                self._switch(recurring, False)

    def tick_until(self, stopped: threading.Event, every: float) -> None:
        """Call `tick` until the event is set. Errors are logged."""
        while not stopped.wait(every):
            try:
                self.tick()
            except Exception:
                LOG.exception("recurring runs")

    def _start_due(self, recurring: Document) -> None:
        moment = self._now()
        rest = takewhile(lambda slot: slot <= moment, self._slots(recurring))
        if (first := next(rest, None)) is None:
            return
        due = chain([first], rest)
        free = max(int(recurring["max_concurrency"]) - self._active(recurring["recurring_run_id"]), 0)
        latest = deque(due, maxlen=1) if recurring["no_catchup"] else due
        for slot in islice(latest, free):  # a run without capacity stays due
            recurring["_index"] += 1
            recurring["_last_slot"] = clock.write(slot)
            self._store.put("recurring_run", recurring["recurring_run_id"], recurring)
            self._start(recurring, slot)

    def _slots(self, recurring: Document) -> Iterator[datetime]:
        """scheduled_workflow.go: the slots after the last one; without a trigger, the creation time, once."""
        if recurring["trigger"]:
            return slots(recurring["trigger"], clock.read(recurring["_last_slot"]))
        return iter(() if recurring["_index"] else (clock.read(recurring["created_at"]),))

    def _start(self, recurring: Document, slot: datetime) -> None:
        fields = {name: recurring[name] for name in KEPT if name in recurring}
        name = f"{recurring['display_name']}-{recurring['_index']}"
        try:
            self._runs.create(
                fields
                | {
                    "display_name": name,
                    "recurring_run_id": recurring["recurring_run_id"],
                    "scheduled_at": clock.write(slot),
                }
            )
        except ApiError as error:  # for example, its pipeline version was deleted
            LOG.error("recurring run %s cannot start %s: %s", recurring["recurring_run_id"], name, error.message)

    def _active(self, key: str) -> int:
        theirs = "json_extract(body, '$.recurring_run_id') = ? AND json_extract(body, '$.state')"
        return self._store.count("run", f"{theirs} IN ({', '.join('?' * len(ACTIVE))})", (key, *ACTIVE))

    def _switch(self, recurring: Document, enabled: bool) -> Document:
        recurring["mode"] = "ENABLE" if enabled else "DISABLE"
        recurring["status"] = "ENABLED" if enabled else "DISABLED"
        recurring["updated_at"] = clock.write(self._now())
        self._store.put("recurring_run", recurring["recurring_run_id"], recurring)
        return recurring


def _start_of(trigger: Document) -> str:
    """getEffectiveLastJobTime: before the first slot the start time counts, even if it is in the past."""
    schedule: Document = trigger.get("cron_schedule") or trigger.get("periodic_schedule") or {}
    return str(schedule.get("start_time") or "")


def slots(trigger: Document, after: datetime) -> Iterator[datetime]:
    """Return the slots of a trigger after `after`; none for an empty trigger.

    Raises:
        ApiError: 400, its cron expression or interval is invalid.
    """
    try:
        if (schedule := trigger.get("cron_schedule")) is not None:
            moments = _cron(schedule, after)
        elif (schedule := trigger.get("periodic_schedule")) is not None:
            moments = _periodic(schedule, after)
        else:
            return iter(())
        end = clock.read(schedule["end_time"]) if schedule.get("end_time") else datetime.max.replace(tzinfo=UTC)
    except ValueError as error:
        raise invalid(f"the trigger cannot be read: {error}") from error
    return takewhile(lambda slot: slot <= end, moments)


def _cron(schedule: Document, after: datetime) -> Iterator[datetime]:
    try:
        parsed = cron.parse(schedule.get("cron", ""))
    except ValueError as error:
        message = "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)."
        raise invalid(f"{message} Error: {error}") from error
    start = clock.read(schedule["start_time"]) if schedule.get("start_time") else after
    return _following(parsed, max(after, start))


def _following(parsed: cron.Schedule, last: datetime) -> Iterator[datetime]:
    """cron_schedule.go: the next slot is later than the last one, or than the start time."""
    slot = parsed.next(last)
    while slot is not None:
        yield slot
        slot = parsed.next(slot)


def _periodic(schedule: Document, after: datetime) -> Iterator[datetime]:
    seconds = int(schedule.get("interval_second") or 0)
    if seconds < 1:
        raise invalid(f"Found invalid period schedule interval {seconds}. Set at interval to least 1 second")
    start = clock.read(schedule["start_time"]) if schedule.get("start_time") else after
    return _steps(timedelta(seconds=seconds), start, after)


def _steps(step: timedelta, start: datetime, after: datetime) -> Iterator[datetime]:
    slot = start + step * max((after - start) // step, 0)
    while True:
        slot += step
        yield slot
