"""TabFormer as a preset gives what the parser that knew only TabFormer gave: rows, features and scores.

`tests/cases/former` was made by the code before columns were declared (commit 45b279b): every 30th row of the data set
of `generate(3000, 11, fraud_rate=0.03)`, a small model of it, and that model's scores of the test rows.
"""

import json
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.data import schema
from training.data.preprocess import Prepared, configured, prepare
from training.evaluation.reference_models import reference_scores, score_test
from training.model.model import load
from training.synthetic import generate

FORMER = Path(__file__).parents[1] / "cases" / "former"
TODAY = date(2026, 11, 24)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("former") / "transactions.csv"
    generate(3000, 11, fraud_rate=0.03, start=date(2018, 1, 1)).write_csv(path)
    return path


@pytest.fixture(scope="module")
def made(file: Path) -> Prepared:
    return prepare([file], file.parent / "dataset", configured({}), today=TODAY)


def test_the_same_rows_and_features(made: Prepared) -> None:
    """Every column that there was is there, and says the same."""
    former = pl.read_parquet(FORMER / "rows.parquet")
    rows = pl.read_parquet(made.folder / "transactions.parquet").gather_every(30)
    assert set(rows.columns) == set(former.columns)
    assert len(rows) == len(former) == 100
    for name in former.columns:
        if former[name].dtype == pl.String:
            assert rows[name].cast(pl.String).to_list() == former[name].to_list(), name
        else:
            now = rows[name].cast(pl.Float64).fill_nan(0).to_numpy()  # an empty zip was 0
            assert np.allclose(now, former[name].cast(pl.Float64).to_numpy(), rtol=0, atol=1e-6), name


def test_a_model_of_then_scores_as_it_did(made: Prepared) -> None:
    """A champion whose schema.json declares nothing is TabFormer's: it is scored, within 1e-6."""
    expected = json.loads((FORMER / "scores.json").read_text())
    assert np.abs(score_test(load(FORMER), made.folder) - np.array(expected)).max() < 1e-6


def test_a_changed_declaration_is_another_definition(tmp_path: Path, file: Path, made: Prepared) -> None:
    """Its hash is another, and with it the cache's; the champion is scored by its own, if the data still give it."""
    wider = configured({"data": {"numbers": {"card_number": {"column": "Card"}}}})
    assert schema.definition(wider.data) != schema.definition()
    richer = prepare([file], tmp_path / "richer", wider, today=TODAY)
    assert richer.dataset["schema_sha256"] != made.dataset["schema_sha256"]
    expected = json.loads((FORMER / "scores.json").read_text())
    assert np.abs(score_test(load(FORMER), richer.folder) - np.array(expected)).max() < 1e-6


def test_a_champion_whose_columns_are_gone_is_not_scored(tmp_path: Path, file: Path) -> None:
    """It says which tables it lacks, and that reason closes the gate."""
    (tmp_path / "champion").mkdir()
    (tmp_path / "champion" / "model").symlink_to(FORMER)
    poorer = configured({"data": {"categories": {"mcc": False}, "entities": {"merchant": {"whole": []}}}})
    dataset = prepare([file], tmp_path / "poorer", poorer, today=TODAY).folder
    said = reference_scores(str(tmp_path / "champion"), dataset)
    assert said == "ValueError: its data declares otherwise: entities.merchant, categories.mcc"
