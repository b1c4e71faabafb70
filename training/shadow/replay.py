"""Asks one server every request, one after another, and keeps what it answered and how long that took."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from training.shadow.requests import SCORED, ReplayRequest
from training.shadow.server import PodServer

LOG = logging.getLogger("fraudloop.shadow")
ANSWERS = ("PROBABILITY", "DECISION")
ASK_SECONDS, ALL_SECONDS = 30.0, 600.0


@dataclass(frozen=True)
class Answers:
    """Of N requests: `probability` [N] (NaN where it failed), `decision` [N], `seconds` [N], and the first failure."""

    probability: NDArray[np.float64]
    decision: NDArray[np.bool_]
    seconds: NDArray[np.float64]
    reason: str = ""

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which requests were answered [N]."""
        return np.isfinite(self.probability)


def ask_all(server: PodServer, requests: Sequence[ReplayRequest]) -> Answers:
    """The server's answers. A failure is one of the figures; after `ALL_SECONDS` the rest counts as failed."""
    probability, seconds = np.full(len(requests), np.nan), np.zeros(len(requests))
    decision, reason, deadline = np.zeros(len(requests), dtype=bool), "", time.monotonic() + ALL_SECONDS
    with triton.InferenceServerClient(server.address, network_timeout=ASK_SECONDS) as client:
        for number, request in enumerate([*requests[:1], *requests], -1):  # the first one twice: once to warm up
            if time.monotonic() > deadline:
                reason = reason or f"not all requests were answered within {ALL_SECONDS:.0f} s"
                break
            begun = time.perf_counter()
            try:
                answer = _infer(client, request, ANSWERS)
            except (InferenceServerException, OSError) as error:
                reason = reason or f"{type(error).__name__}: {error}"
                continue
            if number >= 0:
                seconds[number] = time.perf_counter() - begun
                probability[number] = float(answer.as_numpy("PROBABILITY").ravel()[0])
                decision[number] = bool(answer.as_numpy("DECISION").ravel()[0])
    LOG.info("replayed", extra={"requests": len(requests), "failed": int(np.isnan(probability).sum())})
    return Answers(probability, decision, seconds, reason)


def contributions(server: PodServer, request: ReplayRequest) -> NDArray[np.float64]:
    """Shapley values of one request [D], in the order of the model's parameter `shapley_names`."""
    with triton.InferenceServerClient(server.address, network_timeout=ASK_SECONDS) as client:
        answer = _infer(client, request, ("SHAPLEY_VALUES",))
    return np.asarray(answer.as_numpy("SHAPLEY_VALUES"), dtype=np.float64).ravel()


def _infer(client: triton.InferenceServerClient, request: ReplayRequest, outputs: Sequence[str]) -> triton.InferResult:
    inputs = []
    for name, values in request.inputs.items():
        tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
        inputs.append(tensor.set_data_from_numpy(values))
    return client.infer(SCORED, inputs, outputs=[triton.InferRequestedOutput(name) for name in outputs])
