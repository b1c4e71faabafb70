"""The manifest's entries as sources to read, and the verdicts on them as `objects.json` tells them."""

from collections.abc import Mapping
from typing import Any

from training import integrity
from training.data.validation import Source, ValidationResult


def source(entry: Mapping[str, Any]) -> Source:
    """An object is bucket + key + etag; the version id is how to fetch it."""
    name = f"s3://{entry['bucket']}/{entry['key']}"
    identity = integrity.sha256_bytes(f"{name}\n{entry['etag']}".encode())[:32]
    return Source(name, identity, name, entry.get("version_id"), entry["etag"])


def told(entry: Mapping[str, Any], verdict: ValidationResult) -> dict[str, Any]:
    """One object's line in `objects.json`: its status and, if it is quarantined, why."""
    return {
        **{name: entry[name] for name in ("bucket", "key", "etag")},
        "status": "ACCEPTED" if verdict.accepted else "QUARANTINED",
        "rows": verdict.rows,
        "problems": [problem.as_dict() for problem in verdict.problems],
    }
