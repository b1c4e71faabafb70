"""What a state asks of the world. A duty follows from the state, not from the edge that led there,
so a crash between "saved" and "done" loses nothing: the next pass derives the same duty."""

from dataclasses import dataclass

from statemachine.contracts.report import Artifact
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.failure import failure
from statemachine.core.request_builder import build_request
from statemachine.core.run import RunKind
from statemachine.core.snapshot import Snapshot
from statemachine.core.states import State


@dataclass(frozen=True)
class WriteManifest:
    """Write the frozen epoch, and the index of the objects accepted before it, to S3."""


@dataclass(frozen=True)
class MarkObjects:
    """Put each new object's acceptance or quarantine on record, from the verdicts at `uri`; then the stage's index."""

    uri: str
    index: Artifact | None = None


@dataclass(frozen=True)
class EnsureRun:
    """Ensure that one launch of this request is adopted: adopt the oldest, stop the duplicates, or create one."""

    order: StageRequest


@dataclass(frozen=True)
class StopRuns:
    """Ask KFP to end these runs."""

    kfp_ids: tuple[str, ...]


Action = WriteManifest | MarkObjects | EnsureRun | StopRuns


def next_action(snapshot: Snapshot) -> Action | None:
    """What is to be done for the run as it stands; `None` if there is only waiting."""
    run = snapshot.run
    if run.state is State.QUEUED:
        return WriteManifest() if run.kind is RunKind.TRAINING and not run.manifest else None
    if run.stage is None:
        return None
    if snapshot.observed.report is not None:
        return _mark(snapshot)
    if run.kfp_id or run.stop or snapshot.now < run.retry_at or failure(snapshot):
        return None
    return EnsureRun(build_request(snapshot))


def _mark(snapshot: Snapshot) -> Action | None:
    report = snapshot.observed.report
    if (
        snapshot.run.state is not State.PREPROCESSING
        or snapshot.run.marked
        or report is None
        or snapshot.run.report_error
    ):
        return None
    verdicts = report.outputs.get("objects")
    return MarkObjects(verdicts.uri if verdicts else "", report.outputs.get("index"))
