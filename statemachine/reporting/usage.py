"""What a run used, read from its own record: pod seconds from the history, calls from the version counter."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from statemachine.contracts.pod_requests import SECONDS, PodRequests
from statemachine.contracts.stage import Stage
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition
from statemachine.core.states import State
from statemachine.reporting.cost import ControlUse, StageUse

STOP_REQUESTED = TransitionReason.OVERDUE  # the attempt goes on until it is seen to end


@dataclass(frozen=True)
class Pass:
    """What one pass over a run is taken to use (512 MB, arm64); the load bench counts the calls themselves."""

    lambda_gb_seconds: float = 0.06
    reads: float = 2.0  # run and model, strongly consistent, under 4 KB each
    item_kb: float = 3.0
    log_gb: float = 1.2e-6
    sqs_requests: float = 3.0  # send, receive, delete
    s3_gets: float = 1.0  # the report, or that it is not there


def stage_uses(
    history: Iterable[Transition],
    requests: Mapping[str, PodRequests] | None = None,
    instances: Mapping[str, str] | None = None,
) -> tuple[StageUse, ...]:
    """Every attempt that was launched, in order, also those that failed.

    An attempt's seconds are those that its report names; without a report they are the time from its beginning to the
    next history entry, which is an upper bound. `requests` price the attempts whose report does not say what their
    pod was given. `instances`: stages that ran on SageMaker, and on what.
    """
    uses: list[StageUse] = []
    begun: tuple[Stage, float] | None = None
    for entry in history:
        if entry.reason is STOP_REQUESTED:
            continue
        if begun and entry.kfp_id:
            stage, at = begun
            uses.append(
                StageUse(
                    stage.value,
                    _seconds(entry, stage, at),
                    _requests(entry, stage, requests or {}),
                    (instances or {}).get(stage.value, ""),
                )
            )
        stage_now = State(entry.dest).stage
        begun = (stage_now, entry.at) if stage_now else None
    return tuple(uses)


def control_use(run: Run, history: Iterable[Transition], poll: float = 60.0, one: Pass = Pass()) -> ControlUse:
    """The controller's calls for one run, estimated: a version is a write, a poll interval a pass that wrote nothing.

    The intake's share (one transaction an object) is not in it: it belongs to the data, not to the run.
    """
    entries = list(history)
    moves = len(entries)
    lasted = entries[-1].at - entries[0].at if entries else 0.0
    passes = run.version + lasted / poll
    in_transactions = 2.0 * moves * (one.item_kb + 1)  # run and history line, each write counted twice
    return ControlUse(
        lambda_requests=passes,
        lambda_gb_seconds=passes * one.lambda_gb_seconds,
        dynamodb_writes=in_transactions + max(run.version - moves, 0) * one.item_kb,
        dynamodb_reads=passes * one.reads,
        sqs_requests=passes * one.sqs_requests,
        events=float(moves),
        log_gb=passes * one.log_gb,
        s3_puts=2.0 * moves,
        s3_gets=passes * one.s3_gets,
    )


def _requests(entry: Transition, stage: Stage, known: Mapping[str, PodRequests]) -> PodRequests:
    reported = PodRequests.of(stage.value, entry.details.get("metrics") or {})
    return reported or known.get(stage.value, PodRequests())


def _seconds(entry: Transition, stage: Stage, begun: float) -> float:
    reported = (entry.details.get("metrics") or {}).get(f"{SECONDS}.{stage.value}")
    return float(reported) if reported is not None else max(entry.at - begun, 0.0)
