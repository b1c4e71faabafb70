"""Reads blocks from the graph: transactions with their strictly earlier neighbours and the counts known then."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from training.graph.block import DAY, RISK_DAYS, VOLUME_DAYS, Block, Edges, History, picked
from training.graph.graph import Graph, taken
from training.graph.velocity import SOURCES, source_columns, state

CHUNK = 4096
FEW = 4  # each reads some hundred rows of the graph
STATE_CHUNK = 32_768


@dataclass(frozen=True)
class Reader:
    """Reads blocks of a graph: `k` earlier transactions a side, and labels that were known the day before."""

    graph: Graph
    k: int

    def block(self, seeds: Tensor) -> Block:
        """The block of the transactions `seeds` [B]."""
        volumes, risks = zip(*(self._counts(side, seeds) for side in self.graph.sides), strict=True)
        histories = {side: self.history(side, seeds, self.k) for side in self.graph.sides}
        return Block(taken(self.graph.row, seeds), histories, torch.cat(volumes, dim=1), torch.cat(risks, dim=1))

    def block_in_parts(self, seeds: Tensor) -> Block:
        """The same, for few transactions of a large graph: little of its mapped files is held at once.

        The kernel maps 64 KB around each row that is read.
        """
        parts = []
        for some in torch.split(seeds, FEW):
            parts.append(self.block(some))
            self.graph.release()
        return Block.joined(parts)

    def needed(self, seeds: Tensor) -> Block:
        """The block of `seeds` with only what a transaction's own features need: `SOURCES` for row features, no states.

        It is `block(seeds).only(…)` without reading the rest, which is most of it.
        """
        volumes, risks = zip(*(self._counts(side, seeds) for side in self.graph.sides), strict=True)
        histories = {side: self._needed(side, seeds) for side in self.graph.sides}
        return Block(taken(self.sources, seeds), histories, torch.cat(volumes, dim=1), torch.cat(risks, dim=1))

    def edges(self, seeds: Tensor, fan_out: int) -> dict[str, Edges]:
        """The edges from the last `fan_out` transactions of each of a seed's entities, without padding."""
        return {side: self._edges(side, seeds, fan_out) for side in self.graph.sides}

    def blocks(self, seeds: Tensor, size: int = CHUNK) -> Iterator[Block]:
        """Blocks of at most `size` transactions, so that memory does not grow with the number of seeds."""
        for chunk in torch.split(seeds, size):
            yield self.block(chunk)

    @cached_property
    def sources(self) -> Tensor:
        """The row features `SOURCES` of all transactions [N, 3]; zeros for those that the model has not."""
        if self.k in self.graph.sources:
            return self.graph.sources[self.k]
        chosen: Tensor = picked(self.graph.row, source_columns(self.graph.features))
        return chosen.contiguous()

    @cached_property
    def state(self) -> Tensor:
        """The velocity features `STATE` of all transactions [N, S], each at its own timestamp."""
        if self.k in self.graph.nodes:
            return self.graph.nodes[self.k][:, len(self.graph.features) :]
        narrow = replace(self.graph, row=self.sources, features=SOURCES)
        return Stateless(narrow, self.k).states(0, len(narrow))

    @cached_property
    def node_features(self) -> Tensor:
        """Row features and state of all transactions [N, F + S] in one tensor: an edge needs one gather, not two."""
        if self.k in self.graph.nodes:
            return self.graph.nodes[self.k]
        return torch.cat([self.graph.row, self.state], dim=1)

    def history(self, side: str, seeds: Tensor, k: int) -> History:
        """The last `k` strictly earlier transactions of the seeds' entities of one relation."""
        ids, present = self.graph.timelines[side].previous(seeds, k)
        features = taken(self.node_features, ids) * present[..., None]
        width = len(self.graph.features)
        return self._told(side, seeds, ids, present, features[..., :width], features[..., width:])

    def _needed(self, side: str, seeds: Tensor) -> History:
        ids, present = self.graph.timelines[side].previous(seeds, self.k)
        row = taken(self.sources, ids) * present[..., None]
        return self._told(side, seeds, ids, present, row, row[..., :0])

    def _told(self, side: str, seeds: Tensor, ids: Tensor, present: Tensor, row: Tensor, state: Tensor) -> History:
        """The history [B, K] of these `ids` with what `seeds` know of each: its age and, if it was known, its label."""
        gap = (taken(self.graph.time, seeds)[:, None] - taken(self.graph.time, ids)) * present
        matured = present & self._teaches(ids, seeds[:, None])
        return History(
            row=row,
            state=state,
            gap=gap.float(),
            label=(matured & (taken(self.graph.label, ids) == 1)).float(),
            matured=matured,
            same=self._same(side, ids, seeds[:, None], present),
            present=present,
        )

    def _edges(self, side: str, seeds: Tensor, fan_out: int) -> Edges:
        graph = self.graph
        ids, present = graph.timelines[side].previous(seeds, fan_out)
        target, rank = present.nonzero(as_tuple=True)
        source, sink = ids[target, rank], seeds[target]
        gap = taken(graph.time, sink) - taken(graph.time, source)
        matured = self._teaches(source, sink)
        label = (matured & (taken(graph.label, source) == 1)).float()
        same = self._same(side, source, sink, torch.ones_like(matured))
        return Edges(target, rank, taken(self.node_features, source), gap.float(), label, matured, same)

    def _teaches(self, ids: Tensor, seeds: Tensor) -> Tensor:
        """Whether the labels of `ids` became known before the days of `seeds`."""
        return taken(self.graph.known_day, ids) < taken(self.graph.time, seeds) // DAY

    def _same(self, side: str, ids: Tensor, seeds: Tensor, present: Tensor) -> Tensor:
        """Whether all other entities, too, are those of the seeds."""
        for other in (codes for name, codes in self.graph.entities.items() if name != side):
            present = present & (taken(other, ids) == taken(other, seeds))
        return present

    def _counts(self, side: str, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Volumes [B, 6], and transactions and frauds with known labels [B, 10], of one relation.

        A count over days is the difference of two positions in the timeline, or among the known labels; a sum of
        amounts that of the running sums there, which is exact until it is divided.
        """
        line, reports = self.graph.timelines[side], self.graph.reports[side]
        entity, before = taken(self.graph.entities[side], seeds), taken(line.before, seeds)
        today = taken(self.graph.time, seeds) // DAY
        begins = [line.count_until(entity, (today - days + 1) * DAY - 1) for days in VOLUME_DAYS]
        volumes = [before - begin for begin in begins] + [self._spent(side, begin, before) for begin in begins]
        known, frauds = reports.until(entity, today - 1)
        earlier = [reports.until(entity, today - days - 1) for days in RISK_DAYS]
        risks = [known - count for count, _ in earlier] + [frauds - count for _, count in earlier]
        return torch.stack(volumes, dim=1).float(), torch.stack(risks, dim=1).float()

    def _spent(self, side: str, begin: Tensor, before: Tensor) -> Tensor:
        """Amounts [B] of the transactions between two positions of the timeline, in whole units of the currency."""
        sums = self.graph.spent[side]
        return (taken(sums, before) - taken(sums, begin)).double() / self.graph.unit


class Stateless(Reader):
    """Reads histories without states or labels; the states themselves are computed from these."""

    def states(self, first: int, count: int) -> Tensor:
        """The states [count, S] of transactions from number `first` on."""
        ids = torch.arange(first, min(first + count, len(self.graph)), device=self.graph.time.device)
        parts = [state(self._uncounted(chunk), SOURCES).float() for chunk in torch.split(ids, STATE_CHUNK)]
        return torch.cat(parts)

    def _uncounted(self, seeds: Tensor) -> Block:
        """The float64 block of `seeds` without counts and labels: states do not use them."""
        histories = {side: self._unlabelled(side, seeds) for side in self.graph.sides}
        empty = self.graph.row.new_zeros(len(seeds), 0)
        return Block(taken(self.graph.row, seeds).double(), histories, empty, empty)

    def _unlabelled(self, side: str, seeds: Tensor) -> History:
        ids, present = self.graph.timelines[side].previous(seeds, self.k)
        gap = (taken(self.graph.time, seeds)[:, None] - taken(self.graph.time, ids)) * present
        row = taken(self.graph.row, ids).double() * present[..., None]
        empty = row.new_zeros(0)
        return History(
            row, empty, gap.float().double(), empty, empty, self._same(side, ids, seeds[:, None], present), present
        )
