"""`decide`: what to do about a run, given what was seen. A pass moves or acts, never both."""

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from transitions import EventData, Machine

from statemachine.core.case import Case, Seen
from statemachine.core.duties import Duty, Stop, duty
from statemachine.core.guards import deadline
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.run import Entry, Run
from statemachine.core.states import State
from statemachine.core.table import TABLE, Row

logging.getLogger("transitions").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Move:
    """Write this run, this model and this line of history in one conditional transaction."""

    run: Run
    model: Model
    entry: Entry


@dataclass(frozen=True)
class Act:
    """Claim the run, then do this to the world."""

    duty: Duty


@dataclass(frozen=True)
class Look:
    """List the run's launches, and decide again in the same pass."""


@dataclass(frozen=True)
class Wait:
    """Nothing to do before `until`."""

    until: float
    reason: str = ""


@dataclass(frozen=True)
class Rest:
    """The run is over."""


Decision = Move | Act | Look | Wait | Rest


def decide(run: Run, seen: Seen, policy: Policy, now: float, roll: float = 0.5) -> Decision:
    """What to do about `run`. Pure: equal arguments, equal answer."""
    if run.state.rests:
        return Rest()
    case = Case(run, seen, policy, now, roll)
    row = fire(case)
    if row is None:
        todo = duty(case)
        return Act(todo) if todo else Wait(_until(case), seen.missing)
    if row.settles and not settled(case):
        return _settle(case)
    return _move(case, row)


def fire(case: Case) -> Row | None:
    """The first row of the table that the case fires, by `transitions`; `None` if the run stays as it is."""
    model, rows = _Pass(case), [row for row in TABLE if row.source is case.run.state]
    machine = Machine(
        model=model,
        states=list(dict.fromkeys([case.run.state, *(row.dest for row in rows)])),
        initial=case.run.state,
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

    def __init__(self, case: Case) -> None:
        self.case = case
        self.row: Row | None = None


def _guard(row: Row, event: EventData) -> bool:
    model: _Pass = event.model  # type: ignore[assignment]
    return row.guard(model.case)


def _note(row: Row, event: EventData) -> None:
    model: _Pass = event.model  # type: ignore[assignment]
    model.row = row


def settled(case: Case) -> bool:
    """No launch of this run is working any more, and none can still appear.

    The adopted launch that left its report has done its last act, so it need not be seen to end.
    """
    if not case.run.attempts:
        return True
    return case.seen.siblings is not None and not _live(case) and case.now >= case.run.unsure_until


def _live(case: Case) -> tuple[Any, ...]:
    done = case.run.launch_id if case.seen.report is not None else ""
    return tuple(s for s in case.seen.siblings or () if not s.state.over and not (done and s.launch_id == done))


def _settle(case: Case) -> Decision:
    if case.seen.siblings is None:
        return Look()
    stoppable = tuple(launch.kfp_id for launch in _live(case) if launch.state.stoppable)
    if stoppable:
        return Act(Stop(stoppable))
    pause = case.now + case.policy.stop_poll
    return Wait(max(pause, case.run.unsure_until) if not _live(case) else pause, "waiting for earlier launches to end")


def _move(case: Case, row: Row) -> Move:
    run, model = row.effect(case, row.dest)
    run = replace(run, version=case.run.version + 1, claim=None)
    wish = case.run.wish
    entry = Entry(
        run_id=run.id,
        version=run.version,
        at=case.now,
        source=row.source.value,
        dest=row.dest.value,
        row=row.name,
        reason=run.stop or run.reason,
        attempt=case.run.attempt,
        who=wish.who if wish else "",
        kfp_id=case.run.kfp_id,
        details={"metrics": dict(case.seen.report.metrics)} if case.seen.report else {},
    )
    return Move(run, model, entry)


def _until(case: Case) -> float:
    """The next moment at which something could be due without anybody telling us."""
    moments = [case.now + case.policy.poll]
    if case.run.retry_at > case.now:
        moments.append(case.run.retry_at)
    if case.run.kfp_id and deadline(case) > case.now:
        moments.append(deadline(case))
    if case.run.state is State.AWAITING_APPROVAL:
        moments = [case.run.entered_at + case.policy.approval_deadline]
    return min(moments)
