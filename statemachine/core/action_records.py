"""What the run's record keeps of a duty: before it is done, when it was done, and when it was not."""

from typing import Any

from statemachine.contracts.errors import Denied, Impossible, Misconfigured, Unanswered, Unreachable
from statemachine.contracts.kfp_run import KfpRun
from statemachine.contracts.limits import clipped
from statemachine.core.actions import Action, EnsureRun
from statemachine.core.policy import Policy
from statemachine.core.run import Run


def asked(run: Run, action: Action, owner: str, create_uncertain_until: float) -> dict[str, Any]:
    """Before a launch is asked for: its id, and until when it may show itself should we die before we know."""
    if not isinstance(action, EnsureRun):
        return {}
    launch_ids = (*run.launch_ids, f"{run.deployment}-{owner}") if run.deployment else ()
    return {"create_uncertain_until": create_uncertain_until, "launch_ids": launch_ids}


def adopted(kfp_run: KfpRun, launched_at: float) -> dict[str, Any]:
    """The launch that is the present attempt from now on."""
    return {"kfp_id": kfp_run.kfp_id, "launch_id": kfp_run.launch_id, "launched_at": launched_at, "reason": ""}


def record_of(
    error: Impossible | Misconfigured | Unreachable, run: Run, policy: Policy, began: float, now: float, pause: float
) -> dict[str, Any]:
    """When to try again, or why not. `run` is as it was before the claim, which `began` then; `pause` is in seconds."""
    found: dict[str, Any] = {
        "due_at": began + pause,
        "unreachable_count": run.unreachable_count + 1,
        "denied_since": 0.0,
    }
    found["reason"] = clipped(f"unreachable: {error}")
    match error:
        case Unanswered():  # the launch may run, so its id stays on record
            return found | {"create_uncertain_until": now + policy.grace}
        case Misconfigured() | Denied():
            found["denied_since"] = since = run.denied_since or began
            if began >= since + policy.denied_deadline:
                found["report_error"] = clipped(f"for {policy.denied_deadline / 3600:.3g} h nobody mended it: {error}")
        case Impossible():
            found |= {"due_at": began, "report_error": clipped(str(error))}
            found["reason"] = clipped(f"impossible: {error}")
    return found | {"create_uncertain_until": run.create_uncertain_until, "launch_ids": run.launch_ids}
