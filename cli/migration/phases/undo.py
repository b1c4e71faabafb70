"""The plan's rollbacks as steps: each says what it will do, knows whether it is done already, and keeps the data."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import kfp_server_api as kfp
from botocore.exceptions import ClientError
from kubernetes.client.exceptions import ApiException

from cli.migration.phases.environment import PATIENCE, Environment
from cli.migration.phases.production import recurring_runs, schedules
from cli.migration.phases.release import read_application
from statemachine.contracts.errors import Misconfigured
from training.deployment.argocd import GENERATION, OWNER, POINTER
from training.deployment.cluster import GROUP, PLURAL, VERSION

PERSON = "person"  # the owner while somebody deploys by hand


@dataclass(frozen=True)
class UndoRequest:
    """What a person wants undone: by whom and why, and the version to go back to (phases 3 and 4)."""

    who: str
    why: str
    to: str = ""
    roles: str = "fraudloop-roles"


@dataclass(frozen=True)
class UndoStep:
    """`done` says whether there is nothing to do any more; `act` does it, and may be repeated."""

    says: str
    done: Callable[[Environment, UndoRequest], bool]
    act: Callable[[Environment, UndoRequest], None]


def carry_out(
    steps: tuple[UndoStep, ...], world: Environment, request: UndoRequest, say: Callable[[str], None]
) -> None:
    """Each step that is not done yet, in order. The first that fails ends it: what went before stays undone safely."""
    for step in steps:
        if step.done(world, request):
            say(f"already so: {step.says}")
            continue
        step.act(world, request)
        say(f"done: {step.says}")


# -- phase 1 -----------------------------------------------------------------------------------------------------


def _no_namespace(world: Environment, request: UndoRequest) -> bool:
    try:
        found = world.core.read_namespace(world.namespace, _request_timeout=PATIENCE)
    except ApiException as error:
        if error.status == 404:
            return True
        raise
    return str(found.status.phase) == "Terminating"


def _delete_namespace(world: Environment, request: UndoRequest) -> None:
    world.core.delete_namespace(world.namespace, _request_timeout=PATIENCE)


def _no_roles(world: Environment, request: UndoRequest) -> bool:
    try:
        found = world.aws("cloudformation").describe_stacks(StackName=request.roles)["Stacks"]
    except ClientError as error:
        if "does not exist" in str(error):
            return True
        raise
    return all(stack["StackStatus"].startswith("DELETE_") for stack in found)


def _delete_roles(world: Environment, request: UndoRequest) -> None:
    world.aws("cloudformation").delete_stack(StackName=request.roles)


# -- phase 2 -----------------------------------------------------------------------------------------------------


def _on_hold(world: Environment, request: UndoRequest) -> bool:
    return world.app.store.model(world.model).hold is not None


def _hold(world: Environment, request: UndoRequest) -> None:
    world.app.operations.hold(world.model, request.who, request.why)


def _failed_runs(world: Environment) -> list[str]:
    """KFP runs of the loop's experiment that ended FAILED."""
    name = world.settings.get("FRAUDLOOP_KFP_EXPERIMENT") or "fraudloop"
    experiments = kfp.ExperimentServiceApi(world.kfp).experiment_service_list_experiments(
        namespace=world.namespace, page_size=200, _request_timeout=PATIENCE
    )
    ids = [e.experiment_id for e in experiments.experiments or () if e.display_name == name]
    runs = kfp.RunServiceApi(world.kfp)
    found, page = [], ""
    while ids:
        answer = runs.run_service_list_runs(
            experiment_id=ids[0], page_size=200, page_token=page, _request_timeout=PATIENCE
        )
        found += [str(run.run_id) for run in answer.runs or () if str(run.state) == "FAILED"]
        page = answer.next_page_token or ""
        if not page:
            break
    return found


def _no_failed(world: Environment, request: UndoRequest) -> bool:
    return not _failed_runs(world)


def _delete_failed(world: Environment, request: UndoRequest) -> None:
    for run_id in _failed_runs(world):
        kfp.RunServiceApi(world.kfp).run_service_delete_run(run_id, _request_timeout=PATIENCE)


# -- phases 3 and 4 ----------------------------------------------------------------------------------------------


def _at_version(world: Environment, request: UndoRequest) -> bool:
    if not request.to:
        raise Misconfigured("say which version to go back to: --to VERSION (`fraudloop runs` lists them)")
    live = read_application(world)
    return live.version == request.to and live.owner == PERSON and not live.operating


def _deploy_by_hand(world: Environment, request: UndoRequest) -> None:
    """Pointer, generation and owner in one conditional write, then a sync: the loop's own deploys are fenced off."""
    live = read_application(world)
    serving = world.app.policies[world.model].serving
    where = (GROUP, VERSION, serving.application_namespace, PLURAL, serving.application)
    annotations = {GENERATION: str(live.generation + 1), OWNER: PERSON}
    pointer = {"source": {"kustomize": {"commonAnnotations": {POINTER: request.to}}}}
    patch = {"metadata": {"resourceVersion": live.resource_version, "annotations": annotations}, "spec": pointer}
    world.objects.patch_namespaced_custom_object(*where, patch, _request_timeout=PATIENCE)
    _wait_for_no_operation(world)
    sync = read_application(world).syncing(f"by-hand-{int(time.time())}")
    world.objects.patch_namespaced_custom_object(*where, dict(sync), _request_timeout=PATIENCE)


def _wait_for_no_operation(world: Environment) -> None:
    until = time.monotonic() + world.wait
    while read_application(world).operating:
        if time.monotonic() > until:
            raise Misconfigured("another operation of Argo CD does not end: `argocd app terminate-op triton-fraud`")
        time.sleep(world.pause)


def _nothing_scheduled(world: Environment, request: UndoRequest) -> bool:
    on = [name for name, state in schedules(world) if state == "ENABLED"]
    return not on and all(run.status != "ENABLED" for run in recurring_runs(world))


def _pause_schedules(world: Environment, request: UndoRequest) -> None:
    scheduler = world.aws("scheduler")
    for name, state in schedules(world):
        if state == "ENABLED":
            found = scheduler.get_schedule(Name=name)
            kept = ("Name", "ScheduleExpression", "ScheduleExpressionTimezone", "FlexibleTimeWindow", "Target")
            scheduler.update_schedule(**{key: found[key] for key in kept if key in found}, State="DISABLED")
    for run in recurring_runs(world):
        if run.status == "ENABLED":
            api = kfp.RecurringRunServiceApi(world.kfp)
            api.recurring_run_service_disable_recurring_run(run.recurring_run_id, _request_timeout=PATIENCE)


HOLD = UndoStep(
    "put the model on hold: no new run begins and nothing is deployed; SageMaker stays primary", _on_hold, _hold
)
BY_HAND = UndoStep(
    "deploy the named version by hand: pointer, owner and a raised generation in one write, then a sync",
    _at_version,
    _deploy_by_hand,
)

STEPS: dict[int, tuple[UndoStep, ...]] = {
    1: (
        UndoStep(
            "delete the pipelines' namespace with all that runs in it; buckets, table and images stay",
            _no_namespace,
            _delete_namespace,
        ),
        UndoStep(
            "delete the stack of the pods' IAM roles; the SageMaker workflow has roles of its own",
            _no_roles,
            _delete_roles,
        ),
    ),
    2: (
        HOLD,
        UndoStep(
            "delete the loop's failed KFP runs; their files in S3 and the images in ECR stay",
            _no_failed,
            _delete_failed,
        ),
    ),
    3: (HOLD, BY_HAND),
    4: (
        UndoStep("pause the nightly schedule, EventBridge's and KFP's", _nothing_scheduled, _pause_schedules),
        HOLD,
        BY_HAND,
    ),
}
