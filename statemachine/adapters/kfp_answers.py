"""What KFP's answers say, and how its filters are written.

Between us and KFP there are proxies: an HTTP status counts only if KFP itself sent it, which is a JSON object
with a gRPC `code` (backend/src/common/util/error.go). An answer about a run names it, or is no answer.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import kfp_server_api as kfp

from statemachine.contracts.errors import Misconfigured, Unreachable
from statemachine.contracts.kfp_run import KfpRun, KfpRunState

INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION = 3, 5, 7, 9  # gRPC status codes
LONGEST_REASON = 300  # characters of what KFP says


class Answered(Unreachable):
    """KFP, or a proxy before it, answered with an error. `code` is KFP's gRPC code, 0 if it was not KFP that spoke."""

    def __init__(self, message: str, status: int, code: int) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def filter_of(*predicates: Mapping[str, str]) -> str:
    return json.dumps({"predicates": predicates})


def predicate(operation: str, key: str, **value: str) -> Mapping[str, str]:
    return {"operation": operation, "key": key, **value}


def since_of(moment: float) -> tuple[Mapping[str, str], ...]:
    """KFP keeps whole seconds."""
    if moment <= 0:
        return ()
    text = datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (predicate("GREATER_THAN_EQUALS", "created_at", timestampValue=text),)


def identity(found: Any, what: str) -> str:
    """The id in a KFP response. Raises `Unreachable` if the response has none, because its outcome is unknown."""
    if not isinstance(found, str) or not found:
        raise Unreachable(f"KFP answered with {what} that has no id")
    return found


def launch_of(run: Any) -> KfpRun:
    parameters = (run.runtime_config.parameters if run.runtime_config else None) or {}
    return KfpRun(
        kfp_id=identity(run.run_id, "a run"),
        name=identity(run.display_name, "a run by name"),
        launch_id=_text(parameters.get("launch_id", "")),
        state=_state(run.state),
        created_at=run.created_at.timestamp() if isinstance(run.created_at, datetime) else 0.0,
        error=_why(run)[:LONGEST_REASON],
    )


def _why(run: Any) -> str:
    """Why it failed. KFP sets `error` only of a run that it cannot read back, so tasks and states are asked."""
    if run.error and run.error.message:
        return str(run.error.message)
    tasks = (run.run_details.task_details if run.run_details else None) or ()
    failed = [task for task in tasks if _state(task.state) is KfpRunState.FAILED and task.display_name]
    text = [f"{task.display_name} failed{_last_error(task)}" for task in failed]
    return "; ".join(text) or _last_error(run).removeprefix(": ")


def _last_error(obj: Any) -> str:
    errors = [status.error.message for status in obj.state_history or () if status.error and status.error.message]
    return f": {errors[-1]}" if errors else ""


def _text(value: Any) -> str:
    """A parameter, which KFP may give back wrapped (`{"string_value": …}`)."""
    if isinstance(value, Mapping):
        return str(next(iter(value.values()), ""))
    return str(value or "")


def _state(value: Any) -> KfpRunState:
    try:
        return KfpRunState(str(getattr(value, "value", value)))
    except ValueError:
        return KfpRunState.UNKNOWN if value else KfpRunState.PENDING


def said_of(error: kfp.ApiException) -> tuple[int, str]:
    """KFP's gRPC code and message; 0 and the HTTP reason if it was not KFP that spoke."""
    try:
        status = json.loads(error.body)
        code, message = status["code"], str(status["message"])
    except (ValueError, KeyError, TypeError):
        return 0, f"{error.reason}, not from KFP itself"
    return (code if isinstance(code, int) else 0), message[:LONGEST_REASON]


def refusal_of(operation: str, status: int, code: int, message: str) -> Unreachable | Misconfigured:
    text = f"KFP {operation}: {status} {message}"
    if status == 403 or code == PERMISSION_DENIED:
        return Misconfigured(f"{text}; our token's account needs the rights that docs/install.md names")
    return Answered(text, status, code)
