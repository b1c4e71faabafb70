"""What a state asks of the world. A duty follows from the state, not from the edge that led there,
so a crash between "saved" and "done" loses nothing: the next pass derives the same duty."""

from dataclasses import dataclass

from statemachine.core.case import Case
from statemachine.core.failure import failure
from statemachine.core.order import Order
from statemachine.core.orders import order
from statemachine.core.run import Kind
from statemachine.core.states import State


@dataclass(frozen=True)
class WriteManifest:
    """Write the frozen epoch and the objects accepted before it to S3."""


@dataclass(frozen=True)
class MarkObjects:
    """Put each new object's acceptance or quarantine on record, from the stage's verdicts at `uri`."""

    uri: str


@dataclass(frozen=True)
class Ensure:
    """See to it that exactly one launch of this order is adopted: adopt the oldest, stop the twins, else create."""

    order: Order


@dataclass(frozen=True)
class Stop:
    """Ask KFP to end these runs."""

    kfp_ids: tuple[str, ...]


Duty = WriteManifest | MarkObjects | Ensure | Stop


def duty(case: Case) -> Duty | None:
    """What is to be done for the run as it stands; `None` if there is only waiting."""
    run = case.run
    if run.state is State.QUEUED:
        return WriteManifest() if run.kind is Kind.TRAINING and not run.manifest else None
    if run.stage is None:
        return None
    if case.seen.report is not None:
        return _mark(case)
    if run.kfp_id or run.stop or case.now < run.retry_at or failure(case):
        return None
    return Ensure(order(case))


def _mark(case: Case) -> Duty | None:
    report = case.seen.report
    if case.run.state is not State.PREPROCESSING or case.run.marked or report is None or case.run.misreport:
        return None
    verdicts = report.outputs.get("objects")
    return MarkObjects(verdicts.uri if verdicts else "")
