"""`manifest.json`: the objects that one run learns from, written once from the frozen epoch."""

import json
from collections.abc import Iterable

from statemachine.core.run import Run
from statemachine.core.window import Object, Status, data_set

FORMAT = 1


def manifest(run: Run, objects: Iterable[Object]) -> bytes:
    """The manifest of `run` as bytes: equal objects, equal bytes."""
    entries = [
        {
            "bucket": thing.bucket,
            "key": thing.key,
            "etag": thing.etag,
            "version_id": thing.version_id,
            "size": thing.size,
            "new": thing.status is Status.PENDING,
            "epoch": thing.epoch,
            "arrived_at": thing.arrived_at,
        }
        for thing in data_set(objects, run.epoch)
    ]
    body = {"format": FORMAT, "run_id": run.id, "model": run.model, "epoch": run.epoch, "objects": entries}
    return json.dumps(body, indent=1, ensure_ascii=False).encode()
