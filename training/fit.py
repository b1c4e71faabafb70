"""Fits the encoder: epochs over the seeds, early stopping on validation AUC, a checkpoint after each epoch.

All randomness follows from (seed, epoch), so a training that was killed and resumes from its checkpoint goes the same
way as one that was not. `Team` is what torch.distributed changes: each process takes its share of every batch.
"""

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from training.config import TrainConfig
from training.encoder import Encoder, Width
from training.history import Block, Reader
from training.seeds import Seeds

LOG = logging.getLogger("fraudloop.train")
Progress = Callable[[str, Mapping[str, float]], None]


class Checkpoints(Protocol):
    """Where one training's latest state lies."""

    def read(self) -> bytes | None:
        """The latest state, or None if there is none."""

    def write(self, body: bytes) -> None:
        """Replaces the latest state, all of it or nothing."""


@dataclass(frozen=True)
class Team:
    """The processes that train together; `wrap` makes gradients those of the whole batch."""

    rank: int = 0
    size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda module: module
    agree: Callable[[float], float] = lambda figure: figure


@dataclass
class Trail:
    """How far a training has come: epochs done, the best validation AUC so far and its weights."""

    epoch: int = 0
    best_auc: float = -1.0
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)

    def over(self, config: TrainConfig) -> bool:
        """Whether all epochs are done, or validation has not improved for `patience` of them."""
        return self.epoch >= config.epochs or self.epoch - self.best_epoch >= config.patience


def fit_encoder(
    reader: Reader,
    train: Seeds,
    validation: Seeds,
    config: TrainConfig,
    checkpoints: Checkpoints,
    progress: Progress = lambda event, figures: None,
    team: Team | None = None,
) -> Trail:
    """Trains until early stopping or the last epoch and returns the trail, whose `best` weights are the result."""
    team = team or Team()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    encoder = Encoder(Width(reader.graph.row.shape[1], config.hidden_dim, config.dropout))
    encoder.fit_scale(reader.graph.row[train.ids])
    encoder.to(device)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=_mixed(config, device))
    trail = _resume(checkpoints, encoder, optimizer, scaler)
    parallel = team.wrap(encoder)
    while not trail.over(config):
        loss = _epoch(reader, train, config, parallel, optimizer, scaler, trail.epoch, team)
        auc = team.agree(_validate(reader, validation, config, encoder))
        trail.epoch += 1
        trail.losses.append(loss)
        if auc > trail.best_auc:
            trail.best_auc, trail.best_epoch = auc, trail.epoch
            trail.best = {name: tensor.detach().cpu().clone() for name, tensor in encoder.state_dict().items()}
        if team.rank == 0:
            checkpoints.write(_frozen(trail, encoder, optimizer, scaler))
            progress("epoch", {"epoch": trail.epoch, "loss": loss, "val_auc_roc": auc})
    return trail


def _epoch(
    reader: Reader,
    train: Seeds,
    config: TrainConfig,
    encoder: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    epoch: int,
    team: Team,
) -> float:
    """One pass over the seeds; the mean loss of this process's share."""
    device = next(encoder.parameters()).device
    torch.manual_seed(config.seed * 1_000_003 + epoch * 101 + team.rank)  # dropout's
    encoder.train()
    total, batches = 0.0, 0
    for batch in _batches(train, config, epoch, team):
        block = _fetch(reader, train.ids[batch], config.fan_out, device)
        with torch.autocast(device.type, dtype=torch.float16, enabled=_mixed(config, device)):
            _, logit = encoder(block)
            loss = nn.functional.binary_cross_entropy_with_logits(logit.float(), train.labels[batch].float().to(device))
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total, batches = total + float(loss.detach()), batches + 1
    return total / max(batches, 1)


def _batches(train: Seeds, config: TrainConfig, epoch: int, team: Team) -> Iterator[Tensor]:
    """This process's share of each shuffled batch; the batches are the same however many processes there are."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    for batch in torch.randperm(len(train.ids), generator=generator).split(config.batch_size):
        share = batch[: len(batch) // team.size * team.size][team.rank :: team.size]
        if len(share):
            yield share


@torch.no_grad()
def _validate(reader: Reader, validation: Seeds, config: TrainConfig, encoder: Encoder) -> float:
    encoder.eval()
    device = next(encoder.parameters()).device
    logits = [
        encoder(_fetch(reader, ids, config.fan_out, device))[1].float().cpu() for ids in validation.ids.split(8192)
    ]
    return float(roc_auc_score(validation.labels.numpy(), torch.cat(logits).numpy()))


def _fetch(reader: Reader, ids: Tensor, fan_out: int, device: torch.device) -> Block:
    return reader.messages(ids, fan_out).to(device)


def _mixed(config: TrainConfig, device: torch.device) -> bool:
    return config.amp and device.type == "cuda"


def _frozen(trail: Trail, encoder: Encoder, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> bytes:
    state = {
        "trail": asdict(trail),
        "encoder": encoder.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _resume(
    checkpoints: Checkpoints, encoder: Encoder, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> Trail:
    body = checkpoints.read()
    if body is None:
        return Trail()
    state: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    encoder.load_state_dict(state["encoder"])
    optimizer.load_state_dict(state["optimizer"])
    if state["scaler"]:
        scaler.load_state_dict(state["scaler"])
    LOG.info("resumed", extra={"epoch": state["trail"]["epoch"]})
    return Trail(**state["trail"])
