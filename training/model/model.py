"""A trained model as files and as an object: encoder, head, threshold and the config and schema that they were made
with.

No pickle: `encoder.safetensors` (all cross-fitted encoders), `head.json` (XGBoost), `config.json`, `schema.json`,
`model.json`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from training import storage
from training.graph.block import Block
from training.model import features, head
from training.model.config import TrainConfig
from training.model.encoder import Encoders
from training.outcome import Permanent

FORMAT = 1


@dataclass(frozen=True)
class FraudModel:
    """Scores blocks: what `training.graph.history.Reader` reads from a graph, or a server builds from a request.

    `row` are the row features' names in the schema's order; `schema` is the data set's schema.json as it was; `facts`
    are what training wants remembered (seeds, validation figures, data hash).
    """

    config: TrainConfig
    row: tuple[str, ...]
    schema: Mapping[str, Any]
    encoders: Encoders | None
    booster: xgb.Booster
    threshold: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the head's inputs, in order."""
        return features.names(self.row, self.config.groups)

    def head_inputs(self, block: Block) -> NDArray[np.float32]:
        """The head's inputs [B, D]."""
        return features.inputs(block, self.row, self.config.groups, self.encoders, self.config.fan_out)

    def score(self, block: Block) -> NDArray[np.float32]:
        """Fraud probabilities [B]."""
        return head.predict(self.booster, self.head_inputs(block))

    def explain(self, block: Block) -> NDArray[np.float32]:
        """Shapley values [B, D + 1] of the margin, base value last."""
        return head.contributions(self.booster, self.head_inputs(block))

    def state(self, block: Block) -> NDArray[np.float32]:
        """What later transactions must be told about these ones [B, S]: keep it with the transaction."""
        return features.stated(block, self.row)

    def save(self, folder: str | Path) -> None:
        """Writes the model's files into a local folder."""
        root = str(folder)
        storage.write_json(storage.join(root, "config.json"), self.config.as_dict())
        storage.write_json(storage.join(root, "schema.json"), dict(self.schema))
        storage.write_bytes(storage.join(root, "head.json"), bytes(self.booster.save_raw("json")))
        if self.encoders is not None:
            # Weights were float32 before scoring made them float64: nothing is lost.
            tensors = {name: tensor.float().contiguous() for name, tensor in self.encoders.state_dict().items()}
            storage.write_bytes(storage.join(root, "encoder.safetensors"), save_tensors(tensors))
        record = {"format": FORMAT, "row": list(self.row), "threshold": self.threshold, "facts": dict(self.facts)}
        storage.write_json(storage.join(root, "model.json"), record)


def load(folder: str | Path) -> FraudModel:
    """The model in a local folder or under an `s3://` URI.

    Raises:
        FileNotFoundError: a file of it is not there.
        Permanent: it is of a format that this code cannot read.
    """
    root = str(folder)
    record = storage.read_json(storage.join(root, "model.json"))
    if record.get("format") != FORMAT:
        raise Permanent(f"{root}/model.json has format {record.get('format')!r}; readable is {FORMAT}")
    config = TrainConfig.from_dict(storage.read_json(storage.join(root, "config.json")))
    row = tuple(record["row"])
    return FraudModel(
        config=config,
        row=row,
        schema=storage.read_json(storage.join(root, "schema.json")),
        encoders=_load_encoders(root, row, config) if "embedding" in config.groups else None,
        booster=head.load_booster(storage.read_bytes(storage.join(root, "head.json"))),
        threshold=float(record["threshold"]),
        facts=record["facts"],
    )


def _load_encoders(root: str, row: Sequence[str], config: TrainConfig) -> Encoders:
    encoders = Encoders(features.width(row, config), config.folds)
    encoders.load_state_dict(load_tensors(storage.read_bytes(storage.join(root, "encoder.safetensors"))))
    return encoders.double().eval()
