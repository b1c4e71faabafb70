"""Hints from SQS, one at a time: one pass of the reconciler over the run that the hint names."""

from collections.abc import Mapping
from typing import Any

from handlers.runtime import Event, app, logger, metrics, process_batch
from statemachine.contracts.errors import FraudloopError
from statemachine.core.events import PROBE, hinted_run


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: Event, context: Any) -> dict[str, Any]:
    """An unreachable KFP or S3 does not fail the message; an unknown or unreadable run does."""
    if event.get("source") == PROBE:
        missed = _missed()
        metrics.add_metric(name="WorldUnreachable", unit="Count", value=int(bool(missed)))
        return {"kfp": missed}

    def look(record: Mapping[str, Any]) -> None:
        run_id = hinted_run(record["body"])
        came = app().reconciler.look_at(run_id, context.get_remaining_time_in_millis() / 1000)
        logger.info("looked at", extra={"run_id": run_id, "came": came})
        metrics.add_metric(name="WorldUnreachable", unit="Count", value=int(came.startswith("unreachable")))

    return process_batch(event["Records"], look)


def _missed() -> str:
    """ "" if this function reaches KFP. `fraudloop doctor` invokes it: only this function runs in its subnets."""
    try:
        app().pipelines.get("fraudloop-doctor")  # there is no such run, and "not found" is an answer
    except FraudloopError as error:
        return str(error)
    return ""
