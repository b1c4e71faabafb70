"""From a request to the block that the model is computed from: the same parser, checks and features as in training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from training.data.parser import UNKNOWN
from training.data.schema import FeatureSchema
from training.graph.block import RISKS, VOLUME_DAYS, VOLUMES, Block, risks, volumes
from training.graph.velocity import state_names
from training.serving.csv_codec import BadLine, BadRequest
from training.serving.entries import Entries, Numbers
from training.serving.line_reader import CleanLines, LineReader
from training.serving.request_lines import RequestLines
from training.serving.row_features import RowFeatures

COUNTERS = VOLUMES + RISKS
SUMS = tuple(f"_amount_{days}d" for days in VOLUME_DAYS)
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
    and joined by newlines ("" if there is none); `counters` [B, 16 S] as `counters` names them.
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
        sides, own = self.fitted.data.relations, len(request)
        _check_counters(request.counters, counters(sides))
        lines = RequestLines.of(request.transaction, [text for side in sides for text in request.histories[side]])
        texts = [_Text(side, counts) for side, counts in zip(sides, np.split(lines.counts, len(sides)), strict=True)]
        try:
            entries = self.entries(self.reader.read(lines.different, today))
        except BadLine as error:
            raise _located(error, int(np.argmax(lines.number == error.line)), own, texts) from error
        scored, *others = np.split(lines.number, np.cumsum([own, *map(len, texts[:-1])]))
        for text, one in zip(texts, others, strict=True):
            _check_history(entries, text, scored, one, self.reader.columns[-1])
        volume, risk = np.split(request.counters, [len(volumes(sides))], axis=1)
        histories = {
            text.side: entries.history(scored, text.owner, one, self.k) for text, one in zip(texts, others, strict=True)
        }
        return Block(entries.row[scored], histories, volume, risk)

    def entries(self, lines: CleanLines) -> Entries:
        """Lines with their features."""
        columns, sides = lines.columns, self.fitted.data.relations
        keys = {side: columns[f"{side}_key"] for side in sides}
        label = columns["label"]
        return Entries(self.features(columns), lines.state, columns["time"], keys, label != UNKNOWN, label == 1)

    @cached_property
    def reader(self) -> LineReader:
        """Reads the lines."""
        return LineReader(self.fitted.data)

    @cached_property
    def features(self) -> RowFeatures:
        """Computes the row features."""
        return RowFeatures(self.fitted, self.row)


@dataclass(frozen=True)
class _Text:
    """One relation's histories of H lines: `counts` [B] lines a transaction.

    Raises:
        BadRequest: one of them is too long.
    """

    side: str
    counts: NDArray[np.intp]

    def __post_init__(self) -> None:
        if (most := self.counts.max(initial=0)) > MAX_LINES:
            told = f"{history_input(self.side)} holds {most} lines for one transaction; at most {MAX_LINES}"
            raise BadRequest(told)

    def __len__(self) -> int:
        return int(self.counts.sum())

    @cached_property
    def owner(self) -> NDArray[np.intp]:
        """Whose each line is [H]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def where(self, line: int) -> str:
        """How to say which line is meant."""
        owner = int(self.owner[line])
        return f"{history_input(self.side)}[{owner}] line {line - int(self.counts[:owner].sum()) + 1}"


def _check_history(entries: Entries, text: _Text, scored: Numbers, lines: Numbers, label: str) -> None:
    """Raises BadRequest if a line is of another card, merchant, …, lacks its state, or is later than its transaction;
    `label` is the last declared column.
    """
    own = scored[text.owner]
    foreign = entries.keys[text.side][lines] != entries.keys[text.side][own]
    if foreign.any():
        raise BadRequest(f"{text.where(int(np.argmax(foreign)))} belongs to another {text.side} than its transaction")
    missing = ~np.isfinite(entries.state).all(axis=1)[lines]
    if missing.any():
        names = state_names(tuple(entries.keys))
        told = f"behind {label} come the {len(names)} numbers {', '.join(names)}"
        raise BadRequest(f"{text.where(int(np.argmax(missing)))} lacks its STATE: {told}")
    late = entries.time[lines] > entries.time[own]
    if late.any():
        where = text.where(int(np.argmax(late)))
        raise BadRequest(f"{where} lies in the future of its transaction; history must be earlier")


def _located(error: BadLine, line: int, own: int, texts: Sequence[_Text]) -> BadRequest:
    if line < own:
        return BadRequest(f"TRANSACTION[{line}]: {error}")
    line -= own
    for text in texts:
        if line < len(text):
            return BadRequest(f"{text.where(line)}: {error}")
        line -= len(text)
    return BadRequest(str(error))


def _check_counters(counts: NDArray[np.float32], names: Sequence[str]) -> None:
    if counts.shape[1] != len(names):
        raise BadRequest(f"COUNTERS has {counts.shape[1]} numbers, expected {len(names)}: {', '.join(names)}")
    sums = np.array([name.endswith(SUMS) for name in names])  # refunds can make one negative
    wrong = ~(np.isfinite(counts) & ((counts >= 0) | sums))
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        wanted = "a sum" if sums[column] else "a count ≥ 0"
        raise BadRequest(f"COUNTERS[{row}] {names[column]} is {counts[row, column]}, expected {wanted}")
