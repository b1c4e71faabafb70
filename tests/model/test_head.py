"""The boosted head: probabilities of natural prevalence, deterministic files, no pickle."""

from dataclasses import replace

import numpy as np
import pytest

from training.model import head
from training.model.config import TrainConfig

CONFIG = TrainConfig(head_rounds=60, head_learning_rate=0.2, head_subsample=1.0, head_colsample=1.0, threads=1)
NAMES = [f"f{n}" for n in range(4)]


def rows(count: int, seed: int, keep: float = 1.0) -> head.Sample:
    """About 2 % frauds that the first two features tell of; of the others only the share `keep` stays."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 4)).astype(np.float32)
    y = (rng.random(count) < 1 / (1 + np.exp(6 - 2 * x[:, 0] - 2 * x[:, 1]))).astype(np.int8)
    stays = (y == 1) | (rng.random(count) < keep)
    return head.Sample(x[stays], y[stays], keep)


@pytest.mark.parametrize("base_score", [0.5, 0.02])
def test_thinned_seeds_still_give_natural_probabilities(base_score: float) -> None:
    """Trained with a tenth of the others, the mean probability on whole data is the fraud rate, not ten times it."""
    whole, config = rows(20_000, 2), replace(CONFIG, head_base_score=base_score)
    booster = head.fit_head(rows(20_000, 1, keep=0.1), rows(20_000, 3), NAMES, config)
    assert head.predict(booster, whole.inputs).mean() == pytest.approx(whole.labels.mean(), rel=0.4)


def test_moving_the_base_changes_no_order() -> None:
    """The correction adds a constant to the margin: odds shrink by the factor, the ranking stays."""
    x = rows(500, 4).inputs
    booster = head.fit_head(rows(5000, 1), rows(5000, 3), NAMES, CONFIG)
    before, after = head.predict(booster, x), head.predict(head.prior_corrected(booster, 0.1), x)
    odds = (after / (1 - after)) / (before / (1 - before))
    assert np.allclose(odds, 0.1, rtol=1e-3)
    explained = head.contributions(head.prior_corrected(booster, 0.1), x)
    assert np.allclose(1 / (1 + np.exp(-explained.sum(axis=1))), after, atol=1e-6)


def test_the_same_seed_gives_the_same_file() -> None:
    """Byte for byte, and it is read back to the same scores."""
    one, two = (head.fit_head(rows(5000, 1), rows(5000, 3), NAMES, CONFIG) for _ in range(2))
    assert one.save_raw("json") == two.save_raw("json")
    x = rows(100, 5).inputs
    again = head.load_booster(bytes(one.save_raw("json")))
    assert np.array_equal(head.predict(one, x), head.predict(again, x))


def test_no_more_trees_than_validation_wants() -> None:
    """Early stopping cuts the trees after the best one off."""
    config = replace(CONFIG, head_rounds=500, head_patience=5)
    booster = head.fit_head(rows(3000, 1), rows(3000, 3), NAMES, config)
    assert 0 < booster.num_boosted_rounds() < 400


def test_validation_chooses_the_depth() -> None:
    """Where the configuration leaves it open, the booster is the one of the depth with the lower validation loss."""
    train, later = rows(4000, 1), rows(4000, 3)
    each = {depth: head.fit_head(train, later, NAMES, replace(CONFIG, head_max_depth=depth)) for depth in head.DEPTHS}
    chosen = head.fit_head(train, later, NAMES, CONFIG).save_raw("json")
    found = [depth for depth, booster in each.items() if booster.save_raw("json") == chosen]
    losses = {depth: _loss(head.predict(booster, later.inputs), later.labels) for depth, booster in each.items()}
    assert found == [min(losses, key=lambda depth: losses[depth])]


def _loss(scores: np.ndarray, labels: np.ndarray) -> float:
    return -float(np.log(np.where(labels == 1, scores, 1 - scores)).mean())
