"""Properties of template.yaml, read from its text; the checks fail on broken templates."""

import os
import re
import subprocess
import tomllib
from typing import Any

import pytest
import yaml
from deployment import FUNCTIONS, ROOT, TOOLS
from template_text import OURS, Loader

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
            if name == "TickFunction":  # the next tick repeats a lost one: alarms count failures, no event is stored
                assert own["RetryPolicy"]["MaximumRetryAttempts"] == 0
                assert function["Properties"]["EventInvokeConfig"] == {
                    "MaximumRetryAttempts": 0,
                    "MaximumEventAgeInSeconds": 60,
                }
                assert {"TickFailingAlarm", "TickSilentAlarm"} <= template.resources.keys()
            elif event["Type"] == "ScheduleV2":
                assert "DeadLetterConfig" in own
                assert "OnFailure" in function["Properties"]["EventInvokeConfig"]["DestinationConfig"], name
            elif event["Type"] == "DynamoDB":
                assert "OnFailure" in own["DestinationConfig"]
    watched = watched_by(template, "ApproximateNumberOfMessagesVisible")
    assert sorted(watched) == sorted(name for name in template.of_type("AWS::SQS::Queue") if name.endswith("Dlq"))


def test_a_message_stays_hidden_for_six_times_the_functions_timeout_and_the_batching_window(template):
    """AWS's own rule (Lambda Developer Guide, SQS event sources); a shorter time gives one message to two functions."""
    for function, queue in (("ArrivalFunction", "ArrivalsQueue"), ("StepFunction", "HintsQueue")):
        properties = template.resources[function]["Properties"]
        (source,) = [e["Properties"] for e in properties["Events"].values() if e["Type"] == "SQS"]
        least = 6 * properties["Timeout"] + source.get("MaximumBatchingWindowInSeconds", 0)
        assert template.resources[queue]["Properties"]["VisibilityTimeout"] >= least


def test_every_queue_topic_and_bucket_refuses_what_is_not_encrypted_on_its_way(template):
    """A denial for everybody whose request came without TLS."""
    denied = set()
    for kind, place in (("SQS::Queue", "Queues"), ("SNS::Topic", "Topics"), ("S3::Bucket", "Bucket")):
        for policy in template.of_type(f"AWS::{kind}Policy").values():
            properties = policy["Properties"]
            for s in properties["PolicyDocument"]["Statement"]:
                if s["Effect"] == "Deny" and s["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}:
                    places = properties[place] if isinstance(properties[place], list) else [properties[place]]
                    spoken = re.findall(r"'!\w+': '\$?\{?(\w+)", str(s["Resource"]))
                    denied |= {one["!Ref"] for one in places if one["!Ref"] in spoken}
    kinds = ("AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::S3::Bucket")
    assert denied == {name for kind in kinds for name in template.of_type(kind)}


# How long a name may be, by the services' API references.
LONGEST = {"AWS::Events::EventBus": 256, "AWS::CloudWatch::Dashboard": 255, "AWS::Logs::LogGroup": 512}


def test_a_stack_may_have_a_name_of_128_characters(template):
    """The names that we give fit what each service takes; all others CloudFormation makes up, and cuts."""
    for name, resource in template.resources.items():
        given = {k: v for k, v in resource["Properties"].items() if re.fullmatch("(Group|Log|Dashboard|Role)*Name", k)}
        for written in given.values():
            whole = str(written.get("!Sub") or f"${{{written['!Ref']}}}").replace("${AWS::StackName}", "s" * 128)
            assert "${" not in whole, name
            assert len(whole) <= LONGEST[resource["Type"]], name
    functions = template.of_type("AWS::Serverless::Function").values()
    events = [event["Properties"] for function in functions for event in function["Properties"]["Events"].values()]
    schedules = [event["Name"]["!Sub"] for event in events if "ScheduleExpression" in event]
    assert [text for text, _ in schedules] == ["fraudloop-night-${Id}", "fraudloop-tick-${Id}"], "at most 64 characters"
    assert all("AWS::StackId" in str(values["Id"]) for _, values in schedules), "two stacks may not share a name"


def test_every_role_can_be_bounded(template):
    """Where an account demands a boundary, a role without one cannot be made; the registry's stack makes none."""
    bounded = {"!If": ["Bounded", {"!Ref": "PermissionsBoundary"}, {"!Ref": "AWS::NoValue"}]}
    files = [yaml.load((ROOT / f"deploy/aws/{name}.yaml").read_text(), Loader) for name in ("roles", "registry")]
    made = [r for tree in (template.tree, *files) for r in tree["Resources"].values() if r["Type"] == "AWS::IAM::Role"]
    assert len(made) == 12
    assert [role for role in made if role["Properties"].get("PermissionsBoundary") != bounded] == []
    for function in template.of_type("AWS::Serverless::Function").values():  # SAM makes a role for each schedule
        for event in function["Properties"]["Events"].values():
            assert event["Type"] != "ScheduleV2" or event["Properties"]["PermissionsBoundary"] == bounded
    registry = {resource["Type"] for resource in files[1]["Resources"].values()}
    assert registry == {"AWS::ECR::Repository"}


def test_a_prefix_may_be_a_partition_of_hive(template):
    """`dt=2026-11-27/`; without the slash, or with a wildcard of IAM, it is refused."""
    pattern = template.tree["Parameters"]["DataPrefix"]["AllowedPattern"]
    assert all(re.fullmatch(pattern, prefix) for prefix in ("data/", "raw/region=eu/dt=2026-11-27/"))
    assert not any(re.search(pattern, prefix) for prefix in ("data", "data?/", "d a/"))


def test_two_stacks_do_not_share_an_experiment(template):
    """The stack's name is the default, and neither environment of samconfig sets another."""
    assert template.tree["Parameters"]["KfpExperiment"]["Default"] == ""
    named = {"!If": ["OwnExperiment", {"!Ref": "AWS::StackName"}, {"!Ref": "KfpExperiment"}]}
    assert template.tree["Globals"]["Function"]["Environment"]["Variables"]["FRAUDLOOP_KFP_EXPERIMENT"] == named
    assert template.tree["Outputs"]["FraudloopKfpExperiment"]["Value"] == named
    assert "KfpExperiment" not in (ROOT / "samconfig.toml").read_text()


def test_a_claim_outlives_the_step_function(template):
    """Else a killed holder's successor could act beside it (design: claims)."""
    from statemachine.reconciler import Timing

    assert Timing().claim > template.resources["StepFunction"]["Properties"]["Timeout"] > Timing().least


def test_what_is_kept_is_retained_when_the_stack_goes(template):
    """Table and buckets; the table refuses to be deleted at all. A first deployment that fails leaves no bucket."""
    policies = {"AWS::DynamoDB::Table": "Retain", "AWS::S3::Bucket": "RetainExceptOnCreate"}
    for kind, policy in policies.items():
        for name, resource in template.of_type(kind).items():
            assert resource["DeletionPolicy"] == policy, name
            assert resource["UpdateReplacePolicy"] == "Retain", name
    assert template.resources["Table"]["Properties"]["DeletionProtectionEnabled"] is True


def test_the_lifecycle_takes_what_is_tagged_as_intermediate_and_nothing_else(template):
    """Manifests, reports and indexes of any size have no tag (tests/training/test_storage.py)."""
    from training.storage import INTERMEDIATE

    rules = template.resources["ArtifactsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    expiring = [rule for rule in rules if {"ExpirationInDays", "NoncurrentVersionExpiration"} & rule.keys()]
    key, value = INTERMEDIATE.split("=")
    tags = [{"Key": key, "Value": value}]
    assert [(rule["Prefix"], rule.get("TagFilters")) for rule in expiring] == [("runs/", tags), ("scores/", None)]
    assert "ExpirationInDays" not in expiring[1], "the score log's present objects are the archiver's to delete"


def test_who_reads_or_writes_under_a_customer_key_may_use_the_key_and_nobody_else(template):
    """Decrypt to read, GenerateDataKey to write, only through the service. The table's readers and writers may
    Decrypt.
    """
    roles = {name for name in template.resources if re.fullmatch("(Arrival|Nightly|Tick|Step|Announce)Role", name)}
    artifacts = {name for name in roles if re.search("'Action': .*?s3:[GP]", str(template.resources[name]))}
    table = {name for name in roles if "dynamodb:GetItem" in str(template.resources[name])}
    region = "${AWS::Region}.${AWS::URLSuffix}"
    processes: dict[str, tuple[set[str], str, str, Any]] = {
        "ArtifactsKeyPolicy": (artifacts, "ArtifactsKeyArn", "s3", ["kms:Decrypt", "kms:GenerateDataKey"]),
        "TableKeyPolicy": (table, "TableKeyArn", "dynamodb", "kms:Decrypt"),
    }
    for policy, (who, key, service, actions) in processes.items():
        properties = template.resources[policy]["Properties"]
        (statement,) = properties["PolicyDocument"]["Statement"]
        assert {role["!Ref"] for role in properties["Roles"]} == who
        assert statement["Action"] == actions
        assert statement["Resource"] == {"!Ref": key}
        assert statement["Condition"] == {"StringEquals": {"kms:ViaService": {"!Sub": f"{service}.{region}"}}}
    operator = template.resources["OperatorPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    keys = {s["!If"][0]: s["!If"][1]["Action"] for s in operator if "!If" in s}
    assert keys == {
        "DataKey": processes["ArtifactsKeyPolicy"][3],
        "ArtifactsKey": processes["ArtifactsKeyPolicy"][3],
        "TableKey": "kms:Decrypt",
    }


def test_each_alarm_names_its_heading_in_the_runbook(template):
    """The alarm's description has the link for the person on call."""
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["Properties"]["AlarmDescription"].endswith(f"Runbook docs/runbook.md#{name.lower()}")
        assert name in headings


def test_alarms_and_dashboard_count_this_stack_alone(template):
    """Two stacks of an account share the metrics' namespace: each query names its stack."""
    queries = re.findall(
        r"SELECT [^\n]*?FROM \\?\"Fraudloop\\?\"( WHERE stack = '+\$\{AWS::StackName\}'+)?", template.text
    )
    assert len(queries) >= 12
    assert all(queries)
    assert "FRAUDLOOP_STACK_NAME" in template.tree["Globals"]["Function"]["Environment"]["Variables"]


def test_what_waits_too_long_and_what_is_throttled_has_an_alarm(template):
    """Both queues that functions read, the stream, and each function's throttles."""
    assert sorted(watched_by(template, "ApproximateAgeOfOldestMessage")) == ["ArrivalsQueue", "HintsQueue"]
    assert watched_by(template, "IteratorAge") == ["AnnounceFunction"]
    throttled = str(template.resources["ThrottledAlarm"]["Properties"]["Metrics"])
    assert (
        set(re.findall(r"'!Ref': '(\w+Function)'", throttled)) == template.of_type("AWS::Serverless::Function").keys()
    )
    assert throttled.count("'Throttles'") == 5


def watched_by(template, metric):
    """The resources whose `metric` an alarm looks at."""
    alarms = [alarm["Properties"] for alarm in template.of_type("AWS::CloudWatch::Alarm").values()]
    values = [a["Dimensions"][0]["Value"] for a in alarms if a.get("MetricName") == metric]
    return [next(iter(value.values())).split(".")[0] for value in values]


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
    results = {metric.name for metric in emitted_by(Emitter.LAMBDA)}
    assert set(re.findall(r"(?:SUM|MAX|AVG)\((\w+)\)", template.text)) <= results


def test_outputs_are_the_settings_of_the_same_name(template):
    """FraudloopX is FRAUDLOOP_X, which statemachine/settings.py or a stage reads."""
    from cli.stack import variable

    read = (ROOT / "statemachine/settings.py").read_text() + (ROOT / "docs/contracts.md").read_text()
    for name in template.tree["Outputs"]:
        if name.startswith("Fraudloop"):
            assert variable(name) in read, name


def test_functions_have_the_variables_that_the_settings_read(template):
    """No variable of docs/contracts.md is forgotten (a token or a webhook in the clear is for this machine only)."""
    variables = set(template.tree["Globals"]["Function"]["Environment"]["Variables"])
    read = set(re.findall(r'"(FRAUDLOOP_\w+)"', (ROOT / "statemachine/settings.py").read_text()))
    assert read - variables <= {"FRAUDLOOP_KFP_TOKEN", "FRAUDLOOP_SLACK_WEBHOOK"}


def test_the_stream_filter_passes_what_is_announced(template):
    """Every record that `announce` makes a step of passes the mapping's filter, and a claim does not."""
    from moto.events.models import EventPattern

    events = template.resources["AnnounceFunction"]["Properties"]["Events"]["Outbox"]["Properties"]
    pattern: Any = EventPattern.load(events["FilterCriteria"]["Filters"][0]["Pattern"])
    entry = {"eventName": "INSERT", "dynamodb": {"NewImage": {"type": {"S": "entry"}}}}
    assert pattern.matches_event(entry)
    assert not pattern.matches_event({"eventName": "MODIFY", "dynamodb": {"NewImage": {"type": {"S": "run"}}}})


def test_samconfig_sets_only_parameters_that_there_are(template):
    """For dev and prod. Each sets the one parameter without a default."""
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
    processes = {"as it is": linting(tmp_path / "whole", OURS.text)}
    for n, (what, old, new) in enumerate(BROKEN):
        processes[what] = linting(tmp_path / str(n), OURS.but(old, new).text)
    results = {what: (process.communicate(timeout=550)[0], process.returncode) for what, process in processes.items()}
    assert results.pop("as it is")[1] == 0
    assert [what for what, (_, status) in results.items() if status == 0] == []


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
