"""`sagemaker`: what replaces each of its uses, the export of its history, its archive, and its removal."""

from dataclasses import dataclass
from typing import Annotated

import typer

from cli.connection import application
from cli.migration.decommission import SageMakerExit
from cli.output import Json, Markup, console, emit, table
from statemachine.contracts.errors import OperationRefused

sagemaker = typer.Typer(help="Goodbye to SageMaker: uses, history, archive, removal.", no_args_is_help=True)
Match = Annotated[str, typer.Option(help="Only what has this in its name.")]


@dataclass(frozen=True)
class Use:
    """One use of SageMaker, and the command that shows its replacement."""

    use: str
    now: str
    command: str


USES = (
    Use("train on a GPU", "the train stage on KFP, or as a training job", "fraudloop show RUN"),
    Use("preprocess in a notebook", "the preprocess stage", "fraudloop train FILES --out DIR"),
    Use("tune hyper-parameters", "Katib, or Optuna on one machine", "fraudloop tune"),
    Use("schedule a training", "EventBridge Scheduler, or a KFP recurring run", "fraudloop schedule list"),
    Use("compare metrics with a fixed seed", "parity against an imported baseline", "fraudloop parity RUN"),
    Use("register and version models", "the model item and models/<model>/<version> in S3", "fraudloop runs"),
    Use("host an endpoint", "Triton, rolled out by Argo CD", "fraudloop runs"),
    Use("go back to an earlier model", "a restore run", "fraudloop rollback MODEL --to VERSION"),
    Use("watch metrics and alarms", "Prometheus, Grafana, CloudWatch, Slack", "fraudloop slo"),
    Use("know what it costs", "the bill of each run", "fraudloop cost"),
)


@sagemaker.command()
def uses(as_json: Json = False) -> None:
    """Show every use of SageMaker and its replacement."""
    if as_json:
        return emit([vars(use) for use in USES])
    console.print(table("uses", ["SageMaker was used to", "now", "see"], [[u.use, u.now, u.command] for u in USES]))
    return None


@sagemaker.command("export-history")
def export_history(match: Match = "", as_json: Json = False) -> None:
    """Every training job, with times, instance, metrics and hyper-parameters, as Parquet in the artifacts bucket."""
    uri, rows = _exit(match).export_history()
    if as_json:
        return emit({"uri": uri, "rows": rows})
    console.print(f"{rows} training jobs in {uri}")
    return None


@sagemaker.command()
def archive(match: Match = "", as_json: Json = False) -> None:
    """Describe endpoints, models, pipelines and notebooks into the artifacts bucket. Continues where it stopped."""
    new = _exit(match).archive()
    if as_json:
        return emit([resource.key for resource in new])
    console.print(f"{len(new)} archived now: {', '.join(resource.key for resource in new) or 'nothing was new'}")
    return None


@sagemaker.command()
def decommission(
    match: Match = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
) -> None:
    """Remove archived resources one by one, each after its name was typed.

    Refuses while a resource is not archived or the history was not exported. Skipped resources can be removed later.
    """
    leaving = _exit(match)
    found = leaving.found()
    missing = {resource.key for resource in leaving.unarchived()}
    red = Markup("[red]not archived[/]")
    rows = [[resource.kind, resource.name, red if resource.key in missing else "archived"] for resource in found]
    console.print(table("in SageMaker", ["kind", "name", ""], rows))
    if dry_run or not found:
        return
    if missing:
        raise OperationRefused(f"{len(missing)} of {len(found)} are not archived; `fraudloop sagemaker archive` first")
    if "history" not in leaving.store():
        raise OperationRefused("the history was not exported; `fraudloop sagemaker export-history` first")
    for resource in found:
        if (
            typer.prompt(f"type {resource.name} to remove this {resource.kind}, anything else to keep it")
            == resource.name
        ):
            leaving.remove(resource)
            console.print(f"removed {resource.key}")
        else:
            console.print(f"kept {resource.key}")


def _exit(match: str) -> SageMakerExit:
    app = application()
    return SageMakerExit(app.client("sagemaker"), app.client("s3"), app.settings.artifacts_bucket, match)


def register(app: typer.Typer) -> None:
    """Add this command group."""
    app.add_typer(sagemaker, name="sagemaker", rich_help_panel="Production")
