"""`compare --rescore`: two models on the same rows, at each one's threshold, by segment."""

from dataclasses import replace

import numpy as np
import pytest

from cli.commands.rescoring import differences, rescore
from training.model.model import load


def test_a_model_is_no_better_than_itself(trained):
    """Equal figures, and each difference is exactly zero: the resamples are the same rows for both."""
    told = rescore(str(trained.folder), str(trained.folder), str(trained.dataset))
    assert all(one == other for one, other in told["metrics"].values())
    assert all(set(figure.values()) == {0.0} for figure in told["difference"].values())
    assert sum(piece["rows"][0] for piece in told["segments"] if piece["name"].startswith("channel=")) > 0
    assert all(len(set(piece["recall"])) == 1 for piece in told["segments"])


def test_another_threshold_changes_what_is_decided_and_not_the_ranking(trained, tmp_path):
    """Alarms on everything: recall 1, at each one's own threshold."""
    model = load(trained.folder)
    replace(model, threshold=0.0).save(tmp_path / "eager")
    told = rescore(str(trained.folder), str(tmp_path / "eager"), str(trained.dataset))
    assert told["thresholds"] == [model.threshold, 0.0]
    assert told["metrics"]["recall"][1] == 1.0
    assert told["difference"]["auc_roc"]["mean"] == 0.0
    assert told["difference"]["precision"]["mean"] < 0


@pytest.mark.parametrize("better", [True, False])
def test_paired_differences_have_the_sign_of_the_better_one(better):
    """One model finds 80 of 100 frauds, the other 40, with the same 50 false alarms: the interval leaves zero out."""
    labels = np.zeros(10_000, np.int8)
    labels[:100] = 1
    low, high = np.zeros(10_000, np.float32), np.zeros(10_000, np.float32)
    low[:40], high[:80] = 1.0, 1.0
    low[100:150] = high[100:150] = 1.0
    told = differences(labels, [low, high] if better else [high, low], [0.5, 0.5])
    recall = told["recall"]
    assert recall["mean"] == pytest.approx(0.4 if better else -0.4, abs=0.02)
    assert recall["low"] > 0.25 if better else recall["high"] < -0.25
    assert told["f1"]["mean"] * (1 if better else -1) > 0
