"""The Triton model `fraud_score`: raw transactions with their histories → probability, decision, Shapley values."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.graph.block import Block
from training.model import head
from training.model.model import FraudModel, load
from training.serving import Tensors
from training.serving.csv_codec import BadRequest
from training.serving.request import Featuriser, ScoringRequest, counters, history_input

MANY = 256  # transactions from which a second thread is faster
SHAPLEY = "SHAPLEY_VALUES"
Answer = Tensors | BadRequest


class FraudScore:
    """Answers batches of requests with one pass of the model."""

    def __init__(self, model: FraudModel) -> None:
        self._model = model
        head.use_threads(model.booster, 1)  # more of them cost a batch of one more than its trees
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="batch")
        self.featuriser = Featuriser(model.feature_schema, model.row, model.config.k)

    @classmethod
    def load(cls, folder: Path) -> "FraudScore":
        """Load it from the model's files."""
        return cls(load(folder))

    def answer(self, requests: Sequence[Tensors], wanted: Sequence[frozenset[str]]) -> list[Answer]:
        """Return one answer per request. A bad request fails alone. Shapley values are computed if any request
        wants them.
        """
        explain = any(not names or names & {SHAPLEY, "BASE_VALUE"} for names in wanted)
        parsed = [parsed_request(request, self._model.sides) for request in requests]
        today = datetime.now(UTC).date()
        try:
            return list(self._together(parsed, today, explain))
        except BadRequest as error:
            if len(parsed) == 1:
                return [error]
        return [self._alone(request, today, explain) for request in parsed]

    def _alone(self, request: ScoringRequest, today: date, explain: bool) -> Answer:
        try:
            return self._together([request], today, explain)[0]
        except BadRequest as error:
            return error

    def _together(self, requests: Sequence[ScoringRequest], today: date, explain: bool) -> list[Tensors]:
        block = self.featuriser.block(ScoringRequest.joined(requests), today)
        if len(block) < MANY:
            outputs = self._outputs(block, explain)
        else:  # numpy and the trees hold no lock while they compute
            one, other = self._threads.map(partial(self._outputs, explain=explain), block.halves())
            outputs = {name: np.concatenate([values, other[name]]) for name, values in one.items()}
        cuts = np.cumsum([len(request) for request in requests])[:-1]
        parts = {name: np.split(values, cuts) for name, values in outputs.items()}
        return [{name: part[number] for name, part in parts.items()} for number in range(len(requests))]

    def _outputs(self, block: Block, explain: bool) -> dict[str, NDArray[Any]]:
        inputs = self._model.head_inputs(block)
        probability = head.predict(self._model.booster, inputs)[:, None]
        outputs = {
            "PROBABILITY": probability,
            "DECISION": probability >= np.float32(self._model.threshold),
            "STATE": self._model.state(block),
        }
        if explain:
            contributions = head.contributions(self._model.booster, inputs)
            outputs |= {SHAPLEY: contributions[:, :-1], "BASE_VALUE": contributions[:, -1:]}
        return outputs


def parsed_request(tensors: Tensors, sides: Sequence[str]) -> ScoringRequest:
    """Parse a request's tensors, for these relations; missing ones are empty or zero."""
    transaction = tensors["TRANSACTION"].ravel().tolist()
    empty = [b""] * len(transaction)
    named = {side: tensors.get(history_input(side)) for side in sides}
    histories = {side: empty if text is None else text.ravel().tolist() for side, text in named.items()}
    zeros = np.zeros((len(transaction), len(counters(sides))), dtype=np.float32)
    return ScoringRequest(transaction, histories, tensors.get("COUNTERS", zeros))


def tensors_of(request: ScoringRequest) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Return the tensors of a request."""
    texts = {"TRANSACTION": request.transaction}
    texts |= {history_input(side): lines for side, lines in request.histories.items()}
    columns = {name: np.array(list(values), dtype=np.object_)[:, None] for name, values in texts.items()}
    return columns | {"COUNTERS": request.counters}
