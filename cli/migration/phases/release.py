"""Phase 3: a run succeeded, the gate rejects bad models, Argo CD and every Triton pod serve the champion."""

import os
from typing import Any

from cli.migration.phases.check import CheckFailed, PhaseCheck
from cli.migration.phases.environment import Environment
from clients import kubernetes
from statemachine.contracts import paths
from statemachine.contracts.gate import gate
from statemachine.core.policy import Policy
from statemachine.core.states import State
from training.deployment import verification
from training.deployment.argocd import CONTROLLER, Application
from training.deployment.deploy import SERVED_MODEL
from training.deployment.deploy_request import golden_of


def through(world: Environment) -> str:
    """Check that a run ended SUCCEEDED."""
    for run in world.app.store.runs(world.model):
        if run.state is State.SUCCEEDED:
            return f"{run.id} SUCCEEDED"
    raise CheckFailed(f"no run of {world.model} has ended SUCCEEDED yet")


def blocks(world: Environment) -> str:
    """Check that this deployment's gate, with its own limits, rejects a model that guesses."""
    policy = world.app.policies[world.model]
    verdict = gate(_guessing(), policy.gate)
    if verdict.passed:
        raise CheckFailed("the gate passes a model with AUC 0.5: check [models.*.gate] in fraudloop.toml")
    rejected = [r.id for r in world.app.store.runs(world.model) if r.state is State.REJECTED and r.verdict]
    return f"verdict: {verdict.reason}; rejected so far: {', '.join(rejected) or 'none'}"


def _guessing() -> dict[str, Any]:
    metrics = {"auc_roc": 0.5, "average_precision": 0.001, "f1": 0.0}
    return {
        "format": 1,
        "rows": 10_000,
        "frauds": 20,
        "threshold": 0.5,
        "metrics": metrics,
        "intervals": {},
        "champion": None,
        "anchor": None,
        "drift": {},
        "slices": [],
        "baselines": {},
    }


def application(world: Environment) -> str:
    """Check that the Application is healthy, synced, owned by the loop, and points at the champion."""
    live, champion = read_application(world), _champion(world)
    body: Any = live.body
    status = body.get("status", {})
    health, sync = status.get("health", {}).get("status"), status.get("sync", {}).get("status")
    if (health, sync) != ("Healthy", "Synced"):
        raise CheckFailed(f"it is {health} and {sync}: {live.condition or 'no condition gives a reason'}")
    if live.owner != CONTROLLER:
        raise CheckFailed(f"its owner is {live.owner or 'nobody'}, not {CONTROLLER}: an operator deployed a version")
    if live.version != champion:
        raise CheckFailed(f"it points at {live.version or 'no version'}, but the champion is {champion}")
    return f"Healthy, Synced, generation {live.generation}, version {live.version}"


def serving(world: Environment) -> str:
    """Check that every pod of the headless Service serves the champion."""
    champion, served = _champion(world), {}
    for name, address in addresses(world):
        served[name] = verification.served_version(address, SERVED_MODEL)
    if not served:
        raise CheckFailed("no pod serves")
    if wrong := {name: version for name, version in served.items() if version != champion}:
        raise CheckFailed(f"the champion is {champion}, but {wrong}")
    return f"{len(served)} pods serve {champion}"


def answers(world: Environment) -> str:
    """Check that a pod answers the champion's golden requests as it did offline."""
    policy, champion = world.app.policies[world.model], _champion(world)
    for _, address in addresses(world)[:1]:
        difference = verification.replay(address, golden_of(paths.version_folder(policy.root, world.model, champion)))
        return f"the golden requests are answered, at most {difference:.1e} apart"
    raise CheckFailed("no pod serves")


def addresses(world: Environment) -> list[tuple[str, str]]:
    """Return name and `host:port` of each serving pod. Outside the cluster TRITON_URL, a port-forward, replaces all."""
    if url := os.environ.get("TRITON_URL"):
        return [("TRITON_URL", url.removeprefix("http://"))]
    serving = _policy(world).serving
    pods = kubernetes.pods_of(world.api, serving.namespace, serving.service)
    return [(pod.name, pod.address) for pod in pods]


def applications(world: Environment) -> kubernetes.Applications:
    """Return the client for the model's Application."""
    serving = _policy(world).serving
    return kubernetes.Applications(world.api, serving.application_namespace, serving.application)


def read_application(world: Environment) -> Application:
    """Read the Application."""
    return Application(applications(world).read())


def _policy(world: Environment) -> Policy:
    return world.app.policies[world.model]


def _champion(world: Environment) -> str:
    found = world.app.store.model(world.model).champion
    if found is None:
        raise CheckFailed(f"{world.model} has no champion yet")
    return str(found.version)


CHECKS = (
    PhaseCheck(
        "3.5",
        "a run succeeded from end to end",
        through,
        "fraudloop show RUN shows where the last one ended, and why",
    ),
    PhaseCheck("3.4", "the gate rejects a bad model", blocks, "set min_auc_roc in fraudloop.toml, and publish again"),
    PhaseCheck(
        "3.3",
        "the Application points at the champion",
        application,
        "fraudloop rollback --to VERSION, or kubectl -n argocd describe application triton-fraud",
    ),
    PhaseCheck(
        "3.5",
        "every Triton pod serves the champion",
        serving,
        "kubectl -n triton get pods; the init container's log of a stuck pod has the reason",
    ),
    PhaseCheck(
        "3.5",
        "predictions are equal to the offline ones",
        answers,
        "outside the cluster: kubectl -n triton port-forward svc/triton-fraud 8000, TRITON_URL=http://127.0.0.1:8000",
    ),
)
