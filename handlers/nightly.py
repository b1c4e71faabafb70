"""The nightly schedule: list the prefix, take in objects whose event never came, ask that the window closes."""

from typing import Any

from handlers.edge import Event, app, logger, metrics
from statemachine.core.errors import Malformed
from statemachine.core.events import slot
from statemachine.core.run import Trigger


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """Once a slot and model, however often the schedule fires."""
    night, intake = _slot(event), app().intake
    began = {}
    for model, policy in app().policies.items():
        taken = intake.arrive(app().files.list(app().settings.data_bucket, policy.prefix))
        first = intake.ask(model, Trigger("nightly", night, f"the night of {night}"), slot=night)
        run = intake.close_due(model) if first else None
        if run is not None:
            app().hints.look_at([run.id])
        metrics.add_metric(name="ObjectsQuarantined", unit="Count", value=taken.quarantined)
        began[model] = run.id if run else ""
        logger.info("night", extra={"model": model, "slot": night, "first": first, "late_objects": taken.joined})
    return {"slot": night, "began": began}


def _slot(event: Event) -> str:
    try:
        return slot(event)
    except Malformed:
        metrics.add_metric(name="MessagesMalformed", unit="Count", value=1)
        raise
