"""The manifest's entries as sources to read, and the verdicts on them as `objects.json` tells them."""

from collections.abc import Mapping
from typing import Any

from statemachine.contracts.object_kind import ObjectKind
from training import integrity
from training.data.judging import ValidationResult
from training.data.source import Source


def source(entry: Mapping[str, Any]) -> Source:
    """An object is bucket + key + etag; the version id is how to fetch it."""
    name = f"s3://{entry['bucket']}/{entry['key']}"
    identity = integrity.sha256_bytes(f"{name}\n{entry['etag']}".encode())[:32]
    order = (float(entry.get("epoch", 0)), float(entry.get("arrived_at", 0)), float(bool(entry["new"])))
    arrived, kind = int(entry.get("arrived_at") or 0), kind_of(entry)
    etag, size = entry["etag"].strip('"'), int(entry["size"])
    return Source(name, identity, name, entry.get("version_id"), etag, size, order, kind, arrived)


def kind_of(entry: Mapping[str, Any]) -> ObjectKind:
    """What an entry of a manifest or an index holds; one of an earlier release does not say, and holds data."""
    return ObjectKind(entry.get("kind") or ObjectKind.DATA.value)


def told(entry: Mapping[str, Any], verdict: ValidationResult) -> dict[str, Any]:
    """One object's line in `objects.json`: its status and, if it is quarantined, why."""
    return {
        **{name: entry[name] for name in ("bucket", "key", "etag")},
        "status": "ACCEPTED" if verdict.accepted else "QUARANTINED",
        "rows": verdict.rows,
        "problems": [problem.as_dict() for problem in verdict.problems],
    }
