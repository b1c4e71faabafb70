"""`data check --labels` says what is odd about a labels file beside the files that it reports of."""

from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from training.synthetic import generate

IDENTITY = ("User", "Card", "Year", "Month", "Day", "Time", "Amount", "Merchant Name")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that a run could train on."""
    file = tmp_path_factory.mktemp("day") / "day.csv"
    generate(4000, 8, fraud_rate=0.05).write_csv(file)
    return file


def checked(day: Path, labels: Path) -> str:
    result = CliRunner().invoke(app, ["data", "check", str(day), "--labels", str(labels), "--data", "tabformer"])
    assert result.exit_code == 0, result.output
    return " ".join(result.stdout.split())


def test_reports_that_name_no_transaction_are_told(day: Path, tmp_path: Path) -> None:
    """A risk manager would take their silence for success."""
    reports = pl.read_csv(day).head(20).select(*IDENTITY, pl.lit("Yes").alias("Is Fraud?"))
    reports.with_columns(User=pl.lit(999_999)).write_csv(tmp_path / "odd.csv")
    assert "20 reports name no transaction of these files" in checked(day, tmp_path / "odd.csv")
    reports.write_csv(tmp_path / "right.csv")
    assert "name no transaction" not in checked(day, tmp_path / "right.csv")


def test_a_refused_labels_file_is_told(day: Path, tmp_path: Path) -> None:
    """A run could train on the rest, so the status is 0; the file is named."""
    (tmp_path / "bad.csv").write_text("User,Card\n1,2\n")
    assert "bad.csv is refused, so its reports count for nothing" in checked(day, tmp_path / "bad.csv")
