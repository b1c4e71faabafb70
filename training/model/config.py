"""Every setting of a training, in one frozen record that is saved beside the model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from training.outcome import Permanent

GROUPS = ("row", "velocity", "risk", "embedding")
MOVED = "label_delay_days"  # what preprocess says is what everything learns from
THRESHOLDS = ("max_f1", "fpr_budget", "cost")


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a training; Katib tunes some of them under these names.

    History: `k` strictly earlier transactions of the card and of the merchant; the encoder aggregates the `fan_out`
    most recent of them. Seeds: all frauds of the training period and `negative_ratio` times as many others for the
    head, `encoder_negative_ratio` for the encoders; the graph is never thinned. Encoder: GraphSAGE of width
    `hidden_dim`, Adam, early stopping on the AUC of `encoder_validation_rows` after `patience` epochs; `folds` of them
    are cross-fitted over blocks of time. Head: XGBoost on the feature `groups`, early stopping on validation loss,
    which also chooses the depth where `head_max_depth` is 0.
    Threshold: `max_f1`, the best recall within `fpr_budget`, or the least `missed_fraud_cost`/`false_alarm_cost`.
    Where: `processes` on each of `nodes` (above 1: `training.model.train_job`).
    """

    seed: int = 1
    k: int = 32
    fan_out: int = 16
    negative_ratio: float = 100.0
    encoder_negative_ratio: float = 30.0
    groups: tuple[str, ...] = GROUPS

    hidden_dim: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    dropout: float = 0.2
    epochs: int = 12
    patience: int = 3
    batch_size: int = 256
    folds: int = 3
    encoder_validation_rows: int = 10_000

    head_rounds: int = 400
    head_patience: int = 20
    head_learning_rate: float = 0.1
    head_max_depth: int = 0
    head_max_bin: int = 512
    head_min_child_weight: float = 1.0
    head_subsample: float = 0.8
    head_colsample: float = 0.5
    head_base_score: float = 0.5

    validation_rows: int = 100_000
    threshold_rule: str = "max_f1"
    fpr_budget: float = 0.001
    missed_fraud_cost: float = 100.0
    false_alarm_cost: float = 5.0

    threads: int = 0
    processes: int = 1
    nodes: int = 1
    amp: bool = False

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if not getattr(self, name) >= least:
                raise Permanent(f"train: {name} is {getattr(self, name)!r}; it must be at least {least}")
        for name in ("dropout", "head_base_score", "fpr_budget"):
            if not 0 <= getattr(self, name) < 1:
                raise Permanent(f"train: {name} is {getattr(self, name)!r}; it must be in [0, 1)")
        if not self.groups or set(self.groups) - set(GROUPS):
            raise Permanent(f"train: groups are {list(self.groups)}; choose some of {', '.join(GROUPS)}")
        if self.threshold_rule not in THRESHOLDS:
            raise Permanent(f"train: threshold_rule is {self.threshold_rule!r}; choose one of {', '.join(THRESHOLDS)}")
        if self.fan_out > self.k:
            raise Permanent(f"train: fan_out {self.fan_out} is more than the k = {self.k} transactions that are seen")

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return asdict(self) | {"groups": list(self.groups)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "TrainConfig":
        """The config of a `[models.<name>.parameters.train]` table, of a saved model or of Katib (whose values are
        text).

        Raises:
            Permanent: a name is unknown or a value cannot be read; the message names it.
        """
        kinds = {field.name: field.type for field in fields(cls)}
        if MOVED in settings:
            raise Permanent(f"train: {MOVED} is a setting of preprocess now: move it to parameters.preprocess")
        if unknown := sorted(set(settings) - set(kinds)):
            raise Permanent(f"train: unknown {', '.join(unknown)}; known are {', '.join(kinds)}")
        return cls(**{name: _parsed(name, kinds[name], value) for name, value in settings.items()})


_LEAST = {
    "k": 1,
    "fan_out": 1,
    "negative_ratio": 0.1,
    "encoder_negative_ratio": 0.1,
    "hidden_dim": 1,
    "learning_rate": 0,
    "weight_decay": 0,
    "epochs": 1,
    "patience": 1,
    "batch_size": 2,
    "folds": 2,
    "encoder_validation_rows": 1,
    "head_rounds": 1,
    "head_patience": 1,
    "head_learning_rate": 0,
    "head_max_depth": 0,
    "head_max_bin": 2,
    "head_min_child_weight": 0,
    "head_subsample": 0.01,
    "head_colsample": 0.01,
    "validation_rows": 1,
    "missed_fraud_cost": 0,
    "false_alarm_cost": 0,
    "threads": 0,
    "processes": 1,
    "nodes": 1,
}


def _parsed(name: str, kind: object, value: Any) -> Any:
    try:
        if name == "groups":
            return tuple(value.split(",")) if isinstance(value, str) else tuple(str(group) for group in value)
        if kind is bool:
            return _TRUTH[str(value).lower()]
        if kind is int:
            return _whole(value)
        return float(value) if kind is float else str(value)
    except (KeyError, TypeError, ValueError) as error:
        raise Permanent(
            f"train: {name} is {value!r}; it cannot be read as {getattr(kind, '__name__', kind)}"
        ) from error


_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def _whole(value: Any) -> int:
    """`3`, `3.0` and `"3"` are 3; `3.5` is an error."""
    number = float(value)
    if number != int(number):
        raise ValueError(value)
    return int(number)
