"""When an attempt has failed, and whether another one could help."""

from collections.abc import Mapping
from dataclasses import dataclass

from statemachine.contracts.report import Outcome, Report
from statemachine.contracts.stage import Stage
from statemachine.core.proof import proven, unproven
from statemachine.core.snapshot import Snapshot

MAY_REFUSE = frozenset({Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE})
MUST_PROVE = frozenset({Stage.DEPLOY, Stage.RESTORE})
MUST_NAME: Mapping[Stage, tuple[str, ...]] = {  # what later stages, and the controller, read
    Stage.PREPROCESS: ("dataset", "objects"),
    Stage.TRAIN: ("model",),
    Stage.EVALUATE: ("evaluation",),
    Stage.EXPORT: ("repository",),
}


@dataclass(frozen=True)
class Failure:
    """Why the present attempt has failed, and whether trying again could help."""

    reason: str
    permanent: bool = False
    live_generation: int = 0


def failure(snapshot: Snapshot) -> Failure | None:
    """Why the present attempt has failed; `None` while it may yet succeed, or has."""
    run, observed = snapshot.run, snapshot.observed
    if run.stage is None:
        return None
    if observed.report_error or run.report_error:
        return Failure(observed.report_error or run.report_error, permanent=True)
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
        return Failure(f"its KFP run ended {observed.kfp_run.state.value} and left no report{detail}")
    return None


def _reported_failure(snapshot: Snapshot, report: Report) -> Failure | None:
    live = report.details.get("live_generation", 0)
    if report.outcome is Outcome.FAILED and isinstance(live, int) and live > 0:
        return Failure(f"fenced: generation {live} is live already", live_generation=live)
    if report.outcome is Outcome.FAILED:
        return Failure(report.reason or "the stage reported a failure without a reason", report.permanent)
    if report.outcome is Outcome.REFUSED and snapshot.run.stage not in MAY_REFUSE:
        return Failure(report.reason or "the stage refused", permanent=True)
    if report.outcome is Outcome.OK and snapshot.run.stage in MUST_PROVE and not proven(snapshot):
        return Failure(f"the report claims success without proof: {unproven(snapshot)}", permanent=True)
    if report.outcome is Outcome.OK and (lacking := _lacking(snapshot.run.stage, report)):
        return Failure(f"the report claims success, but names no {lacking}", permanent=True)
    return None


def _lacking(stage: Stage | None, report: Report) -> str:
    if stage is None:
        return ""
    outputs = [name for name in MUST_NAME.get(stage, ()) if name not in report.outputs]
    version = report.details.get("version")
    nameless = stage is Stage.EXPORT and not (isinstance(version, str) and version)
    return ", ".join([*outputs, *(["version"] if nameless else [])])
