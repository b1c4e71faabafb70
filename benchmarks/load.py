"""200 runs of 200 models at once, on the real DynamoDB and S3 adapters against moto, by concurrent workers.

Every tenth hint is sent twice and all are shuffled, so that workers conflict. moto answers one request at a time, in
its
own process, and is the limit. Stand-ins: KFP is in memory, and so are its pods, which end at once and write only what
the
controller reads.
"""

import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.results import Measurement, measurement
from local.aws import resources
from local.aws.resources import ARTIFACTS, TABLE, client
from local.process import serving
from simulation.memory.stages import MADE
from simulation.memory.world import World
from statemachine.adapters.dynamodb import DynamoTable
from statemachine.adapters.s3 import S3Files
from statemachine.contracts.report import REPORT
from statemachine.core.policy import Policy
from statemachine.core.run import Run
from statemachine.core.states import State
from training.ports import free_port

MODELS, WORKERS = 200, 8
BOUND, PATIENCE = 120.0, 240.0  # seconds; a busy machine may take longer, but not forever
SEED = 7


def run() -> list[Measurement]:
    """Start all runs before any advances, then process them as fast as possible."""
    with _cloud() as url:
        load = Load(url)
        load.begin()
        active = len(set(load.world.store.table.due(time.time() + 1e6)))
        load.play()
        violations = load.violations()
    assert active == MODELS, f"{active} runs were active at once"
    assert not violations, violations[:5]
    conflicts = sum(count for came, count in load.came.items() if came in ("overtaken", "claimed"))
    return [
        measurement("load.active_runs", active, "runs at once, all SUCCEEDED, nothing twice"),
        measurement("load.runs_per_s", MODELS / load.seconds, "runs/s"),
        measurement("load.passes_per_s", load.came.total() / load.seconds, f"passes/s by {WORKERS} workers"),
        measurement("load.passes_per_run", load.came.total() / MODELS, "passes"),
        measurement("load.conflicts", conflicts, "passes that met another worker", "all passes", load.came.total()),
        measurement("load.seconds", load.seconds, "s", "the bound", BOUND),
    ]


@contextmanager
def _cloud() -> Iterator[str]:
    """moto with everything that the system needs, in its own process."""
    port = free_port()
    url, command = f"http://127.0.0.1:{port}", [sys.executable, "-m", "local.aws.server", str(port)]
    with tempfile.TemporaryDirectory(prefix="fraudloop-bench-") as folder, serving(command, url, Path(folder) / "log"):
        resources.create(url)
        yield url


class Hurried(World):
    """The simulated world with the wall clock."""

    def clock(self) -> float:
        """Return the current time."""
        return time.time()

    def new_id(self) -> str:
        """Return a random id, as in production: several workers draw at once."""
        return f"{random.getrandbits(48):012x}"


class Locked:
    """A port whose calls are serialized, because a dict must not change while it is read."""

    def __init__(self, port: Any) -> None:
        self._port, self._lock = port, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*given: Any) -> Any:
            with self._lock:
                return method(*given)

        return call


@dataclass
class Bodies:
    """The pods' files, in S3; `read` has the reports that the controller found, by launch."""

    files: S3Files
    read_reports: set[str] = field(default_factory=set)
    made: set[str] = field(default_factory=set)

    @property
    def bodies(self) -> "Bodies":
        """The dict-like store into which the simulated stages write."""
        return self

    def __getitem__(self, uri: str) -> bytes:
        return self.files.read(uri, 1_000_000) or b""

    def __setitem__(self, uri: str, body: bytes) -> None:
        self.made.add(uri)
        self.files.write(uri, body)

    def setdefault(self, uri: str, body: bytes) -> None:
        """Write a file, unless it exists or nobody reads it."""
        if uri not in self.made and body != MADE:
            self[uri] = body

    def write(self, uri: str, body: bytes) -> None:
        """Write a file of the controller."""
        self.files.write(uri, body)

    def read(self, uri: str, limit: int) -> bytes | None:
        """Read a file for the controller, and note reports."""
        body = self.files.read(uri, limit)
        if body is not None and uri.endswith(REPORT):
            self.read_reports.add(uri)
        return body


class Load:
    """The world on the real adapters, and the outcomes of its passes."""

    def __init__(self, url: str) -> None:
        policies = {f"m{n}": Policy(f"m{n}", f"data/m{n}/", root=f"s3://{ARTIFACTS}") for n in range(MODELS)}
        self.world, self.draw = Hurried(policies), random.Random(SEED)
        self.bucket = Bodies(S3Files(client("s3", url)))
        self.world.stages.files = self.bucket
        self.came: Counter[str] = Counter()
        self.seconds = 0.0
        table = DynamoTable(client("dynamodb", url), TABLE)
        self.world.wire(table, Locked(self.world.pipelines), self.bucket, self.world.hints)

    def begin(self) -> None:
        """Start one run of each model, with one object."""
        for model in self.world.policies:
            self.world.land("a.csv", model=model)
            self.world.operations.start(model, "the benchmark", "load")

    def play(self) -> None:
        """Let workers process runs, and pods end, until all runs are terminal. Pods' time is not counted."""
        until = time.monotonic() + PATIENCE
        with ThreadPoolExecutor(WORKERS) as workers:
            while hints := self._hints():
                begun = time.monotonic()
                self.came.update(workers.map(self._look, hints))
                self.seconds += time.monotonic() - begun
                assert time.monotonic() < until, f"not at rest within {PATIENCE:.0f} s: {self.came}"

    def _hints(self) -> list[str]:
        """The queued hints in any order, some of them twice; those of a tick when the queue is empty."""
        for job in self.world.pipelines.working():
            self.world.stages.finish(job)
            self.world.hints.look_at([job.order.run_id])
        if not self.world.hints.queue:
            self.world.hints.look_at(list(self.world.store.table.due(time.time() + 1e6)))
        hints = [*self.world.hints.queue]
        self.world.hints.queue.clear()
        hints += hints[::10]
        self.draw.shuffle(hints)
        return hints

    def _look(self, run_id: str) -> str:
        return self.world.reconciler.look_at(run_id).split(":")[0].split(" ")[0]

    def violations(self) -> list[str]:
        """Describe what was lost or done twice."""
        runs: list[Run] = [self.world.store.run(f"{model}-1") for model in self.world.policies]
        names = Counter(order.name for order in self.world.pipelines.created)
        read = Counter(uri.rsplit("/", 2)[0] for uri in self.bucket.read_reports)
        found = [f"{run.id} is {run.state.value}: {run.reason}" for run in runs if run.state is not State.SUCCEEDED]
        found += [f"{name} was launched {count} times" for name, count in names.items() if count > 1]
        found += [f"of {attempt} {count} launches were read" for attempt, count in read.items() if count > 1]
        return found + [violations for run in runs for violations in self._violations_of(run)]

    def _violations_of(self, run: Run) -> Iterator[str]:
        model, serves = self.world.store.model(run.model), self.world.stages.applications[run.model]
        (obj,) = self.world.intake.objects(run.model)
        if len(list(self.world.store.runs(run.model))) != 1 or obj.epoch != 1:
            yield f"{run.model} has not one run of one object"
        if not model.champion or [(1, model.champion.version)] != serves.patches:
            yield f"{run.model} serves {serves.patches}, its champion is {model.champion}"
