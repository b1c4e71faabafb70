"""What a person may ask on the console: the same functions as the command line's, each with a preview and a reason."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.console.people import Role
from statemachine.bootstrap import App
from statemachine.contracts.errors import OperationRefused, Unknown
from statemachine.contracts.stage import Stage
from statemachine.core.approval import subject_digest, who_may_approve
from statemachine.core.run import RequestKind
from statemachine.operations import NEEDS

Target = Mapping[str, str]
ORDER = tuple(stage.value for stage in NEEDS)  # a run may be redriven from each of them


@dataclass(frozen=True)
class Preview:
    """What an act will do: sentences, and a table of things that it keeps or touches."""

    sentences: tuple[str, ...]
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class ConsoleAct:
    """One act: its `target`'s fields, who may ask for it, what it would do, and doing it.

    `look` and `do` raise what the operations raise. `do` returns the path to go on with.
    """

    name: str
    role: Role
    title: str
    button: str
    target: tuple[str, ...]
    look: Callable[[App, Target], Preview]
    do: Callable[[App, Target, str, str], str]
    grave: bool = False


# -- runs --------------------------------------------------------------------------------------------------------------


def _look_approve(app: App, target: Target) -> Preview:
    run, now = app.store.run(target["run"]), time.time()
    digest, policy = subject_digest(run), app.policies[run.model]
    who = who_may_approve(run, policy, now)
    if target["digest"] != digest:
        raise OperationRefused(f"{run.id} is not what you saw any more; look at it again, then say yes to that")
    champion = app.store.model(run.model).champion
    serves = f"It would replace {champion.version}, which serves now." if champion else "Nothing serves yet."
    says = (
        f"You say yes to {run.candidate or 'what it makes'}, to its evaluation and to its shadow, as they are now.",
        f"{serves} Every pod must repeat the golden requests before it becomes the champion.",
        f"{who[:1].upper()}{who[1:]}. If anything of it changes, the yes is void.",
        f"What you approve has the digest {digest[:12]}.",
    )
    judged = [("gate", check) for check in run.verdict.get("checks", [])]
    judged += [("shadow", check) for check in run.shadow.get("checks", [])]
    rows = tuple(
        (what, str(c["name"]), _figure(c["value"]), _figure(c["limit"]), "held" if c["passed"] else "failed")
        for what, c in judged
    )
    return Preview(says, ("of", "check", "figure", "limit", "result"), rows)


def _approve(app: App, target: Target, who: str, why: str) -> str:
    return f"/runs/{app.operations.approve(target['run'], target['digest'], why, who).id}"


def _look_reject(app: App, target: Target) -> Preview:
    run = app.store.run(target["run"])
    return Preview((f"You say no to what {run.id} found. What serves now goes on serving.",))


def _look_cancel(app: App, target: Target) -> Preview:
    run = app.store.run(target["run"])
    if run.state.terminal:
        raise OperationRefused(f"{run.id} is over ({run.state.value}); there is nothing to cancel")
    says = f"{run.id} is {run.state.value}. What it runs in KFP is stopped."
    return Preview((says, "If it was deploying, the last good version is brought back."))


def _request(kind: RequestKind) -> Callable[[App, Target, str, str], str]:
    def ask(app: App, target: Target, who: str, why: str) -> str:
        return f"/runs/{app.operations.operator_request(target['run'], kind, who, why).id}"

    return ask


def _stage(target: Target) -> Stage:
    if target["stage"] not in ORDER:
        raise Unknown(f"{target['stage']!r} is no stage to redrive from; stages are {', '.join(ORDER)}")
    return Stage(target["stage"])


def _look_redrive(app: App, target: Target) -> Preview:
    stage = _stage(target)
    kept = app.operations.reused(target["run"], stage)
    rows = tuple((name, output, found.uri) for name, outputs in kept.items() for output, found in outputs.items())
    again = ", ".join(ORDER[ORDER.index(stage.value) :])
    says = f"A new run begins with the same manifest as {target['run']}. It does again: {again}."
    verified = (
        "It keeps these, whose digests were compared just now:" if rows else "It keeps nothing of the earlier run."
    )
    return Preview((says, verified), ("stage", "output", "where"), rows)


def _redrive(app: App, target: Target, who: str, why: str) -> str:
    return f"/runs/{app.operations.redrive(target['run'], _stage(target), who, why).id}"


# -- models ------------------------------------------------------------------------------------------------------------


def _look_rollback(app: App, target: Target) -> Preview:
    model = app.store.model(target["model"])
    release = model.release_of(target["version"])
    if release is None:
        raise Unknown(f"{target['version']} is not a version that ever served {target['model']}")
    serves = f"{model.champion.version} serves now. " if model.champion else ""
    says = f"{serves}{release.version} is deployed again and proven by golden requests on every pod."
    return Preview((says, "The version that it replaces is not promoted again by itself."))


def _rollback(app: App, target: Target, who: str, why: str) -> str:
    return f"/runs/{app.operations.rollback(target['model'], target['version'], who, why).id}"


def _look_hold(app: App, target: Target) -> Preview:
    return Preview((f"Nothing trains and nothing of {target['model']} is promoted until somebody releases it.",
                    "What serves now goes on serving, and rollbacks still work."))  # fmt: skip


def _hold(app: App, target: Target, who: str, why: str) -> str:
    app.operations.hold(target["model"], who, why)
    return f"/models/{target['model']}"


def _look_release(app: App, target: Target) -> Preview:
    held = app.store.model(target["model"]).hold
    if held is None:
        raise OperationRefused(f"{target['model']} is not on hold")
    return Preview((f"{held.who} put it on hold: {held.why}", "The next window that closes begins a run."))


def _release(app: App, target: Target, who: str, why: str) -> str:
    app.operations.release(target["model"], who, why)
    return f"/models/{target['model']}"


# -- objects -----------------------------------------------------------------------------------------------------------


def _look_put(app: App, target: Target) -> Preview:
    return Preview((f"No run that begins from now on learns from {target['key']}.",))


def _put(app: App, target: Target, who: str, why: str) -> str:
    app.operations.quarantine(target["model"], target["key"], who, why)
    return "/quarantine"


def _look_release_object(app: App, target: Target) -> Preview:
    return Preview((f"{target['key']} joins the next run, which checks it again.",))


def _release_object(app: App, target: Target, who: str, why: str) -> str:
    app.operations.release_object(target["model"], target["key"], who, why)
    return "/quarantine"


def _figure(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}"


RUN, MODEL, OBJECT = ("run",), ("model",), ("model", "key")
ACTS: Mapping[str, ConsoleAct] = {
    act.name: act
    for act in (
        ConsoleAct("approve", Role.APPROVER, "Approve {run}", "Approve", ("run", "digest"), _look_approve, _approve),
        ConsoleAct("reject", Role.APPROVER, "Reject {run}", "Reject", RUN, _look_reject,
            _request(RequestKind.REJECT), grave=True),
        ConsoleAct("cancel", Role.OPERATOR, "Cancel {run}", "Cancel the run", RUN, _look_cancel,
            _request(RequestKind.CANCEL), grave=True),
        ConsoleAct("redrive", Role.OPERATOR, "Redrive {run} from {stage}", "Begin the new run", ("run", "stage"),
            _look_redrive, _redrive),
        ConsoleAct("rollback", Role.OPERATOR, "Roll {model} back to {version}", "Roll back", ("model", "version"),
            _look_rollback, _rollback, grave=True),
        ConsoleAct("hold", Role.OPERATOR, "Put {model} on hold", "Put on hold", MODEL, _look_hold, _hold, grave=True),
        ConsoleAct("release", Role.OPERATOR, "Release {model}", "Release", MODEL, _look_release, _release),
        ConsoleAct("quarantine", Role.OPERATOR, "Set an object of {model} aside", "Set aside", OBJECT,
            _look_put, _put, grave=True),
        ConsoleAct("release-object", Role.OPERATOR, "Release an object of {model}", "Release", OBJECT,
            _look_release_object, _release_object),
    )
}  # fmt: skip
