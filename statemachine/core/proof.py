"""What counts as proof that a version serves: every pod said so, under the generation that we hold."""

from statemachine.core.case import Case
from statemachine.core.report import Outcome
from statemachine.core.states import Stage


def champion(case: Case) -> str:
    """The version that serves; "" if none ever did."""
    return case.seen.model.champion.version if case.seen.model.champion else ""


def anchor(case: Case) -> str:
    """The fixed version that `evaluate` measures against beside the champion; "" if none, or the same one."""
    fixed = case.seen.model.anchor
    return fixed.version if fixed and case.run.champion not in ("", fixed.version) else ""


def wanted_version(case: Case) -> str:
    """The version that the present deploy or restore is to bring to serve."""
    if case.run.stage is Stage.RESTORE:
        return case.run.target or champion(case)
    return case.run.candidate


def unproven(case: Case) -> str:
    """What is missing from the proof in the report; "" if it is complete."""
    report = case.seen.report
    if report is None or report.outcome is not Outcome.OK:
        return "no successful report"
    if report.details.get("generation") != case.run.generation:
        return f"generation {report.details.get('generation')!r}, ours is {case.run.generation}"
    served = report.details.get("served")
    if not isinstance(served, list) or not served:
        return "no pod was asked"
    versions = [pod.get("version") if isinstance(pod, dict) else None for pod in served]
    wanted = wanted_version(case)
    return "" if all(version == wanted for version in versions) else f"pods serve {versions}, wanted {wanted}"


def proven(case: Case) -> bool:
    """Every pod answered a request with exactly the version, under exactly the generation, that this run deploys."""
    return not unproven(case)
