"""Phase 4: tuning has run, one scheduler is active, metrics and alarms work, SageMaker is removed."""

import json
import time
from datetime import datetime

import kfp_server_api as kfp

from cli.commands.schedule import NIGHTLY
from cli.migration.phases.check import CheckFailed, PhaseCheck
from cli.migration.phases.environment import PATIENCE, Environment
from clients.kfp import every

DAY = 86_400
JOB = "fraud-detection-daily"


def tuned(world: Environment) -> str:
    """Check that one of our Katib Experiments succeeded and has an optimum."""
    found = world.objects.list_namespaced_custom_object(
        "kubeflow.org",
        "v1beta1",
        world.namespace,
        "experiments",
        label_selector="app.kubernetes.io/part-of=fraudloop",
        _request_timeout=PATIENCE,
    )["items"]
    for experiment in found:
        status = experiment.get("status", {})
        done = any(c["type"] == "Succeeded" and c["status"] == "True" for c in status.get("conditions", ()))
        optimum = status.get("currentOptimalTrial", {}).get("parameterAssignments", [])
        if done and optimum:
            chosen = ", ".join(f"{p['name']}={p['value']}" for p in optimum)
            return f"{experiment['metadata']['name']}: {chosen}"
    raise CheckFailed(f"none of {len(found)} Experiments has succeeded")


def scheduled(world: Environment) -> str:
    """Check that exactly one of EventBridge Scheduler and a KFP recurring run is enabled."""
    nightly = [name for name, state, _ in schedules(world) if state == "ENABLED"]
    recurring = [run.display_name for run in recurring_runs(world) if run.status == "ENABLED"]
    if bool(nightly) == bool(recurring):
        both = ", ".join([*nightly, *recurring])
        raise CheckFailed(f"both schedulers are enabled: {both}" if both else "no scheduler is enabled")
    return f"{(nightly or recurring)[0]} is enabled, and nothing else"


def schedules(world: Environment) -> list[tuple[str, str, str]]:
    """Return the stack's nightly schedule: name, state and group."""
    schedule = world.settings.get("FRAUDLOOP_NIGHTLY_SCHEDULE") or NIGHTLY
    found = world.aws("scheduler").list_schedules(NamePrefix=schedule)["Schedules"]
    return [(s["Name"], s["State"], s.get("GroupName", "default")) for s in found if s["Name"] == schedule]


def recurring_runs(world: Environment) -> list[kfp.V2beta1RecurringRun]:
    """Return KFP's recurring runs of the nightly pipeline."""
    call = kfp.RecurringRunServiceApi(world.kfp).recurring_run_service_list_recurring_runs
    found = every(call, "recurring_runs", namespace=world.namespace)
    return [run for run in found if run.display_name.startswith(JOB)]


def triggers(world: Environment) -> str:
    """Check that the last nightly event was processed within 26 hours."""
    slot = world.app.intake.window(world.model).last_slot
    if not slot:
        raise CheckFailed("no nightly event has been processed yet")
    age = time.time() - datetime.fromisoformat(slot).timestamp()
    if age > DAY + 7200:
        raise CheckFailed(f"the last nightly event was {slot}, {age / 3600:.0f} h ago")
    return f"the nightly event of {slot} was processed"


def alarms(world: Environment) -> str:
    """Check that each alarm has a confirmed subscriber, and that none is in alarm."""
    found = world.aws("cloudwatch").describe_alarms(AlarmNamePrefix=world.stack or "fraudloop")["MetricAlarms"]
    if not found:
        raise CheckFailed("the stack has no alarm")
    mute = [a["AlarmName"] for a in found if not a.get("AlarmActions")]
    rings = [a["AlarmName"] for a in found if a.get("StateValue") == "ALARM"]
    if mute or rings:
        raise CheckFailed(f"without an action: {', '.join(mute) or 'none'}; in alarm: {', '.join(rings) or 'none'}")
    topics = {action for a in found for action in a["AlarmActions"]}
    deaf = [topic for topic in topics if not _confirmed(world, topic)]
    if deaf:
        raise CheckFailed(f"there is no confirmed subscription to {', '.join(sorted(deaf))}")
    return f"{len(found)} alarms, none is active, all have subscribers"


def _confirmed(world: Environment, topic: str) -> bool:
    found = world.aws("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    return any(s["SubscriptionArn"] != "PendingConfirmation" for s in found)


def measured(world: Environment) -> str:
    """Check that Prometheus answers and that its targets are up."""
    answer = json.loads(world.proxied(world.monitoring, "prometheus:9090", "api/v1/targets"))
    targets = answer["data"]["activeTargets"]
    down = sorted({t["labels"]["job"] for t in targets if t["health"] != "up"})
    if down or not targets:
        raise CheckFailed(f"down: {', '.join(down)}" if down else "Prometheus has no targets")
    return f"{len(targets)} targets are up"


def retired(world: Environment) -> str:
    """Check that no SageMaker endpoint serves any more."""
    left = [e["EndpointName"] for e in world.aws("sagemaker").list_endpoints(NameContains="fraud")["Endpoints"]]
    if left:
        raise CheckFailed(f"still there: {', '.join(left)}")
    return "no endpoint is left"


CHECKS = (
    PhaseCheck(
        "4.1",
        "a Katib search succeeded",
        tuned,
        "fraudloop tune, then fraudloop tune --adopt",
        needs="a cluster with Katib; `fraudloop tune --local` searches here",
    ),
    PhaseCheck(
        "4.2",
        "exactly one scheduler is enabled",
        scheduled,
        "sam deploy with NightlyState=ENABLED or DISABLED; fraudloop schedule pause | resume",
        needs="an AWS account",
    ),
    PhaseCheck(
        "4.2",
        "the schedule triggers",
        triggers,
        "aws logs tail /fraudloop/STACK/nightly; is the schedule's dead-letter queue empty?",
    ),
    PhaseCheck(
        "4.3",
        "alarms have subscribers",
        alarms,
        "confirm the mail that SNS sent (parameter AlarmEmail); the runbook has a heading for each alarm",
        needs="an AWS account",
    ),
    PhaseCheck(
        "4.3",
        "Prometheus scrapes its targets",
        measured,
        "kubectl -n monitoring get pods; do the headless Services exist?",
        needs="a cluster",
    ),
    PhaseCheck(
        "4.5",
        "SageMaker is retired",
        retired,
        "fraudloop sagemaker export-history, archive, then decommission",
        needs="an AWS account",
    ),
)
