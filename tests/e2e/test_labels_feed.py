"""Labels arrive only through the feed: payments land, then their chargebacks, and a run makes a version of both."""

import json
import os
import time
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from local.state_dir import StateDir
from local.system import System, SystemOptions
from simulation import quick_stages
from statemachine.bootstrap import bootstrap
from statemachine.contracts.object_kind import ObjectKind
from statemachine.core.window import Status

ROWS, DAYS, FRAUD = 2000, 120, 40  # every 40th payment is reported
REGISTRY = Path(__file__).with_name("deaths.toml").read_text().split("[models.fraud.parameters]")[0]
DECLARED = """
[models.fraud.data]
preset = "handbook"
label = false
[models.fraud.parameters.preprocess]
min_rows = 100
label_maturity_days = 10
"""


def payments(folder: Path) -> Path:
    """A file without a label column."""
    number = range(ROWS)
    second = [n * DAYS * 86_400 // ROWS for n in number]
    columns = {
        "TRANSACTION_ID": [str(n) for n in number],
        "TX_DATETIME": pl.from_epoch(pl.Series([1_546_300_800 + s for s in second])).dt.strftime("%Y-%m-%d %H:%M:%S"),
        "CUSTOMER_ID": [str(n % 50) for n in number],
        "TERMINAL_ID": [str(n % 37) for n in number],
        "TX_AMOUNT": [f"{n % 90 + 1}.50" for n in number],
    }
    pl.DataFrame(columns).write_csv(folder / "payments.csv")
    return folder / "payments.csv"


def chargebacks(folder: Path, name: str, numbers: list[int], fraud: int = 1) -> Path:
    """Reports of these payments, 6 days after each; one of a payment that never came."""
    at = [1_546_300_800 + n * DAYS * 86_400 // ROWS + 6 * 86_400 for n in numbers]
    named = [str(n) for n in numbers]
    pl.DataFrame({"TRANSACTION_ID": named, "fraud": [fraud] * len(numbers), "reported_at": at}).write_csv(folder / name)
    return folder / name


def fraudloop(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


def ended(run_id: str):
    until = time.monotonic() + 240
    while time.monotonic() < until:
        run = bootstrap().store.load(run_id)
        if run is not None and run.state.terminal:
            return run
        time.sleep(0.3)
    raise AssertionError(f"{run_id} does not end: {run}")


@pytest.mark.timeout(420)
def test_labels_that_come_later_make_and_correct_a_version(tmp_path, monkeypatch):
    """Refused without labels; a version with them; a night with a correction alone trains again, and says so."""
    registry = tmp_path / "registry.toml"
    registry.write_text(REGISTRY + DECLARED)
    stages = tuple(stage for stage in quick_stages.LEARNING if stage != "preprocess")
    options = SystemOptions(registry, 2.0, environment=quick_stages.environment(stages))
    with System(StateDir(tmp_path / "home"), options, say=print) as system:
        for name, value in (os.environ | system.endpoints.environment).items():
            monkeypatch.setenv(name, value)
        fraudloop("land", str(payments(tmp_path)))
        run = ended("fraud-1")
        assert (run.state.value, "no labels file was accepted" in run.reason) == ("REJECTED", True), run.reason

        told = [*range(0, ROWS, FRAUD), ROWS + 5]
        fraudloop("land", str(chargebacks(tmp_path, "monday.csv", told)), "--labels")
        run = ended("fraud-2")
        assert run.state.value == "SUCCEEDED", run.reason
        assert (run.metrics["rows"], run.metrics["reports"], run.metrics["reports_waiting"]) == (ROWS, ROWS // FRAUD, 1)
        kinds = {one.key: (one.kind, one.status) for one in bootstrap().intake.objects("fraud")}
        assert kinds == {
            "data/fraud/payments.csv": (ObjectKind.DATA, Status.ACCEPTED),
            "labels/fraud/monday.csv": (ObjectKind.LABELS, Status.ACCEPTED),
        }
        dataset = json.loads(_read(f"{run.outputs['preprocess']['dataset'].uri}/dataset.json"))
        assert dataset["labels"]["delay_median_days"] == 6
        assert sum(part["frauds"] for part in dataset["splits"].values()) == ROWS // FRAUD

        fraudloop("land", str(chargebacks(tmp_path, "withdrawn.csv", [40, 80], 0)), "--labels")
        run = ended("fraud-3")
        assert run.state.value == "SUCCEEDED", run.reason
        assert run.metrics["labels_corrected"] == 2
        assert "2 labels corrected" in fraudloop("show", "fraud-3")


def _read(uri: str) -> str:
    from local.aws.resources import client

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return client("s3", os.environ["AWS_ENDPOINT_URL"]).get_object(Bucket=bucket, Key=key)["Body"].read().decode()
