"""Are we there? The plan's success metrics from the history of runs over a window, and the window before as trend."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from statemachine.core.run import Run, RunKind, Transition
from statemachine.core.states import State

MIN_FAST, MIN_AVAILABLE, MAX_DEGRADED = 0.99, 0.999, 0.01  # of live payments
MIN_SUCCESS, MIN_AUC, MAX_DEPLOY_SECONDS, QUANTILE = 0.95, 0.90, 600.0, 0.95


@dataclass(frozen=True)
class RunRecord:
    """One run that has ended, with its history and what it cost: marginal, loaded, on SageMaker, and by stage."""

    run: Run
    history: tuple[Transition, ...]
    dollars: float
    loaded_dollars: float = 0.0
    sagemaker_dollars: float | None = None
    stage_dollars: Mapping[str, float] = field(default_factory=dict)

    @property
    def ended_at(self) -> float:
        """When it ended."""
        return self.history[-1].at if self.history else self.run.entered_at


@dataclass(frozen=True)
class Targets:
    """What is asked; `training_seconds` and `run_dollars` come from a baseline, and are `None` while there is none."""

    training_seconds: float | None = None
    run_dollars: float | None = None


@dataclass(frozen=True)
class Objective:
    """One objective: `met` is `None` where nothing was measured or nothing is asked; `before` is the window before."""

    name: str
    value: float | None
    target: float | None
    at_most: bool
    unit: str
    before: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the value is on the right side of the target."""
        if self.value is None or self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value > self.target

    @property
    def trend(self) -> str:
        """Against the window before: better, worse, same, or "" where there is nothing to compare."""
        if self.value is None or self.before is None:
            return ""
        if math.isclose(self.value, self.before, rel_tol=1e-3):
            return "same"
        return "better" if (self.value < self.before) is self.at_most else "worse"


Measure = Callable[[Sequence[RunRecord]], float | None]


def objectives(records: Sequence[RunRecord], now: float, window: float, targets: Targets) -> tuple[Objective, ...]:
    """The five objectives over `[now - window, now]`; times are seconds."""
    recent = [record for record in records if now - window <= record.ended_at <= now]
    earlier = [record for record in records if now - 2 * window <= record.ended_at < now - window]

    def objective(name: str, measure: Measure, target: float | None, at_most: bool, unit: str) -> Objective:
        return Objective(name, measure(recent), target, at_most, unit, measure(earlier))

    return (
        objective("success_rate", success_rate, MIN_SUCCESS, False, "ratio"),
        objective("training_time", training_seconds, targets.training_seconds, True, "s"),
        objective("auc_roc", lowest_auc, MIN_AUC, False, ""),
        objective("deployment_time", deployment_seconds, MAX_DEPLOY_SECONDS, True, "s"),
        objective("cost_per_run", dollars, targets.run_dollars, True, "$"),
    )


@dataclass(frozen=True)
class LiveCounts:
    """What Prometheus counted of live payments over a window; `None` is a counter that does not exist.

    `answers`, those of them that were `degraded`, those that were `slow`; `failed` and `asked` requests, and those that
    were `refused` because their transaction is wrong, which is nobody's outage.
    """

    answers: float | None = None
    degraded: float | None = None
    slow: float | None = None
    asked: float | None = None
    failed: float | None = None
    refused: float | None = None

    @property
    def fast_share(self) -> float | None:
        """Payments that were answered in time."""
        return 1 - (self.slow or 0) / self.answers if self.answers else None

    @property
    def availability(self) -> float | None:
        """Requests that were answered, of those that could be."""
        if not self.asked:
            return None
        return 1 - max(0.0, (self.failed or 0) - (self.refused or 0)) / self.asked

    @property
    def degraded_share(self) -> float | None:
        """Payments that were answered without their history."""
        return (self.degraded or 0) / self.answers if self.answers else None


def live_objectives(recent: LiveCounts, earlier: LiveCounts) -> tuple[Objective, ...]:
    """The three objectives of live scoring over a window, and over the one before."""
    return (
        Objective("live_fast_share", recent.fast_share, MIN_FAST, False, "ratio", earlier.fast_share),
        Objective("live_availability", recent.availability, MIN_AVAILABLE, False, "ratio", earlier.availability),
        Objective("live_degraded_share", recent.degraded_share, MAX_DEGRADED, True, "ratio", earlier.degraded_share),
    )


def success_rate(records: Sequence[RunRecord]) -> float | None:
    """Runs that did their work. A refusal is an answer, so REJECTED counts; a cancelled run counts for nobody."""
    judged = [record.run.state for record in records if record.run.state is not State.CANCELLED]
    good = [state for state in judged if state in (State.SUCCEEDED, State.REJECTED)]
    return len(good) / len(judged) if judged else None


def training_seconds(records: Sequence[RunRecord]) -> float | None:
    """The median of what successful trainings took, by their own reports."""
    values = [values for record in records if (values := record.run.metrics.get("pod_seconds.train")) is not None]
    return statistics.median(values) if values else None


def lowest_auc(records: Sequence[RunRecord]) -> float | None:
    """The worst of the versions that were deployed."""
    deployed = [r.run for r in records if r.run.state is State.SUCCEEDED and r.run.kind is RunKind.TRAINING]
    values = [run.metrics["auc_roc"] for run in deployed if "auc_roc" in run.metrics]
    return min(values) if values else None


def deployment_seconds(records: Sequence[RunRecord]) -> float | None:
    """The 95 % quantile of the time from entering DEPLOYING to the proof."""
    took = []
    for record in records:
        deploying = (entry for entry in record.history if entry.dest == State.DEPLOYING.value)
        begun = [entry.at for entry in deploying if entry.source != State.DEPLOYING.value]
        if begun and record.run.state is State.SUCCEEDED:
            took.append(record.ended_at - begun[0])
    return quantile(took, QUANTILE)


def dollars(records: Sequence[RunRecord]) -> float | None:
    """The mean marginal cost of a run, also of those that failed."""
    return statistics.fmean(record.dollars for record in records) if records else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed; `None` of nothing."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else None
