"""Seconds from a stage's report to the submission of the next stage: by its event, and by the tick alone.

It runs in the local system: the handlers under awslambdaric, moto, the embedded KFP, and the pods' own processes with
their reports and events. Stand-ins: what the stages compute (`simulation.quick_stages`), and how long they take: a
share
of `LONGEST`, so that their ends are independent of the ticks. A transition lasts from the report's `finished_at`, taken
just before it is written, to the next KFP run's `created_at`.
"""

import itertools
import json
import os
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.results import Measurement, measurement
from local.aws.resources import BUS, DATA, client
from local.state_dir import StateDir
from local.system import System, SystemOptions
from simulation import quick_stages
from statemachine.bootstrap import App, bootstrap
from statemachine.contracts.report import REPORT
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import kfp_run_name

STAGES = (Stage.PREPROCESS, Stage.TRAIN, Stage.EVALUATE, Stage.EXPORT, Stage.SHADOW, Stage.DEPLOY)
MODELS = 6  # four transitions each
TICK, NEVER = 60.0, 3600.0  # seconds
LONGEST = {TICK: 60.0, NEVER: 1.0}
STAGGER = {TICK: 7.0, NEVER: 8.0}  # seconds between two starts: two cores can run only a few pods at once
BAR = {TICK: 70.0, NEVER: 2.0}
PATIENCE = 540.0
MODEL = """
[models.{name}]
prefix = "data/{name}/"
[models.{name}.parameters]
{stages}
"""


def run() -> list[Measurement]:
    """Both measurements, each in a system of its own."""
    return [*_latency("event", NEVER), *_latency("tick", TICK)]


def _latency(by: str, tick: float) -> Iterator[Measurement]:
    with _system(tick) as system:
        waits = sorted(_transitions(system, tick))
    print(f"   {len(waits)} transitions by {by}: {', '.join(f'{wait:.2f}' for wait in waits)} s")
    p95 = statistics.quantiles(waits, n=20, method="inclusive")[-1]
    yield measurement(f"control.next_stage_p50_s_{by}", statistics.median(waits), "s", "the bar", BAR[tick])
    yield measurement(f"control.next_stage_p95_s_{by}", p95, "s")


@contextmanager
def _system(tick: float) -> Iterator[System]:
    """A local system with this tick. With a tick of a minute, the events of the stages are dropped."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-latency-") as folder:
        registry = Path(folder) / "fraudloop.toml"
        registry.write_text("".join(_model(name, LONGEST[tick]) for name in _names()))
        environment = quick_stages.environment(quick_stages.ALL)
        options = SystemOptions(registry, tick, parallelism=MODELS, environment=environment)
        with System(StateDir(Path(folder) / "home"), options) as system, _inside(system):
            if tick == TICK:
                _lose_events(system)
            yield system


@contextmanager
def _inside(system: System) -> Iterator[None]:
    """Make this process a client of the system, and restore its environment afterwards."""
    before = dict(os.environ)
    system.endpoints.enter()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _names() -> list[str]:
    return [f"m{number}" for number in range(MODELS)]


def _model(name: str, longest: float) -> str:
    stages = "\n".join(f"{stage.value} = {{ longest_seconds = {longest} }}" for stage in STAGES)
    return MODEL.format(name=name, stages=stages)


def _lose_events(system: System) -> None:
    events = client("events", system.endpoints.urls["aws"])
    for rule in events.list_rules(EventBusName=BUS)["Rules"]:
        targets = events.list_targets_by_rule(Rule=rule["Name"], EventBusName=BUS)["Targets"]
        events.remove_targets(Rule=rule["Name"], EventBusName=BUS, Ids=[target["Id"] for target in targets])
        events.delete_rule(Name=rule["Name"], EventBusName=BUS)


def _transitions(system: System, tick: float) -> Iterator[float]:
    """Seconds between each stage's report and the next stage, in one run of each model."""
    app = bootstrap()
    s3 = client("s3", system.endpoints.urls["aws"])
    for name in _names():
        s3.put_object(Bucket=DATA, Key=f"data/{name}/a.csv", Body=b"x")
    until = time.monotonic() + PATIENCE
    runs = []
    for name in _names():
        runs.append(_begun(app, name, until))
        time.sleep(STAGGER[tick])
    submitted = _submitted(system, {kfp_run_name(run_id, STAGES[-1], 1) for run_id in runs}, until)
    for run_id in runs:
        for stage, following in itertools.pairwise(STAGES):
            yield submitted[kfp_run_name(run_id, following, 1)] - _finished(app, run_id, stage)


def _begun(app: App, name: str, until: float) -> str:
    """Return the model's run once its object has arrived."""
    while not app.intake.window(name).count:
        _pause(f"{name}'s object does not arrive", until)
    return app.operations.start(name, "the benchmark", "latency")


def _submitted(system: System, wanted: set[str], until: float) -> dict[str, float]:
    """Return when each KFP run was created, by name, once the expected ones exist."""
    while True:
        with urllib.request.urlopen(f"{system.endpoints.urls['kfp']}/apis/v2beta1/runs?page_size=200") as answer:
            runs: Sequence[Any] = json.load(answer).get("runs", [])
        created = {run["display_name"]: datetime.fromisoformat(run["created_at"]).timestamp() for run in runs}
        if wanted <= created.keys():
            return created
        _pause(f"still to come: {', '.join(sorted(wanted - created.keys()))}", until)


def _finished(app: App, run_id: str, stage: Stage) -> float:
    """Return the `finished_at` of the stage's only report."""
    (found,) = (
        obj
        for obj in app.files.list(app.settings.artifacts_bucket, f"runs/{run_id}/{stage.value}/1/")
        if obj.key.endswith(REPORT)
    )
    body = app.files.read(f"s3://{found.bucket}/{found.key}", 1_000_000)
    return float(json.loads(body or b"{}")["finished_at"])


def _pause(expected: str, until: float) -> None:
    if time.monotonic() > until:
        raise TimeoutError(f"{expected} within {PATIENCE:.0f} s")
    time.sleep(0.25)
