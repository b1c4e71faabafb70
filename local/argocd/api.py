"""The REST paths of the Kubernetes API that the deploy stage asks for."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException

from local.argocd.record import ApplicationRecord, StatusError
from local.argocd.settings import ArgoCDSettings

MERGE_PATCH = "application/merge-patch+json"
APPLICATIONS = "/apis/argoproj.io/v1alpha1/namespaces/<namespace>/applications"
ENDPOINT_SLICES = "/apis/discovery.k8s.io/v1/namespaces/<namespace>/endpointslices"
SERVICE_LABEL = "kubernetes.io/service-name"


def application(
    settings: ArgoCDSettings, record: ApplicationRecord, slices: Callable[[], list[dict[str, Any]]]
) -> Flask:
    """The WSGI application; `slices` lists the EndpointSlices of the one Service."""
    app = Flask("argocd")

    @app.get(f"{APPLICATIONS}/<name>")
    def get_application(namespace: str, name: str) -> Response:
        _known(settings, namespace, name)
        return jsonify(record.get())

    @app.get(APPLICATIONS)
    def list_applications(namespace: str) -> Response:
        items = [record.get()] if namespace == settings.application_namespace else []
        return jsonify(_list("argoproj.io/v1alpha1", "ApplicationList", items))

    @app.patch(f"{APPLICATIONS}/<name>")
    def patch_application(namespace: str, name: str) -> Response:
        _known(settings, namespace, name)
        if request.mimetype != MERGE_PATCH:
            raise StatusError(415, "UnsupportedMediaType", f"send {MERGE_PATCH}, not {request.mimetype!r}")
        patch = request.get_json(force=True)
        if not isinstance(patch, dict):
            raise StatusError(400, "BadRequest", "a merge patch is a JSON object")
        return jsonify(record.patch(patch, strict=request.args.get("fieldValidation") == "Strict"))

    @app.get(ENDPOINT_SLICES)
    def list_slices(namespace: str) -> Response:
        label = request.args.get("labelSelector", f"{SERVICE_LABEL}={settings.service}")
        ours = namespace == settings.namespace and label == f"{SERVICE_LABEL}={settings.service}"
        return jsonify(_list("discovery.k8s.io/v1", "EndpointSliceList", slices() if ours else []))

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    @app.errorhandler(StatusError)
    def refuse(error: StatusError) -> tuple[Response, int]:
        return jsonify(error.status()), error.code

    @app.errorhandler(HTTPException)
    def misunderstand(error: HTTPException) -> tuple[Response, int]:
        code = error.code or 500
        return refuse(StatusError(code, error.name.replace(" ", ""), str(error.description)))

    return app


def _known(settings: ArgoCDSettings, namespace: str, name: str) -> None:
    if (namespace, name) != (settings.application_namespace, settings.application):
        raise StatusError(404, "NotFound", f'applications.argoproj.io "{name}" not found')


def _list(version: str, kind: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": "0"}, "items": items}
