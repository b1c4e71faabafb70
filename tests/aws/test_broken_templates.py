"""The checks of the template turn red when it is broken on purpose."""

import pytest
import test_template as checks
from template_text import OURS

PATTERN = r"    AllowedPattern: ^https?://[^/\s]+(/[^\s]*[^/\s])?$" + "\n"
REDRIVE = "      RedrivePolicy: {deadLetterTargetArn: !GetAtt HintsDlq.Arn, maxReceiveCount: 5}\n"
STEP = "      Timeout: 60\n      Role: !GetAtt StepRole.Arn\n"
STREAM_DLQ = "            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt AnnounceDlq.Arn}}\n"
BROKEN = {
    checks.test_every_asynchronous_hop_has_a_dead_letter_queue_and_an_alarm: [
        ("a queue without dead letters", REDRIVE, ""),
        ("a rule without dead letters", "          DeadLetterConfig: {Arn: !GetAtt EventsDlq.Arn}\n", ""),
        ("a schedule without dead letters", "            DeadLetterConfig: {Arn: !GetAtt AsyncDlq.Arn}\n", ""),
        ("a stream without dead letters", STREAM_DLQ, ""),
        ("dead letters that ring nowhere", "!GetAtt HintsDlq.QueueName", "!GetAtt ArrivalsDlq.QueueName"),
    ],
    checks.test_a_message_stays_hidden_for_six_times_the_functions_timeout: [
        ("a message that shows too early", "VisibilityTimeout: 360", "VisibilityTimeout: 90"),
    ],
    checks.test_a_claim_outlives_the_step_function: [
        ("a function that outlives its claim", STEP, STEP.replace("60", "900")),
    ],
    checks.test_what_is_kept_is_retained_when_the_stack_goes: [
        ("a table that goes with the stack", "    DeletionPolicy: Retain\n", "    DeletionPolicy: Delete\n"),
        ("a table that may be deleted", "DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false"),
    ],
    checks.test_the_lifecycle_takes_large_intermediates_and_never_a_report_or_a_model: [
        ("models that expire", "Prefix: runs/", "Prefix: models/"),
        ("manifests that expire", "Value: intermediate", "Value: large"),
        ("reports that expire", 'ObjectSizeGreaterThan: "262144"', 'ObjectSizeGreaterThan: "1024"'),
    ],
    checks.test_every_star_has_its_reason_beside_it: [
        ("a star without its reason", "  # ListStreams takes no resource", ""),
    ],
    checks.test_no_action_is_a_pattern: [
        ("an action that is a pattern", "Action: dynamodb:ListStreams", "Action: dynamodb:*"),
    ],
    checks.test_alarms_and_dashboard_speak_of_metrics_that_are_emitted: [
        ("an alarm on what nobody emits", "SELECT SUM(RunsFailed)", "SELECT SUM(RunFailures)"),
    ],
    checks.test_outputs_are_the_settings_of_the_same_name: [
        ("an output that nobody reads", "  FraudloopHintsQueueUrl:", "  FraudloopHintUrl:"),
    ],
    checks.test_functions_are_told_what_the_settings_read: [
        ("a setting that the functions lack", "        FRAUDLOOP_KFP_URL: !Ref KfpUrl\n", ""),
    ],
    checks.test_the_stream_filter_lets_through_what_is_told: [
        ("a filter that hides what is told", '["entry", "skipped"]', '["entries"]'),
    ],
    checks.test_samconfig_sets_only_parameters_that_there_are: [
        ("a parameter that samconfig does not know", "  KfpUrl:\n", "  KfpAddress:\n"),
    ],
    checks.test_parameters_are_described_and_bounded: [
        ("a parameter without bounds", PATTERN, ""),
    ],
    checks.test_the_runtime_is_the_one_that_the_packages_are_compiled_for: [
        ("another runtime than the byte code's", "Runtime: python3.12", "Runtime: python3.13"),
    ],
    checks.test_there_is_a_function_for_each_handler: [
        ("a handler that does not exist", "Handler: handlers.step.handler", "Handler: handlers.steps.handler"),
    ],
}
CASES = [pytest.param(check, old, new, id=what) for check, breaks in BROKEN.items() for what, old, new in breaks]


@pytest.mark.parametrize(("check", "old", "new"), CASES)
def test_a_break_is_noticed(check, old, new):
    """The check passes for the template as it is, and not for the broken one."""
    check(OURS)
    with pytest.raises((AssertionError, KeyError)):
        check(OURS.but(old, new))


def test_each_check_of_the_template_is_seen_to_fail():
    """No check that cannot: each that takes a template stands in the table."""
    named = {name: check for name, check in vars(checks).items() if name.startswith("test_")}
    assert {check for check in named.values() if "template" in check.__code__.co_varnames[:1]} == BROKEN.keys()
