"""The layout of the artifacts bucket. Every key below its root is built here (docs/contracts.md shows the tree).

`root` is `s3://<artifacts bucket>`, or a local folder with the same layout; it has no slash at its end.
"""

from statemachine.contracts.stage import Stage


def run_folder(root: str, run_id: str) -> str:
    """All files of one run."""
    return f"{root}/runs/{run_id}"


def runs_folder(root: str) -> str:
    """The files of all runs."""
    return f"{root}/runs"


def attempt_folder(root: str, run_id: str, stage: Stage, attempt: int) -> str:
    """One attempt of a stage. Each of its launches writes to a folder of its own below it."""
    return f"{run_folder(root, run_id)}/{stage.value}/{attempt}"


def launch_folder(root: str, run_id: str, stage: Stage, attempt: int, launch_id: str) -> str:
    """Where one launch writes its outputs and its report."""
    return f"{attempt_folder(root, run_id, stage, attempt)}/{launch_id}"


def manifest_uri(root: str, run_id: str, deployment: str) -> str:
    """The run's manifest. Its name holds the deployment, because two deployments may share a bucket."""
    suffix = f".{deployment}" if deployment else ""
    return f"{run_folder(root, run_id)}/manifest{suffix}.json"


def checkpoints_folder(root: str, run_id: str) -> str:
    """The checkpoints of training, beside its attempts, so that a later attempt resumes from them."""
    return f"{run_folder(root, run_id)}/{Stage.TRAIN.value}/checkpoints"


def checkpoints_beside(output_uri: str) -> str:
    """`checkpoints_folder` as the train stage finds it: beside the attempt that `output_uri` is a launch of."""
    return f"{output_uri.rstrip('/').rsplit('/', 2)[0]}/checkpoints"


def versions_folder(root: str, model: str) -> str:
    """All exported versions of a model."""
    return f"{root}/models/{model}"


def version_folder(root: str, model: str, version: str) -> str:
    """One exported version, as Triton loads it."""
    return f"{versions_folder(root, model)}/{version}"


def cache_folder(root: str, model: str) -> str:
    """Converted objects of a model. Deleting it costs time and nothing else."""
    return f"{root}/cache/{model}"


def datasets_folder(root: str, model: str) -> str:
    """Files of data sets that several runs of a model read."""
    return f"{root}/datasets/{model}"


def scores_folder(root: str, model: str) -> str:
    """The log of a model's live answers."""
    return f"{root}/scores/{model}"


def scores_file(root: str, model: str, day: str, part: str) -> str:
    """A file of the score log: `part` of one day (YYYY-MM-DD, UTC)."""
    return f"{scores_folder(root, model)}/{day}/{part}"


def drift_report(root: str, model: str) -> str:
    """The latest report on a model's live scores; beside the days of its log."""
    return f"{scores_folder(root, model)}/drift.json"


def root_of(output_uri: str, run_id: str = "") -> str:
    """The root above a launch's folder; "" if the launch writes outside `runs/` (of that run, if one is given)."""
    root, found, _ = output_uri.partition(f"/runs/{run_id}/" if run_id else "/runs/")
    return root if found else ""


def allowed_outputs(root: str, run_id: str, model: str, stage: Stage, folder: str) -> tuple[str, ...]:
    """The prefixes below which the report of a launch may name an output; `folder` is the launch's own."""
    shared = {
        Stage.PREPROCESS: (cache_folder(root, model), datasets_folder(root, model)),
        Stage.TRAIN: (checkpoints_folder(root, run_id),),
        Stage.EXPORT: (versions_folder(root, model),),
    }
    return tuple(f"{prefix}/" for prefix in (folder, *shared.get(stage, ())))
