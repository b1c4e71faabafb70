"""Runs one launch of a stage: writes `started.json`, does the work, writes `report.json`, sends the event.

The report is the stage's result. KFP's state only tells the controller whether the pod is alive or has failed.
"""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace

from statemachine.contracts.report import MAX_BYTES, REPORT, STARTED, Artifact, Outcome, Report
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.integrity import MANIFEST, sha256_bytes
from training.outcome import REASON_LENGTH, Permanent, Refused, StageError, StageResult
from training.runtime.completion_event import announce_end
from training.runtime.lineage import lineage
from training.runtime.pod_usage import pod_usage
from training.runtime.telemetry import push_finished, push_started

LOG = logging.getLogger("fraudloop.stage")


Work = Callable[[StageRequest], StageResult]


def run_stage(
    order: StageRequest,
    work: Work,
    *,
    clock: Callable[[], float] = time.time,
    announce: Callable[[Report], None] = announce_end,
) -> Report:
    """Does the work of one launch, writes its report, and returns it.

    A refusal is a result, so it returns like a success. A failure is raised again *after* its report is written, so
    that KFP shows the run as failed too. An error while writing `started.json` or `report.json` is raised unchanged:
    the controller then sees a failed run without a report, which it treats as transient.
    """
    started = begin(order, clock())
    failure: BaseException | None = None
    try:
        report = _answer(order, work, started)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # polars' PanicException is not an Exception, but its reason belongs in the report
        LOG.exception("stage failed", extra={"launch": order.name})
        failure, report = error, _failed(started, error)
    report = _ended(report, clock())
    storage.write_bytes(storage.join(order.output_uri, REPORT), report.dumps())
    LOG.info("stage finished", extra={"launch": order.name, "outcome": report.outcome.value, "reason": report.reason})
    push_finished(order, report)
    announce(report)
    if failure is not None:
        raise failure
    return report


def begin(order: StageRequest, now: float) -> Report:
    """Writes `started.json`, from which on the stage's run deadline counts; returns what it says."""
    started = Report(
        run_id=order.run_id,
        stage=order.stage.value,
        attempt=order.attempt,
        launch_id=order.launch_id,
        outcome=Outcome.OK,
        lineage=lineage(os.environ),
        started_at=now,
    )
    storage.write_bytes(storage.join(order.output_uri, STARTED), started.dumps())
    LOG.info("stage started", extra={"launch": order.name, "output_uri": order.output_uri})
    push_started(order, now)
    return started


def _answer(order: StageRequest, work: Work, started: Report) -> Report:
    try:
        report = _with(started, work(order))
    except Refused as refusal:
        report = replace(_with(started, refusal.result), outcome=Outcome.REFUSED, reason=refusal.reason)
    return _checked(report)


def _ended(report: Report, now: float) -> Report:
    spent = pod_usage(report.stage, now - report.started_at, os.environ)
    return replace(report, finished_at=now, metrics={**report.metrics, **spent})


def _with(started: Report, result: StageResult) -> Report:
    outputs = {name: Artifact(uri, sha256_of(uri)) for name, uri in result.outputs.items()}
    return replace(started, outputs=outputs, metrics=dict(result.metrics), details=dict(result.details))


def _checked(report: Report) -> Report:
    """Returns the report if the controller can read it. The controller refuses NaN and more than `MAX_BYTES`."""
    try:
        size = len(report.dumps())
    except (ValueError, TypeError) as error:
        raise Permanent(f"the {report.stage} stage reports values that JSON cannot represent: {error}") from error
    if size > MAX_BYTES:
        raise Permanent(f"the {report.stage} stage's report has {size} bytes, more than {MAX_BYTES}")
    return report


def _failed(started: Report, error: BaseException) -> Report:
    failed = replace(started, outcome=Outcome.FAILED, permanent=isinstance(error, Permanent))
    if not isinstance(error, StageError):
        return replace(failed, reason=f"{type(error).__name__}: {error}"[:REASON_LENGTH])
    failed = replace(failed, reason=error.reason[:REASON_LENGTH])
    try:
        return _checked(_with(failed, error.result))
    except Exception:  # without its details the report is small enough, so at least the reason arrives
        LOG.exception("the failure's details are left out of the report")
        return failed


def sha256_of(uri: str) -> str:
    """Returns the sha256 of the file at `uri`, or of its `MANIFEST.json` if it is a folder with one, else ""."""
    for candidate in (storage.join(uri, MANIFEST), uri):
        if storage.exists(candidate):
            return sha256_bytes(storage.read_bytes(candidate))
    return ""
