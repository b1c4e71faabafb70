"""From a request to the block that the model is computed from: the same parser, checks and features as in training."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from training.data import schema
from training.data.schema import FeatureSchema
from training.graph.block import RISKS, VOLUMES, Block, History
from training.graph.velocity import STATE
from training.serving.csv_codec import BadLine, BadRequest, parse
from training.serving.graph_request import placed

COUNTERS = VOLUMES + RISKS
SIDES = ("CARD_HISTORY", "MERCHANT_HISTORY")
MAX_LINES = 1000


@dataclass(frozen=True)
class ScoringRequest:
    """B transactions, each a raw line; per transaction the raw lines of its card's and its merchant's history, oldest
    first and joined by newlines ("" if there is none); `counters` [B, 22] as in `COUNTERS`.
    """

    transaction: Sequence[bytes]
    card: Sequence[bytes]
    merchant: Sequence[bytes]
    counters: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.transaction)

    @classmethod
    def joined(cls, requests: Sequence["ScoringRequest"]) -> "ScoringRequest":
        """Many requests as one."""
        return cls(
            [line for request in requests for line in request.transaction],
            [text for request in requests for text in request.card],
            [text for request in requests for text in request.merchant],
            np.concatenate([request.counters for request in requests]),
        )


@dataclass(frozen=True)
class Featuriser:
    """Makes blocks of requests: features of `fitted`, `k` lines of history, labels known after `delay` seconds."""

    fitted: FeatureSchema
    row: tuple[str, ...]
    k: int
    delay: int

    def block(self, request: ScoringRequest, today: date) -> Block:
        """The block of a request.

        Raises:
            BadRequest: what is wrong, in which input and line.
        """
        _check_counters(request.counters)
        texts = [_split(name, text) for name, text in zip(SIDES, (request.card, request.merchant), strict=True)]
        try:
            clean = parse([*request.transaction, *texts[0].lines, *texts[1].lines], today)
        except BadLine as error:
            raise _located(error, len(request), texts) from error
        features = schema.row_features(clean, self.fitted).select(self.row).to_numpy()
        table = _Table.of(features, clean)
        own, first = len(request), len(request) + len(texts[0].lines)
        volumes, risks = np.split(request.counters, [len(VOLUMES)], axis=1)
        return Block(
            row=torch.from_numpy(features[:own].copy()),
            card=self._history(table, texts[0], own),
            merchant=self._history(table, texts[1], first),
            volume=torch.from_numpy(volumes.copy()),
            risk=torch.from_numpy(risks.copy()),
        )

    def _history(self, table: "_Table", text: "_Text", start: int) -> History:
        """The `k` last strictly earlier lines of each transaction; those of the same minute are not earlier."""
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
        lines, gap = lines[recent], gap[recent]
        matured = gap >= self.delay
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
    card: NDArray[np.int64]
    merchant: NDArray[np.int64]
    fraud: NDArray[np.bool_]

    @classmethod
    def of(cls, row: NDArray[np.float32], clean: pl.DataFrame) -> "_Table":
        """From the features and the clean columns of the same lines."""
        time, card, merchant = (clean[name].to_numpy() for name in ("time", "card_key", "merchant_key"))
        state = clean.select(STATE).fill_null(np.nan).to_numpy()
        return cls(row, state, time, card, merchant, (clean["label"] == 1).fill_null(False).to_numpy())

    def alike(self, owner: NDArray[np.intp], lines: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether lines have the card and the merchant of their transaction."""
        card: NDArray[np.bool_] = self.card[lines] == self.card[owner]
        merchant: NDArray[np.bool_] = self.merchant[lines] == self.merchant[owner]
        return card & merchant

    def check_belonging(self, text: "_Text", lines: NDArray[np.intp]) -> None:
        """Raises BadRequest if a history holds a line of another card or merchant."""
        side, what = (self.card, "card") if text.name == SIDES[0] else (self.merchant, "merchant")
        foreign = side[lines] != side[text.owner]
        if foreign.any():
            raise BadRequest(f"{text.where(int(np.argmax(foreign)))} belongs to another {what} than its transaction")

    def check_state(self, text: "_Text", lines: NDArray[np.intp]) -> None:
        """Raises BadRequest if a line of history does not say the state that was answered for it."""
        missing = ~np.isfinite(self.state[lines]).all(axis=1)
        if missing.any():
            where, names = text.where(int(np.argmax(missing))), ", ".join(STATE)
            raise BadRequest(f"{where} lacks its STATE: behind Is Fraud? come the {len(STATE)} numbers {names}")


@dataclass(frozen=True)
class _Text:
    """One side's histories as lines: `counts` [B] lines a transaction, `owner` [H] whose each one is."""

    name: str
    lines: list[bytes]
    counts: list[int]
    owner: NDArray[np.intp]

    def where(self, line: int) -> str:
        """How to say which line is meant."""
        owner = int(self.owner[line])
        return f"{self.name}[{owner}] line {line - sum(self.counts[:owner]) + 1}"


def _split(name: str, texts: Sequence[bytes]) -> _Text:
    parts = [text.split(b"\n") if text else [] for text in texts]
    counts = [len(part) for part in parts]
    if max(counts, default=0) > MAX_LINES:
        raise BadRequest(f"{name} holds {max(counts)} lines for one transaction; at most {MAX_LINES}")
    return _Text(name, [line for part in parts for line in part], counts, np.repeat(np.arange(len(parts)), counts))


def _located(error: BadLine, own: int, texts: Sequence[_Text]) -> BadRequest:
    line = error.line
    if line < own:
        return BadRequest(f"TRANSACTION[{line}]: {error}")
    card = len(texts[0].lines)
    text, line = (texts[0], line - own) if line < own + card else (texts[1], line - own - card)
    return BadRequest(f"{text.where(line)}: {error}")


def _check_counters(counters: NDArray[np.float32]) -> None:
    wrong = ~(np.isfinite(counters) & (counters >= 0))
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        raise BadRequest(f"COUNTERS[{row}] {COUNTERS[column]} is {counters[row, column]}, expected a count ≥ 0")
