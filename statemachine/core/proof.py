"""What counts as proof that a version serves: every pod reported it, under the generation that the run holds."""

from statemachine.contracts.report import Outcome
from statemachine.contracts.stage import Stage
from statemachine.core.snapshot import Snapshot


def champion(snapshot: Snapshot) -> str:
    """The version that serves; "" if none ever did."""
    return snapshot.observed.model.champion.version if snapshot.observed.model.champion else ""


def anchor(snapshot: Snapshot) -> str:
    """The fixed version that `evaluate` measures against beside the champion; "" if none, or the same one."""
    fixed = snapshot.observed.model.anchor
    return fixed.version if fixed and snapshot.run.champion not in ("", fixed.version) else ""


def wanted_version(snapshot: Snapshot) -> str:
    """The version that the present deploy or restore is to bring to serve."""
    if snapshot.run.stage is Stage.RESTORE:
        return snapshot.run.target or champion(snapshot)
    return snapshot.run.candidate


def unproven(snapshot: Snapshot) -> str:
    """What is missing from the proof in the report; "" if it is complete."""
    report = snapshot.observed.report
    if report is None or report.outcome is not Outcome.OK:
        return "no successful report"
    if report.details.get("generation") != snapshot.run.generation:
        return f"generation {report.details.get('generation')!r}, ours is {snapshot.run.generation}"
    served = report.details.get("served")
    if not isinstance(served, list) or not served:
        return "no pod was asked"
    if stale(snapshot):
        return f"it is of {(snapshot.now - report.finished_at) / 3600:.1f} h ago, and others may have deployed since"
    versions = [pod.get("version") if isinstance(pod, dict) else None for pod in served]
    wanted = wanted_version(snapshot)
    return "" if all(version == wanted for version in versions) else f"pods serve {versions}, wanted {wanted}"


def stale(snapshot: Snapshot) -> bool:
    """Nobody looked for so long that the proof says nothing of now: an outage, or a table restored from a backup."""
    report = snapshot.observed.report
    return bool(report and report.finished_at and snapshot.now - report.finished_at > snapshot.policy.proof_age)


def proven(snapshot: Snapshot) -> bool:
    """Every pod answered a request with exactly the version, under exactly the generation, that this run deploys."""
    return not unproven(snapshot)
