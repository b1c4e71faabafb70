"""The console's own stack: nobody reaches the function but by the load balancer, which signs everybody in."""

import json
import re
import subprocess

import pytest
import yaml
from deployment import ROOT, TOOLS
from template_text import Loader

from cli.console.oidc import Expected
from cli.console.people import Role

FILE = ROOT / "deploy/aws/console.yaml"


@pytest.fixture(scope="module")
def template():
    """The template, its functions as `{"!Ref": …}`."""
    return yaml.load(FILE.read_text(), Loader)


def of_type(template, name):
    """The properties of the only resource of a type."""
    [found] = [each["Properties"] for each in template["Resources"].values() if each["Type"] == name]
    return found


def test_the_listener_signs_people_in_before_anything_is_forwarded(template):
    """Internal, TLS 1.2 at least, and nobody who is not signed in goes further."""
    assert of_type(template, "AWS::ElasticLoadBalancingV2::LoadBalancer")["Scheme"] == "internal"
    listener = of_type(template, "AWS::ElasticLoadBalancingV2::Listener")
    assert (listener["Protocol"], listener["SslPolicy"]) == ("HTTPS", "ELBSecurityPolicy-TLS13-1-2-2021-06")
    first, second = sorted(listener["DefaultActions"], key=lambda action: action["Order"])
    assert (first["Type"], second["Type"]) == ("authenticate-oidc", "forward")
    assert first["AuthenticateOidcConfig"]["OnUnauthenticatedRequest"] == "authenticate"
    kinds = [each["Type"] for each in template["Resources"].values()]
    assert "AWS::ElasticLoadBalancingV2::ListenerRule" not in kinds  # a rule would come before the default
    assert "AWS::Lambda::Url" not in kinds


def test_only_the_load_balancer_may_invoke_the_function(template):
    """Of this account."""
    permission = of_type(template, "AWS::Lambda::Permission")
    assert permission["Principal"] == "elasticloadbalancing.amazonaws.com"
    assert "SourceAccount" in permission


def test_the_function_is_given_all_that_it_verifies(template):
    """Each variable that the door reads is set, and none is a secret's text."""
    variables = of_type(template, "AWS::Lambda::Function")["Environment"]["Variables"]
    groups = json.dumps({"risk": "approver"})
    given = {name: groups if name.endswith("GROUPS") else "x" for name in variables}
    assert Expected.read(given).groups == {"risk": frozenset({Role.APPROVER})}
    code = (ROOT / "cli/console/alb.py").read_text() + (ROOT / "cli/console/oidc.py").read_text()
    read = set(re.findall(r"FRAUDLOOP_CONSOLE_[A-Z_]+[A-Z]", code))
    assert read <= set(variables)
    assert (
        set(variables) - read
        == {"FRAUDLOOP_STACK"}
        | {f"FRAUDLOOP_CONSOLE_{name}" for name in ("SIGNER", "ISSUER", "CLIENT", "GROUPS")} - read
    )
    text = FILE.read_text()
    assert "{{resolve:secretsmanager:${ClientSecretName}}}" in text
    assert "GenerateSecretString" in text


def test_the_target_group_keeps_every_header(template):
    """Without multi-value headers a cookie or a claim that comes twice would be lost."""
    group = of_type(template, "AWS::ElasticLoadBalancingV2::TargetGroup")
    assert group["TargetType"] == "lambda"
    assert group["TargetGroupAttributes"] == [{"Key": "lambda.multi_value_headers.enabled", "Value": "true"}]


def test_the_function_may_do_what_operators_may_and_read_its_own_secret(template):
    """Nothing else."""
    role = of_type(template, "AWS::IAM::Role")
    assert role["ManagedPolicyArns"] == [{"!Ref": "OperatorPolicyArn"}]
    [policy] = role["Policies"]
    actions = [action for statement in policy["PolicyDocument"]["Statement"] for action in _listed(statement["Action"])]
    assert sorted(actions) == ["logs:CreateLogStream", "logs:PutLogEvents", "secretsmanager:GetSecretValue"]


def _listed(value):
    return value if isinstance(value, list) else [value]


def test_cfn_lint_has_nothing_to_say():
    """`make lint-aws` looks at it too."""
    if not (TOOLS / "cfn-lint").exists():
        pytest.skip("no cfn-lint: `make aws-tools` installs it")
    done = subprocess.run([str(TOOLS / "cfn-lint"), str(FILE)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
