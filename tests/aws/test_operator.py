"""Who has the stack's OperatorPolicy may do what the commands do: each command's calls, against the policy."""

import ast
import os

import iam
import pytest
from deployment import CREDENTIALS, Deployment
from typer.testing import CliRunner

from cli.commands import tune
from cli.main import app as commands
from cli.stack import variable
from local.state_dir import FOREIGN
from statemachine.bootstrap import bootstrap

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("aws")]  # one deployment, so one worker
FREE = {("sts", "GetCallerIdentity")}  # needs no right


@pytest.fixture(scope="module")
def operating(deployed):
    """A stack of its own, and this process as its operator's."""
    stack = Deployment(deployed.url, deployed.folder, "fraudloop-operator", deployed.plain)
    stack.deploy(KfpUrl="http://127.0.0.1:9")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(FOREIGN)]:
            patch.delenv(name)
        outputs = {variable(name): value for name, value in stack.outputs().items()}
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": stack.url, **outputs}.items():
            patch.setenv(name, value)
        yield stack


@pytest.fixture(scope="module")
def recorded(operating, tmp_path_factory):
    """What the commands of an operator's day ask of AWS: (service, operation, parameters)."""
    import botocore.client

    calls, make = [], botocore.client.BaseClient._make_api_call

    def recording(client, operation, parameters):
        calls.append((client.meta.service_model.endpoint_prefix, operation, parameters))
        return make(client, operation, parameters)

    folder = tmp_path_factory.mktemp("operator")
    (folder / "day.csv").write_text("User,Card\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", recording)
        for command in DAY:
            done = CliRunner().invoke(commands, [word.replace("DAY", str(folder / "day.csv")) for word in command])
            assert done.exit_code in (0, 1), f"{command}: {done.output}"
            assert done.exception is None or isinstance(done.exception, SystemExit), f"{command}: {done.exception!r}"
        CliRunner().invoke(commands, ["night"])  # moto runs no function without Docker, but the call is made
        found = {"optimum": {"source": "here", "value": 0.9, "default_value": None}, "dataset": "s3://x"}
        tune._adopt(bootstrap(), "fraud", {"learning_rate": 0.01}, found, "a test")
    return calls


DAY = [
    ["land", "DAY"],
    ["start", "fraud", "--why", "a test"],
    ["runs"],
    ["show", "fraud-1"],
    ["cancel", "fraud-1", "--why", "a test"],
    ["hold", "fraud", "--why", "a test"],
    ["release", "fraud", "--why", "a test"],
    ["quarantine", "list"],
    ["dlq", "list"],
    ["dlq", "replay"],
    ["cost"],
    ["cost", "--month"],
    ["slo"],
    ["doctor", "--only", "the table"],
    ["doctor", "--only", "the data bucket"],
    ["doctor", "--only", "the queues"],
]


def test_an_operator_may_do_what_the_commands_do(operating, recorded):
    """Every call of every command is allowed by the policy alone."""
    found = operating.client("iam")
    arn = operating.physical()["OperatorPolicy"]
    version = found.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = found.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    policy = (ast.literal_eval(document) if isinstance(document, str) else document)["Statement"]
    asked = {call for one in recorded if one[:2] not in FREE for call in iam.calls(*one)}
    assert {call.action.split(":")[0] for call in asked} >= {"dynamodb", "sqs", "s3", "lambda"}
    assert sorted(f"{call.action} on {call.resource}" for call in asked if not iam.allows(policy, call)) == []
    actions = {action for statement in policy for action in iam.listed(statement["Action"])}
    assert {action for action in actions if "Delete" in action} == {"sqs:DeleteMessage"}, "no command deletes data"
