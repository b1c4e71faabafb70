"""Converts between Triton's python backend and the models: tensors to arrays and back, bad requests to errors."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from training.serving import Tensors
from training.serving.csv_codec import BadRequest
from training.serving.fraud_live import FraudLive
from training.serving.fraud_score import FraudScore
from training.serving.prediction_and_shapley import PredictionAndShapley

LOG = logging.getLogger("fraudloop.serving")
MODELS: dict[str, Any] = {"fraud_score": FraudScore, "prediction_and_shapley": PredictionAndShapley}


class Served(Protocol):
    """A model that answers many requests at once, each with tensors or with an error."""

    def answer(self, requests: Sequence[Tensors], wanted: Sequence[frozenset[str]]) -> list[Tensors | BadRequest]: ...


def load(name: str, folder: Path, parameters: Mapping[str, str]) -> Served:
    """Load the model with this name from its files; `parameters` are those of its configuration."""
    served: Served = FraudLive.load(folder, parameters) if name == "fraud_live" else MODELS[name].load(folder)
    return served


def respond(model: Served, requests: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
    """Return Triton's responses. An internal error becomes an error response too, so the server continues."""
    tensors = [{tensor.name(): tensor.as_numpy() for tensor in request.inputs()} for request in requests]
    wanted = [frozenset(request.requested_output_names()) for request in requests]
    try:
        answers: Sequence[Tensors | Exception] = model.answer(tensors, wanted)
    except Exception as error:
        LOG.exception("the model failed")
        answers = [RuntimeError(f"the model failed: {type(error).__name__}: {error}")] * len(requests)
    return [_response(answer, names or frozenset(outputs)) for answer, names in zip(answers, wanted, strict=True)]


def _response(answer: Tensors | Exception, names: frozenset[str]) -> Any:
    import triton_python_backend_utils as triton  # exists only inside Triton

    if isinstance(answer, Exception):
        return triton.InferenceResponse(error=triton.TritonError(str(answer), _code(triton, answer)))
    tensors = [triton.Tensor(name, np.ascontiguousarray(values)) for name, values in answer.items() if name in names]
    return triton.InferenceResponse(tensors)


def _code(triton: Any, error: Exception) -> Any:
    return triton.TritonError.INVALID_ARG if isinstance(error, BadRequest) else triton.TritonError.INTERNAL
