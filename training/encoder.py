"""GraphSAGE over the last transactions of the card and of the merchant, with torch-geometric's own convolutions."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from training.block import DAY, SIDES, Block, History

EDGE_FEATURES = 6  # log gap, recency, matured, known fraud, same card and merchant, rank


@dataclass(frozen=True)
class Width:
    """The sizes that an encoder is built from: a transaction's own features, its neighbours', the embedding."""

    own: int
    said: int
    hidden: int
    dropout: float


class Encoder(nn.Module):
    """Embeds transactions: own features and two relations' messages → embedding [B, hidden], and a logit [B] of fraud."""

    def __init__(self, width: Width) -> None:
        super().__init__()
        hidden = width.hidden
        self.scale_own = Scale(width.own)
        self.scale_said = Scale(width.said)
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

    def forward(self, own: Tensor, block: Block) -> tuple[Tensor, Tensor]:
        """Embedding [B, hidden] and logit [B] from own features [B, D] and what the block's histories say."""
        self_said = self.own(self.scale_own(own))
        heard = [self._hear(side, self_said, getattr(block, side)) for side in SIDES]
        embedding = self.mix(torch.cat([self_said, *heard], dim=1))
        return embedding, self.classify(self.drop(embedding)).squeeze(1)

    def _hear(self, side: str, own: Tensor, history: History) -> Tensor:
        """Messages along the edges (earlier transaction → transaction) of one relation [B, hidden]."""
        target, rank = history.present.nonzero(as_tuple=True)
        said = self.scale_said(torch.cat([history.row[target, rank], history.state[target, rank]], dim=1))
        message = self.message[side](torch.cat([said, _edge(history, target, rank)], dim=1))
        source = torch.arange(len(target), device=target.device)
        return torch.relu(self.convolve[side]((message, own), torch.stack([source, target])))


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
        return ((features - self.mean) * self.factor).clamp(-8, 8)


def _edge(history: History, target: Tensor, rank: Tensor) -> Tensor:
    """Features [E, 6] of the edges from the `rank`-th last transaction to `target`."""
    gap = history.gap[target, rank]
    columns = [
        torch.log1p(gap) / 10,
        torch.exp(-gap / DAY),
        history.matured[target, rank].to(gap.dtype),
        history.label[target, rank],
        history.same[target, rank].to(gap.dtype),
        rank.to(gap.dtype) / history.gap.shape[1],
    ]
    return torch.stack(columns, dim=1)
