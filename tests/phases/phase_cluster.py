"""A stand-in for what the checks ask of a Kubernetes API: pods that run a script, nodes, proxies, Experiments.

The Application and its EndpointSlices are those of `local.argocd`. Every path can be made to fail: `broken[path part]`
is the status that is answered.
"""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

from clients.kubernetes import Right
from local.argocd.api import application
from local.argocd.record import ApplicationRecord
from local.argocd.settings import ArgoCDSettings
from local.aws.server import served


@dataclass
class Cluster:
    """What the cluster looks like. `logs` are what a pod prints, by a word of its command; absent: it stays Pending."""

    pods: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    fails: set[str] = field(default_factory=set)
    node_labels: dict[str, str] = field(default_factory=dict)
    namespaces: dict[str, str] = field(default_factory=lambda: {"kubeflow": "Active"})
    pages: dict[str, str] = field(default_factory=dict)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    slices: list[dict[str, Any]] = field(default_factory=list)
    version: str = "33+"
    denied: set[str] = field(default_factory=set)
    broken: dict[str, int] = field(default_factory=dict)
    started: list[dict[str, Any]] = field(default_factory=list)
    requested: set[Right] = field(default_factory=set)

    def app(self, record: ApplicationRecord) -> Flask:
        app = application(ArgoCDSettings("s3://artifacts/models/fraud"), record, lambda: self.slices)

        @app.before_request
        def note() -> None:
            if requested := right_of(request.method, request.path):
                self.requested.add(requested)

        @app.before_request
        def fail() -> Response | None:
            for part, status in self.broken.items():
                if part in request.path:
                    return Response(json.dumps({"message": "broken on purpose"}), status, mimetype="application/json")
            return None

        @app.get("/version/")
        def version() -> Response:
            about = dict.fromkeys(("buildDate", "compiler", "gitCommit", "gitTreeState", "goVersion", "platform"), "")
            return jsonify({**about, "major": "1", "minor": self.version, "gitVersion": f"v1.{self.version}"})

        @app.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
        def review() -> Response:
            body = request.get_json()
            return jsonify(
                {**body, "status": {"allowed": body["spec"]["resourceAttributes"]["verb"] not in self.denied}}
            )

        @app.get("/api/v1/namespaces/<namespace>/pods")
        def list_pods(namespace: str) -> Response:
            return jsonify({"kind": "PodList", "apiVersion": "v1", "items": self.pods.get(namespace, [])})

        @app.post("/api/v1/namespaces/<namespace>/pods")
        def create_pod(namespace: str) -> Response:
            body = request.get_json()
            self.started.append(body)
            self.pods.setdefault(namespace, []).append(body)
            return jsonify(body)

        @app.get("/api/v1/namespaces/<namespace>/pods/<name>")
        def read_pod(namespace: str, name: str) -> Response:
            pod = self._pod(namespace, name)
            word = " ".join(pod["spec"]["containers"][0]["command"])
            ends = next((w for w in self.logs if w in word), None)
            phase = "Pending" if ends is None else "Failed" if ends in self.fails else "Succeeded"
            condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: insufficient nvidia.com/gpu"}
            return jsonify(
                {
                    **pod,
                    "spec": {**pod["spec"], "nodeName": "n1"},
                    "status": {"phase": phase, "conditions": [condition]},
                }
            )

        @app.get("/api/v1/namespaces/<namespace>/pods/<name>/log")
        def read_log(namespace: str, name: str) -> Response:
            word = " ".join(self._pod(namespace, name)["spec"]["containers"][0]["command"])
            return Response(next(text for w, text in self.logs.items() if w in word), mimetype="text/plain")

        @app.delete("/api/v1/namespaces/<namespace>/pods/<name>")
        def delete_pod(namespace: str, name: str) -> Response:
            self.pods[namespace].remove(self._pod(namespace, name))
            return jsonify({"kind": "Status", "apiVersion": "v1", "status": "Success"})

        @app.get("/api/v1/nodes/<name>")
        def read_node(name: str) -> Response:
            return jsonify({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": self.node_labels}})

        @app.get("/api/v1/namespaces/<name>")
        def read_namespace(name: str) -> tuple[Response, int]:
            if name not in self.namespaces:
                return jsonify({"kind": "Status", "reason": "NotFound", "code": 404}), 404
            return jsonify(
                {"kind": "Namespace", "metadata": {"name": name}, "status": {"phase": self.namespaces[name]}}
            ), 200

        @app.delete("/api/v1/namespaces/<name>")
        def delete_namespace(name: str) -> Response:
            self.namespaces[name] = "Terminating"
            return jsonify({"kind": "Status", "apiVersion": "v1", "status": "Success"})

        @app.get("/api/v1/namespaces/<namespace>/services/<service>/proxy/")
        @app.get("/api/v1/namespaces/<namespace>/services/<service>/proxy/<path:path>")
        def proxy(namespace: str, service: str, path: str = "") -> tuple[str, int]:
            found = self.pages.get(service)
            return (found, 200) if found is not None else ("no endpoints available", 503)

        @app.get("/apis/kubeflow.org/v1beta1/namespaces/<namespace>/experiments")
        def experiments(namespace: str) -> Response:
            return jsonify({"items": self.experiments})

        return app

    def _pod(self, namespace: str, name: str) -> dict[str, Any]:
        return next(pod for pod in self.pods[namespace] if pod["metadata"]["name"] == name)


def right_of(method: str, path: str) -> Right | None:
    """Returns the right that an API server checks for a request (RequestInfo); None if the path is no object's."""
    parts = path.strip("/").split("/")
    if parts[0] not in ("api", "apis") or "selfsubjectaccessreviews" in parts:
        return None
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource, name, subresource = (*rest, "", "")[:3]
    verbs = {"GET": "get" if name else "list", "POST": "create", "PATCH": "patch", "DELETE": "delete"}
    return Right(verbs[method], resource, namespace, group, subresource, name)


def serving(app: Flask) -> AbstractContextManager[str]:
    """The API on a free loopback port; gives its URL."""
    return served(make_server("127.0.0.1", 0, app, threaded=True))
