"""Cross-fitting: the XGBoost head is trained only on out-of-fold encoder scores.

An encoder memorises a few hundred frauds quickly. A head that is trained on scores of memorised rows relies on them too
much and does worse on new data (`python -m benchmarks.quality --ablations` prints by how much). So the training period
is cut into blocks of time. For each block an encoder is trained on all other blocks, and the head is trained on its
scores of the block that was left out. Later transactions get the mean over all encoders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.model.config import TrainConfig
from training.model.encoder import Encoders
from training.model.features import width
from training.model.fit import Checkpoints, DistributedContext, Progress, TrainingSet, TrainState, fit_encoder
from training.model.seeds import Seeds, fewer


@dataclass(frozen=True)
class Fold:
    """One block of time, as positions among the seeds: what its encoder is trained on and what is left out."""

    name: str
    trained_on: Tensor
    left_out: Tensor


def folds(train: Seeds, config: TrainConfig) -> list[Fold]:
    """Contiguous blocks of time with equally many frauds, so that each encoder sees as many.

    The encoders are trained on fewer of the other seeds than the head; all seeds of a block are left out.
    """
    count, frauds = config.folds, torch.cumsum(train.labels == 1, dim=0)
    block = ((frauds - 1).clamp(min=0) * count // frauds[-1].clamp(min=1)).clamp(max=count - 1)
    taught = fewer(train, config.encoder_negative_ratio, config.seed)
    return [Fold(f"encoder-{n}", taught[block[taught] != n], (block == n).nonzero()[:, 0]) for n in range(count)]


def fit_encoders(
    training_set: TrainingSet,
    config: TrainConfig,
    checkpoints: Checkpoints,
    progress: Progress,
    context: DistributedContext | None = None,
) -> list[TrainState]:
    """One trained encoder a fold."""
    return [
        fit_encoder(_part(training_set, fold.trained_on), config, checkpoints, fold.name, progress, context)
        for fold in folds(training_set.train, config)
    ]


def scoring(states: Sequence[TrainState], training_set: TrainingSet, config: TrainConfig) -> Encoders:
    """The best weights of each encoder, ready to score: float64, evaluation mode, on the CPU."""
    graph = training_set.reader.graph
    encoders = Encoders(width(graph.features, config, graph.sides), len(states))
    encoders.message_builder.load_state_dict(training_set.message_builder.state_dict())
    for member, state in zip(encoders.members, states, strict=True):
        member.load_state_dict(state.best)
    return encoders.double().eval()


@torch.no_grad()
def left_out_scores(training_set: TrainingSet, encoders: Encoders, config: TrainConfig) -> Tensor:
    """Each training seed's graph score [S, 1] by the encoder that was not trained on it."""
    scores = torch.empty(len(training_set.train.ids), 1)
    for fold, member in zip(folds(training_set.train, config), encoders.members, strict=True):
        for part in torch.split(fold.left_out, 4096):
            edges = training_set.reader.edges(training_set.train.ids[part], training_set.fan_out)
            exact = {side: edge.double() for side, edge in edges.items()}
            scores[part, 0] = member(encoders.message_builder(training_set.train_own[part].double(), exact))[1].float()
    return scores


def _part(training_set: TrainingSet, positions: Tensor) -> TrainingSet:
    seeds = replace(
        training_set.train, ids=training_set.train.ids[positions], labels=training_set.train.labels[positions]
    )
    return replace(training_set, train=seeds, train_own=training_set.train_own[positions])
