"""The shadow stage with a real Triton: control first, then figures of both versions on the same requests."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import triton
from statemachine.contracts import paths
from statemachine.contracts.shadow import ShadowOutcome, ShadowPolicy, shadow_verdict
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.integrity import write_manifest
from training.outcome import StageResult
from training.shadow.shadow import shadow

pytestmark = [
    pytest.mark.triton,
    pytest.mark.xdist_group("triton"),
    pytest.mark.skipif(bool(triton.missing_system_library()), reason=triton.missing_system_library()),
]
COUNT = 60


@pytest.fixture(scope="module", autouse=True)
def serving_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The wheel's server stands for the serving image's."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in triton.program(tmp_path_factory.mktemp("serving image")).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def champion(exported: StageResult, bucket: Path) -> str:
    """The same model under another name."""
    uri = paths.version_folder(str(bucket), "fraud", "fraud-0-00000000")
    shutil.copytree(exported.outputs["repository"], uri)
    renamed(Path(uri), "fraud-0-00000000")
    return uri


def renamed(folder: Path, version: str) -> None:
    for config in folder.glob("repository/*/config.pbtxt"):
        lines = [line for line in config.read_text().splitlines() if "candidate_version" not in line]
        config.write_text(
            "\n".join(lines) + f'\nparameters: {{ key: "candidate_version" value: {{ string_value: "{version}" }} }}\n'
        )
    (folder / "MANIFEST.json").unlink()
    write_manifest(folder)


def order(bucket: Path, candidate: str, champion: str = "", **more: float) -> StageRequest:
    inputs = {"repository": candidate, "champion": champion}
    return StageRequest(
        "fraud-9",
        "fraud",
        Stage.SHADOW,
        1,
        "L1",
        f"{bucket}/runs/fraud-9/shadow/1/L1",
        {name: uri for name, uri in inputs.items() if uri},
        {"requests": COUNT, "log_days": 7, "tolerance": 1e-4, **more},
    )


def test_a_first_candidate_is_asked_its_own_test_rows(exported: StageResult, bucket: Path) -> None:
    """It loads, answers all, fast enough, and there is nobody to compare with."""
    result = shadow(order(bucket, exported.outputs["repository"]))
    figures = result.details["shadow"]
    assert (figures["source"], figures["requests"], figures["candidate"]["failed"]) == ("export", COUNT, 0)
    assert figures["champion"] is None
    assert storage.read_json(result.outputs["shadow"]) == figures
    verdict = shadow_verdict(figures, ShadowPolicy(), candidate=figures["candidate"]["version"], champion="")
    assert (verdict.outcome, verdict.passed) == (ShadowOutcome.PASS, True), verdict.reason


def test_the_same_model_beside_itself_changes_nothing(exported: StageResult, champion: str, bucket: Path) -> None:
    """The champion repeats its answers; no score, no decision differs."""
    figures = shadow(order(bucket, exported.outputs["repository"], champion)).details["shadow"]
    assert figures["control"]["reproduced"] == figures["control"]["compared"] == COUNT
    assert (figures["compared"], figures["disagreements"], figures["changes"]) == (COUNT, 0, [])
    assert figures["psi"] == pytest.approx(0, abs=1e-9)
    assert {"amount=under 10"} <= {each["name"] for each in figures["segments"]}
    print(json.dumps({k: figures[k] for k in ("candidate", "champion", "control")}))
