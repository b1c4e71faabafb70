"""The Handbook's simulator, written again from its rules, gives what the book says of its own file."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from benchmarks.handbook import DAYS, LIMIT, generate
from training.data.preprocess import configured, prepare

ROWS = 100_000


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    return generate(ROWS, 3)


def test_the_shares_are_the_books(rows: pl.DataFrame) -> None:
    """0.84 % frauds in 1,754,155 rows of 183 days and a mean amount of 53.6; every amount above 220 is a fraud."""
    assert len(rows) == pytest.approx(ROWS, rel=0.2)
    assert rows["TX_FRAUD"].mean() == pytest.approx(0.0084, rel=0.35)
    assert rows["TX_AMOUNT"].mean() == pytest.approx(53.6, rel=0.15)
    assert rows.filter(pl.col("TX_AMOUNT") > LIMIT)["TX_FRAUD"].min() == 1
    assert rows["TX_DATETIME"].is_sorted()
    assert rows["TX_DATETIME"].str.slice(0, 10).n_unique() == DAYS


def test_frauds_come_in_runs_of_terminals_and_customers(rows: pl.DataFrame) -> None:
    """A terminal that was taken over has only frauds for 28 days, so few terminals have most of the small frauds."""
    small = rows.filter((pl.col("TX_FRAUD") == 1) & (pl.col("TX_AMOUNT") < 60))
    per_terminal = small.group_by("TERMINAL_ID").len()["len"]
    assert per_terminal.filter(per_terminal >= 5).sum() > len(small) / 2
    assert len(per_terminal) < rows["TERMINAL_ID"].n_unique() / 2


def test_a_seed_is_a_data_set(rows: pl.DataFrame) -> None:
    """The same seed gives the same rows, another seed others."""
    assert generate(ROWS, 3).equals(rows)
    assert not generate(ROWS, 4).equals(rows)


def test_the_preset_reads_it(tmp_path: Path, rows: pl.DataFrame) -> None:
    """Every row is taken."""
    rows.write_csv(tmp_path / "rows.csv", float_precision=2)
    settings = configured({"data": {"preset": "handbook"}, "label_maturity_days": 7, "label_delay_days": 7})
    made = prepare([tmp_path / "rows.csv"], tmp_path / "dataset", settings, today=date(2026, 1, 1))
    assert sum(part["rows"] for part in made.dataset["splits"].values()) == len(rows)
