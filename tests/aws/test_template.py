"""What template.yaml promises, read from its text; and that the checks notice when it is broken on purpose."""

import os
import re
import subprocess
import tomllib

import pytest
from deployment import FUNCTIONS, ROOT, TOOLS
from template_text import OURS

from statemachine.contracts.metrics import Emitter, emitted_by


@pytest.fixture(scope="module")
def template():
    """Ours; the broken ones stand in test_broken_templates.py."""
    return OURS


def test_the_runtime_is_the_one_that_the_packages_are_compiled_for(template):
    """python3.12 has support until October 2028."""
    package = (ROOT / "deploy/tools/lambda_package.py").read_text()
    assert f'RUNTIME = "{template.tree["Globals"]["Function"]["Runtime"]}"' in package


def test_there_is_a_function_for_each_handler(template):
    """And the Makefile builds each of them."""
    functions = template.of_type("AWS::Serverless::Function")
    assert {f["Properties"]["Handler"] for f in functions.values()} == {
        f"handlers.{name}.handler" for name in FUNCTIONS
    }
    makefile = (ROOT / "handlers/Makefile").read_text()
    assert all(name.removesuffix("Function") in makefile for name in functions)
    assert all(f["Metadata"]["BuildMethod"] == "makefile" for f in functions.values())


def test_every_asynchronous_hop_has_a_dead_letter_queue_and_an_alarm(template):
    """Queues, EventBridge targets, schedules, asynchronous invocations and the stream."""
    for name, queue in template.of_type("AWS::SQS::Queue").items():
        assert "RedrivePolicy" in queue["Properties"] or name.endswith("Dlq"), name
    for rule in template.of_type("AWS::Events::Rule").values():
        assert all("DeadLetterConfig" in target for target in rule["Properties"]["Targets"])
    for name, function in template.of_type("AWS::Serverless::Function").items():
        for event in function["Properties"]["Events"].values():
            own = event["Properties"]
            if event["Type"] == "ScheduleV2":
                assert "DeadLetterConfig" in own
                assert "OnFailure" in function["Properties"]["EventInvokeConfig"]["DestinationConfig"], name
            elif event["Type"] == "DynamoDB":
                assert "OnFailure" in own["DestinationConfig"]
    watched = re.findall(r"QueueName, Value: !GetAtt (\w+)\.QueueName", template.text)
    assert sorted(watched) == sorted(name for name in template.of_type("AWS::SQS::Queue") if name.endswith("Dlq"))


def test_a_message_stays_hidden_for_six_times_the_functions_timeout(template):
    """AWS's own rule; a shorter time gives one message to two functions."""
    for function, queue in (("ArrivalFunction", "ArrivalsQueue"), ("StepFunction", "HintsQueue")):
        timeout = template.resources[function]["Properties"]["Timeout"]
        assert template.resources[queue]["Properties"]["VisibilityTimeout"] >= 6 * timeout


def test_a_claim_outlives_the_step_function(template):
    """Else a killed holder's successor could act beside it (design: claims)."""
    from statemachine.reconciler import Timing

    assert Timing().claim > template.resources["StepFunction"]["Properties"]["Timeout"] > Timing().least


def test_what_is_kept_is_retained_when_the_stack_goes(template):
    """Table and buckets; the table refuses to be deleted at all."""
    for kind in ("AWS::DynamoDB::Table", "AWS::S3::Bucket"):
        for name, resource in template.of_type(kind).items():
            assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain", name
    assert template.resources["Table"]["Properties"]["DeletionProtectionEnabled"] is True


def test_the_lifecycle_takes_large_intermediates_and_never_a_report_or_a_model(template):
    """By tag and size: what a stage uploads under runs/ as an intermediate. Manifests and indexes have no tag."""
    from statemachine.contracts.report import MAX_BYTES
    from training.storage import INTERMEDIATE

    rules = template.resources["ArtifactsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    expiring = [rule for rule in rules if "ExpirationInDays" in rule]
    assert [rule["Prefix"] for rule in expiring] == ["runs/"]
    assert all(int(rule["ObjectSizeGreaterThan"]) >= MAX_BYTES for rule in expiring)
    tags = [f"{tag['Key']}={tag['Value']}" for rule in expiring for tag in rule["TagFilters"]]
    assert tags == [INTERMEDIATE]


def test_every_star_has_its_reason_beside_it(template):
    """`Resource: "*"` only with a comment on the line."""
    others = {file.name: file.read_text() for file in (ROOT / "deploy/aws").glob("*.yaml")}
    for name, text in {"template.yaml": template.text, **others}.items():
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(r'Resource:.*"\*"', line):
                assert "#" in line, f"{name}:{number}"


def test_no_action_is_a_pattern(template):
    """Exact actions; only denials are wide."""
    for name, role in template.of_type("AWS::IAM::Role").items():
        for statement in found(role, "Statement"):
            for one in statement:
                if one["Effect"] == "Allow":
                    actions = one["Action"] if isinstance(one["Action"], list) else [one["Action"]]
                    assert not [action for action in actions if "*" in action], name


def test_alarms_and_dashboard_speak_of_metrics_that_are_emitted(template):
    """Each metric in a query is a Lambda's in the catalogue."""
    said = {metric.name for metric in emitted_by(Emitter.LAMBDA)}
    assert set(re.findall(r"(?:SUM|MAX|AVG)\((\w+)\)", template.text)) <= said


def test_outputs_are_the_settings_of_the_same_name(template):
    """FraudloopX is FRAUDLOOP_X, which statemachine/settings.py or a stage reads."""
    from cli.stack import variable

    read = (ROOT / "statemachine/settings.py").read_text() + (ROOT / "docs/contracts.md").read_text()
    for name in template.tree["Outputs"]:
        if name.startswith("Fraudloop"):
            assert variable(name) in read, name


def test_functions_are_told_what_the_settings_read(template):
    """No variable of docs/contracts.md is forgotten (a token or a webhook in the clear is for this machine only)."""
    told = set(template.tree["Globals"]["Function"]["Environment"]["Variables"])
    read = set(re.findall(r'"(FRAUDLOOP_\w+)"', (ROOT / "statemachine/settings.py").read_text()))
    assert read - told <= {"FRAUDLOOP_KFP_TOKEN", "FRAUDLOOP_SLACK_WEBHOOK"}


def test_the_stream_filter_lets_through_what_is_told(template):
    """Every record that `announce` makes a step of passes the mapping's filter, and a claim does not."""
    from moto.events.models import EventPattern

    events = template.resources["AnnounceFunction"]["Properties"]["Events"]["Outbox"]["Properties"]
    pattern = EventPattern.load(events["FilterCriteria"]["Filters"][0]["Pattern"])
    entry = {"eventName": "INSERT", "dynamodb": {"NewImage": {"type": {"S": "entry"}}}}
    assert pattern.matches_event(entry)
    assert not pattern.matches_event({"eventName": "MODIFY", "dynamodb": {"NewImage": {"type": {"S": "run"}}}})


def test_samconfig_sets_only_parameters_that_there_are(template):
    """For dev and prod; each has the one that has no default."""
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    for environment in ("default", "prod"):
        overrides = config[environment]["deploy"]["parameters"]["parameter_overrides"]
        names = {pair.split("=")[0] for pair in overrides.split()}
        assert names <= set(template.tree["Parameters"])
        assert {name for name, p in template.tree["Parameters"].items() if "Default" not in p} <= names


def test_parameters_are_described_and_bounded(template):
    """A pattern, a list of values or a range, and a sentence."""
    for name, parameter in template.tree["Parameters"].items():
        assert parameter["Description"].endswith("."), name
        if parameter["Type"] != "CommaDelimitedList":
            assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(parameter), name


BROKEN = [
    ("an unknown property", "BillingMode: PAY_PER_REQUEST", "BillingMood: PAY_PER_REQUEST"),
    ("a reference to nothing", "Role: !GetAtt TickRole.Arn", "Role: !GetAtt TockRole.Arn"),
    ("a wrong value", "StreamViewType: NEW_AND_OLD_IMAGES", "StreamViewType: EVERYTHING"),
    ("a runtime that is no more", "Runtime: python3.12", "Runtime: python3.6"),
]


def test_a_template_that_is_broken_on_purpose_does_not_pass(tmp_path):
    """`sam validate --lint` notices each of them, and has nothing to say to the template as it is."""
    if not (TOOLS / "sam").exists():
        pytest.skip("no .venv-aws: `make aws-tools` installs sam")
    asked = {"as it is": linting(tmp_path / "whole", OURS.text)}
    for n, (what, old, new) in enumerate(BROKEN):
        asked[what] = linting(tmp_path / str(n), OURS.but(old, new).text)
    said = {what: (process.communicate(timeout=550)[0], process.returncode) for what, process in asked.items()}
    assert said.pop("as it is")[1] == 0
    assert [what for what, (_, status) in said.items() if status == 0] == []


def linting(folder, text):
    folder.mkdir()
    (folder / "template.yaml").write_text(text)
    command = [str(TOOLS / "sam"), "validate", "--lint", "--region", "eu-central-1"]
    environment = {**os.environ, "SAM_CLI_TELEMETRY": "0"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def found(node, key):
    """Each value of `key`, at any depth."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from found(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from found(value, key)
