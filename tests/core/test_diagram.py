"""The diagram in the docs is drawn from the table."""

from pathlib import Path

from statemachine.core import diagram
from statemachine.core.states import State
from statemachine.core.table import TABLE

PAGE = Path(__file__).parents[2] / "docs" / "state-machine.md"


def test_the_page_is_not_stale() -> None:
    """After a change of the table: `.venv/bin/python -m statemachine.core.diagram > docs/state-machine.md`."""
    assert PAGE.read_text() == diagram.page()


def test_every_state_and_every_guard_is_drawn() -> None:
    """Nothing of the table is missing from the picture."""
    drawn = diagram.mermaid()
    assert all(f'state "{state.value}"' in drawn for state in State)
    assert all(f"{row.effect.__name__} [{row.name}]" in drawn for row in TABLE)
