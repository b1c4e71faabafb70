"""The pods' roles, deployed into moto: what they may do, what they may not, and who may assume them."""

import ast
import json
import re

import boto3
import pytest
import yaml
from deployment import ROOT
from iam import Call, allows, calls, listed
from moto import mock_aws
from template_text import OURS, Loader

from statemachine.adapters.sagemaker import Jobs, SageMakerTraining
from statemachine.contracts.kfp_run import PinnedVersion
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest

PARAMETERS = {
    "OidcProvider": "oidc.eks.eu-central-1.amazonaws.com/id/ABCDEF",
    "DataBucket": "data",
    "ArtifactsBucket": "artifacts",
    "EventBusArn": "arn:aws:events:us-east-1:123456789012:event-bus/fraudloop-stages",
    "TableArn": "arn:aws:dynamodb:us-east-1:123456789012:table/fraudloop",
    "TokenSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:token-x",
    "NightlyFunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:fraudloop-nightly",
    "DataKeyArn": "arn:aws:kms:us-east-1:123456789012:key/data",
    "ArtifactsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/artifacts",
    "TableKeyArn": "arn:aws:kms:us-east-1:123456789012:key/table",
    "PermissionsBoundary": "arn:aws:iam::123456789012:policy/boundary",
}
OPTIONAL = ("DataKeyArn", "ArtifactsKeyArn", "TableKeyArn", "PermissionsBoundary")
BUS = PARAMETERS["EventBusArn"]
S3 = "s3.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def made(moto_url):
    """Both stacks; roles by output, policies by role."""

    def client(service):
        keys = {"aws_access_key_id": "t", "aws_secret_access_key": "t", "region_name": "us-east-1"}
        return boto3.Session().client(service, endpoint_url=moto_url, **keys)

    client("iam").create_policy(PolicyName="boundary", PolicyDocument=json.dumps(BOUNDARY))
    without = {name: value for name, value in PARAMETERS.items() if name not in OPTIONAL}
    for name, file, parameters in (
        ("roles", "roles", PARAMETERS),
        ("bare", "roles", without),
        ("registry", "registry", {}),
    ):
        body = json.dumps(plain(yaml.load((ROOT / f"deploy/aws/{file}.yaml").read_text(), Loader)))
        values = [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()]
        client("cloudformation").create_stack(StackName=f"r-{name}", TemplateBody=body, Parameters=values)
    return client, by_name(client, "r-roles")


BOUNDARY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


def by_name(client, stack):
    outputs = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["Outputs"]
    roles = {o["OutputKey"].removesuffix("RoleArn"): o["OutputValue"].rsplit("/", 1)[-1] for o in outputs}
    return {who: (role, statements(client("iam"), role)) for who, role in roles.items()}


def plain(node):
    """The short forms as CloudFormation's long ones."""
    if isinstance(node, dict) and len(node) == 1 and next(iter(node)).startswith("!"):
        ((tag, value),) = node.items()
        if tag == "!Ref":
            return {"Ref": value}
        return (
            {f"Fn::{tag[1:]}": value.split(".") if tag == "!GetAtt" else plain(value)} if tag != "!Condition" else value
        )
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    return [plain(value) for value in node] if isinstance(node, list) else node


def statements(iam, role):
    documents = [
        iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    ]
    return [s for d in documents for s in (ast.literal_eval(d) if isinstance(d, str) else d)["Statement"]]


def test_each_role_is_bound_to_one_service_account(made):
    """By subject and audience of the cluster's own issuer."""
    client, roles = made
    subjects = {"Pipeline": "kubeflow:fraudloop-stage", "Triton": "triton:triton", "Token": "kubeflow:fraudloop-token"}
    subjects |= {who: f"monitoring:fraudloop-{who.lower()}" for who in ("Slo", "ScoreLog", "Drift", "Land")}
    for who, subject in subjects.items():
        found = client("iam").get_role(RoleName=roles[who][0])["Role"]["AssumeRolePolicyDocument"]
        (statement,) = (json.loads(found) if isinstance(found, str) else found)["Statement"]
        issuer = PARAMETERS["OidcProvider"]
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert statement["Condition"]["StringEquals"] == {
            f"{issuer}:aud": "sts.amazonaws.com",
            f"{issuer}:sub": f"system:serviceaccount:{subject}",
        }


MAY = [
    ("Pipeline", Call("s3:GetObject", "arn:aws:s3:::data/data/fraud/1.csv")),
    ("Pipeline", Call("s3:ListBucket", "arn:aws:s3:::data", "data/fraud/")),
    ("Pipeline", Call("s3:PutObject", "arn:aws:s3:::artifacts/runs/fraud-1/train/1/x/report.json")),
    ("Pipeline", Call("s3:PutObjectTagging", "arn:aws:s3:::artifacts/runs/fraud-1/preprocess/1/x/dataset/t.parquet")),
    ("Pipeline", Call("s3:PutObject", "arn:aws:s3:::artifacts/models/fraud/v/MANIFEST.json")),
    ("Pipeline", Call("events:PutEvents", BUS, context="fraudloop.training")),
    ("Pipeline", Call("s3:PutObjectTagging", "arn:aws:s3:::artifacts/runs/fraud-1/preprocess/1/x/dataset/t.parquet")),
    ("Pipeline", Call("kms:Decrypt", PARAMETERS["DataKeyArn"], context=S3)),
    ("Pipeline", Call("kms:Decrypt", PARAMETERS["ArtifactsKeyArn"], context=S3)),
    ("Pipeline", Call("kms:GenerateDataKey", PARAMETERS["ArtifactsKeyArn"], context=S3)),
    ("Triton", Call("kms:Decrypt", PARAMETERS["ArtifactsKeyArn"], context=S3)),
    ("Slo", Call("kms:Decrypt", PARAMETERS["TableKeyArn"], context="dynamodb.us-east-1.amazonaws.com")),
    ("Triton", Call("s3:GetObject", "arn:aws:s3:::artifacts/models/fraud/v/MANIFEST.json")),
    ("Slo", Call("dynamodb:Query", PARAMETERS["TableArn"])),
    ("Pipeline", Call("s3:GetObject", "arn:aws:s3:::artifacts/scores/fraud/2026-11-27/all.parquet")),
    ("ScoreLog", Call("s3:PutObject", "arn:aws:s3:::artifacts/scores/fraud/2026-11-27/1795783180000.parquet")),
    ("ScoreLog", Call("s3:DeleteObject", "arn:aws:s3:::artifacts/scores/fraud/2026-11-27/1795783180000.parquet")),
    ("ScoreLog", Call("s3:ListBucket", "arn:aws:s3:::artifacts", "scores/fraud/")),
    ("Drift", Call("s3:GetObject", "arn:aws:s3:::artifacts/runs/fraud-1/preprocess/1/x/dataset/transactions.parquet")),
    ("Drift", Call("s3:PutObject", "arn:aws:s3:::artifacts/scores/fraud/drift.json")),
    ("Drift", Call("dynamodb:Query", PARAMETERS["TableArn"])),
    ("Drift", Call("lambda:InvokeFunction", PARAMETERS["NightlyFunctionArn"])),
    ("Land", Call("s3:GetObject", "arn:aws:s3:::artifacts/scores/fraud/2026-11-27/all.parquet")),
    ("Land", Call("s3:ListBucket", "arn:aws:s3:::artifacts", "scores/fraud/")),
    ("Land", Call("s3:ListBucket", "arn:aws:s3:::data", "data/fraud/scores-2026-11-27.csv.gz")),
    ("Land", Call("s3:PutObject", "arn:aws:s3:::data/data/fraud/scores-2026-11-27.csv.gz", if_none_match=True)),
    ("Land", Call("s3:PutObject", "arn:aws:s3:::data/data/scores-2026-11-27.csv.gz", if_none_match=True)),
    ("Land", Call("kms:GenerateDataKey", PARAMETERS["DataKeyArn"], context=S3)),
    ("Token", Call("secretsmanager:PutSecretValue", PARAMETERS["TokenSecretArn"])),
    ("Token", Call("cloudwatch:PutMetricData", "*", context="Fraudloop/Token")),
]
MAY_NOT = [
    ("Pipeline", Call("s3:GetObject", "arn:aws:s3:::data/private/x.csv")),
    ("Pipeline", Call("s3:PutObject", "arn:aws:s3:::data/data/fraud/1.csv")),
    ("Pipeline", Call("s3:DeleteObject", "arn:aws:s3:::artifacts/models/fraud/v/MANIFEST.json")),
    ("Pipeline", Call("s3:DeleteObjectVersion", "arn:aws:s3:::artifacts/runs/fraud-1/manifest.json")),
    ("Pipeline", Call("events:PutEvents", BUS, context="aws.s3")),
    ("Pipeline", Call("s3:PutObjectTagging", "arn:aws:s3:::artifacts/models/fraud/v/MANIFEST.json")),
    ("Pipeline", Call("kms:GenerateDataKey", PARAMETERS["DataKeyArn"], context=S3)),
    ("Pipeline", Call("kms:Decrypt", PARAMETERS["DataKeyArn"])),
    ("Pipeline", Call("kms:Decrypt", PARAMETERS["TableKeyArn"], context="dynamodb.us-east-1.amazonaws.com")),
    ("Triton", Call("kms:GenerateDataKey", PARAMETERS["ArtifactsKeyArn"], context=S3)),
    ("Triton", Call("kms:Decrypt", PARAMETERS["DataKeyArn"], context=S3)),
    ("Slo", Call("kms:Decrypt", PARAMETERS["DataKeyArn"], context=S3)),
    ("Pipeline", Call("events:PutEvents", "arn:aws:events:us-east-1:123456789012:event-bus/default")),
    ("Pipeline", Call("dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:123456789012:table/fraudloop")),
    ("Pipeline", Call("secretsmanager:GetSecretValue", PARAMETERS["TokenSecretArn"])),
    ("Triton", Call("s3:GetObject", "arn:aws:s3:::artifacts/runs/fraud-1/manifest.json")),
    ("Triton", Call("s3:GetObject", "arn:aws:s3:::data/data/fraud/1.csv")),
    ("Triton", Call("s3:PutObject", "arn:aws:s3:::artifacts/models/fraud/v/MANIFEST.json")),
    ("Slo", Call("dynamodb:PutItem", PARAMETERS["TableArn"])),
    ("Pipeline", Call("s3:PutObject", "arn:aws:s3:::artifacts/scores/fraud/2026-11-27/all.parquet")),
    ("ScoreLog", Call("s3:GetObject", "arn:aws:s3:::artifacts/models/fraud/v/MANIFEST.json")),
    ("ScoreLog", Call("dynamodb:GetItem", PARAMETERS["TableArn"])),
    ("Drift", Call("s3:PutObject", "arn:aws:s3:::artifacts/scores/fraud/2026-11-27/all.parquet")),
    ("Drift", Call("s3:DeleteObject", "arn:aws:s3:::artifacts/scores/fraud/drift.json")),
    ("Drift", Call("dynamodb:PutItem", PARAMETERS["TableArn"])),
    ("Land", Call("s3:PutObject", "arn:aws:s3:::data/data/fraud/day.csv", if_none_match=True)),
    ("Land", Call("s3:PutObject", "arn:aws:s3:::data/data/fraud/my-scores-2026-11-27.csv.gz", if_none_match=True)),
    ("Land", Call("s3:PutObject", "arn:aws:s3:::data/labels/fraud/scores-2026-11-27.csv.gz", if_none_match=True)),
    ("Land", Call("s3:PutObject", "arn:aws:s3:::data/data/fraud/scores-2026-11-27.csv.gz")),
    ("Land", Call("s3:GetObject", "arn:aws:s3:::data/data/fraud/day.csv")),
    ("Land", Call("s3:DeleteObject", "arn:aws:s3:::data/data/fraud/scores-2026-11-27.csv.gz")),
    ("Land", Call("s3:PutObject", "arn:aws:s3:::artifacts/scores/fraud/2026-11-27/all.parquet")),
    ("Land", Call("dynamodb:GetItem", PARAMETERS["TableArn"])),
    ("Slo", Call("s3:GetObject", "arn:aws:s3:::artifacts/runs/fraud-1/manifest.json")),
    ("Token", Call("secretsmanager:GetSecretValue", PARAMETERS["TokenSecretArn"])),
    ("Token", Call("cloudwatch:PutMetricData", "*", context="AWS/Lambda")),
]


@pytest.mark.parametrize(("who", "call"), MAY, ids=str)
def test_a_pod_may_do_its_work(made, who, call):
    """As docs/security.md lists it."""
    assert allows(made[1][who][1], call)


@pytest.mark.parametrize(("who", "call"), MAY_NOT, ids=str)
def test_a_pod_may_do_nothing_else(made, who, call):
    """What an attacker who owns the pod would like to."""
    assert not allows(made[1][who][1], call)


def test_every_pod_s_role_is_bounded_where_the_account_demands_it(made):
    """Without the parameters there is neither a boundary nor a right on a key."""
    client, roles = made
    bounds = [client("iam").get_role(RoleName=role)["Role"].get("PermissionsBoundary") for role, _ in roles.values()]
    assert {bound["PermissionsBoundaryArn"] for bound in bounds} == {PARAMETERS["PermissionsBoundary"]}
    for role, allowed in by_name(client, "r-bare").values():
        assert "PermissionsBoundary" not in client("iam").get_role(RoleName=role)["Role"]
        assert "kms:" not in str(allowed)


def test_images_cannot_be_replaced_under_their_tag(made):
    """Immutable tags, scanned when pushed (which moto does not tell)."""
    found = made[0]("ecr").describe_repositories()["repositories"]
    assert {r["repositoryName"] for r in found} == {
        "fraudloop/training",
        "fraudloop/training-gpu",
        "fraudloop/shadow",
        "fraudloop/triton",
        "fraudloop/operator",
    }
    assert all(r["imageTagMutability"] == "IMMUTABLE" for r in found)
    declared = yaml.load((ROOT / "deploy/aws/registry.yaml").read_text(), Loader)["Resources"]
    assert all(r["Properties"]["ImageScanningConfiguration"] == {"ScanOnPush": True} for r in declared.values())


def test_sagemaker_jobs_are_bounded_to_one_role():
    """The step function may pass the one role that the parameter names, to SageMaker only."""
    policy = OURS.resources["SageMakerPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (passing,) = [s for s in policy if "iam:PassRole" in listed(s["Action"])]
    assert passing["Resource"] == {"!Ref": "SageMakerRoleArn"}
    assert passing["Condition"]["StringEquals"]["iam:PassedToService"] == "sagemaker.amazonaws.com"


def test_the_sagemaker_engine_may_do_all_that_it_does(monkeypatch):
    """Tags on a job need AddTags: without it the first training of every model there is denied."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    requested, role = [], "arn:aws:iam::123456789012:role/training"
    with mock_aws():
        client = boto3.client("sagemaker", "us-east-1")
        record = lambda params, model, **_: requested.extend(calls("sagemaker", model.name, params))  # noqa: E731
        client.meta.events.register("provide-client-params.sagemaker", record)
        engine = SageMakerTraining(client, Jobs(role, "image"))
        order = StageRequest(
            "fraud-7", "fraud", Stage.TRAIN, 1, "0123456789ab", "s3://artifacts/x", {"dataset": "s3://a/d"}
        )
        made = engine.create(order, PinnedVersion("p", "v", "n"))
        engine.list("fraud-7.")
        engine.get(made.kfp_id)
        with pytest.raises(NotImplementedError):  # moto's stop; the question is recorded before it
            engine.stop(made.kfp_id)
    known = {"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "123456789012"}
    policy = resolved(OURS.resources["SageMakerPolicy"], known | {"SageMakerRoleArn": role})
    policy = policy["Properties"]["PolicyDocument"]["Statement"]
    assert {call.action for call in requested} == {action for s in policy for action in listed(s["Action"])}
    assert [call for call in requested if not allows(policy, call)] == []


def resolved(node, known):
    """The short forms Ref and Sub, replaced by what they name."""
    match node:
        case {"!Ref": name}:
            return known.get(name, name)
        case {"!Sub": str(text)}:
            return re.sub(r"\$\{([\w:]+)\}", lambda found: known[found[1]], text)
        case dict():
            return {key: resolved(value, known) for key, value in node.items()}
        case list():
            return [resolved(value, known) for value in node]
    return node
