"""The routes of pipelines, their versions and their uploads."""

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from local.kfp.errors import ALREADY_EXISTS, INVALID_ARGUMENT, ApiError, doing
from local.kfp.pipelines import short
from local.kfp.serving import Services, body_of, listed, sent
from local.kfp.store import Document


def pipelines(services: Services) -> Blueprint:
    api = Blueprint("pipelines", __name__)
    registry = services.registry

    def pipeline(key: str, verb: str) -> Document:
        document = registry.get("pipeline", key)
        services.check(verb, "pipelines", document["namespace"])
        return document

    @api.post("/pipelines")
    def create() -> ResponseReturnValue:
        body = body_of("V2beta1Pipeline")
        body["namespace"] = services.access.namespace(body.get("namespace"))
        with doing("Failed to create a pipeline"):
            services.check("create", "pipelines", body["namespace"])
            return sent(registry.create_pipeline(body))

    @api.get("/pipelines")
    def every() -> ResponseReturnValue:
        namespace = services.access.namespace(request.args.get("namespace"))
        with doing("Failed to list pipelines"):
            services.check("list", "pipelines", namespace)
            return listed(services, "pipeline", "pipelines", namespace if services.access.multi_user else None)

    @api.get("/pipelines/<key>")
    def one(key: str) -> ResponseReturnValue:
        with doing("Failed to get a pipeline"):
            return sent(pipeline(key, "get"))

    @api.get("/pipelines/names/<name>")
    def named(name: str) -> ResponseReturnValue:
        namespace = services.access.namespace(request.args.get("namespace"))
        with doing(f"Failed to get a pipeline with name {name} and namespace {namespace}"):
            services.check("get", "pipelines", namespace)
            return sent(registry.pipeline_named(name, namespace))

    @api.delete("/pipelines/<key>")
    def delete(key: str) -> ResponseReturnValue:
        with doing(f"Failed to delete pipeline {key}"):
            pipeline(key, "delete")
            registry.delete("pipeline", key, cascade=request.args.get("cascade") in ("true", "True", "1"))
        return jsonify({})

    @api.get("/pipelines/<key>/versions")
    def versions(key: str) -> ResponseReturnValue:
        with doing("Failed to list pipeline versions"):
            pipeline(key, "list")
            return listed(services, "pipeline_version", "pipeline_versions", key)

    @api.get("/pipelines/<key>/versions/<version>")
    def version(key: str, version: str) -> ResponseReturnValue:
        with doing(f"Failed to get a pipeline version with id {version}"):
            found = registry.get("pipeline_version", version)
            pipeline(found["pipeline_id"], "get")
        return sent(found)

    @api.delete("/pipelines/<key>/versions/<version>")
    def delete_version(key: str, version: str) -> ResponseReturnValue:
        with doing(f"Failed to delete a pipeline version with id {version}"):
            pipeline(registry.get("pipeline_version", version)["pipeline_id"], "delete")
            registry.delete("pipeline_version", version)
        return jsonify({})

    return api


def uploads(services: Services) -> Blueprint:
    """Upload routes (pipeline_upload_server.go). They are outside the gateway, so their errors have another form."""
    api = Blueprint("uploads", __name__)
    registry = services.registry

    @api.post("/pipelines/upload")
    def upload() -> ResponseReturnValue:
        failed = "Failed to create a pipeline"
        package = _uploaded("Failed to read pipeline from file")
        namespace = services.access.namespace(request.args.get("namespace"))
        name = request.args.get("name") or request.args.get("display_name") or package[0]
        try:
            short("Pipeline", Namespace=(namespace, 63), Name=(name, 128))
        except ApiError as error:
            return error.message, 400
        body = {
            "name": name,
            "display_name": request.args.get("display_name"),
            "description": request.args.get("description"),
        }
        try:
            if namespace:
                services.check("create", "pipelines", namespace)
        except ApiError:
            return _refused(400, failed)
        try:
            with services.store.lock:
                made = registry.create_pipeline(body | {"namespace": namespace})
                try:
                    registry.create_version(made["pipeline_id"], name, package[1], body["description"] or "")
                except ApiError:
                    registry.delete("pipeline", made["pipeline_id"])
                    raise
        except ApiError as error:
            return _not_created(error, "Failed to create a pipeline and a pipeline version")
        return sent(made)

    @api.post("/pipelines/upload_version")
    def upload_version() -> ResponseReturnValue:
        failed = "Failed to create a pipeline version"
        package = _uploaded(failed)
        key = request.args.get("pipelineid", "")
        name = request.args.get("name") or request.args.get("display_name") or package[0]
        try:
            short("PipelineVersion", Name=(name, 127))
        except ApiError as error:
            return error.message, 400
        try:
            namespace = registry.get("pipeline", key)["namespace"]
            if namespace:
                services.check("create", "pipelines", namespace)
        except ApiError:
            return _refused(400, failed)
        try:
            return sent(registry.create_version(key, name, package[1], request.args.get("description", "")))
        except ApiError as error:
            return _not_created(error, failed)

    return api


def _uploaded(failed: str) -> tuple[str, bytes]:
    file = request.files.get("uploadfile")
    if file is None:
        raise UnreadableUpload(failed)
    return file.filename or "pipeline", file.read()


class UnreadableUpload(ApiError):
    """An upload without a file."""

    def __init__(self, message: str) -> None:
        super().__init__(400, INVALID_ARGUMENT, message)

    def body(self) -> dict[str, object]:
        """Return the body in the upload server's form."""
        return {"error_message": self.message, "error_details": self.message}


def _not_created(error: ApiError, failed: str) -> ResponseReturnValue:
    if error.code == ALREADY_EXISTS:
        return _refused(409, failed)
    return _refused(400, error.external or failed) if error.code == INVALID_ARGUMENT else _refused(500, failed)


def _refused(status: int, message: str) -> ResponseReturnValue:
    return jsonify(error_message=message, error_details=message), status
