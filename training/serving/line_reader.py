"""Reads plainly written lines without a DataFrame: one payment takes microseconds.

It reads what leaves no doubt, and every value that it reads is the batch parser's (`csv_codec.parse`). A line that is
odd, or wrong, it leaves to that parser, which has the last word on what is accepted, and the only word on what is not.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data import parser
from training.data.declaration import Declaration
from training.graph.velocity import state_names
from training.serving.csv_codec import KEYED, latest, parse, served
from training.serving.plain_values import DAY, EPOCH, Read, Unclear, plainly, readers

CELL = r'(?:"[^"]*(?:""[^"]*)*"|[^",]*)'
QUOTED = re.compile(f"{CELL}(?:,{CELL})*")
STATE = re.compile(r"[0-9.e,-]+")

FEW = 256  # lines up to which reading them one by one is faster than the parser's start

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class CleanLines:
    """N lines: clean `columns` by name, each [N], and the `state` [N, S] that they say, NaN where they say none.

    Texts are objects; a `label` of -1 is not known.
    """

    columns: Columns
    state: NDArray[np.float32]


@dataclass(frozen=True)
class LineReader:
    """Reads lines of the columns that a model declares."""

    data: Declaration

    def read(self, lines: Sequence[bytes], today: date) -> CleanLines:
        """What N ≥ 1 lines say, by the parser where one of them is not plain or they are many.

        Raises:
            BadLine: the number of the first line that is wrong, and why.
        """
        plain = self.plain(lines, today) if len(lines) <= FEW else None
        return self._parsed(lines, today) if plain is None else plain

    def plain(self, lines: Sequence[bytes], today: date) -> CleanLines | None:
        """What N ≥ 1 lines say; None if one of them is not plain."""
        try:
            rows, states = zip(*(self._row(line) for line in lines), strict=True)
            values = dict(zip(self._readers, map(list, zip(*rows, strict=True)), strict=True))
            values["time"] = self._times(values["time"])
            end = ((latest(today) - EPOCH).days + 1) * DAY
            plainly(all(0 <= time < end for time in values["time"]))
        except (Unclear, ValueError, OverflowError, csv.Error):
            return None
        columns = {name: np.array(column, dtype=self._kinds[name]) for name, column in values.items()}
        with np.errstate(over="ignore"):
            return CleanLines(columns, np.array(states, dtype=np.float64).astype(np.float32))

    def _parsed(self, lines: Sequence[bytes], today: date) -> CleanLines:
        clean = parse(lines, today, self.data).with_columns(pl.col("label").fill_null(parser.UNKNOWN))
        columns = {name: clean[name].to_numpy() for name in self._readers}
        state = clean.select(f"state {name}" for name in state_names(self.data.relations)).fill_null(math.nan)
        return CleanLines(columns, state.to_numpy(order="c"))

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields of a line, the label last."""
        return self._data.known

    @cached_property
    def _data(self) -> Declaration:
        return served(self.data)

    @cached_property
    def _readers(self) -> dict[str, Read]:
        return dict(readers(self._data))

    @cached_property
    def _kinds(self) -> dict[str, Any]:
        texts = [name for name in self.data.open_categories if not self.data.categories[name].whole]
        kinds = dict.fromkeys(self.data.numbers, np.float64) | dict.fromkeys(texts, object)
        return {name: kinds.get(name, np.int64) for name in self._readers}

    @cached_property
    def _keyed(self) -> list[int]:
        """The first columns of entities with hashed keys, in which a line may say the key."""
        return [self._data.known.index(one.columns[0]) for one in self.data.entities.values() if not one.whole]

    @cached_property
    def _nothing(self) -> list[float]:
        return [math.nan] * len(state_names(self.data.relations))

    def _row(self, line: bytes) -> tuple[list[Any], list[float]]:
        """The clean values of one line, and its state."""
        cells, own = _cells(line.decode()), len(self._data.known)
        fields, state = cells[:own], cells[own:]
        fields += [""] * (own - len(fields))
        written = [fields[at] for at in self._keyed]
        for at, text in zip(self._keyed, written, strict=True):
            fields[at] = KEYED.sub("", text) if "key:" in text else text
        fields += written
        return [read(fields) for read in self._readers.values()], self._state(state)

    def _state(self, cells: list[str]) -> list[float]:
        if not cells:
            return self._nothing
        plainly(len(cells) == len(self._nothing) and STATE.fullmatch(",".join(cells)))
        return [float(cell) for cell in cells]

    def _times(self, times: list[Any]) -> list[int]:
        """Seconds, those that are still texts by the parser's own expressions."""
        odd = [at for at, one in enumerate(times) if isinstance(one, tuple)]
        if not odd:
            return times
        time = self._data.time
        raw = pl.DataFrame([times[at] for at in odd], dict.fromkeys(time.columns, pl.String), orient="row")
        raw = raw.with_columns(pl.all().replace("", None))
        found = parser.times(raw, time).to_list()
        plainly(None not in found)
        for at, second in zip(odd, found, strict=True):
            times[at] = second
        return times


def _cells(text: str) -> list[str]:
    plainly(text and "\n" not in text and "\r" not in text)
    if '"' not in text:
        return text.split(",")
    plainly(QUOTED.fullmatch(text))
    return next(csv.reader([text]))
