"""From a request to the block that the model is computed from: the same parser, checks and features as in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from training.data import schema
from training.data.schema import FeatureSchema
from training.graph.block import DAY, RISKS, VOLUMES, Block, History, risks, volumes
from training.graph.velocity import state_names
from training.serving.csv_codec import BadLine, BadRequest, columns, parse
from training.serving.graph_request import placed

COUNTERS = VOLUMES + RISKS
MAX_LINES = 1000


def counters(sides: Sequence[str]) -> tuple[str, ...]:
    """Names of the counters of these relations."""
    return volumes(sides) + risks(sides)


def history_input(side: str) -> str:
    """The name of a relation's history among a request's tensors: `CARD_HISTORY` of `card`."""
    return f"{side.upper()}_HISTORY"


@dataclass(frozen=True)
class ScoringRequest:
    """B transactions, each a raw line; by relation and transaction the raw lines of the entity's history, oldest first
    and joined by newlines ("" if there is none); `counters` [B, 11 S] as `counters` names them.
    """

    transaction: Sequence[bytes]
    histories: Mapping[str, Sequence[bytes]]
    counters: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.transaction)

    @classmethod
    def joined(cls, requests: Sequence["ScoringRequest"]) -> "ScoringRequest":
        """Many requests as one."""
        return cls(
            [line for request in requests for line in request.transaction],
            {
                side: [text for request in requests for text in request.histories[side]]
                for side in requests[0].histories
            },
            np.concatenate([request.counters for request in requests]),
        )


@dataclass(frozen=True)
class Featuriser:
    """Makes blocks of requests: features of `fitted`, `k` lines of history; an empty label is not known."""

    fitted: FeatureSchema
    row: tuple[str, ...]
    k: int

    def block(self, request: ScoringRequest, today: date) -> Block:
        """The block of a request.

        Raises:
            BadRequest: what is wrong, in which input and line.
        """
        data, sides = self.fitted.data, self.fitted.data.relations
        _check_counters(request.counters, counters(sides))
        texts = [_split(side, request.histories[side]) for side in sides]
        try:
            clean = parse([*request.transaction, *(line for text in texts for line in text.lines)], today, data)
        except BadLine as error:
            raise _located(error, len(request), texts) from error
        features = schema.row_features(clean, self.fitted).select(self.row).to_numpy()
        table = _Table.of(features, clean, columns(data)[-1], sides)
        own = len(request)
        starts = np.cumsum([own, *(len(text.lines) for text in texts)])
        volume, risk = np.split(request.counters, [len(volumes(sides))], axis=1)
        return Block(
            row=torch.from_numpy(features[:own].copy()),
            histories={text.side: self._history(table, text, int(at)) for text, at in zip(texts, starts, strict=False)},
            volume=torch.from_numpy(volume.copy()),
            risk=torch.from_numpy(risk.copy()),
        )

    def _history(self, table: "_Table", text: "_Text", start: int) -> History:
        """The `k` last strictly earlier lines of each transaction; those of the same instant are not earlier."""
        lines = np.arange(start, start + len(text.lines))
        owner, rows = text.owner, len(text.counts)
        table.check_belonging(text, lines)
        table.check_state(text, lines)
        gap = table.time[owner] - table.time[lines]
        if (gap < 0).any():
            late = int(np.argmax(gap < 0))
            raise BadRequest(f"{text.where(late)} lies in the future of its transaction; history must be earlier")
        earlier = gap > 0
        lines, owner, gap = lines[earlier], owner[earlier], gap[earlier]
        order = np.lexsort((-gap, owner))
        lines, owner, gap = lines[order], owner[order], gap[order]
        after = np.searchsorted(owner, owner, side="right") - 1 - np.arange(len(owner))
        recent = after < self.k
        at = (owner[recent], after[recent])
        lines, owner, gap = lines[recent], owner[recent], gap[recent]
        matured = table.known[lines] & (table.day[lines] < table.day[owner])  # of one day: it cannot be known yet
        return History(
            row=placed(rows, self.k, at, table.row[lines]),
            state=placed(rows, self.k, at, table.state[lines]),
            gap=placed(rows, self.k, at, gap.astype(np.float32)),
            label=placed(rows, self.k, at, (matured & table.fraud[lines]).astype(np.float32)),
            matured=placed(rows, self.k, at, matured),
            same=placed(rows, self.k, at, table.alike(at[0], lines)),
            present=placed(rows, self.k, at, np.ones(len(lines), dtype=bool)),
        )


@dataclass(frozen=True)
class _Table:
    """All lines of a request, the transactions first."""

    row: NDArray[np.float32]
    state: NDArray[np.float32]
    time: NDArray[np.int64]
    keys: Mapping[str, NDArray[np.int64]]
    known: NDArray[np.bool_]
    fraud: NDArray[np.bool_]
    label: str  # the last declared column

    @classmethod
    def of(cls, row: NDArray[np.float32], clean: pl.DataFrame, label: str, sides: Sequence[str]) -> "_Table":
        """From the features and the clean columns of the same lines."""
        keys = {side: clean[f"{side}_key"].to_numpy() for side in sides}
        state = clean.select(f"state {name}" for name in state_names(sides)).fill_null(np.nan).to_numpy()
        fraud = (clean["label"] == 1).fill_null(False).to_numpy()
        known = clean["label"].is_not_null().to_numpy()
        return cls(row, state, clean["time"].to_numpy(), keys, known, fraud, label)

    @property
    def day(self) -> NDArray[np.int64]:
        """The day of each line, since the epoch."""
        days: NDArray[np.int64] = self.time // DAY
        return days

    def alike(self, owner: NDArray[np.intp], lines: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether lines have all the entities of their transaction."""
        alike: NDArray[np.bool_] = np.logical_and.reduce([key[lines] == key[owner] for key in self.keys.values()])
        return alike

    def check_belonging(self, text: "_Text", lines: NDArray[np.intp]) -> None:
        """Raises BadRequest if a history holds a line of another card, merchant, …"""
        key = self.keys[text.side]
        foreign = key[lines] != key[text.owner]
        if foreign.any():
            raise BadRequest(
                f"{text.where(int(np.argmax(foreign)))} belongs to another {text.side} than its transaction"
            )

    def check_state(self, text: "_Text", lines: NDArray[np.intp]) -> None:
        """Raises BadRequest if a line of history does not say the state that was answered for it."""
        missing = ~np.isfinite(self.state[lines]).all(axis=1)
        if missing.any():
            where, names = text.where(int(np.argmax(missing))), state_names(tuple(self.keys))
            told = f"behind {self.label} come the {len(names)} numbers {', '.join(names)}"
            raise BadRequest(f"{where} lacks its STATE: {told}")


@dataclass(frozen=True)
class _Text:
    """One relation's histories as lines: `counts` [B] lines a transaction, `owner` [H] whose each one is."""

    side: str
    lines: list[bytes]
    counts: list[int]
    owner: NDArray[np.intp]

    def where(self, line: int) -> str:
        """How to say which line is meant."""
        owner = int(self.owner[line])
        return f"{history_input(self.side)}[{owner}] line {line - sum(self.counts[:owner]) + 1}"


def _split(side: str, texts: Sequence[bytes]) -> _Text:
    parts = [text.split(b"\n") if text else [] for text in texts]
    counts = [len(part) for part in parts]
    if max(counts, default=0) > MAX_LINES:
        raise BadRequest(f"{history_input(side)} holds {max(counts)} lines for one transaction; at most {MAX_LINES}")
    return _Text(side, [line for part in parts for line in part], counts, np.repeat(np.arange(len(parts)), counts))


def _located(error: BadLine, own: int, texts: Sequence[_Text]) -> BadRequest:
    line = error.line
    if line < own:
        return BadRequest(f"TRANSACTION[{line}]: {error}")
    line -= own
    for text in texts:
        if line < len(text.lines):
            return BadRequest(f"{text.where(line)}: {error}")
        line -= len(text.lines)
    return BadRequest(str(error))


def _check_counters(counts: NDArray[np.float32], names: Sequence[str]) -> None:
    if counts.shape[1] != len(names):
        raise BadRequest(f"COUNTERS has {counts.shape[1]} numbers, expected {len(names)}: {', '.join(names)}")
    wrong = ~(np.isfinite(counts) & (counts >= 0))
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        raise BadRequest(f"COUNTERS[{row}] {names[column]} is {counts[row, column]}, expected a count ≥ 0")
