"""`docs/state-machine.md`: the diagram that `transitions` draws of the table, and the table itself."""

from collections.abc import Callable
from functools import partial

from transitions import EventData
from transitions.extensions import GraphMachine

from statemachine.core.states import STAGE_OF, State
from statemachine.core.table import TABLE, Row

HEAD = """# The state machine

Generated from `statemachine/core/table.py` by `python -m statemachine.core.diagram > docs/state-machine.md`; a test
fails when it is stale.
Rows of one state are tried from top to bottom. *Drain first*: the move waits until no launch of the run is active.
*Reason* is what the transition records.
"""


def page() -> str:
    """The whole page: the diagram, and the table in the order in which its rows are tried."""
    return f"{HEAD}\n```mermaid\n{mermaid()}\n```\n\n{states()}\n\n{rows()}\n"


def mermaid() -> str:
    """Mermaid text of the table, guards on the arrows."""
    machine = GraphMachine(
        states=[state.value for state in State],
        initial=State.QUEUED.value,
        auto_transitions=False,
        send_event=True,
        show_conditions=True,
        graph_engine="mermaid",
    )
    for row in TABLE:
        machine.add_transition(row.effect.__name__, row.source.value, row.dest.value, conditions=[_named(row)])
    drawn = str(machine.get_combined_graph().draw(None))
    body = drawn[drawn.index("stateDiagram-v2") :]  # without a front matter whose title Mermaid would not read
    return "\n".join(line.rstrip() for line in body.strip().splitlines())


def _named(row: Row) -> Callable[[EventData], bool]:
    """The guard under its own name; it is drawn, never called."""
    drawn = partial(_never, row)
    drawn.__name__ = row.name  # type: ignore[attr-defined]
    return drawn


def _never(row: Row, event: EventData) -> bool:
    raise AssertionError(f"{row.name} was only to be drawn")


def states() -> str:
    """Each state and what it works on."""
    works = {state: stage.value for state, stage in STAGE_OF.items()}
    lines = [f"| {s.value} | {works.get(s, '')} | {'yes' if s.terminal else ''} |" for s in State]
    return "\n".join(["| state | stage | terminal |", "|---|---|---|", *lines])


def rows() -> str:
    """The table."""
    lines = [
        f"| {row.source.value} | {row.dest.value} | {row.name} | {_summary(row.guard)} | {row.effect.__name__} "
        f"| {row.reason.value} | {'yes' if row.requires_drain else ''} |"
        for row in TABLE
    ]
    head = "| from | to | when | which means | then | reason | drain first |"
    return "\n".join([head, "|---" * 7 + "|", *lines])


def _summary(guard: Callable[..., bool]) -> str:
    return " ".join((guard.__doc__ or "").split())


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201 — the page is the command's result
