"""The KFP pipelines: one per stage for the controller, and the end-to-end pipeline for the KFP UI.

`python -m training.pipelines.definitions build/pipelines` compiles them. `definitions.json` lists their content hashes.
"""

# KFP reads a pipeline's signature, so it cannot have our types.
# mypy: disable-error-code="type-arg, no-untyped-def, untyped-decorator"

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes

from statemachine.contracts.stage import Stage
from training.pipelines import components
from training.pipelines.fan_out import preprocess_pipeline
from training.pipelines.settings import PipelineSettings, StepSettings, read_settings
from training.runtime.pod_usage import REQUESTS

END_TO_END = "fraud-detection-end-to-end"
DEFINITIONS = "definitions.json"
# Components of the end-to-end pipeline. Each name but one is also a table in pipelines.toml.
STEPS = ("collect", "preprocess", "train", "evaluate", "judge", "export", "deploy_unless_owned", "conclude")
TABLE = {"deploy_unless_owned": "deploy"}
SHARED_MEMORY = "/dev/shm"  # noqa: S108 — where Triton's backends put their shared memory


def stage_pipeline(stage: Stage, settings: PipelineSettings) -> Any:
    """Returns the pipeline `fraudloop-<stage>`: one step with the parameters of a `StageRequest`."""
    if stage is Stage.PREPROCESS and settings.fan_out > 1:
        convert, whole = (_step(getattr(components, name), settings) for name in ("convert", "preprocess"))
        return preprocess_pipeline(convert, whole, settings.fan_out)
    step = _step(getattr(components, stage.value), settings)

    @dsl.pipeline(name=f"fraudloop-{stage.value}", description=f"The {stage.value} stage of a fraudloop run.")
    def one_stage(
        run_id: str, model: str, attempt: int, launch_id: str, output_uri: str, inputs: dict, parameters: dict
    ):
        step(
            run_id=run_id,
            model=model,
            attempt=attempt,
            launch_id=launch_id,
            output_uri=output_uri,
            inputs=inputs,
            parameters=parameters,
        )

    return one_stage


def end_to_end_pipeline(settings: PipelineSettings) -> Any:
    """Returns the pipeline `fraud-detection-end-to-end`: all stages, the gate, and an exit handler.

    `output_uri` is a root (s3://bucket); each step writes under `runs/<run_id>/<stage>/1/<KFP run id>/` in it.
    """
    step = {name: _step(getattr(components, name), settings) for name in STEPS}

    @dsl.pipeline(name=END_TO_END, description="New data → a better model serves, or the reason why not.")
    def end_to_end(
        data_uri: str,
        output_uri: str,
        deploy_parameters: dict,
        model: str = "fraud",
        run_id: str = "end-to-end",
        champion: str = "",
        anchor: str = "",
        gate: dict = {},  # noqa: B006 — KFP's way to spell a default
        preprocess_parameters: dict = {},  # noqa: B006
        train_parameters: dict = {},  # noqa: B006
        evaluate_parameters: dict = {},  # noqa: B006
        export_parameters: dict = {},  # noqa: B006
    ):
        me = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        ended = step["conclude"](run_id=run_id, launch_id=me, output_uri=output_uri)
        with dsl.ExitHandler(ended, name="whole-run"):
            found = step["collect"](
                run_id=run_id,
                model=model,
                launch_id=me,
                data_uri=data_uri,
                output_uri=output_uri,
                champion=champion,
                anchor=anchor,
            )
            common = {
                "run_id": run_id,
                "model": model,
                "attempt": 1,
                "launch_id": me,
                "output_uri": f"{output_uri}/",  # a root with a folder for each launch: see `order_of`
                "inputs": found.output,
            }
            prepared = step["preprocess"](**common, parameters=preprocess_parameters)
            with dsl.If(prepared.outputs["Output"] == "ok", name="something-new-was-accepted"):
                data = {"dataset": prepared.outputs["dataset"]}
                learned = step["train"](**common, **data, parameters=train_parameters)
                data["trained"] = learned.outputs["trained"]
                measured = step["evaluate"](**common, **data, parameters=evaluate_parameters)
                data["evaluation"] = measured.outputs["evaluation"]
                judged = step["judge"](evaluation=measured.outputs["evaluation"], policy=gate)
                with dsl.If(judged.outputs["Output"] == "pass", name="the-gate-passed"):
                    exported = step["export"](
                        **common, **data, profile=prepared.outputs["profile"], parameters=export_parameters
                    )
                    step["deploy_unless_owned"](
                        **common, repository=exported.outputs["repository"], parameters=deploy_parameters
                    )

    return end_to_end


def _step(function: Callable[..., Any], settings: PipelineSettings) -> Callable[..., dsl.PipelineTask]:
    """Returns a component that sets its pod's resources and disables KFP's caching and retries for every task."""
    own = settings.step(TABLE.get(function.__name__, function.__name__))
    component = dsl.component(function, base_image=own.image, install_kfp_package=False)

    def task(**arguments: Any) -> dsl.PipelineTask:
        return _placed(component(**arguments), own, settings)

    return task


def _placed(task: dsl.PipelineTask, own: StepSettings, settings: PipelineSettings) -> dsl.PipelineTask:
    # KFP caches by default: a second deploy with equal parameters would "succeed" without running.
    task.set_caching_options(False)
    task.set_cpu_request(own.cpu_request).set_cpu_limit(own.cpu_limit)
    task.set_memory_request(own.memory_request).set_memory_limit(own.memory_limit)
    if own.accelerators:
        task.set_accelerator_type(own.accelerator).set_accelerator_limit(own.accelerators)
    for name, value in {**settings.environment, **_lineage(own, settings), **_requests(own)}.items():
        task.set_env_variable(name, value)
    if own.shared_memory:
        kubernetes.empty_dir_mount(task, "shm", SHARED_MEMORY, medium="Memory", size_limit=own.shared_memory)
    for label, value in own.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    if own.secret:
        kubernetes.use_secret_as_env(task, own.secret, {name: name for name in own.secret_keys}, optional=True)
    for one in own.tolerations:
        kubernetes.add_toleration(task, one.key, one.operator, one.value or None, one.effect)
    return task


def _lineage(own: StepSettings, settings: PipelineSettings) -> dict[str, str]:
    common = {"FRAUDLOOP_IMAGE": own.image, "FRAUDLOOP_CODE_VERSION": settings.code_version}
    return {name: value for name, value in common.items() if value}


def _requests(own: StepSettings) -> dict[str, str]:
    """Returns the pod's resource requests, which its report needs for the cost."""
    given = {"cpu": own.cpu_request, "memory": own.memory_request, "gpus": own.accelerators}
    return {REQUESTS: json.dumps(given)}


def build(folder: Path, settings: PipelineSettings) -> dict[str, str]:
    """Compiles every pipeline into `folder`. Writes and returns the definitions: name → content hash."""
    folder.mkdir(parents=True, exist_ok=True)
    pipelines = [stage_pipeline(stage, settings) for stage in Stage] + [end_to_end_pipeline(settings)]
    definitions = {}
    for pipeline in pipelines:
        path = folder / f"{pipeline.name}.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        definitions[pipeline.name] = content_hash(path.read_bytes())
    (folder / DEFINITIONS).write_text(json.dumps(definitions, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return definitions


def content_hash(body: bytes) -> str:
    """Returns the name of a pipeline version: 16 hex digits of the sha256 of its compiled YAML."""
    return hashlib.sha256(body).hexdigest()[:16]


if __name__ == "__main__":
    for name, version in build(Path(sys.argv[1]), read_settings()).items():
        print(f"{name} {version}")
