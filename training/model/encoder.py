"""GraphSAGE over the last transactions of each entity, with torch-geometric's own convolutions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.graph.arrays import Array, library
from training.graph.block import DAY, SIDES, Edges

LIMIT = 8.0  # of a standardised feature
EDGE_FEATURES = 6  # log gap, recency, matured, known fraud, all entities the same, rank


@dataclass(frozen=True)
class Width:
    """The sizes of an encoder: a transaction's own features, a neighbour's, the embedding; and the relations."""

    own: int
    neighbour: int
    hidden: int
    dropout: float
    sides: tuple[str, ...] = SIDES


@dataclass(frozen=True)
class Messages:
    """Standardised own features [B, D]; per relation the target [E] and the features [E, F + S + 6] of each edge."""

    own: Tensor
    edges: Mapping[str, tuple[Tensor, Tensor]]

    def to(self, device: torch.device) -> "Messages":
        """The same messages on another device; the copy of pinned ones does not wait."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Messages":
        """The same messages in memory that a GPU can read while it computes."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Messages":
        edges = {side: (change(target), change(edge)) for side, (target, edge) in self.edges.items()}
        return Messages(change(self.own), edges)


class Scale(nn.Module):
    """Standardises features by the training seeds: clip((x − mean) / std, −8, 8)."""

    mean: Tensor
    factor: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("factor", torch.ones(width))

    def fit(self, features: Tensor) -> None:
        """Takes mean and standard deviation from features [S, D]."""
        self.mean.copy_(features.mean(0))
        self.factor.copy_(1 / features.std(0).clamp(min=1e-3))

    def forward(self, features: Tensor) -> Tensor:
        """Standardised features."""
        return ((features - self.mean) * self.factor).clamp_(-LIMIT, LIMIT)


class MessageBuilder(nn.Module):
    """Builds the messages of a block. The encoders of a model share one, so messages are built once for all of them."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        self.own = Scale(width.own)
        self.neighbour = Scale(width.neighbour)

    @torch.no_grad()
    def forward(self, own: Tensor, edges: Mapping[str, Edges]) -> Messages:
        """The messages for own features [B, D] and the edges of each relation."""
        return Messages(self.own(own), {side: self._edge_inputs(one) for side, one in edges.items()})

    def _edge_inputs(self, edges: Edges) -> tuple[Tensor, Tensor]:
        told = edge_features(edges.gap, edges.matured, edges.label, edges.same, edges.rank)
        return edges.target, torch.cat([self.neighbour(edges.source), told], dim=1)


class Encoder(nn.Module):
    """GraphSAGE with one layer over a relation an entity (Hamilton et al. 2017, arXiv:1706.02216).

    For a transaction i with own features x_i and, per relation r, edges from earlier transactions j:
    m_j = ReLU(W_r [x_j, e_ij]), h_r = ReLU(W_self x_i + W_nbr [mean_j m_j, max_j m_j]), and the embedding is
    MLP([ReLU(W x_i), h_r for each r]); a linear classifier gives the fraud logit.
    """

    def __init__(self, width: Width) -> None:
        from torch_geometric.nn import (
            SAGEConv,
        )  # it takes 100 MB; who scores by `training.model.forward` needs none of it

        super().__init__()
        hidden, self.sides = width.hidden, width.sides
        self.own = nn.Sequential(nn.Linear(width.own, hidden), nn.ReLU())
        self.message = nn.ModuleDict(
            {
                module_name(s): nn.Sequential(nn.Linear(width.neighbour + EDGE_FEATURES, hidden), nn.ReLU())
                for s in self.sides
            }
        )
        self.convolve = nn.ModuleDict(
            {module_name(side): SAGEConv((hidden, hidden), hidden, aggr=["mean", "max"]) for side in self.sides}
        )
        self.mix = nn.Sequential(
            nn.Linear((1 + len(self.sides)) * hidden, hidden),
            nn.ReLU(),
            nn.Dropout(width.dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.drop = nn.Dropout(width.dropout)
        self.classify = nn.Linear(hidden, 1)

    def forward(self, messages: Messages) -> tuple[Tensor, Tensor]:
        """Embedding [B, hidden] and logit [B]."""
        own = self.own(messages.own)
        aggregated = [self._aggregate(side, own, *messages.edges[side]) for side in self.sides]
        embedding = self.mix(torch.cat([own, *aggregated], dim=1))
        return embedding, self.classify(self.drop(embedding)).squeeze(1)

    def _aggregate(self, side: str, own: Tensor, target: Tensor, edge: Tensor) -> Tensor:
        """The aggregated messages along the edges (earlier transaction → transaction) of one relation [B, hidden]."""
        edges = torch.stack([torch.arange(len(target), device=target.device), target])
        name = module_name(side)
        return torch.relu(self.convolve[name]((self.message[name](edge), own), edges))


class Encoders(nn.Module):
    """The cross-fitted encoders of a model and the message builder that they share."""

    def __init__(self, width: Width, count: int) -> None:
        super().__init__()
        self.message_builder = MessageBuilder(width)
        self.members = nn.ModuleList(Encoder(width) for _ in range(count))

    def forward(self, own: Tensor, edges: Mapping[str, Edges]) -> Tensor:
        """The head's graph feature [B, 1]: the fraud logit, averaged over the encoders."""
        messages = self.message_builder(own, edges)
        return torch.stack([member(messages)[1] for member in self.members], dim=1).mean(1, keepdim=True)


def module_name(side: str) -> str:
    """The name of a relation's modules; torch refuses one that is a method of its own, such as `type`."""
    return f"{side}_" if hasattr(nn.ModuleDict, side) else side


def edge_features(gap: Array, matured: Array, label: Array, same: Array, rank: Array) -> Array:
    """Features […, 6] of edges […]: log gap, recency, matured, known fraud, all entities the same, rank."""
    lib = library(gap)
    zero = lib.zeros_like(gap)  # makes numbers of truth values, in the same precision
    columns = [lib.log1p(gap) / 10, lib.exp(-gap / DAY), matured + zero, label, same + zero, (rank + zero) / 16]
    return lib.stack(columns, -1)
