"""Reads blocks from the graph: each transaction with what was known strictly before it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from training.graph.block import DAY, RISK_DAYS, SIDES, VOLUME_DAYS, Block, Edges, History
from training.graph.graph import Graph, Timeline
from training.graph.velocity import SOURCES, state

CHUNK = 4096
STATE_CHUNK = 32_768


@dataclass(frozen=True)
class Reader:
    """Reads blocks of a graph: `k` earlier transactions a side, labels known after `delay` seconds."""

    graph: Graph
    k: int
    delay: int

    def block(self, seeds: Tensor) -> Block:
        """The block of the transactions `seeds` [B]."""
        volumes, risks = zip(*(self._counts(side, seeds) for side in SIDES), strict=True)
        card, merchant = (self.history(side, seeds, self.k) for side in SIDES)
        return Block(self.graph.row[seeds], card, merchant, torch.cat(volumes, dim=1), torch.cat(risks, dim=1))

    def edges(self, seeds: Tensor, fan_out: int) -> dict[str, Edges]:
        """The edges from the `fan_out` last transactions of each seed's card and merchant, without the empty places."""
        return {side: self._edges(side, seeds, fan_out) for side in SIDES}

    def blocks(self, seeds: Tensor, size: int = CHUNK) -> Iterator[Block]:
        """Blocks of at most `size` transactions, so that memory does not grow with the number of seeds."""
        for chunk in torch.split(seeds, size):
            yield self.block(chunk)

    @cached_property
    def state(self) -> Tensor:
        """Velocity's `STATE` of all transactions [N, S], each as of its own time."""
        columns = [self.graph.features.index(name) for name in SOURCES]
        narrow = replace(self.graph, row=self.graph.row[:, columns].contiguous(), features=SOURCES)
        reader, everything = _Stateless(narrow, self.k, self.delay), torch.arange(len(narrow), device=narrow.row.device)
        parts = [
            state(reader.uncounted(chunk).double(), SOURCES).float() for chunk in torch.split(everything, STATE_CHUNK)
        ]
        return torch.cat(parts)

    @cached_property
    def said(self) -> Tensor:
        """Row features and state of all transactions side by side [N, F + S]: an edge then reads one place, not two."""
        return torch.cat([self.graph.row, self.state], dim=1)

    def history(self, side: str, seeds: Tensor, k: int) -> History:
        """The last `k` strictly earlier transactions of the seeds' cards or merchants."""
        ids, present = self._line(side).last(seeds, k)
        other = self.graph.merchant if side == "card" else self.graph.card
        gap = (self.graph.time[seeds, None] - self.graph.time[ids]) * present
        matured = present & (gap >= self.delay)
        return History(
            row=self.graph.row[ids] * present[..., None],
            state=self.state[ids] * present[..., None],
            gap=gap.float(),
            label=(matured & (self.graph.label[ids] == 1)).float(),
            matured=matured,
            same=present & (other[ids] == other[seeds, None]),
            present=present,
        )

    def _edges(self, side: str, seeds: Tensor, fan_out: int) -> Edges:
        graph, other = self.graph, self.graph.merchant if side == "card" else self.graph.card
        ids, present = self._line(side).last(seeds, fan_out)
        target, rank = present.nonzero(as_tuple=True)
        source, sink = ids[target, rank], seeds[target]
        gap = graph.time[sink] - graph.time[source]
        matured = gap >= self.delay
        label = (matured & (graph.label[source] == 1)).float()
        same = other[source] == other[sink]
        return Edges(target, rank, self.said[source], gap.float(), label, matured, same)

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


class _Stateless(Reader):
    """Reads histories without a state: what the states themselves are computed from."""

    @cached_property
    def state(self) -> Tensor:
        """Nothing [N, 0]."""
        return self.graph.row.new_zeros(len(self.graph), 0)

    def uncounted(self, seeds: Tensor) -> Block:
        """The block of `seeds` without counts, which states do not need."""
        card, merchant = (self.history(side, seeds, self.k) for side in SIDES)
        empty = self.graph.row.new_zeros(len(seeds), 0)
        return Block(self.graph.row[seeds], card, merchant, empty, empty)
