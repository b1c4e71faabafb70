"""The Application's API answers like kube-apiserver: code, reason and words for each request that somebody may send.

Codes were seen on kube-apiserver 1.36; words are from k8s.io/apiserver, apiextensions-apiserver and apimachinery.
"""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from werkzeug.serving import make_server

from local.argocd.access import KubernetesAccess
from local.argocd.api import application
from local.argocd.record import ApplicationRecord
from local.argocd.rollout import TritonPod, endpoint_slices
from local.argocd.settings import ArgoCDSettings
from local.aws.server import served

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications"
PATH = f"{NAMESPACE}/triton-fraud"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
STAGE = "system:serviceaccount:kubeflow:stages"
HEAD: dict[str, Any] = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Application",
    "metadata": {"name": "triton-fraud"},
}


class Server:
    """The API over HTTP, and its record."""

    def __init__(self, url, record, access):
        self.url, self.record, self.access = url, record, access

    def ask(self, method, path=PATH, body=None, kind=MERGE, token=""):
        """Returns code, response and warnings."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Content-Type": kind, **({"Authorization": f"Bearer {token}"} if token else {})}
        options = urllib.request.Request(self.url + path, raw, headers, method=method)
        try:
            with urllib.request.urlopen(options, timeout=10) as answer:
                return answer.status, json.load(answer), answer.headers.get_all("Warning") or []
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error), []

    def patch(self, body, query="", kind=MERGE):
        return self.ask("PATCH", PATH + query, body, kind)


@pytest.fixture
def clock():
    return [1000.0]


@pytest.fixture
def api(tmp_path, clock):
    settings = ArgoCDSettings("s3://artifacts/models/fraud")
    record = ApplicationRecord(tmp_path / "application.json", settings.manifest())
    access = KubernetesAccess({"t": (STAGE, frozenset({("get", "applications")}))}, clock=lambda: clock[0])
    app = application(settings, record, list, access)
    with served(make_server("127.0.0.1", 0, app, threaded=True)) as url:
        yield Server(url, record, access)


LARGE = {"metadata": {"annotations": {"a": "x" * (256 * 1024)}}}
REFUSED = [
    # strict decoding (patch.go: field.Invalid(field.NewPath("patch"), …))
    ({"spec": {"sourec": 1}}, "?fieldValidation=Strict", 422, 'strict decoding error: unknown field "spec.sourec"'),
    ({"metadata": {"foo": 1}}, "?fieldValidation=Strict", 422, 'unknown field "metadata.foo"'),
    (b'{"spec": {"project": "a", "project": "b"}}', "?fieldValidation=Strict", 422, 'duplicate field "spec.project"'),
    # the CRD's own schema
    ({"spec": {"project": None}}, "", 422, "spec.project: Required value"),
    ({"spec": {"source": {"repoURL": None}}}, "", 422, "spec.source.repoURL: Required value"),
    ({"spec": None}, "", 422, "spec: Required value"),
    ({"operation": {"info": [{"name": "a"}]}}, "", 422, "operation.info[0].value: Required value"),
    ({"status": {"operationState": {"phase": "Running"}}}, "", 422, "status.operationState.operation: Required value"),
    ({"status": {"reconciledAt": "yesterday"}}, "", 422, "status.reconciledAt in body must be of type date-time"),
    ({"status": {"reconciledAt": "2026-13-01T00:00:00Z"}}, "", 422, "must be of type date-time"),
    ({"spec": {"source": {"path": 7}}}, "", 422, "spec.source.path in body must be of type string"),
    ({"spec": {"syncPolicy": {"retry": {"limit": True}}}}, "", 422, "must be of type integer"),
    ({"spec": []}, "", 422, "spec in body must be of type object"),
    # metadata
    ({"metadata": {"annotations": {"a": 3}}}, "", 422, "metadata.annotations.a"),
    ({"metadata": {"creationTimestamp": "yesterday"}}, "", 422, "metadata.creationTimestamp"),
    ({"metadata": {"annotations": {"a b": "c"}}}, "", 422, "name part must consist of alphanumeric"),
    ({"metadata": {"labels": {"a": "b c"}}}, "", 422, "a valid label must be"),
    (LARGE, "", 422, "metadata.annotations: Too long: may not be more than 262144 bytes"),
    ({"metadata": {"uid": "other"}}, "", 422, 'metadata.uid: Invalid value: "other": field is immutable'),
    ({"metadata": {"deletionTimestamp": "2026-11-27T00:00:00Z"}}, "", 422, "may only be changed via deletion"),
    ({"metadata": {"name": "other"}}, "", 400, "the name of the object (other) does not match the name on the URL"),
    ({"metadata": {"namespace": "other"}}, "", 400, "does not match the namespace sent on the request"),
    ({"metadata": None}, "", 400, "the name of the object"),
    ({"kind": "AppProject"}, "", 422, "must be Application"),
    ({"apiVersion": "argoproj.io/v1"}, "", 422, "must be argoproj.io/v1alpha1"),
    # resourceVersion (store.go: AllowUnconditionalUpdate is false)
    ({"metadata": {"resourceVersion": None}}, "", 422, "Invalid value: 0x0: must be specified for an update"),
    ({"metadata": {"resourceVersion": ""}}, "", 422, "must be specified for an update"),
    ({"metadata": {"resourceVersion": "0"}}, "", 422, "must be specified for an update"),
    ({"metadata": {"resourceVersion": "abc"}}, "", 500, 'strconv.ParseUint: parsing "abc": invalid syntax'),
    ({"metadata": {"resourceVersion": "99"}}, "", 409, "the object has been modified"),
    # the request itself
    (b"{", "", 400, "error decoding patch"),
    (b"", "", 400, "error decoding patch"),
    (b'{"spec": NaN}', "", 400, "error decoding patch"),
    (b'{"a":' * 100_000, "", 400, "error decoding patch"),
    ([], "", 400, "error decoding patch"),
    ({}, "?fieldManager=" + "x" * 129, 422, "fieldManager: Too long: may not be more than 128 bytes"),
    ({}, "?dryRun=Some", 422, 'dryRun: Unsupported value: "Some"'),
    ({}, "?fieldValidation=Maybe", 422, "fieldValidation: Unsupported value"),
    ({}, "?force=true", 422, "force: Forbidden: may not be specified for non-apply patch"),
    (b'{"a": "' + b"x" * (3 * 1024 * 1024) + b'"}', "", 413, "Request entity too large: limit is 3145728"),
]
REASONS = {400: "BadRequest", 409: "Conflict", 413: "RequestEntityTooLarge", 422: "Invalid"}


@pytest.mark.parametrize(("body", "query", "code", "words"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_a_merge_patch_that_a_real_server_refuses_is_refused_in_its_words(api, body, query, code, words):
    """Nothing of the patch is stored. The response is a Status with the same code."""
    before = api.record.get()
    answered, status, _ = api.patch(body, query)
    assert (answered, status["code"]) == (code, code)
    assert words in status["message"]
    assert status.get("reason") == REASONS.get(code)
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert status["metadata"] == {}
    assert api.record.get() == before


def test_a_status_names_the_object_and_the_causes(api):
    """kubectl and client libraries read `details`."""
    _, status, _ = api.patch({"spec": {"project": None, "destination": None}})
    assert {name: status["details"][name] for name in ("name", "group", "kind")} == {
        "name": "triton-fraud",
        "group": "argoproj.io",
        "kind": "Application",
    }
    assert {(cause["reason"], cause["field"]) for cause in status["details"]["causes"]} == {
        ("FieldValueRequired", "spec.project"),
        ("FieldValueRequired", "spec.destination"),
    }
    _, status, _ = api.ask("GET", PATH + "-other")
    assert status["details"] == {"name": "triton-fraud-other", "group": "argoproj.io", "kind": "applications"}
    assert status["message"] == 'applications.argoproj.io "triton-fraud-other" not found'


def test_unknown_fields_are_dropped_and_warned_of_unless_one_says_ignore(api):
    """`Warn` is the server's default."""
    code, answer, warnings = api.patch({"spec": {"sourec": 1}})
    assert (code, "sourec" in answer["spec"]) == (200, False)
    assert warnings == ['299 - "unknown field \\"spec.sourec\\""']
    assert api.patch({"spec": {"sourec": 1}}, "?fieldValidation=Ignore")[2] == []


def test_several_sources_and_all_else_that_upstream_has_is_kept(api):
    """The schema is upstream's complete CRD."""
    sources = [
        {"repoURL": "https://a", "chart": "c", "helm": {"parameters": [{"name": "a", "value": "b"}]}, "ref": "x"}
    ]
    spec = {"sources": sources, "ignoreDifferences": [{"kind": "Deployment", "jqPathExpressions": [".spec"]}]}
    code, answer, warnings = api.patch({"spec": spec})
    assert (code, warnings) == (200, [])
    assert spec.items() <= answer["spec"].items()


def test_a_dry_run_is_judged_and_changes_nothing(api):
    """`dryRun=All` for every kind of write: an invalid write is refused, a valid one changes nothing."""
    before = api.record.get()
    code, answer, _ = api.patch({"spec": {"project": "other"}}, "?dryRun=All")
    assert (code, answer["spec"]["project"]) == (200, "other")
    assert api.patch({"spec": {"project": 3}}, "?dryRun=All")[0] == 422
    assert api.patch([{"op": "remove", "path": "/spec/syncPolicy"}], "?dryRun=All", JSON_PATCH)[0] == 200
    assert api.patch({**HEAD, "spec": {"project": "x"}}, "?dryRun=All&fieldManager=m&force=true", APPLY)[0] == 200
    assert api.record.get() == before


@pytest.mark.parametrize(
    ("patch", "rises"),
    [
        ({"spec": {"project": "other"}}, 1),
        ({"operation": {"sync": {"revision": "main"}}}, 1),
        ({"status": {"health": {"status": "Healthy"}}}, 1),
        ({"metadata": {"annotations": {"a": "b"}}}, 0),
        ({"metadata": {"generation": 77}}, 0),
    ],
)
def test_the_generation_rises_with_everything_outside_of_metadata(api, patch, rises):
    """The Application's CRD has no status subresource, so PrepareForUpdate compares all but metadata."""
    before = api.record.get()["metadata"]["generation"]
    assert api.patch(patch)[1]["metadata"]["generation"] == before + rises


def test_a_json_patch_is_applied_as_a_whole_or_not_at_all(api):
    """RFC 6902; a test that fails is 422."""
    path = "/metadata/annotations/fraudloop.io~1generation"
    good = [{"op": "add", "path": path, "value": "1"}, {"op": "test", "path": "/spec/project", "value": "default"}]
    code, answer, _ = api.patch(good, kind=JSON_PATCH)
    assert (code, answer["metadata"]["annotations"]["fraudloop.io/generation"]) == (200, "1")
    bad = [{"op": "replace", "path": path, "value": "2"}, {"op": "test", "path": "/spec/project", "value": "other"}]
    assert api.patch(bad, kind=JSON_PATCH)[0] == 422
    assert api.patch([{"op": "remove", "path": "/spec/nothing"}], kind=JSON_PATCH)[0] == 422
    assert api.patch({"op": "add"}, kind=JSON_PATCH)[0] == 400
    assert api.record.get()["metadata"]["annotations"]["fraudloop.io/generation"] == "1"


def test_a_put_replaces_and_needs_the_version(api):
    """Omitted fields are removed. Strict errors of an object are 400 (update.go), another uid is 409."""
    body = api.record.get()
    body["spec"].pop("syncPolicy")
    without = {**body, "metadata": {name: v for name, v in body["metadata"].items() if name != "resourceVersion"}}
    assert api.ask("PUT", body=without)[0] == 422
    assert api.ask("PUT", PATH + "?fieldValidation=Strict", {**body, "spce": {}})[0] == 400
    other = {**body, "metadata": {**body["metadata"], "uid": "other"}}
    code, status, _ = api.ask("PUT", body=other)
    assert code == 409
    assert "Precondition failed: UID in precondition: other" in status["message"]
    code, answer, _ = api.ask("PUT", body=body)
    assert (code, "syncPolicy" in answer["spec"]) == (200, False)
    assert api.ask("PUT", body=body)[0] == 409, "the same version twice"


def test_a_server_side_apply_owns_what_it_names_and_conflicts_with_others(api):
    """409 names the other manager and the field. Force takes the field over. A field without owners is removed."""
    api.patch({"metadata": {"annotations": {"fraudloop.io/generation": "4"}}}, "?fieldManager=fraudloop")
    mine = {**HEAD, "metadata": {**HEAD["metadata"], "annotations": {"fraudloop.io/generation": "0", "a": "b"}}}
    assert api.patch(mine, kind=APPLY)[0] == 422, "an apply names its manager"
    code, status, _ = api.patch(mine, "?fieldManager=person", APPLY)
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "fraudloop" using argoproj.io/v1alpha1',
            "field": ".metadata.annotations.fraudloop.io/generation",
        }
    ]
    mine["metadata"]["annotations"].pop("fraudloop.io/generation")
    code, answer, _ = api.patch(mine, "?fieldManager=person", APPLY)
    assert (code, answer["metadata"]["annotations"]["a"]) == (200, "b")
    assert answer["metadata"]["annotations"]["fraudloop.io/generation"] == "4"
    owners = {(entry["manager"], entry["operation"]) for entry in answer["metadata"]["managedFields"]}
    assert {("person", "Apply"), ("fraudloop", "Update")} <= owners
    answer = api.patch(HEAD, "?fieldManager=person", APPLY)[1]
    assert "a" not in answer["metadata"]["annotations"]
    forced = {**HEAD, "metadata": {**HEAD["metadata"], "annotations": {"fraudloop.io/generation": "9"}}}
    assert (
        api.patch(forced, "?fieldManager=person&force=true", APPLY)[1]["metadata"]["annotations"][
            "fraudloop.io/generation"
        ]
        == "9"
    )
    assert api.patch({**HEAD, "kind": "AppProject"}, "?fieldManager=person", APPLY)[0] == 400
    code, status, _ = api.patch({**HEAD, "spec": {"sourec": {}}}, "?fieldManager=person", APPLY)
    assert (code, "reason" in status) == (500, False)
    assert ".spec.sourec: field not declared in schema" in status["message"]


def test_what_is_not_there_to_be_made_is_said(api):
    """Create answers 409, because the one Application exists."""
    code, status, _ = api.ask("POST", NAMESPACE, {**HEAD}, "application/json")
    assert (code, status["reason"]) == (409, "AlreadyExists")
    code, status, _ = api.ask("DELETE")
    assert (code, status["reason"]) == (405, "MethodNotAllowed")
    code, status, _ = api.ask("GET", "/apis/nothing/v1/things")
    assert (code, status["message"]) == (404, "the server could not find the requested resource")


def test_a_service_account_may_what_its_role_says(api):
    """401 for an unknown token, 403 in RBAC's words."""
    assert api.ask("GET", token="t")[0] == 200
    code, status, _ = api.ask("PATCH", body={}, token="t")
    assert (code, status["reason"]) == (403, "Forbidden")
    assert status["message"] == (
        f'applications.argoproj.io "triton-fraud" is forbidden: User "{STAGE}" cannot patch resource "applications" in '
        'API group "argoproj.io" in the namespace "argocd"'
    )
    assert status["details"] == {"name": "triton-fraud", "group": "argoproj.io", "kind": "applications"}
    code, status, _ = api.ask("GET", token="other")
    assert (code, status["reason"], status["message"]) == (401, "Unauthorized", "Unauthorized")


def test_after_a_restart_it_is_unavailable_then_forbids_then_answers(api, clock):
    """503, then 403 while the RBAC caches fill. Nothing is lost."""
    api.access.restarted(unavailable=5, forbidden=60)
    seen = []
    for at in (1001, 1006, 1064, 1066):
        clock[0] = at
        seen.append(api.ask("GET", token="t")[0])
    assert seen == [503, 403, 403, 200]


def test_slices_say_null_while_empty_and_ready_of_every_pod():
    """As for a headless Service with publishNotReadyAddresses: `serving` and `terminating` show the pod's state."""
    (empty,) = endpoint_slices([], "pods", "triton")
    assert (empty["endpoints"], empty["ports"]) == (None, None)

    server: Any = SimpleNamespace(http_port=8000, alive=True)

    pods = [
        TritonPod("a", "v1", server, ready=True),
        TritonPod("b", "v1", server),
        TritonPod("c", "v1", server, terminating=True),
    ]
    found = [entry["endpoints"][0]["conditions"] for entry in endpoint_slices(pods, "pods", "triton")]
    assert [condition["ready"] for condition in found] == [True, True, True]
    assert [condition["serving"] for condition in found] == [True, False, True]
    assert [condition["terminating"] for condition in found] == [False, False, True]


@pytest.fixture
def kubectl(api, tmp_path):
    own = ROOT / ".venv-aws/bin/kubectl"
    found = str(own) if own.exists() else shutil.which("kubectl")
    if not found:
        pytest.skip("no kubectl: `make aws-tools` installs it")
    environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}

    def run(*words, stdin=""):
        command = [found, "--server", api.url, "--namespace", "argocd", *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, env=environment)

    return run


def test_kubectl_reads_and_changes_the_application(api, kubectl):
    """kubectl get, annotate, patch of three kinds, dry runs, apply and replace."""
    got = kubectl("get", "applications", "triton-fraud", "-o", "json")
    assert got.returncode == 0, got.stderr
    assert json.loads(got.stdout)["metadata"]["name"] == "triton-fraud"
    commands = [
        ("annotate", "application", "triton-fraud", "fraudloop.io/owner=person", "--overwrite"),
        ("patch", "app", "triton-fraud", "--type=merge", "-p", '{"spec": {"project": "a"}}'),
        (
            "patch",
            "app",
            "triton-fraud",
            "--type=json",
            "-p",
            '[{"op": "replace", "path": "/spec/project", "value": "b"}]',
        ),
        ("patch", "app", "triton-fraud", "--type=merge", "--dry-run=server", "-p", '{"spec": {"project": "c"}}'),
    ]
    for command in commands:
        done = kubectl(*command)
        assert done.returncode == 0, done.stderr
    live = api.record.get()
    assert live["spec"]["project"] == "b"
    assert live["metadata"]["annotations"]["fraudloop.io/owner"] == "person"
    refused = kubectl("patch", "app", "triton-fraud", "--type=merge", "-p", '{"spec": {"project": 3}}')
    assert refused.returncode == 1
    assert "must be of type string" in refused.stderr
    live["metadata"].pop("managedFields")
    live["spec"]["project"] = "d"
    replaced = kubectl("replace", "--validate=false", "-f", "-", stdin=json.dumps(live))
    assert replaced.returncode == 0, replaced.stderr
    mine = {**HEAD, "metadata": {"name": "triton-fraud", "namespace": "argocd"}, "spec": {"project": "e"}}
    applied = kubectl("apply", "--server-side", "--validate=false", "-f", "-", stdin=json.dumps(mine))
    assert applied.returncode == 1
    assert 'conflict with "kubectl-replace" using argoproj.io/v1alpha1: .spec.project' in applied.stderr
    applied = kubectl(
        "apply", "--server-side", "--force-conflicts", "--validate=false", "-f", "-", stdin=json.dumps(mine)
    )
    assert applied.returncode == 0, applied.stderr
    assert api.record.get()["spec"]["project"] == "e"
