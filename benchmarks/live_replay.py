"""A stream of payments through two Tritons and a Valkey: equal to offline, under kills, and what the state takes.

Each day's payments are sent in order of time, in turn to two servers that share the store, some of them twice; each
night the data set of that day is brought in, as the stage materialise does it.
"""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import valkey as valkey_client
from numpy.typing import NDArray

from benchmarks import peers
from benchmarks.results import Measurement, measurement
from clients.scoring import ScoringClient
from local import valkey
from local.process import end, spawn
from local.triton import Triton
from statemachine.contracts.errors import FraudloopError
from training.data.parser import NEVER
from training.data.preprocess import PreprocessConfig, prepare
from training.live.definition import DAY, LiveDefinition
from training.live.keys import EntityHash, Names
from training.live.materialise import PAGE, fill
from training.live.record import loads
from training.live.settings import LiveSettings
from training.model.config import TrainConfig
from training.ports import free_port
from training.synthetic import generate

ROWS, REPLAYED = 112_000, 100_000
KILLS, CLIENTS = 8, 4
ASKED = 12_000  # payments at most, while processes are killed
CARDS = 100_000  # that memory is measured with
CONFIG = TrainConfig(epochs=1, folds=2, head_rounds=60)
MODEL = "bench"
KEY = "a key of the benchmark"
BATCH, TWICE = 32, 10  # payments in a request; every tenth request is sent again, to the other server


def run(rows: int = ROWS, replayed: int = REPLAYED, kills: int = KILLS) -> list[Measurement]:
    """All measurements."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-bench-") as scratch:
        folder = Path(scratch)
        generate(rows, 5, fraud_rate=0.01, start=date(2018, 1, 1), end=date(2018, 5, 15)).write_csv(folder / "t.csv")
        prepare([folder / "t.csv"], folder / "dataset", PreprocessConfig(), today=date(2026, 1, 1))
        version = peers.version(folder / "dataset", folder / "whole", CONFIG)
        with Pods(folder / "pods", version.repository) as pods:
            differences = replay(pods, version, folder / "night", replayed)
            print(f"   {len(differences)} payments replayed, largest difference {differences.max():.2g}", flush=True)
        with Pods(folder / "killed", version.repository) as pods:
            outcome = under_kills(pods, version, kills)
            print(f"   under kills: {outcome}", flush=True)
        per_million, walk = per_million_cards(folder / "memory")
    return [
        measurement("live.replayed", len(differences), "payments"),
        measurement("live.replay_max_difference", float(differences.max()), "probability"),
        measurement("live.failed_under_kills", outcome.failed, f"of {outcome.asked} payments"),
        measurement("live.mb_per_million_cards", per_million, "MB"),
        measurement("live.walk_s_per_million_cards", walk, "s"),
    ]


@dataclass
class Pods:
    """A Valkey and two Tritons with one repository, as processes that can be killed and started again."""

    folder: Path
    repository: Path
    port: int = field(default_factory=free_port)
    deadline_ms: float = 2000.0

    def __enter__(self) -> "Pods":
        self.folder.mkdir(parents=True)
        self._stack = ExitStack()
        self._stack.enter_context(_environment(self.settings))
        self.start_store()
        self.tritons = [Triton(self.repository, self.folder / f"triton-{number}") for number in (1, 2)]
        for one in self.tritons:
            self._stack.callback(one.stop)
            one.start()
        for one in self.tritons:
            one.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        end(self.store, 10)
        self._stack.close()

    @property
    def settings(self) -> LiveSettings:
        """How to reach the store."""
        return LiveSettings(f"valkey://127.0.0.1:{self.port}", entity_key=KEY, deadline_ms=self.deadline_ms)

    def start_store(self, seconds: float = 20.0) -> None:
        """Start the Valkey on its data, and wait until it answers."""
        # With `everysec` Valkey answers while it keeps writes back for a slow sync (flushAppendOnlyFile in its
        # aof.c): what a kill then loses tells of the disk. Here a write is the kernel's before its answer is sent.
        command = [*valkey.command(self.port, self.folder / "valkey"), "--appendfsync", "no"]
        with (self.folder / "valkey.log").open("ab") as log:
            self.store = spawn(command, log=log)
        until = time.monotonic() + seconds
        while not valkey.pings(self.settings.url):
            if time.monotonic() > until:
                raise TimeoutError(f"valkey-server did not answer: {(self.folder / 'valkey.log').read_text()[-300:]}")
            time.sleep(0.02)

    def kill_store(self) -> None:
        """Kill the Valkey, with no time to write anything."""
        os.killpg(self.store.pid, signal.SIGKILL)
        self.store.wait()

    def kill_triton(self, number: int) -> None:
        """Kill a Triton, with no time to finish a request, and start it anew."""
        process = self.tritons[number]._process
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.tritons[number].stop()
        self.tritons[number].start()

    def client(self, first: int, deadline: float = 20.0) -> ScoringClient:
        """A client that asks this server first."""
        urls = [self.tritons[(first + number) % 2].url for number in (0, 1)]
        return ScoringClient.of(*urls, model="fraud_live", deadline=deadline, attempt=min(5.0, deadline))


@contextmanager
def _environment(given: LiveSettings) -> Iterator[None]:
    """What the Tritons are told of the store."""
    told = {"URL": given.url, "DEADLINE_MS": str(given.deadline_ms), "SAMPLE_SHARE": "0"}
    told = {f"FRAUDLOOP_LIVE_{name}": value for name, value in told.items()} | {"FRAUDLOOP_ENTITY_KEY": KEY}
    former = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in former.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def replay(pods: Pods, version: peers.Version, night: Path, count: int) -> NDArray[np.float64]:
    """Differences from the offline scores of the last `count` payments, from the beginning of a day."""
    builder, model = version.builder(), version.model
    table = table_of(version)
    times = table["time"].to_numpy()
    first = int(np.searchsorted(times, times[-count] // DAY * DAY))
    rows = np.arange(first, len(times))
    offline = np.concatenate([model.score(block) for block in builder.reader.blocks(torch.from_numpy(rows))])
    lines = payments(version, rows)
    live = np.zeros(len(rows))
    _night(table, version, night, pods.settings, int(times[first]) // DAY * DAY, whole=True)
    with pods.client(0) as one, pods.client(1) as other:
        for day in range(int(times[first]) // DAY, int(times[-1]) // DAY + 1):
            low, high = np.searchsorted(times[rows], [day * DAY, (day + 1) * DAY])
            for start in range(low, high, BATCH):
                clients = (one, other) if start // BATCH % 2 else (other, one)
                batch, ids = lines[start : min(start + BATCH, high)], _ids(start, min(start + BATCH, high))
                scores = clients[0].score_many(batch, ids)
                if start // BATCH % TWICE == 0:
                    assert clients[1].score_many(batch, ids) == scores, "a retry is the same answer"
                assert not any(score.degraded for score in scores), scores
                live[start : start + len(scores)] = [score.probability for score in scores]
            _night(table, version, night, pods.settings, (day + 1) * DAY)
    return np.abs(live - offline)


def table_of(version: peers.Version) -> pl.DataFrame:
    """All rows of its data set."""
    return pl.read_parquet(version.dataset / "transactions.parquet")


def payments(version: peers.Version, rows: NDArray[np.int64]) -> list[str]:
    """Rows as lines of payments."""
    builder = version.builder()
    parts = (builder.request(part).transaction for part in torch.split(torch.from_numpy(rows), 4096))
    return [line.decode() for part in parts for line in part]


def _ids(start: int, end: int) -> list[str]:
    return [f"payment-{number}" for number in range(start, end)]


def _night(
    table: pl.DataFrame,
    version: peers.Version,
    folder: Path,
    given: LiveSettings,
    midnight: int,
    *,
    whole: bool = False,
) -> None:
    """Bring in what is known at `midnight`."""
    folder.mkdir(parents=True, exist_ok=True)
    known = pl.col("known_at") // DAY < midnight // DAY
    table.filter(pl.col("time") < midnight).with_columns(
        known_at=pl.when(known).then("known_at").otherwise(NEVER).cast(pl.Int64),
        label=pl.when(known).then("label").otherwise(-1).cast(pl.Int8),
    ).write_parquet(folder / "transactions.parquet")
    (folder / "schema.json").write_bytes((version.dataset / "schema.json").read_bytes())
    fill(MODEL, folder, version.model.config.k, given, whole=whole)


@dataclass(frozen=True)
class ReplayOutcome:
    """What clients saw while processes were killed, and what the store held at the end.

    `failed`: calls without an answer within the client's deadline. `degraded`: answers that say so. `missing`: answered
    payments, not degraded, that the store does not hold. `doubled`: payments that it holds twice.
    """

    asked: int
    failed: int
    degraded: int
    missing: int
    doubled: int


def under_kills(pods: Pods, version: peers.Version, kills: int) -> ReplayOutcome:
    """Clients ask all the time, while the Valkey and one Triton after the other are killed and started again."""
    model = version.model
    lines, failed, whole, degraded = payments(version, _last(version, ASKED)), [], [], []  # type: ignore[var-annotated]
    taken, lock, over = iter(range(len(lines))), threading.Lock(), threading.Event()

    def work(number: int) -> None:
        with pods.client(number) as client:
            while not over.is_set():
                with lock:
                    at = next(taken, None)
                if at is None:
                    return
                try:
                    score = client.score(lines[at], f"payment-{at}")
                except FraudloopError:
                    failed.append(at)
                else:
                    (degraded if score.degraded not in ("", "not filled") else whole).append(at)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(kills):
            _kill(pods, turn)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    held = _held(pods, LiveDefinition(model.feature_schema.data, model.config.k))
    asked = len(failed) + len(whole) + len(degraded)
    missing = sum(held.get(at, 0) == 0 for at in whole)
    return ReplayOutcome(asked, len(failed), len(degraded), missing, sum(number > 1 for number in held.values()))


def _last(version: peers.Version, count: int) -> NDArray[np.int64]:
    return np.arange(len(table_of(version)))[-count:]


def _kill(pods: Pods, turn: int) -> None:
    """The Valkey in even turns, else one of the Tritons; then it is started again."""
    time.sleep(1.0)
    if turn % 2 == 0:
        pods.kill_store()
        time.sleep(0.3)
        pods.start_store()
    else:
        pods.kill_triton(turn // 2 % 2)
        pods.tritons[turn // 2 % 2].wait_ready(180)


def _held(pods: Pods, definition: LiveDefinition) -> dict[int, int]:
    """How often each payment that was counted stands in its answer log: once, or twice if it was doubled."""
    from training.scorelog.record import stream

    client: Any = valkey_client.Valkey(port=pods.port)
    told: dict[int, int] = {}
    for _, fields in client.xrange(stream(MODEL)):
        at = int(fields[b"request_id"].decode().removeprefix("payment-"))
        told[at] = told.get(at, 0) + 1
    names = Names.of(MODEL, definition.digest, KEY)
    counted = sum(
        loads(client.get(key), definition).counter for key in client.scan_iter(f"{names.state}card:*", count=1000)
    )
    client.close()
    if counted != sum(told.values()):
        raise AssertionError(f"cards count {counted} payments, the log has {sum(told.values())}")
    return told


def per_million_cards(folder: Path, cards: int = CARDS) -> tuple[float, float]:
    """Megabytes and seconds of a fill's walk for a million cards whose record is full: k entries, 31 days, and a label
    on each of 120 days. The walk looks for records of cards that the data set does not have (`materialise`).
    """
    from training.data.presets import preset
    from training.live.record import DAYS, REPORTS, EntityState

    definition = LiveDefinition(preset(), TrainConfig.k)
    days, reports = np.zeros(31, DAYS), np.zeros(120, REPORTS)
    days["day"], reports["day"] = np.arange(31)[::-1] + 18_000, np.arange(120) + 17_900
    entries = np.zeros(definition.k, definition.entry)
    entries["time"] = 18_000 * DAY
    value = EntityState(definition.k, 0, days, reports, entries).dumps()
    names, entity_hash = Names.of(MODEL, definition.digest, KEY), EntityHash(KEY)
    folder.mkdir(parents=True)
    port = free_port()
    with (folder / "valkey.log").open("wb") as log:
        command = [*valkey.command(port, folder / "valkey"), "--maxmemory", "0", "--appendonly", "no"]
        process = spawn(command, log=log)
    try:
        while not valkey.pings(f"valkey://127.0.0.1:{port}"):
            if process.poll() is not None:
                raise TimeoutError((folder / "valkey.log").read_text()[-300:])
            time.sleep(0.02)
        client: Any = valkey_client.Valkey(port=port)
        before = int(client.info("memory")["used_memory"])
        for start in range(0, cards, 1000):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, start + 1000):
                pipeline.set(names.entity("card", entity_hash.of("card", number)), value, ex=400 * DAY)
            pipeline.execute()
        used = int(client.info("memory")["used_memory"]) - before
        begun = time.monotonic()
        walked = sum(1 for _ in client.scan_iter(match=names.entities, count=PAGE))
        walk = time.monotonic() - begun
        if walked < cards:
            raise AssertionError(f"the walk found {walked} records of {cards}")
        client.close()
    finally:
        end(process, 10)
    print(f"   a full record has {len(value)} bytes, and takes {used / cards:.0f} in memory", flush=True)
    return used / cards, walk * 1e6 / cards
