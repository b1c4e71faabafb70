"""The table's stream: Slack for people, EMF for CloudWatch."""

import json
import urllib.request
from typing import Any

from handlers.edge import Event, app, logger, metrics
from statemachine.announcing import Step, step

METRIC = {
    "PREPROCESSING": "RunsStarted",
    "SUCCEEDED": "RunsSucceeded",
    "REJECTED": "RunsRejected",
    "FAILED": "RunsFailed",
    "ROLLED_BACK": "RunsRolledBack",
    "CANCELLED": "RunsCancelled",
}


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """At least once. A Slack that fails never holds up the stream."""
    steps = [told for record in event["Records"] if (told := step(record))]
    for told in steps:
        if name := METRIC.get(told.entry.dest):
            metrics.add_metric(name=name, unit="Count", value=1)
        _slack(told)
    return {"told": len(steps)}


def _slack(told: Step) -> None:
    entry = told.entry
    text = f"{entry.run_id}: {entry.source or 'new'} → {entry.dest} ({entry.row}) {entry.reason}".strip()
    logger.info("told", extra={"text": text})
    try:
        webhook = app().slack()
        if webhook and entry.dest in METRIC:
            body = json.dumps({"text": text}).encode()
            request = urllib.request.Request(webhook, body, {"Content-Type": "application/json"})
            urllib.request.urlopen(request, timeout=3).close()
        metrics.add_metric(name="SlackFailed", unit="Count", value=0)
    except Exception as error:
        metrics.add_metric(name="SlackFailed", unit="Count", value=1)
        logger.warning("Slack did not take it", extra={"error": str(error)})
