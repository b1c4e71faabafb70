"""The checks of the template turn red when it is broken on purpose."""

import pytest
import test_template as checks
from template_text import OURS

PATTERN = r"    AllowedPattern: ^https?://[^/\s]+(/[^\s]*[^/\s])?$" + "\n"
REDRIVE = "      RedrivePolicy: {deadLetterTargetArn: !GetAtt HintsDlq.Arn, maxReceiveCount: 5}\n"
STEP = "      Timeout: 60\n      Role: !GetAtt StepRole.Arn\n"
STREAM_DLQ = "            DestinationConfig: {OnFailure: {Type: SQS, Destination: !GetAtt AnnounceDlq.Arn}}\n"
DEAD = "[!Ref ArrivalsDlq, !Ref HintsDlq, !Ref NightlyDlq, "
CLEAR = "Action: sns:Publish\n            Resource: !Ref AlarmTopic\n            Condition: *inTheClear"
BOUND = "            PermissionsBoundary: !If [Bounded, !Ref PermissionsBoundary, !Ref AWS::NoValue]\n"
THROTTLES = "MetricName: Throttles, Dimensions: [{Name: FunctionName, Value: !Ref StepFunction}]"
BROKEN = {
    checks.test_every_asynchronous_hop_has_a_dead_letter_queue_and_an_alarm: [
        ("a queue without dead letters", REDRIVE, ""),
        ("a rule without dead letters", "          DeadLetterConfig: {Arn: !GetAtt EventsDlq.Arn}\n", ""),
        ("a schedule without dead letters", "            DeadLetterConfig: {Arn: !GetAtt NightlyDlq.Arn}\n", ""),
        ("a tick that is tried again", "MaximumRetryAttempts: 0  #", "MaximumRetryAttempts: 2  #"),
        ("a stream without dead letters", STREAM_DLQ, ""),
        ("dead letters that ring nowhere", "!GetAtt HintsDlq.QueueName", "!GetAtt ArrivalsDlq.QueueName"),
    ],
    checks.test_a_message_stays_hidden_for_six_times_the_functions_timeout_and_the_batching_window: [
        ("a message that shows too early", "VisibilityTimeout: 360", "VisibilityTimeout: 90"),
        ("a batching window that was forgotten", "VisibilityTimeout: 365", "VisibilityTimeout: 360"),
    ],
    checks.test_every_queue_topic_and_bucket_refuses_what_is_not_encrypted_on_its_way: [
        ("a queue in the clear", DEAD, DEAD.replace("!Ref NightlyDlq, ", "")),
        ("a topic in the clear", CLEAR, CLEAR.replace("*inTheClear", "{}")),
    ],
    checks.test_a_stack_may_have_a_name_of_128_characters: [
        ("a schedule named for its stack", '"fraudloop-tick-${Id}"', '"${AWS::StackName}-tick"'),
        ("a schedule that two stacks share", "{Id: *id}", "{Id: a}"),
        ("a long name", '"${AWS::StackName}-stages"', '"${AWS::StackName}-${AWS::StackName}-stages"'),
    ],
    checks.test_every_role_can_be_bounded: [
        ("a role without a boundary", "      PermissionsBoundary: *bounded\n", ""),
        ("a schedule's role without a boundary", BOUND, ""),
    ],
    checks.test_a_prefix_may_be_a_partition_of_hive: [("a prefix without =", "'()=/-]+/$", "'()/-]+/$")],
    checks.test_two_stacks_do_not_share_an_experiment: [
        ("one experiment for all", "[OwnExperiment, !Ref AWS::StackName", "[OwnExperiment, fraudloop"),
    ],
    checks.test_who_reads_or_writes_under_a_customer_key_may_use_the_key_and_nobody_else: [
        ("a role without the key", "[!Ref ArrivalRole, !Ref NightlyRole, ", "[!Ref ArrivalRole, "),
        ("a key by any way", "kms:ViaService", "kms:CallerAccount"),
        ("a writer without a data key", "Action: [kms:Decrypt, kms:GenerateDataKey]\n", "Action: kms:Decrypt\n"),
    ],
    checks.test_each_alarm_names_its_heading_in_the_runbook: [
        ("an alarm without its heading", "docs/runbook.md#throttledalarm", "docs/runbook.md#throttled"),
    ],
    checks.test_alarms_and_dashboard_count_this_stack_alone: [
        ("an alarm on all stacks", " WHERE stack = ''${AWS::StackName}''", ""),
        ("a panel of all stacks", " WHERE stack = '${AWS::StackName}'\"", '"'),
    ],
    checks.test_what_waits_too_long_and_what_is_throttled_has_an_alarm: [
        ("a queue whose age nobody watches", "MetricName: ApproximateAgeOfOldestMessage", "MetricName: Sent"),
        ("a stream whose age nobody watches", "MetricName: IteratorAge", "MetricName: Duration"),
        ("a function whose throttles nobody counts", THROTTLES, THROTTLES.replace("Step", "Tick")),
    ],
    checks.test_a_claim_outlives_the_step_function: [
        ("a function that outlives its claim", STEP, STEP.replace("60", "900")),
    ],
    checks.test_what_is_kept_is_retained_when_the_stack_goes: [
        ("a table that goes with the stack", "    DeletionPolicy: Retain  #", "    DeletionPolicy: Delete  #"),
        ("a bucket that goes with the stack", "DeletionPolicy: RetainExceptOnCreate", "DeletionPolicy: Delete"),
        ("a table that may be deleted", "DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false"),
    ],
    checks.test_the_lifecycle_takes_what_is_tagged_as_intermediate_and_nothing_else: [
        ("models that expire", "Prefix: runs/", "Prefix: models/"),
        ("reports that expire", "            TagFilters: [{Key: fraudloop, Value: intermediate}]\n", ""),
        ("manifests that expire", "Value: intermediate", "Value: large"),
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
    checks.test_functions_have_the_variables_that_the_settings_read: [
        ("a setting that the functions lack", "        FRAUDLOOP_KFP_URL: !Ref KfpUrl\n", ""),
    ],
    checks.test_the_stream_filter_passes_what_is_announced: [
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
    """Every check that takes a template is in the table."""
    named = {name: check for name, check in vars(checks).items() if name.startswith("test_")}
    assert {check for check in named.values() if "template" in check.__code__.co_varnames[:1]} == BROKEN.keys()
