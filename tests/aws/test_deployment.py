"""`sam deploy` into moto: every resource is there, the built code begins a run, and no deployment loses anything."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from deployment import CREDENTIALS, FUNCTIONS, ROOT, Deployment

from local.aws.object_events import realistic, sequencer
from statemachine.adapters.dynamodb import SCHEMA

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("aws")]  # one deployment, so one worker
Check = Callable[[Deployment, str, dict[str, Any]], None]


def function(stack, physical, properties):
    found = stack.client("lambda").get_function(FunctionName=physical)
    configuration = found["Configuration"]
    assert configuration["Handler"] == properties["Handler"]
    assert configuration["Runtime"] == "python3.12"
    assert configuration["Timeout"] == properties["Timeout"]
    assert configuration["CodeSize"] > 1_000_000
    assert configuration["Environment"]["Variables"].keys() == properties["Environment"]["Variables"].keys()


def mapping(stack, physical, properties):
    found = stack.client("lambda").get_event_source_mapping(UUID=physical)
    assert found["BatchSize"] == properties["BatchSize"]
    assert properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def invoke_config(stack, physical, properties):
    name = stack.physical()[properties["FunctionName"]["Ref"]]
    found = stack.client("lambda").get_function_event_invoke_config(FunctionName=name)
    assert found["DestinationConfig"]["OnFailure"]["Destination"] == arn(stack, "AsyncDlq")


def schedule(stack, physical, properties):
    found = stack.client("scheduler").get_schedule(Name=physical)
    assert physical in (f"{stack.stack}-night", f"{stack.stack}-tick"), "two stacks must not share a schedule's name"
    assert found["State"] == "ENABLED"
    assert found["Target"]["DeadLetterConfig"]["Arn"] == arn(stack, "AsyncDlq")
    assert json.loads(found["Target"]["Input"])["time"] == "<aws.scheduler.scheduled-time>"
    assert found["ScheduleExpression"] in ("rate(1 minute)", "cron(0 2 * * ? *)")


def role(stack, physical, properties):
    iam = stack.client("iam")
    trusted = iam.get_role(RoleName=physical)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"][
        "Service"
    ]
    assert trusted in ("lambda.amazonaws.com", ["scheduler.amazonaws.com"])
    assert iam.list_role_policies(RoleName=physical)["PolicyNames"]
    assert not iam.list_attached_role_policies(RoleName=physical)["AttachedPolicies"]


def managed_policy(stack, physical, properties):
    assert stack.client("iam").get_policy(PolicyArn=physical)["Policy"]["DefaultVersionId"]


def queue(stack, physical, properties):
    attributes = stack.client("sqs").get_queue_attributes(QueueUrl=physical, AttributeNames=["All"])["Attributes"]
    assert attributes["SqsManagedSseEnabled"] == "true"
    assert int(attributes["MessageRetentionPeriod"]) == properties["MessageRetentionPeriod"]
    if "RedrivePolicy" in properties:
        redrive = json.loads(attributes["RedrivePolicy"])
        assert redrive["deadLetterTargetArn"] == arn(
            stack, properties["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"][0]
        )


def queue_policy(stack, physical, properties):
    for reference in properties["Queues"]:
        url = stack.physical()[reference["Ref"]]
        attributes = stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
        allowed = [s for s in json.loads(attributes["Policy"])["Statement"] if s["Effect"] == "Allow"]
        assert allowed
        assert all(s["Condition"]["ArnEquals"]["aws:SourceArn"] for s in allowed)


def bus(stack, physical, properties):
    assert stack.client("events").describe_event_bus(Name=physical)["Arn"]


def rule(stack, physical, properties):
    events = stack.client("events")
    on = "default" if "EventBusName" not in properties else stack.physical()["EventBus"]
    name = physical.split("/")[-1]
    assert events.describe_rule(Name=name, EventBusName=on)["State"] == "ENABLED"
    (target,) = events.list_targets_by_rule(Rule=name, EventBusName=on)["Targets"]
    assert target["DeadLetterConfig"]["Arn"] == arn(stack, "EventsDlq")


def table(stack, physical, properties):
    dynamodb = stack.client("dynamodb")
    found = dynamodb.describe_table(TableName=physical)["Table"]
    for part in ("KeySchema", "GlobalSecondaryIndexes", "StreamSpecification"):
        made = (
            [{k: v for k, v in i.items() if k in SCHEMA[part][0]} for i in found[part]]
            if isinstance(found[part], list)
            else found[part]
        )
        assert made == SCHEMA[part], f"the adapter expects another {part}"
    assert found["DeletionProtectionEnabled"] is True
    assert dynamodb.describe_time_to_live(TableName=physical)["TimeToLiveDescription"]["AttributeName"] == "expires_at"
    backups = dynamodb.describe_continuous_backups(TableName=physical)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def bucket(stack, physical, properties):
    s3 = stack.client("s3")
    assert s3.get_bucket_versioning(Bucket=physical)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=physical)["PublicAccessBlockConfiguration"].values())
    assert s3.get_bucket_encryption(Bucket=physical)
    # That its objects' events reach EventBridge is proven by an object, below: moto does not tell.


def bucket_policy(stack, physical, properties):
    assert properties["Bucket"]["Ref"] in stack.physical()
    (statement,) = properties["PolicyDocument"]["Statement"]  # moto cannot hold it, see moto_cloudformation
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def log_group(stack, physical, properties):
    (found,) = stack.client("logs").describe_log_groups(logGroupNamePrefix=physical)["logGroups"]
    assert found["retentionInDays"] == 30


def topic(stack, physical, properties):
    assert stack.client("sns").get_topic_attributes(TopicArn=physical)


def alarm(stack, physical, properties):
    (found,) = stack.client("cloudwatch").describe_alarms(AlarmNames=[physical])["MetricAlarms"]
    assert found["AlarmActions"] == [stack.physical()["AlarmTopic"]]
    assert found.get("Metrics") or (found["Dimensions"] and found["Dimensions"][0]["Value"])


def dashboard(stack, physical, properties):
    body = json.loads(stack.client("cloudwatch").get_dashboard(DashboardName=physical)["DashboardBody"])
    assert len(body["widgets"]) >= 6
    assert "${" not in json.dumps(body)


def added_policy(stack, physical, properties):
    (role,) = properties["Roles"]
    names = stack.client("iam").list_role_policies(RoleName=stack.physical()[role["Ref"]])["PolicyNames"]
    assert properties["PolicyName"] in names


def secret(stack, physical, properties):
    found = stack.client("secretsmanager").describe_secret(SecretId=physical)
    assert found["Description"] == properties["Description"]


def security_group(stack, physical, properties):
    (found,) = stack.client("ec2").describe_security_groups(GroupIds=[physical])["SecurityGroups"]
    assert found["IpPermissions"] == [], "nobody comes in"
    # moto hands no egress rules on, so their text is asked.
    assert [rule["FromPort"] for rule in properties["SecurityGroupEgress"]] == [443, {"Ref": "KfpPort"}]


def ingress(stack, physical, properties):
    step = stack.physical()["StepSecurityGroup"]
    groups = stack.client("ec2").describe_security_groups()["SecurityGroups"]
    admitted = [rule for group in groups for rule in group["IpPermissions"]
                if step in [pair["GroupId"] for pair in rule["UserIdGroupPairs"]]]  # fmt: skip
    assert [(rule["FromPort"], rule["ToPort"], rule["IpRanges"]) for rule in admitted] == [(80, 80, [])]


def subscription(stack, physical, properties):
    found = stack.client("sns").get_subscription_attributes(SubscriptionArn=physical)["Attributes"]
    assert (found["Protocol"], found["Endpoint"]) == ("email", "ops@example.com")


CHECKS: dict[str, Check] = {
    "AWS::IAM::Policy": added_policy,
    "AWS::SecretsManager::Secret": secret,
    "AWS::EC2::SecurityGroup": security_group,
    "AWS::EC2::SecurityGroupIngress": ingress,
    "AWS::SNS::Subscription": subscription,
    "AWS::Lambda::Function": function,
    "AWS::Lambda::EventSourceMapping": mapping,
    "AWS::Lambda::EventInvokeConfig": invoke_config,
    "AWS::Scheduler::Schedule": schedule,
    "AWS::IAM::Role": role,
    "AWS::IAM::ManagedPolicy": managed_policy,
    "AWS::SQS::Queue": queue,
    "AWS::SQS::QueuePolicy": queue_policy,
    "AWS::Events::EventBus": bus,
    "AWS::Events::Rule": rule,
    "AWS::DynamoDB::Table": table,
    "AWS::S3::Bucket": bucket,
    "AWS::S3::BucketPolicy": bucket_policy,
    "AWS::Logs::LogGroup": log_group,
    "AWS::SNS::Topic": topic,
    "AWS::CloudWatch::Alarm": alarm,
    "AWS::CloudWatch::Dashboard": dashboard,
}


def arn(stack: Deployment, queue_name: str) -> str:
    url = stack.physical()[queue_name]
    return stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def test_every_resource_of_the_template_is_there_as_it_says(deployed):
    """Stock moto skips what it does not know and reports success, so each resource is asked for at its own service."""
    physical, asserted = deployed.physical(), 0
    for name, resource in deployed.expected("MakeDataBucket", "MakeArtifactsBucket"):
        assert name in physical, f"{name} ({resource['Type']}) was not made"
        CHECKS[resource["Type"]](deployed, physical[name], resource["Properties"])
        asserted += 1
    assert asserted >= 50
    print(f"{asserted} resources asserted")


def test_every_optional_resource_is_there_when_a_parameter_asks_for_it(deployed):
    """Slack, mail, multi-user Kubeflow, SageMaker, a VPC: nothing conditional stays unasked."""
    ec2 = deployed.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{n}.0/24")["Subnet"]["SubnetId"] for n in (1, 2)]
    balancer = ec2.create_security_group(GroupName="kfp", Description="KFP's load balancer", VpcId=vpc)["GroupId"]
    stack = Deployment(deployed.url, deployed.folder, "fraudloop-all", deployed.plain)
    stack.deploy(
        KfpUrl="http://127.0.0.1:9", Slack="true", AlarmEmail="ops@example.com", KfpMultiUser="true",
        SageMakerRoleArn="arn:aws:iam::123456789012:role/sagemaker", SageMakerImage="image",
        VpcId=vpc, SubnetIds=",".join(subnets), KfpSecurityGroupId=balancer,
    )  # fmt: skip
    physical = stack.physical()
    optional = {
        n: r for n, r in stack.plain["Resources"].items() if r.get("Condition") and n not in deployed.physical()
    }
    for name, resource in optional.items():
        assert name in physical, f"{name} ({resource['Type']}) was not made"
        CHECKS[resource["Type"]](stack, physical[name], resource["Properties"])
    assert len(optional) >= 9
    step = stack.client("lambda").get_function_configuration(FunctionName=physical["StepFunction"])
    assert step["VpcConfig"]["SubnetIds"] == subnets
    assert step["VpcConfig"]["SecurityGroupIds"] == [physical["StepSecurityGroup"]]
    told = step["Environment"]["Variables"]
    assert told["FRAUDLOOP_KFP_TOKEN_SECRET"] == physical["KfpTokenSecret"]
    assert json.loads(told["FRAUDLOOP_SAGEMAKER"])["role_arn"].endswith("role/sagemaker")
    print(f"{len(optional)} optional resources asserted: {', '.join(sorted(optional))}")


def test_outputs_name_what_the_command_line_needs(deployed):
    """An output FraudloopX is the environment variable FRAUDLOOP_X, and none of them is empty."""
    outputs = deployed.outputs()
    assert {"FraudloopTable", "FraudloopDataBucket", "FraudloopHintsQueueUrl"} <= outputs.keys()
    assert all(outputs.values())


def test_the_command_line_finds_everything_by_the_stacks_name(deployed):
    """FRAUDLOOP_STACK alone says where the table is, and which function and schedule keep the night."""
    program = (
        "import os; from cli.connection import application as a; a().ledger.model('fraud'); print(dict(os.environ))"
    )
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": deployed.url, "FRAUDLOOP_STACK": deployed.stack}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    told = ast.literal_eval(done.stdout)
    nightly = deployed.client("lambda").get_function(FunctionName=told["FRAUDLOOP_NIGHTLY_FUNCTION"])
    assert nightly["Configuration"]["Handler"] == "handlers.nightly.handler"
    assert deployed.client("scheduler").get_schedule(Name=told["FRAUDLOOP_NIGHTLY_SCHEDULE"])


def test_an_object_begins_a_run_with_the_built_code(deployed):
    """Object → EventBridge → queue → arrival, tick → hint → step: the built artifacts, in the runtime's interpreter."""
    outputs = deployed.outputs()
    s3 = deployed.client("s3")
    for key in ("data/fraud/a b+c.csv", "data/fraud/_SUCCESS"):
        s3.put_object(Bucket=outputs["FraudloopDataBucket"], Key=key, Body=b"User,Card\n0,0\n")
    s3.put_object(Bucket=outputs["FraudloopDataBucket"], Key="elsewhere/x.csv", Body=b"1")
    arrived = received(deployed, outputs["FraudloopArrivalsQueueUrl"])
    keys = [json.loads(m["body"])["detail"]["object"]["key"] for m in arrived]
    assert keys == ["data/fraud/a b+c.csv", "data/fraud/_SUCCESS"], (
        "the rule lets the data prefix through, nothing else"
    )
    real = sequencer()
    records = [{**m, "body": json.dumps(realistic(json.loads(m["body"]), real))} for m in arrived]
    said = deployed.invoke("arrival", {"Records": records})
    assert said["answer"] == {"batchItemFailures": []}
    assert said["stray"] == [], "the artifact imported something that it does not hold"

    now = {"time": "2026-11-24T02:00:00Z", "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": {}}
    deployed.invoke("tick", now)  # closes the window
    assert deployed.invoke("tick", now)["answer"] == {"due": 1}
    hints = received(deployed, outputs["FraudloopHintsQueueUrl"])
    assert {json.loads(m["body"])["run_id"] for m in hints} == {"fraud-1"}
    assert deployed.invoke("step", {"Records": hints[:1]})["answer"] == {"batchItemFailures": []}
    dynamodb = deployed.client("dynamodb")
    run = dynamodb.get_item(TableName=outputs["FraudloopTable"], Key={"pk": {"S": "RUN#fraud-1"}, "sk": {"S": "RUN"}})[
        "Item"
    ]
    assert run["state"]["S"] == "QUEUED"
    assert float(run["due_at"]["N"]) > 0


def test_the_step_function_says_whether_it_reaches_kfp(deployed):
    """`fraudloop doctor` asks the built function, for it alone stands in its subnets. Here nothing listens."""
    said = deployed.invoke("step", {"source": "fraudloop.doctor"})["answer"]
    assert "KFP" in said["kfp"]


def test_the_night_begins_a_run_by_itself(deployed):
    """The built nightly function lists the deployed bucket, and counts a slot once."""
    night = {"time": "2026-11-25T02:00:00Z", "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": {}}
    assert deployed.invoke("nightly", night)["answer"]["slot"]
    assert deployed.invoke("nightly", night)["answer"]["began"] == {"fraud": ""}


def test_every_built_function_imports_in_the_runtime_with_nothing_but_its_artifact(deployed):
    """What a function needs is in its folder or brought by the runtime; and it stays under 30 MB."""
    empty = {"Records": []}
    for name in FUNCTIONS:
        if name not in ("tick", "nightly"):
            assert deployed.invoke(name, empty)["stray"] == []
        folder = deployed.folder / "build" / f"{name.capitalize()}Function"
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        assert size < 30e6
        assert not list(folder.glob("boto*")), "boto3 is the runtime's"


def test_deploying_again_replaces_nothing_a_parameter_changes_one_thing_and_deleting_keeps_the_data(deployed):
    """Same code, same stack: same physical ids. Another value: an update in place. Delete: table and buckets stay."""
    stack = Deployment(deployed.url, deployed.folder, "fraudloop-life")
    stack.deploy(KfpUrl="http://127.0.0.1:9")
    before, codes = stack.physical(), code_hashes(stack)
    stack.client("s3").put_object(Bucket=before["DataBucket"], Key="kept.txt", Body=b"kept")

    stack.package()
    assert stack.plain == deployed.plain, "the same code must have the same name in S3"
    stack.deploy(KfpUrl="http://127.0.0.1:9")
    assert stack.physical() == before
    assert code_hashes(stack) == codes

    stack.deploy(KfpUrl="http://127.0.0.1:10", NightlyState="DISABLED")
    assert stack.physical() == before
    step = stack.client("lambda").get_function_configuration(FunctionName=before["StepFunction"])
    assert step["Environment"]["Variables"]["FRAUDLOOP_KFP_URL"] == "http://127.0.0.1:10"
    assert stack.client("scheduler").get_schedule(Name=before["NightlyFunctionNight"])["State"] == "DISABLED"

    stack.client("cloudformation").delete_stack(StackName=stack.stack)
    assert stack.client("s3").get_object(Bucket=before["DataBucket"], Key="kept.txt")["Body"].read() == b"kept"
    assert stack.client("s3").head_bucket(Bucket=before["ArtifactsBucket"])
    assert stack.client("dynamodb").describe_table(TableName=before["Table"])["Table"]["TableStatus"] == "ACTIVE"
    functions = stack.client("lambda")
    with pytest.raises(functions.exceptions.ResourceNotFoundException):
        functions.get_function(FunctionName=before["StepFunction"])


def code_hashes(stack: Deployment) -> set[str]:
    functions = stack.client("lambda").list_functions()["Functions"]
    return {f["CodeSha256"] for f in functions if f["FunctionName"].startswith(stack.stack)}


def received(stack: Deployment, url: str) -> list[dict[str, str]]:
    """What is in a queue, as the records that Lambda hands to a handler."""
    sqs, records = stack.client("sqs"), []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for m in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=m["ReceiptHandle"])
            records.append({"messageId": m["MessageId"], "receiptHandle": m["ReceiptHandle"], "body": m["Body"]})
    return records
