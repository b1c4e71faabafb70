"""Executes one run in its own process: `kfp.local` runs the compiled pipeline, each step is noted in `tasks.jsonl`."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp import local
from kfp.compiler import pipeline_spec_builder
from kfp.local import executor_input_utils, executor_output_utils, pipeline_orchestrator, subprocess_task_handler
from kfp.local.orchestrator import enhanced_dag_orchestrator, task_executor  # noqa: F401 — kfp.local would import it late
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils
from kfp.pipeline_spec import pipeline_spec_pb2

from local.kfp.layout import ERROR, TASKS, TEMPORARY
from local.kfp.parameters import whole

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def run(order: dict[str, Any]) -> int:
    """Execute the pipeline in `order`'s folder. Return the exit status: 0 only if every step succeeded."""
    folder = Path(order["folder"])
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())  # the component's process gets it too, and may clean up
    _own_temporary_folder(folder)
    random.seed()  # kfp.local draws its task ids from it, and every fork inherits the worker's state
    warnings.simplefilter("ignore")  # warnings that images, resources and nodes have no effect here
    _note_tasks(folder / TASKS, terminated)
    _take_null()
    _quote_the_interpreter()
    _hand_over_as_go_does()
    try:
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=order["root"],
            workspace_root=str(folder / "workspace"),
            raise_on_error=True,
        )
        spec = json.loads(Path(order["spec"]).read_text(encoding="utf-8"))
        pipeline = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        _tell_final_status_as_the_driver_does(f"{pipeline.pipeline_info.name}-{folder.name[:5]}")
        # Not `load_component_from_file(…)(…)`: that runs a pipeline as a component if both have the same name.
        pipeline_orchestrator.run_local_pipeline(pipeline, order["arguments"])
    except BaseException as error:  # noqa: BLE001 — whatever ends a run is its error; this process ends next
        traceback.print_exc()
        reason = COLOUR.sub("", f"{type(error).__name__}: {error}")
        (folder / ERROR).write_text(reason, encoding="utf-8")
        return 1
    finally:
        shutil.rmtree(folder / TEMPORARY, ignore_errors=True)
    return 0


def _own_temporary_folder(folder: Path) -> None:
    (folder / TEMPORARY).mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(folder / TEMPORARY)
    os.environ["KFP_RUN_ID"] = folder.name
    tempfile.tempdir = None
    os.chdir(folder)


def _note_tasks(path: Path, terminated: threading.Event) -> None:
    """Wrap the one function by which kfp.local executes a step, to note start and end; kfp.local has no hook."""
    execute = task_executor.execute_single_task

    def noted(task_name: str, *args: Any, **kwargs: Any) -> Any:
        if terminated.is_set():
            sys.exit("terminated")
        _append(path, {"task": task_name, "state": "RUNNING", "time": time.time()})
        state = "FAILED"
        try:
            outputs, status = execute(task_name, *args, **kwargs)
            state = "SUCCEEDED" if status.name == "SUCCESS" else "FAILED"
            return outputs, status
        finally:
            _append(path, {"task": task_name, "state": state, "time": time.time()})

    task_executor.execute_single_task = noted


def _take_null() -> None:
    """Make kfp.local accept null and missing optional parameters, as the real server does."""
    convert, back = pipeline_spec_builder.to_protobuf_value, executor_output_utils.pb2_value_to_python

    def converted(value: Any) -> Any:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE) if value is None else convert(value)

    def restored(value: struct_pb2.Value) -> Any:
        return back(value) if value.WhichOneof("kind") else None

    pipeline_spec_builder.to_protobuf_value = converted
    executor_output_utils.pb2_value_to_python = restored


def _hand_over_as_go_does() -> None:
    """Pass a component its input as JSON like Go's protojson: whole numbers without a point, at any depth.

    The driver leaves out a null parameter, so the component's own default applies.
    """
    write = executor_input_utils.executor_input_to_dict

    def written(executor_input: Any, component_spec: Any) -> Any:
        values = executor_input.inputs.parameter_values
        for name in [name for name in values if values[name].WhichOneof("kind") in (None, "null_value")]:
            default = component_spec.input_definitions.parameters[name].default_value
            if default.WhichOneof("kind"):
                values[name].CopyFrom(default)
            else:
                del values[name]
        status = write(executor_input, component_spec)
        inputs = status.get("inputs", {})
        if "parameterValues" in inputs:
            inputs["parameterValues"] = whole(inputs["parameterValues"])
        return status

    executor_input_utils.executor_input_to_dict = written


def _tell_final_status_as_the_driver_does(workflow: str) -> None:
    """Give an exit handler COMPLETE or FAILED, and an empty error.

    Upstream 2.17.0, backend/src/v2/driver/resolve.go: the state is that of an ML Metadata execution, and "TODO:
    Implement fields "Message and "Code" below for Error status"; pipeline_with_input_status_state.py asserts COMPLETE.
    """
    make = OrchestratorUtils.make_task_arguments

    def made(task_inputs_spec: Any, io_store: Any) -> Any:
        arguments = make(task_inputs_spec=task_inputs_spec, io_store=io_store)
        for name, spec in task_inputs_spec.parameters.items():
            if spec.HasField("task_final_status"):
                status = arguments[name]
                arguments[name] = {
                    "state": {"SUCCEEDED": "COMPLETE"}.get(status["state"], status["state"]),
                    "pipelineTaskName": status["pipeline_task_name"],
                    "pipelineJobResourceName": workflow,
                    "error": {},
                }
        return arguments

    OrchestratorUtils.make_task_arguments = made


def _quote_the_interpreter() -> None:
    """Quote the interpreter's path, which kfp.local puts into an `sh` command as it is."""
    replace = subprocess_task_handler.replace_python_executable
    subprocess_task_handler.replace_python_executable = lambda command, python: replace(command, shlex.quote(python))


def _append(path: Path, record: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
