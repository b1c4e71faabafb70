"""DynamoDB and S3 behind a faulty wire: a write happens once or not at all, and not knowing is never an answer."""

import random
from collections import deque
from typing import Any

import boto3
import pytest
from botocore.config import Config
from faulty_wire import Fault

from simulation.memory.world import World
from statemachine.adapters.dynamodb import SCHEMA, DynamoTable
from statemachine.adapters.s3 import S3Files
from statemachine.contracts.errors import Conflict, Unreachable
from statemachine.core.states import State
from statemachine.ports import Clause, Key, Put

LOST = [Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.HALF_ANSWER, Fault.UNAVAILABLE, Fault.THROTTLED]


def client(service, url, attempts):
    retries = {"total_max_attempts": attempts, "mode": "standard"}
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries=retries, connect_timeout=2, read_timeout=5),
    )


@pytest.fixture
def wire(own_cloud, proxied, request):
    """A table and a bucket of this test's own, reached through a proxy with `attempts` tries a call."""
    name = f"w{abs(hash(request.node.nodeid)) % 10**12}"
    client("dynamodb", own_cloud, 1).create_table(TableName=name, **SCHEMA)
    client("s3", own_cloud, 1).create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    proxy = proxied(own_cloud)

    def through(attempts):
        table = DynamoTable(client("dynamodb", proxy.url, attempts), name)
        return table, S3Files(client("s3", proxy.url, attempts))

    reached: Any = through
    reached.proxy, reached.bucket = proxy, name
    reached.table = DynamoTable(client("dynamodb", own_cloud, 1), name)
    return reached


def put(version, clause, writer="w1"):
    return Put(Key("RUN#a", "RUN"), {"version": version, "writer": writer}, clause)


NEW = Clause("it is new")


@pytest.mark.parametrize("fault", LOST)
def test_a_write_that_was_cut_is_tried_again_and_done_once(wire, fault):
    """Also when the first try was applied and only its answer was lost: the item carries our own token."""
    table, _ = wire(attempts=3)
    wire.proxy.faults.append(fault)
    table.write(put(1, NEW))
    assert wire.table.get(Key("RUN#a", "RUN"))["version"] == 1


@pytest.mark.parametrize("fault", [fault for fault in LOST if fault is not Fault.HALF_ANSWER])
def test_a_write_of_which_nothing_is_known_is_unreachable(wire, fault):
    """Never a `Conflict`: the caller must not believe that somebody else was there. (Of half an answer the status
    was heard, and that is all there is to a write.)"""
    table, _ = wire(attempts=1)
    wire.proxy.faults.append(fault)
    with pytest.raises(Unreachable):
        table.write(put(1, NEW))


@pytest.mark.parametrize("fault", LOST)
def test_failing_to_look_is_not_an_absence(wire, fault):
    """Neither in the table nor in the bucket. (Half of a 404 is a 404: the status is all there is to it.)"""
    table, files = wire(attempts=1)
    wire.proxy.faults.extend([fault, fault])
    with pytest.raises(Unreachable):
        table.get(Key("RUN#a", "RUN"))
    if fault is not Fault.HALF_ANSWER:
        with pytest.raises(Unreachable):
            files.read(f"s3://{wire.bucket}/report.json", 100)


def test_half_a_file_is_not_the_file(wire):
    """A report that was cut in transit is not a report."""
    _, files = wire(attempts=1)
    files.write(f"s3://{wire.bucket}/report.json", b"x" * 1000)
    wire.proxy.faults.append(Fault.HALF_ANSWER)
    with pytest.raises(Unreachable):
        files.read(f"s3://{wire.bucket}/report.json", 5000)


def test_a_slow_server_is_waited_for(wire):
    """Slow is not gone."""
    table, _ = wire(attempts=1)
    wire.proxy.faults.append(Fault.SLOW)
    table.write(put(1, NEW))


@pytest.mark.parametrize("seed", range(4))
def test_a_run_gets_through_a_wire_that_keeps_failing(wire, seed):
    """One request in six fails in one of five ways; the run ends as it should, each stage launched once."""
    chance = random.Random(seed)
    table, files = wire(attempts=2)
    world = World()
    world.policies["fraud"] = world.policies["fraud"].__class__(
        **{**vars(world.policies["fraud"]), "root": f"s3://{wire.bucket}"}
    )
    world.stages.files = Mirrored(S3Files(client("s3", wire.proxy.url, 5)))
    world.wire(table, world.pipelines, files, world.hints)
    wire.proxy.faults = Weather(chance)
    for name in ("a.csv", "b.csv"):
        until_done(lambda name=name: world.land(name))
    for _ in range(120):
        until_done(world.minute)
        run = until_done(lambda: world.store.load("fraud-1"))
        if run and run.state.terminal:
            break
    assert run.state is State.SUCCEEDED, run.reason
    assert [obj.epoch for obj in until_done(lambda: list(world.intake.objects("fraud")))] == [1, 1]
    assert sorted(job.order.stage.value for job in world.pipelines.jobs.values()) == [
        "deploy",
        "evaluate",
        "export",
        "preprocess",
        "shadow",
        "train",
    ]
    assert wire.proxy.faults.struck > 10


class Weather(deque):
    """Faults by chance; `struck` counts them."""

    def __init__(self, chance):
        super().__init__()
        self.chance, self.struck = chance, 0

    def __bool__(self):
        return True

    def popleft(self):
        if self.chance.random() > 1 / 6:
            return Fault.NONE
        self.struck += 1
        return self.chance.choice(LOST)


class Mirrored:
    """The pods' own way to S3, as `Stages` uses it: a mapping of URIs to bodies that retries."""

    def __init__(self, files):
        self.files, self.bodies = files, self

    def setdefault(self, uri, body):
        if until_done(lambda: self.files.read(uri, 1)) is None:
            self[uri] = body

    def __setitem__(self, uri, body):
        until_done(lambda: self.files.write(uri, body))

    def __getitem__(self, uri):
        return until_done(lambda: self.files.read(uri, 10**7))


def until_done(call, tries=60):
    """What SQS and the next tick do: the same again, after a failure of the wire."""
    for _ in range(tries):
        try:
            return call()
        except (Unreachable, Conflict):
            continue
    raise AssertionError(f"not in {tries} tries")
