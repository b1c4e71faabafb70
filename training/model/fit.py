"""Fits one encoder: epochs over the seeds, early stopping on validation AUC, a checkpoint after each epoch.

All randomness follows from (seed, epoch), so a training that resumes from its checkpoint gives the same weights as one
that was never interrupted. With `DistributedContext` (torch.distributed), each process takes its share of every batch.
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
CHECKPOINT_FORMAT = 2  # a training never resumes from a checkpoint of another format
Progress = Callable[[str, Mapping[str, float]], None]


class Checkpoints(Protocol):
    """Where the latest state of each part of one training lies."""

    def read(self, part: str) -> bytes | None:
        """The latest state, or None if there is none."""

    def write(self, part: str, body: bytes) -> None:
        """Replaces the latest state, all of it or nothing."""


@dataclass(frozen=True)
class TrainingSet:
    """What an encoder is trained on: seeds and their own features [S, D]; the reader gives their neighbours."""

    reader: Reader
    fan_out: int
    train: Seeds
    train_own: Tensor
    validation: Seeds
    validation_own: Tensor
    message_builder: MessageBuilder

    @cached_property
    def validation_messages(self) -> list[Messages]:
        """The validation seeds' messages, chunk by chunk: the same in every epoch and for every encoder."""
        parts = zip(torch.split(self.validation.ids, CHUNK), torch.split(self.validation_own, CHUNK), strict=True)
        return [self.message_builder(own, self.reader.edges(ids, self.fan_out)) for ids, own in parts]


@dataclass(frozen=True)
class DistributedContext:
    """The processes that train together: `wrap` averages their gradients, `agree` broadcasts rank 0's value."""

    rank: int = 0
    size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    agree: Callable[[float], float] = lambda value: value


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
    """One encoder in training, with its optimiser and its checkpoint."""

    def __init__(self, training_set: TrainingSet, config: TrainConfig, context: DistributedContext) -> None:
        self.config, self.context = config, context
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.mixed = config.amp and self.device.type == "cuda"
        torch.manual_seed(config.seed)
        self.encoder = Encoder(width(training_set.reader.graph.features, config, training_set.reader.graph.sides)).to(
            self.device
        )
        self.message_builder = training_set.message_builder
        self.optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
        self.state = TrainState()

    def epoch(self, training_set: TrainingSet, parallel: nn.Module) -> float:
        """One pass over the seeds; the mean loss of this process's share."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.state.epoch * 101 + self.context.rank)  # dropout's
        parallel.train()
        losses = [
            self.step(training_set, batch, parallel)
            for batch in batches(training_set.train, self.config, self.state, self.context)
        ]
        return sum(losses) / max(len(losses), 1)

    def step(self, training_set: TrainingSet, batch: Tensor, parallel: nn.Module) -> float:
        """One batch of seeds (positions [B]): neighbours, forward, backward; its loss."""
        messages = self.message_builder(
            training_set.train_own[batch],
            training_set.reader.edges(training_set.train.ids[batch], training_set.fan_out),
        )
        wanted = training_set.train.labels[batch].float().to(self.device)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.mixed):
            _, logit = parallel(messages.to(self.device))
            loss = nn.functional.binary_cross_entropy_with_logits(logit.float(), wanted)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return float(loss.detach())

    @torch.no_grad()
    def validate(self, training_set: TrainingSet) -> float:
        """AUC-ROC on the validation seeds."""
        self.encoder.eval()
        logits = [
            self.encoder(messages.to(self.device))[1].float().cpu() for messages in training_set.validation_messages
        ]
        return float(roc_auc_score(training_set.validation.labels.numpy(), torch.cat(logits).numpy()))

    def note(self, loss: float, auc: float) -> None:
        """Records one more epoch."""
        self.state.epoch += 1
        self.state.losses.append(loss)
        if auc > self.state.best_auc:
            self.state.best_auc, self.state.best_epoch = auc, self.state.epoch
            self.state.best = {
                name: tensor.detach().cpu().clone() for name, tensor in self.encoder.state_dict().items()
            }

    def state_dict(self) -> bytes:
        """The checkpoint's bytes."""
        state = {
            "state": asdict(self.state),
            "encoder": self.encoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        return buffer.getvalue()

    def load_state_dict(self, body: bytes) -> None:
        """Resumes from a checkpoint."""
        saved: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        self.encoder.load_state_dict(saved["encoder"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])
        self.state = TrainState(**saved["state"])
        LOG.info("resumed", extra={"epoch": self.state.epoch})


def fit_encoder(
    training_set: TrainingSet,
    config: TrainConfig,
    checkpoints: Checkpoints,
    part: str = "encoder",
    progress: Progress = lambda event, metrics: None,
    context: DistributedContext | None = None,
) -> TrainState:
    """Trains until early stopping or the last epoch and returns the state, whose `best` weights are the result."""
    context = context or DistributedContext()
    trainer = EncoderTrainer(training_set, config, context)
    if (body := checkpoints.read(part)) is not None:
        trainer.load_state_dict(body)
    parallel = context.wrap(trainer.encoder)
    while not trainer.state.over(config):
        loss = trainer.epoch(training_set, parallel)
        auc = context.agree(trainer.validate(training_set))
        trainer.note(loss, auc)
        if context.rank == 0:
            checkpoints.write(part, trainer.state_dict())
            progress(part, {"epoch": trainer.state.epoch, "loss": loss, "val_auc_roc": auc})
    return trainer.state


def batches(train: Seeds, config: TrainConfig, state: TrainState, context: DistributedContext) -> Iterator[Tensor]:
    """This process's share of each shuffled batch; the batches are the same however many processes there are."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + state.epoch)
    for batch in torch.split(torch.randperm(len(train.ids), generator=generator), config.batch_size):
        share = batch[: len(batch) // context.size * context.size][context.rank :: context.size]
        if len(share):
            yield share
