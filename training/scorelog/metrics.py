"""What the archiver and the report on live scores tell the Pushgateway that FRAUDLOOP_PUSHGATEWAY names, if any."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

from statemachine.contracts.metrics import METRICS

LOG = logging.getLogger("fraudloop.scorelog")
GATEWAY = "FRAUDLOOP_PUSHGATEWAY"
TIMEOUT = 5.0
ARCHIVER, LIVE = "fraudloop-scorelog", "fraudloop-live"  # jobs: a group of one is not renewed by the other

Sample = tuple[str, Mapping[str, str], float]


def push_archived(model: str, counts: Mapping[str, float]) -> bool:
    """Reports what the archiver did since it began, and how far it is behind."""
    names = {"rows": "rows", "rejected": "rejected", "lost": "lost", "lag": "lag_seconds"}
    return push(model, ARCHIVER, [(f"fraudloop_score_log_{told}", {}, counts[name]) for name, told in names.items()])


def push(
    model: str,
    job: str,
    samples: Iterable[Sample],
    environment: Mapping[str, str] = os.environ,
    send: Callable[..., Any] = pushadd_to_gateway,
) -> bool:
    """Sends samples under the group `model`; whether they arrived. It never raises: figures only inform people."""
    gateway = environment.get(GATEWAY)
    if not gateway:
        return False
    registry, gauges = CollectorRegistry(), {}
    try:
        for name, labels, value in samples:
            own = [label for label in METRICS[name].labels if label != "model"]
            if name not in gauges:
                gauges[name] = Gauge(name, METRICS[name].help, own, registry=registry)
            (gauges[name].labels(**labels) if own else gauges[name]).set(value)
        send(gateway, job=job, registry=registry, grouping_key={"model": model}, timeout=TIMEOUT)
    except Exception:
        LOG.warning("cannot push to the Pushgateway %s", gateway, exc_info=True)
        return False
    return True
