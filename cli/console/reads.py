"""What each page shows, as data: the same reads as the command line's, bounded. No HTML here."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from cli.commands import cost_queries, diff, dlq, evidence
from cli.commands.audit import acts, acts_on
from cli.commands.comparison import compared
from cli.commands.runs import story
from cli.commands.status import asked, deployment_status
from cli.commands.status_report import lines, model_status
from cli.commands.why import checked
from cli.connection import known
from cli.console.acts import ORDER
from cli.console.stages import steps
from local.state_dir import StateDir
from statemachine.bootstrap import App
from statemachine.contracts.errors import Unknown
from statemachine.contracts.stage import Stage
from statemachine.core.approval import subject_digest, valid_approvals, who_may_approve
from statemachine.core.policy import Policy
from statemachine.core.run import Run, RunKind
from statemachine.core.states import State
from statemachine.intake import NOWHERE
from training.evaluation import drawing
from training.evaluation.advice import advise
from training.evaluation.drawing import Axis, PlotLine

PAGE = 25  # runs a page
MOST_PAGES = 40
MOST = 200  # rows of any other list
PLOTTED = 60  # latest runs in a plot
OF_RUN = 50  # objects of a run
QUALITY = ("average_precision", "auc_roc", "precision", "recall", "f1", "recall_at_fpr_0.001", "brier")
REPORT_BYTES = 16 * 1024 * 1024


def overview(app: App, home: StateDir | None, now: float) -> dict[str, Any]:
    """Every model's status and the deployment's."""
    models = [
        status | {"lines": list(lines(status, now))} for name in app.policies if (status := model_status(app, name))
    ]
    waiting = [run for status in models for run in status["runs"] if run["rejected_at"] and not run["request"]]
    return {"models": models, "waiting": waiting, "around": deployment_status(app, home, now), "now": now}


def runs(app: App, model: str, page: int) -> dict[str, Any]:
    """One page of a model's runs, newest first, with the nights on which none began."""
    page = min(max(page, 1), MOST_PAGES)
    name = known(app, model) if model else next(iter(app.policies))
    found = list(app.store.runs(name, page * PAGE + 1))
    shown = found[(page - 1) * PAGE : page * PAGE]
    nights = list(islice(app.intake.skipped(name), PAGE)) if page == 1 else []
    more = len(found) > page * PAGE
    return {
        "model": name,
        "models": list(app.policies),
        "runs": shown,
        "nights": nights,
        "page": page,
        "more": more and page < MOST_PAGES,
        "now": time.time(),
        "champion": app.store.model(name).champion,
    }


def timeline(app: App, run_id: str) -> dict[str, Any]:
    """What of a run's page changes while it runs."""
    run = app.store.run(run_id)
    summary = story(app, run)
    return {
        "run": run,
        "story": summary,
        "steps": steps(run, [visit.state for visit in summary.visits], app.policies[run.model]),
    }


def run(app: App, run_id: str) -> dict[str, Any]:
    """A run's page: its summary, the evidence, what it read, cost and what people did."""
    shown = timeline(app, run_id)
    item, summary = shown["run"], shown["story"]
    measured = asked(lambda: evidence.evaluation(app, item))
    measured = measured if isinstance(measured, Mapping) else {}
    objects = sorted(summary.objects, key=lambda each: (each.status.value != "QUARANTINED", each.key))
    return shown | {
        "model": app.store.model(item.model),
        "policy": app.policies[item.model],
        "evaluation": measured,
        "advice": _advice(item, measured),
        "checks": [checked(check, measured) for check in item.verdict.get("checks", [])],
        "shadow": item.shadow,
        "approval": approval(item, app.policies[item.model], time.time()),
        "redrive_from": ORDER,
        "beside": _beside(measured),
        "objects": objects[:OF_RUN],
        "more_objects": max(len(objects) - OF_RUN, 0),
        "acts": acts_on(app, item),
        "cost": asked(lambda: _cost(app, item)),
        "report": item.output(Stage.EVALUATE, "report_html"),
        "now": time.time(),
    }


def approval(item: Run, policy: Policy, now: float) -> dict[str, Any]:
    """What a yes would be to, who said it already, and who else has to."""
    return {
        "digest": subject_digest(item),
        "given": valid_approvals(item, policy, now),
        "who": who_may_approve(item, policy, now),
    }


def _advice(item: Run, measured: Mapping[str, Any]) -> Any:
    """The report's recommendation under the controller's own verdict; None where there is nothing to rest on."""
    if not item.verdict or "metrics" not in measured:
        return None
    failed = {str(c["name"]): str(c.get("note", "")) for c in item.verdict.get("checks", []) if not c["passed"]}
    return asked(lambda: advise(measured, bool(item.verdict.get("passed")), failed))


def _beside(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each metric of the candidate, with the champion's and the paired difference where they are known."""
    rival = measured.get("champion") or {}
    theirs, gained = rival.get("metrics", {}), rival.get("difference", {})
    return [
        {"name": name, "candidate": value, "champion": theirs.get(name), "difference": gained.get(name)}
        for name in QUALITY
        if (value := measured.get("metrics", {}).get(name)) is not None
    ]


def _cost(app: App, item: Run) -> dict[str, Any] | None:
    if not item.state.terminal:
        return None
    prices = app.settings.prices
    found = cost_queries.bill(app, item, tuple(app.store.history(item.id)), prices, 30)
    return {"lines": found.lines, "marginal": found.marginal, "sagemaker": found.sagemaker, "as_of": prices.as_of}


def report(app: App, run_id: str) -> bytes:
    """The run's report.html. Raises `Unknown`."""
    item = app.store.run(run_id)
    uri = item.output(Stage.EVALUATE, "report_html")
    body = app.files.read(uri, REPORT_BYTES) if uri.startswith("s3://") else None
    if body is None:
        raise Unknown(f"{run_id} has no report: it was not evaluated, or the file is gone ({uri or 'none was made'})")
    return body[:REPORT_BYTES]


def compare(app: App, a: str, b: str) -> dict[str, Any]:
    """Two runs or versions beside each other, and what changed between them; without both, only the form."""
    names = [item.id for name in app.policies for item in app.store.runs(name, PAGE) if item.outputs]
    shown: dict[str, Any] = {"a": a, "b": b, "names": names, "comparison": None, "changes": None}
    if not a or not b:
        return shown
    one, other = evidence.find(app, a), evidence.find(app, b)
    shown["changes"] = asked(lambda: diff.differences(app, one, other))
    shown["comparison"] = asked(lambda: compared(one, other))
    return shown


def model(app: App, name: str) -> dict[str, Any]:
    """A model's page: versions, what may be done, and quality and drift over time."""
    item = app.store.model(known(app, name))
    found = list(app.store.runs(name, PLOTTED))
    return {
        "model": item,
        "policy": app.policies[name],
        "releases": [release for release in (item.champion, *item.predecessors) if release],
        "acts": acts(app, name)[-MOST:][::-1],
        "plots": plots(found[::-1]),
        "status": dict(lines(model_status(app, name), time.time())),
    }


def plots(found: Sequence[Run]) -> dict[str, str]:
    """Quality, alerts and drift of evaluated runs over time, oldest first; a plot without a point is left out."""
    evaluated = [item for item in found if "average_precision" in item.metrics and item.kind is RunKind.TRAINING]
    if not evaluated:
        return {}
    across = Axis.over("", [item.created_at for item in evaluated], dates=True)

    def line(name: str, value: Callable[[Run], float | None]) -> PlotLine:
        points = [(item, found) for item in evaluated if (found := value(item)) is not None]
        notes = [f"{item.id} ({item.state.value.lower()}): {name} {value:.4g}" for item, value in points]
        return PlotLine(name, [(item.created_at, value) for item, value in points], dots=True, notes=notes)

    quality = [line(name, lambda item, name=name: item.metrics.get(name)) for name in ("average_precision", "auc_roc")]  # type: ignore[misc]
    decision = [line(name, lambda item, name=name: item.metrics.get(name)) for name in ("precision", "recall")]  # type: ignore[misc]
    drift = [line("largest PSI of a column", _drift)]
    drawn = {
        "quality": drawing.curves(quality, across, Axis("", 0, 1), "Quality of each candidate over time"),
        "decision": drawing.curves(decision, across, Axis("", 0, 1), "Precision and recall at the threshold over time"),
    }
    if drift[0].points:
        up = Axis("", 0, max(0.5, *(value for _, value in drift[0].points)))
        drawn["drift"] = drawing.curves(drift, across, up, "Drift of each run's data over time")
    return drawn


def _drift(item: Run) -> float | None:
    value = next((c.get("value") for c in item.verdict.get("checks", []) if c.get("name") == "drift"), None)
    return float(value) if value is not None else None


def quarantine(app: App, model: str) -> dict[str, Any]:
    """What is set aside, and why."""
    wanted = [model if model == NOWHERE else known(app, model)] if model else [*app.policies, NOWHERE]
    found = [(name, each) for name in wanted for each in app.intake.quarantined(name)]
    found.sort(key=lambda pair: -pair[1].arrived_at)
    return {"model": model, "models": list(app.policies), "found": found[:MOST], "more": max(len(found) - MOST, 0)}


def dead_letters(app: App) -> dict[str, Any]:
    """The messages that no function could take. Listing hides them for some seconds and takes none."""
    sqs = app.client("sqs")
    counts = asked(lambda: dlq.counts(sqs))
    found = (
        asked(lambda: list(islice(dlq.waiting(sqs), MOST))) if isinstance(counts, dict) and sum(counts.values()) else []
    )
    return {"counts": counts, "found": found}


def audit(app: App, subject: str) -> dict[str, Any]:
    """What people did to a model or a run, newest first."""
    name = subject or next(iter(app.policies))
    item = None if name in app.policies else app.store.load(name)
    found = acts_on(app, item) if item else acts(app, known(app, name))
    return {
        "subject": name,
        "models": list(app.policies),
        "acts": found[::-1][:MOST],
        "more": max(len(found) - MOST, 0),
    }


def redrivable(item: Run) -> bool:
    """Whether a new run may begin from this one."""
    return item.state.terminal and item.kind is not RunKind.RESTORE


def waits(item: Run) -> bool:
    """Whether a person has to say yes or no."""
    return item.state is State.AWAITING_APPROVAL and item.operator_request is None
