"""The `config.pbtxt` of each model: names, types and shapes, batching, warm-up, and the version."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.data.declaration import Declaration
from training.graph.velocity import state_names
from training.serving.csv_codec import columns
from training.serving.reasons import MOST
from training.serving.request import counters, history_input

MAX_BATCH = 1024
VERSION = "candidate_version"
MODEL = "model"
LIVE_BATCH = 64


@dataclass(frozen=True)
class Port:
    """One input or output: `dims` without the batch, -1 for any."""

    name: str
    kind: str
    dims: tuple[int, ...]
    optional: bool = False

    def text(self) -> str:
        """Return the port as text for config.pbtxt."""
        dims = ", ".join(map(str, self.dims))
        optional = " optional: true" if self.optional else ""
        return f'  {{ name: "{self.name}" data_type: TYPE_{self.kind} dims: [ {dims} ]{optional} }}'


def fraud_score(inputs: Sequence[str], threshold: float, data: Declaration) -> str:
    """Return the config of `fraud_score` for a head with these inputs; the version is added later."""
    sides = data.relations
    ports = (
        Port("TRANSACTION", "STRING", (1,)),
        *(Port(history_input(side), "STRING", (1,), optional=True) for side in sides),
        Port("COUNTERS", "FP32", (len(counters(sides)),), optional=True),
    )
    answers = (
        Port("PROBABILITY", "FP32", (1,)),
        Port("DECISION", "BOOL", (1,)),
        Port("STATE", "FP32", (len(state_names(sides)),)),
        Port("SHAPLEY_VALUES", "FP32", (len(inputs),)),
        Port("BASE_VALUE", "FP32", (1,)),
    )
    parameters = {
        "threshold": repr(threshold),
        "counters": json.dumps(list(counters(sides))),
        "state": json.dumps(list(state_names(sides))),
        "columns": json.dumps(list(columns(data))),
        "shapley_names": json.dumps(list(inputs)),
    }
    example = '{ data_type: TYPE_STRING dims: [ 1 ] input_data_file: "transaction" }'
    warm_up = f'batch_size: 1\n  inputs {{ key: "TRANSACTION" value: {example} }}'
    # No queue delay: requests that wait while the instance is busy form a batch; no request waits for others.
    return _text("fraud_score", MAX_BATCH, ports, answers, parameters, warm_up, "dynamic_batching { }")


def fraud_live(model: str, threshold: float, data: Declaration) -> str:
    """Return the config of `fraud_live` of the model with this name; the version is added later."""
    ports = (
        Port("TRANSACTION", "STRING", (1,)),
        Port("REQUEST_ID", "STRING", (1,), optional=True),
        Port("STORE", "BOOL", (1,), optional=True),
    )
    answers = (
        Port("PROBABILITY", "FP32", (1,)),
        Port("DECISION", "BOOL", (1,)),
        Port("REASONS", "STRING", (MOST,)),
        Port("HISTORY_USED", "INT32", (len(data.relations),)),
        Port("VERSION", "STRING", (1,)),
        Port("DEGRADED", "STRING", (1,)),
    )
    parameters = {MODEL: model, "threshold": repr(threshold), "columns": json.dumps(list(columns(data)))}
    parameters["relations"] = json.dumps(list(data.relations))
    # The warm-up does not ask the store: it is no payment.
    example = 'key: "TRANSACTION" value: { data_type: TYPE_STRING dims: [ 1 ] input_data_file: "transaction" }'
    alone = 'key: "STORE" value: { data_type: TYPE_BOOL dims: [ 1 ] zero_data: true }'
    warm_up = f"batch_size: 1\n  inputs {{ {example} }}\n  inputs {{ {alone} }}"
    return _text("fraud_live", LIVE_BATCH, ports, answers, parameters, warm_up)


def prediction_and_shapley(names: Sequence[str], base_value: float) -> str:
    """Return the config of `prediction_and_shapley` with these columns of NODE_FEATURES; the version is added later."""
    width = len(names)
    ports = (
        Port("NODE_FEATURES", "FP32", (-1, width)),
        Port("EDGE_INDEX", "INT64", (2, -1)),
        Port("COMPUTE_SHAP", "BOOL", (1,)),
        Port("FEATURE_MASK", "INT32", (width,)),
    )
    answers = (Port("PREDICTION", "FP32", (-1, 1)), Port("SHAP_VALUES", "FP32", (-1, width)))
    shapes = {"NODE_FEATURES": (1, width), "EDGE_INDEX": (2, 1), "COMPUTE_SHAP": (1,), "FEATURE_MASK": (width,)}
    kinds = {port.name: port.kind for port in ports}
    zeros = "\n  ".join(
        f'inputs {{ key: "{name}" value: {{ data_type: TYPE_{kinds[name]} '
        f"dims: [ {', '.join(map(str, shape))} ] zero_data: true }} }}"
        for name, shape in shapes.items()
    )
    parameters = {"columns": json.dumps(list(names)), "base_value": repr(base_value)}
    return _text("prediction_and_shapley", 0, ports, answers, parameters, zeros)


def with_version(config: str, version: str) -> str:
    """Return the config with its version, which is the last value written into a repository."""
    return config + _parameter(VERSION, version)


def _text(
    name: str,
    max_batch: int,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    parameters: Mapping[str, str],
    warm_up: str,
    *more: str,
) -> str:
    parts = [
        f'name: "{name}"\nbackend: "python"\nmax_batch_size: {max_batch}',
        "input [\n" + ",\n".join(port.text() for port in inputs) + "\n]",
        "output [\n" + ",\n".join(port.text() for port in outputs) + "\n]",
        "instance_group [{ kind: KIND_CPU count: 1 }]",
        "version_policy: { latest: { num_versions: 1 } }",
        *more,
        f'model_warmup [{{\n  name: "one"\n  {warm_up}\n}}]',
    ]
    return "\n".join(parts) + "\n" + "".join(_parameter(key, value) for key, value in parameters.items())


def _parameter(key: str, value: str) -> str:
    return f"parameters: {{ key: {json.dumps(key)} value: {{ string_value: {json.dumps(value)} }} }}\n"
