"""The controller: runs per second and memory on a simulated world, and the AWS cost of one run.

Prices come from `statemachine/reporting/prices.py`. Calls are counted, not estimated. A Lambda's run time comes from
`statemachine.reporting.usage.Pass`; it is the only value that needs a real account.
"""

import io
import json
import resource
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aws_lambda_powertools import Logger

from benchmarks.results import Measurement, measurement
from simulation.memory.kfp import Job
from simulation.memory.metered_table import MeteredTable
from simulation.memory.world import World
from statemachine.adapters.sqs import BATCH, SqsHints
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.contracts.stage import Stage
from statemachine.core.policy import Policy, parse
from statemachine.core.run import Run
from statemachine.core.states import State
from statemachine.ports import Put
from statemachine.reporting.cost import ControlUse, control_lines
from statemachine.reporting.prices import Prices
from statemachine.reporting.usage import Pass
from statemachine.store import Store, put_run

RUNS, MODELS = 10_000, 200
ACTIVE = 10_000
MINUTES = {Stage.PREPROCESS: 10, Stage.TRAIN: 90, Stage.EVALUATE: 10, Stage.EXPORT: 3, Stage.SHADOW: 3, Stage.DEPLOY: 8}
PLATFORM_LOG = 350  # bytes of START, END and REPORT, which CloudWatch stores per invocation
STEP_FUNCTIONS_POLL = 3  # state transitions of one pass in Step Functions Standard: Wait, Task, Choice
SQS_ROUND_TRIP = 0.010  # seconds of one SendMessageBatch within a region


def run() -> list[Measurement]:
    """All measurements."""
    return [*throughput(), *fan_out(), *bill()]


# -- speed and memory ----------------------------------------------------------------------------------------------


def throughput() -> Iterator[Measurement]:
    """10,000 complete runs of 200 models, in sequence per model. The last tenth must cost what the first did."""
    policies = {f"m{n}": Policy(f"m{n}", f"data/m{n}/") for n in range(MODELS)}
    world = World(policies)
    world.table = MeteredTable()
    world.wire(world.table, world.pipelines, world.files, world.hints)
    begun, memory, times = time.process_time(), _memory(), []
    for number in range(1, RUNS // MODELS + 1):
        started = time.process_time()
        _round(world, number)
        times.append((time.process_time() - started) / MODELS)
    seconds = time.process_time() - begun
    tenth = max(1, len(times) // 10)
    first, last = sum(times[:tenth]) / tenth, sum(times[-tenth:]) / tenth
    done = [world.store.run(f"{model}-{RUNS // MODELS}").state for model in policies]
    assert set(done) == {State.SUCCEEDED}, "a run did not end as it should"
    yield measurement("control.runs_per_s", RUNS / seconds, "runs/CPU-s")
    yield measurement("control.run_cpu_ms_last_tenth", last * 1e3, "CPU-ms", "the first tenth", first * 1e3)
    yield measurement("control.memory_mb", _memory() - memory, "MB for 10,000 runs on record")


def _round(world: World, number: int) -> None:
    """One run of every model, driven by ticks and hints."""
    for model in world.policies:
        world.land(f"{number}.csv", model=model)
    world.now += 300
    for _ in range(40):
        world.tick()
        world.deliver(limit=100_000)
        if not world.table.waiting:  # type: ignore[attr-defined]
            break
        world.stages.run()
        world.now += 60
    world.pipelines.jobs.clear()  # belongs to KFP, not to the controller
    world.files.bodies.clear()
    world.files.read_reports.clear()
    world.pipelines.created.clear()
    world.table.stream.clear()


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class CountingSqs:
    """An SQS client that only counts calls."""

    calls: int = 0

    def send_message_batch(self, **call: Any) -> dict[str, Any]:
        """Count one call."""
        assert len(call["Entries"]) <= BATCH
        self.calls += 1
        return {"Successful": call["Entries"]}


def fan_out() -> Iterator[Measurement]:
    """A tick over 10,000 active runs: the query, and a hint per run, through the real SQS adapter."""
    table, sqs = MeteredTable(), CountingSqs()
    store = Store(table, lambda: "w")
    for n in range(ACTIVE):
        table.write(put_run(Run(f"fraud-{n}", "fraud", n, State.TRAINING, version=1, due_at=1.0), f"w{n}"))
    started = time.process_time()
    SqsHints(sqs, "url").look_at(list(store.table.due(2.0)))
    seconds = time.process_time() - started + sqs.calls * SQS_ROUND_TRIP
    assert sqs.calls == ACTIVE // BATCH
    yield measurement(
        "control.tick_10k_active_s", seconds, f"s, at {SQS_ROUND_TRIP * 1e3:.0f} ms a call", "its timeout", 50.0
    )


# -- the cost ------------------------------------------------------------------------------------------------------


@dataclass
class Counted:
    """The calls of one run."""

    steps: int = 0
    ticks: int = 0
    arrivals: int = 0
    files: dict[str, int] = field(default_factory=lambda: {"read": 0, "write": 0})
    write_units: float = 0.0
    read_units: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    moves: int = 0
    hints: int = 0
    tick_read_units: float = 0.0
    table_writes: int = 0
    kfp: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Counting:
    """Any port, whose calls are counted by name."""

    port: Any
    counts: dict[str, int]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.port, name)

        def call(*given: Any, **named: Any) -> Any:
            self.counts[name] = self.counts.get(name, 0) + 1
            return method(*given, **named)

        return call


class CountingTable(MeteredTable):
    """The table, whose write calls are counted too; a transaction is one call."""

    calls = 0

    def write(self, *puts: Put) -> None:
        """Count one call."""
        self.calls += 1
        super().write(*puts)


def configured() -> dict[str, Policy]:
    """Return the models of `fraudloop.toml`, with their deadlines."""
    return parse(tomllib.loads((Path(__file__).parents[1] / "fraudloop.toml").read_text()), "s3://artifacts")


def lived() -> Counted:
    """Simulate one run of 10/90/10/3/8 minutes: three files, a tick a minute, and an event at the end of each stage."""
    world, counted, table = World(configured()), Counted(), CountingTable()
    world.table = table
    world.wire(table, world.pipelines, Counting(world.files, counted.files), world.hints)
    world.land("a.csv", "b.csv", "c.csv")
    counted.arrivals = 1
    for _ in range(300):
        run = world.store.load("fraud-1")
        if run and run.state.terminal:
            break
        _minute(world, counted, table)
    run = world.store.run("fraud-1")
    assert run.state is State.SUCCEEDED, run
    counted.moves = len(list(world.store.history("fraud-1")))
    counted.write_units, counted.read_units = table.write_units, table.read_units
    counted.table_writes, counted.kfp = table.calls, world.pipelines.calls
    return counted


def _minute(world: World, counted: Counted, table: CountingTable) -> None:
    world.now += 60
    for job in list(world.pipelines.jobs.values()):
        if job.kfp_run.state is KfpRunState.RUNNING and _begins(world, job):
            world.stages.finish(job)
            world.hints.look_at([job.order.run_id])
            counted.hints += 1
    before = table.read_units
    world.tick()
    counted.ticks += 1
    counted.tick_read_units += table.read_units - before
    while world.hints.queue:
        counted.steps += 1
        world.reconciler.look_at(world.hints.queue.popleft())


def _begins(world: World, job: Job) -> bool:
    """True when the stage's minutes are over. `started.json` exists from the first minute on."""
    started = f"{job.order.output_uri}/started.json"
    world.files.bodies.setdefault(started, json.dumps({"started_at": world.now}).encode())
    return world.now >= job.kfp_run.created_at + 60 * MINUTES[job.order.stage]


def bill() -> Iterator[Measurement]:
    """Usage by counting, dollars by the price list. Ticks during the run are charged to it alone."""
    counted, prices, one = lived(), Prices(), Pass()
    use = used(counted, one)
    lines = {line.item: line.dollars for line in control_lines(use, prices)}
    scheduler = counted.ticks * prices.scheduler_invocation
    dollars = sum(lines.values()) + scheduler
    minutes = sum(MINUTES.values())
    peer = STEP_FUNCTIONS_POLL * minutes * prices.step_functions_transition
    for name, part in sorted({**lines, "scheduler": scheduler}.items(), key=lambda pair: -pair[1]):
        yield measurement(f"control.dollars_per_run.{name}", part, "$")
    yield measurement(
        "control.dollars_per_run", dollars, "$", "Step Functions Standard, transitions of the polling alone", peer
    )
    yield measurement("control.dynamodb_writes_per_run", counted.table_writes, "calls")
    yield measurement("control.dynamodb_write_units_per_run", counted.write_units, "WRU")
    yield measurement("control.dynamodb_read_units_per_run", counted.read_units, "RRU")
    yield measurement("control.kfp_calls_per_run", sum(counted.kfp.values()), "calls")
    yield measurement("control.lambda_invocations_per_run", use.lambda_requests, "invocations")
    yield measurement("control.tick_share_per_run", tick_dollars(counted, prices, one), "$")
    yield measurement("control.dollars_per_idle_day", idle_day(counted, prices, one), "$, ticks with nothing to do")


def used(counted: Counted, one: Pass) -> ControlUse:
    """Return the usage of steps, ticks, arrivals and announcements together."""
    invocations = counted.steps + counted.ticks + counted.arrivals + counted.moves
    return ControlUse(
        lambda_requests=invocations,
        lambda_gb_seconds=invocations * one.lambda_gb_seconds,
        dynamodb_writes=counted.write_units,
        dynamodb_reads=counted.read_units,
        sqs_requests=3 * counted.steps + 3 * counted.arrivals,  # send, receive, delete: batches of one
        events=len(MINUTES) + 3,  # the end of each stage, and the events of the objects
        log_gb=(counted.steps * log_bytes("looked at") + (invocations - counted.steps) * log_bytes("tick")) / 1e9,
        s3_puts=counted.files["write"],
        s3_gets=counted.files["read"],
    )


def log_bytes(message: str) -> int:
    """Bytes that one invocation logs: the handler's lines, its metrics in EMF, and the platform's own lines."""
    stream = io.StringIO()
    logger = Logger(service="fraudloop", stream=stream, logger_formatter=None, level="INFO", name=f"bench-{message}")
    logger.append_keys(
        cold_start=False,
        function_name="fraudloop-StepFunction-0123456789AB",
        function_memory_size="512",
        function_arn="arn:aws:lambda:eu-central-1:123456789012:function:fraudloop-StepFunction-0123456789AB",
        function_request_id="52fdfc07-2182-154f-163f-5f0f9a621d72",
    )
    logger.info(message, extra={"run_id": "fraud-1", "came": "waits"})
    names = ["WorldUnreachable"] if message == "looked at" else ["TickDueRuns", "IntakeOldestAge"]
    metrics = [
        {"Namespace": "fraudloop", "Dimensions": [["service"]], "Metrics": [{"Name": n, "Unit": "Count"}]}
        for n in names
    ]
    emf = {"_aws": {"Timestamp": 1795482787000, "CloudWatchMetrics": metrics}, "service": "fraudloop"}
    return len(stream.getvalue()) + len(json.dumps(emf | dict.fromkeys(names, 0))) + PLATFORM_LOG


def tick_dollars(counted: Counted, prices: Prices, one: Pass) -> float:
    """Dollars of the ticks during the run."""
    use = ControlUse(
        lambda_requests=counted.ticks,
        lambda_gb_seconds=counted.ticks * one.lambda_gb_seconds,
        dynamodb_reads=counted.tick_read_units,
        log_gb=counted.ticks * log_bytes("tick") / 1e9,
    )
    return sum(line.dollars for line in control_lines(use, prices)) + counted.ticks * prices.scheduler_invocation


def idle_day(counted: Counted, prices: Prices, one: Pass) -> float:
    """Dollars of 1,440 ticks; their reads as in a run, which is slightly more than when idle."""
    return tick_dollars(counted, prices, one) / counted.ticks * 24 * 60
