"""Pushes a stage's metrics to the Pushgateway: those of its last attempt, grouped by model and stage, not by run.

The metrics only inform people. If the gateway is unreachable, the stage logs it and continues.
"""

import logging
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway

from statemachine.contracts.metrics import METRICS
from statemachine.contracts.report import Outcome, Report
from statemachine.contracts.stage_request import StageRequest

LOG = logging.getLogger("fraudloop.telemetry")
GATEWAY = "FRAUDLOOP_PUSHGATEWAY"
JOB = "fraudloop"
TIMEOUT = 5.0
QUALITY = ("auc_roc", "average_precision", "f1", "precision", "recall", "accuracy", "brier")

Sample = tuple[str, Mapping[str, str], float]
Push = Callable[..., None]


def push_started(order: StageRequest, now: float, environment: Mapping[str, str] = os.environ) -> None:
    """Reports that an attempt has begun. Its outcome is unknown, so an alert about the last attempt ends here."""
    push(order, started(order, now), environment)


def push_finished(order: StageRequest, report: Report, environment: Mapping[str, str] = os.environ) -> None:
    """Reports how the attempt ended and what it measured."""
    push(order, finished(report), environment)


def started(order: StageRequest, now: float) -> Iterator[Sample]:
    """Returns the samples of an attempt that begins."""
    yield "fraudloop_stage_started_timestamp_seconds", {}, now
    yield "fraudloop_stage_attempt", {}, order.attempt
    for outcome in Outcome:
        yield "fraudloop_stage_outcome", {"outcome": outcome.value}, 0


def finished(report: Report) -> Iterator[Sample]:
    """Returns the samples of an attempt that ended. Only a success sets the time of the last success."""
    yield "fraudloop_stage_finished_timestamp_seconds", {}, report.finished_at
    yield "fraudloop_stage_duration_seconds", {}, report.finished_at - report.started_at
    yield "fraudloop_stage_peak_memory_bytes", {}, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for outcome in Outcome:
        yield "fraudloop_stage_outcome", {"outcome": outcome.value}, report.outcome is outcome
    if report.outcome is Outcome.OK:
        yield "fraudloop_stage_succeeded_timestamp_seconds", {}, report.finished_at
    if "rows" in report.metrics:
        yield "fraudloop_rows", {}, report.metrics["rows"]
    for status in ("accepted", "quarantined"):
        if status in report.details:
            yield "fraudloop_objects", {"status": status.upper()}, report.details[status]
    yield from _evaluated(report.details.get("evaluation") or {})


def _evaluated(evaluation: Mapping[str, Any]) -> Iterator[Sample]:
    for subject, metrics in _subjects(evaluation):
        for name in QUALITY:
            if name in metrics:
                yield f"fraudloop_model_{name}", {"subject": subject}, metrics[name]
    for feature, psi in (evaluation.get("drift") or {}).items():
        yield "fraudloop_feature_drift_psi", {"feature": feature}, psi


def _subjects(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Yields the candidate, champion, anchor and baselines, each with its metrics on the same rows."""
    yield "candidate", evaluation.get("metrics") or {}
    for role in ("champion", "anchor"):
        yield role, (evaluation.get(role) or {}).get("metrics") or {}
    yield from (evaluation.get("baselines") or {}).items()


def push(
    order: StageRequest, samples: Iterator[Sample], environment: Mapping[str, str], send: Push = pushadd_to_gateway
) -> None:
    """Sends samples to the gateway that `FRAUDLOOP_PUSHGATEWAY` names, if any. Never raises.

    POST (`pushadd`) instead of PUT keeps the metrics that this push does not name, such as the time of the last
    success.
    """
    gateway = environment.get(GATEWAY)
    if not gateway:
        return
    try:
        group = {"model": order.model, "stage": order.stage.value}
        send(gateway, job=JOB, registry=registry_of(samples), grouping_key=group, timeout=TIMEOUT)
    except Exception:
        LOG.warning("cannot push to the Pushgateway %s the metrics of %s", gateway, order.name, exc_info=True)


def registry_of(samples: Iterator[Sample]) -> CollectorRegistry:
    """Returns a registry with one gauge per name. `model` and `stage` are the group, so they are no labels here.

    Raises:
    KeyError, ValueError: a name or a label is not in the catalogue.
    """
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for name, labels, value in samples:
        line = METRICS[name]
        own = [label for label in line.labels if label not in ("model", "stage")]
        if name not in gauges:
            gauges[name] = Gauge(name, line.help, own, registry=registry)
        (gauges[name].labels(**labels) if own else gauges[name]).set(value)
    return registry
