"""Builds a run's steps in the API's form from the notes of its process."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from local.kfp import clock
from local.kfp.layout import TASKS
from local.kfp.store import Document


def task_details(folder: Path, run_id: str) -> list[Document]:
    """Return one object per step, by start: name, state, history, start and end (absent while it runs).

    A failed step has no reason, as in KFP's API, which stores an Argo node's phase but not its message. (KFP lists
    Argo's
    other nodes as well, drivers and groups; this function lists the steps.)
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
