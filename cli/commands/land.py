"""`land`: put files, or the payments that were scored live, where a model's data arrive."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer

from cli.connection import application, known
from cli.output import Json, console, emit
from statemachine.bootstrap import App
from statemachine.contracts.errors import Misconfigured, OperationRefused
from statemachine.core.policy import Policy
from statemachine.core.window import Object, admit
from training import storage

DAYS, MOST_DAYS = 7, 400  # the log is kept no longer
SAID = {
    "landed": "landed {uri}: {payments:,} payments",
    "there": "{uri} is there already",
    "open": "{day} is not landed yet: the archiver has not made it one file, as it does after midnight UTC",
    "empty": "{day} is not landed: of its {without:,} answers none has a line of the declared columns; see `--help`",
    "refused": "{day} is not landed, because the file would be quarantined: {why}",
    "failed": "{day} is not landed: {why}, for {uri}",
}


def land(
    files: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="CSV (also gzipped) or Parquet files in the model's columns."),
    ] = None,
    model: Annotated[str, typer.Option(help="The model whose prefix they go under.")] = "fraud",
    labels: Annotated[
        bool, typer.Option("--labels", help="They are reports of fraud: upload them under the model's labels_prefix.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite what is there under the same name: it then teaches no more.")
    ] = False,
    scores: Annotated[
        bool,
        typer.Option("--scores", help="In place of files: the payments that were scored live, a file for each day."),
    ] = False,
    days: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_DAYS, help=f"With --scores: how many days before today are looked at, {DAYS} if not said."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Upload files into the data bucket, under the model's prefix, as any producer of data would.

    S3 emits "Object Created". The objects join the open window, and a run begins when it closes. A file that would be
    ignored or quarantined at once, or whose name is taken, is refused before any is uploaded. Example:
    `fraudloop land day.csv`

    With `--scores` it lands the payments of the score log, each day once; run it each day. It takes the lines that are
    logged where Triton has FRAUDLOOP_LIVE_LOG_LINES=1 and serves a version of the columns declared now. It ends with
    status 1 if a day failed or is refused, if yesterday has no line, or if a day is open for two days.
    """
    if scores != (not files) or (scores and (labels or replace)) or (days and not scores):
        raise Misconfigured("name files to land, or --scores alone: it finds its days itself")
    app = application()
    if scores:
        return _show(_scored(app, known(app, model), days or DAYS), as_json)
    files = files or []
    policy, bucket, s3 = app.policies[known(app, model)], app.settings.data_bucket, boto3.client("s3")
    prefix = policy.labels_prefix if labels else policy.prefix
    _refuse_lost(files, prefix, bucket, app.policies)
    if not replace:
        _refuse_taken(files, prefix, bucket, s3)
    landed = []
    for file in files:
        key = prefix + file.name
        s3.upload_file(str(file), bucket, key)
        landed.append(f"s3://{bucket}/{key}")
    if as_json:
        return emit(landed)
    for uri in landed:
        console.print(f"landed {uri}")
    quiet = f"{policy.intake.quiet_period:.0f} quiet seconds"
    console.print(f"the window closes after {quiet}; `fraudloop start {model}` closes it now")
    return None


def _refuse_lost(files: Sequence[Path], prefix: str, bucket: str, policies: Mapping[str, Policy]) -> None:
    """Raises OperationRefused if a file would teach no run, whatever it holds."""
    for file in files:
        admission = admit(Object(bucket, prefix + file.name, "", size=file.stat().st_size), bucket, policies)
        if admission.reason:
            fate = "ignored" if admission.ignored else "quarantined"
            raise OperationRefused(f"{file} would be {fate}: {admission.reason}; nothing was uploaded")


def _refuse_taken(files: Sequence[Path], prefix: str, bucket: str, s3: Any) -> None:
    """Raises OperationRefused if an object has the name of a file, or two files have one name."""
    twice = [name for name, times in Counter(file.name for file in files).items() if times > 1]
    if twice:
        raise OperationRefused(f"two files are called {twice[0]}: one would overwrite the other; rename one")
    for file in files:
        key = prefix + file.name
        if storage.listed(s3, bucket, key):
            told = "nothing was uploaded; rename the file, or overwrite it with --replace"
            raise OperationRefused(f"s3://{bucket}/{key} is there already; {told}")


def _scored(app: App, model: str, days: int) -> list[Any]:
    """What became of the last days of the model's score log (`training.scorelog.landing.LandedDay`)."""
    from training.data.checks import Limits
    from training.data.declared import declared
    from training.scorelog.files import ScoreFiles
    from training.scorelog.landing import Landing

    policy = app.policies[model]
    given = policy.parameters.get("preprocess", {})
    data = declared(given.get("data", {}), f"[models.{model}] data")
    named = {"min_rows": "min_file_rows", "max_duplicate_share": "max_duplicate_share", "order": "order"}
    limits = Limits(**{name: given[setting] for name, setting in named.items() if setting in given})
    files, bucket, s3 = ScoreFiles(policy.root, model), app.settings.data_bucket, boto3.client("s3")
    return Landing(files, data, limits, bucket, policy.prefix, s3).land(_today(), days)


def _today() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _show(found: Sequence[Any], as_json: bool) -> None:
    if as_json:
        emit([asdict(one) for one in found])
    elif not found:
        console.print("no payment was scored live in these days, or none is archived yet")
    for one in () if as_json else found:
        console.print(SAID[one.state].format(**asdict(one)))
        if one.state == "landed" and one.without:
            console.print(f"  without {one.without:,} payments whose answers were logged with no line of these columns")
        if one.state == "landed" and one.repeated:
            console.print(f"  {one.repeated:,} more lines were logged of payments that are in it (docs/score-log.md)")
    yesterday = (date.fromisoformat(_today()) - timedelta(days=1)).isoformat()
    if any(_wrong(one, yesterday) for one in found):
        raise typer.Exit(1)


def _wrong(one: Any, yesterday: str) -> bool:
    match one.state:
        case "empty":
            return bool(one.day == yesterday and one.without)
        case "open":
            return bool(one.day < yesterday)
    return one.state in ("failed", "refused")


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Runs")(land)


if __name__ == "__main__":  # deploy/live: its image holds what this command needs, not what all of them do
    typer.run(land)
