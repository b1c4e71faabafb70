"""Each known shape goes from a file to a data set, a model and an exported version whose golden requests hold."""

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from declared_files import CASES, SHAPES, larger

from training.data.checks import Limits
from training.data.declared import declared
from training.data.judging import judge
from training.data.preprocess import Prepared, configured, prepare
from training.export.export import build
from training.export.golden import Golden
from training.graph.graph import TEST, load_graph
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.model import load
from training.model.train import train_model
from training.outcome import Refused
from training.serving import adapter
from training.serving.config_pbtxt import VERSION
from training.serving.request import history_input

TODAY = date(2026, 11, 27)
TINY = TrainConfig(k=4, fan_out=2, folds=2, epochs=1, hidden_dim=4, head_rounds=8, negative_ratio=5, threads=1)
THREE = {  # of Sparkov's file: a second entity of two columns, one of which is another's as well
    "preset": "sparkov",
    "entities": {"job": {"columns": ["job"]}, "card_at_merchant": {"columns": ["merchant", "cc_num"]}},
    "salt": "a model of its own",
}
ONE = {"preset": "handbook", "entities": {"terminal": False}}
CASES_OF = [*((name, SHAPES[name][0]) for name in SHAPES), ("sparkov", THREE), ("fdh", ONE)]


def made_of(file: Path, table: dict[str, Any], folder: Path, labels: Sequence[Path] = ()) -> Prepared:
    """The data set of one file under a declaration."""
    settings = {"min_rows": 100, "label_delay_days": 5, "label_maturity_days": 5, "max_duplicate_share": 0.5}
    return prepare([file], folder / "dataset", configured(settings | {"data": table}), today=TODAY, labels=labels)


@pytest.mark.parametrize("name", SHAPES)
def test_the_case_itself_is_accepted(name: str, tmp_path: Path) -> None:
    """The small file of each shape is judged good under its declaration, all 300 rows of it."""
    verdict = judge(CASES / f"{name}.csv", tmp_path / "clean", Limits(), tmp_path, None, declared(SHAPES[name][0]))
    assert (verdict.problems, verdict.rows) == ((), 300)


@pytest.mark.parametrize("name", [name for name in SHAPES if not SHAPES[name][0].get("preset")])
def test_a_variant_is_refused_without_its_change(name: str, tmp_path: Path) -> None:
    """What the change admits is no TabFormer: the test above could fail."""
    assert not judge(CASES / f"{name}.csv", tmp_path / "clean", Limits(), tmp_path).accepted


@pytest.mark.parametrize(("name", "table"), CASES_OF, ids=[*SHAPES, "three relations", "one relation"])
def test_from_a_file_to_a_version_that_answers(name: str, table: dict[str, Any], tmp_path: Path) -> None:
    """The exported code, loaded from the version, gives the golden answers that were computed from the data set."""
    _served(made_of(larger(name, tmp_path), table, tmp_path), table, tmp_path)


def test_from_labels_that_come_later_to_a_version_that_answers(tmp_path: Path) -> None:
    """The file has no label column; reports say what it said, each five days after its payment."""
    file, table = larger("fdh", tmp_path), {"preset": "handbook", "label": False}
    rows = pl.read_csv(file)
    booked = pl.col("TX_DATETIME").str.to_datetime("%Y-%m-%d %H:%M:%S") + pl.duration(days=5)
    frauds = rows.filter(pl.col("TX_FRAUD") == 1)
    reported = frauds.select("TRANSACTION_ID", fraud=pl.lit(1), reported_at=booked.dt.strftime("%Y-%m-%d %H:%M:%S"))
    rows.drop("TX_FRAUD").write_csv(tmp_path / "bare.csv")
    reported.write_csv(tmp_path / "chargebacks.csv")
    made = made_of(tmp_path / "bare.csv", table, tmp_path, [tmp_path / "chargebacks.csv"])
    assert made.dataset["labels"]["delay_median_days"] == 5
    _served(made, table, tmp_path)


def _served(made: Prepared, table: dict[str, Any], tmp_path: Path) -> None:
    train_model(made.folder, TINY, StoredCheckpoints(str(tmp_path / "checkpoints")), lambda *_: None).save(
        tmp_path / "model"
    )
    version = build(tmp_path / "version", tmp_path / "model", made.folder, "fraud-1")
    golden = Golden.from_dict(json.loads((tmp_path / "version" / "golden.json").read_text()))
    for exchange in golden.exchanges:
        folder = tmp_path / "version" / "repository" / exchange.model / "1" / "model"
        served = adapter.load(exchange.model, folder, {VERSION: version})
        (answer,) = served.answer([exchange.inputs], [frozenset()])
        assert not isinstance(answer, Exception), answer
        for output, expected in exchange.outputs.items():
            if expected.dtype == np.object_:
                assert np.array_equal(answer[output], expected), output
            else:
                assert np.allclose(answer[output], expected, atol=golden.tolerance), output
    scored = golden.exchanges[0]
    sides = declared(table).relations
    assert {history_input(side) for side in sides} == {input for input in scored.inputs if input.endswith("_HISTORY")}
    config = (tmp_path / "version" / "repository" / "fraud_score" / "config.pbtxt").read_text()
    assert all(f'name: "{history_input(side)}"' in config for side in sides)
    assert load(tmp_path / "model").sides == sides
    assert len(load_graph(made.folder, ()).where(TEST)) > 20


def test_without_any_label_the_refusal_names_what_would_admit_it(tmp_path: Path) -> None:
    """A file whose labels are all unknown is accepted, and no data set is made of it: the reason names the settings."""
    with pytest.raises(
        Refused, match=r"0 with known labels.*(min_rows).*300 rows have no label.*label_maturity_days is 30"
    ):
        prepare([CASES / "nolabel.csv"], tmp_path / "d", configured({"data": SHAPES["nolabel"][0]}), today=TODAY)


def test_an_unknown_label_is_in_the_graph_and_in_no_split(tmp_path: Path) -> None:
    """Rows whose label is empty teach histories and volumes; they are neither trained nor tested on."""
    file = larger("nolabel", tmp_path)
    table = pl.read_csv(file, infer_schema=False)
    odd = pl.int_range(pl.len()) % 3 == 0
    table.with_columns(pl.when(odd).then(pl.lit("")).otherwise("Is Fraud?").alias("Is Fraud?")).write_csv(file)
    made = made_of(file, SHAPES["nolabel"][0], tmp_path)
    rows = pl.read_parquet(made.folder / "transactions.parquet")
    unknown = rows.filter(pl.col("label") == -1)
    assert made.dataset["rows"] == 900 == len(rows)
    assert len(unknown) >= 300
    assert unknown["split"].unique().to_list() == [3]


def test_entities_have_other_keys_under_another_salt(tmp_path: Path) -> None:
    """The salt is part of the key; the codes of the graph stay the same partition."""
    file = larger("fdh", tmp_path)
    tables = [
        pl.read_parquet(
            made_of(file, {"preset": "handbook", "salt": salt}, tmp_path / salt).folder / "transactions.parquet"
        )
        for salt in ("one", "two")
    ]
    assert tables[0]["customer_key"].n_unique() == tables[1]["customer_key"].n_unique() == 50
    assert not set(tables[0]["customer_key"].to_list()) & set(tables[1]["customer_key"].to_list())
