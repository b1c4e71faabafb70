"""Every way a deployment can end, against a fake cluster whose time is an argument."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.deployment.argocd import GENERATION, OWNER, POINTER, Application
from training.deployment.cluster import ClusterForbidden, ClusterUnreachable, Pod, StaleResourceVersion
from training.deployment.deploy import Deployment, deploy_unless_owned
from training.deployment.deploy_request import deploy_request
from training.deployment.verification import Mismatch
from training.deployment.waiting import Patience
from training.export.golden import Exchange, Golden
from training.integrity import write_manifest
from training.outcome import Permanent, Refused, StageError, Transient
from training.storage import write_json

NEW, OLD, OURS = "fraud-2-aaaaaaaa", "fraud-1-bbbbbbbb", "fraud-2.deploy.1.0123456789ab"
DONE = {"phase": "Succeeded", "finishedAt": "2026-11-24T02:00:05Z"}
LATER, SOONER = "2026-11-24T02:00:06Z", "2026-11-24T02:00:04Z"


@dataclass
class FakeCluster:
    """An Application in memory; `rules` run at every reading and play Argo CD's and other people's parts."""

    body: dict[str, Any]
    rules: list[Callable[["FakeCluster"], None]] = field(default_factory=list)
    served: dict[str, str] = field(default_factory=lambda: {"triton-0": OLD})
    patches: list[dict[str, Any]] = field(default_factory=list)
    clock: float = 0.0
    difference: float = 1e-7

    def application(self) -> Application:
        for rule in list(self.rules):
            rule(self)
        return Application(self.body)

    def patch(self, patch: Any) -> None:
        if patch["metadata"].get("resourceVersion") != self.body["metadata"]["resourceVersion"]:
            raise StaleResourceVersion("changed")
        self.patches.append(patch)
        self.write(patch)

    def write(self, patch: Any) -> None:
        """Somebody's merge patch, without a condition."""
        version = int(self.body["metadata"]["resourceVersion"])
        self.body = merged(self.body, patch)
        self.body["metadata"]["resourceVersion"] = str(version + 1)

    def pods(self) -> list[Pod]:
        return [Pod(name, name) for name in self.served]

    def served_version(self, address: str, model: str) -> str:
        return self.served[address]

    def replay(self, address: str, golden: Golden) -> float:
        if self.difference > golden.tolerance:
            raise Mismatch(f"PROBABILITY differs by {self.difference}")
        return self.difference

    def sleep(self, seconds: float) -> None:
        self.clock += seconds


def merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    kept = {name: value for name, value in (target or {}).items() if name not in patch}
    return kept | {name: merged((target or {}).get(name), value) for name, value in patch.items() if value is not None}


def application(generation: str = "1", version: str = OLD, **more: Any) -> dict[str, Any]:
    annotations = {GENERATION: generation, OWNER: "controller"}
    source = {"targetRevision": "main", "kustomize": {"commonAnnotations": {POINTER: version}}}
    policy = {"syncOptions": ["ServerSideApply=true"], "retry": {"limit": 3}, "automated": {"prune": True}}
    return {
        "metadata": {"resourceVersion": "7", "annotations": annotations},
        "spec": {"source": source, "syncPolicy": policy},
        "status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}},
    } | more


def finish(cluster: FakeCluster, state: dict[str, Any], reconciled: str = LATER, health: str = "Healthy") -> None:
    """Argo CD has completed the requested operation."""
    done = {**state, "operation": cluster.body["operation"]}
    status = {"operationState": done, "reconciledAt": reconciled, "health": {"status": health}}
    cluster.write({"operation": None, "status": status})


def argo(cluster: FakeCluster) -> None:
    """A sync succeeds at once, and so does the rollout."""
    if "operation" in cluster.body:
        finish(cluster, DONE)
        cluster.served = dict.fromkeys(cluster.served, Application(cluster.body).version)


def order(folder: Path, generation: int = 2, stage: Stage = Stage.DEPLOY) -> StageRequest:
    """Deploy NEW, exported into a folder."""
    repository = folder / NEW
    zero = {"X": np.zeros((1, 1), dtype=np.float32)}
    write_json(str(repository / "golden.json"), Golden((Exchange("fraud_score", zero, zero),)).as_dict())
    write_manifest(repository)
    parameters = {"version": NEW, "generation": generation, "timeout_seconds": 100}
    return StageRequest(
        "fraud-2", "fraud", stage, 1, "0123456789ab", "/out", {"repository": str(repository)}, parameters
    )


@pytest.fixture
def deployment(tmp_path: Path) -> Callable[..., Deployment]:
    """Makes deployments of NEW at generation 2 to a fake cluster."""

    def make(cluster: FakeCluster, generation: int = 2, **more: Any) -> Deployment:
        patience = Patience(
            first_pause=1, longest_pause=1, degraded=3, clock=lambda: cluster.clock, sleep=cluster.sleep
        )
        return Deployment(
            deploy_request(order(tmp_path, generation)), cluster, prover=cluster, patience=patience, **more
        )

    return make


Make = Callable[..., Deployment]


def test_pointer_and_generation_move_in_one_conditional_write(deployment: Make) -> None:
    """Two writes: pointer with generation, then the sync; each on condition of what was read."""
    cluster = FakeCluster(application(), [argo])
    result = deployment(cluster).run()
    pointing, syncing = cluster.patches
    assert pointing["metadata"] == {"resourceVersion": "7", "annotations": {GENERATION: "2"}}
    assert pointing["spec"] == {"source": {"kustomize": {"commonAnnotations": {POINTER: NEW}}}}
    assert "resourceVersion" in syncing["metadata"]
    assert result.details["served"] == [{"pod": "triton-0", "version": NEW}]
    assert result.details["golden"] == {"requests": 1, "max_difference": 1e-7}
    assert result.details["generation"] == 2


def test_the_sync_is_ours_and_has_the_applications_own_options(deployment: Make) -> None:
    """Argo CD does not add syncOptions and retry by itself; the old operation's state is cleared."""
    cluster = FakeCluster(application(), [argo])
    deployment(cluster).run()
    operation, status = cluster.patches[1]["operation"], cluster.patches[1]["status"]
    assert operation["info"] == [{"name": "correlationId", "value": OURS}]
    assert operation["retry"] == {"limit": 3}
    assert operation["sync"]["syncOptions"] == ["ServerSideApply=true"]
    assert operation["sync"]["revision"] == "main"
    assert operation["sync"]["prune"] is True
    assert status == {"operationState": None}


@pytest.mark.parametrize(("live", "version"), [(3, NEW), (3, OLD), (2, OLD)])
def test_a_smaller_generation_and_an_equal_one_of_another_version_are_fenced(
    deployment: Make, live: int, version: str
) -> None:
    """Nothing is written, and the live generation is reported, so that the controller can go on above it."""
    cluster = FakeCluster(application(str(live), version), [argo])
    with pytest.raises(Permanent, match="fenced") as refused:
        deployment(cluster).run()
    assert refused.value.result.details == {"generation": 2, "live_generation": live}
    assert cluster.patches == []


def test_an_equal_generation_of_the_same_version_goes_on(deployment: Make) -> None:
    """Another attempt finds the pointer moved, and does not move it again."""
    cluster = FakeCluster(application("2", NEW), [argo])
    deployment(cluster).run()
    assert [set(patch) for patch in cluster.patches] == [{"metadata", "operation", "status"}]


def test_a_lost_race_is_read_again(deployment: Make) -> None:
    """A stale resourceVersion is no failure: the next reading decides."""
    cluster = FakeCluster(application(), [argo])
    stale = iter([True, True])

    class Racing(FakeCluster):
        def patch(self, patch: Any) -> None:
            if next(stale, False):
                self.write({"metadata": {"annotations": {"somebody": str(self.clock)}}})
            super().patch(patch)

    racing = Racing(cluster.body, [argo])
    assert deployment(racing).run().details["generation"] == 2


def test_a_deployment_that_is_overtaken_stops(deployment: Make) -> None:
    """A newer generation that takes the pointer fences us, even after our sync was requested."""

    def overtake(cluster: FakeCluster) -> None:
        if len(cluster.patches) == 2:
            cluster.write({"metadata": {"annotations": {GENERATION: "3"}}})

    with pytest.raises(Permanent, match="fenced: generation 3"):
        deployment(FakeCluster(application(), [overtake])).run()


def test_another_operation_is_waited_for(deployment: Make) -> None:
    """Another client's operation is left alone. Ours is requested when it has ended."""
    other = {"info": [{"name": "correlationId", "value": "other"}]}

    def slow(cluster: FakeCluster) -> None:
        if cluster.clock > 5:
            argo(cluster)

    cluster = FakeCluster(application(operation=other), [slow])
    deployment(cluster).run()
    assert cluster.patches[-1]["operation"]["info"][0]["value"] == OURS


def test_restore_ends_an_operation_that_is_not_ours(deployment: Make) -> None:
    """A restore does not wait for a sync that may never end. It terminates only an operation that has started."""
    other = {"info": [{"name": "correlationId", "value": "other"}]}

    def stuck(cluster: FakeCluster) -> None:
        phase = cluster.body["status"].get("operationState", {}).get("phase")
        if Application(cluster.body).operation_id == OURS:
            argo(cluster)
        elif phase == "Terminating":
            finish(cluster, {"phase": "Failed", "finishedAt": LATER})
        elif cluster.clock > 2:
            cluster.write({"status": {"operationState": {"phase": "Running", "operation": other}}})

    cluster = FakeCluster(application(operation=other), [stuck])
    deployment(cluster, end_others=True).run()
    assert cluster.patches[0]["status"] == {"operationState": {"phase": "Terminating"}}
    assert [patch["metadata"].get("annotations") for patch in cluster.patches[1:]] == [{GENERATION: "2"}, None]


@pytest.mark.parametrize(
    ("state", "reconciled"),
    [
        ({"phase": "Running", "finishedAt": DONE["finishedAt"]}, None),
        (DONE, SOONER),
    ],
)
def test_ours_is_done_when_it_ended_and_was_looked_at_since(
    deployment: Make, state: dict[str, Any], reconciled: str | None
) -> None:
    """`Running` with `finishedAt` waits for a retry. A reconciliation from before the end does not count."""

    def half(cluster: FakeCluster) -> None:
        if "operation" not in cluster.body:
            return
        if reconciled is None:
            cluster.write({"status": {"operationState": {**state, "operation": cluster.body["operation"]}}})
        else:
            finish(cluster, state, reconciled)

    with pytest.raises(Transient, match="the sync does not finish within 100 s"):
        deployment(FakeCluster(application(), [half])).run()


def test_an_operation_of_somebody_else_is_not_taken_for_ours(deployment: Make) -> None:
    """If ours was replaced, it is requested again."""
    replaced = iter([True])

    def replace_once(cluster: FakeCluster) -> None:
        if "operation" in cluster.body and next(replaced, False):
            cluster.write({"operation": {"info": [{"name": "correlationId", "value": "other"}]}})
        argo(cluster)

    cluster = FakeCluster(application(), [replace_once])
    deployment(cluster).run()
    assert [patch["operation"]["info"][0]["value"] for patch in cluster.patches[1:]] == [OURS, OURS]


def test_a_failed_sync_is_transient(deployment: Make) -> None:
    """The candidate was not even tried; Argo CD's own words are the reason."""

    def failing(cluster: FakeCluster) -> None:
        if "operation" in cluster.body:
            finish(cluster, DONE | {"phase": "Failed", "message": "one or more objects failed to apply"})

    with pytest.raises(Transient, match="ended as Failed: one or more objects failed to apply"):
        deployment(FakeCluster(application(), [failing])).run()


def test_a_degraded_candidate_is_permanent(deployment: Make) -> None:
    """Health that stays Degraded is the candidate's fault, and its message is the reason."""

    def degrading(cluster: FakeCluster) -> None:
        if "operation" in cluster.body:
            finish(cluster, DONE, health="Degraded")
            cluster.write({"status": {"health": {"message": "weights do not fit"}}})

    cluster = FakeCluster(application(), [degrading])
    with pytest.raises(Permanent, match=r"does not become healthy: Synced and Degraded \(weights do not fit\)"):
        deployment(cluster).run()
    assert cluster.clock < 10


def test_a_moment_of_degradation_is_forgiven(deployment: Make) -> None:
    """Right after a sync, health can be that of the old pods."""

    def recovering(cluster: FakeCluster) -> None:
        if "operation" in cluster.body:
            finish(cluster, DONE, health="Degraded")
            cluster.clock_at = cluster.clock  # type: ignore[attr-defined]
        elif cluster.body["status"]["health"]["status"] == "Degraded" and cluster.clock - cluster.clock_at > 1:  # type: ignore[attr-defined]
            cluster.write({"status": {"health": {"status": "Healthy"}}})
            cluster.served = {"triton-1": NEW}

    assert deployment(FakeCluster(application(), [recovering])).run().details["served"][0]["pod"] == "triton-1"


def test_every_pod_must_serve_the_version(deployment: Make) -> None:
    """Healthy pods may be old ones: the stage waits for a pod that still serves the old version."""

    def partly(cluster: FakeCluster) -> None:
        if "operation" in cluster.body:
            finish(cluster, DONE)
            cluster.served = {"triton-1": NEW, "triton-0": OLD}
        if cluster.clock > 50 and "triton-0" in cluster.served:
            del cluster.served["triton-0"]

    cluster = FakeCluster(application(), [partly])
    assert deployment(cluster).run().details["served"] == [{"pod": "triton-1", "version": NEW}]
    assert cluster.clock > 50


@pytest.mark.parametrize(
    ("pods", "kind", "message"),
    [
        ({}, Transient, "Synced and Healthy"),
        ({"triton-0": OLD}, Permanent, f"pods serve {OLD}"),
        ({"triton-0": NEW, "triton-1": ""}, Permanent, "pods serve no version"),
    ],
)
def test_a_version_that_is_never_served_runs_out_of_time(
    deployment: Make, pods: dict[str, str], kind: type[StageError], message: str
) -> None:
    """Without a pod another attempt may help; if healthy pods serve something else, it will not."""

    def never(cluster: FakeCluster) -> None:
        if "operation" in cluster.body:
            finish(cluster, DONE)
            cluster.served = pods

    with pytest.raises(kind, match=f"is not served within 100 s: {message}") as late:
        deployment(FakeCluster(application(), [never])).run()
    assert late.value.result.details["served"] == [{"pod": pod, "version": version} for pod, version in pods.items()]


def test_other_answers_than_offline_are_permanent(deployment: Make) -> None:
    """The right version with wrong answers is not the model."""
    cluster = FakeCluster(application(), [argo], difference=1e-3)
    with pytest.raises(Permanent, match="does not answer as it did offline"):
        deployment(cluster).run()


def test_an_api_that_stops_answering_is_waited_for_but_not_for_ever(deployment: Make) -> None:
    """A moment's silence is nothing; a minute's ends the attempt as transient, before the deadline."""
    silent = [10.0]

    def silence(cluster: FakeCluster) -> None:
        if 2 <= cluster.clock < 2 + silent[0]:
            raise ClusterUnreachable("the Kubernetes API is unreachable")

    assert deployment(FakeCluster(application(), [silence, argo])).run().details["generation"] == 2

    def wait(cluster: FakeCluster) -> None:
        """Nothing happens, so that the silence is met."""

    silent[0] = 1000.0
    cluster = FakeCluster(application(), [silence, wait])
    with pytest.raises(Transient, match="unreachable"):
        deployment(cluster).run()
    assert 60 < cluster.clock < 70


def test_a_restart_of_the_api_server_ends_no_deployment(deployment: Make) -> None:
    """503, then refused connections, then 403 and 404 while its caches fill; then it knows us again."""

    def restart(cluster: FakeCluster) -> None:
        if 2 <= cluster.clock < 30:
            raise ClusterUnreachable("503 Service Unavailable")
        if 30 <= cluster.clock < 75:
            raise ClusterForbidden("403 Forbidden")
        if 75 <= cluster.clock < 90:
            raise ClusterForbidden("404 Not Found")

    def slowly(cluster: FakeCluster) -> None:
        if cluster.clock > 1:
            argo(cluster)

    made = deployment(FakeCluster(application(), [restart, slowly]))
    made.request = replace(made.request, timeout_seconds=600)
    assert made.run().details["generation"] == 2


def test_a_denial_that_persists_is_permanent(deployment: Make) -> None:
    """Missing rights do not appear by waiting: after two minutes without a break the stage fails permanently."""

    def deny(cluster: FakeCluster) -> None:
        if cluster.clock != 60:
            raise ClusterForbidden("the Kubernetes API answers 403 Forbidden")

    cluster = FakeCluster(application(operation={"info": []}), [deny])
    made = deployment(cluster, end_others=True)
    made.request = replace(made.request, timeout_seconds=600)
    with pytest.raises(Permanent, match=r"403 Forbidden \(for 120 s\)"):
        made.run()
    assert 180 < cluster.clock < 190, "one answer in between begins the two minutes anew"
    assert cluster.patches == []


def test_the_pipelines_own_deploy_step_waits_out_a_restart_too(tmp_path: Path) -> None:
    """Its first reading is no exception."""
    cluster = FakeCluster(application(), [lambda cluster: deny_until(cluster, 60)])
    patience = Patience(first_pause=1, longest_pause=1, clock=lambda: cluster.clock, sleep=cluster.sleep)
    with pytest.raises(Refused, match="belongs to the controller"):
        deploy_unless_owned(order(tmp_path), cluster, patience)
    assert cluster.clock == 60


def deny_until(cluster: FakeCluster, end: float) -> None:
    """As an API server whose rights are not loaded yet."""
    if cluster.clock < end:
        raise ClusterForbidden("403 Forbidden")


def test_a_generation_that_is_no_number_is_permanent(deployment: Make) -> None:
    """Somebody has written into the fence; a person must look."""
    with pytest.raises(Permanent, match="is no number"):
        deployment(FakeCluster(application("three"), [argo])).run()


def test_the_first_deployment_of_all_finds_nothing_set(deployment: Make) -> None:
    """A new Application has no annotations, pointer, policy or status."""
    fresh: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "spec": {"source": {}}}

    def settle(cluster: FakeCluster) -> None:
        if "operation" in cluster.body:
            argo(cluster)
            cluster.write({"status": {"sync": {"status": "Synced"}}})

    cluster = FakeCluster(fresh, [settle])
    assert deployment(cluster, 1).run().details["generation"] == 1
    assert cluster.patches[1]["operation"]["sync"] == {"revision": "", "prune": False, "syncStrategy": {"hook": {}}}


def test_what_the_controller_owns_is_left_alone(tmp_path: Path) -> None:
    """The end-to-end pipeline's step refuses, with the reason."""
    cluster = FakeCluster(application(), [argo])
    with pytest.raises(Refused, match="belongs to the controller"):
        deploy_unless_owned(order(tmp_path), cluster)
    assert cluster.patches == []
