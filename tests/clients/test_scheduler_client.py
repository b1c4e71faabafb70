"""A schedule that is switched keeps everything else: UpdateSchedule resets every field that it is not given."""

from datetime import UTC, datetime

import boto3
import pytest

from clients import scheduler
from local.aws import resources, server
from statemachine.contracts.errors import Unknown, Unreachable

TARGET = {
    "Arn": "arn:aws:lambda:us-east-1:123456789012:function:night",
    "RoleArn": "arn:aws:iam::123456789012:role/r",
    "Input": '{"source": "nightly"}',
}
WHOLE = {
    "Name": "prod-night",
    "GroupName": "fraud",
    "Description": "The night",
    "ScheduleExpression": "cron(0 2 * * ? *)",
    "ScheduleExpressionTimezone": "Europe/Berlin",
    "StartDate": datetime(2026, 12, 1, tzinfo=UTC),
    "EndDate": datetime(2027, 12, 1, tzinfo=UTC),
    "FlexibleTimeWindow": {"Mode": "FLEXIBLE", "MaximumWindowInMinutes": 15},
    "Target": TARGET,
    "KmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1",
    "ActionAfterCompletion": "NONE",
}


class Fake:
    """UpdateSchedule's rule (API reference): the schedule gets exactly the fields of the request."""

    def __init__(self):
        self.schedule = {**WHOLE, "State": "ENABLED", "Arn": "arn:…", "ResponseMetadata": {}}

    def get_schedule(self, Name, GroupName):  # noqa: N803 — boto3's names
        assert (Name, GroupName) == ("prod-night", "fraud")
        return self.schedule

    def update_schedule(self, **fields):
        self.schedule = fields


def test_every_field_of_a_schedule_survives_being_switched():
    """Group, description, dates, key and what comes after completion, too; off and on again."""
    client = Fake()
    scheduler.switch(client, "prod-night", on=False, group="fraud")
    assert client.schedule == {**WHOLE, "State": "DISABLED"}
    scheduler.switch(client, "prod-night", on=True, group="fraud")
    assert client.schedule == {**WHOLE, "State": "ENABLED"}


def test_nothing_that_an_update_takes_is_forgotten():
    """The list is boto3's own, so a new field of the API turns this red."""
    shape = boto3.client("scheduler", region_name="us-east-1").meta.service_model.operation_model("UpdateSchedule")
    assert set(scheduler.KEPT) == set(shape.input_shape.members) - {"State", "ClientToken"}


def test_a_schedule_of_the_service_is_switched_and_one_that_is_not_there_is_unknown(monkeypatch):
    """Against moto: the group is asked for by name."""
    with server.serving() as url:
        for name, value in {
            **resources.CREDENTIALS,
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("scheduler")
        client.create_schedule_group(Name="fraud")
        fields = {name: value for name, value in WHOLE.items() if name not in ("StartDate", "EndDate", "KmsKeyArn")}
        client.create_schedule(**fields, State="ENABLED")
        before = client.get_schedule(Name="prod-night", GroupName="fraud")
        scheduler.switch(client, "prod-night", on=False, group="fraud")
        after = client.get_schedule(Name="prod-night", GroupName="fraud")
        changed = {"State", "LastModificationDate", "ResponseMetadata"}
        assert {name for name in before | after if before.get(name) != after.get(name)} <= changed
        assert after["State"] == "DISABLED"
        with pytest.raises(Unknown, match="there is no EventBridge schedule 'prod-night'"):
            scheduler.get(client, "prod-night")
    with pytest.raises(Unreachable):
        scheduler.get(client, "prod-night", "fraud")
