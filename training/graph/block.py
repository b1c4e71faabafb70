"""What one transaction may know: itself, its card's and its merchant's last K, and windowed counts of both.

A `Block` is the only thing that the model is computed from. Training reads it from the graph
(`training.graph.history`); the server builds the same record from a request. Features are functions of a `Block`, so
the two cannot drift apart.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

DAY = 86_400
VOLUME_DAYS = (1, 7, 30)
RISK_DAYS = (7, 30, 90, 365)
SIDES = ("card", "merchant")
FIGURES = ("row", "state", "gap", "label")
# Per side: transactions of the last 1, 7, 30 days (labels not needed), then, counted back from the moment before which
# labels are known, transactions and frauds of 7, 30, 90, 365 days. The caller of the served model keeps these counters.
VOLUMES = tuple(f"{side}_volume_{days}d" for side in SIDES for days in VOLUME_DAYS)
RISKS = tuple(f"{side}_{what}_{days}d" for side in SIDES for what in ("matured", "frauds") for days in RISK_DAYS)


@dataclass(frozen=True)
class Edges:
    """The E present entries of a history one below the other: `target` [E] whose entry it is, `rank` [E] how many lie
    before it, `said` [E, F + S] its row features and its state, and the rest [E], as in `History`.
    """

    target: Tensor
    rank: Tensor
    said: Tensor
    gap: Tensor
    label: Tensor
    matured: Tensor
    same: Tensor

    def double(self) -> "Edges":
        """The same edges with their figures in float64."""
        return replace(self, said=self.said.double(), gap=self.gap.double(), label=self.label.double())


@dataclass(frozen=True)
class History:
    """The last K strictly earlier transactions of one card or merchant, most recent first; zeros where absent.

    `row` [B, K, F]; `state` [B, K, S] what velocity said of each when it happened (`training.graph.velocity.STATE`),
    which is how a transaction hears of its neighbours' neighbours; `gap` [B, K] seconds ago (≥ 1); `label` [B, K] 1
    for a fraud that is known by now; `matured` [B, K] whether the label is known; `same` [B, K] whether both card and
    merchant are those of the transaction itself; `present` [B, K].
    """

    row: Tensor
    state: Tensor
    gap: Tensor
    label: Tensor
    matured: Tensor
    same: Tensor
    present: Tensor

    def edges(self) -> Edges:
        """Its entries as edges; nothing is said where nothing is."""
        target, rank = self.present.nonzero(as_tuple=True)
        said = torch.cat([self.row[target, rank], self.state[target, rank]], dim=1)
        figures = (self.gap, self.label, self.matured, self.same)
        return Edges(target, rank, said, *(figure[target, rank] for figure in figures))

    def recent(self, count: int) -> "History":
        """Only the `count` most recent."""
        return History(*(getattr(self, field.name)[:, :count] for field in fields(self)))

    def only(self, columns: list[int]) -> "History":
        """The same history with these row features alone."""
        return replace(self, row=self.row[:, :, columns])

    def to(self, device: torch.device) -> "History":
        """The same history on another device."""
        return History(*(getattr(self, field.name).to(device) for field in fields(self)))

    def double(self) -> "History":
        """The same history with its figures in float64."""
        return replace(self, **{name: getattr(self, name).double() for name in FIGURES})


@dataclass(frozen=True)
class Block:
    """B transactions with all they may know: `row` [B, F], histories, `volume` [B, 6] and `risk` [B, 16] counts."""

    row: Tensor
    card: History
    merchant: History
    volume: Tensor
    risk: Tensor

    def __len__(self) -> int:
        return len(self.row)

    def recent(self, count: int) -> "Block":
        """The same transactions with only the `count` most recent of each history."""
        return replace(self, card=self.card.recent(count), merchant=self.merchant.recent(count))

    def edges(self) -> dict[str, Edges]:
        """Both relations' edges, with their figures in float64."""
        return {side: getattr(self, side).double().edges() for side in SIDES}

    def only(self, columns: list[int]) -> "Block":
        """The same transactions with these row features alone."""
        card, merchant = self.card.only(columns), self.merchant.only(columns)
        return replace(self, row=self.row[:, columns], card=card, merchant=merchant)

    def to(self, device: torch.device) -> "Block":
        """The same block on another device."""
        row, volume, risk = (tensor.to(device) for tensor in (self.row, self.volume, self.risk))
        return Block(row, self.card.to(device), self.merchant.to(device), volume, risk)

    def double(self) -> "Block":
        """The same block with its figures in float64."""
        row, volume, risk = (tensor.double() for tensor in (self.row, self.volume, self.risk))
        return Block(row, self.card.double(), self.merchant.double(), volume, risk)
