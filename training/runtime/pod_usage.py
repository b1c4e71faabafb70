"""Reports what a stage's pod used: its seconds, and its resource requests if the pipeline set them.

The controller prices the usage (`statemachine.reporting`) with the `[prices]` table that `fraudloop cost` uses.
"""

import json
import logging
from collections.abc import Mapping

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.pod_requests import SECONDS, PodRequests

LOG = logging.getLogger("fraudloop.pod_usage")
REQUESTS = "FRAUDLOOP_REQUESTS"


def pod_usage(stage: str, seconds: float, environment: Mapping[str, str]) -> dict[str, float]:
    """Returns `pod_seconds.<stage>`, and the pod's requests (`PodRequests.metrics`) where the pipeline set them.

    `FRAUDLOOP_REQUESTS` is `{"cpu": "3", "memory": "12Gi", "gpus": 1}` in Kubernetes' quantities.
    """
    used = {f"{SECONDS}.{stage}": seconds}
    if given := environment.get(REQUESTS):
        try:
            requests = json.loads(given)
            used |= PodRequests.parse(requests["cpu"], requests["memory"], requests.get("gpus", 0)).metrics(stage)
        except (Misconfigured, ValueError, KeyError, TypeError):  # an unreadable request must not cost the whole report
            LOG.warning("%s is %r; expected cpu, memory and gpus as JSON", REQUESTS, given, exc_info=True)
    return used
