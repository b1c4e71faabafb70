"""The stand-in for Argo CD follows the API's rules, and no request fails while versions switch."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from local.argocd import ArgoCD, ArgoCDSettings
from local.argocd.fields import merge_patch, problems, unknown_fields
from local.argocd.rollout import Server
from local.triton import Killed, TritonFailed

APPLICATION = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/triton-fraud"
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/triton/endpointslices"
    "?labelSelector=kubernetes.io%2Fservice-name%3Dtriton-fraud-pods"
)
POINTER = "fraudloop.io/model-version"


class FakePod:
    """Answers every request with its version. A version that starts with `broken` never becomes ready."""

    def __init__(self, version: str, killed: bool = False) -> None:
        self.version, self.killed = version, killed
        self.alive = False
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = fake.version.encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http_port = self._server.server_address[1]

    def start(self) -> None:
        self.alive = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def wait_ready(self, seconds: float, given_up: threading.Event | None) -> None:
        if self.version.startswith("slow") and given_up is not None and given_up.wait(20):
            raise TritonFailed("nobody waits any more")
        if self.killed:
            raise Killed("killed before it was ready")
        if self.version.startswith("broken"):
            raise TritonFailed("the weights do not fit")

    def stop(self) -> None:
        if self.alive:
            self._server.shutdown()
        self.alive = False
        self._server.server_close()


def fake_pod(version: str, folder: Path) -> Server:
    if version.startswith("absent"):
        raise FileNotFoundError(f"{version} has no manifest")
    return FakePod(version, killed=version.startswith("killed") and folder.name.startswith("001"))


@pytest.fixture
def argocd(tmp_path: Path) -> Iterator[ArgoCD]:
    with ArgoCD(tmp_path / "state", ArgoCDSettings("s3://artifacts/models/fraud"), fake_pod) as running:
        yield running


def call(argocd: ArgoCD, path: str, patch: Any = None, kind: str = "application/merge-patch+json") -> tuple[int, Any]:
    body = None if patch is None else json.dumps(patch).encode()
    request = urllib.request.Request(
        argocd.api_url + path, body, {"Content-Type": kind}, method="PATCH" if body else "GET"
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def point(argocd: ArgoCD, version: str) -> dict[str, Any]:
    """Move the pointer and request a sync. Returns the Application once the operation is done."""
    patch = {
        "spec": {"source": {"kustomize": {"commonAnnotations": {POINTER: version}}}},
        "operation": {"info": [{"name": "correlationId", "value": version}], "sync": {"revision": "HEAD"}},
        "status": {"operationState": None},
    }
    assert call(argocd, APPLICATION, patch)[0] == 200
    return until(argocd, reconciled)


def reconciled(live: dict[str, Any]) -> bool:
    """The operation has ended, and the status was refreshed since."""
    status = live["status"]
    return "operation" not in live and status.get("reconciledAt", "") >= status["operationState"]["finishedAt"]


def until(argocd: ArgoCD, true: Any, seconds: float = 10.0) -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        live: dict[str, Any] = call(argocd, APPLICATION)[1]
        if true(live):
            return live
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {live}")


def health(live: dict[str, Any]) -> str:
    return str(live.get("status", {}).get("health", {}).get("status", ""))


def ask(argocd: ArgoCD) -> bytes:
    with urllib.request.urlopen(argocd.service_url + "/v2", timeout=10) as answer:
        body: bytes = answer.read()
        return body


def test_a_stale_resource_version_is_a_conflict(argocd: ArgoCD) -> None:
    """Of two writers with the same reading one gets 409, and nothing of its patch is stored."""
    read = call(argocd, APPLICATION)[1]["metadata"]["resourceVersion"]
    patch = {"metadata": {"resourceVersion": read, "annotations": {"fraudloop.io/generation": "1"}}}
    assert call(argocd, APPLICATION, patch)[0] == 200
    code, answer = call(argocd, APPLICATION, {"metadata": {"resourceVersion": read, "annotations": {"a": "b"}}})
    assert (code, answer["reason"]) == (409, "Conflict")
    assert "a" not in call(argocd, APPLICATION)[1]["metadata"]["annotations"]


def test_a_change_of_nothing_keeps_the_resource_version(argocd: ArgoCD) -> None:
    """Only a real change gives the object a new version."""
    first = until(argocd, lambda live: "reconciledAt" in live.get("status", {}))["metadata"]
    call(argocd, APPLICATION, {"metadata": {"annotations": {"fraudloop.io/owner": "controller"}}})
    assert call(argocd, APPLICATION)[1]["metadata"] == first
    changed = call(argocd, APPLICATION, {"spec": {"source": {"targetRevision": "main"}}})[1]["metadata"]
    assert changed["generation"] == first["generation"] + 1


def test_unknown_fields_are_pruned_or_refused(argocd: ArgoCD) -> None:
    """An API server drops what the CRD does not know, and answers 422 to a patch under fieldValidation=Strict."""
    patch: dict[str, Any] = {"spec": {"sourec": {}, "source": {"kustomise": {}}}}
    assert call(argocd, APPLICATION, patch)[0] == 200
    assert "sourec" not in call(argocd, APPLICATION)[1]["spec"]
    code, answer = call(argocd, f"{APPLICATION}?fieldValidation=Strict", patch)
    assert code == 422
    assert 'unknown field "spec.sourec"' in answer["message"]
    assert 'unknown field "spec.source.kustomise"' in answer["message"]


def test_a_wrong_type_is_invalid(argocd: ArgoCD) -> None:
    """Annotations are strings: a number gets 422 with the field."""
    code, answer = call(argocd, APPLICATION, {"metadata": {"annotations": {"fraudloop.io/generation": 3}}})
    assert code == 422
    assert "metadata.annotations.fraudloop.io/generation" in answer["message"]


def test_what_is_not_there_and_what_is_not_a_merge_patch(argocd: ArgoCD) -> None:
    """404 for another name, 415 for a patch that no custom resource takes, an empty list for another service."""
    assert call(argocd, APPLICATION + "-other")[0] == 404
    assert call(argocd, APPLICATION, {}, "application/strategic-merge-patch+json")[0] == 415
    assert call(argocd, SLICES.replace("pods", "others"))[1]["items"] == []


def test_a_sync_rolls_the_version_out(argocd: ArgoCD) -> None:
    """The operation is consumed and reported with our correlation id; then the service serves the version."""
    live = point(argocd, "v1")
    state = live["status"]["operationState"]
    assert (state["phase"], state["operation"]["info"][0]["value"]) == ("Succeeded", "v1")
    assert state["finishedAt"] <= live["status"]["reconciledAt"]
    live = until(argocd, lambda live: health(live) == "Healthy")
    assert live["status"]["sync"]["status"] == "Synced"
    assert [entry["id"] for entry in live["status"]["history"]] == [0]
    assert list(problems(live)) == [], "what the controller writes is valid by upstream's CRD"
    assert list(unknown_fields(live)) == []
    assert ask(argocd) == b"v1"
    (only,) = call(argocd, SLICES)[1]["items"]
    assert only["endpoints"][0]["conditions"] == {"ready": True, "serving": True, "terminating": False}


@pytest.mark.parametrize("version", ["broken-1", "absent-1"])
def test_a_broken_candidate_leaves_the_old_one_serving(argocd: ArgoCD, version: str) -> None:
    """Health is Degraded with the reason. The old version serves throughout, and going back to it is healthy at
    once.
    """
    point(argocd, "v1")
    until(argocd, lambda live: health(live) == "Healthy")
    live = until(argocd, lambda live: health(live) == "Degraded") if point(argocd, version) else {}
    assert version in live["status"]["health"]["message"]
    assert ask(argocd) == b"v1"
    point(argocd, "v1")
    until(argocd, lambda live: health(live) == "Healthy")
    assert ask(argocd) == b"v1"


def test_a_pod_that_dies_is_started_again(argocd: ArgoCD) -> None:
    """As with a kubelet: the dead pod is no endpoint any more, and another one serves the same version."""
    point(argocd, "v1")
    until(argocd, lambda live: health(live) == "Healthy")
    (dead,) = argocd.rollout.pods()
    dead.server.stop()
    until(argocd, lambda _: [pod.ready for pod in argocd.rollout.pods() if pod is not dead] == [True])
    until(argocd, lambda live: health(live) == "Healthy")
    assert dead not in argocd.rollout.pods()
    assert ask(argocd) == b"v1"


def test_a_pod_that_is_killed_while_it_starts_is_started_again(argocd: ArgoCD) -> None:
    """A killed pod says nothing about the candidate: the rollout continues, and is never Degraded."""
    point(argocd, "killed-1")
    until(argocd, lambda live: health(live) == "Healthy")
    assert ask(argocd) == b"killed-1"
    assert [pod.name for pod in argocd.rollout.pods()] == ["triton-002-killed-1"]


def test_a_rollout_can_be_given_up(argocd: ArgoCD) -> None:
    """A newer version cancels the start of an older one."""
    point(argocd, "v1")
    until(argocd, lambda live: health(live) == "Healthy")
    point(argocd, "slow-1")
    assert health(call(argocd, APPLICATION)[1]) == "Progressing"
    point(argocd, "v2")
    until(argocd, lambda live: health(live) == "Healthy")
    assert ask(argocd) == b"v2"


def test_a_change_without_a_sync_is_out_of_sync(argocd: ArgoCD) -> None:
    """The pointer alone changes nothing that runs; a refresh is consumed."""
    point(argocd, "v1")
    until(argocd, lambda live: health(live) == "Healthy")
    annotations = {"argocd.argoproj.io/refresh": "normal"}
    patch = {
        "metadata": {"annotations": annotations},
        "spec": {"source": {"kustomize": {"commonAnnotations": {POINTER: "v2"}}}},
    }
    call(argocd, APPLICATION, patch)
    live = until(argocd, lambda live: live["status"]["sync"]["status"] == "OutOfSync")
    assert "argocd.argoproj.io/refresh" not in live["metadata"]["annotations"]
    assert ask(argocd) == b"v1"


def test_no_request_fails_while_versions_are_switched(argocd: ArgoCD) -> None:
    """A client that sends requests throughout, without retries, on one or many connections, sees no failure."""
    point(argocd, "v0")
    until(argocd, lambda live: health(live) == "Healthy")
    stopped, seen, failures = threading.Event(), [], []

    def client(keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", argocd.front.port, timeout=10)
        while not stopped.is_set():
            try:
                connection.request("GET", "/v2")
                answer = connection.getresponse()
                seen.append(answer.read())
                assert answer.status == 200
            except Exception as error:
                failures.append(error)
            if not keep:
                connection.close()
        connection.close()

    clients = [threading.Thread(target=client, args=(keep,)) for keep in (True, False)]
    for thread in clients:
        thread.start()
    for number in range(1, 6):
        point(argocd, f"v{number}")
        until(argocd, lambda live: health(live) == "Healthy")
    stopped.set()
    for thread in clients:
        thread.join()
    assert failures == []
    assert set(seen) == {f"v{number}".encode() for number in range(6)}


def test_the_service_answers_503_before_the_first_version(argocd: ArgoCD) -> None:
    """Without a pod there is no prediction."""
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        ask(argocd)
    refused.value.close()


def test_state_and_ports_survive_a_restart(tmp_path: Path) -> None:
    """After a restart the Application has the same address, and the same version is served again."""
    settings = ArgoCDSettings("s3://artifacts/models/fraud")
    with ArgoCD(tmp_path, settings, fake_pod) as first:
        point(first, "v1")
        before = until(first, lambda live: health(live) == "Healthy")
    pod = tmp_path / "pods" / "001-v1"
    (pod / "repository").mkdir(parents=True)
    (pod / "triton.log").write_text("weights do not fit")
    with ArgoCD(tmp_path, settings, fake_pod) as second:
        assert [left.name for left in pod.iterdir()] == ["triton.log"], "the log, which a run's reason may name"
        after = until(second, lambda live: health(live) == "Healthy" and second.rollout.pods())
        deadline = time.monotonic() + 5
        while not any(pod.ready for pod in second.rollout.pods()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ask(second) == b"v1"
        assert (second.api_url, second.service_url) == (first.api_url, first.service_url)
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["status"]["history"] == before["status"]["history"]


def test_an_operation_can_be_terminated(tmp_path: Path) -> None:
    """Phase Terminating ends a running operation as Failed, without applying it."""
    argocd = ArgoCD(
        tmp_path, ArgoCDSettings("s3://artifacts/models/fraud"), fake_pod
    )  # not started: we step it ourselves
    argocd.record.patch({"operation": {"sync": {}}})
    argocd.syncer.step()
    assert argocd.record.get()["status"]["operationState"]["phase"] == "Running"
    argocd.record.patch({"status": {"operationState": {"phase": "Terminating"}}})
    argocd.syncer.step()
    live = argocd.record.get()
    assert "operation" not in live
    assert live["status"]["operationState"]["phase"] == "Failed"
    assert live["status"].get("history", []) == []
    argocd.stop()


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_as_the_rfc_shows_them(target: Any, patch: Any, result: Any) -> None:
    """The examples of RFC 7386, appendix A."""
    assert merge_patch(target, patch) == result
