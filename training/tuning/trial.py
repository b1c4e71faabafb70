"""One trial: trains with these settings and prints the objective as `name=value`, which Katib reads from stdout."""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training import storage
from training.model.config import TrainConfig
from training.tuning.space import OBJECTIVE, OTHER_METRICS


def score(dataset: str | Path, config: TrainConfig) -> dict[str, float]:
    """Train on a data set (folder or URI) with the real trainer. Returns the objective and the other metrics."""
    from training.model.checkpoint import StoredCheckpoints
    from training.model.train import train_model

    with tempfile.TemporaryDirectory() as scratch:
        folder = storage.local(str(dataset), Path(scratch) / "dataset")
        checkpoints = StoredCheckpoints(str(Path(scratch) / "checkpoints"))
        facts = train_model(folder, config, checkpoints, _quiet).facts
    return {name: float(facts[name]) for name in (OBJECTIVE, *OTHER_METRICS)}


def _quiet(event: str, metrics: Mapping[str, float]) -> None:
    print(event, json.dumps(dict(metrics)), file=sys.stderr)


def main(argv: Sequence[str]) -> None:
    """The command of an Experiment's Jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="folder or s3:// URI of a preprocess stage's data set")
    parser.add_argument("--settings", default="{}", help="the settings that are not searched, as JSON")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting that is searched")
    arguments = parser.parse_args(argv)
    settings: dict[str, Any] = json.loads(arguments.settings) | dict(pair.split("=", 1) for pair in arguments.set)
    for name, value in score(arguments.dataset, TrainConfig.from_dict(settings)).items():
        print(f"{name}={value:.6f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
