"""`manifest.json`: what one run trains on: the index of all objects so far, and the changes since."""

import json
from collections.abc import Iterable
from typing import Any

from statemachine.contracts.report import Artifact
from statemachine.core.run import Run
from statemachine.core.window import Object, Status

FORMAT = 2


def manifest(
    run: Run, objects: Iterable[Object], removed: Iterable[Object] = (), index: Artifact | None = None
) -> bytes:
    """The manifest of `run` as bytes: equal objects, equal bytes.

    `objects` are those that `index` may not hold yet; `removed` are writes that it may hold and that teach no more.
    """
    body = {
        "format": FORMAT,
        "run_id": run.id,
        "model": run.model,
        "epoch": run.epoch,
        "index": index.uri if index else None,
        "index_sha256": index.sha256 if index else "",
        "objects": [_entry(obj) for obj in objects],
        "removed": [{"bucket": t.bucket, "key": t.key, "etag": t.etag} for t in removed],
    }
    return json.dumps(body, indent=1, ensure_ascii=False).encode()


def _entry(obj: Object) -> dict[str, Any]:
    return {
        "bucket": obj.bucket,
        "key": obj.key,
        "etag": obj.etag,
        "version_id": obj.version_id,
        "size": obj.size,
        "new": obj.status is Status.PENDING,
        "epoch": obj.epoch,
        "arrived_at": obj.arrived_at,
        "kind": obj.kind.value,
    }
