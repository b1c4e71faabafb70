"""The examples of docs/serving.md, as they stand there, against the real Triton."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving_cases import Cluster

pytestmark = [pytest.mark.triton, pytest.mark.xdist_group("triton")]

PAGE = (Path(__file__).parents[2] / "docs/serving.md").read_text()


def ran(language: str, program: list[str], cluster: Cluster, about: str = "") -> str:
    """What the page's only block of that language prints, of those that speak of `about`."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    [block] = [one for one in blocks if about in one]
    environment = os.environ | {"TRITON": f"http://{cluster.address}"}
    done = subprocess.run([*program, block], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_request_by_curl_is_answered(cluster: Cluster) -> None:
    """A probability, a decision, the version, and that no history was known: there is no online store here."""
    outputs = {each["name"]: each["data"] for each in json.loads(ran("bash", ["bash", "-c"], cluster))["outputs"]}
    assert set(outputs) == {"PROBABILITY", "DECISION", "DEGRADED", "VERSION"}
    assert 0 <= outputs["PROBABILITY"][0] <= 1
    assert outputs["DEGRADED"] == ["no store"]


def test_the_client_in_python_scores_a_payment(cluster: Cluster) -> None:
    """One line: the probability, the decision, and what was missing."""
    assert re.fullmatch(
        r"[01]\.\d{4} (True|False) no store\n", ran("python", [sys.executable, "-c"], cluster, "scoring")
    )


def test_the_program_in_python_scores_a_payment_with_its_history(cluster: Cluster) -> None:
    """Two lines, one a payment; what the page calls a kept line is one that the server reads."""
    lines = ran("python", [sys.executable, "-c"], cluster, "card_history").splitlines()
    assert len(lines) == 2
    assert all(re.fullmatch(r"[01]\.\d{4} (True|False)", line) for line in lines)


def test_the_error_on_the_page_is_the_servers(cluster: Cluster) -> None:
    """The message is quoted word for word."""
    import numpy as np
    import tritonclient.http as triton

    [quoted] = re.findall(r"`(CARD_HISTORY\[0\] line 2: [^`]+)`", PAGE)
    line = "7,1,2019,5,16,06:21,$1.00,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No" + ",0.5" * 10
    texts = {"TRANSACTION": line, "CARD_HISTORY": f"{line}\n{line.replace('$1.00', 'nan')}"}
    tensors = [triton.InferInput(name, [1, 1], "BYTES") for name in texts]
    for tensor, text in zip(tensors, texts.values(), strict=True):
        tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=np.object_))
    with (
        triton.InferenceServerClient(cluster.address) as client,
        pytest.raises(triton.InferenceServerException, match=re.escape(quoted)),
    ):
        client.infer("fraud_score", tensors)
