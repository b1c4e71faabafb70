"""`decide`: what to do about a run, given an observation. A pass moves or acts, never both."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from transitions import EventData, Machine

from statemachine.contracts.kfp_run import KfpRun
from statemachine.contracts.limits import clipped
from statemachine.core.actions import Action, StopRuns, next_action
from statemachine.core.approval import valid_approvals
from statemachine.core.guards import consented, deadline
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.run import Run, Transition
from statemachine.core.snapshot import Observation, Snapshot
from statemachine.core.states import State
from statemachine.core.table import TABLE, Row

logging.getLogger("transitions").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Move:
    """Write this run, this model and this line of history in one conditional transaction."""

    run: Run
    model: Model
    entry: Transition


@dataclass(frozen=True)
class Act:
    """Claim the run, then perform this action."""

    action: Action


@dataclass(frozen=True)
class Look:
    """List the run's launches, and decide again in the same pass."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do before `until`; `found` holds the run's fields to store."""

    until: float
    reason: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rest:
    """The run is over."""


Decision = Move | Act | Look | Wait | Rest


def decide(run: Run, observed: Observation, policy: Policy, now: float, roll: float = 0.5) -> Decision:
    """What to do about `run`. Pure: equal arguments, equal answer."""
    if run.state.terminal:
        return Rest()
    snapshot = Snapshot(run, observed, policy, now, roll)
    row = fire(snapshot)
    if row is None:
        todo = next_action(snapshot)
        return Act(todo) if todo else Wait(_until(snapshot), observed.missing)
    if row.requires_drain and not drained(snapshot):
        return _drain(snapshot)
    return _move(snapshot, row)


def fire(snapshot: Snapshot) -> Row | None:
    """The first row of the table whose guard holds, by `transitions`; `None` if the run stays as it is."""
    model, rows = _Pass(snapshot), [row for row in TABLE if row.source is snapshot.run.state]
    machine = Machine(
        model=model,
        states=list(dict.fromkeys([snapshot.run.state, *(row.dest for row in rows)])),
        initial=snapshot.run.state,
        auto_transitions=False,
        send_event=True,
        ignore_invalid_triggers=True,
    )
    for row in rows:
        machine.add_transition(
            "advance", row.source, row.dest, conditions=partial(_guard, row), before=partial(_note, row)
        )
    if rows:
        model.advance()  # type: ignore[attr-defined]
    return model.row


class _Pass:
    """The throwaway model of one decision; a frozen dataclass cannot be a `transitions` model."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.row: Row | None = None


def _guard(row: Row, event: EventData) -> bool:
    model: _Pass = event.model  # type: ignore[assignment]
    return row.guard(model.snapshot)


def _note(row: Row, event: EventData) -> None:
    model: _Pass = event.model  # type: ignore[assignment]
    model.row = row


def drained(snapshot: Snapshot) -> bool:
    """No launch of this run is active, and none can still appear.

    A launch that has written its report has no more side effects, so we do not wait for KFP to mark it finished.
    """
    run = snapshot.run
    if not run.attempts or (run.deployment and not run.launch_ids):
        return True
    return (
        snapshot.observed.duplicates is not None and not _live(snapshot) and snapshot.now >= run.create_uncertain_until
    )


def _live(snapshot: Snapshot) -> tuple[KfpRun, ...]:
    done = snapshot.run.launch_id if snapshot.observed.report is not None else ""
    stuck = stuck_launches(snapshot)
    return tuple(
        s
        for s in snapshot.observed.duplicates or ()
        if not s.state.over and s not in stuck and not (done and s.launch_id == done)
    )


def stuck_launches(snapshot: Snapshot) -> tuple[KfpRun, ...]:
    """The launches that have been stopping for longer than `cancel_deadline`: they count as over."""
    since = snapshot.run.stopping_since
    if not since or snapshot.now < since + snapshot.policy.cancel_deadline:
        return ()
    return tuple(kfp_run for kfp_run in snapshot.observed.duplicates or () if kfp_run.state.may_never_end)


def _drain(snapshot: Snapshot) -> Decision:
    if snapshot.observed.duplicates is None:
        return Look()
    stoppable = tuple(kfp_run.kfp_id for kfp_run in _live(snapshot) if kfp_run.state.stoppable)
    if stoppable:
        return Act(StopRuns(stoppable))
    pause, live = snapshot.now + snapshot.policy.stop_poll, _live(snapshot)
    found = {"stopping_since": snapshot.run.stopping_since or snapshot.now} if live else {}
    return Wait(
        pause if live else max(pause, snapshot.run.create_uncertain_until), "waiting for earlier launches to end", found
    )


def _move(snapshot: Snapshot, row: Row) -> Move:
    run, model = row.effect(snapshot, row.dest)
    run = replace(run, version=snapshot.run.version + 1, claim=None, reason=clipped(run.reason))
    operator_request, stuck = (
        snapshot.run.operator_request,
        [kfp_run.kfp_id for kfp_run in stuck_launches(snapshot)] if row.requires_drain else [],
    )
    given_up = f"; KFP never ended {', '.join(stuck)}, which counts as over" if stuck else ""
    entry = Transition(
        run_id=run.id,
        version=run.version,
        at=snapshot.now,
        source=row.source.value,
        dest=row.dest.value,
        reason=row.reason,
        message=clipped((run.stop or run.reason) + given_up),
        attempt=snapshot.run.attempt,
        who=operator_request.who if operator_request else _approvers(snapshot),
        kfp_id=snapshot.run.kfp_id,
        details=_details(snapshot, stuck),
    )
    return Move(run, model, entry)


def _approvers(snapshot: Snapshot) -> str:
    """Who approved, for the entry by which the run leaves AWAITING_APPROVAL."""
    if snapshot.run.state is not State.AWAITING_APPROVAL:
        return ""
    return ", ".join(one.who for one in valid_approvals(snapshot.run, snapshot.policy, snapshot.now))


def _details(snapshot: Snapshot, stuck: list[str]) -> dict[str, Any]:
    metrics = {"metrics": dict(snapshot.observed.report.metrics)} if snapshot.observed.report else {}
    return metrics | ({"stuck": stuck} if stuck else {})


def _until(snapshot: Snapshot) -> float:
    """The next time at which something may be due without an event."""
    moments = [snapshot.now + snapshot.policy.poll]
    if snapshot.run.retry_at > snapshot.now:
        moments.append(snapshot.run.retry_at)
    if snapshot.run.kfp_id and deadline(snapshot) > snapshot.now:
        moments.append(deadline(snapshot))
    if snapshot.run.state is State.AWAITING_APPROVAL and not consented(snapshot):
        moments = [snapshot.run.entered_at + snapshot.policy.approval_deadline]
    return min(moments)
