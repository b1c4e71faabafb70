"""How the command line prints: tables for people, JSON for programs, one style for each state.

Keys, reasons and reports come from outside. They are data: no markup in them is read, and no character of theirs
reaches the terminal as a command. Only `Markup` is read as Rich's markup, and what goes into one is `quoted`.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from local.terminal import CardTable, speak_plainly
from statemachine.core import codec
from statemachine.core.characters import UNSAFE, clean
from statemachine.core.states import State

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


speak_plainly()


class Markup(str):
    """Text of our own, in Rich's markup."""

    __slots__ = ()


def quoted(text: object) -> str:
    """Somebody else's text, fit to stand in a `Markup`."""
    return escape(clean(str(text)))


def shown(value: Any) -> Any:
    """What Rich shall draw: markup is read, any other string is data."""
    if isinstance(value, Markup):
        return Text.from_markup(value, emoji=False)
    return Text(clean(value)) if isinstance(value, str) else value


class Terminal(Console):
    """A console for which every string is data that is not `Markup`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(shown, objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The last guard: whichever way a text came, its unsafe characters end here."""
        for segment in super().render(renderable, options):
            safe = segment.control or not UNSAFE.search(segment.text)
            yield segment if safe else Segment(clean(segment.text), segment.style)


# Piped into a file or another program there is no width to respect, unless somebody names one: tables wrap less.
console = Terminal(width=None if sys.stdout.isatty() or os.environ.get("COLUMNS") else 180)
errors = Terminal(stderr=True)
STYLE = {
    State.SUCCEEDED: "bold green",
    State.REJECTED: "bold yellow",
    State.ROLLED_BACK: "bold magenta",
    State.FAILED: "bold red",
    State.CANCELLED: "dim",
}


def emit(data: Any) -> None:
    """Print `data` as JSON, unwrapped and uncoloured.

    Unsafe characters, and those that the encoding lacks, are JSON's own escapes: nothing is lost.
    """
    lacks = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(data, indent=1, ensure_ascii=lacks, default=str)
    print(UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))  # noqa: T201 — the result of a command with --json


def plain(record: Any) -> Any:
    """A frozen record of the state machine as JSON values."""
    return json.loads(codec.dumps(record))


def colored(state: State | str) -> Markup:
    """The state's name in its colour."""
    name = state.value if isinstance(state, State) else state
    style = STYLE.get(State(name), "cyan") if name in State.__members__ else "dim"
    return Markup(f"[{style}]{quoted(name)}[/]")


def clock(at: float) -> str:
    """A time of day in UTC; with the date if that was not today. Empty for a time that has not come."""
    if not at:
        return ""
    then = datetime.fromtimestamp(at, UTC)
    today = datetime.now(UTC).date()
    return f"{then:%H:%M:%S}" if then.date() == today else f"{then:%Y-%m-%d %H:%M:%S}"


def stamp(at: float) -> str:
    """A date and time of day in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


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
    return CardTable(shown(title), [clean(name) for name in columns], [[_cell(value) for value in row] for row in rows])


def facts(title: str, rows: Sequence[tuple[str, str]]) -> RenderableType:
    """What is so, one fact a line: its name, then words that fold. A fact without words is left out."""
    grid = Table.grid(Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for name, value in rows:
        if value:
            grid.add_row(shown(name), shown(value))
    return Group(shown(title), Padding(grid, (0, 0, 0, 2), expand=False))


def _cell(value: str) -> Text:
    """One cell. A line break in data would look like another row."""
    return shown(value if isinstance(value, Markup) else value.replace("\n", "\\n"))  # type: ignore[no-any-return]
