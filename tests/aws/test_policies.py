"""Each function may do what it does, and nothing else: the calls of whole runs against the roles that were deployed."""

import ast
import json
import time
from contextlib import suppress
from types import SimpleNamespace

import iam
import pytest

from handlers import announce, arrival, nightly, runtime, step, tick
from local.aws.object_events import sequencer
from simulation.memory.kfp import MemoryPipelines
from simulation.memory.stages import Stages
from statemachine.contracts.errors import Unreachable
from statemachine.core.run import RequestKind

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("aws")]  # one deployment, so one worker
# What the services do with a function's role, around our code: it cannot be recorded, so each line has its reason.
BY_THE_SERVICE = {
    "logs:CreateLogStream": "Lambda writes the function's log",
    "logs:PutLogEvents": "Lambda writes the function's log",
    "sqs:ReceiveMessage": "Lambda polls the queue for the function",
    "sqs:DeleteMessage": "Lambda polls the queue for the function",
    "sqs:GetQueueAttributes": "Lambda polls the queue for the function",
    "dynamodb:DescribeStream": "Lambda reads the stream for the function",
    "dynamodb:GetRecords": "Lambda reads the stream for the function",
    "dynamodb:GetShardIterator": "Lambda reads the stream for the function",
    "dynamodb:ListStreams": "Lambda reads the stream for the function",
}
DEAD_LETTERS = {"NightlyDlq", "AnnounceDlq"}  # Lambda sends what failed in the end
CONTEXT = SimpleNamespace(
    function_name="f",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
    aws_request_id="r",
    get_remaining_time_in_millis=lambda: 60_000,
)


class Recorder:
    """Knows which function is running, and keeps the AWS calls that it makes."""

    def __init__(self):
        self.function, self.calls = "", {}

    def __call__(self, params, model, **_):
        if not self.function:
            return
        requested = iam.calls(model.service_model.endpoint_prefix, model.name, params)
        self.calls.setdefault(self.function, set()).update(requested)

    def run(self, handler, event):
        self.function = handler.__module__.rsplit(".", 1)[-1]
        try:
            return handler(event, CONTEXT)
        finally:
            self.function = ""

    def hurried(self, handler, event, function):
        """With no time left: the function asks for itself once more."""
        nobody = SimpleNamespace(**{**vars(CONTEXT), "get_remaining_time_in_millis": lambda: 1})
        nobody.invoked_function_arn = function
        self.function = handler.__module__.rsplit(".", 1)[-1]
        with suppress(Unreachable):  # moto has no Docker to run it in
            handler(event, nobody)
        self.function = ""


class Bodies:
    """`MemoryFiles.bodies` on a bucket, for what the simulated stages write: pods, not functions."""

    def __init__(self, s3):
        self.s3 = s3

    def __setitem__(self, uri, body):
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        self.s3.put_object(Bucket=bucket, Key=key, Body=body)

    def __getitem__(self, uri):
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        return self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    def setdefault(self, uri, body):
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        if not self.s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents"):
            self[uri] = body


@pytest.fixture(scope="module")
def recorded(deployed):
    """The calls of whole runs, by function: a nightly event, good and bad arrivals, a success, a failure, a cancel."""
    from deployment import CREDENTIALS, Deployment

    patch = pytest.MonkeyPatch()
    stack = Deployment(deployed.url, deployed.folder, "fraudloop-policies", deployed.plain)
    stack.deploy(KfpUrl="http://127.0.0.1:9", Slack="true")
    physical = stack.physical()
    nobody = {"SecretId": physical["SlackSecret"], "SecretString": "http://127.0.0.1:9/hook"}
    stack.client("secretsmanager").put_secret_value(**nobody)
    settings = stack.client("lambda").get_function_configuration(FunctionName=physical["StepFunction"])
    variables = settings["Environment"]["Variables"] | {"FRAUDLOOP_CONFIG": "", "FRAUDLOOP_DEFINITIONS": ""}
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": stack.url, **variables}.items():
        patch.setenv(name, value)
    recorder = Recorder()
    runtime.app.cache_clear()
    runtime.app().session.register("provide-client-params", recorder)
    pipelines = MemoryPipelines(time.time)
    runtime.app().__dict__["pipelines"] = pipelines  # KFP is no AWS call
    stages = Stages(pipelines, SimpleNamespace(bodies=Bodies(stack.client("s3"))), time.time)
    try:
        live(recorder, stack, stages)
        yield stack, recorder.calls
    finally:
        runtime.app.cache_clear()
        patch.undo()


def live(recorder, stack, stages):
    bucket, s3 = stack.outputs()["FraudloopDataBucket"], stack.client("s3")
    numbers = sequencer()

    def land(*keys):
        for key in keys:
            s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        events = [created(bucket, key, numbers()) for key in keys]
        records = [{"messageId": str(n), "body": json.dumps(event)} for n, event in enumerate(events)]
        recorder.run(arrival.handler, {"Records": records})

    def pass_over(run_id, times=25):
        for _ in range(times):
            recorder.run(step.handler, {"Records": [{"messageId": "1", "body": json.dumps({"run_id": run_id})}]})
            recorder.run(tick.handler, {})
            stages.run()

    land("data/fraud/1.csv", "data/fraud/2.csv", "data/nobody/3.csv", "data/fraud/_SUCCESS")
    recorder.run(tick.handler, {})
    pass_over("fraud-1")
    s3.put_object(Bucket=bucket, Key="data/fraud/late.csv", Body=b"its event was lost")
    recorder.run(nightly.handler, {"time": "2026-11-24T02:00:00Z"})
    pass_over("fraud-2")
    recorder.run(nightly.handler, {"time": "2026-11-25T02:00:00Z"})  # nothing new
    recorder.hurried(nightly.handler, {"time": "2026-11-26T02:00:00Z"}, stack.physical()["NightlyFunction"])
    land("data/fraud/_SUCCESS")  # nothing new
    recorder.run(tick.handler, {})
    land("data/fraud/4.csv", "data/fraud/_SUCCESS")
    recorder.run(tick.handler, {})
    recorder.run(tick.handler, {})
    runtime.app().operations.operator_request("fraud-3", RequestKind.CANCEL, "somebody", "a test")
    pass_over("fraud-3", 10)
    table = stack.outputs()["FraudloopTable"]
    items = stack.client("dynamodb").scan(TableName=table)["Items"]
    entries = [i for i in items if i["sk"]["S"].startswith("HISTORY#")]
    ends = {i["pk"]["S"]: (i["state"]["S"], i["reason"]["S"]) for i in items if i["sk"]["S"] == "RUN"}
    assert "SUCCEEDED" in {state for state, _ in ends.values()}, f"no run came through: {ends}"
    records = [
        {"eventName": "INSERT", "eventID": str(n), "dynamodb": {"NewImage": i, "SequenceNumber": str(n)}}
        for n, i in enumerate(entries)
    ]
    recorder.run(announce.handler, {"Records": records})


def created(bucket, key, sequencer):
    obj = {"key": key, "size": 1, "etag": key[-8:], "version-id": "v", "sequencer": sequencer}
    detail = {"version": "0", "bucket": {"name": bucket}, "object": obj, "reason": "PutObject"}
    return {"detail-type": "Object Created", "source": "aws.s3", "time": "2026-11-24T01:00:00Z", "detail": detail}


def statements(stack, role):
    client, name = stack.client("iam"), stack.physical()[role]
    documents = [
        client.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in client.list_role_policies(RoleName=name)["PolicyNames"]
    ]
    parsed = [ast.literal_eval(d) if isinstance(d, str) else d for d in documents]  # moto keeps a Python value's text
    return [statement for document in parsed for statement in document["Statement"]]


@pytest.mark.parametrize("function", ["arrival", "nightly", "tick", "step", "announce"])
def test_a_function_may_do_all_that_it_does(deployed, recorded, function):
    """Every recorded call is allowed by the function's own role."""
    stack, calls = recorded
    assert calls.get(function), "nothing was recorded"
    mine = statements(stack, f"{function.capitalize()}Role")
    denied = sorted(f"{c.action} on {c.resource}" for c in calls.get(function, ()) if not iam.allows(mine, c))
    assert not denied


@pytest.mark.parametrize("function", ["arrival", "nightly", "tick", "step", "announce"])
def test_a_function_may_do_nothing_that_it_does_not(deployed, recorded, function):
    """Every action and resource that a role names was used, or is what the service does with the role."""
    stack, calls = recorded
    dead = {
        stack.client("sqs").get_queue_attributes(QueueUrl=stack.physical()[q], AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]
        for q in DEAD_LETTERS
    }
    mine = statements(stack, f"{function.capitalize()}Role")
    assert not unused(mine, calls.get(function, set()), dead)


def unused(mine, calls, dead):
    """What `mine` allows but no call needs, action by action and resource by resource."""
    found = []
    for statement in mine:
        for action in iam.listed(statement["Action"]):
            for resource in iam.listed(statement["Resource"]):
                only = {**statement, "Action": action, "Resource": resource}
                used = any(iam.matches(only, call) for call in calls)
                if not used and action not in BY_THE_SERVICE and resource not in dead:
                    found.append(f"{action} on {resource}")
    return found


@pytest.mark.parametrize("function", ["arrival", "nightly", "tick", "step", "announce"])
def test_each_right_that_is_taken_away_is_noticed(recorded, function):
    """Broken on purpose: without any one action on any one resource, some recorded call is denied."""
    stack, calls = recorded
    mine = statements(stack, f"{function.capitalize()}Role")
    rights = sorted({(c.action, r) for c in calls[function] for s in mine for r in iam.listed(s["Resource"])
                     if iam.matches({**s, "Resource": r}, c)})  # fmt: skip
    assert rights
    for right in rights:
        left = list(without(mine, *right))
        assert not all(iam.allows(left, call) for call in calls[function]), f"nobody misses {right}"


def without(mine, action, resource):
    """The statements less one action on one resource."""
    for statement in mine:
        actions, resources = iam.listed(statement["Action"]), iam.listed(statement["Resource"])
        for each in resources:
            yield {**statement, "Action": [a for a in actions if (a, each) != (action, resource)], "Resource": each}


def test_a_right_too_many_is_noticed(recorded):
    """Broken on purpose: an unused action, and a foreign table."""
    stack, calls = recorded
    mine = statements(stack, "TickRole")
    extra = {"Effect": "Allow", "Action": "dynamodb:DeleteItem", "Resource": "arn:aws:dynamodb:us-east-1:1:table/t"}
    assert unused([*mine, extra], calls["tick"], set()) != unused(mine, calls["tick"], set())


def test_the_policy_evaluator_denies(recorded):
    """A call that no statement speaks of is denied; so is one under another prefix, or that a denial names."""
    allow = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b"}
    narrow = {**allow, "Condition": {"StringLike": {"s3:prefix": "data/*"}}}
    assert iam.allows([narrow], iam.Call("s3:ListBucket", "arn:aws:s3:::b", "data/fraud/"))
    assert not iam.allows([narrow], iam.Call("s3:ListBucket", "arn:aws:s3:::b", "runs/"))
    assert not iam.allows([allow], iam.Call("s3:PutObject", "arn:aws:s3:::b"))
    assert not iam.allows([allow, {**allow, "Effect": "Deny"}], iam.Call("s3:ListBucket", "arn:aws:s3:::b"))
