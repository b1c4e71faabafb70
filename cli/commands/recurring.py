"""The night as a KFP recurring run of the end-to-end pipeline, or as an EventBridge schedule; never as both.

KFP's recurring runs cannot be edited, so a change stops the old one, makes a new one and then deletes the old one.
Going from one scheduler to the other stops the first before it starts the second: whoever dies between finds no
schedule, which running the command again mends, rather than two.
"""

import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, Protocol

from clients import scheduler
from statemachine.contracts.errors import Malformed, OperationRefused, Unknown

NAME = "fraud-detection-daily"
PIPELINE = "fraud-detection-end-to-end"
NIGHT = "0 0 2 * * *"  # seconds first
ONE_AT_A_TIME = 1


@dataclass(frozen=True)
class Recurring:
    """One recurring run of KFP."""

    id: str
    name: str
    cron: str
    enabled: bool
    no_catchup: bool
    max_concurrency: int


class Nightly(Protocol):
    """The EventBridge schedule of the night."""

    def enabled(self) -> bool:
        """It fires."""

    def switch(self, on: bool) -> None:
        """Enable or disable it."""


@dataclass(frozen=True)
class EventBridge:
    """`Nightly` on EventBridge Scheduler. Ours is called `fraudloop-night-<end of the stack's id>`."""

    client: Any
    name: str

    def enabled(self) -> bool:
        """Raises `Unknown`, `Unreachable`."""
        return str(scheduler.get(self.client, self.name)["State"]) == "ENABLED"

    def switch(self, on: bool) -> None:
        """Everything else of the schedule stays. Raises `Unknown`, `Unreachable`."""
        scheduler.switch(self.client, self.name, on)


@dataclass(frozen=True)
class NoNightly:
    """`Nightly` of a deployment that has no EventBridge schedule, because somebody said so."""

    def enabled(self) -> bool:
        """It does not fire."""
        return False

    def switch(self, on: bool) -> None:
        """There is nothing to enable."""
        if on:
            raise OperationRefused("this deployment has no EventBridge schedule (--no-nightly)")


@dataclass(frozen=True)
class Schedules:
    """Both schedulers of one deployment. `client` is a `kfp.Client`."""

    client: Any
    experiment: str
    nightly: Nightly
    namespace: str = ""
    service_account: str = ""

    def all(self) -> list[Recurring]:
        """Our recurring runs, the oldest first."""
        found, token = [], ""
        while True:
            page = self.client.list_recurring_runs(page_token=token, page_size=100, experiment_id=self._experiment())
            found += [_recurring(each) for each in page.recurring_runs or () if each.display_name == NAME]
            token = page.next_page_token or ""
            if not token:
                return found

    def use_kfp(self, version_name: str, arguments: Mapping[str, Any], cron: str = NIGHT) -> Recurring:
        """Let KFP keep the schedule: EventBridge's stops, older recurring runs of ours go, one new one stands.

        Raises:
            Malformed: the cron expression has not six fields.
            Unknown: the pipeline version was not published.
        """
        pipeline, version = self._version(version_name)
        expression = six_fields(cron)
        self.nightly.switch(False)
        former = self.all()
        for old in former:
            self.client.disable_recurring_run(old.id)
        made = self.client.create_recurring_run(
            experiment_id=self._experiment(),
            job_name=NAME,
            description="The nightly retraining; `fraudloop schedule` keeps it.",
            cron_expression=expression,
            max_concurrency=ONE_AT_A_TIME,
            no_catchup=True,  # a cluster that was away for a week does not train seven times
            params=dict(arguments),
            pipeline_id=pipeline,
            version_id=version,
            enable_caching=False,
            service_account=self.service_account or None,
        )
        for old in former:
            self.client.delete_recurring_run(old.id)
        return _recurring(made)

    def use_eventbridge(self) -> None:
        """Let EventBridge keep the schedule: KFP's recurring runs go first."""
        for old in self.all():
            self.client.disable_recurring_run(old.id)
            self.client.delete_recurring_run(old.id)
        self.nightly.switch(True)

    def pause(self) -> None:
        """Nothing fires until `resume`."""
        for each in self.all():
            self.client.disable_recurring_run(each.id)

    def resume(self) -> Recurring:
        """Raises `OperationRefused` if there is none, or if EventBridge's schedule is on."""
        found = self.all()
        if not found:
            raise OperationRefused("KFP has no recurring run of ours; `fraudloop schedule kfp` makes one")
        if self.nightly.enabled():
            raise OperationRefused("EventBridge keeps the schedule; `fraudloop schedule kfp` changes that")
        for extra in found[:-1]:  # left over by a replacement that died: only one may fire
            self.client.disable_recurring_run(extra.id)
            self.client.delete_recurring_run(extra.id)
        self.client.enable_recurring_run(found[-1].id)
        return found[-1]

    def _experiment(self) -> str:
        with redirect_stdout(sys.stderr):  # the client prints a link, which is no part of our answer
            made = self.client.create_experiment(self.experiment, namespace=self.namespace or None)
        return str(made.experiment_id)

    def _version(self, name: str) -> tuple[str, str]:
        pipeline = self._pipeline()
        exactly = _named(name)
        versions = self.client.list_pipeline_versions(pipeline, page_size=100, filter=exactly).pipeline_versions
        found = [each for each in versions or () if each.display_name == name]
        if not found:
            raise _unpublished(name)
        return pipeline, str(found[0].pipeline_version_id)

    def _pipeline(self) -> str:
        """Not `get_pipeline_id`, which knows no namespace."""
        listed = self.client.list_pipelines(page_size=100, filter=_named(PIPELINE), namespace=self.namespace or None)
        found = [each for each in listed.pipelines or () if each.display_name == PIPELINE]
        if not found:
            raise _unpublished(PIPELINE)
        return str(found[0].pipeline_id)


def _unpublished(name: str) -> Unknown:
    return Unknown(f"KFP has no version {name!r} of {PIPELINE}; `fraudloop publish` uploads it")


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": 1, "key": "display_name", "string_value": name}]})


def six_fields(cron: str) -> str:
    """The expression, if KFP reads it as it is meant: seconds first, or a descriptor (`@daily`, `@every 8h`).

    KFP takes five fields too, and reads the first as seconds: the plan's `0 2 * * *` fires every hour at :02.

    Raises:
        Malformed: it has not six fields; for five, the message gives the right six.
    """
    fields = cron.split()
    if cron.startswith("@") or len(fields) == 6:
        return " ".join(fields)
    if len(fields) == 5:
        raise Malformed(f"KFP's cron begins with seconds, and would read {cron!r} so; you mean '0 {' '.join(fields)}'")
    raise Malformed(f"{cron!r} has {len(fields)} fields; KFP's cron takes six, seconds first: '{NIGHT}'")


def _recurring(run: Any) -> Recurring:
    schedule = run.trigger.cron_schedule if run.trigger else None
    return Recurring(
        id=str(run.recurring_run_id),
        name=str(run.display_name),
        cron=str(schedule.cron) if schedule else "",
        enabled=str(getattr(run.status, "value", run.status)) == "ENABLED",
        no_catchup=bool(run.no_catchup),
        max_concurrency=int(run.max_concurrency or 1),
    )
