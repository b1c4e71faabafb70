"""The plan's rollbacks as steps. Each describes itself, knows whether it is done, and deletes no data."""

from collections.abc import Callable
from dataclasses import dataclass

import kfp_server_api as kfp
from botocore.exceptions import ClientError
from kubernetes.client.exceptions import ApiException

from cli.migration.phases import by_hand
from cli.migration.phases.environment import PATIENCE, Environment
from cli.migration.phases.production import recurring_runs, schedules
from clients import scheduler
from clients.kfp import every, experiment


@dataclass(frozen=True)
class UndoRequest:
    """Who undoes a phase and why, and the version to go back to (phases 3 and 4)."""

    who: str
    why: str
    to: str = ""
    roles: str = "fraudloop-roles"


@dataclass(frozen=True)
class UndoStep:
    """`done` returns whether nothing is left to do; `act` does it, and may be repeated."""

    description: str
    done: Callable[[Environment, UndoRequest], bool]
    act: Callable[[Environment, UndoRequest], None]


def carry_out(
    steps: tuple[UndoStep, ...], world: Environment, request: UndoRequest, report: Callable[[str], None]
) -> None:
    """Run each step that is not done yet, in order. A failing step ends the rollback; it can be repeated."""
    for step in steps:
        if step.done(world, request):
            report(f"already done: {step.description}")
            continue
        step.act(world, request)
        report(f"done: {step.description}")


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
    """Return the FAILED KFP runs of the loop's experiment."""
    name = world.settings.get("FRAUDLOOP_KFP_EXPERIMENT") or "fraudloop"
    if not (found := experiment(world.kfp, name, world.namespace)):
        return []
    runs = every(kfp.RunServiceApi(world.kfp).run_service_list_runs, "runs", experiment_id=found)
    return [str(run.run_id) for run in runs if str(run.state) == "FAILED"]


def _no_failed(world: Environment, request: UndoRequest) -> bool:
    return not _failed_runs(world)


def _delete_failed(world: Environment, request: UndoRequest) -> None:
    for run_id in _failed_runs(world):
        kfp.RunServiceApi(world.kfp).run_service_delete_run(run_id, _request_timeout=PATIENCE)


# -- phases 3 and 4 ----------------------------------------------------------------------------------------------


def _at_version(world: Environment, request: UndoRequest) -> bool:
    return by_hand.deployed(world, request.to)


def _deploy_by_hand(world: Environment, request: UndoRequest) -> None:
    by_hand.deploy(world, request.to)


def _nothing_scheduled(world: Environment, request: UndoRequest) -> bool:
    on = [name for name, state, _ in schedules(world) if state == "ENABLED"]
    return not on and all(run.status != "ENABLED" for run in recurring_runs(world))


def _pause_schedules(world: Environment, request: UndoRequest) -> None:
    for name, state, group in schedules(world):
        if state == "ENABLED":
            scheduler.switch(world.aws("scheduler"), name, on=False, group=group)
    for run in recurring_runs(world):
        if run.status == "ENABLED":
            api = kfp.RecurringRunServiceApi(world.kfp)
            api.recurring_run_service_disable_recurring_run(run.recurring_run_id, _request_timeout=PATIENCE)


HOLD = UndoStep(
    "put the model on hold: no new run starts and nothing is deployed; SageMaker stays primary", _on_hold, _hold
)
BY_HAND = UndoStep(
    "deploy the named version by hand: pointer, owner and a higher generation in one write, then a sync",
    _at_version,
    _deploy_by_hand,
)

STEPS: dict[int, tuple[UndoStep, ...]] = {
    1: (
        UndoStep(
            "delete the pipelines' namespace with everything in it; buckets, table and images stay",
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
