"""The REST paths of the Kubernetes API that the deploy stage, our commands and kubectl use."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from local.argocd import patches
from local.argocd.access import KubernetesAccess
from local.argocd.errors import GROUP, RESOURCE, StatusError, not_found, too_large
from local.argocd.options import force, write_options
from local.argocd.record import ApplicationRecord
from local.argocd.settings import ArgoCDSettings

BODY_LIMIT = 3 * 1024 * 1024  # kube-apiserver's MaxRequestBodyBytes
APPLICATIONS = "/apis/argoproj.io/v1alpha1/namespaces/<namespace>/applications"
ENDPOINT_SLICES = "/apis/discovery.k8s.io/v1/namespaces/<namespace>/endpointslices"
SERVICE_LABEL = "kubernetes.io/service-name"
SERVED: dict[str, dict[str, Any]] = {
    "argoproj.io/v1alpha1": {
        "name": "applications",
        "singularName": "application",
        "shortNames": ["app", "apps"],
        "kind": "Application",
        "verbs": ["get", "list", "patch", "update"],
    },
    "discovery.k8s.io/v1": {
        "name": "endpointslices",
        "singularName": "endpointslice",
        "kind": "EndpointSlice",
        "verbs": ["list"],
    },
}


def application(
    settings: ArgoCDSettings,
    record: ApplicationRecord,
    slices: Callable[[], list[dict[str, Any]]],
    access: KubernetesAccess | None = None,
) -> Flask:
    """Return the WSGI application; `slices` lists the EndpointSlices of the one Service."""
    app, access = Flask("argocd"), access or KubernetesAccess()
    app.config["MAX_CONTENT_LENGTH"] = None

    def may(verb: str, resource: str, namespace: str, name: str = "", group: str = GROUP) -> str:
        header = request.headers.get("Authorization", "")
        access.check(header, verb, resource, group, namespace, name)
        return access.user(header)

    @app.get(f"{APPLICATIONS}/<name>")
    def get_application(namespace: str, name: str) -> Response:
        may("get", RESOURCE, namespace, name)
        _known(settings, namespace, name)
        return jsonify(record.get())

    @app.get(APPLICATIONS)
    def list_applications(namespace: str) -> Response:
        may("list", RESOURCE, namespace)
        items = [record.get()] if namespace == settings.application_namespace else []
        return jsonify(_list("argoproj.io/v1alpha1", "ApplicationList", items))

    @app.post(APPLICATIONS)
    def create_application(namespace: str) -> Response:
        may("create", RESOURCE, namespace)
        body, _ = patches.json_of(_body(), dict)
        name = str((body.get("metadata") or {}).get("name", ""))
        _known(settings, namespace, name)  # the one Application exists; no other can be created
        details = {"name": name, "group": GROUP, "kind": RESOURCE}
        raise StatusError(409, "AlreadyExists", f'{RESOURCE}.{GROUP} "{name}" already exists', details)

    @app.put(f"{APPLICATIONS}/<name>")
    def put_application(namespace: str, name: str) -> Response:
        user = may("update", RESOURCE, namespace, name)
        _known(settings, namespace, name)
        body, twice = patches.json_of(_body(), dict)
        options = write_options(user, twice)
        return _warned(jsonify(record.put(body, options)), options.warnings)

    @app.patch(f"{APPLICATIONS}/<name>")
    def patch_application(namespace: str, name: str) -> Response:
        user = may("patch", RESOURCE, namespace, name)
        _known(settings, namespace, name)
        return _patched(record, user)

    @app.get(ENDPOINT_SLICES)
    def list_slices(namespace: str) -> Response:
        may("list", "endpointslices", namespace, group="discovery.k8s.io")
        label = request.args.get("labelSelector", f"{SERVICE_LABEL}={settings.service}")
        ours = namespace == settings.namespace and label == f"{SERVICE_LABEL}={settings.service}"
        return jsonify(_list("discovery.k8s.io/v1", "EndpointSliceList", slices() if ours else []))

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    _discovery(app)

    @app.errorhandler(StatusError)
    def refuse(error: StatusError) -> tuple[Response, int]:
        return jsonify(error.status()), error.code

    @app.errorhandler(HTTPException)
    def misunderstand(error: HTTPException) -> tuple[Response, int]:
        code = error.code or 500
        words = {
            404: "the server could not find the requested resource",
            405: "the server does not allow this method on the requested resource",
        }
        return refuse(StatusError(code, error.name.replace(" ", ""), words.get(code, str(error.description))))

    return app


def _patched(record: ApplicationRecord, user: str) -> Response:
    """Apply a patch of the kind that Content-Type names."""
    kind = request.mimetype
    if kind not in patches.KINDS:
        words = "the body of the request was in an unknown format - accepted media types include: "
        raise StatusError(415, "UnsupportedMediaType", words + ", ".join(patches.KINDS))
    body, options = _body(), write_options(user, apply=kind == patches.APPLY)
    if kind == patches.MERGE:
        patch, options.duplicates = patches.json_of(body, dict)
        answer = record.patch(patch, options)
    elif kind == patches.JSON_PATCH:
        operations, options.duplicates = patches.json_of(body, list, prefix="json patch ")
        answer = record.json_patch(operations, options)
    else:
        answer = record.apply(patches.yaml_of(body), options, force=force())
    return _warned(jsonify(answer), options.warnings)


def _body() -> bytes:
    """Return the request's body. Raises StatusError (413)."""
    body = request.get_data()
    if len(body) > BODY_LIMIT:
        raise too_large(BODY_LIMIT)
    return body


def _warned(answer: Response, warnings: list[str]) -> Response:
    for warning in warnings:
        text = warning.replace("\\", "\\\\").replace('"', '\\"')
        answer.headers.add("Warning", f'299 - "{text}"')
    return answer


def _known(settings: ArgoCDSettings, namespace: str, name: str) -> None:
    if (namespace, name) != (settings.application_namespace, settings.application):
        raise not_found(name)


def _list(version: str, kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": "0"}, "items": items}


def _discovery(app: Flask) -> None:
    """Serve API discovery, which kubectl requests first."""

    @app.get("/api")
    def core() -> Response:
        return jsonify({"kind": "APIVersions", "versions": ["v1"]})

    @app.get("/api/v1")
    def core_kinds() -> Response:
        return jsonify({"kind": "APIResourceList", "groupVersion": "v1", "resources": []})

    @app.get("/apis")
    def groups() -> Response:
        found = []
        for version in SERVED:
            group, _, short = version.partition("/")
            named = {"groupVersion": version, "version": short}
            found.append({"name": group, "versions": [named], "preferredVersion": named})
        return jsonify({"kind": "APIGroupList", "apiVersion": "v1", "groups": found})

    @app.get("/apis/<group>/<version>")
    def kinds(group: str, version: str) -> Response:
        name = f"{group}/{version}"
        if name not in SERVED:
            raise StatusError(404, "NotFound", "the server could not find the requested resource")
        served = {**SERVED[name], "namespaced": True}
        return jsonify({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": [served]})
