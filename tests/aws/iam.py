"""Just enough of IAM to ask a role's own policies whether they let a call through: actions, resources, `s3:prefix`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

PARTITION = "arn:aws"
REGION = "us-east-1"
ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Call:
    """The request that IAM authorizes for one call: an action on a resource, with the condition keys that our
    policies use.
    """

    action: str
    resource: str
    prefix: str = ""
    context: str = ""
    if_none_match: bool = False


def calls(service: str, operation: str, parameters: Mapping[str, Any]) -> Iterator[Call]:
    """The authorisations that AWS documents for an API call of ours."""
    match service.removeprefix("api."), operation:  # endpoints' names: api.ecr, api.sagemaker, monitoring
        case "dynamodb", "TransactWriteItems":
            for item in parameters["TransactItems"]:
                ((kind, body),) = item.items()
                action = {
                    "Put": "PutItem",
                    "Update": "UpdateItem",
                    "Delete": "DeleteItem",
                    "ConditionCheck": kind + "Item",
                }
                yield Call(f"dynamodb:{action[kind]}", _table(body))
        case "dynamodb", _ if "IndexName" in parameters:
            yield Call(f"dynamodb:{operation}", f"{_table(parameters)}/index/{parameters['IndexName']}")
        case "dynamodb", _:
            yield Call(f"dynamodb:{operation}", _table(parameters))
        case "sqs", _:
            name = parameters.get("QueueName") or parameters["QueueUrl"].rsplit("/", 1)[-1]
            yield Call(f"sqs:{operation.removesuffix('Batch')}", f"{PARTITION}:sqs:{REGION}:{ACCOUNT}:{name}")
        case "lambda", "Invoke":
            name = parameters["FunctionName"]
            yield Call("lambda:InvokeFunction", f"{PARTITION}:lambda:{REGION}:{ACCOUNT}:function:{name}")
        case "s3", "GetBucketVersioning":
            yield Call("s3:GetBucketVersioning", f"{PARTITION}:s3:::{parameters['Bucket']}")
        case "s3", "GetBucketNotificationConfiguration":
            yield Call("s3:GetBucketNotification", f"{PARTITION}:s3:::{parameters['Bucket']}")
        case "s3", "ListObjectsV2":
            yield Call("s3:ListBucket", f"{PARTITION}:s3:::{parameters['Bucket']}", parameters.get("Prefix", ""))
        case "s3", "GetObject":
            bucket = f"{PARTITION}:s3:::{parameters['Bucket']}"
            yield Call("s3:GetObject", f"{bucket}/{parameters['Key']}")
            yield Call("s3:ListBucket", bucket, parameters["Key"])  # else an absent object answers 403, not 404
        case "s3", "PutObject":
            key = f"{PARTITION}:s3:::{parameters['Bucket']}/{parameters['Key']}"
            yield Call("s3:PutObject", key, if_none_match="IfNoneMatch" in parameters)
        case "scheduler", "ListSchedules":
            yield Call("scheduler:ListSchedules", "*")
        case "scheduler", "GetSchedule" | "UpdateSchedule":
            name = parameters["Name"]
            yield Call(f"scheduler:{operation}", f"{PARTITION}:scheduler:{REGION}:{ACCOUNT}:schedule/default/{name}")
            if operation == "UpdateSchedule":  # "to update a schedule, you must have … iam:PassRole" (User Guide, IAM)
                yield Call("iam:PassRole", parameters["Target"]["RoleArn"], context="scheduler.amazonaws.com")
        case "sagemaker", "CreateTrainingJob":
            job = f"{PARTITION}:sagemaker:{REGION}:{ACCOUNT}:training-job/{parameters['TrainingJobName']}"
            yield Call("sagemaker:CreateTrainingJob", job)
            if parameters.get("Tags"):  # "If you specify tags …, you must have sagemaker:AddTags" (CreateTrainingJob)
                yield Call("sagemaker:AddTags", job)
            yield Call("iam:PassRole", parameters["RoleArn"], context="sagemaker.amazonaws.com")
        case "sagemaker", "DescribeTrainingJob" | "StopTrainingJob":
            name = parameters["TrainingJobName"]
            yield Call(f"sagemaker:{operation}", f"{PARTITION}:sagemaker:{REGION}:{ACCOUNT}:training-job/{name}")
        case "sagemaker", "ListTrainingJobs" | "ListEndpoints":
            yield Call(f"sagemaker:{operation}", "*")
        case "monitoring", "DescribeAlarms" | "GetMetricData":
            yield Call(f"cloudwatch:{operation}", "*")
        case "cloudformation", _:
            name = parameters["StackName"]
            yield Call(f"cloudformation:{operation}", f"{PARTITION}:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/x")
        case "sns", "ListSubscriptionsByTopic":
            yield Call("sns:ListSubscriptionsByTopic", parameters["TopicArn"])
        case "ecr", "DescribeImages":
            where = f"{PARTITION}:ecr:{REGION}:{parameters['registryId']}"
            yield Call("ecr:DescribeImages", f"{where}:repository/{parameters['repositoryName']}")
        case "lambda", "GetFunctionConfiguration":
            name = parameters["FunctionName"]
            yield Call(f"lambda:{operation}", f"{PARTITION}:lambda:{REGION}:{ACCOUNT}:function:{name}")
        case "secretsmanager", "GetSecretValue":
            yield Call("secretsmanager:GetSecretValue", parameters["SecretId"])
        case _:
            raise AssertionError(f"which IAM action is {service}:{operation}? Say it here.")


def allows(statements: list[dict[str, Any]], call: Call) -> bool:
    """Whether some statement allows the call and none denies it."""
    hits = [s["Effect"] for s in statements if matches(s, call)]
    return "Allow" in hits and "Deny" not in hits


def matches(statement: Mapping[str, Any], call: Call) -> bool:
    """Whether a statement speaks of the call."""
    condition = statement.get("Condition", {})
    equals = {"events:source", "cloudwatch:namespace", "kms:ViaService", "iam:PassedToService"}
    known = {"StringLike": {"s3:prefix"}, "StringEquals": equals, "Null": {"s3:if-none-match"}}
    assert all(set(keys) <= known.get(operator, set()) for operator, keys in condition.items()), condition
    prefixes = listed(condition.get("StringLike", {}).get("s3:prefix", "*"))
    equal = [value for values in condition.get("StringEquals", {}).values() for value in listed(values)]
    return (
        any(fnmatchcase(call.action, action) for action in listed(statement["Action"]))
        and any(fnmatchcase(call.resource, resource) for resource in listed(statement["Resource"]))
        and any(fnmatchcase(call.prefix, prefix) for prefix in prefixes)
        and (not equal or call.context in equal)
        and ("Null" not in condition or condition["Null"]["s3:if-none-match"] == str(not call.if_none_match).lower())
    )


def listed(value: Any) -> list[Any]:
    """A policy's value, which may stand alone."""
    return value if isinstance(value, list) else [value]


def _table(parameters: Mapping[str, Any]) -> str:
    return f"{PARTITION}:dynamodb:{REGION}:{ACCOUNT}:table/{parameters['TableName']}"
