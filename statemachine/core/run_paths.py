"""Where a run's files lie in the artifacts bucket, and which of them a report may name."""

from statemachine.contracts.stage import Stage
from statemachine.core.run import Run

KEPT_BY_PREPROCESS = ("cache", "datasets")  # beside `runs/`, by model: what later runs read, too


def attempt_folder(root: str, run: Run, stage: Stage) -> str:
    """Under this each launch of the present attempt has a folder of its own, named by its launch id."""
    return f"{root}/runs/{run.id}/{stage.value}/{run.attempt}"


def launch_folder(root: str, run: Run) -> str:
    """Where the adopted launch writes."""
    assert run.stage is not None
    return f"{attempt_folder(root, run, run.stage)}/{run.launch_id}"


def manifest_uri(root: str, run: Run) -> str:
    """The run's manifest. Its name holds the deployment: two that share a bucket have runs of the same name."""
    mine = f".{run.deployment}" if run.deployment else ""
    return f"{root}/runs/{run.id}/manifest{mine}.json"


def nameable(root: str, run: Run) -> tuple[str, ...]:
    """The places below which the adopted launch's report may name an output."""
    assert run.stage is not None
    shared = {
        Stage.PREPROCESS: tuple(f"{root}/{kind}/{run.model}/" for kind in KEPT_BY_PREPROCESS),
        Stage.TRAIN: (f"{root}/runs/{run.id}/train/checkpoints/",),
        Stage.EXPORT: (f"{root}/models/{run.model}/",),
    }
    return (f"{launch_folder(root, run)}/", *shared.get(run.stage, ()))
