"""Reads blocks from the graph: transactions with their strictly earlier neighbours and the counts known then."""

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
    """Reads blocks of a graph: `k` earlier transactions a side, labels known `delay` seconds after the transaction."""

    graph: Graph
    k: int
    delay: int

    def block(self, seeds: Tensor) -> Block:
        """The block of the transactions `seeds` [B]."""
        volumes, risks = zip(*(self._counts(side, seeds) for side in SIDES), strict=True)
        card, merchant = (self.history(side, seeds, self.k) for side in SIDES)
        return Block(self.graph.row[seeds], card, merchant, torch.cat(volumes, dim=1), torch.cat(risks, dim=1))

    def edges(self, seeds: Tensor, fan_out: int) -> dict[str, Edges]:
        """The edges from the last `fan_out` transactions of each seed's card and merchant, without padding."""
        return {side: self._edges(side, seeds, fan_out) for side in SIDES}

    def blocks(self, seeds: Tensor, size: int = CHUNK) -> Iterator[Block]:
        """Blocks of at most `size` transactions, so that memory does not grow with the number of seeds."""
        for chunk in torch.split(seeds, size):
            yield self.block(chunk)

    @cached_property
    def state(self) -> Tensor:
        """The velocity features `STATE` of all transactions [N, S], each at its own timestamp."""
        columns = [self.graph.features.index(name) for name in SOURCES]
        narrow = replace(self.graph, row=self.graph.row[:, columns].contiguous(), features=SOURCES)
        reader, everything = _Stateless(narrow, self.k, self.delay), torch.arange(len(narrow), device=narrow.row.device)
        parts = [
            state(reader.uncounted(chunk).double(), SOURCES).float() for chunk in torch.split(everything, STATE_CHUNK)
        ]
        return torch.cat(parts)

    @cached_property
    def node_features(self) -> Tensor:
        """Row features and state of all transactions [N, F + S] in one tensor: an edge needs one gather, not two."""
        return torch.cat([self.graph.row, self.state], dim=1)

    def history(self, side: str, seeds: Tensor, k: int) -> History:
        """The last `k` strictly earlier transactions of the seeds' cards or merchants."""
        ids, present = self._timeline(side).previous(seeds, k)
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
        ids, present = self._timeline(side).previous(seeds, fan_out)
        target, rank = present.nonzero(as_tuple=True)
        source, sink = ids[target, rank], seeds[target]
        gap = graph.time[sink] - graph.time[source]
        matured = gap >= self.delay
        label = (matured & (graph.label[source] == 1)).float()
        same = other[source] == other[sink]
        return Edges(target, rank, self.node_features[source], gap.float(), label, matured, same)

    def _counts(self, side: str, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Volumes [B, 3], and transactions and frauds with known labels [B, 8], of one side.

        A count over (now − days, now) is the difference of two positions in the timeline.
        """
        line, frauds = self._timeline(side), self._frauds(side)
        entity, now, before = getattr(self.graph, side)[seeds], self.graph.time[seeds], line.before[seeds].long()
        volumes = [before - line.count_until(entity, now - days * DAY - 1) for days in VOLUME_DAYS]
        known = torch.minimum(
            line.count_until(entity, now - self.delay), before
        )  # without a delay, a tie is still not earlier
        starts = [
            torch.minimum(line.count_until(entity, now - self.delay - days * DAY - 1), known) for days in RISK_DAYS
        ]
        risks = [known - start for start in starts] + [frauds[known] - frauds[start] for start in starts]
        return torch.stack(volumes, dim=1).float(), torch.stack(risks, dim=1).float()

    def _timeline(self, side: str) -> Timeline:
        return self.graph.cards if side == "card" else self.graph.merchants

    def _frauds(self, side: str) -> Tensor:
        return self.graph.card_frauds if side == "card" else self.graph.merchant_frauds


class _Stateless(Reader):
    """Reads histories without states; the states themselves are computed from these."""

    @cached_property
    def state(self) -> Tensor:
        """Empty [N, 0]."""
        return self.graph.row.new_zeros(len(self.graph), 0)

    def uncounted(self, seeds: Tensor) -> Block:
        """The block of `seeds` without counts: states do not use them."""
        card, merchant = (self.history(side, seeds, self.k) for side in SIDES)
        empty = self.graph.row.new_zeros(len(seeds), 0)
        return Block(self.graph.row[seeds], card, merchant, empty, empty)
