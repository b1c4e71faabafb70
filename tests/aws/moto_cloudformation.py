"""What moto's CloudFormation lacks, as a stand-in: resolved properties are handed to moto's own services.

Stock moto skips these types silently and reports success. Here each is made, changed and deleted in moto's service, so
that a test can ask the service's API. Properties that moto's own types ignore (EventBridge on a bucket, TTL, backups)
are handed on too. It runs as a process of its own, `moto_cloudformation.py PORT`: moto's state is the process's.
"""

import json
import re
import sys
from typing import Any

from moto.awslambda.models import LambdaBackend, lambda_backends
from moto.cloudformation import parsing
from moto.cloudformation.models import ChangeSet
from moto.cloudwatch.models import MetricDataQuery, cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.table import Table
from moto.events.models import EventBus
from moto.s3.models import FakeBucket, s3_backends
from moto.scheduler.models import scheduler_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from local.aws import server

Properties = dict[str, Any]

# moto's metaclass takes the service's name from the second part of a class's module.
AS_A_PROGRAM = __name__ == "__main__"
__name__ = "moto.cloudformation_wired"


class Wired:
    """A resource: its physical id, and the attributes that `Fn::GetAtt` may ask for."""

    TYPE = ""
    ATTRIBUTES: tuple[str, ...] = ()

    def __init__(self, physical: str, **attributes: str) -> None:
        self.physical_resource_id = physical
        self.attributes = attributes
        self.type = self.TYPE

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.TYPE

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in cls.ATTRIBUTES

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.attributes[attribute_name]

    def is_created(self) -> bool:
        return True

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> "Wired":
        return cls.put(resource_name, cloudformation_json.get("Properties", {}), account_id, region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls, original_resource: Any, new_resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> "Wired":
        """In place: the physical id stays."""
        return cls.put(
            original_resource.physical_resource_id, cloudformation_json["Properties"], account_id, region_name
        )

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        cls.drop(resource_name, cloudformation_json.get("Properties", {}), account_id, region_name)

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> "Wired":
        raise NotImplementedError

    @classmethod
    def drop(cls, name: str, properties: Properties, account: str, region: str) -> None:
        """What another resource's deletion takes with it needs nothing."""


class Alarm(Wired, CloudFormationModel):
    TYPE = "AWS::CloudWatch::Alarm"
    ATTRIBUTES = ("Arn",)

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> Wired:
        queries = [
            MetricDataQuery(m["Id"], m.get("Label"), m.get("Period"), m.get("ReturnData"), m.get("Expression"))
            for m in properties.get("Metrics", ())
        ]
        backend: Any = cloudwatch_backends[account][region]
        alarm = backend.put_metric_alarm(
            name=name,
            namespace=properties.get("Namespace"),
            metric_name=properties.get("MetricName"),
            comparison_operator=properties["ComparisonOperator"],
            evaluation_periods=properties["EvaluationPeriods"],
            datapoints_to_alarm=properties.get("DatapointsToAlarm"),
            period=properties.get("Period"),
            threshold=properties["Threshold"],
            statistic=properties.get("Statistic"),
            description=properties["AlarmDescription"],
            dimensions=properties.get("Dimensions", []),
            alarm_actions=properties["AlarmActions"],
            ok_actions=properties["OKActions"],
            metric_data_queries=queries or None,
            treat_missing_data=properties["TreatMissingData"],
        )
        return cls(name, Arn=alarm.alarm_arn)

    @classmethod
    def drop(cls, name: str, properties: Properties, account: str, region: str) -> None:
        cloudwatch_backends[account][region].delete_alarms([name])


class EventInvokeConfig(Wired, CloudFormationModel):
    TYPE = "AWS::Lambda::EventInvokeConfig"

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> Wired:
        config = {k: v for k, v in properties.items() if k not in ("FunctionName", "Qualifier")}
        lambda_backends[account][region].put_function_event_invoke_config(properties["FunctionName"], config)
        return cls(name)


class Subscription(Wired, CloudFormationModel):
    TYPE = "AWS::SNS::Subscription"

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> Wired:
        backend = sns_backends[account][region]
        return cls(backend.subscribe(properties["TopicArn"], properties["Endpoint"], properties["Protocol"]).arn)

    @classmethod
    def drop(cls, name: str, properties: Properties, account: str, region: str) -> None:
        sns_backends[account][region].unsubscribe(name)


class TopicPolicy(Wired, CloudFormationModel):
    TYPE = "AWS::SNS::TopicPolicy"

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> Wired:
        for arn in properties["Topics"]:
            sns_backends[account][region].topics[arn].policy = json.dumps(properties["PolicyDocument"])
        return cls(name)


class QueuePolicy(Wired, CloudFormationModel):
    TYPE = "AWS::SQS::QueuePolicy"

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> Wired:
        for url in properties["Queues"]:
            policy = {"Policy": json.dumps(properties["PolicyDocument"])}
            sqs_backends[account][region].set_queue_attributes(url.rsplit("/", 1)[-1], policy)
        return cls(name)


class BucketPolicy(Wired, CloudFormationModel):
    """Stored only: moto applies a denial without its condition, and would refuse every request."""

    TYPE = "AWS::S3::BucketPolicy"

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> Wired:
        s3_backends[account]["aws"].get_bucket(properties["Bucket"])
        return cls(name)


class Schedule(Wired, CloudFormationModel):
    TYPE = "AWS::Scheduler::Schedule"

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> Wired:
        if not re.fullmatch(r"[0-9a-zA-Z-_.]{1,64}", name):  # CreateSchedule's own rule, which moto does not apply
            raise ValueError(f"a schedule's name has at most 64 characters: {name}")
        backend = scheduler_backends[account][region]
        settings = {
            "description": properties.get("Description"),
            "end_date": None,
            "flexible_time_window": properties["FlexibleTimeWindow"],
            "group_name": "default",
            "kms_key_arn": None,
            "name": name,
            "schedule_expression": properties["ScheduleExpression"],
            "schedule_expression_timezone": properties.get("ScheduleExpressionTimezone"),
            "start_date": None,
            "state": properties.get("State", "ENABLED"),
            "target": properties["Target"],
        }
        if name in backend.schedule_groups["default"].schedules:
            backend.update_schedule(**settings)
        else:
            backend.create_schedule(**settings, action_after_completion=None)
        return cls(name)

    @classmethod
    def drop(cls, name: str, properties: Properties, account: str, region: str) -> None:
        scheduler_backends[account][region].delete_schedule("default", name)

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"


class Secret(Wired, CloudFormationModel):
    TYPE = "AWS::SecretsManager::Secret"

    @classmethod
    def put(cls, name: str, properties: Properties, account: str, region: str) -> Wired:
        made = secretsmanager_backends[account][region].create_secret(
            name=name,
            secret_string=None,
            secret_binary=None,
            description=properties.get("Description"),
            tags=None,
            kms_key_id=None,
            client_request_token=None,
            replica_regions=[],
            force_overwrite=False,
        )
        return cls(json.loads(made)["ARN"])


WIRED = (Alarm, EventInvokeConfig, Subscription, TopicPolicy, QueuePolicy, BucketPolicy, Schedule, Secret)
# How long a name may be that CloudFormation makes up. "If the combined string is too long, CloudFormation truncates it"
# (User Guide, "Name type"): stack name and logical id are cut, the random end stays.
LONGEST = {
    "AWS::IAM::Role": 64,
    "AWS::IAM::ManagedPolicy": 128,
    "AWS::Lambda::Function": 64,
    "AWS::SQS::Queue": 80,
    "AWS::Events::Rule": 64,
    "AWS::DynamoDB::Table": 255,
    "AWS::CloudWatch::Alarm": 255,
    "AWS::SNS::Topic": 256,
}


def wire() -> None:
    """Make moto's CloudFormation in this process know all of the above."""
    for cached in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        cached.cache_clear()
    buses: Any = EventBus
    buses.physical_resource_id = property(lambda bus: bus.name)  # else `Ref` gives the object itself
    _after(FakeBucket, _bucket)
    _after(Table, _table)
    parsing.generate_resource_name = _cut(parsing.generate_resource_name)
    resource_maps: Any = parsing.ResourceMap
    resource_maps.delete = _keeping(resource_maps.delete)
    parsing.clean_json = _without_nothing(parsing.clean_json)
    _mend()


def _cut(generate: Any) -> Any:
    """As CloudFormation does with a long stack name; moto's would be refused by the services."""

    def generated(kind: str, stack_name: str, logical_id: str) -> str:
        name: str = generate(kind, stack_name, logical_id)
        whole, _, end = name.rpartition("-")
        return f"{whole[: LONGEST.get(kind, 255) - len(end) - 1].rstrip('-')}-{end}"

    return generated


def _without_nothing(clean: Any) -> Any:
    """`AWS::NoValue` removes an element of a list, too; moto leaves a hole."""

    def cleaned(value: Any, resources: Any) -> Any:
        made = clean(value, resources)
        return [each for each in made if each is not None] if isinstance(made, list) else made

    return cleaned


def _keeping(delete: Any) -> Any:
    """`RetainExceptOnCreate` means `Retain` when a stack is deleted; moto knows only the latter."""

    def deleted(resources: Any) -> None:
        for resource in resources._resource_json_map.values():
            if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
                resource["DeletionPolicy"] = "Retain"
        delete(resources)

    return deleted


def _mend() -> None:
    """Mend some of moto's faults.

    An applied change set leaves the outputs as they were, takes a default that is passed again for a change, gives a
    previous list as a list, and updates what a condition excludes. A mapping eats messages, since no Lambda can run
    without Docker: here mappings are kept, but deliver nothing; the tests do.
    """
    if getattr(ChangeSet, "wired", False):
        return
    apply, update, mapped = (
        ChangeSet.apply,
        parsing.parse_and_update_resource,
        LambdaBackend.create_event_source_mapping,
    )

    def applied(change_set: Any) -> None:
        stack = change_set.stack
        defaults = {n: p.get("Default") for n, p in stack.resource_map._template.get("Parameters", {}).items()}
        stack.resource_map.input_parameters = {**defaults, **stack.resource_map.input_parameters}
        change_set.parameters = {n: ",".join(v) if isinstance(v, list) else v for n, v in change_set.parameters.items()}
        apply(change_set)
        stack.output_map = parsing.OutputMap(stack.resource_map, change_set.template_dict, stack.stack_id)

    def updated(logical_id: str, resource_json: Any, resources_map: Any, *where: Any, **more: Any) -> Any:
        condition = resource_json.get("Condition")
        if condition and not resources_map.lazy_condition_map[condition]:
            return None
        return update(logical_id, resource_json, resources_map, *where, **more)

    def mapping(backend: Any, spec: Any) -> Any:
        made = mapped(backend, spec)
        where = backend.account_id, backend.region_name
        source: Any
        for source in (
            *sqs_backends[where[0]][where[1]].queues.values(),
            *dynamodb_backends[where[0]][where[1]].tables.values(),
        ):
            source.lambda_event_source_mappings.clear()
        return made

    change_sets: Any = ChangeSet
    functions: Any = LambdaBackend
    change_sets.apply, parsing.parse_and_update_resource = applied, updated
    functions.create_event_source_mapping = mapping
    change_sets.wired = True


def _after(model: Any, also: Any) -> None:
    """Let `also` hand on what `model` ignores, when one is created and when one is updated."""
    if getattr(model, "wired", False):
        return
    create, update = model.create_from_cloudformation_json, model.update_from_cloudformation_json

    def created(cls: Any, /, name: str, body: Any, account: str, region: str, **rest: Any) -> Any:
        made = create(name, body, account, region, **rest)
        also(made, body["Properties"], account, region)
        return made

    def updated(cls: Any, /, **arguments: Any) -> Any:
        made = update(**arguments)
        also(made, arguments["cloudformation_json"]["Properties"], arguments["account_id"], arguments["region_name"])
        return made

    model.create_from_cloudformation_json = classmethod(created)
    model.update_from_cloudformation_json = classmethod(updated)
    model.wired = True


def _bucket(bucket: Any, properties: Properties, account: str, region: str) -> None:
    backend = s3_backends[account]["aws"]
    if properties.get("VersioningConfiguration"):
        backend.put_bucket_versioning(bucket.name, properties["VersioningConfiguration"]["Status"])
    if "NotificationConfiguration" in properties:
        backend.put_bucket_notification_configuration(bucket.name, {"EventBridgeConfiguration": {}})
    if "PublicAccessBlockConfiguration" in properties:
        blocked = {k: str(v).lower() for k, v in properties["PublicAccessBlockConfiguration"].items()}
        backend.put_public_access_block(bucket.name, blocked)


def _table(table: Any, properties: Properties, account: str, region: str) -> None:
    backend = dynamodb_backends[account][region]
    backend.update_time_to_live(table.name, properties["TimeToLiveSpecification"])
    backend.update_continuous_backups(table.name, properties["PointInTimeRecoverySpecification"])


if AS_A_PROGRAM:
    wire()
    server.make(int(sys.argv[1])).serve_forever()
