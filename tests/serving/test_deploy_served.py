"""The deploy and restore stages against the stand-in's API and real Triton servers, while a client keeps asking."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from serving_cases import Cluster, Trained, deploy_order, export_order
from test_request_lines import LINE

from statemachine.contracts.stage import Stage
from training.deployment.argocd import POINTER
from training.deployment.cluster import Kubernetes
from training.deployment.deploy import Deployment, deploy, deploy_unless_owned, restore
from training.deployment.deploy_request import deploy_request, golden_of
from training.deployment.verification import ask
from training.deployment.waiting import Patience
from training.export.export import export
from training.export.golden import Exchange, Golden
from training.integrity import write_manifest
from training.outcome import Permanent, Refused, StageResult, Transient

pytestmark = [pytest.mark.triton, pytest.mark.xdist_group("triton")]

QUESTION = Exchange(
    model="fraud_score",
    inputs={"TRANSACTION": np.array([[LINE]], dtype=np.object_)},
    outputs={"PROBABILITY": np.zeros((1, 1), dtype=np.float32)},
)


class Client:
    """Asks without retries, at least 20 times a second, and keeps count."""

    def __init__(self, address: str) -> None:
        self.answers, self.failures = 0, list[Exception]()
        self._address = address
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with triton.InferenceServerClient(self._address, network_timeout=30.0) as server:
            while not self._stopped.wait(0.02):
                try:
                    self.answers += "PROBABILITY" in ask(server, QUESTION)
                except Exception as error:
                    self.failures.append(error)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


@contextmanager
def asking(cluster: Cluster) -> Iterator[Client]:
    """A client that must see no failure."""
    client = Client(cluster.address)
    client.start()
    begun = time.monotonic()
    try:
        yield client
    finally:
        client.stop()
    assert client.failures == []
    assert client.answers >= 5 * (time.monotonic() - begun)


def served(cluster: Cluster) -> str:
    """The version that answers at the Service."""
    with triton.InferenceServerClient(cluster.address) as server:
        config = server.get_model_config("fraud_score")
    return str(config["parameters"]["candidate_version"]["string_value"])


@pytest.fixture(scope="module")
def second(trained: Trained, bucket: Path) -> StageResult:
    """The same model as another run's version."""
    return export(export_order(trained, bucket, "fraud-2"))


def test_the_first_deployment_is_proven(cluster: Cluster, exported: StageResult) -> None:
    """The report lists what each pod serves, and the largest difference from the offline answers."""
    details = cluster.deployed.details
    assert [pod["version"] for pod in details["served"]] == [exported.details["version"]]
    assert details["golden"]["requests"] == 4
    assert details["golden"]["max_difference"] <= 1e-5
    assert details["generation"] == 1


def test_a_new_version_takes_over_without_a_failed_request(cluster: Cluster, second: StageResult) -> None:
    """A client that asks all the while sees only answers; to deploy the same once more changes nothing."""
    with asking(cluster) as client:
        result = deploy(deploy_order(second, 2))
    assert client.answers > 20
    assert result.details["served"][0]["version"] == second.details["version"] == served(cluster)
    assert deploy(deploy_order(second, 2, attempt=2)).details["golden"]["max_difference"] <= 1e-5


def test_an_older_generation_is_fenced(cluster: Cluster, exported: StageResult, second: StageResult) -> None:
    """A smaller generation, and an equal one with another version, are refused, and report the live generation."""
    deploy(deploy_order(second, 10))
    for generation in (9, 10):
        with pytest.raises(Permanent, match="fenced") as refused:
            deploy(deploy_order(exported, generation, attempt=3))
        assert refused.value.result.details["live_generation"] == 10
    assert served(cluster) == second.details["version"]


def test_a_version_that_breaks_while_loading_is_permanent(trained: Trained, bucket: Path, cluster: Cluster) -> None:
    """The error names the damaged file. The old version answers throughout, and a restore succeeds."""
    champion = served(cluster)
    broken = export(export_order(trained, bucket, "fraud-13"))
    with asking(cluster):
        with pytest.raises(Permanent, match=r"encoder\.safetensors is not what MANIFEST\.json says"):
            deploy(deploy_order(broken, 20))
        assert served(cluster) == champion
        champion_uri = str(Path(broken.outputs["repository"]).with_name(champion))
        good = StageResult(outputs={"repository": champion_uri}, details={"version": champion})
        result = restore(deploy_order(good, 21, Stage.RESTORE))
    assert result.details["served"][0]["version"] == champion
    assert result.metrics["deploy_seconds"] < 30


def test_an_answer_other_than_offline_is_permanent(cluster: Cluster, second: StageResult, tmp_path: Path) -> None:
    """A pod with the right version but other answers fails the deployment."""
    order = deploy_order(second, 30)
    golden = golden_of(order.inputs["repository"])
    exchange = golden.exchanges[1]
    wrong = {**exchange.outputs, "PROBABILITY": exchange.outputs["PROBABILITY"] + np.float32(1e-4)}
    folder = tmp_path / str(second.details["version"])
    folder.mkdir()
    body = json.dumps(Golden((replace(exchange, outputs=wrong),)).as_dict()).encode()
    (folder / "golden.json").write_bytes(body)
    write_manifest(folder)
    with pytest.raises(Permanent, match=r"does not answer as it did offline: .*PROBABILITY differs by 0\.0001"):
        deploy(replace(order, inputs={"repository": str(folder)}))


def test_restore_ends_an_operation_that_is_not_ours(
    cluster: Cluster, exported: StageResult, second: StageResult
) -> None:
    """Somebody else's sync does not keep the champion from coming back."""
    deploy(deploy_order(second, 40))
    cluster.argocd.record.patch({"operation": {"info": [{"name": "correlationId", "value": "other"}], "sync": {}}})
    result = restore(deploy_order(second, 41, Stage.RESTORE))
    assert result.details["generation"] == 41


def test_the_end_to_end_pipeline_does_not_deploy_what_the_controller_owns(
    cluster: Cluster, second: StageResult
) -> None:
    """There is never a second deployer. Without an owner, the pipeline takes the next generation."""
    before = cluster.argocd.record.get()
    order = deploy_order(second, 0)
    with pytest.raises(Refused, match=r"fraudloop\.io/owner"):
        deploy_unless_owned(order)
    after = cluster.argocd.record.get()
    assert after["spec"] == before["spec"]
    cluster.argocd.record.patch({"metadata": {"annotations": {"fraudloop.io/owner": None}}})
    try:
        live = int(before["metadata"]["annotations"]["fraudloop.io/generation"])
        assert deploy_unless_owned(order).details["generation"] == live + 1
    finally:
        cluster.argocd.record.patch({"metadata": {"annotations": {"fraudloop.io/owner": "controller"}}})


def test_an_unreachable_api_is_transient(
    monkeypatch: pytest.MonkeyPatch, cluster: Cluster, exported: StageResult
) -> None:
    """Nothing was learned about the candidate, so another attempt may succeed."""
    monkeypatch.setenv("KUBERNETES_API_URL", "http://127.0.0.1:9")
    order = deploy_order(exported, 60)
    with pytest.raises(Transient, match="unreachable"):
        deploy(replace(order, parameters={**order.parameters, "timeout_seconds": 1}))


def test_an_application_that_is_not_there_is_permanent(cluster: Cluster, exported: StageResult) -> None:
    """A wrong name will not become right, however long one waits."""
    request = deploy_request(deploy_order(exported, 60))
    nobody = Kubernetes("triton-other", "argocd", "triton", "triton-fraud-pods")
    with pytest.raises(Permanent, match="404"):
        Deployment(request, nobody, patience=Patience(denied=1)).run()
    assert POINTER in cluster.argocd.record.get()["spec"]["source"]["kustomize"]["commonAnnotations"]
