"""What the catalogue says of Triton is what the real server says, with these labels."""

import json
import re
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from local import triton
from local.triton import Triton
from statemachine.core.metrics import Emitter, emitted_by

pytestmark = [
    pytest.mark.triton,
    pytest.mark.xdist_group("triton"),
    pytest.mark.skipif(bool(triton.missing_system_library()), reason=triton.missing_system_library()),
]

CONFIG = """
name: "double"
backend: "python"
input [{ name: "X" data_type: TYPE_FP32 dims: [ 1 ] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
MODEL = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        x = [pb.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", 2 * each)]) for each in x]
"""


def ask(server, datatype):
    body = {"inputs": [{"name": "X", "shape": [1], "datatype": datatype, "data": [1]}]}
    request = urllib.request.Request(f"{server.url}/v2/models/double/infer", json.dumps(body).encode())
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()


def test_triton_says_what_the_catalogue_says(tmp_path):
    """Each of our Triton metrics is exposed after one good and one bad request, with the catalogue's labels."""
    (tmp_path / "repository/double/1").mkdir(parents=True)
    (tmp_path / "repository/double/config.pbtxt").write_text(CONFIG)
    (tmp_path / "repository/double/1/model.py").write_text(MODEL)
    server = Triton(tmp_path / "repository", tmp_path / "server")
    server.start()
    try:
        server.wait_ready(60)
        ask(server, "FP32")
        ask(server, "INT32")
        with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=5) as response:
            text = response.read().decode()
    finally:
        server.stop()
    found = {}
    for family in text_string_to_metric_families(re.sub(r"(?m)^# EOF$", "", text)):
        for sample in family.samples:
            found.setdefault(re.sub(r"_total$", "", sample.name), set()).update(sample.labels)
    for line in emitted_by(Emitter.TRITON):
        assert line.name in found, f"{line.name} is not among {sorted(found)}"
        assert set(line.labels) <= found[line.name], f"{line.name}: {found[line.name]}"
