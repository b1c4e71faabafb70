"""What the Kubernetes client makes of an API server's answers, sent over HTTP."""

import json
from contextlib import contextmanager

import pytest
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

from clients.kubernetes import ApiDenied, Applications, Right, allowed, connect, host_port, pods_of
from local.aws.server import served
from statemachine.contracts.errors import Conflict, Misconfigured, OperationRefused, Unreachable

STATUS = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "no"}


@contextmanager
def answering(path, answer, methods=("GET", "PATCH", "POST")):
    """An API client of a server that gives one answer."""
    app = Flask("api")
    app.add_url_rule(path, view_func=answer, methods=list(methods))
    with served(make_server("127.0.0.1", 0, app, threaded=True)) as url:
        yield connect(url)


def slices(*entries):
    """A list of EndpointSlices as the API server sends it."""
    return lambda: jsonify({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "items": list(entries)})


def endpoint(name, address="10.0.0.7", **conditions):
    return {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": name}}


def a_slice(*endpoints, **more):
    return {"endpoints": list(endpoints), "ports": [{"name": "http", "port": 8000}], "addressType": "IPv4", **more}


SLICES = "/apis/discovery.k8s.io/v1/namespaces/triton/endpointslices"
APPLICATION = "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/triton-fraud"


@pytest.mark.parametrize("empty", [{"endpoints": None, "ports": None}, {"endpoints": None}, {"ports": None}])
def test_a_slice_without_endpoints_holds_no_pod(empty):
    """An empty Service's slice says `endpoints: null` (kube-apiserver 1.36), which the client's model refuses."""
    with answering(SLICES, slices(a_slice() | empty)) as api:
        assert pods_of(api, "triton", "triton-fraud-pods") == []


def test_pods_are_asked_for_by_serving_and_not_terminating():
    """With publishNotReadyAddresses every pod is `ready`: one that starts, and one that ends, too."""
    starting = endpoint("starting", ready=True, serving=False, terminating=False)
    ending = endpoint("ending", ready=True, serving=True, terminating=True)
    well = endpoint("well", ready=True, serving=True, terminating=False)
    unknown = endpoint("unknown", "10.0.0.8")  # discovery/v1: nil `serving` reads as true, nil `terminating` as false
    with answering(SLICES, slices(a_slice(starting, ending), a_slice(well, unknown))) as api:
        found = pods_of(api, "triton", "triton-fraud-pods")
    assert [(pod.name, pod.address) for pod in found] == [("well", "10.0.0.7:8000"), ("unknown", "10.0.0.8:8000")]


def test_an_ipv6_pod_is_asked_by_an_address_that_a_url_can_hold():
    """And a pod that a dual-stack Service lists in two slices is asked once."""
    six, four = endpoint("a", "fd00::7", serving=True), endpoint("a", "10.0.0.7", serving=True)
    with answering(SLICES, slices(a_slice(six, addressType="IPv6"), a_slice(four))) as api:
        assert [pod.address for pod in pods_of(api, "triton", "triton-fraud-pods")] == ["[fd00::7]:8000"]
    assert host_port("127.0.0.1", 8000) == "127.0.0.1:8000"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, ApiDenied),
        (403, ApiDenied),
        (404, ApiDenied),
        (409, Conflict),
        (400, OperationRefused),
        (413, OperationRefused),
        (415, OperationRefused),
        (422, OperationRefused),
        (429, Unreachable),
        (500, Unreachable),
        (503, Unreachable),
    ],
)
def test_an_answer_is_told_by_what_it_says_about_trying_again(status, kind):
    """Also for a write. A denial is a kind of silence: final only if it persists."""
    body = json.dumps({**STATUS, "code": status})
    with answering(APPLICATION, lambda: Response(body, status, mimetype="application/json")) as api:
        application = Applications(api, "argocd", "triton-fraud")
        for ask in (application.read, lambda: application.patch({"spec": {}})):
            with pytest.raises(kind, match=str(status)) as raised:
                ask()
            assert type(raised.value) is kind


def test_a_refused_connection_says_nothing_about_the_world():
    """Unreachable, and neither denied nor refused."""
    with pytest.raises(Unreachable, match="unreachable") as raised:
        Applications(connect("http://127.0.0.1:9"), "argocd", "triton-fraud").read()
    assert type(raised.value) is Unreachable


def test_without_a_service_account_a_pod_says_what_is_missing():
    """The setting is named."""
    with pytest.raises(Misconfigured, match="KUBERNETES_API_URL"):
        connect(in_pod=True)


def test_a_right_is_asked_for_with_all_that_it_names():
    """SelfSubjectAccessReview takes all of verb, group, resource, subresource, namespace, name; empty ones stay out."""
    seen = []

    def review():
        seen.append(request.get_json()["spec"]["resourceAttributes"])
        return jsonify({**request.get_json(), "status": {"allowed": seen[-1]["verb"] == "get"}})

    with answering("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review) as api:
        assert allowed(api, Right("get", "pods", "kubeflow", subresource="log"))
        assert not allowed(api, Right("delete", "namespaces", name="kubeflow"))
    assert seen == [
        {"verb": "get", "resource": "pods", "namespace": "kubeflow", "subresource": "log"},
        {"verb": "delete", "resource": "namespaces", "name": "kubeflow"},
    ]
    assert str(Right("get", "pods", "kubeflow", subresource="log")) == "get pods/log in kubeflow"
