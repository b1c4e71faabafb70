"""What an approval is of, and which approvals count: an approval names the digest of what was approved."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from statemachine.contracts.stage import Stage
from statemachine.core.policy import Policy
from statemachine.core.run import Approval, Run

OF = ((Stage.TRAIN, "model"), (Stage.EVALUATE, "evaluation"), (Stage.EXPORT, "repository"), (Stage.SHADOW, "shadow"))


def subject(run: Run) -> Mapping[str, Any]:
    """What a person says yes to: the candidate, what it was compared with, and both judgements with their evidence."""
    found = {f"{stage.value}.{name}": run.outputs.get(stage.value, {}).get(name) for stage, name in OF}
    return {
        "run": run.id,
        "model": run.model,
        "champion": run.champion,
        "candidate": run.candidate,
        "artifacts": {name: asdict(artifact) for name, artifact in found.items() if artifact},
        "gate": run.verdict,
        "shadow": run.shadow,
    }


def subject_digest(run: Run) -> str:
    """The sha256 of `subject`, in hex: equal if and only if nothing of it changed."""
    text = json.dumps(subject(run), sort_keys=True, separators=(",", ":"), default=dict)
    return hashlib.sha256(text.encode()).hexdigest()


def valid_approvals(run: Run, policy: Policy, now: float) -> tuple[Approval, ...]:
    """The approvals that count now: of this very subject, not expired, each by another person who may approve."""
    digest, limit = subject_digest(run), policy.approval.expiry
    found: dict[str, Approval] = {}
    for approval in run.approvals:
        fresh = approval.digest == digest and now < approval.at + limit
        if fresh and not barred(run, policy, approval.who):
            found[approval.who] = approval
    return tuple(found.values())


def approvals_lacking(run: Run, policy: Policy, now: float) -> int:
    """How many persons still have to say yes."""
    return max(policy.approval.approvers - len(valid_approvals(run, policy, now)), 0)


def barred(run: Run, policy: Policy, who: str) -> str:
    """Why this person may not approve the run; "" if they may."""
    if not policy.approval.separate:
        return ""
    if who == run.trigger.by and run.trigger.kind in ("person", "redrive"):
        return f"{who} started {run.id}, and the policy wants another person to approve it (approval.separate)"
    if who == run.parameters_by:
        return f"{who} set the parameters of {run.id}, and the policy wants another person to approve it"
    return ""


def who_may_approve(run: Run, policy: Policy, now: float) -> str:
    """Who may act, in words."""
    lacking = approvals_lacking(run, policy, now)
    persons = {0: "nobody else has", 1: "one person has"}.get(lacking, f"{lacking} persons have")
    excluded = dict.fromkeys(who for who in (run.trigger.by, run.parameters_by) if who and barred(run, policy, who))
    return f"{persons} to say yes" + (f", not {' or '.join(excluded)}" if excluded else "")
