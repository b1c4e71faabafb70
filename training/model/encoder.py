"""GraphSAGE over the last transactions of the card and of the merchant, with torch-geometric's own convolutions."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from training.graph.block import DAY, SIDES, Edges

EDGE_FEATURES = 6  # log gap, recency, matured, known fraud, same card and merchant, rank


@dataclass(frozen=True)
class Width:
    """The sizes that an encoder is built from: a transaction's own features, its neighbours', the embedding."""

    own: int
    said: int
    hidden: int
    dropout: float


@dataclass(frozen=True)
class Messages:
    """Standardised own features [B, D], and per relation where each edge leads [E] and what it says [E, F + S + 6]."""

    own: Tensor
    edges: Mapping[str, tuple[Tensor, Tensor]]

    def to(self, device: torch.device) -> "Messages":
        """The same messages on another device."""
        edges = {side: (target.to(device), said.to(device)) for side, (target, said) in self.edges.items()}
        return Messages(self.own.to(device), edges)


class Scale(nn.Module):
    """Standardises features by the mean and deviation of the training seeds, and cuts off what is far out."""

    mean: Tensor
    factor: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("factor", torch.ones(width))

    def fit(self, features: Tensor) -> None:
        """Takes mean and deviation from features [S, D]."""
        self.mean.copy_(features.mean(0))
        self.factor.copy_(1 / features.std(0).clamp(min=1e-3))

    def forward(self, features: Tensor) -> Tensor:
        """Standardised features."""
        return ((features - self.mean) * self.factor).clamp_(-8, 8)


class MessageBuilder(nn.Module):
    """Makes messages of blocks. All encoders of a model share one, so messages are made once for all of them."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        self.own = Scale(width.own)
        self.said = Scale(width.said)

    @torch.no_grad()
    def forward(self, own: Tensor, edges: Mapping[str, Edges]) -> Messages:
        """The messages for own features [B, D] and what comes along the edges of each relation."""
        return Messages(self.own(own), {side: self._said(edges[side]) for side in SIDES})

    def _said(self, edges: Edges) -> tuple[Tensor, Tensor]:
        return edges.target, torch.cat([self.said(edges.said), _circumstances(edges)], dim=1)


class Encoder(nn.Module):
    """Embeds transactions: own features and two relations' messages → embedding [B, hidden] and fraud logit [B]."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        hidden = width.hidden
        self.own = nn.Sequential(nn.Linear(width.own, hidden), nn.ReLU())
        self.message = nn.ModuleDict(
            {side: nn.Sequential(nn.Linear(width.said + EDGE_FEATURES, hidden), nn.ReLU()) for side in SIDES}
        )
        self.convolve = nn.ModuleDict(
            {side: SAGEConv((hidden, hidden), hidden, aggr=["mean", "max"]) for side in SIDES}
        )
        self.mix = nn.Sequential(
            nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Dropout(width.dropout), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.drop = nn.Dropout(width.dropout)
        self.classify = nn.Linear(hidden, 1)

    def forward(self, messages: Messages) -> tuple[Tensor, Tensor]:
        """Embedding [B, hidden] and logit [B]."""
        own = self.own(messages.own)
        heard = [self._hear(side, own, *messages.edges[side]) for side in SIDES]
        embedding = self.mix(torch.cat([own, *heard], dim=1))
        return embedding, self.classify(self.drop(embedding)).squeeze(1)

    def _hear(self, side: str, own: Tensor, target: Tensor, said: Tensor) -> Tensor:
        """What comes along the edges (earlier transaction → transaction) of one relation [B, hidden]."""
        edges = torch.stack([torch.arange(len(target), device=target.device), target])
        return torch.relu(self.convolve[side]((self.message[side](said), own), edges))


class Encoders(nn.Module):
    """The cross-fitted encoders of a model and the listener that they share."""

    def __init__(self, width: Width, count: int) -> None:
        super().__init__()
        self.listener = MessageBuilder(width)
        self.members = nn.ModuleList(Encoder(width) for _ in range(count))

    def forward(self, own: Tensor, edges: Mapping[str, Edges]) -> Tensor:
        """The embedding as the head sees it [B, 1]: its projection on the classifier, averaged over the encoders."""
        messages = self.listener(own, edges)
        return torch.stack([member(messages)[1] for member in self.members], dim=1).mean(1, keepdim=True)


def _circumstances(edges: Edges) -> Tensor:
    """Features [E, 6] of the edges themselves."""
    gap = edges.gap
    columns = [
        torch.log1p(gap) / 10,
        torch.exp(-gap / DAY),
        edges.matured.to(gap.dtype),
        edges.label,
        edges.same.to(gap.dtype),
        edges.rank.to(gap.dtype) / 16,
    ]
    return torch.stack(columns, dim=1)
