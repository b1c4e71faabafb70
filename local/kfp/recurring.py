"""Recurring runs: a cron or periodic trigger that really starts runs."""

import logging
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from cronsim import CronSim, CronSimError

from local.kfp import clock
from local.kfp.errors import ApiError, invalid, not_found
from local.kfp.pipelines import Registry
from local.kfp.runs import ACTIVE, Runs, check_arguments
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
    """The recurring runs; `tick` starts what is due by the given clock.

    `last_slot` is the latest slot that was started or let go, `index` how many runs there have been.
    """

    def __init__(self, store: DocumentStore, registry: Registry, runs: Runs, now: clock.Clock) -> None:
        self._store, self._registry, self._runs, self._now = store, registry, runs, now

    def create(self, body: Document) -> Document:
        """A new recurring run; its first slot is the first after now, or after its start time."""
        if not body.get("display_name"):
            raise invalid("the recurring run has no display_name")
        spec = self._registry.spec_of(body)
        check_arguments(spec, (body.get("runtime_config") or {}).get("parameters") or {})
        most = int(body.get("max_concurrency") or 1)
        if not 1 <= most <= 10:
            raise invalid(f"max_concurrency is {most}; it takes 1 to 10")
        moment = self._now()
        next(slots(body.get("trigger") or {}, moment), None)  # refuses a trigger that cannot be read
        enabled = body.get("mode") != "DISABLE"
        recurring = {
            **{name: body[name] for name in KEPT if body.get(name)},
            "experiment_id": body.get("experiment_id") or self._registry.default_experiment(),
            "recurring_run_id": str(uuid.uuid4()),
            "display_name": body["display_name"],
            "trigger": body["trigger"],
            "max_concurrency": str(most),
            "no_catchup": bool(body.get("no_catchup")),
            "created_at": clock.write(moment),
            "last_slot": clock.write(moment),
            "index": 0,
        }
        return self._switch(recurring, enabled)

    def get(self, key: str) -> Document:
        """One recurring run."""
        recurring = self._store.get("recurring_run", key)
        if recurring is None:
            raise not_found("recurring run", key)
        return recurring

    def all(self) -> list[Document]:
        """All of them, the oldest first."""
        return self._store.all("recurring_run")

    def switch(self, key: str, enabled: bool) -> None:
        """Enable or disable; what a disabled one missed is caught up later, unless it says `no_catchup`."""
        with self._store.lock:
            self._switch(self.get(key), enabled)

    def delete(self, key: str) -> None:
        """Forget it; its runs stay."""
        self.get(key)
        self._store.delete("recurring_run", key)

    def tick(self) -> None:
        """Start whatever is due."""
        with self._store.lock:
            for recurring in self._store.all("recurring_run"):
                if recurring["status"] == "ENABLED":
                    self._start_due(recurring)

    def tick_until(self, stopped: threading.Event, every: float) -> None:
        """`tick` until told to stop; an error is logged and the next tick comes."""
        while not stopped.wait(every):
            try:
                self.tick()
            except Exception:
                LOG.exception("recurring runs")

    def _start_due(self, recurring: Document) -> None:
        moment = self._now()
        due = list(
            takewhile(lambda slot: slot <= moment, slots(recurring["trigger"], clock.read(recurring["last_slot"])))
        )
        if recurring["no_catchup"]:
            due = due[-1:]
        free = int(recurring["max_concurrency"]) - self._active(recurring["recurring_run_id"])
        for slot in due[: max(free, 0)]:  # what finds no room stays due
            recurring["index"] += 1
            recurring["last_slot"] = clock.write(slot)
            self._store.put("recurring_run", recurring["recurring_run_id"], recurring)
            self._start(recurring, slot)

    def _start(self, recurring: Document, slot: datetime) -> None:
        told = {name: recurring[name] for name in KEPT if name in recurring}
        name = f"{recurring['display_name']}-{recurring['index']}"
        try:
            self._runs.create(
                told
                | {
                    "display_name": name,
                    "recurring_run_id": recurring["recurring_run_id"],
                    "scheduled_at": clock.write(slot),
                }
            )
        except ApiError as error:  # its pipeline version was deleted, say
            LOG.error("recurring run %s cannot start %s: %s", recurring["recurring_run_id"], name, error.message)

    def _active(self, key: str) -> int:
        return sum(run.get("recurring_run_id") == key and run["state"] in ACTIVE for run in self._store.all("run"))

    def _switch(self, recurring: Document, enabled: bool) -> Document:
        recurring["mode"] = "ENABLE" if enabled else "DISABLE"
        recurring["status"] = "ENABLED" if enabled else "DISABLED"
        recurring["updated_at"] = clock.write(self._now())
        self._store.put("recurring_run", recurring["recurring_run_id"], recurring)
        return recurring


def slots(trigger: Document, after: datetime) -> Iterator[datetime]:
    """The moments of a trigger that lie after `after`.

    Raises:
        ApiError: 400, the trigger is neither a cron nor a periodic schedule, or cannot be read.
    """
    try:
        if cron := trigger.get("cron_schedule"):
            schedule, moments = cron, _cron(cron["cron"], _start_of(cron, after))
        elif periodic := trigger.get("periodic_schedule"):
            schedule, moments = periodic, _periodic(_seconds(periodic), periodic, after)
        else:
            raise invalid("the trigger has neither cron_schedule nor periodic_schedule")
        end = clock.read(schedule["end_time"]) if schedule.get("end_time") else datetime.max.replace(tzinfo=UTC)
    except (CronSimError, ValueError, KeyError) as error:
        raise invalid(f"the trigger cannot be read: {error}") from error
    return takewhile(lambda slot: slot <= end, moments)


def _start_of(schedule: Document, after: datetime) -> datetime:
    start = schedule.get("start_time")
    return max(after, clock.read(start) - timedelta(seconds=1)) if start else after


def _cron(expression: str, after: datetime) -> Iterator[datetime]:
    """KFP's cron has six fields, seconds first, and knows `?`; all times are UTC."""
    fields = expression.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    return CronSim(" ".join(fields).replace("?", "*"), after.replace(microsecond=0))


def _seconds(schedule: Document) -> int:
    seconds = int(schedule["interval_second"])
    if seconds < 1:
        raise ValueError(f"interval_second is {seconds}")
    return seconds


def _periodic(seconds: int, schedule: Document, after: datetime) -> Iterator[datetime]:
    step = timedelta(seconds=seconds)
    start = clock.read(schedule["start_time"]) if schedule.get("start_time") else after
    slot = start + step * max((after - start) // step, 0)
    while True:
        slot += step
        yield slot
