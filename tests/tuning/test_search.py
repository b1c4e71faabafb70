"""The search on one machine: the defaults first, then better ones; with the real trainer."""

import math
from typing import Any

import pytest

from training.model.config import TrainConfig
from training.tuning.search import search
from training.tuning.trial import score

DEFAULT = TrainConfig()


def hill(config):
    """Best at a learning rate of 0.001, 192 dimensions and no dropout."""
    return 1 - abs(math.log10(config.learning_rate) + 3) / 4 - abs(config.hidden_dim - 192) / 1000 - config.dropout / 5


def test_the_defaults_are_tried_first_and_beaten():
    """Fifteen trials find better than the default, and say what the default reached."""
    seen: list[Any] = []
    best, tried = search(hill, DEFAULT, trials=15, show=seen.append)
    assert tried[0].parameters == {"learning_rate": 0.003, "hidden_dim": 32, "dropout": 0.2}
    assert best.default_value == hill(DEFAULT)
    assert best.default_value is not None
    assert best.value > best.default_value
    assert best.value == max(trial.value or 0.0 for trial in tried)
    assert tuple(seen) == tried


def test_the_same_seed_searches_the_same_way():
    """A search can be repeated."""
    assert search(hill, DEFAULT, trials=6)[1] == search(hill, DEFAULT, trials=6)[1]


def test_where_nothing_is_better_the_defaults_stay():
    """A search never hands back something worse than what is there."""

    def only_the_default(config):
        return float(config == DEFAULT)

    best, _ = search(only_the_default, DEFAULT, trials=5)
    assert best.parameters["hidden_dim"] == DEFAULT.hidden_dim


def test_failed_trials_are_reported_and_too_many_end_the_search():
    """At most `failed` of them; the reason of the last one is in the error."""

    def out_of_memory(config):
        raise MemoryError("CUDA")

    with pytest.raises(RuntimeError, match="none of 3 trials succeeded; the last error: MemoryError: CUDA"):
        search(out_of_memory, DEFAULT, trials=10, failed=2)


@pytest.mark.xdist_group("tuning")
def test_with_the_real_trainer(dataset, small):
    """Two trials on real training: the optimum is at least the default's validation AUC, and reproducible."""
    best, tried = search(lambda config: score(dataset, config)["val_auc_roc"], small, trials=2)
    print(f"default {best.default_value:.4f}, best of {len(tried)} trials {best.value:.4f}")
    assert best.default_value is not None
    assert best.value >= best.default_value
    assert all(trial.value is not None and 0.0 < trial.value <= 1.0 for trial in tried)
