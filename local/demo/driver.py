"""What a scenario uses: the running system, and methods to upload files, wait for runs and read what serves."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.markup import escape

from cli.console import KEY_FILE
from local.aws.resources import DATA, client
from local.aws.schedule import scheduled_event
from local.demo.payments import PaymentStream
from local.demo.reviewer import Reviewer
from local.system import System
from statemachine.bootstrap import App
from statemachine.contracts import paths
from statemachine.contracts.stage import Stage
from statemachine.core.run import Run, Transition
from statemachine.core.states import State
from statemachine.core.window import Object, Status

MODEL = "fraud"
PREFIX, LABELS = "data/fraud/", "labels/fraud/"
LOOK = 0.25


class Interrupted(Exception):
    """The user pressed Ctrl-C."""


class Broken(Exception):
    """The system had to end."""


class TooSlow(Exception):
    """An awaited state was not reached in time."""


@dataclass
class Driver:
    """The running system, for a scenario. `say` prints a line; `stopped` ends every wait."""

    system: System
    app: App
    say: Callable[[str], object]
    stopped: threading.Event = field(default_factory=threading.Event)
    approved: dict[str, str] = field(default_factory=dict)
    stream: PaymentStream | None = None

    @property
    def reviewer(self) -> Reviewer:
        """The person who says yes in the console."""
        key = (self.system.state_dir.path / KEY_FILE).read_text().strip()
        return Reviewer(self.system.endpoints.urls["console"], key)

    def land(self, files: Mapping[str, bytes], prefix: str = PREFIX) -> None:
        """Upload files under one of the model's prefixes, one after another."""
        s3 = client("s3", self.system.endpoints.urls["aws"])
        for name, body in files.items():
            s3.put_object(Bucket=DATA, Key=prefix + name, Body=body)
            self.say(f"landed {prefix}{name} ({len(body) / 1e6:.1f} MB)")

    def await_run(self, run_id: str, seconds: float = 3600) -> Run:
        """Wait until the run exists and is terminal, and print each transition."""
        last_version = 0
        until = time.monotonic() + seconds
        while True:
            run = self.app.store.load(run_id)
            if run is not None:
                for entry in self.app.store.history(run_id):
                    if entry.version > last_version:
                        last_version = entry.version
                        self.say(_reported(entry))
                if run.state.terminal:
                    return run
                self._approve(run)
            self.pause(LOOK)
            if time.monotonic() > until:
                raise TooSlow(f"{run_id} is {run.state.value if run else 'not there'} after {seconds:.0f} s")

    def _approve(self, run: Run) -> None:
        """Say yes in the console, once, to a run that waits for it."""
        if run.state is State.AWAITING_APPROVAL and run.id not in self.approved:
            self.approved[run.id] = self.reviewer.approve(run.id, "the demo looked at the report", not self.approved)
            self.say(f"approved {run.id} in the console, {self.approved[run.id]}")

    def pause(self, seconds: float) -> None:
        """Wait. Raises `Interrupted`."""
        if self.stopped.wait(seconds):
            raise Interrupted("interrupted")
        if failure := self.system.failure:
            raise Broken(failure)

    def nightly(self, at: datetime) -> None:
        """Send the nightly event asynchronously, as Scheduler does."""
        functions = client("lambda", self.system.endpoints.urls["lambda"])
        event = json.dumps(scheduled_event("fraudloop-nightly", at)).encode()
        functions.invoke(FunctionName="fraudloop-nightly", InvocationType="Event", Payload=event)

    # -- stored state, and what serves --------------------------------------------------------------------------------

    def objects(self, epoch: int) -> dict[str, Object]:
        """Return the objects of an epoch by file name."""
        return {o.key.removeprefix(PREFIX): o for o in self.app.intake.objects(MODEL) if o.epoch == epoch}

    def quarantined(self, epoch: int) -> list[Object]:
        """Return the quarantined objects of an epoch."""
        return [obj for obj in self.objects(epoch).values() if obj.status is Status.QUARANTINED]

    def run(self, run_id: str) -> Run:
        """Return one run."""
        return self.app.store.run(run_id)

    def runs(self) -> list[Run]:
        """Return all runs of the model, oldest first."""
        return list(self.app.store.runs(MODEL))[::-1]

    def champion(self) -> str:
        """Return the version that should serve; "" if there is none."""
        champion = self.app.store.model(MODEL).champion
        return champion.version if champion else ""

    def report(self, run: Run, stage: Stage) -> Mapping[str, Any]:
        """Return the report of a stage's last attempt; empty if there is none."""
        policy = self.app.policies[MODEL]
        bucket = self.app.settings.artifacts_bucket
        folder = paths.attempt_folder(policy.root, run.id, stage, run.attempts.get(stage.value, 0))
        prefix = folder.removeprefix(f"{policy.root}/")
        keys = [found.key for found in self.app.files.list(bucket, f"{prefix}/") if found.key.endswith("/report.json")]
        body = self.app.files.read(f"{policy.root}/{keys[-1]}", 1_000_000) if keys else None
        return dict(json.loads(body)) if body else {}

    def golden(self, version: str) -> Mapping[str, Any]:
        """A version's golden requests."""
        folder = paths.version_folder(self.app.policies[MODEL].root, MODEL, version)
        body = self.app.files.read(f"{folder}/golden.json", 50_000_000)
        if body is None:
            raise Broken(f"{version} has no golden.json")
        return dict(json.loads(body))


def _reported(entry: Transition) -> str:
    message = f": {escape(' '.join(entry.message.split()))}" if entry.message else ""
    return f"{entry.run_id}  {entry.source or '·'} → [bold]{entry.dest}[/]  [dim]{entry.reason.words}{message}[/]"
