"""A version is immutable, named by its contents, complete, free of pickle, and carries its own code."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from serving_cases import Trained, deploy_order, export_order

from training import integrity, storage
from training.data.schema import FeatureSchema
from training.deployment.deploy_request import deploy_request, golden_of
from training.export.export import check_featurisation, export
from training.integrity import Tampered, differing, listed, sha256_folder
from training.model.model import load
from training.outcome import Permanent, StageResult
from training.serving.closure import closure, imports
from training.serving.config_pbtxt import with_version
from training.serving.fetch import fetch
from training.serving.triton_model import verify

pytestmark = pytest.mark.xdist_group("triton")

STANDALONE = """
import sys
sys.path.insert(0, sys.argv[1])
from training.serving import adapter
import training
assert all(module.__file__.startswith(sys.argv[1]) for name, module in sys.modules.items()
           if name.split(".")[0] == "training"), training.__file__
assert "statemachine" not in sys.modules
adapter.load("fraud_score", __import__("pathlib").Path(sys.argv[2]), {})
assert "torch_geometric" not in sys.modules, "100 MB that scoring does not need"
print("loaded")
"""


def folder(exported: StageResult) -> Path:
    return Path(exported.outputs["repository"])


def test_the_version_is_named_by_the_repositorys_contents(exported: StageResult, tmp_path: Path) -> None:
    """Eight digits of the sha256 of the repository as it was before the version was written into it."""
    version = str(exported.details["version"])
    copy = storage.download_folder(str(folder(exported) / "repository"), tmp_path / "repository")
    for config in copy.glob("*/config.pbtxt"):
        assert with_version("", version) in config.read_text()
        config.write_text(config.read_text().removesuffix(with_version("", version)))
    assert version == f"fraud-1-{sha256_folder(copy)[:8]}"


def test_everything_is_there_and_in_the_manifest(exported: StageResult) -> None:
    """Repository, model, evaluation, profile and golden requests, each with its sha256; the manifest was last."""
    files = listed(str(folder(exported)))
    assert differing(folder(exported), files) == []
    assert {"evaluation.json", "profile.json", "golden.json", "model/encoder.safetensors", "model/head.json"} <= set(
        files
    )
    for model in ("fraud_live", "fraud_score", "prediction_and_shapley"):
        assert {f"repository/{model}/{name}" for name in ("config.pbtxt", "1/model.py", "1/MANIFEST.json")} <= set(
            files
        )


def test_the_model_is_as_trained(exported: StageResult, trained: Trained) -> None:
    """The exported model scores as the trained one."""
    block = trained.builder.reader.block(trained.test[:100])
    assert np.array_equal(load(folder(exported) / "model").score(block), trained.model.score(block))


def test_to_export_again_is_success(exported: StageResult, trained: Trained, bucket: Path) -> None:
    """Another attempt of the same run finds its work done, and changes no byte."""
    before = {path: path.stat().st_mtime_ns for path in folder(exported).rglob("*")}
    again = export(export_order(trained, bucket, attempt=2))
    assert again.details == exported.details
    assert {path: path.stat().st_mtime_ns for path in folder(exported).rglob("*")} == before


def test_an_unfinished_export_is_finished(trained: Trained, bucket: Path) -> None:
    """Without a manifest nothing counts as exported, whatever files exist."""
    first = export(export_order(trained, bucket, "fraud-7"))
    (folder(first) / "MANIFEST.json").unlink()
    (folder(first) / "golden.json").write_text("half")
    assert export(export_order(trained, bucket, "fraud-7", attempt=2)).details == first.details
    assert differing(folder(first), listed(str(folder(first)))) == []


def test_other_contents_under_the_same_name_are_refused(trained: Trained, bucket: Path) -> None:
    """A version never changes: here the evaluation is another one."""
    first = export(export_order(trained, bucket, "fraud-8"))
    order = export_order(trained, bucket, "fraud-8", attempt=2)
    Path(order.inputs["evaluation"]).write_text('{"format": 1, "rows": 2}')
    with pytest.raises(Permanent, match=r"exists with other contents \(evaluation\.json\)"):
        export(order)
    assert differing(folder(first), listed(str(folder(first)))) == []


def test_an_order_without_an_input_is_permanent(trained: Trained, bucket: Path) -> None:
    """What is missing is named."""
    order = export_order(trained, bucket)
    inputs = {name: uri for name, uri in order.inputs.items() if name != "profile"}
    with pytest.raises(Permanent, match="'profile'"):
        export(replace(order, inputs=inputs))


def test_features_that_drift_apart_are_not_exported(trained: Trained) -> None:
    """If the server's schema made other features than training's, the export would fail before anything is written."""
    encodings = dict(trained.builder.fitted.encodings)
    encodings["mcc"] = replace(encodings["mcc"], share=tuple(-9.0 for _ in encodings["mcc"].share))
    schema = json.loads(FeatureSchema(encodings).dumps())
    with pytest.raises(Permanent, match="features are not training's"):
        check_featurisation(replace(trained.model, schema=schema), trained.builder)


def test_there_is_no_pickle(exported: StageResult) -> None:
    """No file of a version can run code when it is read; python files are code and say so."""
    for file in folder(exported).rglob("*"):
        if file.is_file() and file.suffix != ".pyc":
            assert file.suffix in (".json", ".safetensors", ".py", ".pbtxt", ""), file
            body = file.read_bytes()
            assert not body.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")), file
    for name, path in closure("training.serving.adapter").items():
        assert "import pickle" not in path.read_text(), name


def test_the_code_in_a_version_stands_alone(exported: StageResult) -> None:
    """It is imported from the version, not from the machine, so an older version serves with its own code."""
    version = folder(exported) / "repository" / "fraud_score" / "1"
    command = [sys.executable, "-c", STANDALONE, str(version / "code"), str(version / "model")]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.stdout == "loaded\n", done.stderr


def test_the_code_in_a_version_needs_no_cluster_and_no_cloud() -> None:
    """Triton's image needs what scores, and nothing that trains or deploys."""
    used = {name.partition(".")[0] for path in closure("training.serving.adapter").values() for name in imports(path)}
    assert {"torch", "xgboost", "polars"} <= used
    assert used.isdisjoint(
        {"kfp", "kubernetes", "tritonclient", "sklearn", "pandas", "moto", "boto3", "statemachine", "local", "cli"}
    )
    assert not [
        name
        for name in closure("training.serving.adapter")
        if name.startswith(("training.runtime", "training.storage"))
    ]


def test_a_pod_does_not_start_on_changed_files(exported: StageResult, tmp_path: Path) -> None:
    """The init container refuses a file that is not the manifest's, and so does the model before it loads anything."""
    copy = storage.download_folder(str(folder(exported)), tmp_path / "version")
    fetched = fetch(str(copy), tmp_path / "pod")
    verify(fetched / "fraud_score" / "1")
    (fetched / "fraud_score" / "1" / "model" / "head.json").write_text("{}")
    with pytest.raises(ValueError, match=r"head\.json is not what MANIFEST\.json says"):
        verify(fetched / "fraud_score" / "1")
    (copy / "repository" / "fraud_score" / "config.pbtxt").write_text("name: 'other'")
    with pytest.raises(Tampered, match=r"config\.pbtxt is not what MANIFEST\.json says"):
        fetch(str(copy), tmp_path / "other")


def test_golden_requests_are_compared_with_the_manifest(exported: StageResult, tmp_path: Path) -> None:
    """A deployment proves itself by the golden requests that were exported, or not at all."""
    copy = storage.download_folder(str(folder(exported)), tmp_path / "version")
    golden = golden_of(str(copy))
    models = [exchange.model for exchange in golden.exchanges]
    assert models == ["fraud_score", "fraud_score", "fraud_live", "prediction_and_shapley"]
    assert len(golden.exchanges[0].inputs["TRANSACTION"]) >= 20
    judged = integrity.sha256_file(copy / "MANIFEST.json")
    assert len(golden_of(str(copy), judged).exchanges) == 4
    with pytest.raises(Permanent, match="was changed since this version was exported and judged"):
        golden_of(str(copy), "0" * 64)
    assert b"" in golden.exchanges[0].inputs["MERCHANT_HISTORY"].ravel().tolist()
    (copy / "golden.json").write_text('{"format": 1, "tolerance": 1, "exchanges": []}')
    with pytest.raises(Permanent, match="is not what"):
        golden_of(str(copy))
    integrity.write_manifest(copy)
    with pytest.raises(Permanent, match="no exchange"):
        golden_of(str(copy))
    (copy / "MANIFEST.json").unlink()
    with pytest.raises(Permanent, match="not finished"):
        golden_of(str(copy))


def test_a_repository_of_another_version_is_refused(exported: StageResult) -> None:
    """The order's version and its repository must be one."""
    order = deploy_order(exported, 1)
    with pytest.raises(Permanent, match="names version fraud-2-00000000"):
        deploy_request(replace(order, parameters={**order.parameters, "version": "fraud-2-00000000"}))
    with pytest.raises(Permanent, match="lacks the parameter 'generation'"):
        deploy_request(replace(order, parameters={"version": exported.details["version"]}))
