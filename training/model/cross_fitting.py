"""Cross-fitting: the head never learns from an encoder's opinion of a seed that this encoder has learned by heart.

A few hundred frauds are soon memorised. A head that is trained on such scores trusts them blindly and loses on new data
(`python -m benchmarks.quality --ablations` prints by how much). So the training period is cut into blocks of time;
for each one an encoder learns from all others, and its scores of the block left out are what the head is trained on.
Later transactions get the mean over all encoders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.model.config import TrainConfig
from training.model.encoder import Encoders
from training.model.features import width
from training.model.fit import Checkpoints, DistributedContext, Progress, TrainingSet, TrainState, fit_encoder
from training.model.seeds import Seeds


@dataclass(frozen=True)
class Fold:
    """One block of time, as positions among the seeds: what its encoder learns from and what is left out."""

    name: str
    learned: Tensor
    left_out: Tensor


def folds(train: Seeds, count: int) -> list[Fold]:
    """Contiguous blocks of time with equally many frauds, so that each encoder sees as many."""
    frauds = torch.cumsum(train.labels == 1, dim=0)
    block = ((frauds - 1).clamp(min=0) * count // frauds[-1].clamp(min=1)).clamp(max=count - 1)
    return [Fold(f"encoder-{n}", (block != n).nonzero()[:, 0], (block == n).nonzero()[:, 0]) for n in range(count)]


def fit_encoders(
    lesson: TrainingSet,
    config: TrainConfig,
    checkpoints: Checkpoints,
    progress: Progress,
    team: DistributedContext | None = None,
) -> list[TrainState]:
    """One trail a fold."""
    return [
        fit_encoder(_part(lesson, fold.learned), config, checkpoints, fold.name, progress, team)
        for fold in folds(lesson.train, config.folds)
    ]


def scoring(trails: Sequence[TrainState], lesson: TrainingSet, config: TrainConfig) -> Encoders:
    """The best weights of each trail, ready to score: float64, evaluation mode, on the CPU."""
    encoders = Encoders(width(lesson.reader.graph.features, config), len(trails))
    encoders.listener.load_state_dict(lesson.listener.state_dict())
    for member, trail in zip(encoders.members, trails, strict=True):
        member.load_state_dict(trail.best)
    return encoders.double().eval()


@torch.no_grad()
def left_out_scores(lesson: TrainingSet, encoders: Encoders, config: TrainConfig) -> Tensor:
    """Each training seed's graph score [S, 1] by the encoder that has not learned from it."""
    scores = torch.empty(len(lesson.train.ids), 1)
    for fold, member in zip(folds(lesson.train, config.folds), encoders.members, strict=True):
        for part in torch.split(fold.left_out, 4096):
            edges = lesson.reader.edges(lesson.train.ids[part], lesson.fan_out)
            exact = {side: said.double() for side, said in edges.items()}
            scores[part, 0] = member(encoders.listener(lesson.train_own[part].double(), exact))[1].float()
    return scores


def _part(lesson: TrainingSet, positions: Tensor) -> TrainingSet:
    seeds = replace(lesson.train, ids=lesson.train.ids[positions], labels=lesson.train.labels[positions])
    return replace(lesson, train=seeds, train_own=lesson.train_own[positions])
