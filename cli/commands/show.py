"""A run's story on the terminal."""

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from cli.commands.run_summary import RunSummary
from cli.output import Markup, clock, colored, figure, quoted, shown, span, table
from statemachine.core.run import Run

SHOWN = 12  # objects; the rest is counted
QUALITY = ("auc_roc", "average_precision", "f1", "precision", "recall", "recall_at_fpr_0.001", "brier", "accuracy")


def render(run: Run, story: RunSummary) -> RenderableType:
    """Headline, timeline, gate, data, what is next, where to look."""
    return Group(*_parts(run, story))


def _parts(run: Run, story: RunSummary) -> Iterator[RenderableType]:
    began = f"[bold]{quoted(run.id)}[/] ({quoted(run.model)}) is {colored(run.state)}. {quoted(story.headline)}"
    yield shown(Markup(began))
    yield Text(f"It began {clock(run.created_at)} UTC: {story.began}.\n", style="dim")
    rows = [
        [clock(v.at), span(v.seconds), colored(v.state), str(v.attempt or ""), v.left_because, v.who]
        for v in story.visits
    ]
    yield table("What happened", ["at", ">for", "state", ">attempt", "and then", "who"], rows)
    if story.acts:
        yield Text()
        acts = [[clock(act.at), act.what, act.who, act.why] for act in story.acts]
        yield table("What people asked", ["at", "act", "who", "why"], acts)
    if story.checks:
        yield Text()
        yield table("The gate", ["check", ">figure", ">limit", "", "in words"], [_check(c) for c in story.checks])
    if story.shadow:
        yield Text()
        yield table("The shadow", ["check", ">figure", ">limit", "", "in words"], [_check(c) for c in story.shadow])
    if told := [f"{name} {figure(run.metrics[name])}" for name in QUALITY if name in run.metrics]:
        yield Text(f"\nOn the test rows: {', '.join(told)}; all {len(run.metrics)} metrics are in --json")
    if story.objects:
        yield Text()
        title = f"The {len(story.objects)} objects that it brought in"
        yield table(title, ["object", "kind", "status", "why"], _objects(story))
    corrected, repeated = (run.metrics.get(name, 0) for name in ("corrected", "duplicates"))
    if corrected or repeated:
        yield Text(f"\nDelivered again: {corrected:,.0f} rows were corrected, {repeated:,.0f} repeated.")
    if words := labels_in_words(run.metrics):
        yield Text(f"\n{words}.")
    yield shown(Markup(f"\n[bold]Next[/] {quoted(story.following)}"))
    for what, where in story.links.items():
        yield Text(f"{what:<10} {where}", style="dim")


def labels_in_words(metrics: Mapping[str, float]) -> str:
    """`197 labels corrected, 1,200 transactions reported, 3 reports wait for theirs`; "" if there was nothing of it."""
    words = {
        "labels_corrected": "labels corrected",
        "reports": "transactions reported",
        "reports_waiting": "reports wait for theirs",
    }
    return ", ".join(f"{metrics[name]:,.0f} {text}" for name, text in words.items() if metrics.get(name))


def _check(check: object) -> list[str]:
    assert isinstance(check, dict)
    mark = Markup("[green]✓[/]" if check["passed"] else "[bold red]✗[/]")
    return [check["name"], figure(check["value"]), figure(check["limit"]), mark, check.get("note", "")]


def _objects(story: RunSummary) -> list[list[str]]:
    ranked = sorted(story.objects, key=lambda each: (each.status.value != "QUARANTINED", each.key))
    rows = [[each.key, each.kind.value, each.status.value, each.reason] for each in ranked[:SHOWN]]
    return rows + ([[f"… and {len(ranked) - SHOWN} more", "", "", ""]] if len(ranked) > SHOWN else [])
