"""What one decision rests on, gathered from the table and the artifacts bucket into files."""

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cli.audit.container import ENVELOPE
from cli.audit.keys import Signer
from cli.commands.audit import acts_on
from cli.output import plain
from statemachine.bootstrap import App
from statemachine.contracts import paths
from statemachine.contracts.attestation import (
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    canonical,
    chained,
    head,
    pae,
    sha256,
    statement,
)
from statemachine.contracts.errors import Denied, Malformed, OperationRefused
from statemachine.contracts.report import REPORT, STARTED, Artifact
from statemachine.contracts.stage import Stage
from statemachine.core.approval import subject_digest
from statemachine.core.run import Run

FORMAT = 1
LARGEST = 32 * 1024 * 1024  # bytes of one file
MOST_KEYS = 5000  # of the run's folder that are looked at
EVIDENCE = frozenset(
    {REPORT, STARTED, "MANIFEST.json", "dataset.json", "evaluation.json", "objects.json", "profile.json", "shadow.json",
     "report.html", "model_card.md", "config.json", "schema.json"}
)  # fmt: skip
IMAGE = ("image", "code_version", "python")
RUNS_AFTER = 200


@dataclass
class Gathered:
    """Files by name, where each piece of evidence came from, and what could not be had."""

    files: dict[str, bytes] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object among the files; empty if it is none."""
        try:
            found = json.loads(self.files.get(name, b"{}"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def decision(app: App, run: Run, now: float, who: str) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a run's audit file, and the predicate of its statement.

    Raises:
        OperationRefused: the run is not over, so nothing is decided.
    """
    if not run.state.terminal:
        raise OperationRefused(f"{run.id} is {run.state.value}; its audit file can be made when it is over")
    found = _evidence(app, run)
    entries = [plain(entry) for entry in app.store.history(run.id)]
    history = chained(entries)
    acts = [asdict(act) for act in acts_on(app, run)]
    reports = _reports(found)
    parts: dict[str, Any] = {
        "run.json": plain(run),
        "identity.json": _identity(run),
        "inputs.json": _inputs(run, found),
        "build.json": _build(run, found, reports, entries),
        "approval.json": {
            "policy": plain(replace(app.policies[run.model], stages={})),
            "approvals": [plain(each) for each in run.approvals],
            "approved": subject_digest(run),
            "parameters_by": run.parameters_by,
            "acts": acts,
        },
        "deployment.json": _deployment(app, run, reports),
        "after.json": _after(app, run, now),
        "evidence.json": {"sources": found.sources, "missing": found.missing},
    }
    files = {**found.files, "history.jsonl": history, **{name: canonical(part) for name, part in parts.items()}}
    predicate = {
        "format": FORMAT, "run": run.id, "model": run.model, "deployment": run.deployment, "outcome": run.state.value,
        "decided_at": run.entered_at, "history": head(history), "made_at": now, "made_by": who,
    }  # fmt: skip
    return files, predicate


def _evidence(app: App, run: Run) -> Gathered:
    found, root = Gathered(), app.policies[run.model].root
    for uri in sorted({*_listed(app, run, root, found), *_named(run)}):
        name = f"evidence/{uri.removeprefix(f'{root}/')}"
        try:
            body = app.files.read(uri, LARGEST)
        except (Denied, Malformed) as error:
            found.missing[uri] = str(error)
            continue
        if body is None:
            found.missing[uri] = "it is not there; intermediate files expire"
        elif len(body) > LARGEST:
            found.missing[uri] = f"it has more than {LARGEST} bytes; its sha256 is on the run's record if it has one"
        else:
            found.files[name], found.sources[name] = body, uri
    return found


def _listed(app: App, run: Run, root: str, found: Gathered) -> Iterator[str]:
    """What lies in the run's own folder: every launch's reports too, adopted or not."""
    bucket, _, prefix = f"{paths.run_folder(root, run.id)}/".removeprefix("s3://").partition("/")
    for number, obj in enumerate(app.files.list(bucket, prefix)):
        if number >= MOST_KEYS:
            found.missing[f"s3://{bucket}/{prefix}"] = f"only the first {MOST_KEYS} objects were looked at"
            return
        name = posixpath.basename(obj.key)
        if name in EVIDENCE or (name.startswith("manifest.") and name.endswith(".json")):
            yield f"s3://{bucket}/{obj.key}"


def _named(run: Run) -> Iterator[str]:
    """What the record names: files, and the list of files of what is a folder."""
    for stage in run.outputs.values():
        for artifact in stage.values():
            uri = artifact.uri.rstrip("/")
            if posixpath.basename(uri) in EVIDENCE:
                yield uri
            elif "." not in posixpath.basename(uri):
                yield f"{uri}/MANIFEST.json"
    if run.manifest:
        yield run.manifest


def _reports(found: Gathered) -> list[tuple[str, dict[str, Any]]]:
    """Each launch's report with its file's name, in the order of time."""
    reports = [(name, found.json(name)) for name in found.files if name.endswith(f"/{REPORT}")]
    return sorted(reports, key=lambda pair: (str(pair[1].get("started_at", "")), pair[0]))


def _identity(run: Run) -> dict[str, Any]:
    return {
        "run": run.id, "model": run.model, "kind": run.kind.value, "deployment": run.deployment, "parent": run.parent,
        "trigger": plain(run.trigger), "created_at": run.created_at, "decided_at": run.entered_at,
        "outcome": run.state.value, "reason": run.reason, "fault": run.fault, "candidate": run.candidate,
        "champion": run.champion, "target": run.target, "verdict": dict(run.verdict), "shadow": dict(run.shadow),
    }  # fmt: skip


def _inputs(run: Run, found: Gathered) -> dict[str, Any]:
    """Which data: the manifest with its digest, what preprocess reported, and up to when labels were known."""
    manifest = f"evidence/{run.manifest.partition('://')[2].partition('/')[2]}" if run.manifest else ""
    data = next((found.json(name) for name in sorted(found.files) if name.endswith("/dataset.json")), {})
    return {
        "manifest": {"uri": run.manifest, "sha256": sha256(found.files[manifest]) if manifest in found.files else ""},
        "outputs": {name: _artifact(each) for name, each in run.outputs.get(Stage.PREPROCESS.value, {}).items()},
        "data_sha256": data.get("data_sha256", ""),
        "schema_sha256": data.get("schema_sha256", ""),
        "rows": data.get("rows"),
        "first": data.get("first"),
        "last": data.get("last"),
        "label_cut_off": data.get("boundaries", {}).get("immature"),
        "boundaries": data.get("boundaries", {}),
        "compared_with": run.champion,
    }


def _artifact(artifact: Artifact) -> dict[str, str]:
    return {"uri": artifact.uri, "sha256": artifact.sha256}


def _build(
    run: Run, found: Gathered, reports: list[tuple[str, dict[str, Any]]], history: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What made it: pinned pipelines, parameters with the seed, and of each launch image, commit and packages."""
    config = next((found.json(name) for name in sorted(found.files) if name.endswith("/config.json")), {})
    used = {artifact.uri.rpartition("/")[0] for outputs in run.outputs.values() for artifact in outputs.values()}
    launches = []
    for name, report in reports:
        lineage = report.get("lineage", {})
        folder = found.sources[name].rpartition("/")[0]
        launches.append(
            {key: report.get(key) for key in ("stage", "attempt", "launch_id", "outcome", "reason", "started_at",
                                              "finished_at")}
            | {key: lineage.get(key, "") for key in IMAGE}
            | {"packages": {k.removeprefix("package."): v for k, v in lineage.items() if k.startswith("package.")}}
            | {"outputs_used": any(uri == folder or uri.startswith(f"{folder}/") for uri in used)}
        )  # fmt: skip
    return {
        "pins": {stage: plain(pin) for stage, pin in run.pins.items()},
        "kfp_runs": sorted({str(entry["kfp_id"]) for entry in history if entry["kfp_id"]}),
        "launch_ids": list(run.launch_ids),
        "parameters": {stage: dict(values) for stage, values in run.parameters.items()},
        "seed": config.get("seed", run.parameters.get(Stage.TRAIN.value, {}).get("seed")),
        "launches": launches,
    }


def _deployment(app: App, run: Run, reports: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The proof: which pods answered as what, and the golden requests; empty if it was never deployed."""
    stages = (Stage.DEPLOY.value, Stage.RESTORE.value)
    proofs = [
        {"stage": r.get("stage"), "attempt": r.get("attempt"), "outcome": r.get("outcome"), "details": r.get("details")}
        for _, r in reports
        if r.get("stage") in stages
    ]
    release = app.store.model(run.model).release_of(run.candidate or run.target)
    return {"generation": run.generation, "proofs": proofs, "release": plain(release) if release else None}


def _after(app: App, run: Run, now: float) -> dict[str, Any]:
    """What happened to the version since, as far as the record goes at `now`."""
    model = app.store.model(run.model)
    later = [each for each in app.store.runs(run.model, RUNS_AFTER) if each.created_at > run.created_at]
    return {
        "as_of": now,
        "champion": model.champion.version if model.champion else "",
        "blocked_contents": list(model.refused),
        "hold": plain(model.hold) if model.hold else None,
        "runs": [
            {"run": each.id, "state": each.state.value, "candidate": each.candidate, "target": each.target,
             "created_at": each.created_at, "reason": each.reason, "parent": each.parent}
            for each in reversed(later)
        ],
    }  # fmt: skip


def seal(files: Mapping[str, bytes], predicate: Mapping[str, Any], signer: Signer) -> dict[str, bytes]:
    """The files with the signed envelope beside them."""
    body = statement(files, predicate)
    signature = Signature(signer.sign(pae(PAYLOAD_TYPE, body)), signer.keyid)
    return {**files, ENVELOPE: Envelope(body, PAYLOAD_TYPE, (signature,)).dumps()}
