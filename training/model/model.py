"""A trained model as files and as an object: encoder, head, threshold and the config and schema that they were made
with.

No pickle: `encoder.safetensors` (all cross-fitted encoders), `head.json` (XGBoost), `config.json`, `schema.json`,
`model.json`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from training.data import schema as feature_schemas
from training.data.schema import FeatureSchema
from training.graph.block import DEFINITION, Block
from training.graph.graph import relations
from training.model import features, head
from training.model.config import MOVED, TrainConfig
from training.model.encoder import Encoders
from training.model.forward import Forward
from training.outcome import Permanent

FORMAT = 3  # from 3 on it says of which definition its features are


@dataclass(frozen=True)
class FraudModel:
    """Scores blocks: what `training.graph.history.Reader` reads from a graph, or a server builds from a request.

    `row` are the row features' names in the schema's order; `schema` is the data set's schema.json as it was; `facts`
    are kept for the record (seeds, validation metrics, data hash); `definition` is that of windows and known labels.
    `weights` are the encoders' by name, float32; None without the group `embedding`.
    """

    config: TrainConfig
    row: tuple[str, ...]
    schema: Mapping[str, Any]
    weights: Mapping[str, Tensor] | None
    booster: xgb.Booster
    threshold: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    definition: int = DEFINITION

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the head's inputs, in order."""
        return features.names(self.row, self.config.groups, self.sides)

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the graph's relations: the entities that its data declares."""
        return relations(self.schema)

    def head_inputs(self, block: Block) -> NDArray[np.float32]:
        """The head's inputs [B, D]."""
        encoders = self.forward if isinstance(block.row, np.ndarray) else self.encoders
        return features.inputs(block, self.row, self.config.groups, encoders, self.config.fan_out)

    def score(self, block: Block) -> NDArray[np.float32]:
        """Fraud probabilities [B]."""
        return head.predict(self.booster, self.head_inputs(block))

    def explain(self, block: Block) -> NDArray[np.float32]:
        """Shapley values [B, D + 1] of the margin, base value last."""
        return head.contributions(self.booster, self.head_inputs(block))

    def state(self, block: Block) -> NDArray[np.float32]:
        """The states [B, S] of these transactions. Keep each with its transaction: later requests send it."""
        return features.states_of(block, self.row)

    @cached_property
    def encoders(self) -> Encoders | None:
        """The encoders for blocks of torch: float64, in evaluation mode."""
        if self.weights is None:
            return None
        made = Encoders(features.width(self.row, self.config, self.sides), self.config.folds)
        made.load_state_dict(self.weights)
        return made.double().eval()

    @cached_property
    def forward(self) -> Forward | None:
        """The encoders for blocks of numpy."""
        return None if self.weights is None else Forward.of(self.weights, self.sides, self.config.folds)

    @property
    def feature_schema(self) -> FeatureSchema:
        """The fitted feature schema that ships with the model."""
        return feature_schemas.loads(json.dumps(dict(self.schema)).encode())

    def save(self, folder: str | Path) -> None:
        """Writes the model's files into a local folder, which is made if it is not there."""
        root = Path(folder)
        root.mkdir(parents=True, exist_ok=True)
        _write(root / "config.json", self.config.as_dict())
        _write(root / "schema.json", dict(self.schema))
        (root / "head.json").write_bytes(bytes(self.booster.save_raw("json")))
        if self.weights is not None:
            tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
            (root / "encoder.safetensors").write_bytes(save_tensors(tensors))
        record = {"format": FORMAT, "definition": self.definition, "row": list(self.row), "threshold": self.threshold}
        _write(root / "model.json", record | {"facts": dict(self.facts)})


def load(folder: str | Path) -> FraudModel:
    """The model in a local folder. It needs no S3 client, so the code that Triton carries has none.

    Raises:
        FileNotFoundError: a file of it is not there.
        Permanent: it is of a format that this code cannot read.
    """
    root = Path(folder)
    record = json.loads((root / "model.json").read_bytes())
    if record.get("format") not in range(1, FORMAT + 1):
        raise Permanent(f"{root}/model.json has format {record.get('format')!r}; readable are 1 to {FORMAT}")
    settings = json.loads((root / "config.json").read_bytes())
    config = TrainConfig.from_dict({name: value for name, value in settings.items() if name != MOVED})
    row = tuple(record["row"])
    schema = json.loads((root / "schema.json").read_bytes())
    definition = int(record.get("definition", 1))
    # The weights of another definition are of other features: such a model is read for its record, and never scores.
    wanted = "embedding" in config.groups and definition == DEFINITION
    return FraudModel(
        config=config,
        row=row,
        schema=schema,
        weights=load_tensors((root / "encoder.safetensors").read_bytes()) if wanted else None,
        booster=head.load_booster((root / "head.json").read_bytes()),
        threshold=float(record["threshold"]),
        facts=record["facts"],
        definition=definition,
    )


def _write(path: Path, value: Mapping[str, Any]) -> None:
    """Sorted keys and a fixed form: equal models are equal bytes."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")
