"""Fits one encoder: epochs over the seeds, early stopping on validation AUC, a checkpoint after each epoch.

All randomness follows from (seed, epoch), so a training that resumes from its checkpoint gives the same weights as one
that was never interrupted. With `DistributedContext` (torch.distributed), each process takes its share of every batch.
"""

import copy
import io
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
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
WORKERS = 4  # threads that read batches ahead for a GPU
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

    def to(self, device: torch.device) -> "TrainingSet":
        """The same training set with its graph on another device, whose messages are then built there."""
        moved: dict[str, Any] = {
            name: replace(seeds, ids=seeds.ids.to(device), labels=seeds.labels.to(device))
            for name, seeds in (("train", self.train), ("validation", self.validation))
        }
        owns = {name: getattr(self, name).to(device) for name in ("train_own", "validation_own")}
        reader = replace(self.reader, graph=self.reader.graph.to(device))
        return replace(
            self, reader=reader, message_builder=copy.deepcopy(self.message_builder).to(device), **moved, **owns
        )

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

    def __init__(
        self,
        training_set: TrainingSet,
        config: TrainConfig,
        context: DistributedContext,
        device: torch.device | None = None,
    ) -> None:
        self.config, self.context = config, context
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.mixed = config.amp and self.device.type == "cuda"
        torch.manual_seed(config.seed)
        self.encoder = Encoder(width(training_set.reader.graph.features, config, training_set.reader.graph.sides)).to(
            self.device
        )
        self.message_builder = training_set.message_builder
        self.home = training_set.train_own.device
        self.optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mixed)
        self.state = TrainState()

    def epoch(self, training_set: TrainingSet, parallel: nn.Module) -> float:
        """One pass over the seeds; the mean loss of this process's share."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.state.epoch * 101 + self.context.rank)  # dropout's
        parallel.train()
        shares = batches(training_set.train, self.config, self.state, self.context)
        losses = [self.step(*batch, parallel) for batch in self.loaded(training_set, shares)]
        return float(torch.stack(losses).mean()) if losses else 0.0

    def loaded(self, training_set: TrainingSet, shares: Iterable[Tensor]) -> Iterator[tuple[Messages, Tensor]]:
        """The messages and labels of each batch on the trainer's device, in order.

        Where seeds are in main memory and the trainer on a GPU, threads read the next batches and copy them from
        pinned memory while the GPU computes.
        """
        if self.home.type == self.device.type:
            yield from (self.read(training_set, share) for share in shares)
            return
        with ThreadPoolExecutor(WORKERS) as pool:
            ahead: deque[Future[tuple[Messages, Tensor]]] = deque()
            for share in shares:
                ahead.append(pool.submit(self.read, training_set, share))
                if len(ahead) > 2 * WORKERS:
                    yield self.moved(ahead.popleft().result())
            yield from (self.moved(future.result()) for future in ahead)

    def read(self, training_set: TrainingSet, share: Tensor) -> tuple[Messages, Tensor]:
        """The messages and labels of one batch of seeds (positions [B]), where the seeds are."""
        share = share.to(self.home)
        edges = training_set.reader.edges(training_set.train.ids[share], training_set.fan_out)
        messages = self.message_builder(training_set.train_own[share], edges)
        wanted = training_set.train.labels[share].float()
        return (messages, wanted) if self.home.type == self.device.type else (messages.pinned(), wanted.pin_memory())

    def moved(self, batch: tuple[Messages, Tensor]) -> tuple[Messages, Tensor]:
        """A batch on the trainer's device; the copy from pinned memory does not wait for the GPU."""
        return batch[0].to(self.device), batch[1].to(self.device, non_blocking=True)

    def step(self, messages: Messages, wanted: Tensor, parallel: nn.Module) -> Tensor:
        """One batch: forward, backward; its loss, which stays on the device: reading it would wait for the GPU."""
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self.mixed):
            _, logit = parallel(messages)
            loss = nn.functional.binary_cross_entropy_with_logits(logit.float(), wanted)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    @torch.no_grad()
    def validate(self, training_set: TrainingSet) -> float:
        """AUC-ROC on the validation seeds."""
        self.encoder.eval()
        logits = [
            self.encoder(messages.to(self.device))[1].float().cpu() for messages in training_set.validation_messages
        ]
        return float(roc_auc_score(training_set.validation.labels.cpu().numpy(), torch.cat(logits).numpy()))

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
