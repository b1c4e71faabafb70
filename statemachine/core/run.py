"""The run: one epoch of data on its way to Triton, as it is kept in the table."""

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
    """A training run makes a version; a restore run brings an earlier one back because a person asked."""

    TRAINING = "training"
    RESTORE = "restore"


class RequestKind(Enum):
    """What a person may ask of a run. People only write wishes; the reconciler decides."""

    CANCEL = "cancel"
    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True)
class OperatorRequest:
    """What a person asked, who it was (from STS, not from `$USER`) and why."""

    kind: RequestKind
    who: str
    why: str
    at: float


@dataclass(frozen=True)
class Claim:
    """Who acts on the world for this run, and until when. Later than the Lambda's own timeout."""

    owner: str
    until: float


@dataclass(frozen=True)
class Trigger:
    """What began the run: `arrival`, `nightly`, `person`, `redrive` or `rollback`; `by` is a person or a slot."""

    kind: str
    by: str = ""
    why: str = ""


@dataclass(frozen=True)
class Run:
    """One run. Times are seconds since the epoch; a field that is "" or 0 has not happened yet.

    `attempts` holds the last attempt number used per stage, so that a name never repeats; `attempt` is the
    present one. `kfp_id` and `launch_id` are the adopted launch; `started_at` is kept once a deadline depends on
    it. `create_uncertain_until`: until then a CreateRun whose answer was lost may appear in KFP. `stop` says why the
    present attempt is being stopped, `fault` why the deploy is being rolled back, `condemned` that the candidate itself
    was seen to fail; `report_error` why this attempt can never succeed; `reason` is what people should know now.
    `champion` is whom the candidate was measured against.

    `deployment` is who began the run, and `launch_ids` are the ids of all launches that were asked for: whatever else
    bears the run's name in KFP is not its own. `lapsed` counts claims in succession whose holder died; `stopping_since`
    is when launches were first seen being stopped, `denied_since` since when we are not let do what is due.
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
    verdict: Mapping[str, Any] = field(default_factory=dict)
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
        """This run asked for that launch. A run of a release that kept no `launches` takes any launch of its name."""
        return launch_id in self.launch_ids if self.deployment else bool(launch_id)

    def asks(self, kind: RequestKind) -> bool:
        """A person wishes this."""
        return self.operator_request is not None and self.operator_request.kind is kind


def queued(run_id: str, model: str, epoch: int, now: float, **more: Any) -> Run:
    """A new run, due at once."""
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
