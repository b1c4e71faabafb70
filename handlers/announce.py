"""Reads the DynamoDB stream: emits EMF metrics for CloudWatch, then sends messages to Slack."""

from collections.abc import Iterator
from typing import Any

from handlers.runtime import Event, app, logger, measure, metrics
from statemachine.contracts.errors import Malformed
from statemachine.notifier import HistoryRecord, history_record


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """Delivery is at least once. Metrics are emitted before Slack is called; a Slack failure blocks nothing."""
    steps = list(_steps(event))
    metrics.add_metric(name="SlackFailed", unit="Count", value=app().notifier.announce(steps))
    return {"announced": len(steps)}


def _steps(event: Event) -> Iterator[HistoryRecord]:
    """The history entries among the records. A malformed record is counted and skipped, so it blocks no other."""
    for record in event["Records"]:
        try:
            if step := history_record(record):
                _count(step)
                yield step
        except Malformed as error:
            metrics.add_metric(name="MessagesMalformed", unit="Count", value=1)
            logger.error("skipping malformed stream record", extra={"error": str(error)})


def _count(step: HistoryRecord) -> None:
    entry = step.entry
    logger.info(
        "step", extra={"run_id": entry.run_id, "from": entry.source, "to": entry.dest, "reason": entry.reason.value}
    )
    for sample in app().notifier.metric_samples(step):
        measure(sample)
