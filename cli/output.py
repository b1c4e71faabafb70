"""How the command line prints: tables for people, JSON for programs, one style for each state."""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from local.terminal import Listing, speak_plainly
from statemachine.core import codec
from statemachine.core.states import State

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

speak_plainly()
# Piped into a file or another program there is no width to respect, unless somebody names one: tables wrap less.
console = Console(highlight=False, width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 180)
errors = Console(highlight=False, stderr=True)
STYLE = {
    State.SUCCEEDED: "bold green",
    State.REJECTED: "bold yellow",
    State.ROLLED_BACK: "bold magenta",
    State.FAILED: "bold red",
    State.CANCELLED: "dim",
}


def emit(data: Any) -> None:
    """Print `data` as JSON, unwrapped and uncoloured; what the encoding lacks is escaped, not lost."""
    lacks = not (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(data, indent=1, ensure_ascii=lacks, default=str))


def plain(record: Any) -> Any:
    """A frozen record of the state machine as JSON values."""
    return json.loads(codec.dumps(record))


def colored(state: State | str) -> str:
    """The state's name in its colour."""
    name = state.value if isinstance(state, State) else state
    style = STYLE.get(State(name), "cyan") if name in State.__members__ else "dim"
    return f"[{style}]{name}[/]"


def clock(at: float) -> str:
    """A time of day in UTC; with the date if that was not today. Empty for a time that has not come."""
    if not at:
        return ""
    then = datetime.fromtimestamp(at, UTC)
    today = datetime.now(UTC).date()
    return f"{then:%H:%M:%S}" if then.date() == today else f"{then:%Y-%m-%d %H:%M:%S}"


def span(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def figure(value: float | None) -> str:
    """A metric, short."""
    return "–" if value is None else f"{value:.4f}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table; columns whose name begins with `>` are right-aligned. Where it does not fit, a card a row."""
    return Listing(title, columns, rows)
