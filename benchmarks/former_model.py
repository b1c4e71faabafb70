"""The `model.py` of `former`, the peer: `fraud_score` as it was, with DataFrames and torch's encoders.

It is put together from what training still uses (the batch parser, polars' row features, torch's features and encoders)
and, as they were, the check of each line and the histories. It has what the parser gained since then.
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
    from datetime import UTC, datetime

    import numpy as np
    import torch

    from training.data import schema
    from training.data.parser import UNKNOWN
    from training.graph.block import DAY, Block, History, volumes
    from training.graph.velocity import state_names
    from training.model import head
    from training.model.model import load
    from training.serving.csv_codec import BadLine, parse
    from training.serving.fraud_score import parsed_request
    from training.serving.graph_request import placed

    model = load(folder)
    fitted, sides, k = model.feature_schema, model.sides, model.config.k

    def check(lines: list[bytes]) -> None:
        for number, line in enumerate(lines):
            if not line or b"\n" in line or b"\r" in line or line.count(b'"') % 2:
                raise BadLine(number, f"{line[:60]!r} is not one line of CSV")

    def history(entries: dict[str, Any], counts: list[int], start: int) -> History:
        owner, lines = np.repeat(np.arange(len(counts)), counts), np.arange(start, start + sum(counts))
        time, keys, label = entries["time"], entries["keys"], entries["label"]
        gap = time[owner] - time[lines]
        earlier = gap > 0
        lines, owner, gap = lines[earlier], owner[earlier], gap[earlier]
        order = np.lexsort((-gap, owner))
        lines, owner, gap = lines[order], owner[order], gap[order]
        after = np.searchsorted(owner, owner, side="right") - 1 - np.arange(len(owner))
        recent = after < k
        lines, owner, gap, at = lines[recent], owner[recent], gap[recent], (owner[recent], after[recent])
        matured = (label[lines] != UNKNOWN) & (time[lines] // DAY < time[owner] // DAY)
        made = (
            entries["row"][lines],
            entries["state"][lines],
            gap.astype(np.float32),
            (matured & (label[lines] == 1)).astype(np.float32),
            matured,
            np.logical_and.reduce([key[lines] == key[owner] for key in keys.values()]),
            np.ones(len(lines), dtype=bool),
        )
        return History(*(torch.from_numpy(placed(len(counts), k, at, values)) for values in made))

    def path(tensors: Any) -> dict[str, Any]:
        request = parsed_request(tensors, sides)
        texts = {side: [one.split(b"\n") if one else [] for one in request.histories[side]] for side in sides}
        lines = [*request.transaction, *(line for side in sides for parts in texts[side] for line in parts)]
        check(lines)
        clean = parse(lines, datetime.now(UTC).date(), fitted.data)
        rows = schema.row_features(clean, fitted).select(model.row).to_numpy()
        state = clean.select(f"state {name}" for name in state_names(sides)).fill_null(np.nan).to_numpy()
        entries = {
            "row": rows,
            "state": state,
            "time": clean["time"].to_numpy(),
            "keys": {side: clean[f"{side}_key"].to_numpy() for side in sides},
            "label": clean["label"].fill_null(UNKNOWN).to_numpy(),
        }
        start, histories = len(request), {}
        for side in sides:
            counts = [len(parts) for parts in texts[side]]
            histories[side] = history(entries, counts, start)
            start += sum(counts)
        counted = np.split(request.counters.copy(), [len(volumes(sides))], axis=1)
        volume, risk = (torch.from_numpy(np.ascontiguousarray(part)) for part in counted)
        block = Block(torch.from_numpy(rows[: len(request)].copy()), histories, volume, risk)
        probability = head.predict(model.booster, model.head_inputs(block))[:, None]
        decision = probability >= np.float32(model.threshold)
        return {"PROBABILITY": probability, "DECISION": decision, "STATE": model.state(block)}

    return path
