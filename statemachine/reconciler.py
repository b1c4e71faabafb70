"""One pass over one run: load, observe, decide, then move *or* act."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from statemachine.contracts import report as reports
from statemachine.contracts.errors import Conflict, Malformed, Misconfigured, Unanswered, Unreachable
from statemachine.contracts.kfp_run import KfpRun
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.actions import Action, EnsureRun, MarkObjects, StopRuns, WriteManifest
from statemachine.core.backoff import backoff
from statemachine.core.decide import Act, Look, Move, Wait, decide
from statemachine.core.policy import Policy
from statemachine.core.run import Run
from statemachine.core.snapshot import Observation
from statemachine.core.states import State
from statemachine.intake import Intake
from statemachine.ports import Files, Hints, Pipelines
from statemachine.store import Store

MAX_VERDICTS = 64 * 1024 * 1024


@dataclass(frozen=True)
class Timing:
    """Seconds. A claim outlives the Lambda that made it, so a killed holder is dead before its claim runs out."""

    claim: float = 150
    least: float = 25


@dataclass(frozen=True)
class Reconciler:
    """Joins the pure core to the world. `clock` is seconds since the epoch, `roll` a random number in [0, 1)."""

    store: Store
    intake: Intake
    pipelines: Pipelines
    files: Files
    hints: Hints
    policies: Mapping[str, Policy]
    clock: Callable[[], float]
    roll: Callable[[], float]
    new_id: Callable[[], str]
    timing: Timing = Timing()

    def look_at(self, run_id: str, seconds_left: float = float("inf")) -> str:
        """One pass over the run; returns in a word what came of it.

        Raises:
            Unknown: there is no such run.
            Malformed: its record cannot be understood, or its model is not configured.
        """
        run, now = self.store.run(run_id), self.clock()
        if run.state.terminal:
            return "rests"
        if run.claim is not None and run.claim.until > now:
            return "claimed"
        policy = self.policies.get(run.model)
        if policy is None:
            raise Malformed(f"{run_id} is a run of {run.model!r}, a model that fraudloop.toml does not name")
        try:
            return self._pass(run, policy, now, seconds_left)
        except Conflict as conflict:
            return f"overtaken: {conflict.clause}"
        except (Unreachable, Misconfigured) as trouble:
            return self._defer(run, policy, now, str(trouble))

    def _pass(self, run: Run, policy: Policy, now: float, seconds_left: float) -> str:
        observed, roll = self._observe(run, policy, now), self.roll()
        decision = decide(run, observed, policy, now, roll)
        if isinstance(decision, Look):
            observed = replace(observed, duplicates=self.pipelines.list(f"{run.id}."))
            decision = decide(run, observed, policy, now, roll)
        match decision:
            case Move():
                self.store.move(decision.run, decision.model, observed.model, decision.entry)
                if not decision.run.state.terminal:
                    self.hints.look_at([run.id])
                return f"moved to {decision.run.state.value}"
            case Act():
                return self._act(run, policy, decision.action, now, seconds_left)
            case Wait():
                return self._wait(run, policy, decision, now, observed.started or 0.0)
        return "rests"

    # -- observe ------------------------------------------------------------------------------------------------

    def _observe(self, run: Run, policy: Policy, now: float) -> Observation:
        observed = Observation(model=self.store.model(run.model))
        if run.state is State.QUEUED and not run.pins:
            pins = self.pipelines.pins(list(Stage))
            return replace(observed, pins=pins.found if not pins.missing else {}, missing=pins.missing)
        if not run.kfp_id or run.stage is None:
            return observed
        observed = self._read_report(run, observed)
        if observed.report is not None or observed.report_error:
            return observed
        kfp_run = self.pipelines.get(run.kfp_id)
        observed = replace(observed, kfp_run=kfp_run)
        if kfp_run is None or kfp_run.state.over:
            # It may have reported between our two looks: only a report that is missing *after* the end is missing.
            return self._read_report(run, observed)
        return replace(observed, started=self._started(run, policy, now))

    def _folder(self, run: Run) -> str:
        assert run.stage is not None
        root = self.policies[run.model].root
        return f"{root}/runs/{run.id}/{run.stage.value}/{run.attempt}/{run.launch_id}"

    def _read_report(self, run: Run, observed: Observation) -> Observation:
        assert run.stage is not None
        body = self.files.read(f"{self._folder(run)}/{reports.REPORT}", reports.MAX_BYTES)
        if body is None:
            return observed
        try:
            report = reports.parse(
                body, run_id=run.id, stage=run.stage.value, attempt=run.attempt, launch_id=run.launch_id
            )
        except Malformed as error:
            return replace(observed, report_error=str(error))
        return replace(observed, report=report)

    def _started(self, run: Run, policy: Policy, now: float) -> float | None:
        """When the stage began; not asked before a deadline depends on it, nor again: a poll a minute costs money."""
        assert run.stage is not None
        limits = policy.of(run.stage)
        if run.started_at or now < run.launched_at + min(limits.start_deadline, limits.run_deadline):
            return run.started_at or None
        return self._read_started(run)

    def _read_started(self, run: Run) -> float | None:
        body = self.files.read(f"{self._folder(run)}/{reports.STARTED}", reports.MAX_BYTES)
        if body is None:
            return None
        try:
            return float(json.loads(body)["started_at"])
        except (ValueError, KeyError, TypeError):
            return run.launched_at  # it has started, that much is sure

    # -- act ----------------------------------------------------------------------------------------------------

    def _act(self, run: Run, policy: Policy, action: Action, now: float, seconds_left: float) -> str:
        if seconds_left < self.timing.least:
            return "too little time left to claim"
        owner, until = self.new_id(), now + self.timing.claim
        # Should we die in here, a launch asked for at the last moment of the claim may show itself a grace later.
        create_uncertain = {"create_uncertain_until": until + policy.grace} if isinstance(action, EnsureRun) else {}
        claimed = self.store.claim(run, owner, until, **create_uncertain)
        try:
            found = self._perform(claimed, policy, action, run.create_uncertain_until, now)
        except (Unreachable, Misconfigured) as trouble:
            pause = backoff(run.unreachable_count + 1, self.roll(), policy.backoff_base, policy.backoff_cap)
            unanswered = isinstance(trouble, Unanswered)
            changes = {
                "due_at": now + pause,
                "unreachable_count": run.unreachable_count + 1,
                "reason": f"unreachable: {trouble}",
                "create_uncertain_until": self.clock() + policy.grace if unanswered else run.create_uncertain_until,
            }
            self.store.release(run.id, owner, changes)
            return f"unreachable: {trouble}"
        self.store.release(run.id, owner, {"due_at": now, "unreachable_count": 0, **found})
        if isinstance(action, WriteManifest | MarkObjects):
            self.hints.look_at([run.id])
        return f"did {type(action).__name__}"

    def _perform(
        self, run: Run, policy: Policy, action: Action, create_uncertain_until: float, now: float
    ) -> dict[str, Any]:
        match action:
            case WriteManifest():
                uri = f"{policy.root}/runs/{run.id}/manifest.json"
                self.files.write(uri, self.intake.manifest(run))
                return {"manifest": uri}
            case MarkObjects(uri, index):
                return self._mark(run, uri, index)
            case StopRuns(kfp_ids):
                for kfp_id in kfp_ids:
                    self.pipelines.stop(kfp_id)
                return {"due_at": now + policy.stop_poll}
            case EnsureRun(order):
                return self._ensure(run, order, create_uncertain_until, now)

    def _mark(self, run: Run, uri: str, index: reports.Artifact | None) -> dict[str, Any]:
        try:
            self.intake.mark(run, self.files.read(uri, MAX_VERDICTS) if uri else None, index)
        except Malformed as error:
            return {"report_error": str(error)}
        return {"marked": True}

    def _ensure(self, run: Run, order: StageRequest, create_uncertain_until: float, now: float) -> dict[str, Any]:
        kfp_runs = [
            kfp_run for kfp_run in self.pipelines.list(order.name) if kfp_run.name == order.name and kfp_run.launch_id
        ]
        if kfp_runs:
            oldest = min(kfp_runs, key=lambda kfp_run: (kfp_run.created_at, kfp_run.kfp_id))
            for twin in kfp_runs:
                if twin is not oldest and twin.state.stoppable:
                    self.pipelines.stop(twin.kfp_id)
            return {**_adopted(oldest, oldest.created_at or now), "create_uncertain_until": create_uncertain_until}
        if now < create_uncertain_until:  # an earlier create may yet show itself: a GPU twin costs more than the wait
            return {"create_uncertain_until": create_uncertain_until, "due_at": create_uncertain_until}
        launch_id = self.new_id()
        order = replace(order, launch_id=launch_id, output_uri=f"{order.output_uri}/{launch_id}")
        if run.claim is None or self.clock() >= run.claim.until:
            raise Conflict("the claim is still ours", f"{run.id}: it ran out before the launch")
        try:
            kfp_run = self.pipelines.create(order, run.pins[order.stage.value])
        except Unreachable as trouble:
            raise Unanswered(str(trouble)) from trouble
        return {**_adopted(kfp_run, now), "create_uncertain_until": create_uncertain_until}

    # -- wait ---------------------------------------------------------------------------------------------------

    def _wait(self, run: Run, policy: Policy, wait: Wait, now: float, started_at: float) -> str:
        long = wait.until > now + policy.poll
        said = wait.reason and wait.reason != run.reason
        if long or said or run.unreachable_count or (started_at and not run.started_at):
            # Within the poll interval nothing is written: the next tick looks again anyway, and writes cost money.
            due_at = wait.until if long else now + policy.poll
            self.store.defer(run, due_at, wait.reason, started_at=started_at or run.started_at)
        return f"waits: {wait.reason}" if wait.reason else "waits"

    def _defer(self, run: Run, policy: Policy, now: float, trouble: str) -> str:
        pause = backoff(run.unreachable_count + 1, self.roll(), policy.backoff_base, policy.backoff_cap)
        try:
            self.store.defer(run, now + pause, f"unreachable: {trouble}", unreachable_count=run.unreachable_count + 1)
        except (Conflict, Unreachable):
            return f"unreachable, and so is the table: {trouble}"
        return f"unreachable: {trouble}"


def _adopted(kfp_run: KfpRun, launched_at: float) -> dict[str, Any]:
    return {"kfp_id": kfp_run.kfp_id, "launch_id": kfp_run.launch_id, "launched_at": launched_at, "reason": ""}
