"""`serve` on what `train` leaves: which version, which request, and the real Triton where it can run."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from cli.commands.serve import curl, find_version, one_row
from local.system import ROOT
from statemachine.contracts.errors import Misconfigured

MODEL = """
import numpy as np
import triton_python_backend_utils as pb


class TritonPythonModel:
    def execute(self, requests):
        rows = [pb.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", (2 * each).astype(np.float32))]) for each in rows]
"""
CONFIG = """
name: "fraud_score"
backend: "python"
max_batch_size: 0
input [{ name: "X", data_type: TYPE_FP32, dims: [-1, 2] }]
output [{ name: "Y", data_type: TYPE_FP32, dims: [-1, 2] }]
"""


@pytest.fixture
def trained(tmp_path):
    """What `train --out` leaves, with a model that doubles."""
    version = tmp_path / "out" / "models" / "local-0a1b2c3d"
    model = version / "repository" / "fraud_score"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(MODEL)
    tensor = {"name": "X", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]}
    exchange = {"model": "fraud_score", "inputs": [tensor], "outputs": []}
    (version / "golden.json").write_text(json.dumps({"exchanges": [exchange]}))
    return tmp_path / "out"


def test_the_version_is_found_in_what_train_left(trained):
    """Or is the folder itself; the newest if there are more."""
    version = trained / "models" / "local-0a1b2c3d"
    assert find_version(trained) == version
    assert find_version(version) == version
    newer = trained / "models" / "local-ffffffff" / "repository"
    newer.mkdir(parents=True)
    os.utime(newer, (time.time() + 60, time.time() + 60))
    assert find_version(trained) == newer.parent


def test_a_folder_without_a_repository_says_which_command_makes_one(tmp_path):
    """With the folder in it."""
    with pytest.raises(Misconfigured, match="fraudloop train FILES --out"):
        find_version(tmp_path)


def test_one_row_of_a_golden_request():
    """The shape's first number is the batch; the data are flat."""
    tensor = {"name": "X", "datatype": "FP32", "shape": [3, 2], "data": [1, 2, 3, 4, 5, 6]}
    assert one_row(tensor) == {"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


def test_the_request_is_quoted_for_a_shell():
    """A folder with a blank in it."""
    assert curl("http://127.0.0.1:1", Path("/a b/request.json")).endswith("-d '@/a b/request.json'")


def test_serve_answers_its_own_request_until_ctrl_c(trained):
    """The printed request gets an answer from the real Triton; Ctrl-C ends it with status 0."""
    command = [sys.executable, "-m", "cli.main", "serve", str(trained)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        lines = []
        for line in serving.stdout:
            lines.append(line)
            if "curl" in line:
                break
        else:
            told = serving.stderr.read() if serving.stderr else ""
            assert told.count("Error: ") == 1, told
            pytest.skip(told)
        words = lines[-1].split()
        url, file = words[2], words[-1].removeprefix("@")
        request = urllib.request.Request(url, Path(file).read_bytes(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            (tensor,) = json.load(answer)["outputs"]
        serving.send_signal(signal.SIGINT)
        serving.wait(60)
    assert tensor["data"] == [2.0, 4.0]
    assert serving.returncode == 0
    assert "local-0a1b2c3d serves at http://127.0.0.1:" in "".join(lines)
