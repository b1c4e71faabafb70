"""Asks a Triton server over HTTP which version it serves, and replays the golden requests."""

from http.client import HTTPException
from typing import Any

import numpy as np
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from training.deployment.cluster import ClusterUnreachable
from training.export.golden import Exchange, Golden, Tensors

ASK_SECONDS = 30.0
CUT = (OSError, HTTPException)  # what tritonclient's HTTP library raises when a connection breaks
NO_ANSWER = frozenset(
    {"429", "501", "502", "503", "504"}
)  # tritonclient itself answers 501 for a response that it cannot decode


class Mismatch(Exception):
    """A pod's answer differs from the offline answer."""


def served_version(address: str, model: str) -> str:
    """Returns the `candidate_version` in the configuration of the model at `host:port`; "" if it has none.

    Raises:
        ClusterUnreachable: the server does not answer.
    """
    try:
        with triton.InferenceServerClient(address, network_timeout=ASK_SECONDS) as server:
            parameters = server.get_model_config(model).get("parameters", {})
    except (InferenceServerException, *CUT) as error:
        raise ClusterUnreachable(
            f"Triton at {address} does not return the configuration of {model}: {error}"
        ) from error
    return str(parameters.get("candidate_version", {}).get("string_value", ""))


def replay(address: str, golden: Golden) -> float:
    """Sends every golden request to `host:port` and returns the largest difference from the offline answers.

    Raises:
        Mismatch: an answer differs by more than the tolerance, or the server refuses a request.
        ClusterUnreachable: the server is unreachable.
    """
    try:
        with triton.InferenceServerClient(address, network_timeout=ASK_SECONDS) as server:
            return max(_difference(ask(server, exchange), exchange, golden.tolerance) for exchange in golden.exchanges)
    except InferenceServerException as error:
        if error.status() in NO_ANSWER:
            raise ClusterUnreachable(f"Triton at {address} did not answer a golden request: {error}") from error
        raise Mismatch(f"Triton at {address} refuses a golden request: {error}") from error
    except CUT as error:
        raise ClusterUnreachable(f"Triton at {address} is unreachable: {error}") from error


def ask(server: triton.InferenceServerClient, exchange: Exchange) -> dict[str, NDArray[Any]]:
    """Returns the server's answer to one exchange's request."""
    inputs = []
    for name, values in exchange.inputs.items():
        tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        inputs.append(tensor.set_data_from_numpy(values))
    answer = server.infer(exchange.model, inputs)
    found = {name: answer.as_numpy(name) for name in exchange.outputs}
    return {name: values for name, values in found.items() if values is not None}


def _difference(found: Tensors, exchange: Exchange, tolerance: float) -> float:
    """Returns the largest difference of any value. Raises Mismatch."""
    largest = 0.0
    for name, expected in exchange.outputs.items():
        got = found.get(name)
        if got is None or got.shape != expected.shape:
            raise Mismatch(f"{exchange.model}: {name} is {'missing' if got is None else f'of shape {got.shape}'}")
        difference = _distance(got, expected)
        if not difference <= tolerance:  # False for NaN
            raise Mismatch(f"{exchange.model}: {name} differs by {difference:.2g}, more than {tolerance:.0e}")
        largest = max(largest, difference)
    return largest


def _distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    if not np.issubdtype(expected.dtype, np.floating):
        return 0.0 if np.array_equal(found, expected) else float("inf")
    return float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0))
