"""`start`, `runs`, `show`, `watch`: runs, and what became of them."""

import json
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from cli.commands.audit import acts_on
from cli.commands.run_summary import RunSummary, tell
from cli.commands.show import render
from cli.commands.status_report import lines, model_status
from cli.connection import application, known, whoami
from cli.output import Json, clock, colored, console, emit, figure, plain, span, table
from statemachine.bootstrap import App
from statemachine.contracts.errors import Malformed
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run
from statemachine.core.states import State
from statemachine.core.window import Object

PANEL = "Runs"
Why = Annotated[str, typer.Option("--why", help="The reason, for the record.")]


def start(
    model: Annotated[str, typer.Argument(help="A model of fraudloop.toml.")],
    manifest: Annotated[
        Path | None,
        typer.Option(help="A manifest.json: its objects join the window first (format: docs/contracts.md)."),
    ] = None,
    why: Why = "asked on the command line",
    as_json: Json = False,
) -> None:
    """Begin a run now: close the model's open window, even if it is empty.

    What lies under the model's prefix is taken in first, also if its event has not come yet. The run begins when no
    other one trains this model. Example: `fraudloop start fraud --why "new features"`
    """
    app = application()
    if manifest is not None:
        app.intake.arrive(_objects(manifest))
    elif model in app.policies:
        app.listing.whole(model)
    run_id = app.operations.start(model, whoami(app), why)
    if as_json:
        return emit({"run_id": run_id or None})
    if run_id:
        console.print(f"{run_id} begins; `fraudloop watch {run_id}` follows it")
    else:
        console.print(f"{app.store.model(model).training or 'another run'} trains {model}: the new run begins after it")
    return None


def runs(
    model: Annotated[str, typer.Option(help="Only this model's.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many a model, newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List runs, newest first, with the nights that began none; what serves, and the open window.

    Example: `fraudloop runs --model fraud --limit 5`
    """
    app = application()
    models = [known(app, model)] if model else list(app.policies)
    found = {name: list(app.store.runs(name, limit)) for name in models}
    if as_json:
        return emit([plain(run) for listed in found.values() for run in listed])
    for name, listed in found.items():
        item = app.store.model(name)
        serves = f"{item.champion.version} serves" if item.champion else "nothing serves yet"
        held = f"; on hold by {item.hold.who}: {item.hold.why}" if item.hold else ""
        columns = ["run", "state", "began", ">took", ">AUC", ">AP", "version", "why"]
        console.print(table(f"{name}: {serves}{held}", columns, _rows(app, name, listed, limit)))
        window = dict(lines(model_status(app, name), time.time()))["window"]
        console.print(f"open window: {window}")
    return None


def _rows(app: App, model: str, listed: Sequence[Run], limit: int) -> list[list[str]]:
    """Runs, and the nights on which none began, newest first."""
    nights = islice(app.intake.skipped(model), limit)
    rows = [(run.created_at, _row(run)) for run in listed]
    rows += [
        (float(n["at"]), ["–", "no run", clock(float(n["at"])), *[""] * 4, f"{n['trigger']}: {n['why']}"])
        for n in nights
    ]
    return [row for _, row in sorted(rows, key=lambda pair: -pair[0])][:limit]


def _row(run: Run) -> list[str]:
    took = (run.entered_at if run.state.terminal else time.time()) - run.created_at
    auc, precision = (figure(run.metrics.get(name)) for name in ("auc_roc", "average_precision"))
    why = run.reason or run.trigger.why
    return [
        run.id,
        colored(run.state),
        clock(run.created_at),
        span(took),
        auc,
        precision,
        run.candidate or run.target,
        why,
    ]


def show(run_id: Annotated[str, typer.Argument(metavar="RUN")], as_json: Json = False) -> None:
    """Explain a run for the person on call: what happened, why, and who acts next.

    Example: `fraudloop show fraud-7`
    """
    app = application()
    run = app.store.run(run_id)
    if as_json:
        return emit(_data(app, run))
    console.print(render(run, story(app, run)))
    return None


def watch(
    run_id: Annotated[str, typer.Argument(metavar="RUN")],
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Follow a run until it rests; the exit status is 0 only if it succeeded.

    With `--json`, one line for each step of its history.
    """
    app = application()
    if as_json:
        for entry in _steps(app, run_id, every):
            print(json.dumps(entry), flush=True)  # noqa: T201 — the lines are the command's result, as JSON
    else:
        _follow(app, run_id, every)
    if app.store.run(run_id).state is not State.SUCCEEDED:
        raise typer.Exit(1)


def _follow(app: App, run_id: str, every: float) -> None:
    if not console.is_terminal or console.is_dumb_terminal:  # nothing can be drawn anew there: a line for each step
        for step in _steps(app, run_id, every):
            because = f"{TransitionReason(step['reason']).words}: {step['message']}".removesuffix(": ")
            console.print(Text(f"{clock(step['at'])}  {step['dest']}  {because}"), soft_wrap=True)
        run = app.store.run(run_id)
        console.print(render(run, story(app, run)))
        return
    with Live(console=console, auto_refresh=False) as live:
        while True:
            run = app.store.run(run_id)
            live.update(render(run, story(app, run)), refresh=True)
            if run.state.terminal:
                return
            time.sleep(every)


def _steps(app: App, run_id: str, every: float) -> Iterator[Any]:
    printed = 0
    while True:
        rests = app.store.run(run_id).state.terminal  # looked at first, so that the last step is not missed
        for entry in app.store.history(run_id):
            if entry.version > printed:
                printed = entry.version
                yield plain(entry)
        if rests:
            return
        time.sleep(every)


def story(app: App, run: Run) -> RunSummary:
    """The run's story, from the table."""
    return tell(
        run,
        app.store.history(run.id),
        app.store.model(run.model),
        app.policies[run.model],
        app.intake.of_epoch(run.model, run.epoch) if run.epoch else (),
        time.time(),
        app.settings.kfp_ui_url,
        acts_on(app, run),
    )


def _data(app: App, run: Run) -> dict[str, Any]:
    summary = story(app, run)
    return {
        "run": plain(run),
        "headline": summary.headline,
        "history": [plain(entry) for entry in app.store.history(run.id)],
        "objects": [plain(each) for each in summary.objects],
        "acts": [vars(act) for act in summary.acts],
        "next": summary.following,
        "links": dict(summary.links),
    }


def _objects(manifest: Path) -> list[Object]:
    """The objects of a manifest. Raises `Malformed`."""
    try:
        listed = json.loads(manifest.read_text())["objects"]
        return [
            Object(
                bucket=str(one["bucket"]),
                key=str(one["key"]),
                etag=str(one["etag"]),
                version_id=str(one.get("version_id", "")),
                size=int(one["size"]),
                arrived_at=time.time(),
            )
            for one in listed
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Malformed(f"the manifest {manifest} cannot be read: {type(error).__name__}: {error}") from error


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (start, runs, show, watch):
        app.command(rich_help_panel=PANEL)(command)
