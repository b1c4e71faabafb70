"""A run's steps as the API tells them, from the notes that its process keeps."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from local.kfp import clock
from local.kfp.layout import TASKS
from local.kfp.store import Document


def task_details(folder: Path, run_id: str) -> list[Document]:
    """One object a step: name, state, history, begin and end (absent while it runs), in order of their beginning.

    Why one failed is not said, as KFP's API never says it: it keeps an Argo node's phase, not its message. (KFP lists
    Argo's other nodes as well, drivers and groups; this one lists the steps.)
    """
    steps: dict[str, Document] = {}
    for note in _notes(folder / TASKS):
        moment = clock.write(datetime.fromtimestamp(note["time"], UTC))
        step = steps.setdefault(
            note["task"],
            {
                "run_id": run_id,
                "task_id": f"{run_id}/{note['task']}",
                "display_name": note["task"],
                "create_time": moment,
                "start_time": moment,
            },
        )
        step["state"] = note["state"]
        step.setdefault("state_history", []).append({"update_time": moment, "state": note["state"]})
        if note["state"] != "RUNNING":
            step["end_time"] = moment
    return list(steps.values())


def _notes(path: Path) -> Iterator[Document]:
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
