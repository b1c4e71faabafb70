"""Runs with the files that their stages leave in S3: evaluation.json, dataset.json, report.html and report.json."""

import json
from dataclasses import replace
from typing import Any

from played_runs import HAPPY, played

from statemachine.contracts.report import Artifact
from statemachine.core.model import Release
from statemachine.core.run import Run

BUCKET = "s3://fraudloop-artifacts"
FILES = {"evaluation": "evaluation.json", "report_html": "report.html"}
SLICES = (("channel=chip", 9000, 40), ("channel=online", 1000, 60), ("unseen card", 0, 0))


def ranked(auc: float | None, precision: float | None) -> dict[str, float | None]:
    """Both ranking figures."""
    return {"auc_roc": auc, "average_precision": precision}


def evaluation(
    auc: float, precision: float, champion: dict[str, Any] | None = None, rows: int = 10_000
) -> dict[str, Any]:
    """What evaluate leaves; 100 frauds."""
    return {
        "format": 1, "rows": rows, "frauds": 100, "threshold": 0.62,
        "metrics": ranked(auc, precision) | {"precision": 0.7, "recall": 0.5, "f1": 0.58, "brier": 0.01},
        "intervals": {"auc_roc": [auc - 0.01, auc + 0.01], "average_precision": [precision - 0.05, precision + 0.05]},
        "champion": champion, "anchor": None, "drift": {"cents": 0.1},
        "slices": [
            {"name": name, "rows": count, "frauds": frauds} | (ranked(auc, precision) if frauds else ranked(None, None))
            for name, count, frauds in SLICES
        ],
    }  # fmt: skip


def versus(version: str, low: float = -0.003, auc: float = 0.96) -> dict[str, Any]:
    """The champion's part of an evaluation: the candidate is better by 0.002."""
    difference = {"mean": 0.002, "low": low, "high": 0.007}
    figures = {"auc_roc": auc, "average_precision": 0.40}
    return {
        "version": version,
        "metrics": figures,
        "difference": {"auc_roc": difference, "average_precision": difference},
    }


def dataset(sha256: str, rows: int) -> dict[str, Any]:
    """What preprocess leaves beside the rows."""
    splits = {"train": {"rows": rows - 20_000, "frauds": 700}, "test": {"rows": 10_000, "frauds": 100}}
    return {
        "rows": rows, "first": 1_577_836_800, "last": 1_580_428_800, "data_sha256": sha256, "schema_sha256": "5c",
        "boundaries": {"validate": 1, "test": 2}, "splits": splits, "corrected": 0, "duplicates": 3,
    }  # fmt: skip


def judged(system, number: int, measured: dict[str, Any], data: dict[str, Any], code: str, path=HAPPY, **fields) -> Run:
    """Run `fraud-<number>` with its files in S3; it serves if it succeeded."""
    run_id, version = f"fraud-{number}", f"fraud-{number}-{number:08d}"
    folders = {stage: f"{BUCKET}/runs/{run_id}/{stage}/1/launch" for stage in ("preprocess", "train", "evaluate")}
    files = {
        f"{folders['preprocess']}/dataset/dataset.json": data,
        f"{folders['preprocess']}/report.json": {
            "lineage": {"code_version": code, "image": f"stage:{code}", "host": run_id}
        },
        f"{folders['evaluate']}/evaluation.json": measured,
    }
    for uri, content in files.items():
        system.files.write(uri, json.dumps(content).encode())
    system.files.write(f"{folders['evaluate']}/report.html", b"<html>the report</html>")
    outputs = {
        "preprocess": {"dataset": Artifact(f"{folders['preprocess']}/dataset")},
        "train": {"model": Artifact(f"{folders['train']}/model")},
        "evaluate": {name: Artifact(f"{folders['evaluate']}/{file}") for name, file in FILES.items()},
    }  # fmt: skip
    fields = {"metrics": measured["metrics"], "candidate": version, "outputs": outputs} | fields
    run = played(system, path=path, run_id=run_id, **fields)
    if run.state.value == "SUCCEEDED":
        release = Release(version, run_id, "s3://x", number, run.entered_at)
        system.store.change_model("fraud", lambda model: replace(model, champion=release))
    return run
