"""`audit`: every act of a person on a model or a run: who, when, why, on what."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from cli.connection import application, known
from cli.output import Json, console, emit, stamp, table
from statemachine.bootstrap import App
from statemachine.core.run import Run
from statemachine.store import AuditEntry

MOST_RUNS = 1000
BEGUN_BY_PEOPLE = ("redrive", "rollback")  # their runs are their record; a start's is the wish that closes the window


def audit(
    subject: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="A model of fraudloop.toml, or a run.")],
    as_json: Json = False,
) -> None:
    """Print every act of a person: starts, approvals, cancels, redrives, rollbacks, holds, quarantines, adoptions.

    Example: `fraudloop audit fraud`
    """
    app = application()
    run = None if subject in app.policies else app.store.load(subject)
    found = list(acts_on(app, run) if run else acts(app, known(app, subject)))
    if as_json:
        return emit([asdict(act) for act in found])
    rows = [[stamp(act.at), act.what, act.on, act.who, act.why] for act in found]
    console.print(table(f"{len(found)} acts on {subject}", ["at (UTC)", "act", "on", "who", "why"], rows))
    return None


def acts(app: App, model: str) -> list[AuditEntry]:
    """What persons did to the model, its runs and its objects, oldest first."""
    item = app.store.model(model)
    began = [act for run in app.store.runs(model, MOST_RUNS) for act in _beginning(run)]
    done = [*app.store.model_acts(model), *app.store.acts(model), *began]
    if item.hold and not any(act.what == "hold" and act.at == item.hold.at for act in done):
        done.append(AuditEntry("hold", item.hold.who, item.hold.why, item.hold.at))  # by the controller itself
    return sorted(done, key=lambda act: act.at)


def acts_on(app: App, run: Run) -> list[AuditEntry]:
    """What persons did to one run, or to the version that it made or brought back."""
    names = {run.id, run.candidate} - {""}
    ours = [act for act in acts(app, run.model) if act.on in names or act.on.startswith(f"{run.id} ")]
    if run.trigger.kind == "person":
        ours.insert(0, AuditEntry("start", run.trigger.by, run.trigger.why, run.created_at, run.id))
    return ours


def _beginning(run: Run) -> Iterator[AuditEntry]:
    if run.trigger.kind in BEGUN_BY_PEOPLE:
        on = f"{run.id} (of {run.parent})" if run.parent else f"{run.id} (to {run.target})"
        yield AuditEntry(run.trigger.kind, run.trigger.by, run.trigger.why, run.created_at, on)


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="People")(audit)
