"""How the controller's cost grows with objects on record, keys of a nightly listing, models, and KFP runs.

Objects on record are created when they are read: a query yields each of them at its real size. So the benchmark
measures
what the controller asks of its table without a million objects in memory. CPU time is this machine's, without
botocore's
share, scaled to the part of a core that a 512 MB Lambda has. Calls are counted; each costs the round trip below.
"""

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.control import Counting
from benchmarks.results import Measurement, measurement
from simulation.memory.metered_table import MeteredTable
from simulation.memory.world import BUCKET, World
from statemachine.adapters.kfp import KfpPipelines
from statemachine.contracts.report import Artifact
from statemachine.core.head import Head, joined
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.run import Run
from statemachine.core.states import State
from statemachine.core.window import Object, Status, Window
from statemachine.intake import _put_window
from statemachine.objects import Objects, put_head
from statemachine.ports import Item, Key
from statemachine.store import put_model, put_run

VCPU = 512 / 1769  # of a Lambda with 512 MB (AWS: 1,769 MB are one)
ROUND_TRIP = {"list": 0.15, "write": 0.02}  # seconds per call; other calls:
OTHER_CALL = 0.008
MANY, FEW, NEW = 1_000_000, 1_000, 100
EPOCHS = 100
INDEX = "s3://artifacts/runs/fraud-0/index"
LIMIT = {"night": 600.0, "tick": 50.0}  # the functions' timeouts
PREFIX = "data/fraud/"


def run() -> list[Measurement]:
    """All measurements."""
    return [*one_run(), *nightly(), *tick(), *listed_runs()]


@dataclass
class Recorded(MeteredTable):
    """A table with `learned` objects on record in `EPOCHS` epochs, which are created when they are read."""

    learned: int = 0

    def get(self, key: Key) -> Item | None:
        """Return the item, also for the key of a learned object."""
        number = _number(key.sk) if key.pk == "KEYS#fraud" else None
        if key in self.items or number is None or number >= self.learned:
            return super().get(key)
        self.reads += 1
        known = joined(Head(key.sk), _object(number), number % EPOCHS + 1)
        assert known is not None
        return put_head("fraud", known[0], "w").item

    def _range(self, pk: str, first: str, last: str) -> list[Item]:
        kind, _, epoch = pk.rpartition("#")
        old = kind == "EPOCH#fraud" and 1 <= int(epoch) <= EPOCHS
        numbers = range(int(epoch) - 1, self.learned, EPOCHS) if old else ()
        made = [Objects(self).new("fraud", replace(_object(n), epoch=int(epoch)), "w")[0].item for n in numbers]
        return [*made, *super()._range(pk, first, last)]


def _object(number: int) -> Object:
    return Object(
        BUCKET,
        f"{PREFIX}{number:08d}.csv",
        f"{number:032x}",
        version_id="v" * 32,
        size=1_000_000,
        sequencer=f"{number:016x}",
        arrived_at=1.0,
        status=Status.ACCEPTED,
        version=1,
    )


def _number(key: str) -> int | None:
    digits = key.removeprefix(PREFIX).removesuffix(".csv")
    return int(digits) if digits.isdigit() else None


# -- one run ----------------------------------------------------------------------------------------------------------


@dataclass
class Meter:
    """CPU seconds and calls of the controller, and the peak memory of its passes."""

    counts: dict[str, int] = field(default_factory=dict)
    cpu: float = 0.0
    peak: float = 0.0

    @contextmanager
    def controller(self) -> Iterator[None]:
        """Count what happens in this block as the controller's, without the pods."""
        tracing = tracemalloc.is_tracing()
        if tracing:
            tracemalloc.reset_peak()
        before, begun = tracemalloc.get_traced_memory()[0] if tracing else 0, time.process_time()
        yield
        self.cpu += time.process_time() - begun
        if tracing:
            self.peak = max(self.peak, (tracemalloc.get_traced_memory()[1] - before) / 1e6)

    @property
    def seconds(self) -> float:
        """Seconds that Lambda would take."""
        calls = sum(count * ROUND_TRIP.get(name, OTHER_CALL) for name, count in self.counts.items())
        return self.cpu / VCPU + calls


def world_with(learned: int, counts: dict[str, int]) -> World:
    """Return a model that has learned from so many objects in `EPOCHS` runs, and has an open window."""
    world = World()
    world.table = Recorded(learned=learned)
    world.table.write(put_model(Model("fraud", 1, index=Artifact(INDEX), indexed=EPOCHS), "w"))
    world.table.write(_put_window(Window("fraud", EPOCHS + 1, 1, old_layout=False), "w"))
    world.files.bodies[INDEX] = b"[]"  # the simulated pod's; the controller never opens it
    table, pipelines, files = (Counting(port, counts) for port in (world.table, world.pipelines, world.files))
    world.wire(table, pipelines, files, world.hints)
    return world


def lived(learned: int) -> Meter:
    """Simulate one run with 100 new objects, from their arrival to its end."""
    meter = Meter()
    world = world_with(learned, meter.counts)
    objects = [world.object(f"{PREFIX}new-{n:03d}.csv") for n in range(NEW)]
    with meter.controller():
        world.intake.arrive(objects)
    run_id = f"fraud-{EPOCHS + 1}"
    for _ in range(60):
        world.now += 60
        world.stages.run()
        with meter.controller():
            world.tick()
            world.deliver()
        found = world.store.load(run_id)
        if found and found.state.terminal:
            assert found.state is State.SUCCEEDED, found.reason
            return meter
    raise AssertionError(f"{run_id} does not end")


def one_run() -> Iterator[Measurement]:
    """Seconds, memory and calls of all invocations of one run."""
    lived(FEW)  # a warm-up, so that both are measured warm
    many, few = lived(MANY), lived(FEW)
    tracemalloc.start()
    much, little = lived(MANY).peak, lived(FEW).peak
    tracemalloc.stop()
    yield measurement("control.lambda_s_at_1m_objects", many.seconds, "s of one run", "at 1,000 objects", few.seconds)
    yield measurement("control.lambda_mb_at_1m_objects", much, "MB, the largest pass", "at 1,000 objects", little)
    calls = (float(sum(meter.counts.values())) for meter in (many, few))
    yield measurement("control.calls_at_1m_objects", next(calls), "calls of one run", "at 1,000 objects", next(calls))


# -- a nightly listing, a tick ----------------------------------------------------------------------------------------


def nightly(keys: int = 50_000) -> Iterator[Measurement]:
    """A nightly listing finds this many keys without events, for a model with a million objects on record.

    Of the objects still in the bucket, each 1,000 cost one more list and one more query, as in any nightly listing.
    """
    meter = Meter()
    world = world_with(MANY, meter.counts)
    world.files.listed += [world.object(f"{PREFIX}night-{n:06d}.csv") for n in range(keys)]
    world.files.list = _sliced(list(world.files.list(BUCKET, PREFIX)))  # type: ignore[method-assign]
    with meter.controller():
        place, elapsed = world.listing.go_on("fraud", "2026-11-27T02:00:00Z")
    assert (place.done, elapsed.joined) == (True, keys)
    yield measurement("control.night_50k_new_keys_s", meter.seconds, "s", "its timeout", LIMIT["night"])


def _sliced(found: list[Object]) -> Callable[..., Iterator[Object]]:
    """List from a key on, as S3 does. The stand-in sorts all keys for each page, which is not the controller's time."""
    at = {obj.key: number for number, obj in enumerate(found, 1)}
    return lambda bucket, prefix, after="": iter(found[at.get(after, 0) :][:1000])


def tick(models: int = 1000) -> Iterator[Measurement]:
    """A tick over this many models: half with an active run, a tenth with a window to close."""
    meter = Meter()
    world = World({f"m{n}": Policy(f"m{n}", f"data/m{n}/") for n in range(models)})
    world.table = MeteredTable()
    table, pipelines, files = (Counting(port, meter.counts) for port in (world.table, world.pipelines, world.files))
    world.wire(table, pipelines, files, world.hints)
    for number, model in enumerate(world.policies):
        if number % 2:
            run = Run(f"{model}-1", model, 1, State.TRAINING, version=1, due_at=world.now)
            world.table.write(put_run(run, "w"), put_model(Model(model, 1, training=run.id), "w"))
        elif number % 10 == 0:
            world.land("a.csv", model=model)
    world.now += 400
    meter.counts.clear()
    with meter.controller():
        world.tick()
    begun = [run_id for run_id in world.hints.queue if run_id.endswith("-1")]
    assert len(begun) == models // 2 + models // 10
    yield measurement("control.tick_s_at_1000_models", meter.seconds, "s", "its timeout", LIMIT["tick"])


# -- KFP's runs -------------------------------------------------------------------------------------------------------


@dataclass
class RunTable:
    """`run_details` of one experiment: `created` in seconds, ascending. Counts the rows that a list reads.

    ListRuns (`run_store.go`, upstream master) makes two queries from one filter, for the rows of the page and for
    `total_size`. Names are matched by `LIKE '%…%'`, for which there is no index. Experiment and `CreatedAtInSec` are
    one
    index. So each query reads every row of the experiment, or every row created since a time.
    """

    created: list[float]
    read: int = 0
    queries: list[dict[str, Any]] = field(default_factory=list)

    def list(self, predicates: list[dict[str, Any]]) -> None:
        """Count the rows that one ListRuns reads."""
        since = [_seconds(p) for p in predicates if p["key"] == "created_at" and p["operation"].startswith("GREATER")]
        self.read += 2 * sum(at >= max(since, default=0.0) for at in self.created)
        self.queries.append({"predicates": predicates})


def _seconds(predicate: dict[str, Any]) -> float:
    return datetime.fromisoformat(str(predicate["timestampValue"]).replace("Z", "+00:00")).timestamp()


@contextmanager
def kfp(runs: RunTable) -> Iterator[str]:
    """Serve the part of KFP's REST API that a list needs, on loopback; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path.endswith("/runs"):
                runs.list(json.loads(parse_qs(url.query)["filter"][0]).get("predicates", []))
                answer: dict[str, Any] = {}
            else:
                answer = {"experiments": [{"experiment_id": "e", "display_name": "fraudloop"}]}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def rows_read(history: int, bounded: bool) -> int:
    """Rows that KFP reads in one list for a run that began an hour ago, with six KFP runs an hour, after this
    history.
    """
    now = 1_790_000_000.0
    runs = RunTable([now - 600 * n for n in range(history)])
    with kfp(runs) as url:
        pipelines = KfpPipelines(url, "fraudloop", {})
        in_time = bounded and len(signature(pipelines.list).parameters) > 1
        pipelines.list("fraud-9.train.1", *([now - 3600] if in_time else []))
    return runs.read


def listed_runs() -> Iterator[Measurement]:
    """Rows per list at 20,000 KFP runs, with and without a bound in time; and bounded at 1,000."""
    value, peer = rows_read(20_000, bounded=True), rows_read(20_000, bounded=False)
    yield measurement("kfp.rows_read_per_list", value, "rows at 20,000 runs", "without a bound in time", peer)
    yield measurement("kfp.rows_read_per_list_at_1000", rows_read(1_000, bounded=True), "rows at 1,000 runs")
