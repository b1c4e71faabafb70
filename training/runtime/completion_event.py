"""Sends the event that a stage has finished. It only wakes the controller earlier: the controller also polls."""

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

from statemachine.contracts.report import Report

LOG = logging.getLogger("fraudloop.announcement")
SOURCE = "fraudloop.training"
DETAIL_TYPE = "Stage Finished"
BUS = "FRAUDLOOP_EVENT_BUS"


def announce_end(report: Report, environment: Mapping[str, str] = os.environ, client: Any = None) -> None:
    """Puts one event on the bus that `FRAUDLOOP_EVENT_BUS` names, if any. Errors are logged, never raised."""
    bus = environment.get(BUS)
    if not bus:
        return
    try:
        answer = (client or _events()).put_events(Entries=[entry(report, bus)])
        if answer["FailedEntryCount"]:  # PutEvents answers 200 even if it refused the entry
            LOG.warning("the event bus refused the event", extra={"entries": answer["Entries"]})
    except Exception:
        LOG.warning("the completion event was not sent; the controller will poll", exc_info=True)


def entry(report: Report, bus: str) -> dict[str, Any]:
    """Returns the PutEvents entry for `report`."""
    detail = {
        "run_id": report.run_id,
        "stage": report.stage,
        "attempt": report.attempt,
        "launch_id": report.launch_id,
        "outcome": report.outcome.value,
    }
    return {"EventBusName": bus, "Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": json.dumps(detail)}


def _events() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("events", config=Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3}))
