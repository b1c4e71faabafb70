"""S3 `Object Created` events, through SQS in batches: each object joins the open window of its model."""

from dataclasses import asdict
from typing import Any

from handlers.runtime import Event, app, logger, metrics, process_batch
from statemachine.core.events import object_created
from statemachine.core.window import Object


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """Ingest a batch. A malformed message alone returns to the queue, and ends in the dead-letter queue."""
    objects: list[Object] = []
    answer = process_batch(event["Records"], lambda record: objects.append(object_created(record["body"])))
    taken = app().intake.arrive(objects)
    logger.info("arrivals", extra=asdict(taken))
    metrics.add_metric(name="ObjectsQuarantined", unit="Count", value=taken.quarantined)
    return answer
