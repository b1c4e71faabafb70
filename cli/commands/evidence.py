"""Reads a run's or a version's evaluation.json and dataset.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.output import stamp
from statemachine.bootstrap import App
from statemachine.contracts.errors import OperationRefused, Unknown
from statemachine.contracts.stage import Stage
from statemachine.core.run import Run

LARGEST = 16 * 1024 * 1024


@dataclass(frozen=True)
class Evidence:
    """A version with the run that made it. `evaluation` and `dataset` are empty if their files were deleted."""

    name: str
    run: Run
    evaluation: Mapping[str, Any]
    dataset: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The version that the run made; "" if it made none."""
        return self.run.candidate

    @property
    def rows(self) -> str:
        """Which test rows it was measured on, in words."""
        if not self.evaluation:
            return "no rows: it has no evaluation"
        until = f", the last of {stamp(self.dataset['last'])}" if "last" in self.dataset else ""
        return (
            f"{self.evaluation['rows']:,} test rows with {self.evaluation['frauds']:,} frauds of {self.run.id}{until}"
        )


def find(app: App, name: str) -> Evidence:
    """A run by its id, or the run that made a version by the version's name. Raises `Unknown`."""
    run = app.store.load(name) or app.store.load(name.rpartition("-")[0])
    if run is None or name not in (run.id, run.candidate):
        raise Unknown(f"there is no run or version {name!r}; `fraudloop runs` lists them")
    return Evidence(name, run, evaluation(app, run), dataset(app, run))


def evaluation(app: App, run: Run) -> Mapping[str, Any]:
    """The run's evaluation.json; empty if it was not evaluated, or the file is gone."""
    return _json(app, run.output(Stage.EVALUATE, "evaluation"))


def dataset(app: App, run: Run) -> Mapping[str, Any]:
    """The dataset.json of the run's training data; empty if it was deleted."""
    uri = run.output(Stage.PREPROCESS, "dataset")
    return _json(app, f"{uri.rstrip('/')}/dataset.json") if uri else {}


def _json(app: App, uri: str) -> Mapping[str, Any]:
    body = app.files.read(uri, LARGEST) if uri.startswith("s3://") else None
    if body is None:
        return {}
    try:
        found = json.loads(body)
    except ValueError as error:
        raise OperationRefused(f"{uri} is not JSON ({error}); `fraudloop redrive` makes it again") from error
    return found if isinstance(found, dict) else {}
