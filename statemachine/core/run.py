"""The run: one epoch of data on its way to Triton, as the table stores it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from statemachine.contracts.kfp_run import PinnedVersion
from statemachine.contracts.report import Artifact
from statemachine.contracts.stage import Stage
from statemachine.core.codec import formerly
from statemachine.core.reason import TransitionReason
from statemachine.core.states import State


class RunKind(Enum):
    """A training run makes a version; a restore run restores an earlier one because an operator requested it."""

    TRAINING = "training"
    RESTORE = "restore"


class RequestKind(Enum):
    """What an operator may request of a run. The request is only recorded; the reconciler decides."""

    CANCEL = "cancel"
    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True)
class OperatorRequest:
    """What an operator requested, who it was (from STS, not from `$USER`) and why."""

    kind: RequestKind
    who: str
    why: str
    at: float


@dataclass(frozen=True)
class Approval:
    """A person's yes to exactly what `digest` names (`core.approval`)."""

    who: str
    why: str
    at: float
    digest: str


@dataclass(frozen=True)
class Claim:
    """Which worker acts for this run, and until when: later than the Lambda's own timeout."""

    owner: str
    until: float


@dataclass(frozen=True)
class Trigger:
    """What started the run: `arrival`, `nightly`, `person`, `redrive` or `rollback`; `by` is a person or a slot."""

    kind: str
    by: str = ""
    why: str = ""


@dataclass(frozen=True)
class Run:
    """One run. Times are seconds since the epoch; a field that is "" or 0 has not happened yet.

    `attempts` holds the last attempt number used per stage, so that a name never repeats; `attempt` is the
    current one. `kfp_id` and `launch_id` name the adopted launch. `started_at` is stored once a deadline depends on it.
    Until `create_uncertain_until`, a CreateRun whose response was lost may still appear in KFP. `stop` says why the
    current attempt is being stopped, `fault` why the deploy is being rolled back, `report_error` why this attempt can
    never succeed. `condemned`: the candidate itself failed. `reason` is the current status for people. `champion` is
    the version that the candidate was compared with.

    `deployment` is the deployment that started the run. `launch_ids` are the ids of all launches that it created; any
    other KFP run of that name belongs to somebody else. `lapsed` counts successive claims whose holder died.
    `stopping_since` is when launches were first seen stopping, `denied_since` when access was first denied.

    `verdict` is the gate's and `shadow` the shadow's. `approvals` are all that were given; which of them count, and of
    what, `core.approval` says. `parameters_by` is who adopted the parameters that the run began with.
    """

    id: str
    model: str
    epoch: int
    state: State
    kind: RunKind = RunKind.TRAINING
    version: int = 0
    created_at: float = 0.0
    entered_at: float = 0.0
    due_at: float = 0.0
    trigger: Trigger = Trigger("arrival")
    parent: str = ""
    start_at: Stage = Stage.PREPROCESS

    attempt: int = 0
    attempts: Mapping[str, int] = field(default_factory=dict)
    failures: int = 0
    kfp_id: str = ""
    launch_id: str = ""
    launched_at: float = 0.0
    started_at: float = 0.0
    create_uncertain_until: float = field(default=0.0, metadata=formerly("unsure_until"))
    deployment: str = ""
    launch_ids: tuple[str, ...] = ()
    lapsed: int = 0
    stopping_since: float = 0.0
    denied_since: float = 0.0
    retry_at: float = 0.0
    stop: str = ""
    report_error: str = field(default="", metadata=formerly("misreport"))
    unreachable_count: int = field(default=0, metadata=formerly("unseen"))

    manifest: str = ""
    marked: bool = False
    pins: Mapping[str, PinnedVersion] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Artifact]] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parameters_by: str = ""
    verdict: Mapping[str, Any] = field(default_factory=dict)
    shadow: Mapping[str, Any] = field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()
    champion: str = ""
    candidate: str = ""
    target: str = ""
    generation: int = 0

    operator_request: OperatorRequest | None = field(default=None, metadata=formerly("wish"))
    claim: Claim | None = None
    reason: str = ""
    fault: str = ""
    condemned: bool = False

    @property
    def stage(self) -> Stage | None:
        """The stage of the present state."""
        return self.state.stage

    def output(self, stage: Stage, name: str) -> str:
        """The URI of an earlier stage's output; "" if that stage has not reported it."""
        artifact = self.outputs.get(stage.value, {}).get(name)
        return artifact.uri if artifact else ""

    def owns(self, launch_id: str) -> bool:
        """Whether this run created that launch. A run of the release without launch ids owns any launch of its name."""
        return launch_id in self.launch_ids if self.deployment else bool(launch_id)

    def asks(self, kind: RequestKind) -> bool:
        """Whether an operator requested this."""
        return self.operator_request is not None and self.operator_request.kind is kind


def queued(run_id: str, model: str, epoch: int, now: float, **more: Any) -> Run:
    """A new run that is due now."""
    state = State.QUEUED
    return Run(run_id, model, epoch, state, version=1, created_at=now, entered_at=now, due_at=now, **more)


@dataclass(frozen=True)
class Transition:
    """One line of a run's history, written in the transaction that makes the move.

    `reason` is why it moved, `message` the sentence for people. Earlier releases stored the guard's name as `row` and
    the sentence as `reason`.
    """

    run_id: str
    version: int
    at: float
    source: str
    dest: str
    reason: TransitionReason = field(metadata=formerly("row"))
    message: str = field(default="", metadata=formerly("reason"))
    attempt: int = 0
    who: str = ""
    kfp_id: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
