"""The deploy and restore stages: move the pointer, sync, and let every pod prove what it serves.

A deployment is fenced by its generation: the pointer and the generation change in one conditional write, a smaller
generation is refused, and so is an equal one with another version. A fenced stage reports the live generation.
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
    """How pods are asked; `training.deployment.verification` over HTTP."""

    def served_version(self, address: str, model: str) -> str: ...
    def replay(self, address: str, golden: Golden) -> float: ...


def deploy(order: StageRequest, cluster: Cluster | None = None) -> StageResult:
    """The deploy stage.

    Raises:
        Permanent: fenced, or the candidate is broken: it does not get healthy, or answers otherwise than offline.
            So it is when the API denies for as long as `Patience.denied` (401, 403, 404).
        Transient: the API or the pods could not be reached, or the time was up.
    """
    return Deployment(deploy_request(order), cluster or cluster_of(order)).run()


def restore(order: StageRequest, cluster: Cluster | None = None) -> StageResult:
    """The restore stage: rolls forward to the last good version, ending an operation that is under way first."""
    return Deployment(deploy_request(order), cluster or cluster_of(order), end_others=True).run()


def deploy_unless_owned(
    order: StageRequest, cluster: Cluster | None = None, patience: Patience | None = None
) -> StageResult:
    """The end-to-end pipeline's deploy step, one generation above the live one.

    Raises:
        Refused: the Application says that the controller owns it; there is never a second deployer.
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
    """One deployment from pointer to proof. `details` is what a report says, also when it ends early."""

    request: DeployRequest
    cluster: Cluster
    end_others: bool = False
    prover: Prover = verification
    patience: Patience = field(default_factory=Patience)
    details: dict[str, Any] = field(default_factory=dict)

    def run(self) -> StageResult:
        """All steps in order, every wait bounded by the one deadline."""
        begun = self.patience.clock()
        self._deadline = begun + self.request.timeout_seconds
        self.details["generation"] = self.request.generation
        golden = golden_of(self.request.repository)
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
        """The Application, unless another deployment has taken it."""
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
        """Leave a running operation alone, or end it if it is another's and we may."""
        if self.end_others and live.operation_started and live.operation_id != self.request.operation_id:
            self.cluster.patch(live.ending())

    def _pointed(self) -> bool:
        live = self._read()
        if (live.generation, live.version) != (self.request.generation, self.request.version):
            self.cluster.patch(live.pointing(self.request.version, self.request.generation))
        return True

    def _synced(self) -> bool | None:
        """Ask for our operation when there is none; then wait until it, and nobody else's, is done."""
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
        """The ready pods, once the Application is healthy and every one of them serves the version."""
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
        """What `look` finally returns, before the deadline."""
        self._degraded_since = self.patience.clock()
        return until(look, self.patience, self._deadline, lambda problem: self._late(otherwise, problem))

    def _late(self, otherwise: str, problem: str) -> Exception:
        reason = f"{otherwise} within {self.request.timeout_seconds:.0f} s"
        served = {pod["version"] or "no version" for pod in self.details.get("served", [])}
        if others := sorted(served - {self.request.version}):  # healthy pods answered: time would change nothing
            return Permanent(f"{reason}: pods serve {', '.join(others)}", self.details)
        return Transient(f"{reason}: {problem or self.details.get('condition', '')}".rstrip(": "), self.details)


def cluster_of(order: StageRequest) -> Cluster:
    """The cluster's Application and service that an order names."""
    names = ("application", "application_namespace", "namespace", "service")
    return Kubernetes(*(str(parameter(order, name)) for name in names))


def _generation(live: Application) -> int:
    try:
        return live.generation
    except ValueError as error:
        raise Permanent(f"the Application's annotation fraudloop.io/generation is no number: {error}") from error
