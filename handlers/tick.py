"""Every minute: send hints for due runs, close due windows, and free slots whose holder is gone."""

import time
from collections.abc import Sequence
from typing import Any

from handlers.runtime import Event, app, logger, measure, metrics
from statemachine.contracts.errors import FraudloopError, Malformed
from statemachine.reporting.notifications import MetricSample

BATCH = 100
RESERVE = 8.0  # seconds that must remain to process one more model
LONG = 5.0  # seconds: a model that takes longer is logged
GOLDEN = 0.6180339887  # steps of this share spread evenly over any number of models


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """The tick alone guarantees progress; all other hints only make it faster.

    Hints for runs in flight are sent first, so a slow or unreadable model does not delay them.
    """
    now = time.time()
    due = list(app().store.table.due(now))
    _hint(due)
    metrics.add_metric(name="TickDueRuns", unit="Count", value=len(due))
    unreachable, remaining = 0, _beginning_elsewhere(list(app().policies), now)
    while remaining and context.get_remaining_time_in_millis() > RESERVE * 1000:
        unreachable += _tended(remaining.pop(0))
    metrics.add_metric(name="UnreachableRuns", unit="Count", value=unreachable)
    metrics.add_metric(name="ModelsNotTended", unit="Count", value=len(remaining))
    return {"due": len(due)}


def _hint(due: Sequence[str]) -> None:
    for at in range(0, len(due), BATCH):
        app().hints.look_at(due[at : at + BATCH])


def _beginning_elsewhere(models: list[str], now: float) -> list[str]:
    """The models, starting at another one each minute, so that a lack of time does not always hit the same models."""
    first = int(now // 60 * GOLDEN % 1 * len(models))
    return models[first:] + models[:first]


def _tended(model: str) -> int:
    """The number of the model's unreachable runs. A model that fails does not stop the others."""
    began = time.monotonic()
    try:
        return _tend(model)
    except FraudloopError as error:
        malformed = isinstance(error, Malformed)
        logger.error("model failed, continuing", extra={"model": model, "error": str(error)})
        metrics.add_metric(name="MessagesMalformed", unit="Count", value=int(malformed))
        return int(not malformed)
    finally:
        if (seconds := time.monotonic() - began) > LONG:
            logger.warning("slow model", extra={"model": model, "seconds": round(seconds, 1)})


def _tend(model: str) -> int:
    """Free the model's slots, close its window if due, and emit the window's age."""
    intake = app().intake
    freed, runs = intake.tend_slots(model)
    if freed:
        logger.warning("freed slots of terminal or missing runs", extra={"model": model, "holders": freed})
    window = intake.window(model)
    if run := intake.close_due(model, window):
        app().hints.look_at([run.id])
        logger.info("window closed", extra={"model": model, "run_id": run.id, "why": run.trigger.why})
    elif window.opened_at:
        measure(MetricSample("IntakeOldestAge", time.time() - window.opened_at, {"model": model}))
    return sum(bool(run.unreachable_count) for run in runs)
