"""What a person may ask of a run or a model: each is refused with the reason where the state forbids it."""

from collections.abc import Callable
from typing import Annotated

import typer

from cli.connection import application, whoami
from cli.output import Json, Markup, colored, console, emit, plain, quoted
from statemachine.contracts.stage import Stage
from statemachine.core.run import RequestKind, Run

PANEL = "People"
RunId = Annotated[str, typer.Argument(metavar="RUN")]
ModelName = Annotated[str, typer.Argument(metavar="MODEL")]
Why = Annotated[str, typer.Option("--why", prompt="Why", help="The reason, for the record.")]


def approve(run_id: RunId, why: Why, as_json: Json = False) -> None:
    """Say yes to a run that awaits approval. If the champion changed meanwhile, it is evaluated again first."""
    _operator_request(run_id, RequestKind.APPROVE, why, as_json)


def reject(run_id: RunId, why: Why, as_json: Json = False) -> None:
    """Say no to a run that awaits approval."""
    _operator_request(run_id, RequestKind.REJECT, why, as_json)


def cancel(run_id: RunId, why: Why, as_json: Json = False) -> None:
    """Stop a run. What it runs in KFP is stopped, and if it was deploying, the last good version is brought back."""
    _operator_request(run_id, RequestKind.CANCEL, why, as_json)


def redrive(
    run_id: RunId,
    why: Why,
    stage: Annotated[Stage, typer.Option("--from", help="The first stage to do again.")] = Stage.PREPROCESS,
    as_json: Json = False,
) -> None:
    """Begin a new run from an ended one: earlier stages' outputs are kept, after checking that they are unchanged.

    Example: `fraudloop redrive fraud-7 --from train --why "the node group was full"`
    """
    app = application()
    _tell(app.operations.redrive(run_id, stage, whoami(app), why), as_json)


def rollback(
    model: ModelName,
    why: Why,
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help="A version that served before.")],
    as_json: Json = False,
) -> None:
    """Bring an earlier version back and prove it. Needs no training slot, and works while the model is on hold."""
    app = application()
    _tell(app.operations.rollback(model, to, whoami(app), why), as_json)


def hold(model: ModelName, why: Why, as_json: Json = False) -> None:
    """Let nothing train and nothing be promoted until somebody releases the model. Rollbacks still work."""
    app = application()
    held = app.operations.hold(model, whoami(app), why)
    if as_json:
        return emit(plain(held))
    assert held.hold
    console.print(f"{model} is on hold: {held.hold.why} ({held.hold.who})")
    return None


def release(model: ModelName, why: Why, as_json: Json = False) -> None:
    """End a hold."""
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
