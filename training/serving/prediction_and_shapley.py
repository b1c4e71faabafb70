"""The Triton model `prediction_and_shapley`: the blueprint's names and shapes (v1.0.1), answered by this model.

Its clients send a graph; `training.serving.graph_request` describes the columns. PREDICTION holds the probabilities of
all
nodes. SHAP_VALUES holds the Shapley values of their log-odds over the input columns, zeros unless COMPUTE_SHAP.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.model import head
from training.model.model import FraudModel, load
from training.serving import Tensors
from training.serving.csv_codec import BadRequest
from training.serving.graph_request import Floats, block_of, check, node_columns
from training.serving.shapley import shapley_values

PERMUTATIONS = 2
SEED = 0
MAX_EXPLAINED = 4096  # limit of nodes × groups for Shapley values in one request, so that it does not delay the others


class PredictionAndShapley:
    """Answers one graph at a time."""

    def __init__(self, model: FraudModel) -> None:
        self._model = model

    @classmethod
    def load(cls, folder: Path) -> "PredictionAndShapley":
        """Load it from the model's files."""
        return cls(load(folder))

    def base_value(self) -> float:
        """Return the Shapley base value: the log-odds of a node with all columns 0 and no history."""
        nothing = np.zeros((1, len(self._model.row) + len(node_columns(self._model.sides))), dtype=np.float32)
        return float(self._margin(nothing, np.zeros((2, 0), dtype=np.int64))[0])

    def answer(self, requests: Sequence[Tensors], wanted: Sequence[frozenset[str]]) -> list[Tensors | BadRequest]:
        """Return one answer per request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Tensors) -> Tensors | BadRequest:
        nodes, edges = request["NODE_FEATURES"], request["EDGE_INDEX"]
        try:
            check(nodes, edges)
            values = self._explained(request) if request["COMPUTE_SHAP"].ravel()[0] else np.zeros_like(nodes)
            prediction = head.predict(self._model.booster, self._inputs(nodes, edges))[:, None]
        except BadRequest as error:
            return error
        return {"PREDICTION": prediction, "SHAP_VALUES": values}

    def _explained(self, request: Tensors) -> Floats:
        nodes, edges, mask = request["NODE_FEATURES"], request["EDGE_INDEX"], request["FEATURE_MASK"]
        size = len(nodes) * len(np.unique(mask))
        if size > MAX_EXPLAINED:
            raise BadRequest(f"{size} nodes × groups to explain, at most {MAX_EXPLAINED}: send fewer of either")
        return shapley_values(lambda part: self._margin(part, edges), nodes, mask, PERMUTATIONS, SEED)

    def _margin(self, nodes: Floats, edges: NDArray[np.int64]) -> Floats:
        inputs = self._inputs(nodes, edges)
        margins: Floats = self._model.booster.inplace_predict(inputs, predict_type="margin", validate_features=False)
        return margins

    def _inputs(self, nodes: Floats, edges: NDArray[np.int64]) -> Floats:
        config = self._model.config
        block = block_of(nodes, edges, len(self._model.row), config.k, self._model.sides)
        return self._model.head_inputs(block)
