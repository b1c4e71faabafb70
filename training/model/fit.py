"""Fits one encoder: epochs over the seeds, early stopping on validation AUC, a checkpoint after each epoch.

All randomness follows from (seed, epoch), so a training that was killed and resumes from its checkpoint goes the same
way as one that was not. With `DistributedContext` (torch.distributed), each process takes its share of every batch.
"""

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from training.graph.history import Reader
from training.model.config import TrainConfig
from training.model.encoder import Encoder, MessageBuilder, Messages
from training.model.features import width
from training.model.seeds import Seeds

LOG = logging.getLogger("fraudloop.train")
CHUNK = 4096
Progress = Callable[[str, Mapping[str, float]], None]


class Checkpoints(Protocol):
    """Where the latest state of each part of one training lies."""

    def read(self, part: str) -> bytes | None:
        """The latest state, or None if there is none."""

    def write(self, part: str, body: bytes) -> None:
        """Replaces the latest state, all of it or nothing."""


@dataclass(frozen=True)
class TrainingSet:
    """What an encoder learns from: seeds and their own features [S, D]; the reader says who their neighbours are."""

    reader: Reader
    fan_out: int
    train: Seeds
    train_own: Tensor
    validation: Seeds
    validation_own: Tensor
    listener: MessageBuilder

    @cached_property
    def heard(self) -> list[Messages]:
        """The validation seeds' messages, chunk by chunk: the same in every epoch and for every encoder."""
        parts = zip(torch.split(self.validation.ids, CHUNK), torch.split(self.validation_own, CHUNK), strict=True)
        return [self.listener(own, self.reader.edges(ids, self.fan_out)) for ids, own in parts]


@dataclass(frozen=True)
class DistributedContext:
    """The processes that train together: `wrap` joins their gradients, `agree` spreads rank 0's figure."""

    rank: int = 0
    size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    agree: Callable[[float], float] = lambda figure: figure


@dataclass
class TrainState:
    """How far a training has come: epochs done, the best validation AUC so far and its weights."""

    epoch: int = 0
    best_auc: float = -1.0
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)

    def over(self, config: TrainConfig) -> bool:
        """Whether all epochs are done, or validation has not improved for `patience` of them."""
        return self.epoch >= config.epochs or self.epoch - self.best_epoch >= config.patience


class EncoderTrainer:
    """One encoder in the making, with its optimiser; `frozen` and `thaw` are its checkpoint."""

    def __init__(self, lesson: TrainingSet, config: TrainConfig, team: DistributedContext) -> None:
        self.config, self.team = config, team
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.mixed = config.amp and self.device.type == "cuda"
        torch.manual_seed(config.seed)
        self.encoder = Encoder(width(lesson.reader.graph.features, config)).to(self.device)
        self.listener = lesson.listener
        self.optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
        self.trail = TrainState()

    def epoch(self, lesson: TrainingSet, parallel: nn.Module) -> float:
        """One pass over the seeds; the mean loss of this process's share."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.trail.epoch * 101 + self.team.rank)  # dropout's
        parallel.train()
        losses = [
            self.step(lesson, batch, parallel) for batch in batches(lesson.train, self.config, self.trail, self.team)
        ]
        return sum(losses) / max(len(losses), 1)

    def step(self, lesson: TrainingSet, batch: Tensor, parallel: nn.Module) -> float:
        """One batch of seeds (positions [B]): neighbours, forward, backward; its loss."""
        messages = self.listener(lesson.train_own[batch], lesson.reader.edges(lesson.train.ids[batch], lesson.fan_out))
        wanted = lesson.train.labels[batch].float().to(self.device)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.mixed):
            _, logit = parallel(messages.to(self.device))
            loss = nn.functional.binary_cross_entropy_with_logits(logit.float(), wanted)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return float(loss.detach())

    @torch.no_grad()
    def validate(self, lesson: TrainingSet) -> float:
        """AUC-ROC on the validation seeds."""
        self.encoder.eval()
        logits = [self.encoder(messages.to(self.device))[1].float().cpu() for messages in lesson.heard]
        return float(roc_auc_score(lesson.validation.labels.numpy(), torch.cat(logits).numpy()))

    def note(self, loss: float, auc: float) -> None:
        """Writes one more epoch into the trail."""
        self.trail.epoch += 1
        self.trail.losses.append(loss)
        if auc > self.trail.best_auc:
            self.trail.best_auc, self.trail.best_epoch = auc, self.trail.epoch
            self.trail.best = {
                name: tensor.detach().cpu().clone() for name, tensor in self.encoder.state_dict().items()
            }

    def frozen(self) -> bytes:
        """The checkpoint."""
        state = {
            "trail": asdict(self.trail),
            "encoder": self.encoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def thaw(self, body: bytes) -> None:
        """Goes on from a checkpoint."""
        state: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        self.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.trail = TrainState(**state["trail"])
        LOG.info("resumed", extra={"epoch": self.trail.epoch})


def fit_encoder(
    lesson: TrainingSet,
    config: TrainConfig,
    checkpoints: Checkpoints,
    part: str = "encoder",
    progress: Progress = lambda event, figures: None,
    team: DistributedContext | None = None,
) -> TrainState:
    """Trains until early stopping or the last epoch and returns the trail, whose `best` weights are the result."""
    team = team or DistributedContext()
    fitting = EncoderTrainer(lesson, config, team)
    if (body := checkpoints.read(part)) is not None:
        fitting.thaw(body)
    parallel = team.wrap(fitting.encoder)
    while not fitting.trail.over(config):
        loss = fitting.epoch(lesson, parallel)
        auc = team.agree(fitting.validate(lesson))
        fitting.note(loss, auc)
        if team.rank == 0:
            checkpoints.write(part, fitting.frozen())
            progress(part, {"epoch": fitting.trail.epoch, "loss": loss, "val_auc_roc": auc})
    return fitting.trail


def batches(train: Seeds, config: TrainConfig, trail: TrainState, team: DistributedContext) -> Iterator[Tensor]:
    """This process's share of each shuffled batch; the batches are the same however many processes there are."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + trail.epoch)
    for batch in torch.split(torch.randperm(len(train.ids), generator=generator), config.batch_size):
        share = batch[: len(batch) // team.size * team.size][team.rank :: team.size]
        if len(share):
            yield share
