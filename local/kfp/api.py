"""The v2beta1 REST routes, as Flask: what a request says becomes one call, what comes back becomes JSON.

What is said before an error's message is upstream 2.17.0's: backend/src/apiserver/server/*_server.go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Flask, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from local.kfp import listing, messages
from local.kfp.access import Access
from local.kfp.errors import ALREADY_EXISTS, INVALID_ARGUMENT, ApiError, doing, invalid
from local.kfp.pipelines import Registry, short
from local.kfp.recurring import RecurringRuns
from local.kfp.runs import Runs
from local.kfp.store import Document, DocumentStore

PREFIX = "/apis/v2beta1"
ROUTING = {
    404: (404, 5, "Not Found"),
    405: (501, 12, "Method Not Allowed"),
}  # grpc-gateway v2, DefaultRoutingErrorHandler


@dataclass(frozen=True)
class World:
    """What the routes serve; `hidden` are the runs that a listing does not show yet."""

    store: DocumentStore
    registry: Registry
    runs: Runs
    recurring: RecurringRuns
    hidden: Callable[[], Sequence[str]]
    access: Access

    def check(self, verb: str, resource: str, namespace: str) -> None:
        """May whoever asks do this?"""
        self.access.check(request.headers.get("Authorization", ""), verb, resource, namespace)

    def known(self, kind: str, key: str, verb: str, resource: str) -> Document:
        """An experiment, run or recurring run that whoever asks may treat so."""
        if kind == "run":
            document = self.runs.get(key)
        elif kind == "recurring_run":
            document = self.recurring.get(key)
        else:
            document = self.registry.get(kind, key)
        self.check(verb, resource, document["namespace"])
        return document

    def namespace_of(self, experiment: str | None) -> str:
        """An experiment's namespace; without one, a run cannot be placed in multi-user mode."""
        if not experiment:
            if self.access.multi_user:
                raise invalid("Experiment id can not be empty in multi-user mode")
            return ""
        return str(self.registry.get("experiment", experiment)["namespace"])


def create_app(world: World) -> Flask:
    """The application."""
    app = Flask("local.kfp")
    app.register_error_handler(ApiError, lambda error: (jsonify(error.body()), error.status))
    app.register_error_handler(HTTPException, _http_error)
    about = {"multi_user": world.access.multi_user}
    app.add_url_rule(f"{PREFIX}/healthz", view_func=lambda: jsonify(about), endpoint="healthz")
    for blueprint in (_experiments(world), _pipelines(world), _uploads(world), _runs(world), _recurring(world)):
        app.register_blueprint(blueprint, url_prefix=PREFIX)
    return app


def _experiments(world: World) -> Blueprint:
    api = Blueprint("experiments", __name__)

    @api.post("/experiments")
    def create() -> ResponseReturnValue:
        body = _body("V2beta1Experiment")
        body["namespace"] = world.access.namespace(body.get("namespace"))
        with doing("Failed to create a experiment"):
            world.check("create", "experiments", body["namespace"])
            return _sent(world.registry.create_experiment(body))

    @api.get("/experiments")
    def every() -> ResponseReturnValue:
        namespace = world.access.namespace(request.args.get("namespace"))
        with doing("List experiments failed"):
            world.check("list", "experiments", namespace)
            return _listed(world, "experiment", "experiments", namespace if world.access.multi_user else None)

    @api.get("/experiments/<key>")
    def one(key: str) -> ResponseReturnValue:
        with doing("Failed to fetch experiment"):
            return _sent(world.known("experiment", key, "get", "experiments"))

    @api.delete("/experiments/<key>")
    def delete(key: str) -> ResponseReturnValue:
        with doing("Failed to delete experiment"):
            world.known("experiment", key, "delete", "experiments")
            world.registry.delete("experiment", key)
        return jsonify({})

    @api.post("/experiments/<key>:<verb>")
    def act(key: str, verb: str) -> ResponseReturnValue:
        _verb({"archive": None, "unarchive": None}, verb)
        with doing(f"Failed to {verb} experiment"):
            if world.access.multi_user:  # else, as upstream has it, one that is not there is no error
                world.known("experiment", key, verb, "experiments")
            state = "ARCHIVED" if verb == "archive" else "AVAILABLE"
            world.registry.keep_experiment(key, storage_state=state)
            if verb == "archive":
                world.runs.archive_all_of(key)
                world.recurring.disable_all_of(key)
        return jsonify({})

    return api


def _pipelines(world: World) -> Blueprint:
    api = Blueprint("pipelines", __name__)
    registry = world.registry

    def pipeline(key: str, verb: str) -> Document:
        document = registry.get("pipeline", key)
        world.check(verb, "pipelines", document["namespace"])
        return document

    @api.post("/pipelines")
    def create() -> ResponseReturnValue:
        body = _body("V2beta1Pipeline")
        body["namespace"] = world.access.namespace(body.get("namespace"))
        with doing("Failed to create a pipeline"):
            world.check("create", "pipelines", body["namespace"])
            return _sent(registry.create_pipeline(body))

    @api.get("/pipelines")
    def every() -> ResponseReturnValue:
        namespace = world.access.namespace(request.args.get("namespace"))
        with doing("Failed to list pipelines"):
            world.check("list", "pipelines", namespace)
            return _listed(world, "pipeline", "pipelines", namespace if world.access.multi_user else None)

    @api.get("/pipelines/<key>")
    def one(key: str) -> ResponseReturnValue:
        with doing("Failed to get a pipeline"):
            return _sent(pipeline(key, "get"))

    @api.get("/pipelines/names/<name>")
    def named(name: str) -> ResponseReturnValue:
        namespace = world.access.namespace(request.args.get("namespace"))
        with doing(f"Failed to get a pipeline with name {name} and namespace {namespace}"):
            world.check("get", "pipelines", namespace)
            return _sent(registry.pipeline_named(name, namespace))

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
            return _listed(world, "pipeline_version", "pipeline_versions", key)

    @api.get("/pipelines/<key>/versions/<version>")
    def version(key: str, version: str) -> ResponseReturnValue:
        with doing(f"Failed to get a pipeline version with id {version}"):
            found = registry.get("pipeline_version", version)
            pipeline(found["pipeline_id"], "get")
        return _sent(found)

    @api.delete("/pipelines/<key>/versions/<version>")
    def delete_version(key: str, version: str) -> ResponseReturnValue:
        with doing(f"Failed to delete a pipeline version with id {version}"):
            pipeline(registry.get("pipeline_version", version)["pipeline_id"], "delete")
            registry.delete("pipeline_version", version)
        return jsonify({})

    return api


def _uploads(world: World) -> Blueprint:
    """pipeline_upload_server.go: outside of the gateway, so with errors of another form."""
    api = Blueprint("uploads", __name__)
    registry = world.registry

    @api.post("/pipelines/upload")
    def upload() -> ResponseReturnValue:
        failed = "Failed to create a pipeline"
        package = _uploaded("Failed to read pipeline from file")
        namespace = world.access.namespace(request.args.get("namespace"))
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
                world.check("create", "pipelines", namespace)
        except ApiError:
            return _refused(400, failed)
        try:
            with world.store.lock:
                made = registry.create_pipeline(body | {"namespace": namespace})
                try:
                    registry.create_version(made["pipeline_id"], name, package[1], body["description"] or "")
                except ApiError:
                    registry.delete("pipeline", made["pipeline_id"])
                    raise
        except ApiError as error:
            return _not_created(error, "Failed to create a pipeline and a pipeline version")
        return _sent(made)

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
                world.check("create", "pipelines", namespace)
        except ApiError:
            return _refused(400, failed)
        try:
            return _sent(registry.create_version(key, name, package[1], request.args.get("description", "")))
        except ApiError as error:
            return _not_created(error, failed)

    return api


def _runs(world: World) -> Blueprint:
    api = Blueprint("runs", __name__)
    runs = world.runs

    @api.post("/runs")
    def create() -> ResponseReturnValue:
        body = _body("V2beta1Run")
        body.setdefault("experiment_id", request.args.get("experiment_id"))
        with doing("Failed to create a new run"):
            if world.access.multi_user:
                world.check("create", "runs", world.namespace_of(body["experiment_id"]))
            return _sent(runs.create(body))

    @api.get("/runs")
    def every() -> ResponseReturnValue:
        with doing("Failed to list runs"):
            return _listed_by_experiment(world, "run", "runs", "runs", world.hidden())

    @api.get("/runs/<key>")
    def one(key: str) -> ResponseReturnValue:
        with doing(f"Failed to get a run: Failed to fetch run {key}"):
            return _sent(world.known("run", key, "get", "runs"))

    @api.delete("/runs/<key>")
    def delete(key: str) -> ResponseReturnValue:
        with doing("Failed to delete a run"):
            world.known("run", key, "delete", "runs")
            runs.delete(key)
        return jsonify({})

    @api.post("/runs/<key>:<verb>")
    def act(key: str, verb: str) -> ResponseReturnValue:
        verbs: dict[str, Callable[[str], None]] = {
            "terminate": runs.terminate,
            "retry": runs.retry,
            "archive": lambda run_id: runs.archive(run_id, "ARCHIVED"),
            "unarchive": lambda run_id: runs.archive(run_id, "AVAILABLE"),
        }
        call = _verb(verbs, verb)
        with doing(f"Failed to {verb} a run: Failed to {verb} run {key}"):
            world.known("run", key, verb, "runs")
            call(key)
        return jsonify({})

    return api


def _recurring(world: World) -> Blueprint:
    api = Blueprint("recurringruns", __name__)
    recurring = world.recurring

    @api.post("/recurringruns")
    def create() -> ResponseReturnValue:
        body = _body("V2beta1RecurringRun")
        with doing("Failed to create a recurring run"):
            if world.access.multi_user:
                world.check("create", "jobs", world.namespace_of(body.get("experiment_id")))
            return _sent(recurring.create(body))

    @api.get("/recurringruns")
    def every() -> ResponseReturnValue:
        with doing("Failed to list recurring runs"):
            return _listed_by_experiment(world, "recurring_run", "recurringRuns", "jobs")

    @api.get("/recurringruns/<key>")
    def one(key: str) -> ResponseReturnValue:
        with doing("Failed to fetch a recurring run"):
            return _sent(world.known("recurring_run", key, "get", "jobs"))

    @api.delete("/recurringruns/<key>")
    def delete(key: str) -> ResponseReturnValue:
        with doing("Failed to delete a recurring run"):
            world.known("recurring_run", key, "delete", "jobs")
            recurring.delete(key)
        return jsonify({})

    @api.post("/recurringruns/<key>:<verb>")
    def act(key: str, verb: str) -> ResponseReturnValue:
        _verb({"enable": None, "disable": None}, verb)
        with doing(f"Failed to {verb} a recurring run"):
            world.known("recurring_run", key, verb, "jobs")
            recurring.switch(key, verb == "enable")
        return jsonify({})

    return api


def _listed_by_experiment(
    world: World, kind: str, name: str, resource: str, hidden: Sequence[str] = ()
) -> ResponseReturnValue:
    """A page of one experiment's, or of a namespace's; an experiment that is not there is an error."""
    experiment = request.args.get("experiment_id")
    namespace = world.namespace_of(experiment) if experiment else world.access.namespace(request.args.get("namespace"))
    world.check("list", resource, namespace)
    return _listed(world, kind, name, experiment or None, hidden, "" if experiment else namespace)


def _listed(
    world: World, kind: str, name: str, scope: str | None, hidden: Sequence[str] = (), within: str = ""
) -> ResponseReturnValue:
    """A page of what the request's filter, sort key and token select; an empty list is left out."""
    told = request.args
    try:
        size = int(told.get("page_size") or 0)
    except ValueError as error:
        said = f'parsing field "page_size": strconv.ParseInt: parsing "{told["page_size"]}": invalid syntax'
        raise ApiError(400, INVALID_ARGUMENT, said) from error
    asked = listing.Asked(size, told.get("page_token", ""), told.get("sort_by", ""), told.get("filter", ""))
    with doing("Failed to create list options"):
        found = listing.page(world.store, kind, asked, scope, hidden, within)
    documents = [_shown(one) for one in found.documents]
    return jsonify(_filled({name: documents, "total_size": found.total, "next_page_token": found.token}))


def _sent(document: Document) -> ResponseReturnValue:
    return jsonify(_shown(document))


def _shown(document: Document) -> Document:
    return _filled({name: value for name, value in document.items() if not name.startswith("_")})


def _filled(document: Document) -> Document:
    """protojson with `EmitUnpopulated: false`: what is empty, zero or false is left out."""
    return {name: value for name, value in document.items() if value}


def _body(message: str) -> Document:
    return messages.read(request.get_data(), message)


def _uploaded(failed: str) -> tuple[str, bytes]:
    file = request.files.get("uploadfile")
    if file is None:
        raise Unreadable(failed)
    return file.filename or "pipeline", file.read()


class Unreadable(ApiError):
    """An upload without its file."""

    def __init__(self, message: str) -> None:
        super().__init__(400, INVALID_ARGUMENT, message)

    def body(self) -> dict[str, object]:
        """As the upload server says it."""
        return {"error_message": self.message, "error_details": self.message}


def _not_created(error: ApiError, failed: str) -> ResponseReturnValue:
    if error.code == ALREADY_EXISTS:
        return _refused(409, failed)
    return _refused(400, error.external or failed) if error.code == INVALID_ARGUMENT else _refused(500, failed)


def _refused(status: int, message: str) -> ResponseReturnValue:
    return jsonify(error_message=message, error_details=message), status


def _verb(verbs: dict[str, Any], verb: str) -> Any:
    if verb not in verbs:
        raise ApiError(*ROUTING[404])
    return verbs[verb]


def _http_error(error: HTTPException) -> ResponseReturnValue:
    refused = ApiError(*ROUTING.get(error.code or 500, (error.code or 500, 2, error.description or error.name)))
    return jsonify(refused.body()), refused.status
