"""The real server emits Triton's metrics as in the catalogue, with these labels."""

import json
import re
import urllib.error
import urllib.request
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from local import triton
from local.triton import Triton
from statemachine.contracts.metrics import Emitter, emitted_by

pytestmark = [
    pytest.mark.triton,
    pytest.mark.xdist_group("triton"),
    pytest.mark.skipif(bool(triton.missing_system_library()), reason=triton.missing_system_library()),
]


def ask(server, datatype):
    body = {"inputs": [{"name": "X", "shape": [1], "datatype": datatype, "data": [1]}]}
    request = urllib.request.Request(f"{server.url}/v2/models/double/infer", json.dumps(body).encode())
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as error:
        error.close()


def test_triton_emits_the_metrics_of_the_catalogue(double, tmp_path):
    """Each of our Triton metrics is exposed after one good and one bad request, with the catalogue's labels."""
    server = Triton(double(), tmp_path / "server")
    server.start()
    try:
        server.wait_ready(60)
        ask(server, "FP32")
        ask(server, "INT32")
        with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=5) as response:
            text = response.read().decode()
    finally:
        server.stop()
    found: dict[str, Any] = {}
    for family in text_string_to_metric_families(re.sub(r"(?m)^# EOF$", "", text)):
        for sample in family.samples:
            found.setdefault(re.sub(r"_total$", "", sample.name), set()).update(sample.labels)
    for line in emitted_by(Emitter.TRITON):
        assert line.name in found, f"{line.name} is not among {sorted(found)}"
        assert set(line.labels) <= found[line.name], f"{line.name}: {found[line.name]}"
