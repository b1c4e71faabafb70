"""What one transaction may know: itself, its card's and its merchant's last K, and windowed counts of both.

A `Block` is the only thing that the model is computed from. Training gathers it from the `Graph` here; the server builds
the same record from a request. Features are functions of a `Block`, so the two cannot drift apart.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from training.graph import Graph, Timeline

DAY = 86_400
VOLUME_DAYS = (1, 7, 30)
RISK_DAYS = (7, 30, 90, 365)
SIDES = ("card", "merchant")
# Per side: transactions of the last 1, 7, 30 days (labels not needed), then, counted back from the moment before which
# labels are known, transactions and frauds of 7, 30, 90, 365 days. The caller of the served model keeps these counters.
VOLUMES = tuple(f"{side}_volume_{days}d" for side in SIDES for days in VOLUME_DAYS)
RISKS = tuple(f"{side}_{what}_{days}d" for side in SIDES for what in ("matured", "frauds") for days in RISK_DAYS)
CHUNK = 8192


@dataclass(frozen=True)
class History:
    """The last K strictly earlier transactions of one card or merchant, most recent first; zeros where absent.

    `row` [B, K, F]; `gap` [B, K] seconds ago (≥ 1); `label` [B, K] 1 for a fraud that is known by now; `matured` [B, K] whether
    the label is known; `same` [B, K] whether card and merchant both are those of the transaction itself; `present` [B, K].
    """

    row: Tensor
    gap: Tensor
    label: Tensor
    matured: Tensor
    same: Tensor
    present: Tensor

    def recent(self, count: int) -> "History":
        """Only the `count` most recent."""
        return replace(self, **{field.name: getattr(self, field.name)[:, :count] for field in fields(self)})


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

    def to(self, device: torch.device) -> "Block":
        """The same block on another device."""

        def moved(history: History) -> History:
            return History(*(getattr(history, field.name).to(device) for field in fields(history)))

        tensors = (self.row, self.volume, self.risk)
        row, volume, risk = (tensor.to(device) for tensor in tensors)
        return Block(row, moved(self.card), moved(self.merchant), volume, risk)

    def recent(self, count: int) -> "Block":
        """The same transactions with only the `count` most recent of each history."""
        return replace(self, card=self.card.recent(count), merchant=self.merchant.recent(count))


@dataclass(frozen=True)
class Reader:
    """Reads blocks of a graph: `k` earlier transactions a side, labels known after `delay` seconds."""

    graph: Graph
    k: int
    delay: int

    def block(self, seeds: Tensor) -> Block:
        """The block of the transactions `seeds` [B]."""
        volumes, risks = zip(*(self._counts(side, seeds) for side in SIDES), strict=True)
        return Block(
            row=self.graph.row[seeds],
            card=self.history("card", seeds, self.k),
            merchant=self.history("merchant", seeds, self.k),
            volume=torch.cat(volumes, dim=1),
            risk=torch.cat(risks, dim=1),
        )

    def messages(self, seeds: Tensor, fan_out: int) -> Block:
        """The block of `seeds` as far as an encoder reads it: `fan_out` earlier transactions a side, no counts."""
        empty = torch.zeros(len(seeds), 0)
        card, merchant = (self.history(side, seeds, fan_out) for side in SIDES)
        return Block(self.graph.row[seeds], card, merchant, empty, empty)

    def blocks(self, seeds: Tensor, size: int = CHUNK) -> Iterator[Block]:
        """Blocks of at most `size` transactions, so that memory does not grow with the number of seeds."""
        for chunk in seeds.split(size):
            yield self.block(chunk)

    def history(self, side: str, seeds: Tensor, k: int) -> History:
        """The last `k` strictly earlier transactions of the seeds' cards or merchants."""
        ids, present = self._line(side).last(seeds, k)
        other = self.graph.merchant if side == "card" else self.graph.card
        gap = self.graph.time[seeds, None] - self.graph.time[ids]
        matured = present & (gap >= self.delay)
        return History(
            row=self.graph.row[ids] * present[..., None],
            gap=(gap * present).float(),
            label=(matured & (self.graph.label[ids] == 1)).float(),
            matured=matured,
            same=present & (other[ids] == other[seeds, None]),
            present=present,
        )

    def _counts(self, side: str, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Volumes [B, 3] and, for matured labels, transactions and frauds [B, 8] of one side."""
        line, frauds = self._line(side), self._frauds(side)
        entity, now, before = getattr(self.graph, side)[seeds], self.graph.time[seeds], line.before[seeds].long()
        volumes = [before - line.reach(entity, now - days * DAY - 1) for days in VOLUME_DAYS]
        known = torch.minimum(line.reach(entity, now - self.delay), before)  # with no delay, a tie still is not earlier
        starts = [torch.minimum(line.reach(entity, now - self.delay - days * DAY - 1), known) for days in RISK_DAYS]
        risks = [known - start for start in starts] + [frauds[known] - frauds[start] for start in starts]
        return torch.stack(volumes, dim=1).float(), torch.stack(risks, dim=1).float()

    def _line(self, side: str) -> Timeline:
        return self.graph.cards if side == "card" else self.graph.merchants

    def _frauds(self, side: str) -> Tensor:
        return self.graph.card_frauds if side == "card" else self.graph.merchant_frauds


def doubled(block: Block) -> Block:
    """The same block with its figures in float64."""

    def side(history: History) -> History:
        figures = {"row": history.row.double(), "gap": history.gap.double(), "label": history.label.double()}
        return replace(history, **figures)

    return Block(
        row=block.row.double(),
        card=side(block.card),
        merchant=side(block.merchant),
        volume=block.volume.double(),
        risk=block.risk.double(),
    )
