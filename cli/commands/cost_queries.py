"""What runs used and cost, read from the table: the source of `cost`, `slo` and `parity`."""

import json
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from statemachine.bootstrap import App
from statemachine.contracts.errors import Malformed, OperationRefused, Unknown
from statemachine.contracts.pod_requests import PodRequests
from statemachine.contracts.stage import Stage
from statemachine.core.run import Run, Transition
from statemachine.reporting.cost import Cost, run_cost
from statemachine.reporting.parity import Baseline, Measured, read_baseline
from statemachine.reporting.prices import Prices
from statemachine.reporting.slo import RunRecord
from statemachine.reporting.usage import control_use, stage_uses
from training.model.config import TrainConfig
from training.pipelines.settings import read_settings

DAY = 86_400.0
MONTH = 30 * DAY
MOST_RUNS = 1000
ROOT = Path(__file__).resolve().parents[2]


def prices(path: Path | None = None) -> Prices:
    """The price table: the list prices, with the overrides of a TOML file's `[prices]` (default: `fraudloop.toml`)."""
    file = path or ROOT / "fraudloop.toml"
    try:
        return Prices.from_dict(tomllib.loads(_text(file)).get("prices", {}))
    except ValueError as error:
        raise Malformed(f"{file} is not TOML ({error}); name a file with a [prices] table by --prices") from error


def baseline(path: Path) -> Baseline:
    """The baseline file. Raises `Malformed`, `Unknown`."""
    try:
        return read_baseline(_text(path))
    except Malformed as error:
        raise Malformed(f"{path}: {error}; `fraudloop baseline import` makes one") from error


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise Unknown(f"{path} cannot be read: {error.strerror}; name a file that is there") from error
    except UnicodeDecodeError as error:
        raise Malformed(f"{path} is not text") from error


def requests() -> dict[str, PodRequests]:
    """What each stage's pod asks for, from `pipelines.toml`: for attempts whose report does not say it."""
    settings = read_settings(folder=ROOT)
    steps = {stage.value: settings.step(stage.value) for stage in Stage}
    return {
        name: PodRequests.parse(step.cpu_request, step.memory_request, step.accelerators)
        for name, step in steps.items()
    }


def ended(app: App, model: str, since: float = 0.0) -> Iterator[tuple[Run, tuple[Transition, ...]]]:
    """Runs at rest with their histories, newest first, that ended after `since`."""
    for run in app.store.runs(model, MOST_RUNS):
        if run.state.terminal and run.entered_at >= since:
            yield run, tuple(app.store.history(run.id))


def records(app: App, model: str, since: float, table: Prices) -> list[RunRecord]:
    """Ended runs with their costs; standing costs are shared by as many runs as the last month had."""
    found = list(ended(app, model, since))
    month = sum(1 for run, _ in ended(app, model, time.time() - MONTH)) or 1
    return [_record(app, run, history, table, month) for run, history in found]


def bill(app: App, run: Run, history: tuple[Transition, ...], table: Prices, runs_a_month: int) -> Cost:
    """What one run cost. Raises `Misconfigured`."""
    instances = _instances(app, history)
    uses = stage_uses(history, requests(), instances)
    return run_cost(uses, control_use(run, history), table, runs_a_month)


def _record(app: App, run: Run, history: tuple[Transition, ...], table: Prices, runs_a_month: int) -> RunRecord:
    cost = bill(app, run, history, table, runs_a_month)
    return RunRecord(run, history, cost.marginal, cost.loaded, cost.sagemaker, cost.by_stage)


def _instances(app: App, history: tuple[Transition, ...]) -> dict[str, str]:
    """The train stage's instance, if an attempt of this run was a SageMaker job (its id is an ARN)."""
    there = any(entry.kfp_id.startswith("arn:") for entry in history)
    return {Stage.TRAIN.value: str(app.settings.sagemaker.get("instance_type", "ml.g4dn.xlarge"))} if there else {}


def measured(app: App, run: Run) -> Measured:
    """What a run's training reached, and on which data with which seed. Raises `OperationRefused`."""
    seconds = run.metrics.get("pod_seconds.train")
    if seconds is None:
        raise OperationRefused(f"{run.id} has not trained: it is {run.state.value}")
    uri = run.output(Stage.PREPROCESS, "dataset")
    body = app.files.read(f"{uri}/dataset.json", 1_000_000) if uri else None
    if body is None:
        raise OperationRefused(f"{run.id} has no data set any more: {uri or 'none was made'}")
    described: Mapping[str, Any] = json.loads(body)
    seed = int(run.parameters.get("train", {}).get("seed", TrainConfig.seed))
    return Measured(dict(run.metrics), seconds, str(described["data_sha256"]), seed)
