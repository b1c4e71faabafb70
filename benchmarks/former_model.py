"""The `model.py` of `former`, the peer: `fraud_score` as it was, with DataFrames and torch's encoders.

It is put together from what training still uses: the batch parser, polars' row features, torch's features and encoders.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class TritonPythonModel:
    """Answers PROBABILITY, DECISION and STATE of `fraud_score`'s requests."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model of the version that the configuration names."""
        version = Path(json.loads(args["model_config"])["parameters"]["version"]["string_value"])
        sys.path.insert(0, str(version / "code"))
        sys.modules.update(dict.fromkeys(("sklearn", "pandas")))  # type: ignore[arg-type]
        self._path = former_path(version / "model")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response a request."""
        import triton_python_backend_utils as triton

        answers = [self._path({one.name(): one.as_numpy() for one in request.inputs()}) for request in requests]
        return [
            triton.InferenceResponse([triton.Tensor(name, value) for name, value in answer.items()])
            for answer in answers
        ]


def former_path(folder: Path) -> Any:
    """The former path as a function from a request's tensors to the answer's."""
    from dataclasses import fields
    from datetime import UTC, datetime

    import numpy as np
    import torch

    from training.data import schema
    from training.data.parser import UNKNOWN
    from training.graph.block import Block, History, volumes
    from training.graph.velocity import state_names
    from training.model import head
    from training.model.model import load
    from training.serving.csv_codec import parse
    from training.serving.entries import Entries
    from training.serving.fraud_score import parsed_request

    model = load(folder)
    fitted, sides = model.feature_schema, model.sides

    def path(tensors: Any) -> dict[str, Any]:
        request = parsed_request(tensors, sides)
        texts = {side: [one.split(b"\n") if one else [] for one in request.histories[side]] for side in sides}
        lines = [*request.transaction, *(line for side in sides for parts in texts[side] for line in parts)]
        clean = parse(lines, datetime.now(UTC).date(), fitted.data)
        rows = schema.row_features(clean, fitted).select(model.row).to_numpy()
        state = clean.select(f"state {name}" for name in state_names(sides)).fill_null(np.nan).to_numpy()
        keys = {side: clean[f"{side}_key"].to_numpy() for side in sides}
        label = clean["label"].fill_null(UNKNOWN).to_numpy()
        entries = Entries(rows, state, clean["time"].to_numpy(), keys, label != UNKNOWN, label == 1)
        scored, start, histories = np.arange(len(request)), len(request), {}
        for side in sides:
            counts = [len(parts) for parts in texts[side]]
            numbers = np.arange(start, start + sum(counts))
            made = entries.history(scored, np.repeat(scored, counts), numbers, model.config.k)
            histories[side] = History(*(torch.from_numpy(getattr(made, one.name)) for one in fields(History)))
            start += sum(counts)
        counted = np.split(request.counters.copy(), [len(volumes(sides))], axis=1)
        volume, risk = (torch.from_numpy(np.ascontiguousarray(part)) for part in counted)
        block = Block(torch.from_numpy(rows[: len(request)].copy()), histories, volume, risk)
        probability = head.predict(model.booster, model.head_inputs(block))[:, None]
        decision = probability >= np.float32(model.threshold)
        return {"PROBABILITY": probability, "DECISION": decision, "STATE": model.state(block)}

    return path
