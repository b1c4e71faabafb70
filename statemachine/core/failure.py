"""When an attempt has failed, and whether another one could help."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from statemachine.contracts.limits import clipped
from statemachine.contracts.report import LARGEST_NUMBER, Outcome, Report
from statemachine.contracts.stage import Stage
from statemachine.core.proof import proven, stale, unproven
from statemachine.core.snapshot import Snapshot

MAY_REFUSE = frozenset({Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE})
MUST_PROVE = frozenset({Stage.DEPLOY, Stage.RESTORE})
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,120}")
MUST_NAME: Mapping[Stage, tuple[str, ...]] = {  # what later stages and the controller read
    Stage.PREPROCESS: ("dataset", "objects"),
    Stage.TRAIN: ("model",),
    Stage.EVALUATE: ("evaluation",),
    Stage.EXPORT: ("repository",),
    Stage.SHADOW: ("shadow",),
}


@dataclass(frozen=True)
class Failure:
    """Why the current attempt failed, and whether a retry could help.

    `candidate`: the stage tested the candidate, and the candidate itself failed.
    """

    reason: str
    permanent: bool = False
    live_generation: int = 0
    candidate: bool = False


def failure(snapshot: Snapshot) -> Failure | None:
    """Why the current attempt failed; `None` if it succeeded or may still succeed."""
    found = _failure(snapshot)
    return replace(found, reason=clipped(found.reason)) if found else None


def _failure(snapshot: Snapshot) -> Failure | None:
    run, observed = snapshot.run, snapshot.observed
    if observed.report_error or run.report_error:
        return Failure(observed.report_error or run.report_error, permanent=True)
    if (deaths := died(snapshot)) >= snapshot.policy.max_lapsed:
        doing = run.stage.value if run.stage else run.state.value.lower()
        return Failure(f"the worker died {deaths} times in succession at {doing}", permanent=True)
    if run.stage is None:
        return None
    if observed.report is not None:
        return _reported_failure(snapshot, observed.report)
    if run.stop:
        return Failure(run.stop)
    if not run.kfp_id:
        return None
    if observed.kfp_run is None:
        return Failure(f"its KFP run {run.kfp_id} is gone: archived runs stay, so somebody deleted it")
    if observed.kfp_run.state.over:
        detail = f": {observed.kfp_run.error}" if observed.kfp_run.error else ""
        return Failure(f"its KFP run ended {observed.kfp_run.state.value} without a report{detail}")
    return None


def died(snapshot: Snapshot) -> int:
    """Successive claims that expired; a live holder releases its claim."""
    return snapshot.run.lapsed + (snapshot.run.claim is not None and snapshot.run.claim.until <= snapshot.now)


def _reported_failure(snapshot: Snapshot, report: Report) -> Failure | None:
    live = report.details.get("live_generation", 0)
    if report.outcome is Outcome.FAILED and isinstance(live, int) and 0 < live < LARGEST_NUMBER:
        return Failure(f"fenced: generation {live} is live already", live_generation=live)
    if report.outcome is Outcome.FAILED:
        reason = report.reason or "the stage reported a failure without a reason"
        judged = snapshot.run.stage is Stage.DEPLOY and "condition" in report.details  # it came as far as the pods
        return Failure(reason, report.permanent, candidate=report.permanent and judged)
    if report.outcome is Outcome.REFUSED and snapshot.run.stage not in MAY_REFUSE:
        return Failure(report.reason or "the stage refused", permanent=True)
    if report.outcome is Outcome.OK and snapshot.run.stage in MUST_PROVE and not proven(snapshot):
        return Failure(f"the report claims success without proof: {unproven(snapshot)}", permanent=not stale(snapshot))
    if report.outcome is Outcome.OK and (lacking := _lacking(snapshot.run.stage, report)):
        return Failure(f"the report claims success, but names no {lacking}", permanent=True)
    return None


def _lacking(stage: Stage | None, report: Report) -> str:
    if stage is None:
        return ""
    outputs = [name for name in MUST_NAME.get(stage, ()) if name not in report.outputs]
    version = report.details.get("version")
    nameless = stage is Stage.EXPORT and not (isinstance(version, str) and VERSION.fullmatch(version))
    return ", ".join([*outputs, *(["version"] if nameless else [])])
