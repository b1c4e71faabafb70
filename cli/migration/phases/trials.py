"""Two pipelines that check KFP alone: hello world, and one that passes an artifact between steps."""

import tempfile
import uuid
from pathlib import Path
from typing import Any

import kfp_server_api as kfp
from kfp import compiler, dsl

from cli.migration.phases.check import CheckFailed
from cli.migration.phases.environment import PATIENCE, Environment
from clients.kfp import every, experiment

WORD = "fraudloop"


@dsl.component(base_image="python:3.11-slim")  # type: ignore[untyped-decorator]  # kfp has no types
def hello(name: str) -> str:
    """Says hello."""
    return f"hello, {name}"


@dsl.component(base_image="python:3.11-slim")  # type: ignore[untyped-decorator]  # kfp has no types
def write(word: str, artifact: dsl.Output[dsl.Artifact]) -> None:
    """Write a word into an artifact."""
    with open(artifact.path, "w") as file:
        file.write(word)


@dsl.component(base_image="python:3.11-slim")  # type: ignore[untyped-decorator]  # kfp has no types
def read(word: str, artifact: dsl.Input[dsl.Artifact]) -> None:
    """Fail unless the word is in the artifact."""
    with open(artifact.path) as file:
        found = file.read()
    if found != word:
        raise ValueError(f"the artifact holds {found!r}, not {word!r}")


@dsl.pipeline(name="fraudloop-check-hello")  # type: ignore[untyped-decorator]
def hello_world() -> None:
    """A pipeline of one step."""
    hello(name=WORD).set_caching_options(False)


@dsl.pipeline(name="fraudloop-check-artifact")  # type: ignore[untyped-decorator]
def two_steps() -> None:
    """A pipeline of two steps with an artifact between them."""
    written = write(word=WORD).set_caching_options(False)
    read(word=WORD, artifact=written.outputs["artifact"]).set_caching_options(False)


def ran(world: Environment, pipeline: Any) -> str:
    """Compile, upload, run, await and remove the pipeline. Returns the run's id. Raises `CheckFailed` if it fails."""
    name = f"{pipeline.name}-{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        uploads = kfp.PipelineUploadServiceApi(world.kfp)
        uploaded = uploads.upload_pipeline(str(file), name=name, namespace=world.namespace, _request_timeout=PATIENCE)
    try:
        return _run(world, name, uploaded.pipeline_id)
    finally:
        _remove(world, uploaded.pipeline_id)


def _run(world: Environment, name: str, pipeline_id: str) -> str:
    versions = kfp.PipelineServiceApi(world.kfp).pipeline_service_list_pipeline_versions(
        pipeline_id, _request_timeout=PATIENCE
    )
    reference = kfp.V2beta1PipelineVersionReference(
        pipeline_id=pipeline_id, pipeline_version_id=versions.pipeline_versions[0].pipeline_version_id
    )
    body = kfp.V2beta1Run(
        display_name=name,
        experiment_id=_experiment(world),
        pipeline_version_reference=reference,
        service_account=world.service_account,
    )
    runs = kfp.RunServiceApi(world.kfp)
    run_id = str(runs.run_service_create_run(body, _request_timeout=PATIENCE).run_id)
    state = ""

    def look() -> str | None:
        nonlocal state
        run = runs.run_service_get_run(run_id, _request_timeout=PATIENCE)
        state = str(run.state)
        if state in ("FAILED", "CANCELED", "SKIPPED"):
            raise CheckFailed(f"run {run_id} ended {state}; failed: {', '.join(_failed(run)) or 'KFP names no step'}")
        return run_id if state == "SUCCEEDED" else None

    def late() -> CheckFailed:
        return CheckFailed(f"run {run_id} is still {state} after {world.wait:.0f} s (an unschedulable pod is RUNNING)")

    return world.poll(look, late)


def _failed(run: Any) -> list[str]:
    """Return the names of the failed steps; KFP gives no reason."""
    steps = (run.run_details.task_details if run.run_details else None) or ()
    return [str(step.display_name) for step in steps if str(step.state) == "FAILED"]


def _experiment(world: Environment) -> str:
    if found := experiment(world.kfp, "fraudloop-checks", world.namespace):
        return found
    body = kfp.V2beta1Experiment(display_name="fraudloop-checks", namespace=world.namespace)
    experiments = kfp.ExperimentServiceApi(world.kfp)
    return str(experiments.experiment_service_create_experiment(body, _request_timeout=PATIENCE).experiment_id)


def _remove(world: Environment, pipeline_id: str) -> None:
    api = kfp.PipelineServiceApi(world.kfp)
    versions = list(every(api.pipeline_service_list_pipeline_versions, "pipeline_versions", pipeline_id))
    for version in versions:
        api.pipeline_service_delete_pipeline_version(
            pipeline_id, version.pipeline_version_id, _request_timeout=PATIENCE
        )
    api.pipeline_service_delete_pipeline(pipeline_id, _request_timeout=PATIENCE)
