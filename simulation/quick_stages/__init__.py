"""Stand-ins for what the stages compute, so that a whole run takes seconds. Tests and benchmarks use them.

Only the work is a stand-in. The pipelines, the pods' processes, `started.json`, `report.json`, the event at the end and
(unless it is named too) the deployment are the real ones.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

WHICH = "QUICK_STAGES"
LEARNING = ("preprocess", "materialise", "train", "evaluate", "export", "shadow")
ALL = (*LEARNING, "deploy", "restore")


def environment(stages: Iterable[str] = LEARNING) -> Mapping[str, str]:
    """What processes must be given so that the work of these stages is ours.

    Python runs a `sitecustomize` at the start of every process: ours stands where a component looks for its function.
    """
    here = Path(__file__).resolve()
    path = [str(here.with_name("site")), str(here.parents[2])]  # `simulation` is not an installed package
    return {"PYTHONPATH": os.pathsep.join(path), WHICH: " ".join(stages)}
