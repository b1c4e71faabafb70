"""The quick work of each stage: files of the right kinds in the right places, good metrics, and a model for Triton.

A stage's parameters `least_seconds` and `longest_seconds` make it wait: the one, and a share of the other that its
launch's name draws, so that launches end at times that have nothing to do with each other.
"""

import json
import tempfile
import time
import zlib
from pathlib import Path

from simulation.memory.stages import GOOD, honest, measured, replayed
from statemachine.contracts import paths
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.integrity import write_manifest
from training.outcome import StageResult

CONFIG = """
name: "fraud_score"
backend: "python"
input [{{ name: "X" data_type: TYPE_FP32 dims: [ 2 ] }}]
output [{{ name: "Y" data_type: TYPE_FP32 dims: [ 2 ] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
parameters: {{ key: "candidate_version" value: {{ string_value: "{version}" }} }}
"""
MODEL = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        answer = lambda r: pb.Tensor("Y", {factor} * pb.get_input_tensor_by_name(r, "X").as_numpy())
        return [pb.InferenceResponse([answer(request)]) for request in requests]
"""


def preprocess(order: StageRequest) -> StageResult:
    """Accepts every new object of the manifest."""
    _wait(order)
    manifest = storage.read_json(order.inputs["manifest"])
    new = [{key: obj[key] for key in ("bucket", "key", "etag")} for obj in manifest["objects"]]
    known = storage.read_json(manifest["index"]) if manifest["index"] else []
    index = {obj["key"]: obj for obj in (*known, *new) if obj not in manifest["removed"]}
    written = {"objects": [obj | {"status": "ACCEPTED", "problems": []} for obj in new], "index": [*index.values()]}
    return StageResult(
        {
            **{name: _written(order, name, value) for name, value in written.items()},
            **_nothing(order, "dataset", "profile"),
        }
    )


def train(order: StageRequest) -> StageResult:
    """A model of nothing."""
    _wait(order)
    return StageResult(_nothing(order, "model"))


def evaluate(order: StageRequest) -> StageResult:
    """Figures that pass the gate."""
    _wait(order)
    evaluation = measured(order)
    return StageResult({"evaluation": _written(order, "evaluation", evaluation)}, GOOD, {"evaluation": evaluation})


def export(order: StageRequest) -> StageResult:
    """A version that a real Triton serves: it multiplies by a number of this run."""
    _wait(order)
    factor = zlib.crc32(order.run_id.encode())
    version = f"{order.run_id}-{factor:08x}"
    uri = paths.version_folder(paths.root_of(order.output_uri, order.run_id), order.model, version)
    with tempfile.TemporaryDirectory(prefix="fraudloop-quick-") as folder:
        storage.download(order.inputs["profile"], Path(folder) / "profile.json")
        _version(Path(folder), version, factor % 1000 + 1)
        storage.upload_folder(folder, uri)
    return StageResult({"repository": uri}, {}, {"version": version})


def materialise(order: StageRequest) -> StageResult:
    """There is no online store."""
    _wait(order)
    return StageResult()


def shadow(order: StageRequest) -> StageResult:
    """Figures of two versions that answer alike."""
    _wait(order)
    figures = replayed(order)
    return StageResult({"shadow": _written(order, "shadow", figures)}, {}, {"shadow": figures})


def deploy(order: StageRequest) -> StageResult:
    """Nothing is deployed; the report says that it is."""
    _wait(order)
    return StageResult(details=dict(honest(order).details))


restore = deploy


def _version(folder: Path, version: str, factor: int) -> None:
    model = folder / "repository" / "fraud_score"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG.format(version=version))
    (model / "1" / "model.py").write_text(MODEL.format(factor=factor))
    tensor = {"datatype": "FP32", "shape": [2]}
    exchange = {
        "model": "fraud_score",
        "inputs": [{"name": "X", **tensor, "data": [1.0, 2.0]}],
        "outputs": [{"name": "Y", **tensor, "data": [1.0 * factor, 2.0 * factor]}],
    }
    golden = {"format": 1, "tolerance": 1e-5, "exchanges": [exchange]}
    (folder / "golden.json").write_text(json.dumps(golden))
    write_manifest(folder)


def _written(order: StageRequest, name: str, value: object) -> str:
    uri = storage.join(order.output_uri, f"{name}.json")
    storage.write_json(uri, value)
    return uri


def _nothing(order: StageRequest, *names: str) -> dict[str, str]:
    return {name: _written(order, name, {}) for name in names}


def _wait(order: StageRequest) -> None:
    drawn = zlib.crc32(f"{order.name} {order.launch_id}".encode()) / 2**32
    least, longest = (float(order.parameters.get(name, 0)) for name in ("least_seconds", "longest_seconds"))
    time.sleep(least + drawn * longest)
