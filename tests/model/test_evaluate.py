"""The evaluate stage measures candidate and rivals on the same rows, and says why where it cannot."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from trained_model import Trained

from statemachine.contracts.gate import GatePolicy, gate
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.evaluation import baselines
from training.evaluation.evaluate import EvaluateConfig, evaluate, graph_adds
from training.evaluation.reference_models import featurised, score_test
from training.graph.history import Reader
from training.model.config import GROUPS, TrainConfig
from training.model.model import load
from training.model.train import train
from training.outcome import Permanent, StageResult

FEW = {"draws": 200, "baseline_rounds": 10}


def order(trained: Trained, out: Path, inputs: dict[str, str] | None = None, **parameters: Any) -> StageRequest:
    """An order to evaluate the small model."""
    given = {"dataset": str(trained.dataset), "model": str(trained.folder)} | (inputs or {})
    uri = f"{out}/runs/fraud-1/evaluate/1/0123456789ab"
    return StageRequest("fraud-1", "fraud", Stage.EVALUATE, 1, "0123456789ab", uri, given, FEW | parameters)


@pytest.fixture(scope="module")
def result(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> StageResult:
    """The small model, evaluated with itself as champion and with an anchor that has lost its weights."""
    out = tmp_path_factory.mktemp("out")
    shutil.copytree(trained.folder, out / "models" / "fraud" / "fraud-0-aaaaaaaa" / "model")
    shutil.copytree(trained.folder, out / "models" / "fraud" / "fraud-0-bbbbbbbb" / "model")
    (out / "models" / "fraud" / "fraud-0-bbbbbbbb" / "model" / "encoder.safetensors").write_bytes(b"torn")
    references = {
        "champion": f"{out}/models/fraud/fraud-0-aaaaaaaa",
        "anchor": f"{out}/models/fraud/fraud-0-bbbbbbbb/",
    }
    return evaluate(order(trained, out, references))


def test_the_evaluation_is_what_the_contract_says(result: StageResult, trained: Trained) -> None:
    """All of its keys, JSON without NaN, and the test split's own rows and frauds: nothing was thinned."""
    evaluation = result.details["evaluation"]
    json.dumps(evaluation, allow_nan=False)
    wanted = {"format", "rows", "frauds", "threshold", "metrics", "intervals", "champion", "anchor", "drift", "slices"}
    assert wanted | {"baselines"} <= set(evaluation)
    test = storage.read_json(str(trained.dataset / "dataset.json"))["splits"]["test"]
    assert (evaluation["rows"], evaluation["frauds"]) == (test["rows"], test["frauds"])
    named = {"auc_roc", "average_precision", "f1", "precision", "recall", "accuracy", "brier", "recall_at_fpr_0.001"}
    assert named <= set(evaluation["metrics"])
    for name, (low, high) in evaluation["intervals"].items():
        assert low <= evaluation["metrics"][name] <= high
    assert set(evaluation["baselines"]) == set(baselines.BASELINES)
    assert sum(s["rows"] for s in evaluation["slices"] if s["name"].startswith("channel=")) == test["rows"]


def test_rivals_are_paired_and_have_the_same_rounds(result: StageResult) -> None:
    """Each baseline again with the paired difference, which lies around the difference of the metrics."""
    evaluation = result.details["evaluation"]
    assert set(evaluation["rivals"]) == set(evaluation["baselines"])
    for name, rival in evaluation["rivals"].items():
        assert rival["metrics"] == evaluation["baselines"][name]
        assert rival["rounds"] == FEW["baseline_rounds"]
        for metric, gained in rival["difference"].items():
            plain = evaluation["metrics"][metric] - rival["metrics"][metric]
            assert gained["low"] <= gained["mean"] <= gained["high"]
            assert abs(gained["mean"] - plain) < 0.05
    assert EvaluateConfig().rounds(TrainConfig(head_rounds=7)) == 7


@pytest.mark.parametrize(("low", "verdict"), [(0.01, "adds"), (0.0, "not shown"), (-0.02, "not shown")])
def test_what_is_not_proven_is_not_claimed(low: float, verdict: str) -> None:
    """The graph network adds something only if the bound over the strongest rival is above zero."""
    rivals = {
        name: {"metrics": {"average_precision": precision}, "difference": {"average_precision": gained}}
        for name, precision, gained in (
            ("xgboost_row", 0.2, {"mean": 0.3, "low": 0.2, "high": 0.4}),
            ("xgboost_velocity_risk", 0.5, {"mean": 0.02, "low": low, "high": 0.04}),
        )
    }
    found = graph_adds(GROUPS, rivals)
    assert found is not None
    assert (found["rival"], found["low"], found["verdict"]) == ("xgboost_velocity_risk", low, verdict)
    assert (found["recommendation"] is None) == (verdict == "adds")
    assert "row, velocity, risk" in (found["recommendation"] or "row, velocity, risk")
    assert graph_adds(("row",), rivals) is None
    assert graph_adds(GROUPS, {}) is None


def test_a_model_against_itself_differs_by_nothing(result: StageResult) -> None:
    """The champion is scored from raw columns by its own schema; if that is the same model, so are all scores."""
    champion = result.details["evaluation"]["champion"]
    assert champion["version"] == "fraud-0-aaaaaaaa"
    assert champion["difference"]["auc_roc"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert champion["metrics"]["auc_roc"] == result.metrics["auc_roc"]


def test_a_rival_that_cannot_be_scored_closes_the_gate(result: StageResult) -> None:
    """It is named with the reason, and the gate does not pass."""
    evaluation = result.details["evaluation"]
    assert set(evaluation["anchor"]) == {"version", "error"}
    assert evaluation["anchor"]["version"] == "fraud-0-bbbbbbbb"
    verdict = gate(evaluation, GatePolicy(min_auc_roc=0.0, min_frauds=1))
    assert [check.name for check in verdict.checks if not check.passed] == ["anchor"]


def test_the_pages_hold_all_that_people_ask_for(result: StageResult) -> None:
    """One HTML file that loads nothing, with four curves, the checks, slices, baselines; and a card."""
    html = storage.read_bytes(result.outputs["report_html"]).decode()
    assert html == result.html
    assert html.count("<svg") >= 5
    assert not any(outside in html for outside in ("<script", "src=", 'href="http', "@import", "<link"))
    for word in ("The gate", "xgboost_velocity_risk", "channel=online", "fraud-0-bbbbbbbb", "does not pass"):
        assert word in html
    card = storage.read_bytes(result.outputs["model_card"]).decode()
    assert card.startswith("# fraud-1")
    assert "| auc_roc |" in card


def test_a_champion_is_read_with_its_own_schema(trained: Trained) -> None:
    """Other fitted shares in the champion's schema give other features of the same rows, and other scores."""
    schema = json.loads(json.dumps(dict(trained.model.schema)))
    encoding = schema["encodings"]["mcc"]
    encoding["share"] = [value + 1.0 for value in encoding["share"]]
    encoding["unseen_share"] += 1.0
    other = replace(trained.model, schema=schema)
    columns = ["mcc_share", "amount_log"]
    one, two = (featurised(trained.dataset, model).select(columns) for model in (trained.model, other))
    assert one["amount_log"].equals(two["amount_log"])
    assert np.allclose(one["mcc_share"].to_numpy() + 1, two["mcc_share"].to_numpy(), atol=1e-5)
    assert not np.array_equal(score_test(trained.model, trained.dataset), score_test(other, trained.dataset))


def test_features_are_the_data_sets_own(trained: Trained) -> None:
    """Featurising again from the clean columns gives the data set's features, bit for bit."""
    names = list(trained.model.row)
    again = featurised(trained.dataset, trained.model).select(names)
    assert again.equals(pl.read_parquet(trained.dataset / "transactions.parquet", columns=names))


def test_settings_are_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    """A typo does not silently leave a default."""
    with pytest.raises(Permanent, match="unknown drawz"):
        evaluate(order(trained, tmp_path, drawz=5))
    assert EvaluateConfig.from_dict({}).draws == 1000


def test_the_train_stage_leaves_a_model(dataset: Path, small: Any, tmp_path: Path) -> None:
    """Its output loads, its metrics are figures, and a second attempt goes on from the first one's checkpoint."""
    out = f"{tmp_path}/runs/fraud-1/train"
    inputs, parameters = {"dataset": str(dataset)}, small.as_dict()
    done = train(StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "aaaa", f"{out}/1/aaaa", inputs, parameters))
    assert storage.exists(f"{done.outputs['model']}/MANIFEST.json"), "a redrive from a later stage compares it"
    assert done.metrics["val_auc_roc"] > 0.5
    kept = sorted(path.name for path in Path(out).glob("checkpoints/*/*"))
    assert kept == ["encoder-0.pt", "encoder-1.pt"]
    again = train(StageRequest("fraud-1", "fraud", Stage.TRAIN, 2, "bbbb", f"{out}/2/bbbb", inputs, parameters))
    one, two = (Path(result.outputs["model"]) / "encoder.safetensors" for result in (done, again))
    assert one.read_bytes() == two.read_bytes()
    model = load(done.outputs["model"])
    assert model.config == small


def test_shapley_values_add_up(trained: Trained) -> None:
    """Base value plus values is the margin, and the margin is the score's log-odds."""
    from training.graph.graph import TEST, load_graph

    graph, config = load_graph(trained.dataset, trained.model.row), trained.model.config
    block = Reader(graph, config.k).block(graph.where(TEST)[:200])
    margin = trained.model.explain(block).sum(axis=1)
    assert np.allclose(1 / (1 + np.exp(-margin)), trained.model.score(block), atol=1e-5)


def test_scores_do_not_depend_on_the_batch(trained: Trained) -> None:
    """One by one or thousands at once: the same scores, bit for bit."""
    from training.graph.graph import TEST, load_graph

    graph, config = load_graph(trained.dataset, trained.model.row), trained.model.config
    reader, ids = Reader(graph, config.k), graph.where(TEST)
    together = trained.model.score(reader.block(ids))
    alone = np.concatenate([trained.model.score(reader.block(ids[n : n + 1])) for n in range(300)])
    assert np.array_equal(together[:300], alone)
