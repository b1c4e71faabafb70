"""Where a run is on its way, as a row of steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from statemachine.core.policy import Policy
from statemachine.core.run import Run, RunKind
from statemachine.core.states import ACTIVE, State


@dataclass(frozen=True)
class Step:
    """A state on the way; `kind` is done, now, failed, skipped or ahead."""

    name: str
    kind: str


def steps(run: Run, visited: Sequence[str], policy: Policy) -> list[Step]:
    """The states of a run in their usual order. Where it ended without success, the last one visited failed."""
    been = set(visited)
    last = next((name for name in reversed(visited) if not State(name).terminal), State.QUEUED.value)
    order = [state for state in ACTIVE if state.value in been or _expected(run, state, policy)]
    return [Step(state.value, _kind(run, state, been, last)) for state in order]


def _expected(run: Run, state: State, policy: Policy) -> bool:
    """Whether the run will come through it if all goes well."""
    if run.state.terminal or run.kind is RunKind.RESTORE:
        return False
    optional = {
        State.MATERIALISING: policy.live,
        State.SHADOWING: policy.shadow.enabled,
        State.AWAITING_APPROVAL: policy.require_approval,
        State.ROLLING_BACK: False,
    }
    return optional.get(state, True)


def _kind(run: Run, state: State, been: set[str], last: str) -> str:
    if state is run.state:
        return "now"
    if state.value == last and run.state.terminal and run.state is not State.SUCCEEDED:
        return "failed"
    if state.value in been:
        return "done"
    place = ACTIVE.index(State(last))
    return "skipped" if ACTIVE.index(state) < place else "ahead"
