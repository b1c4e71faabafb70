"""The v2beta1 REST routes, as Flask: what a request says becomes one call, what comes back becomes JSON."""

from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Flask, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from local.kfp import listing
from local.kfp.errors import ApiError, invalid
from local.kfp.pipelines import Registry
from local.kfp.recurring import RecurringRuns
from local.kfp.runs import Runs
from local.kfp.store import Document, DocumentStore

PREFIX = "/apis/v2beta1"


def create_app(
    store: DocumentStore, registry: Registry, runs: Runs, recurring: RecurringRuns, visible: Callable[[Document], bool]
) -> Flask:
    """The application; `visible` says which runs a listing shows already."""
    app = Flask("local.kfp")
    app.register_error_handler(ApiError, lambda error: (jsonify(error.body()), error.status))
    app.register_error_handler(HTTPException, _http_error)
    app.add_url_rule(f"{PREFIX}/healthz", view_func=lambda: jsonify(multi_user=False), endpoint="healthz")
    for blueprint in (
        _experiments(store, registry),
        _pipelines(store, registry),
        _runs(runs, visible),
        _recurring(recurring),
    ):
        app.register_blueprint(blueprint, url_prefix=PREFIX)
    return app


def _experiments(store: DocumentStore, registry: Registry) -> Blueprint:
    api = Blueprint("experiments", __name__)

    @api.post("/experiments")
    def create() -> ResponseReturnValue:
        return jsonify(registry.create_experiment(_body()))

    @api.get("/experiments")
    def every() -> ResponseReturnValue:
        return _listed(store.all("experiment"), "experiment", "experiments")

    @api.get("/experiments/<key>")
    def one(key: str) -> ResponseReturnValue:
        return jsonify(registry.get("experiment", key))

    @api.delete("/experiments/<key>")
    def delete(key: str) -> ResponseReturnValue:
        registry.delete("experiment", key)
        return jsonify({})

    return api


def _pipelines(store: DocumentStore, registry: Registry) -> Blueprint:
    api = Blueprint("pipelines", __name__)

    @api.post("/pipelines")
    def create() -> ResponseReturnValue:
        return jsonify(registry.create_pipeline(_body()))

    @api.get("/pipelines")
    def every() -> ResponseReturnValue:
        return _listed(store.all("pipeline"), "pipeline", "pipelines")

    @api.get("/pipelines/<key>")
    def one(key: str) -> ResponseReturnValue:
        return jsonify(registry.get("pipeline", key))

    @api.get("/pipelines/names/<name>")
    def named(name: str) -> ResponseReturnValue:
        return jsonify(registry.pipeline_named(name))

    @api.delete("/pipelines/<key>")
    def delete(key: str) -> ResponseReturnValue:
        registry.delete("pipeline", key)
        return jsonify({})

    @api.post("/pipelines/upload")
    def upload() -> ResponseReturnValue:
        package = _uploaded()
        name = request.args.get("name") or request.args.get("display_name") or package[0]
        with store.lock:
            pipeline = registry.create_pipeline({"name": name, "description": request.args.get("description")})
            try:
                registry.create_version(pipeline["pipeline_id"], name, package[1])
            except ApiError:
                registry.delete("pipeline", pipeline["pipeline_id"])
                raise
        return jsonify(pipeline)

    @api.post("/pipelines/upload_version")
    def upload_version() -> ResponseReturnValue:
        package = _uploaded()
        name = request.args.get("name") or request.args.get("display_name") or package[0]
        description = request.args.get("description", "")
        return jsonify(registry.create_version(request.args.get("pipelineid", ""), name, package[1], description))

    @api.get("/pipelines/<key>/versions")
    def versions(key: str) -> ResponseReturnValue:
        registry.get("pipeline", key)
        return _listed(registry.versions(key), "pipeline_version", "pipeline_versions")

    @api.get("/pipelines/<key>/versions/<version>")
    def version(key: str, version: str) -> ResponseReturnValue:
        return jsonify(registry.get("pipeline_version", version))

    @api.delete("/pipelines/<key>/versions/<version>")
    def delete_version(key: str, version: str) -> ResponseReturnValue:
        registry.delete("pipeline_version", version)
        return jsonify({})

    return api


def _runs(runs: Runs, visible: Callable[[Document], bool]) -> Blueprint:
    api = Blueprint("runs", __name__)

    @api.post("/runs")
    def create() -> ResponseReturnValue:
        body = _body()
        body.setdefault("experiment_id", request.args.get("experiment_id"))
        return jsonify(runs.create(body))

    @api.get("/runs")
    def every() -> ResponseReturnValue:
        return _listed([run for run in runs.all() if visible(run)], "run", "runs")

    @api.get("/runs/<key>")
    def one(key: str) -> ResponseReturnValue:
        return jsonify(runs.get(key))

    @api.delete("/runs/<key>")
    def delete(key: str) -> ResponseReturnValue:
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
        _verb(verbs, verb)(key)
        return jsonify({})

    return api


def _recurring(recurring: RecurringRuns) -> Blueprint:
    api = Blueprint("recurringruns", __name__)

    @api.post("/recurringruns")
    def create() -> ResponseReturnValue:
        return jsonify(recurring.create(_body()))

    @api.get("/recurringruns")
    def every() -> ResponseReturnValue:
        return _listed(recurring.all(), "recurring_run", "recurringRuns")

    @api.get("/recurringruns/<key>")
    def one(key: str) -> ResponseReturnValue:
        return jsonify(recurring.get(key))

    @api.delete("/recurringruns/<key>")
    def delete(key: str) -> ResponseReturnValue:
        recurring.delete(key)
        return jsonify({})

    @api.post("/recurringruns/<key>:<verb>")
    def act(key: str, verb: str) -> ResponseReturnValue:
        verbs: dict[str, Callable[[str], None]] = {
            "enable": lambda one: recurring.switch(one, True),
            "disable": lambda one: recurring.switch(one, False),
        }
        _verb(verbs, verb)(key)
        return jsonify({})

    return api


def _listed(documents: Sequence[Document], kind: str, name: str) -> ResponseReturnValue:
    """A page of what the request's experiment, filter, sort key and token select; an empty list is left out."""
    if experiment := request.args.get("experiment_id"):
        documents = [one for one in documents if one.get("experiment_id") == experiment]
    found = listing.select(documents, request.args.get("filter"))
    try:
        size = int(request.args.get("page_size") or 0)
    except ValueError as error:
        raise invalid(f"page_size: {error}") from error
    chosen, token = listing.page(
        found,
        kind,
        page_size=size,
        page_token=request.args.get("page_token", ""),
        sort_by=request.args.get("sort_by", ""),
    )
    answer: Document = {"total_size": len(found)}
    if chosen:
        answer[name] = chosen
    if token:
        answer["next_page_token"] = token
    return jsonify(answer)


def _body() -> Document:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise invalid("the body is not a JSON object")
    return body


def _uploaded() -> tuple[str, bytes]:
    file = request.files.get("uploadfile")
    if file is None:
        raise invalid("there is no uploadfile in the form")
    return file.filename or "pipeline", file.read()


def _verb(verbs: dict[str, Any], verb: str) -> Callable[[str], None]:
    if verb not in verbs:
        raise ApiError(404, 5, f"unknown method :{verb}")
    known: Callable[[str], None] = verbs[verb]
    return known


def _http_error(error: HTTPException) -> ResponseReturnValue:
    status = error.code or 500
    return jsonify(ApiError(status, 5 if status == 404 else 2, error.description or error.name).body()), status
