"""The deploy and restore stages: move the pointer, sync, and verify every pod.

The generation fences deployments. One conditional write changes pointer and generation. The stage refuses a smaller
generation than the live one, and an equal generation with another version. It then reports the live generation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from statemachine.contracts.stage_request import StageRequest
from training.deployment import verification
from training.deployment.argocd import CONTROLLER, Application
from training.deployment.cluster import Cluster, Kubernetes, Pod
from training.deployment.deploy_request import DeployRequest, deploy_request, golden_of, parameter
from training.deployment.verification import Mismatch
from training.deployment.waiting import Patience, until
from training.export.golden import Golden
from training.outcome import Permanent, Refused, StageResult, Transient

SERVED_MODEL = "fraud_score"
T = TypeVar("T")


class Prover(Protocol):
    """Verifies a pod; `training.deployment.verification` does it over HTTP."""

    def served_version(self, address: str, model: str) -> str: ...
    def replay(self, address: str, golden: Golden) -> float: ...


def deploy(order: StageRequest, cluster: Cluster | None = None) -> StageResult:
    """The deploy stage.

    Raises:
        Permanent: a newer deployment fences this one; or the candidate does not become healthy or answers otherwise
            than
            offline; or the API denies access (401, 403, 404) for as long as `Patience.denied`.
        Transient: the API or the pods were unreachable, or the time ran out.
    """
    return Deployment(deploy_request(order), cluster or cluster_of(order)).run()


def restore(order: StageRequest, cluster: Cluster | None = None) -> StageResult:
    """The restore stage: deploys the last good version. It first terminates an operation that is running."""
    return Deployment(deploy_request(order), cluster or cluster_of(order), end_others=True).run()


def deploy_unless_owned(
    order: StageRequest, cluster: Cluster | None = None, patience: Patience | None = None
) -> StageResult:
    """The end-to-end pipeline's deploy step, with the generation after the live one.

    Raises:
        Refused: the Application belongs to the controller, which is then its only deployer.
    """
    cluster, patience = cluster or cluster_of(order), patience or Patience()
    deadline = patience.clock() + float(parameter(order, "timeout_seconds"))
    live = until(cluster.application, patience, deadline, lambda problem: Transient(f"the Application: {problem}"))
    if live.owner == CONTROLLER:
        raise Refused("the Application belongs to the controller (fraudloop.io/owner): let the controller deploy")
    parameters = {**order.parameters, "generation": _generation(live) + 1}
    return Deployment(deploy_request(replace(order, parameters=parameters)), cluster, patience=patience).run()


@dataclass
class Deployment:
    """One deployment, from pointer to verification. A report contains `details` even if it ends early."""

    request: DeployRequest
    cluster: Cluster
    end_others: bool = False
    prover: Prover = verification
    patience: Patience = field(default_factory=Patience)
    details: dict[str, Any] = field(default_factory=dict)

    def run(self) -> StageResult:
        """Runs all steps in order. One deadline limits every wait."""
        begun = self.patience.clock()
        self._deadline = begun + self.request.timeout_seconds
        self.details["generation"] = self.request.generation
        golden = golden_of(self.request.repository, self.request.manifest)
        if self.end_others:
            self._until(self._others_ended, "another operation does not end")
        self._until(self._pointed, "the pointer cannot be moved: others keep changing the Application")
        self._until(self._synced, "the sync does not finish")
        served = self.patience.clock()
        pods = self._until(self._served, f"{self.request.version} is not served")
        self._prove(pods, golden)
        ended = self.patience.clock()
        return StageResult(
            metrics={"sync_seconds": served - begun, "deploy_seconds": ended - begun}, details=self.details
        )

    def _read(self) -> Application:
        """Reads the Application. Raises Permanent if a newer deployment has taken it."""
        live = self.cluster.application()
        generation = _generation(live)
        ours, theirs = self.request.generation, generation
        if theirs > ours or (theirs == ours and live.version != self.request.version):
            self.details["live_generation"] = generation
            words = f"fenced: generation {theirs} points at {live.version or 'nothing'}"
            raise Permanent(f"{words}; this is generation {ours} for {self.request.version}", self.details)
        return live

    def _others_ended(self) -> bool | None:
        live = self._read()
        if not live.operating or live.operation_id == self.request.operation_id:
            return True
        self._wait_or_end(live)
        return None

    def _wait_or_end(self, live: Application) -> None:
        """Waits for a running operation, or terminates it if it belongs to another deployment and that is allowed."""
        if self.end_others and live.operation_started and live.operation_id != self.request.operation_id:
            self.cluster.patch(live.ending())

    def _pointed(self) -> bool:
        live = self._read()
        if (live.generation, live.version) != (self.request.generation, self.request.version):
            self.cluster.patch(live.pointing(self.request.version, self.request.generation))
        return True

    def _synced(self) -> bool | None:
        """Requests our operation if none is running, then waits until it has ended."""
        live = self._read()
        if live.operating:
            self._wait_or_end(live)
            return None
        if live.last_operation_id != self.request.operation_id:
            self.cluster.patch(live.syncing(self.request.operation_id))
            return None
        if not live.finished:
            return None
        if not live.succeeded:
            raise Transient(f"the sync of {self.request.version} ended as {live.phase}", self.details)
        return True

    def _served(self) -> list[Pod] | None:
        """Returns the ready pods once the Application is healthy and every pod serves the version."""
        live = self._read()
        self.details["condition"] = live.condition
        self._give_up_if_degraded(live)
        pods = self.cluster.pods() if live.settled else []
        versions = [self.prover.served_version(pod.address, SERVED_MODEL) for pod in pods]
        self.details["served"] = [{"pod": p.name, "version": v} for p, v in zip(pods, versions, strict=True)]
        return pods if pods and set(versions) == {self.request.version} else None

    def _give_up_if_degraded(self, live: Application) -> None:
        now = self.patience.clock()
        if live.health != "Degraded":
            self._degraded_since = now
        elif now - self._degraded_since >= self.patience.degraded:
            raise Permanent(f"{self.request.version} does not become healthy: {live.condition}", self.details)

    def _prove(self, pods: list[Pod], golden: Golden) -> None:
        try:
            differences = [self.prover.replay(pod.address, golden) for pod in pods]
        except Mismatch as error:
            raise Permanent(
                f"{self.request.version} does not answer as it did offline: {error}", self.details
            ) from error
        self.details["golden"] = {"requests": len(golden.exchanges) * len(pods), "max_difference": max(differences)}

    def _until(self, look: Callable[[], T | None], otherwise: str) -> T:
        """Repeats `look` until it returns a value or the deadline passes."""
        self._degraded_since = self.patience.clock()
        return until(look, self.patience, self._deadline, lambda problem: self._late(otherwise, problem))

    def _late(self, otherwise: str, problem: str) -> Exception:
        reason = f"{otherwise} within {self.request.timeout_seconds:.0f} s"
        served = {pod["version"] or "no version" for pod in self.details.get("served", [])}
        if others := sorted(
            served - {self.request.version}
        ):  # healthy pods serve another version: more time would change nothing
            return Permanent(f"{reason}: pods serve {', '.join(others)}", self.details)
        return Transient(f"{reason}: {problem or self.details.get('condition', '')}".rstrip(": "), self.details)


def cluster_of(order: StageRequest) -> Cluster:
    """Returns the cluster with the Application and Service that an order names."""
    names = ("application", "application_namespace", "namespace", "service")
    return Kubernetes(*(str(parameter(order, name)) for name in names))


def _generation(live: Application) -> int:
    try:
        return live.generation
    except ValueError as error:
        raise Permanent(f"the Application's annotation fraudloop.io/generation is no number: {error}") from error
