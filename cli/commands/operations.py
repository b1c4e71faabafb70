"""What a person may ask of a run or a model: each is refused with the reason where the state forbids it."""

import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from cli.connection import application, whoami
from cli.output import Json, Markup, colored, console, emit, facts, plain, quoted, table
from cli.reasons import Why
from statemachine.bootstrap import App
from statemachine.contracts.errors import OperationRefused
from statemachine.contracts.stage import Stage
from statemachine.core.approval import approvals_lacking, subject_digest
from statemachine.core.run import RequestKind, Run

PANEL = "People"
SHORTEST = 12  # digits of a digest
ORDER = [stage.value for stage in Stage if stage is not Stage.RESTORE]
RunId = Annotated[str, typer.Argument(metavar="RUN")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL")]


Digest = Annotated[
    str,
    typer.Option(
        "--digest", metavar="SHA256", help="Of what you saw: `fraudloop show` prints it. Without it: as it is now."
    ),
]


def approve(run_id: RunId, why: Why = "", digest: Digest = "", as_json: Json = False) -> None:
    """Say yes to exactly what a run would deploy: its candidate, evaluation and shadow. If any of it changes, the yes
    is void. `--digest` makes sure that it is what you saw.

    Example: `fraudloop approve fraud-7 --why "the slices look right"`
    """
    app = application()
    run = app.store.run(run_id)
    found = subject_digest(run)
    if not as_json:
        console.print(facts("", _approving(run, found)))
    approved = app.operations.approve(run_id, _whole(digest, found), why, whoami(app))
    if as_json:
        return emit(plain(approved))
    lacking = approvals_lacking(approved, app.policies[run.model], time.time())
    name, said = quoted(run_id), f"{lacking} more have to say yes" if lacking else "the next pass acts on it"
    console.print(Markup(f"{name} is approved by you; {said}; `fraudloop watch {name}` follows it"))
    return None


def _approving(run: Run, digest: str) -> list[tuple[str, str]]:
    """What the person says yes to."""
    return [
        ("candidate", run.candidate),
        ("compared with", run.champion or "no champion: it is the first"),
        ("gate", str(run.verdict.get("reason", ""))),
        ("shadow", str(run.shadow.get("reason", "not asked for"))),
        ("digest", digest),
    ]


def _whole(given: str, found: str) -> str:
    """The digest; the first 12 digits or more of it are enough, as they are of a commit."""
    return found if not given or (len(given) >= SHORTEST and found.startswith(given)) else given


def reject(run_id: RunId, why: Why = "", as_json: Json = False) -> None:
    """Say no to a run that awaits approval. Example: `fraudloop reject fraud-7 --why "recall on travel fell"`"""
    _operator_request(run_id, RequestKind.REJECT, why, as_json)


def cancel(run_id: RunId, why: Why = "", as_json: Json = False) -> None:
    """Stop a run. What it runs in KFP is stopped, and if it was deploying, the last good version is brought back.

    Example: `fraudloop cancel fraud-7 --why "the data are last year's"`
    """
    _operator_request(run_id, RequestKind.CANCEL, why, as_json)


def redrive(
    run_id: RunId,
    why: Why = "",
    stage: Annotated[Stage, typer.Option("--from", help="The first stage to do again.")] = Stage.PREPROCESS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Begin a new run from an ended one: earlier stages' outputs are kept, after checking that they are unchanged.

    It first shows what it will keep, and asks; where nobody can be asked, `--yes` is needed.

    Example: `fraudloop redrive fraud-7 --from train --why "the node group was full"`
    """
    app = application()
    _show_reused(app, run_id, stage, as_json)
    if not yes:
        if not sys.stdin.isatty():
            raise OperationRefused(f"nobody can be asked here; `--yes` begins the redrive of {run_id} without asking")
        typer.confirm("Begin the new run?", abort=True)
    _tell(app.operations.redrive(run_id, stage, whoami(app), why), as_json)


def _show_reused(app: App, run_id: str, stage: Stage, as_json: bool) -> None:
    kept = app.operations.reused(run_id, stage)
    if as_json:
        return
    rows = [[name, output, found.uri] for name, outputs in kept.items() for output, found in outputs.items()]
    if rows:
        console.print(table(f"A redrive of {run_id} keeps, unchanged", ["stage", "output", "where"], rows))
    policy = app.policies[app.store.run(run_id).model]
    skipped = {Stage.MATERIALISE.value: not policy.live, Stage.SHADOW.value: not policy.shadow.enabled}
    again = (each for each in ORDER[ORDER.index(stage.value) :] if not skipped.get(each))
    console.print(f"It does again: {', '.join(again)}")


def rollback(
    model: ModelName,
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help="A version that served before.")],
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Bring an earlier version back and prove it. Needs no training slot, and works while the model is on hold.

    Example: `fraudloop rollback fraud --to fraud-6-1a2b3c4d --why "complaints since noon"`
    """
    app = application()
    _tell(app.operations.rollback(model, to, whoami(app), why), as_json)


def hold(model: ModelName, why: Why = "", as_json: Json = False) -> None:
    """Let nothing train and nothing be promoted until somebody releases the model. Rollbacks still work.

    Example: `fraudloop hold fraud --why "the labels are being corrected"`
    """
    app = application()
    held = app.operations.hold(model, whoami(app), why)
    if as_json:
        return emit(plain(held))
    assert held.hold
    console.print(f"{model} is on hold: {held.hold.why} ({held.hold.who})")
    return None


def release(model: ModelName, why: Why = "", as_json: Json = False) -> None:
    """End a hold. Example: `fraudloop release fraud --why "the labels are right again"`"""
    app = application()
    released = app.operations.release(model, whoami(app), why)
    if as_json:
        return emit(plain(released))
    console.print(f"{model} is free: the next window that closes begins a run")
    return None


def _operator_request(run_id: str, kind: RequestKind, why: str, as_json: bool) -> None:
    app = application()
    _tell(app.operations.operator_request(run_id, kind, whoami(app), why), as_json)


def _tell(run: Run, as_json: bool) -> None:
    if as_json:
        return emit(plain(run))
    asked = f"; the next pass acts on the wish to {run.operator_request.kind.value} it" if run.operator_request else ""
    name = quoted(run.id)
    console.print(Markup(f"{name} is {colored(run.state)}{asked}; `fraudloop watch {name}` follows it"))
    return None


COMMANDS: tuple[Callable[..., None], ...] = (approve, reject, cancel, redrive, rollback, hold, release)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in COMMANDS:
        app.command(rich_help_panel=PANEL)(command)
