"""The search on this machine: Optuna suggests, the real trainer scores. The first trial uses the defaults."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import optuna

from training.model.config import TrainConfig
from training.tuning.space import OBJECTIVE, SPACE, Dimension, Optimum

Score = Callable[[TrainConfig], float]


@dataclass(frozen=True)
class Trial:
    """One trial; `value` is None if it failed, and `reason` says why."""

    number: int
    parameters: dict[str, float | int]
    value: float | None
    reason: str = ""


def search(
    score: Score,
    config: TrainConfig,
    *,
    trials: int,
    seed: int = 1,
    space: Sequence[Dimension] = SPACE,
    show: Callable[[Trial], None] = lambda trial: None,
    failed: int = 3,
) -> tuple[Optimum, tuple[Trial, ...]]:
    """Run `trials` trials, the first with `config` unchanged. Stops when more than `failed` of them failed.

    Raises:
        RuntimeError: no trial succeeded; the message is the last reason.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    tried: list[Trial] = []
    for number in range(trials):
        tried.append(_first(score, config, space) if number == 0 else _next(study, score, config, space, number))
        show(tried[-1])
        if number == 0:
            _learn(study, tried[0], space)
        if sum(trial.value is None for trial in tried) > failed:
            break
    return _optimum(tried), tuple(tried)


def _first(score: Score, config: TrainConfig, space: Sequence[Dimension]) -> Trial:
    defaults = {dimension.name: getattr(config, dimension.name) for dimension in space}
    return _tried(score, config, 0, defaults)


def _next(study: optuna.Study, score: Score, config: TrainConfig, space: Sequence[Dimension], number: int) -> Trial:
    trial_point = study.ask()
    trial = _tried(score, config, number, {dimension.name: dimension.suggest(trial_point) for dimension in space})
    state = optuna.trial.TrialState.COMPLETE if trial.value is not None else optuna.trial.TrialState.FAIL
    study.tell(trial_point, trial.value, state=state)
    return trial


def _learn(study: optuna.Study, trial: Trial, space: Sequence[Dimension]) -> None:
    """Give the sampler the result of the defaults too, if they are inside the space."""
    if trial.value is None or not all(d.low <= trial.parameters[d.name] <= d.high for d in space):
        return
    distributions: dict[str, optuna.distributions.BaseDistribution] = {
        d.name: (
            optuna.distributions.IntDistribution(int(d.low), int(d.high), step=d.step)
            if d.whole
            else optuna.distributions.FloatDistribution(d.low, d.high, log=d.log)
        )
        for d in space
    }
    study.add_trial(optuna.trial.create_trial(params=trial.parameters, distributions=distributions, value=trial.value))


def _tried(score: Score, config: TrainConfig, number: int, parameters: dict[str, float | int]) -> Trial:
    try:
        return Trial(number, parameters, score(replace(config, **parameters)))  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 — a trial that cannot be trained is an answer, too
        return Trial(number, parameters, None, f"{type(error).__name__}: {error}")


def _optimum(tried: Sequence[Trial]) -> Optimum:
    worked = [trial for trial in tried if trial.value is not None]
    if not worked:
        raise RuntimeError(f"none of {len(tried)} trials succeeded; the last error: {tried[-1].reason}")
    best = max(worked, key=lambda trial: (trial.value or 0.0, -trial.number))
    assert best.value is not None
    return Optimum(best.parameters, best.value, len(tried), tried[0].value, f"optuna {optuna.__version__}, {OBJECTIVE}")
