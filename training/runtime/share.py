"""One share of the preprocess stage's objects in a pod of its own. It writes no report: the stage's own step does."""

import logging
import os
import sys
import time

from statemachine.contracts.report import STARTED
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.runtime.log import log_json
from training.runtime.stage import begin

LOG = logging.getLogger("fraudloop.stage")


def convert_share(order: StageRequest, share: int, of: int) -> int:
    """Converts a share of the manifest's objects. The first share to begin says that the launch has started."""
    log_json(sys.stdout, {"run_id": order.run_id, "stage": order.stage.value, "launch_id": order.launch_id})
    os.environ.setdefault("POLARS_MAX_THREADS", str(os.cpu_count() or 1))
    if not storage.exists(storage.join(order.output_uri, STARTED)):
        begin(order, time.time())
    from training.data.fan_out import convert  # only now: a broken image has said that it started

    count = convert(order, share, of)
    LOG.info("converted", extra={"launch": order.name, "share": share, "objects": count})
    return count
