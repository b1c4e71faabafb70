"""The entry point of every KFP component: builds a `StageRequest`, runs one function, fills the UI's artifacts.

KFP's launcher accepts no output URI outside its pipeline root, so our outputs lie where the controller says. The KFP
artifacts are *pointers*: small JSON files `{"uri", "sha256", "report"}` for the next step and for the UI.
"""

import gc
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

from statemachine.contracts.report import REPORT, Outcome, Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.outcome import Permanent, StageResult
from training.runtime.log import log_json
from training.runtime.stage import Work, run_stage


def launch(
    work: str,
    order: StageRequest,
    *,
    given: Mapping[str, Any] | None = None,
    made: Mapping[str, Any] | None = None,
    metrics: Any = None,
    page: Any = None,
    roc: Any = None,
) -> str:
    """Runs the function that `work` names ("training.model.train:train") as one launch, and returns its outcome.

    The function is imported after `started.json` is written. A GPU stage may need many seconds for the import, and a
    broken image should leave a report that says so. `given` and `made` are KFP artifacts by the contract's input and
    output names; absent artifacts are None. `metrics`, `page` and `roc` are `dsl.Output` artifacts for the UI.
    """
    log_json(sys.stdout, {"run_id": order.run_id, "stage": order.stage.value, "launch_id": order.launch_id})
    order = _with_inputs(order, given or {})
    result = StageResult()

    def working(request: StageRequest) -> StageResult:
        nonlocal result
        result = _imported(work)(request)
        if missing := sorted(set(made or {}) - set(result.outputs)):
            raise Permanent(f"{work} did not write its output {', '.join(missing)}")
        return result

    report = run_stage(order, working)
    if report.outcome is Outcome.OK:
        _point(report, order, made or {})
    _show(report, result, metrics, page, roc)
    return report.outcome.value


def _imported(work: str) -> Work:
    """The function that `work` names.

    torch and what stands on it make 700,000 objects that all stay. Without this the garbage collector walks them again
    and again while they are made, and once more when the process ends: three of seven seconds.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        function: Work = resolve_name(work)
        gc.freeze()
    finally:
        if collects:
            gc.enable()
    return function


def order_of(
    stage: str,
    run_id: str,
    model: str,
    attempt: int,
    launch_id: str,
    output_uri: str,
    inputs: Mapping[str, str],
    parameters: Mapping[str, Any],
) -> StageRequest:
    """Builds the `StageRequest` from a pipeline's parameters.

    An `output_uri` that ends in a slash is a root that contains this launch's own folder. The end-to-end pipeline
    passes a root, because KFP fills in its run's id only where the placeholder stands alone.
    """
    if output_uri.endswith("/"):
        output_uri = storage.join(output_uri, "runs", run_id, stage, str(attempt), launch_id)
    given = {name: uri for name, uri in inputs.items() if uri}
    return StageRequest(run_id, model, Stage(stage), attempt, launch_id, output_uri, given, _whole(dict(parameters)))


def _whole(value: Any) -> Any:
    """Converts whole floats back to ints: KFP carries a JSON object as a protobuf Struct, which has only doubles."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(part) for name, part in value.items()}
        case list():
            return [_whole(part) for part in value]
    return value


def read_pointer(artifact: Any) -> dict[str, str]:
    """Reads the `{"uri", "sha256", "report"}` that an upstream step left in an artifact."""
    with open(artifact.path, encoding="utf-8") as file:
        pointer: dict[str, str] = json.load(file)
    return pointer


def _with_inputs(order: StageRequest, given: Mapping[str, Any]) -> StageRequest:
    found = {name: read_pointer(artifact)["uri"] for name, artifact in given.items() if artifact is not None}
    return replace(order, inputs={**order.inputs, **found})


def _point(report: Report, order: StageRequest, made: Mapping[str, Any]) -> None:
    for name, artifact in made.items():
        output = report.outputs[name]
        pointer = {"uri": output.uri, "sha256": output.sha256, "report": storage.join(order.output_uri, REPORT)}
        artifact.metadata.update(pointer)
        with open(artifact.path, "w", encoding="utf-8") as file:
            json.dump(pointer, file)


def _show(report: Report, result: StageResult, metrics: Any, page: Any, roc: Any) -> None:
    if metrics is not None:
        for name, value in report.metrics.items():
            metrics.log_metric(name, value)
        metrics.metadata.update(outcome=report.outcome.value, reason=report.reason)
    if page is not None:
        with open(page.path, "w", encoding="utf-8") as file:
            file.write(result.html or f"<p>{report.outcome.value} {report.reason}</p>")
    if roc is not None and result.roc:
        roc.log_roc_curve(*(list(column) for column in zip(*result.roc, strict=True)))
