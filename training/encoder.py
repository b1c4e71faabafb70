"""GraphSAGE over the last transactions of the card and of the merchant, with torch-geometric's own convolutions."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn import SAGEConv

from training.history import DAY, SIDES, Block, History

EDGE_FEATURES = 6  # log gap, recency, matured, known fraud, same counterpart, rank


@dataclass(frozen=True)
class Width:
    """The sizes that an encoder is built from."""

    row: int
    hidden: int
    dropout: float


class Encoder(nn.Module):
    """Embeds transactions: own row and two relations' messages → embedding [B, hidden], and a logit [B] to train by."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: Width) -> None:
        super().__init__()
        hidden = width.hidden
        self.register_buffer("mean", torch.zeros(width.row))
        self.register_buffer("scale", torch.ones(width.row))
        self.own = nn.Sequential(nn.Linear(width.row, hidden), nn.ReLU())
        self.message = nn.ModuleDict(
            {side: nn.Sequential(nn.Linear(width.row + EDGE_FEATURES, hidden), nn.ReLU()) for side in SIDES}
        )
        self.convolve = nn.ModuleDict(
            {side: SAGEConv((hidden, hidden), hidden, aggr=["mean", "max"]) for side in SIDES}
        )
        self.mix = nn.Sequential(
            nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Dropout(width.dropout), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.drop = nn.Dropout(width.dropout)
        self.classify = nn.Linear(hidden, 1)

    def fit_scale(self, row: Tensor) -> None:
        """Standardises by the rows [B, F] of the training seeds."""
        self.mean.copy_(row.mean(0))
        self.scale.copy_(1 / row.std(0).clamp(min=1e-3))

    def forward(self, block: Block) -> tuple[Tensor, Tensor]:
        """Embedding [B, hidden] and logit [B]."""
        own = self.own(self._standard(block.row))
        heard = [self._hear(side, own, getattr(block, side)) for side in SIDES]
        embedding = self.mix(torch.cat([own, *heard], dim=1))
        return embedding, self.classify(self.drop(embedding)).squeeze(1)

    def _hear(self, side: str, own: Tensor, history: History) -> Tensor:
        """Messages along the edges (earlier transaction → transaction) of one relation [B, hidden]."""
        target, rank = history.present.nonzero(as_tuple=True)
        said = torch.cat([self._standard(history.row[target, rank]), _edge(history, target, rank)], dim=1)
        source = torch.arange(len(target), device=target.device)
        message = self.message[side](said)
        return torch.relu(self.convolve[side]((message, own), torch.stack([source, target])))

    def _standard(self, row: Tensor) -> Tensor:
        return ((row - self.mean) * self.scale).clamp(-8, 8)


def _edge(history: History, target: Tensor, rank: Tensor) -> Tensor:
    """Features [E, 6] of the edges from the `rank`-th last transaction to `target`."""
    gap = history.gap[target, rank]
    columns = [
        torch.log1p(gap) / 10,
        torch.exp(-gap / DAY),
        history.matured[target, rank].float(),
        history.label[target, rank],
        history.same[target, rank].float(),
        rank.float() / history.gap.shape[1],
    ]
    return torch.stack(columns, dim=1)
