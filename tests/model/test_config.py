"""The settings of a training: read from anywhere, refused by name, and each one changes what it should."""

from dataclasses import fields, replace

import pytest

from training.model.config import GROUPS, TrainConfig
from training.outcome import Permanent


def test_katibs_text_is_read() -> None:
    """Katib hands every value over as text; `3`, `3.0` and `"3"` are the same."""
    told = {"learning_rate": "0.01", "hidden_dim": "64", "dropout": "0.3", "epochs": "3.0", "groups": "row,embedding"}
    config = TrainConfig.from_dict(told | {"amp": "false"})
    assert (config.learning_rate, config.hidden_dim, config.dropout, config.epochs) == (0.01, 64, 0.3, 3)
    assert config.groups == ("row", "embedding")
    assert config.amp is False


def test_what_is_saved_is_read_back() -> None:
    """A config survives the file beside the model."""
    config = TrainConfig(groups=("row", "risk"), seed=9, amp=False)
    assert TrainConfig.from_dict(config.as_dict()) == config


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"learning_rat": 0.1}, "unknown learning_rat"),
        ({"epochs": "many"}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"epochs": 0}, "epochs"),
        ({"dropout": 1.0}, "dropout"),
        ({"groups": []}, "groups"),
        ({"groups": ["row", "shoe size"]}, "groups"),
        ({"threshold_rule": "luck"}, "threshold_rule"),
        ({"k": 4, "fan_out": 8}, "fan_out"),
        ({"folds": 1}, "folds"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings: dict[str, object], said: str) -> None:
    """Before anything is trained, and for good: trying again would not help."""
    with pytest.raises(Permanent, match=said):
        TrainConfig.from_dict(settings)


def test_every_setting_is_known_to_the_test_of_effects() -> None:
    """`test_effects` walks all settings: a new one must be added there or here."""
    from test_effects import EFFECTS, NO_EFFECT_HERE

    assert {field.name for field in fields(TrainConfig)} == set(EFFECTS) | set(NO_EFFECT_HERE)
    assert replace(TrainConfig()).groups == GROUPS
