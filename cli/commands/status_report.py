"""The status of one model as data, and as lines of text. The functions that write the text are pure."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from cli.output import clock, span
from statemachine.bootstrap import App
from statemachine.contracts.object_kind import ObjectKind
from statemachine.core.policy import Policy
from statemachine.core.run import Run
from statemachine.core.states import State
from statemachine.core.window import Window

SHOWN = 5  # object keys of the open window
RECENT = 20  # latest runs among which the last terminal one is sought


def model_status(app: App, name: str) -> dict[str, Any]:
    """What serves, what runs, what waits and what is in the way, as data."""
    item, window, policy = app.store.model(name), app.intake.window(name), app.policies[name]
    holders = {item.training, item.deploying.run_id if item.deploying else ""} - {""}
    running = [run for holder in sorted(holders) if (run := app.store.load(holder))]
    ended = next((run for run in app.store.runs(name, RECENT) if run.state.terminal), None)
    champion = item.champion
    return {
        "model": name,
        "serves": vars(champion) | {"metrics": dict(champion.metrics)} if champion else None,
        "window": _window(app, window, policy),
        "runs": [_run(run, policy) for run in running],
        "last_run": {"id": ended.id, "state": ended.state.value, "at": ended.entered_at, "reason": ended.reason}
        if ended
        else None,
        "hold": vars(item.hold) if item.hold else None,
        "quarantined": len(app.intake.quarantined(name)),
        "last_night": window.last_slot,
        "skipped": next((dict(skip) for skip in app.intake.skipped(name)), None),
    }


def _window(app: App, window: Window, policy: Policy) -> dict[str, Any]:
    waiting = [each for each in app.intake.of_epoch(window.model, window.epoch) if each.status.usable]
    keys, labels = [each.key for each in waiting], [each for each in waiting if each.kind is ObjectKind.LABELS]
    quiet, longest = window.newest_at + policy.intake.quiet_period, window.opened_at + policy.intake.max_wait
    return {
        "epoch": window.epoch,
        "count": window.count,
        "labels": len(labels),
        "opened_at": window.opened_at,
        "closes_at": min(quiet, longest) if window.count else 0.0,
        "asked": f"{window.asked.by}: {window.asked.why}" if window.asked else "",
        "objects": list(islice(sorted(keys), SHOWN)),
    }


def _run(run: Run, policy: Policy) -> dict[str, Any]:
    waits = run.state is State.AWAITING_APPROVAL
    asked = run.operator_request
    return {
        "id": run.id,
        "state": run.state.value,
        "since": run.entered_at,
        "attempt": run.attempt,
        "reason": run.reason,
        "request": vars(asked) | {"kind": asked.kind.value} if asked else None,
        "rejected_at": run.entered_at + policy.approval_deadline if waits else 0.0,
    }


# -- in words -------------------------------------------------------------------------------------------------------


def lines(status: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    """Yields (label, text) for each fact. The text is empty if the fact does not apply."""
    yield "serves", _serves(status["serves"])
    for run in status["runs"]:
        yield "runs", _runs(run, now)
    yield (
        "approval",
        " ".join(_approval(run, now) for run in status["runs"] if run["rejected_at"] and not run["request"]),
    )
    hold = status["hold"]
    yield "on hold", f"since {clock(hold['at'])}: {hold['why']} ({hold['who']})" if hold else ""
    yield "window", _open(status, now)
    count = status["quarantined"]
    yield "quarantine", f"{counted(count)}; `fraudloop quarantine list` says why" if count else ""
    last = status["last_run"]
    yield "last run", f"{last['id']} {last['state']} {clock(last['at'])}. {last['reason']}".strip() if last else ""
    yield "last night", _night(status)


def counted(objects: int) -> str:
    """The count with its noun: "1 object", "2 objects"."""
    return f"{objects:,} object{'s' * (objects != 1)}"


def _serves(release: Mapping[str, Any] | None) -> str:
    if release is None:
        return "nothing yet"
    proof = (
        f"verified on every pod by golden requests (generation {release['generation']}, made by {release['run_id']})"
    )
    return f"{release['version']} since {clock(release['at'])}, {proof}"


def _runs(run: Mapping[str, Any], now: float) -> str:
    attempt = f", attempt {run['attempt']}" if run["attempt"] else ""
    because = f": {run['reason']}" if run["reason"] else ""
    asked = run["request"]
    wish = f"; {asked['who']} asked to {asked['kind']} it ({asked['why']})" if asked else ""
    return (
        f"{run['id']} is {run['state']} since {clock(run['since'])}, {span(now - run['since'])}{attempt}{because}{wish}"
    )


def _approval(run: Mapping[str, Any], now: float) -> str:
    ways = f"`fraudloop why {run['id']}`, then `fraudloop approve {run['id']}` or `fraudloop reject {run['id']}`"
    return f"{run['id']} waits for a person: {ways}; rejected by itself in {span(max(0.0, run['rejected_at'] - now))}"


def _open(status: Mapping[str, Any], now: float) -> str:
    window = status["window"]
    if not window["count"]:
        return f"epoch {window['epoch']} is open and empty" + (
            f"; asked to close: {window['asked']}" * bool(window["asked"])
        )
    keys, more = ", ".join(window["objects"]), window["count"] - len(window["objects"])
    labels = f" ({window['labels']} of labels)" if window["labels"] else ""
    described = f"{counted(window['count'])}{labels} since {clock(window['opened_at'])}: {keys}" + (
        f" and {more} more" * (more > 0)
    )
    if status["hold"] or status["runs"]:
        return f"{described}; it closes {'after the hold' if status['hold'] else 'after the run'}"
    left = window["closes_at"] - now
    return (
        f"{described}; it closes in {span(left)}, if no more come"
        if left > 0
        else f"{described}; the next tick closes it"
    )


def _night(status: Mapping[str, Any]) -> str:
    skip = status["skipped"]
    if not status["last_night"]:
        return "none yet"
    skipped = skip and skip.get("slot") == status["last_night"]
    return f"{status['last_night']}" + (f"; no run began: {skip['why']}" if skipped else "")
