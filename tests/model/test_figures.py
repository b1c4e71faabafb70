"""Metrics, threshold, bootstrap and slices equal what a plain reading of their definitions gives."""

import numpy as np
import polars as pl
import pytest
from graphs import graph
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from training.data.presets import preset
from training.evaluation import bootstrap, slices
from training.model import metrics, threshold
from training.model.config import TrainConfig

LABELS = np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0], dtype=np.int8)
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0], dtype=np.float32)


def random_scores(rows: int, seed: int, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Rare frauds with somewhat higher scores, rounded so that there are ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.1).astype(np.int8)
    labels[:2] = (0, 1)
    return labels, np.round(rng.normal(size=rows) + 1.5 * labels, digits).astype(np.float32)


def test_decision_counts() -> None:
    """From 0.7 on: three alarms, two of them frauds, of two frauds."""
    figures = metrics.decision(LABELS, SCORES, 0.7)
    assert figures == {"f1": 0.8, "precision": 2 / 3, "recall": 1.0, "accuracy": 0.9}
    assert metrics.decision(LABELS, SCORES, 2.0) == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "accuracy": 0.8}


def test_recall_within_a_budget() -> None:
    """With 8 others, no false alarm is allowed at 0.1 %: only the fraud above all of them counts."""
    assert metrics.recall_within(LABELS, SCORES) == dict.fromkeys(
        ("recall_at_fpr_0.001", "recall_at_fpr_0.005", "recall_at_fpr_0.01"), 0.5
    )


def test_daily_alerts_look_at_each_day_alone() -> None:
    """With one alert a day, a day's best score is looked at even if another day has ten better ones."""
    times = np.array([0] * 5 + [metrics.DAY] * 5)
    labels = np.array([0, 1, 0, 0, 0, 1, 0, 0, 0, 0], dtype=np.int8)
    figures = metrics.daily_alerts(labels, SCORES, times, 1)
    assert figures == {"precision_top_1_a_day": 0.5, "recall_top_1_a_day": 0.5}


def test_reliability_covers_every_row_once() -> None:
    """The bins' rows and frauds add up, and predicted rises from bin to bin."""
    labels, scores = random_scores(5000, 1)
    probability = 1 / (1 + np.exp(-scores))
    bins = metrics.reliability(labels, probability)
    assert sum(bin["rows"] for bin in bins) == 5000
    assert sum(bin["rows"] * bin["observed"] for bin in bins) == pytest.approx(labels.sum())
    predicted = [bin["predicted"] for bin in bins]
    assert predicted == sorted(predicted)


def test_roc_points_are_json_and_span_the_curve() -> None:
    """From (0, 0) to (1, 1), with finite thresholds, and no more points than the UI can draw."""
    points = metrics.roc_points(*random_scores(3000, 2), points=50)
    assert len(points) <= 50
    assert points[0][:2] == (0.0, 0.0)
    assert points[-1][:2] == (1.0, 1.0)
    assert np.isfinite(points).all()


@pytest.mark.parametrize(
    ("settings_", "chosen"),
    [
        ({"threshold_rule": "max_f1"}, 0.7),
        ({"threshold_rule": "fpr_budget", "fpr_budget": 0.1}, 0.9),
        ({"threshold_rule": "fpr_budget", "fpr_budget": 0.2}, 0.7),
        ({"threshold_rule": "cost", "missed_fraud_cost": 1.0, "false_alarm_cost": 10.0}, 0.9),
        ({"threshold_rule": "cost", "missed_fraud_cost": 100.0, "false_alarm_cost": 1.0}, 0.7),
    ],
)
def test_threshold_rules(settings_: dict[str, object], chosen: float) -> None:
    """Each rule, worked out by hand on ten transactions."""
    config = TrainConfig.from_dict(settings_)
    assert threshold.choose(LABELS, SCORES, np.ones(10), config) == pytest.approx(chosen)


def test_thinned_rows_count_for_those_left_out() -> None:
    """An other that stands for a hundred makes its alarm a hundred times as dear."""
    config = TrainConfig(threshold_rule="max_f1")
    weights = np.where(LABELS == 1, 1.0, 100.0)
    assert threshold.choose(LABELS, SCORES, weights, config) == pytest.approx(0.9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_the_ladder_is_exact(seed: int, digits: int) -> None:
    """Each transaction drawn once: the figures are scikit-learn's, with ties and all."""
    labels, scores = random_scores(200, seed, digits)
    ladder = bootstrap._Ladder.of(scores[labels == 1])
    cells, counts = np.unique(ladder.cell(scores[labels == 0]), return_counts=True)
    once = ladder.metrics(np.ones((1, int(labels.sum())), dtype=int), counts[None], cells)
    assert once.auc_roc[0] == pytest.approx(roc_auc_score(labels, scores))
    assert once.average_precision[0] == pytest.approx(average_precision_score(labels, scores))


def test_the_bootstrap_drawn_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many resamples are drawn at once changes memory, not one metric."""
    labels, scores = random_scores(400, 2)
    whole = bootstrap.resample(labels, [scores, -scores], 50, 3)
    monkeypatch.setattr(bootstrap, "CELLS", 700)
    for one, other in zip(whole, bootstrap.resample(labels, [scores, -scores], 50, 3), strict=True):
        assert np.array_equal(one.auc_roc, other.auc_roc)
        assert np.array_equal(one.average_precision, other.average_precision)


def test_the_bootstrap_is_that_of_the_rows() -> None:
    """Its spread is that of drawing whole rows one by one (stratified), within what chance allows."""
    labels, scores = random_scores(1500, 4)
    (fast,) = bootstrap.resample(labels, [scores], 2000, 1)
    rng = np.random.default_rng(2)
    parts = [np.flatnonzero(labels == kind) for kind in (0, 1)]
    plain = []
    for _ in range(600):
        drawn = np.concatenate([rng.choice(part, len(part)) for part in parts])
        plain.append(
            (roc_auc_score(labels[drawn], scores[drawn]), average_precision_score(labels[drawn], scores[drawn]))
        )
    for name, slow in zip(("auc_roc", "average_precision"), np.array(plain).T, strict=True):
        assert getattr(fast, name).mean() == pytest.approx(slow.mean(), abs=4 * slow.std() / np.sqrt(600))
        assert getattr(fast, name).std() == pytest.approx(slow.std(), rel=0.15)


def test_pairing_sees_what_two_intervals_cannot() -> None:
    """Against itself a model differs by exactly nothing; against a slightly worse one, by surely more."""
    labels, scores = random_scores(3000, 5)
    worse = (scores + np.random.default_rng(1).normal(size=3000)).astype(np.float32)
    same, other, itself = bootstrap.resample(labels, [scores, worse, scores.copy()], 1000, 1)
    assert bootstrap.difference(same.auc_roc, itself.auc_roc) == {"mean": 0.0, "low": 0.0, "high": 0.0}
    gained = bootstrap.difference(same.auc_roc, other.auc_roc)
    assert 0 < gained["low"] < gained["mean"] < gained["high"]


def test_slices_are_all_told_even_if_empty() -> None:
    """A slice without rows or frauds is named with None, so that a floor on it cannot be misspelt unseen."""
    made = graph([0, 1, 2, 3], [1, 1, 2, 3], [1, 2, 2, 2], split=[0, 0, 2, 2])
    table = pl.DataFrame({"clean_channel": [3, 1], "clean_mcc": [5411, 3000], "clean_cents": [-500, 12_345]})
    table = table.with_columns(clean_state=pl.Series(["CA", ""]))
    masks = dict(slices.masks(table, made, np.array([2, 3]), preset()))
    assert masks["state=CA"].tolist() == [True, False]
    assert masks["state=none"].tolist() == [False, True]
    assert masks["channel=online"].tolist() == [True, False]
    assert masks["mcc=travel"].tolist() == [False, True]
    assert masks["amount=refund"].tolist() == [True, False]
    assert masks["amount=100 and more"].tolist() == [False, True]
    assert masks["unseen card"].tolist() == [True, True]
    assert masks["unseen merchant"].tolist() == [False, False]
    labels, scores = np.array([1, 0], dtype=np.int8), np.array([0.9, 0.1], dtype=np.float32)
    empty = slices.metrics("x", masks["unseen merchant"], labels, scores)
    assert empty == {"name": "x", "rows": 0, "frauds": 0, "auc_roc": None, "average_precision": None}
    whole = slices.metrics("y", masks["unseen card"], labels, scores)
    assert whole == {"name": "y", "rows": 2, "frauds": 1, "auc_roc": 1.0, "average_precision": 1.0}


def test_every_mcc_and_amount_is_in_one_slice() -> None:
    """The bands have no gaps and no overlaps."""
    made = graph([0], [1], [1])
    codes = pl.DataFrame({"clean_mcc": range(10_000)}).with_columns(
        clean_channel=pl.lit(1), clean_state=pl.lit("CA"), clean_cents=pl.col("clean_mcc") * 7 - 10_000
    )
    masks = dict(slices.masks(codes, made, np.zeros(10_000, dtype=np.int64), preset()))
    for kind in ("mcc=", "amount=", "channel="):
        held = np.stack([mask for name, mask in masks.items() if name.startswith(kind)])
        assert (held.sum(axis=0) == 1).all()
