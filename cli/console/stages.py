"""Where a run is on its way, as a row of steps."""

from collections.abc import Sequence
from dataclasses import dataclass

from statemachine.core.run import Run, RunKind
from statemachine.core.states import ACTIVE, State

ONLY_IF_VISITED = frozenset({State.AWAITING_APPROVAL, State.ROLLING_BACK})


@dataclass(frozen=True)
class Step:
    """A state on the way; `kind` is done, now, failed, skipped or ahead."""

    name: str
    kind: str


def steps(run: Run, visited: Sequence[str]) -> list[Step]:
    """The states of a run in their usual order. Where it ended without success, the last one visited failed."""
    been = set(visited)
    last = next((name for name in reversed(visited) if not State(name).terminal), State.QUEUED.value)
    order = [
        state for state in ACTIVE if state.value in been or (state not in ONLY_IF_VISITED and _expected(run, state))
    ]
    return [Step(state.value, _kind(run, state, been, last)) for state in order]


def _expected(run: Run, state: State) -> bool:
    if run.state.terminal or run.kind is RunKind.RESTORE:
        return False
    return state is State.QUEUED or state.stage is not None


def _kind(run: Run, state: State, been: set[str], last: str) -> str:
    if state is run.state:
        return "now"
    if state.value == last and run.state.terminal and run.state is not State.SUCCEEDED:
        return "failed"
    if state.value in been:
        return "done"
    place = ACTIVE.index(State(last))
    return "skipped" if ACTIVE.index(state) < place else "ahead"
