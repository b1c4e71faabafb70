"""The shadow stage with a real Triton: control first, then figures of both versions on the same requests."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from serving_cases import halve_weights

from local import triton
from statemachine.contracts import paths
from statemachine.contracts.shadow import ShadowOutcome, ShadowPolicy, shadow_verdict
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.export.golden import Exchange, Golden
from training.integrity import write_manifest
from training.outcome import Permanent, StageResult
from training.scorelog.files import SCHEMA
from training.serving.config_pbtxt import with_version
from training.shadow.requests import ReplayRequest
from training.shadow.requests import exported as exported_requests
from training.shadow.server import BINARY, _environment
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
        config.write_text(with_version("\n".join([*lines, ""]), version))
    finished(folder)


def finished(folder: Path) -> None:
    """The manifest of the files as they are now."""
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


def shared_memory() -> set[Path]:
    """The regions of this process's servers; a test beside it may have one that runs."""
    return set(Path("/dev/shm").glob(f"fraudloop_{os.getpid()}_*"))


def test_a_candidate_that_does_not_load_says_why(exported: StageResult, champion: str, bucket: Path) -> None:
    """Its weights are torn and its manifest is of the torn file: the server's own words are the reason."""
    uri = Path(paths.version_folder(str(bucket), "fraud", "fraud-13-00000013"))
    shutil.copytree(exported.outputs["repository"], uri)
    halve_weights(uri / "repository", "fraud-13-00000013")
    finished(uri)
    before = shared_memory()
    figures = shadow(order(bucket, str(uri), champion)).details["shadow"]
    assert shared_memory() <= before, "what its servers held is given back"
    assert "is not what MANIFEST.json says" in figures["candidate"]["error"]
    verdict = shadow_verdict(figures, ShadowPolicy(), candidate=uri.name, champion="fraud-0-00000000")
    assert (verdict.outcome, verdict.passed) == (ShadowOutcome.FAIL, False)
    assert "is not what MANIFEST.json says" in verdict.reason


def test_recent_requests_come_from_the_score_log_and_control_comes_first(
    exported: StageResult, champion: str, bucket: Path
) -> None:
    """The log holds the champion's answers, a tenth of them wrong: the comparison is invalid and says so."""
    model = "logged"
    root, version = str(bucket), champion.rpartition("/")[2]
    asked = exported_requests(exported.outputs["repository"], COUNT).requests
    rows = [logged_row(n, one, version, wrong=n % 10 == 0) for n, one in enumerate(asked)]
    rows += [logged_row(n, one, "fraud-99-00000099", wrong=True) for n, one in enumerate(asked)]
    file = Path(paths.scores_file(root, model, datetime.now(UTC).strftime("%Y-%m-%d"), "part.parquet"))
    file.parent.mkdir(parents=True)
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(file)
    figures = shadow(replace(order(bucket, exported.outputs["repository"], champion), model=model)).details["shadow"]
    assert (figures["source"], figures["control"]["source"]) == ("log", "log")
    assert (figures["control"]["compared"], figures["control"]["reproduced"]) == (COUNT, COUNT * 9 // 10)
    assert figures["candidate"]["alerts_per_day"] is not None
    verdict = shadow_verdict(figures, ShadowPolicy(), candidate=figures["candidate"]["version"], champion=version)
    assert (verdict.outcome, verdict.passed) == (ShadowOutcome.INVALID, False)


def logged_row(number: int, request: ReplayRequest, version: str, *, wrong: bool) -> dict[str, object]:
    (exchange,) = Golden((Exchange("fraud_score", request.inputs, {}),)).as_dict()["exchanges"]
    return {
        "id": f"1-{number}",
        "request_id": f"r{number}",
        "at": time.time() - 3600 + number,
        "time": 0,
        "transaction": request.line.decode(),
        "probability": 1 - request.probability if wrong else request.probability,
        "decision": False,
        "threshold": 0.5,
        "version": version,
        "definition": "d",
        "degraded": "",
        "latency_us": 900,
        "request": json.dumps({"inputs": exchange["inputs"]}),
    }


def test_an_image_without_triton_is_named(exported: StageResult, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again cannot help; nothing is said about the candidate."""
    monkeypatch.delenv(BINARY)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Permanent, match="no tritonserver on PATH"):
        shadow(order(bucket, exported.outputs["repository"]))


def test_a_version_whose_files_were_changed_is_not_tried(exported: StageResult, bucket: Path) -> None:
    """The manifest is compared before anything is loaded."""
    uri = Path(paths.version_folder(str(bucket), "fraud", "fraud-14-00000014"))
    shutil.copytree(exported.outputs["repository"], uri)
    (uri / "repository" / "fraud_score" / "1" / "model.py").write_text("import os")
    with pytest.raises(Permanent, match="fraud-14-00000014 cannot be tried"):
        shadow(order(bucket, str(uri)))


def test_what_is_tried_sees_neither_the_stages_packages_nor_the_online_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its models run in the serving image's interpreter, which is on PATH, and a replayed payment is never counted."""
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "FRAUDLOOP_LIVE_URL", "FRAUDLOOP_LIVE_PASSWORD", "FRAUDLOOP_ENTITY_KEY"):
        monkeypatch.setenv(name, "/opt/stage")
    monkeypatch.setenv("PATH", f"{Path(sys.prefix) / 'bin'}:/usr/bin")
    found = _environment(os.environ)
    assert not [name for name, value in found.items() if value == "/opt/stage"]
    assert found["PATH"] == os.environ["PATH"]
