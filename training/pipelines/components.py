"""The stages as lightweight KFP components: each passes its parameters to one function.

A component's source is embedded in the compiled pipeline and runs in a pod (locally, in a process) that has only the
image's packages; hence the imports inside the functions. The artifacts are for the KFP UI and for the end-to-end
pipeline. The controller reads `report.json`.
"""

# KFP requires this spelling for JSON objects and for optional artifacts.
# mypy: disable-error-code="type-arg, assignment"

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output


def preprocess(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    dataset: Output[Dataset],
    profile: Output[Artifact],
    metrics: Output[Metrics],
) -> str:
    """Reads the manifest's objects and writes a validated, split data set with features."""
    from training.runtime.launch import launch, order_of

    order = order_of("preprocess", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    made = {"dataset": dataset, "profile": profile}
    return launch("training.data.preprocess:preprocess", order, made=made, metrics=metrics)


def convert(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    share: int,
    of: int,
) -> int:
    """Converts and checks one share of the manifest's objects, for preprocess to find."""
    from training.runtime.launch import order_of
    from training.runtime.share import convert_share

    order = order_of("preprocess", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    return convert_share(order, share, of)


def materialise(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    metrics: Output[Metrics],
) -> str:
    """Brings the online store of live scoring up to the data set."""
    from training.runtime.launch import launch, order_of

    order = order_of("materialise", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    return launch("training.live.materialise:materialise", order, metrics=metrics)


def train(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    trained: Output[Model],
    metrics: Output[Metrics],
    dataset: Input[Dataset] = None,
) -> str:
    """Trains GraphSAGE and its XGBoost head on the data set."""
    from training.runtime.launch import launch, order_of

    order = order_of("train", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    work = "training.model.train:train"
    return launch(work, order, given={"dataset": dataset}, made={"model": trained}, metrics=metrics)


def evaluate(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
    page: Output[HTML],
    dataset: Input[Dataset] = None,
    trained: Input[Model] = None,
) -> str:
    """Measures candidate, champion and baselines on the same later rows. It does not judge."""
    from training.runtime.launch import launch, order_of

    order = order_of("evaluate", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    given, made = {"dataset": dataset, "model": trained}, {"evaluation": evaluation}
    work = "training.evaluation.evaluate:evaluate"
    return launch(work, order, given=given, made=made, metrics=metrics, roc=roc, page=page)


def export(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    repository: Output[Artifact],
    metrics: Output[Metrics],
    dataset: Input[Dataset] = None,
    trained: Input[Model] = None,
    evaluation: Input[Artifact] = None,
    profile: Input[Artifact] = None,
) -> str:
    """Writes the trained model as an immutable Triton repository with manifest and golden requests."""
    from training.runtime.launch import launch, order_of

    order = order_of("export", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    given = {"dataset": dataset, "model": trained, "evaluation": evaluation, "profile": profile}
    work = "training.export.export:export"
    return launch(work, order, given=given, made={"repository": repository}, metrics=metrics)


def shadow(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    metrics: Output[Metrics],
) -> str:
    """Tries candidate and champion on the serving image with recent requests. It does not judge."""
    from training.runtime.launch import launch, order_of

    order = order_of("shadow", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    return launch("training.shadow.shadow:shadow", order, metrics=metrics)


def deploy(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    metrics: Output[Metrics],
) -> str:
    """Deploys the repository to every Triton pod and verifies it with golden requests."""
    from training.runtime.launch import launch, order_of

    order = order_of("deploy", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    return launch("training.deployment.deploy:deploy", order, metrics=metrics)


def restore(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    metrics: Output[Metrics],
) -> str:
    """Deploys the last good version again, with a higher generation."""
    from training.runtime.launch import launch, order_of

    order = order_of("restore", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    return launch("training.deployment.deploy:restore", order, metrics=metrics)


def deploy_unless_owned(
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: dict,
    parameters: dict,
    metrics: Output[Metrics],
    repository: Input[Artifact],
) -> str:
    """Deploys, unless the Application belongs to the controller."""
    from training.runtime.launch import launch, order_of, read_pointer

    version = read_pointer(repository)["uri"].rstrip("/").rpartition("/")[2]
    parameters = {"version": version, **parameters}
    order = order_of("deploy", run_id, model, attempt, launch_id, output_uri, inputs, parameters)
    work = "training.deployment.deploy:deploy_unless_owned"
    return launch(work, order, given={"repository": repository}, metrics=metrics)


def collect(
    run_id: str, model: str, launch_id: str, data_uri: str, output_uri: str, champion: str, anchor: str
) -> dict:
    """Writes a manifest of everything under a prefix, for runs that no controller started."""
    from training.data.collection import write_manifest

    uri = write_manifest(run_id, model, launch_id, data_uri, output_uri)
    return {"manifest": uri, "champion": champion, "anchor": anchor}


def judge(evaluation: Input[Artifact], policy: dict, verdict: Output[Metrics]) -> str:
    """Applies the controller's gate. Returns "pass" or "reject"."""
    from training.runtime.judge import judge as ask

    answer = ask(evaluation, policy)
    for check in answer.checks:
        if check.value is not None:
            verdict.log_metric(check.name, check.value)
    verdict.metadata.update(reason=answer.reason, passed=answer.passed)
    return "pass" if answer.passed else "reject"


def conclude(run_id: str, launch_id: str, output_uri: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """The exit handler: writes to S3 how the pipeline ended.

    KFP reports COMPLETE where a run's state is SUCCEEDED, gives no reason for FAILED, and before 2.17.0 says RUNNING.
    """
    from training import storage

    state = {"COMPLETE": "SUCCEEDED"}.get(status.state, status.state)
    ended = {"run_id": run_id, "launch_id": launch_id, "state": state, "error": status.error_message}
    storage.write_json(storage.join(output_uri, "runs", run_id, "end-to-end", f"{launch_id}.json"), ended)
