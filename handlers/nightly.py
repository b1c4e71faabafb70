"""The nightly schedule: list the prefix, take in objects whose event never came, ask that the window closes."""

import time
from typing import Any

from handlers.runtime import Event, app, each_model, logger, metrics
from statemachine.contracts.errors import Malformed
from statemachine.core.events import slot
from statemachine.core.run import Trigger


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """Once a slot and model, however often the schedule fires; one model's trouble stops nobody else's night.

    A slot that is no time or lies ahead is refused, and ends in the night's dead-letter queue.
    """
    night, began = _slot(event), {}
    failed = each_model(lambda model: began.update({model: _night(model, night)}))
    if failed:  # an outage, say: Lambda tries again, and whoever has had this night does not have it twice
        raise failed[0]
    return {"slot": night, "began": began}


def _night(model: str, night: str) -> str:
    """The run that this night began; "" if none."""
    intake, prefix = app().intake, app().policies[model].prefix
    taken = intake.arrive(app().files.list(app().settings.data_bucket, prefix))
    first = intake.ask(model, Trigger("nightly", night, f"the night of {night}"), slot=night)
    run = intake.close_due(model) if first else None
    if run is not None:
        app().hints.look_at([run.id])
    metrics.add_metric(name="ObjectsQuarantined", unit="Count", value=taken.quarantined)
    logger.info("night", extra={"model": model, "slot": night, "first": first, "late_objects": taken.joined})
    return run.id if run else ""


def _slot(event: Event) -> str:
    try:
        return slot(event, time.time())
    except Malformed:
        metrics.add_metric(name="MessagesMalformed", unit="Count", value=1)
        raise
