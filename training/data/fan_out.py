"""One share of a manifest's objects, converted and checked ahead of preprocess, which then finds them in the cache.

Each object's verdict and clean rows lie in `cache/` under its own identity, so shares need not agree on anything, and a
share that dies costs time only: preprocess converts what it does not find. Verdicts on bad objects are not kept, so
those are judged by it again.
"""

import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from statemachine.contracts import paths
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.data import manifest, schema
from training.data.preprocess import admit, configured
from training.outcome import Permanent


def convert(order: StageRequest, share: int, of: int, today: date | None = None) -> int:
    """Converts every `of`-th object of the manifest, from number `share` on; returns how many there were.

    Raises:
        Permanent: the launch writes outside of `runs/`, so there is no cache that preprocess would look into.
    """
    config = configured(order.parameters)
    root = paths.root_of(order.output_uri)
    if not root:
        raise Permanent(f"preprocess: {order.output_uri} lies outside of runs/, so shares have no cache in common")
    cache = storage.join(paths.cache_folder(root, order.model), schema.definition(config.data)[:16])
    entries = storage.read_json(order.inputs["manifest"])["objects"][share::of]
    now = today or datetime.now(UTC).date()
    with tempfile.TemporaryDirectory(prefix="fraudloop-convert-") as scratch:
        if entries:
            admit([manifest.source(entry) for entry in entries], config, today=now, scratch=Path(scratch), cache=cache)
    return len(entries)
