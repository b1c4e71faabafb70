"""Data-parallel fitting of the encoder over several processes with torch.distributed."""

from training.fit import Checkpoints, Progress, Trail
from training.history import Reader
from training.config import TrainConfig
from training.seeds import Seeds
from training.stage import Permanent


def fit_encoder_together(
    reader: Reader, train: Seeds, validation: Seeds, config: TrainConfig, checkpoints: Checkpoints, progress: Progress
) -> Trail:
    """Raises Permanent: not written yet."""
    raise Permanent("train: processes > 1 is not supported yet")
