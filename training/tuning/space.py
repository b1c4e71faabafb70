"""The search space: three training settings with their ranges, and the objective of a trial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OBJECTIVE = "val_auc_roc"  # on the validation set, never on the test set, which has to stay unused until the evaluation
OTHER_METRICS = ("val_average_precision",)


@dataclass(frozen=True)
class Dimension:
    """One setting of `TrainConfig` and its range; `step` is for integers, `log` for logarithmic scales."""

    name: str
    low: float
    high: float
    step: int = 0
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether the setting is an integer."""
        return self.step > 0

    def as_katib(self) -> dict[str, Any]:
        """Return the parameter in an Experiment. Katib's values are text."""
        form = (lambda value: str(int(value))) if self.whole else str
        feasible = {"min": form(self.low), "max": form(self.high)}
        if self.whole:
            feasible["step"] = str(self.step)
        if self.log:
            feasible["distribution"] = "logUniform"
        return {"name": self.name, "parameterType": "int" if self.whole else "double", "feasibleSpace": feasible}

    def suggest(self, trial: Any) -> float | int:
        """Return an Optuna trial's value."""
        if self.whole:
            return int(trial.suggest_int(self.name, int(self.low), int(self.high), step=self.step))
        return float(trial.suggest_float(self.name, self.low, self.high, log=self.log))


SPACE = (
    Dimension("learning_rate", 0.0001, 0.01, log=True),
    Dimension("hidden_dim", 64, 256, step=32),
    Dimension("dropout", 0.0, 0.5),
)


@dataclass(frozen=True)
class Optimum:
    """The best trial's settings and objective, and the objective of the defaults if they were tried."""

    parameters: Mapping[str, float | int]
    value: float
    trials: int
    default_value: float | None = None
    source: str = ""


def read_assignments(assignments: Mapping[str, str], space: tuple[Dimension, ...] = SPACE) -> dict[str, float | int]:
    """Parse Katib's text values. Raises `ValueError`, `KeyError`."""
    kinds = {dimension.name: int if dimension.whole else float for dimension in space}
    return {name: kinds[name](float(value)) for name, value in assignments.items()}
