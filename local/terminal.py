"""Text for any terminal: tables that become cards where they do not fit, and symbols for every encoding."""

import codecs
import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

ROOM = 24  # characters that a text column needs; a narrower one is hard to read
LONGEST_WORD = 40  # a longer word, such as a URI, continues on the next line
NEAREST = {
    "✓": "+",
    "✗": "x",
    "…": "...",
    "→": "->",
    "·": ".",
    "–": "-",
    "—": "-",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "×": "x",
    "≠": "!=",
}


class CardTable(Table):
    """A table without lines. Where it does not fit, each row becomes a card with one line per value."""

    def __init__(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]] = ()) -> None:
        super().__init__(
            title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
        )
        for name in columns:
            self.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
        for row in rows:
            self.add_row(*row)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        cells = [[_text(console, cell) for cell in column.cells] for column in self.columns]
        needs = [_need(column, texts) for column, texts in zip(self.columns, cells, strict=True)]
        if sum(needs) + len(needs) - 1 > options.max_width:
            yield from self._cards(cells)
            return
        for column, need in zip(self.columns, needs, strict=True):
            column.min_width = need
        yield from super().__rich_console__(console, options)

    def _cards(self, cells: Sequence[Sequence[Text]]) -> RenderResult:
        if self.title:
            yield Text(str(self.title), style="bold")
        for row in zip_longest(*cells, fillvalue=Text()):
            head, *rest = row
            yield Text.assemble(head, style="bold")
            card = Table.grid(Column(style="dim", no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
            for column, value in zip(self.columns[1:], rest, strict=True):
                if value.plain:
                    card.add_row(str(column.header), value)
            yield Padding(card, (0, 0, 0, 2))


def _text(console: Console, cell: Any) -> Text:
    return cell if isinstance(cell, Text) else console.render_str(str(cell), highlight=False)


def _need(column: Column, cells: Sequence[Text]) -> int:
    """Return the characters that a column needs to be readable."""
    texts = [str(column.header), *(cell.plain for cell in cells)]
    longest_word = max((cell_len(word) for text in texts for word in text.split()), default=0)
    longest_line = max((cell_len(line) for text in texts for line in text.splitlines()), default=0)
    return max(min(longest_word, LONGEST_WORD), min(longest_line, ROOM))


def speak_plainly(streams: Iterable[TextIO] = (sys.stdout, sys.stderr)) -> None:
    """Make streams replace characters that their encoding lacks by similar ones, instead of raising."""
    codecs.register_error("nearest", _nearest)
    for stream in streams:
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="nearest")


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(NEAREST.get(sign, "?") for sign in missing), error.end
