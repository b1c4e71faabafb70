"""`baseline import`: a SageMaker training job as a baseline file with provenance."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError

from cli.commands import cost_queries
from cli.output import Json, console, emit, plain
from statemachine.contracts.errors import OperationRefused, Unreachable
from statemachine.reporting.parity import TOLERANCES, Baseline, Measured
from statemachine.reporting.prices import Prices

baseline = typer.Typer(help="Measured figures to be held against, with provenance.", no_args_is_help=True)
ALIASES = {"auc_roc": ("auc_roc", "roc_auc", "auc"), "f1": ("f1_score", "f1"), "accuracy": ("accuracy", "acc")}
JOB = re.compile(r"arn:[^:]+:sagemaker:[^:]+:\d*:training-job/.")
SEEDS = ("seed", "random_seed", "random_state")


@baseline.command("import")
def import_job(
    training_job: Annotated[str, typer.Option(help="The training job's ARN.")],
    out: Annotated[Path, typer.Option(help="The baseline file.")] = Path("baseline.json"),
    data_sha256: Annotated[str, typer.Option(help="The data's hash, if the job does not name it itself.")] = "",
    seed: Annotated[int | None, typer.Option(help="The seed, if it is no hyper-parameter of the job.")] = None,
    prices: Annotated[Path | None, typer.Option(help="A TOML file with a [prices] table.")] = None,
    as_json: Json = False,
) -> None:
    """Read metrics, duration, instance, data and seed of a SageMaker training job.

    Example: `fraudloop baseline import --training-job arn:aws:sagemaker:…:training-job/fraud-2025-06`
    """
    if not JOB.match(training_job):
        raise typer.BadParameter(f"{training_job!r} is no ARN of a training job", param_hint="--training-job")
    client = boto3.client("sagemaker", region_name=training_job.split(":")[3])
    made = read_job(client, training_job, cost_queries.prices(prices), data_sha256, seed)
    out.write_text(made.dumps())
    if as_json:
        return emit(plain(made))
    console.print(f"{out}: {made.measured.metrics}, {made.measured.training_seconds:.0f} s on {made.instance_type}")
    return None


def read_job(client: Any, arn: str, prices: Prices, data_sha256: str = "", seed: int | None = None) -> Baseline:
    """Build the baseline from a completed training job.

    Raises:
        OperationRefused: the job has not completed, or metrics, data hash or seed are unknown; no value is invented.
        Unreachable: SageMaker did not answer.
    """
    try:
        job = client.describe_training_job(TrainingJobName=arn.rsplit("/", 1)[-1])
        tags = {tag["Key"]: tag["Value"] for tag in client.list_tags(ResourceArn=arn)["Tags"]}
        who = boto3.client("sts").get_caller_identity()["Arn"]
    except (ClientError, BotoCoreError) as error:
        raise Unreachable(f"SageMaker: {error}") from error
    if job["TrainingJobStatus"] != "Completed":
        raise OperationRefused(f"{arn} is {job['TrainingJobStatus']}; only a completed job is a baseline")
    settings = job.get("HyperParameters", {})
    seconds = (job["TrainingEndTime"] - job["TrainingStartTime"]).total_seconds()
    measured = Measured(
        _metrics(job.get("FinalMetricDataList", ())),
        seconds,
        _known(
            "the data's hash", data_sha256 or tags.get("data_sha256") or settings.get("data_sha256"), "--data-sha256"
        ),
        int(_known("the seed", seed if seed is not None else _seed(settings), "--seed")),
    )
    resources = job["ResourceConfig"]
    billed = float(job.get("BillableTimeInSeconds", seconds))
    return Baseline(
        measured=measured,
        source={"kind": "sagemaker training job", "arn": arn, "imported_by": who, "imported_at": _now()},
        instance_type=resources["InstanceType"],
        instance_count=int(resources["InstanceCount"]),
        billable_seconds=billed,
        cost_dollars=_dollars(resources, billed, prices),
        image=job["AlgorithmSpecification"].get("TrainingImage", ""),
        hyperparameters=dict(settings),
    )


def _metrics(listed: Any) -> dict[str, float]:
    """Return accuracy, F1 and AUC under any prefix in the job's definitions (`test:auc`, `val_auc_roc`)."""
    found: dict[str, float] = {}
    for name, aliases in ALIASES.items():
        for metric in listed:
            words = re.sub(r"^(test|validation|valid|val|eval)[:_]", "", str(metric["MetricName"]).lower())
            if words in aliases:
                found[name] = float(metric["Value"])
    if missing := sorted(set(TOLERANCES) - set(found)):
        names = [metric["MetricName"] for metric in listed]
        raise OperationRefused(f"the job's final metrics {names} lack {', '.join(missing)}; a baseline needs them")
    return found


def _seed(settings: Mapping[str, str]) -> str | None:
    own = {**json.loads(settings.get("parameters", "{}")), **settings}
    return next((str(own[name]) for name in SEEDS if name in own), None)


def _known(what: str, value: Any, option: str) -> str:
    if value is None or value == "":
        raise OperationRefused(f"{what} is not recorded in the job; pass {option}, because a comparison needs it")
    return str(value)


def _dollars(resources: Mapping[str, Any], billed: float, prices: Prices) -> float | None:
    hourly = prices.sagemaker.get(resources["InstanceType"])
    return None if hourly is None else hourly * billed / 3600 * int(resources["InstanceCount"])


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def register(app: typer.Typer) -> None:
    """Add this command group."""
    app.add_typer(baseline, name="baseline", rich_help_panel="Production")
