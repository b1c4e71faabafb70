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
    if name == stack.physical()["NightlyFunction"]:
        assert found["DestinationConfig"]["OnFailure"]["Destination"] == arn(stack, "NightlyDlq")
    else:
        assert found["MaximumRetryAttempts"] == 0, "the next tick is the retry"


def schedule(stack, physical, properties):
    found = stack.client("scheduler").get_schedule(Name=physical)
    own = stack_id(stack).rsplit("-", 1)[-1]
    assert physical in (f"fraudloop-night-{own}", f"fraudloop-tick-{own}"), (
        "two stacks must not share a schedule's name"
    )
    assert found["State"] == "ENABLED"
    if "night" in physical:
        assert found["Target"]["DeadLetterConfig"]["Arn"] == arn(stack, "NightlyDlq")
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
        statements = json.loads(attributes["Policy"])["Statement"]
        allowed = [s for s in statements if s["Effect"] == "Allow"]
        assert all(s["Condition"]["ArnEquals"]["aws:SourceArn"] for s in allowed)
        (denied,) = [s for s in statements if s["Effect"] == "Deny"]
        assert arn(stack, reference["Ref"]) in denied["Resource"]
        assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


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


def topic_policy(stack, physical, properties):
    attributes = stack.client("sns").get_topic_attributes(TopicArn=stack.physical()["AlarmTopic"])["Attributes"]
    allowed, denied = json.loads(attributes["Policy"])["Statement"]
    assert allowed["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def alarm(stack, physical, properties):
    (found,) = stack.client("cloudwatch").describe_alarms(AlarmNames=[physical])["MetricAlarms"]
    assert found["AlarmActions"] == [stack.physical()["AlarmTopic"]]
    assert found.get("Metrics") or (found["Dimensions"] and found["Dimensions"][0]["Value"])


def dashboard(stack, physical, properties):
    body = json.loads(stack.client("cloudwatch").get_dashboard(DashboardName=physical)["DashboardBody"])
    assert len(body["widgets"]) >= 6
    assert "${" not in json.dumps(body)


def added_policy(stack, physical, properties):
    for role in properties["Roles"]:
        names = stack.client("iam").list_role_policies(RoleName=stack.physical()[role["Ref"]])["PolicyNames"]
        assert properties["PolicyName"] in names


def secret(stack, physical, properties):
    found = stack.client("secretsmanager").describe_secret(SecretId=physical)
    assert found["Description"] == properties["Description"]


def security_group(stack, physical, properties):
    (found,) = stack.client("ec2").describe_security_groups(GroupIds=[physical])["SecurityGroups"]
    assert found["IpPermissions"] == [], "nobody comes in"
    # moto returns no egress rules, so their text is checked.
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
    "AWS::SNS::TopicPolicy": topic_policy,
    "AWS::CloudWatch::Alarm": alarm,
    "AWS::CloudWatch::Dashboard": dashboard,
}


def stack_id(stack: Deployment) -> str:
    return stack.client("cloudformation").describe_stacks(StackName=stack.stack)["Stacks"][0]["StackId"]


def arn(stack: Deployment, queue_name: str) -> str:
    url = stack.physical()[queue_name]
    return stack.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def test_every_resource_of_the_template_is_there_as_it_says(deployed):
    """Stock moto skips unknown resources and reports success, so each resource is read from its own service."""
    physical, asserted = deployed.physical(), 0
    for name, resource in deployed.expected("MakeTable", "MakeDataBucket", "MakeArtifactsBucket"):
        assert name in physical, f"{name} ({resource['Type']}) was not made"
        CHECKS[resource["Type"]](deployed, physical[name], resource["Properties"])
        asserted += 1
    assert asserted >= 50
    print(f"{asserted} resources asserted")


def test_every_optional_resource_is_there_when_a_parameter_asks_for_it(deployed):
    """Slack, mail, multi-user Kubeflow, SageMaker, a VPC: every condition is tested."""
    ec2 = deployed.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    subnets = [ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.7.{n}.0/24")["Subnet"]["SubnetId"] for n in (1, 2)]
    balancer = ec2.create_security_group(GroupName="kfp", Description="KFP's load balancer", VpcId=vpc)["GroupId"]
    stack = Deployment(deployed.url, deployed.folder, "fraudloop-all", deployed.plain)
    stack.deploy(
        KfpUrl="http://127.0.0.1:9", Slack="true", AlarmEmail="ops@example.com", KfpMultiUser="true",
        SageMakerRoleArn="arn:aws:iam::123456789012:role/sagemaker", SageMakerImage="image",
        VpcId=vpc, SubnetIds=",".join(subnets), KfpSecurityGroupId=balancer,
        DataKeyArn=key("data"), ArtifactsKeyArn=key("artifacts"), TableKeyArn=key("table"),
    )  # fmt: skip
    physical = stack.physical()
    optional = {
        n: r for n, r in stack.plain["Resources"].items() if r.get("Condition") and n not in deployed.physical()
    }
    for name, resource in optional.items():
        assert name in physical, f"{name} ({resource['Type']}) was not made"
        CHECKS[resource["Type"]](stack, physical[name], resource["Properties"])
    assert len(optional) >= 11
    step = stack.client("lambda").get_function_configuration(FunctionName=physical["StepFunction"])
    assert step["VpcConfig"]["SubnetIds"] == subnets
    assert step["VpcConfig"]["SecurityGroupIds"] == [physical["StepSecurityGroup"]]
    variables = step["Environment"]["Variables"]
    assert variables["FRAUDLOOP_KFP_TOKEN_SECRET"] == physical["KfpTokenSecret"]
    assert json.loads(variables["FRAUDLOOP_SAGEMAKER"])["role_arn"].endswith("role/sagemaker")
    print(f"{len(optional)} optional resources asserted: {', '.join(sorted(optional))}")


def test_outputs_name_what_the_command_line_needs(deployed):
    """An output FraudloopX is the environment variable FRAUDLOOP_X, and none of them is empty."""
    outputs = deployed.outputs()
    assert {"FraudloopTable", "FraudloopDataBucket", "FraudloopHintsQueueUrl"} <= outputs.keys()
    assert all(outputs.values())


def test_the_command_line_finds_everything_by_the_stacks_name(deployed):
    """From FRAUDLOOP_STACK alone it finds the table, the function and the nightly schedule."""
    program = (
        "import os; from cli.connection import application as a; a().store.model('fraud'); print(dict(os.environ))"
    )
    environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": deployed.url, "FRAUDLOOP_STACK": deployed.stack}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    variables = ast.literal_eval(done.stdout)
    nightly = deployed.client("lambda").get_function(FunctionName=variables["FRAUDLOOP_NIGHTLY_FUNCTION"])
    assert nightly["Configuration"]["Handler"] == "handlers.nightly.handler"
    assert deployed.client("scheduler").get_schedule(Name=variables["FRAUDLOOP_NIGHTLY_SCHEDULE"])


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
    answer = deployed.invoke("arrival", {"Records": records})
    assert answer["answer"] == {"batchItemFailures": []}
    assert answer["stray"] == [], "the artifact imported something that it does not hold"

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
    """`fraudloop doctor` invokes the built function, the only one in its subnets. No KFP listens here."""
    answer = deployed.invoke("step", {"source": "fraudloop.doctor"})["answer"]
    assert "KFP" in answer["kfp"]


def test_the_nightly_schedule_starts_a_run(deployed):
    """The built nightly function lists the deployed bucket, and processes a slot once."""
    nightly = {
        "time": "2026-11-25T02:00:00Z",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "detail": {},
    }
    assert deployed.invoke("nightly", nightly)["answer"]["slot"]
    assert deployed.invoke("nightly", nightly)["answer"]["began"] == {"fraud": ""}


def test_every_built_function_imports_in_the_runtime_with_nothing_but_its_artifact(deployed):
    """What a function needs is in its folder or brought by the runtime; and it stays under 30 MB."""
    empty: dict[str, Any] = {"Records": []}
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


def test_a_stack_deleted_and_deployed_again_goes_on_with_its_table_and_buckets(deployed):
    """Named by parameters, nothing new is made; what the first stack recorded is what the second one reads."""
    first = Deployment(deployed.url, deployed.folder, "fraudloop-again", deployed.plain)
    first.deploy(KfpUrl="http://127.0.0.1:9")
    kept, dynamodb = first.outputs(), first.client("dynamodb")
    s3 = first.client("s3")
    for object_key in ("data/fraud/1.csv", "data/fraud/_SUCCESS"):
        s3.put_object(Bucket=kept["FraudloopDataBucket"], Key=object_key, Body=b"User,Card\n0,0\n")
    begin(first)
    stream = dynamodb.describe_table(TableName=kept["FraudloopTable"])["Table"]["LatestStreamArn"]
    first.client("cloudformation").delete_stack(StackName=first.stack)

    second = Deployment(deployed.url, deployed.folder, "fraudloop-again", deployed.plain)
    second.deploy(
        KfpUrl="http://127.0.0.1:9", ExistingTable=kept["FraudloopTable"], ExistingTableStreamArn=stream,
        DataBucketName=kept["FraudloopDataBucket"], ArtifactsBucketName=kept["FraudloopArtifactsBucket"],
    )  # fmt: skip
    assert not {"Table", "DataBucket", "ArtifactsBucket"} & second.physical().keys()
    again = second.outputs()
    same = ("FraudloopTable", "FraudloopDataBucket", "FraudloopArtifactsBucket", "TableArn")
    assert {name: again[name] for name in same} == {name: kept[name] for name in same}
    source = second.client("lambda").get_event_source_mapping(UUID=second.physical()["AnnounceFunctionOutbox"])
    assert source["EventSourceArn"] == stream
    assert second.invoke("tick", NOW)["answer"]["due"] == 1, "the run that the first stack began is still on record"
    step = role_text(second, "StepRole")
    assert kept["TableArn"] in step
    due = f"{kept['TableArn']}/index/due"
    assert due in role_text(second, "TickRole")


def test_a_stack_with_the_longest_name_and_every_key_deploys(deployed):
    """128 characters, Hive's partitions as the prefix; and the operators' policy is no longer than IAM takes."""
    stack = Deployment(deployed.url, deployed.folder, "s" * 128, deployed.plain)
    stack.deploy(
        KfpUrl="http://127.0.0.1:9", DataPrefix="raw/region=eu/dt=2026-11-27/",
        DataKeyArn=key("d" * 36), ArtifactsKeyArn=key("a" * 36), TableKeyArn=key("t" * 36),
    )  # fmt: skip
    physical, outputs = stack.physical(), stack.outputs()
    assert outputs["DataPrefix"] == "raw/region=eu/dt=2026-11-27/"
    assert outputs["FraudloopKfpExperiment"] == "s" * 128
    limits = {"AWS::IAM::Role": 64, "AWS::Lambda::Function": 64, "AWS::SQS::Queue": 80, "AWS::Events::Rule": 64,
              "AWS::Scheduler::Schedule": 64, "AWS::S3::Bucket": 63}  # fmt: skip
    for name, resource in stack.expected("MakeTable", "MakeDataBucket", "MakeArtifactsBucket"):
        made = physical[name].rsplit("/", 1)[-1]
        assert len(made) <= limits.get(resource["Type"], 256), name
    policy = stack.client("iam").get_policy_version(PolicyArn=physical["OperatorPolicy"], VersionId="v1")
    document = policy["PolicyVersion"]["Document"]
    written = json.dumps(ast.literal_eval(document) if isinstance(document, str) else document, separators=(",", ":"))
    assert len("".join(written.split())) <= 6144, "IAM counts no white space"
    assert "kms:ViaService" in written


NOW = {"time": "2026-11-24T02:00:00Z", "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": {}}


def begin(stack: Deployment) -> None:
    """Objects in the arrivals queue become a run."""
    real, arrived = sequencer(), received(stack, stack.outputs()["FraudloopArrivalsQueueUrl"])
    records = [{**m, "body": json.dumps(realistic(json.loads(m["body"]), real))} for m in arrived]
    stack.invoke("arrival", {"Records": records})
    stack.invoke("tick", NOW)
    assert stack.invoke("tick", NOW)["answer"] == {"due": 1}


def role_text(stack: Deployment, role: str) -> str:
    """All that a role's policies say."""
    iam, name = stack.client("iam"), stack.physical()[role]
    names = iam.list_role_policies(RoleName=name)["PolicyNames"]
    return str([iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in names])


def key(name: str) -> str:
    return f"arn:aws:kms:us-east-1:123456789012:key/{name}"


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
