"""One pass over one run: load, observe, decide, then move *or* act."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from statemachine.contracts import paths
from statemachine.contracts import report as reports
from statemachine.contracts.errors import (
    Conflict,
    Denied,
    Impossible,
    Malformed,
    Misconfigured,
    Unanswered,
    Unreachable,
)
from statemachine.contracts.kfp_run import KfpRun
from statemachine.contracts.limits import clipped
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.action_records import adopted, asked, record_of
from statemachine.core.actions import Action, EnsureRun, MarkObjects, StopRuns, WriteManifest
from statemachine.core.backoff import backoff
from statemachine.core.decide import Act, Look, Move, Wait, decide
from statemachine.core.policy import Policy
from statemachine.core.run import RequestKind, Run
from statemachine.core.snapshot import Observation
from statemachine.core.states import State
from statemachine.intake import Intake
from statemachine.ports import Files, Hints, Pipelines
from statemachine.store import Store

MAX_VERDICTS = 64 * 1024 * 1024
SKEW = 900.0  # seconds that KFP's clock may be behind ours: no launch of a run is older than the run


@dataclass(frozen=True)
class Timing:
    """Seconds. A claim outlives the Lambda that made it, so its holder has ended before the claim expires."""

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
        """One pass over the run; returns the result in a few words for the log.

        Raises:
            Unknown: there is no such run.
            Malformed: its record cannot be read, or its model is not configured.
        """
        run, now = self.store.run(run_id), self.clock()
        if run.state.terminal:
            return "ended"
        if run.claim is not None and run.claim.until > now:
            return "claimed"
        policy = self.policies.get(run.model)
        if policy is None:
            raise Malformed(f"{run_id} is a run of {run.model!r}, a model that fraudloop.toml does not name")
        try:
            return self._pass(run, policy, now, seconds_left)
        except Conflict as conflict:
            return f"overtaken: {conflict.clause}"
        except Impossible as refusal:
            return self._give_up(run, policy, now, str(refusal))
        except (Unreachable, Misconfigured) as error:
            return self._defer(run, policy, now, error)

    def _pass(self, run: Run, policy: Policy, now: float, seconds_left: float) -> str:
        observed, roll = self._observe(run, policy, now), self.roll()
        decision = decide(run, observed, policy, now, roll)
        if isinstance(decision, Look):
            observed = replace(observed, duplicates=self._siblings(run))
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
        return "ended"

    def _siblings(self, run: Run) -> tuple[KfpRun, ...]:
        """All launches of the run; the adopted one also if KFP does not list it: the experiment may have changed."""
        found = self._own(run, f"{run.id}.")
        if not run.kfp_id or any(kfp_run.kfp_id == run.kfp_id for kfp_run in found):
            return found
        adopted = self.pipelines.get(run.kfp_id)
        return found if adopted is None else (*found, adopted)

    def _own(self, run: Run, prefix: str) -> tuple[KfpRun, ...]:
        """The launches of that name that this run created; those of others are left alone."""
        return tuple(found for found in self.pipelines.list(prefix, run.created_at - SKEW) if run.owns(found.launch_id))

    # -- observe ------------------------------------------------------------------------------------------------

    def _observe(self, run: Run, policy: Policy, now: float) -> Observation:
        observed = Observation(model=self.store.model(run.model), report_error=run.report_error)
        if run.report_error:
            return observed  # a later report does not change that
        if run.state is State.QUEUED and not run.pins and not run.asks(RequestKind.CANCEL):
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
            # It may have reported between the two reads: only a report that is missing after the end is missing.
            return self._read_report(run, observed)
        return replace(observed, started=self._started(run, policy, now))

    def _folder(self, run: Run) -> str:
        assert run.stage is not None
        root = self.policies[run.model].root
        return paths.launch_folder(root, run.id, run.stage, run.attempt, run.launch_id)

    def _read_report(self, run: Run, observed: Observation) -> Observation:
        assert run.stage is not None
        body = self.files.read(f"{self._folder(run)}/{reports.REPORT}", reports.MAX_BYTES)
        if body is None:
            return observed
        try:
            report = reports.parse(
                body, run_id=run.id, stage=run.stage.value, attempt=run.attempt, launch_id=run.launch_id
            )
            root = self.policies[run.model].root
            allowed = paths.allowed_outputs(root, run.id, run.model, run.stage, self._folder(run))
            reports.stay_within(report, allowed)
        except Malformed as error:
            return replace(observed, report_error=clipped(str(error)))
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
        claimed = self.store.claim(run, owner, until, **asked(run, action, owner, until + policy.grace))
        try:
            found = self._perform(claimed, policy, action, run.create_uncertain_until, now)
        except (Impossible, Unreachable, Misconfigured) as error:
            pause = backoff(run.unreachable_count + 1, self.roll(), policy.backoff_base, policy.backoff_cap)
            changes = record_of(error, run, policy, now, self.clock(), pause)
            self.store.release(run.id, owner, changes)
            return str(changes["reason"])
        self.store.release(run.id, owner, {"due_at": now, "unreachable_count": 0, "denied_since": 0.0, **found})
        if isinstance(action, WriteManifest | MarkObjects):
            self.hints.look_at([run.id])
        return f"did {type(action).__name__}"

    def _perform(
        self, run: Run, policy: Policy, action: Action, create_uncertain_until: float, now: float
    ) -> dict[str, Any]:
        match action:
            case WriteManifest():
                uri = paths.manifest_uri(policy.root, run.id, run.deployment)
                self.files.write(uri, self.intake.manifest(run))
                return {"manifest": uri}
            case MarkObjects(uri, index):
                return self._mark(run, uri, index)
            case StopRuns(kfp_ids):
                self._stop(kfp_ids)
                return {"due_at": now + policy.stop_poll, "stopping_since": run.stopping_since or now}
            case EnsureRun(order):
                return self._ensure(run, order, create_uncertain_until, now)

    def _mark(self, run: Run, uri: str, index: reports.Artifact | None) -> dict[str, Any]:
        try:
            self.intake.mark(run, self.files.read(uri, MAX_VERDICTS) if uri else None, index)
        except (Malformed, Denied) as error:
            return {"report_error": clipped(str(error))}
        return {"marked": True}

    def _stop(self, kfp_ids: tuple[str, ...]) -> None:
        """Stop each of them; one that cannot be stopped does not prevent the others."""
        errors = []
        for kfp_id in kfp_ids:
            try:
                self.pipelines.stop(kfp_id)
            except (Unreachable, Misconfigured) as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _ensure(self, run: Run, order: StageRequest, create_uncertain_until: float, now: float) -> dict[str, Any]:
        own, before = run.launch_ids[-1:], run.launch_ids[:-1]
        kfp_runs = [kfp_run for kfp_run in self._own(run, order.name) if kfp_run.name == order.name]
        if kfp_runs:
            oldest = min(kfp_runs, key=lambda kfp_run: (kfp_run.created_at, kfp_run.kfp_id))
            for duplicate in kfp_runs:
                if duplicate is not oldest and duplicate.state.stoppable:
                    self.pipelines.stop(duplicate.kfp_id)
            return {
                **adopted(oldest, oldest.created_at or now),
                "create_uncertain_until": create_uncertain_until,
                "launch_ids": before,
            }
        if now < create_uncertain_until:  # an earlier CreateRun may still appear; a duplicate costs more than the wait
            return {
                "create_uncertain_until": create_uncertain_until,
                "due_at": create_uncertain_until,
                "launch_ids": before,
            }
        launch_id = own[0] if own else self.new_id()
        order = replace(order, launch_id=launch_id, output_uri=f"{order.output_uri}/{launch_id}")
        if run.claim is None or self.clock() >= run.claim.until:
            raise Conflict("the claim is still ours", f"{run.id}: it ran out before the launch")
        try:
            kfp_run = self.pipelines.create(order, run.pins[order.stage.value])
        except Unreachable as error:
            raise Unanswered(str(error)) from error
        return {**adopted(kfp_run, now), "create_uncertain_until": create_uncertain_until}

    # -- wait ---------------------------------------------------------------------------------------------------

    def _wait(self, run: Run, policy: Policy, wait: Wait, now: float, started_at: float) -> str:
        long = wait.until > now + policy.poll
        new_reason = wait.reason and wait.reason != run.reason
        found = {name: value for name, value in wait.found.items() if getattr(run, name) != value}
        if long or new_reason or run.unreachable_count or found or (started_at and not run.started_at):
            # Within the poll interval nothing is written: the next tick looks again anyway, and writes cost money.
            due_at = wait.until if long else now + policy.poll
            self.store.defer(run, due_at, clipped(wait.reason), started_at=started_at or run.started_at, **found)
        return f"waits: {wait.reason}" if wait.reason else "waits"

    def _defer(self, run: Run, policy: Policy, now: float, error: Unreachable | Misconfigured) -> str:
        pause = backoff(run.unreachable_count + 1, self.roll(), policy.backoff_base, policy.backoff_cap)
        kept = record_of(error, run, policy, now, now, pause)
        if run.kfp_id and not isinstance(error, Denied):  # its launch may work on all the same, and report
            kept.pop("report_error", None)
        try:
            self.store.defer(run, kept.pop("due_at"), kept.pop("reason"), **kept)
        except (Conflict, Unreachable):
            return f"unreachable, and so is the table: {error}"
        return f"unreachable: {error}"

    def _give_up(self, run: Run, policy: Policy, now: float, why: str) -> str:
        """Handles a move that can never be written: the next pass fails the attempt and drops its report."""
        due_at = now if not run.report_error else now + policy.backoff_cap
        try:
            self.store.defer(run, due_at, clipped(f"impossible: {why}"), report_error=clipped(why))
        except (Conflict, Unreachable) as error:
            return f"impossible, and that cannot be written now: {error}"
        return f"impossible: {why}"
