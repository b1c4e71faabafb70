"""Each minute: close windows that are due, free slots whose holder is gone, hint at runs that are due."""

import time
from typing import Any

from handlers.runtime import Event, app, each_model, logger, measure, metrics
from statemachine.reporting.notifications import MetricSample

BATCH = 100


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """The tick alone guarantees progress: all other hints only make it come sooner."""
    each_model(_tend)  # one that cannot be tended holds up no hint either, and the next tick is near
    due = list(app().store.table.due(time.time()))  # now: a run that has just begun is due, too
    for at in range(0, len(due), BATCH):
        app().hints.look_at(due[at : at + BATCH])
    metrics.add_metric(name="TickDueRuns", unit="Count", value=len(due))
    return {"due": len(due)}


def _tend(model: str) -> None:
    """Free its slots, close its window, say how old the window is."""
    intake = app().intake
    if freed := intake.free_slots(model):
        logger.warning("freed the slots of runs that are gone", extra={"model": model, "holders": freed})
    if run := intake.close_due(model):
        logger.info("a window closed", extra={"model": model, "run_id": run.id, "why": run.trigger.why})
    now = time.time()
    measure(MetricSample("IntakeOldestAge", now - (intake.window(model).opened_at or now), {"model": model}))
