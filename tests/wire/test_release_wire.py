"""The Application API and Triton behind a faulty wire: the candidate is never blamed for the network."""

import http.server
import json
import threading
import time

import numpy as np
import pytest
from faulty_wire import Fault

from training.deployment.cluster import ClusterUnreachable, Kubernetes, StaleResourceVersion
from training.deployment.deploy_request import DeployRequest
from training.deployment.verification import replay, served_version
from training.export.golden import Exchange, Golden
from training.integrity import write_manifest
from training.outcome import Transient
from training.storage import write_json

LOST = [Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.HALF_ANSWER, Fault.UNAVAILABLE, Fault.THROTTLED]


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """The stand-in for Argo CD; nothing is rolled out here."""
    from local.argocd import ArgoCD, ArgoCDSettings

    def no_pod(version, folder):
        raise FileNotFoundError(version)

    with ArgoCD(tmp_path_factory.mktemp("argocd"), ArgoCDSettings("s3://none/models/fraud"), no_pod) as running:
        for _ in range(100):  # its first look at the Application is a write as well, and would make a reading stale
            if running.record.get().get("status", {}).get("reconciledAt"):
                break
            time.sleep(0.1)
        yield running


@pytest.fixture
def cluster(api, proxied, monkeypatch):
    proxy = proxied(api.api_url)
    monkeypatch.setenv("KUBERNETES_API_URL", proxy.url)
    return proxy, Kubernetes("triton-fraud", "argocd", "triton", "triton-fraud-pods")


@pytest.mark.parametrize("fault", LOST)
def test_an_api_that_fails_is_transient(cluster, fault):
    """Reading and asking for pods: the stage fails in a way that another attempt may not."""
    proxy, kubernetes = cluster
    proxy.faults.extend([fault, fault])
    with pytest.raises(Transient):
        kubernetes.application()
    with pytest.raises(Transient):
        kubernetes.pods()


def test_a_patch_whose_answer_was_lost_is_seen_when_read_again(cluster):
    """Compare-and-set: the second write from the same reading is stale, and the first one holds."""
    proxy, kubernetes = cluster
    read = kubernetes.application()
    patch = {
        "metadata": {
            "resourceVersion": read.resource_version,
            "annotations": {"fraudloop.io/generation": "7"},
        }
    }
    proxy.faults.append(Fault.RESET_AFTER)
    with pytest.raises(ClusterUnreachable):
        kubernetes.patch(patch)
    with pytest.raises(StaleResourceVersion):
        kubernetes.patch({**patch, "metadata": {**patch["metadata"], "labels": {"again": "yes"}}})
    assert kubernetes.application().generation == 7


class Config(http.server.BaseHTTPRequestHandler):
    """As much of Triton's HTTP API as a version is read from."""

    def do_GET(self):
        body = json.dumps({"parameters": {"candidate_version": {"string_value": "fraud-1-abc"}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def pod():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Config)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("fault", LOST)
def test_a_pod_that_cannot_be_asked_is_not_a_wrong_version(pod, proxied, fault):
    """Asked again, it tells its version."""
    proxy = proxied(pod)
    proxy.always = fault
    address = proxy.url.removeprefix("http://")
    with pytest.raises(Transient):
        served_version(address, "fraud_score")
    proxy.always = Fault.NONE
    assert served_version(address, "fraud_score") == "fraud-1-abc"


@pytest.mark.parametrize("fault", LOST)
def test_a_golden_request_that_was_lost_is_not_a_mismatch(pod, proxied, fault):
    """Only an answer can differ."""
    proxy = proxied(pod)
    proxy.always = fault
    x = np.zeros((1, 1), np.float32)
    golden = Golden(exchanges=(Exchange("fraud_score", {"x": x}, {"y": x}),), tolerance=1e-5)
    with pytest.raises(Transient):
        replay(proxy.url.removeprefix("http://"), golden)


class Pod:
    """A pod that is up at once and reports its version."""

    alive = True

    def __init__(self, port):
        self.http_port = port

    def start(self):
        pass

    def wait_ready(self, seconds, given_up):
        pass

    def stop(self):
        self.alive = False


class Prover:
    """What the pods of the stand-in would say."""

    def __init__(self, argocd):
        self.argocd = argocd

    def served_version(self, address, model):
        return next(p.version for p in self.argocd.rollout.pods() if address == f"127.0.0.1:{p.server.http_port}")

    def replay(self, address, golden):
        return 0.0


def goal(folder):
    """Deploy a version whose golden requests are trivial."""
    x = np.zeros((1, 1), np.float32)
    repository = folder / "fraud-2-aaaaaaaa"
    write_json(str(repository / "golden.json"), Golden((Exchange("fraud_score", {"x": x}, {"y": x}),)).as_dict())
    write_manifest(repository)
    return DeployRequest(str(repository), repository.name, 2, "fraud-2.deploy.1.x", 30.0)


@pytest.mark.parametrize("at", ["reading", "writing the pointer", "asking for the sync", "asking for pods"])
def test_a_deployment_outlives_a_restart_of_the_api_server(tmp_path, monkeypatch, at):
    """503, then 403 while RBAC's caches fill, in the middle of each step: it was final for 8 of 8 deployments."""
    from local.argocd import ArgoCD, ArgoCDSettings
    from training.deployment.deploy import Deployment
    from training.deployment.waiting import Patience

    ports = iter(range(20001, 20100))
    with ArgoCD(
        tmp_path / "a", ArgoCDSettings("s3://none/models/fraud"), lambda version, folder: Pod(next(ports))
    ) as argocd:
        monkeypatch.setenv("KUBERNETES_API_URL", argocd.api_url)

        class Restarted(Kubernetes):
            left = 1

            def restart(self, now):
                if now and self.left:
                    self.left = 0
                    argocd.access.restarted(unavailable=0.5, forbidden=1.0)

            def application(self):
                self.restart(at == "reading")
                return super().application()

            def patch(self, patch):
                self.restart(at == ("asking for the sync" if "operation" in patch else "writing the pointer"))
                super().patch(patch)

            def pods(self):
                self.restart(at == "asking for pods")
                return super().pods()

        cluster = Restarted("triton-fraud", "argocd", "triton", "triton-fraud-pods")
        patience = Patience(first_pause=0.05, longest_pause=0.2)
        made = Deployment(goal(tmp_path), cluster, prover=Prover(argocd), patience=patience)
        assert [pod["version"] for pod in made.run().details["served"]] == [made.request.version]
        assert cluster.left == 0
        assert made.cluster.application().generation == made.request.generation
