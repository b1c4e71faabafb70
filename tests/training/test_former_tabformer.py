"""TabFormer as a preset gives what the parser that knew only TabFormer gave: rows, features and scores.

`tests/cases/former` was made by the code before columns were declared (commit 45b279b): every 30th row of the data set
of `generate(3000, 11, fraud_rate=0.03)`, and a small model of it.
"""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.data import schema
from training.data.preprocess import Prepared, configured, prepare
from training.evaluation.reference_models import featurised, reference_scores
from training.graph.block import DEFINITION
from training.model.config import TrainConfig
from training.model.model import FraudModel, load
from training.synthetic import generate

FORMER = Path(__file__).parents[1] / "cases" / "former"
TODAY = date(2026, 11, 24)
DROPPED = {"mcc_risk", "state_risk"}  # docs/decisions/0017


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
    assert set(rows.columns) == {*former.columns, "known_at"} - DROPPED
    assert len(rows) == len(former) == 100
    for name in set(former.columns) - DROPPED:
        if former[name].dtype == pl.String:
            assert rows[name].cast(pl.String).to_list() == former[name].to_list(), name
        else:
            now = rows[name].cast(pl.Float64).fill_nan(0).to_numpy()  # an empty zip was 0
            assert np.allclose(now, former[name].cast(pl.Float64).to_numpy(), rtol=0, atol=1e-6), name


def test_a_model_of_then_is_read_and_not_scored(made: Prepared, tmp_path: Path) -> None:
    """Its trees know windows of seconds, and labels by their age: the gate stays closed and says so."""
    model = load(FORMER)
    assert model.encoders is None
    (tmp_path / "model").symlink_to(FORMER)
    said = reference_scores(str(tmp_path), made.folder)
    assert said == "ValueError: its windows and known labels are of definition 1, this release computes 3"


def present(made: Prepared) -> FraudModel:
    """A model of today whose schema is the data set's; it is never scored."""
    record = json.loads((made.folder / "schema.json").read_bytes())
    config = TrainConfig(groups=("row",))
    return replace(load(FORMER), config=config, row=tuple(record["features"]), schema=record, definition=DEFINITION)


def test_a_changed_declaration_is_another_definition(tmp_path: Path, file: Path, made: Prepared) -> None:
    """Its hash is another, and with it the cache's; the champion is scored by its own, if the data still give it."""
    wider = configured({"data": {"numbers": {"card_number": {"column": "Card"}}}})
    assert schema.definition(wider.data) != schema.definition()
    richer = prepare([file], tmp_path / "richer", wider, today=TODAY)
    assert richer.dataset["schema_sha256"] != made.dataset["schema_sha256"]
    assert featurised(richer.folder, present(made)).equals(featurised(made.folder, present(made)))


def test_a_champion_whose_columns_are_gone_is_not_scored(tmp_path: Path, file: Path, made: Prepared) -> None:
    """It says which tables it lacks, and that reason closes the gate."""
    present(made).save(tmp_path / "champion" / "model")
    poorer = configured({"data": {"categories": {"mcc": False}, "entities": {"merchant": {"whole": []}}}})
    dataset = prepare([file], tmp_path / "poorer", poorer, today=TODAY).folder
    said = reference_scores(str(tmp_path / "champion"), dataset)
    assert said == "ValueError: its data declares otherwise: entities.merchant, categories.mcc"
