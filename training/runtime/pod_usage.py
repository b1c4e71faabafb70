"""What a stage's pod cost, for its report: its seconds, and dollars if it knows what it was given."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from statemachine.contracts.errors import Misconfigured
from statemachine.reporting.cost import Requests, StageUse, stage_line
from statemachine.reporting.prices import Prices
from statemachine.reporting.usage import POD_SECONDS

LOG = logging.getLogger("fraudloop.spending")
REQUESTS = "FRAUDLOOP_REQUESTS"
COST = "cost_dollars"


def pod_usage(stage: str, seconds: float, environment: Mapping[str, str]) -> dict[str, float]:
    """`pod_seconds.<stage>`, and `cost_dollars.<stage>` where the pipeline said what the pod was given.

    `FRAUDLOOP_REQUESTS` is `{"cpu": "3", "memory": "12Gi", "gpus": 1}` in Kubernetes' quantities.
    """
    told = {f"{POD_SECONDS}.{stage}": seconds}
    if asked := environment.get(REQUESTS):
        try:
            told[f"{COST}.{stage}"] = _dollars(stage, seconds, json.loads(asked))
        except (Misconfigured, ValueError, KeyError, TypeError):  # a report must not be lost for its price
            LOG.warning("%s is %r; expected cpu, memory and gpus as JSON", REQUESTS, asked, exc_info=True)
    return told


def _dollars(stage: str, seconds: float, given: Mapping[str, Any]) -> float:
    requests = Requests.parse(given["cpu"], given["memory"], given.get("gpus", 0))
    return stage_line(StageUse(stage, seconds, requests), Prices()).dollars
