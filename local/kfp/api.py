"""The v2beta1 REST routes, as Flask: a request becomes one call, its result becomes JSON.

The prefixes of error messages are those of upstream 2.17.0: backend/src/apiserver/server/*_server.go.
"""

from collections.abc import Callable

from flask import Blueprint, Flask, jsonify, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException

from local.kfp import definition_api
from local.kfp.errors import ApiError, doing
from local.kfp.serving import NO_METHOD, Services, body_of, listed, listed_by_experiment, sent, verb_of

PREFIX = "/apis/v2beta1"
# grpc-gateway v2, DefaultRoutingErrorHandler.
ROUTING = {404: NO_METHOD, 405: (501, 12, "Method Not Allowed")}


def create_app(services: Services) -> Flask:
    """Return the WSGI application."""
    app = Flask("local.kfp")
    app.register_error_handler(ApiError, lambda error: (jsonify(error.body()), error.status))
    app.register_error_handler(HTTPException, _http_error)
    about = {"commit_sha": "unknown", "tag_name": "unknown", "multi_user": services.access.multi_user}
    about |= {"pipeline_store": "database"}
    app.add_url_rule(f"{PREFIX}/healthz", view_func=lambda: jsonify(about), endpoint="healthz")
    for blueprint in (
        _experiments(services),
        definition_api.pipelines(services),
        definition_api.uploads(services),
        _runs(services),
        _recurring(services),
    ):
        app.register_blueprint(blueprint, url_prefix=PREFIX)
    return app


def _experiments(services: Services) -> Blueprint:
    api = Blueprint("experiments", __name__)

    @api.post("/experiments")
    def create() -> ResponseReturnValue:
        body = body_of("V2beta1Experiment")
        body["namespace"] = services.access.namespace(body.get("namespace"))
        with doing("Failed to create a experiment"):
            services.check("create", "experiments", body["namespace"])
            return sent(services.registry.create_experiment(body))

    @api.get("/experiments")
    def every() -> ResponseReturnValue:
        namespace = services.access.namespace(request.args.get("namespace"))
        with doing("List experiments failed"):
            services.check("list", "experiments", namespace)
            return listed(services, "experiment", "experiments", namespace if services.access.multi_user else None)

    @api.get("/experiments/<key>")
    def one(key: str) -> ResponseReturnValue:
        with doing("Failed to fetch experiment"):
            return sent(services.known("experiment", key, "get", "experiments"))

    @api.delete("/experiments/<key>")
    def delete(key: str) -> ResponseReturnValue:
        with doing("Failed to delete experiment"):
            services.known("experiment", key, "delete", "experiments")
            services.registry.delete("experiment", key)
        return jsonify({})

    @api.post("/experiments/<key>:<verb>")
    def act(key: str, verb: str) -> ResponseReturnValue:
        verb_of({"archive": None, "unarchive": None}, verb)
        with doing(f"Failed to {verb} experiment"):
            if services.access.multi_user:  # upstream reports no error for a missing experiment otherwise
                services.known("experiment", key, verb, "experiments")
            state = "ARCHIVED" if verb == "archive" else "AVAILABLE"
            services.registry.keep_experiment(key, storage_state=state)
            if verb == "archive":
                services.runs.archive_all_of(key)
                services.recurring.disable_all_of(key)
        return jsonify({})

    return api


def _runs(services: Services) -> Blueprint:
    api = Blueprint("runs", __name__)
    runs = services.runs

    @api.post("/runs")
    def create() -> ResponseReturnValue:
        body = body_of("V2beta1Run")
        body.setdefault("experiment_id", request.args.get("experiment_id"))
        with doing("Failed to create a new run"):
            if services.access.multi_user:
                services.check("create", "runs", services.namespace_of(body["experiment_id"]))
            return sent(runs.create(body))

    @api.get("/runs")
    def every() -> ResponseReturnValue:
        with doing("Failed to list runs"):
            return listed_by_experiment(services, "run", "runs", "runs", services.hidden())

    @api.get("/runs/<key>")
    def one(key: str) -> ResponseReturnValue:
        with doing(f"Failed to get a run: Failed to fetch run {key}"):
            return sent(services.known("run", key, "get", "runs"))

    @api.delete("/runs/<key>")
    def delete(key: str) -> ResponseReturnValue:
        with doing("Failed to delete a run"):
            services.known("run", key, "delete", "runs")
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
        call = verb_of(verbs, verb)
        with doing(f"Failed to {verb} a run: Failed to {verb} run {key}"):
            services.known("run", key, verb, "runs")
            call(key)
        return jsonify({})

    return api


def _recurring(services: Services) -> Blueprint:
    api = Blueprint("recurringruns", __name__)
    recurring = services.recurring

    @api.post("/recurringruns")
    def create() -> ResponseReturnValue:
        body = body_of("V2beta1RecurringRun")
        with doing("Failed to create a recurring run"):
            if services.access.multi_user:
                services.check("create", "jobs", services.namespace_of(body.get("experiment_id")))
            return sent(recurring.create(body))

    @api.get("/recurringruns")
    def every() -> ResponseReturnValue:
        with doing("Failed to list recurring runs"):
            return listed_by_experiment(services, "recurring_run", "recurringRuns", "jobs")

    @api.get("/recurringruns/<key>")
    def one(key: str) -> ResponseReturnValue:
        with doing("Failed to fetch a recurring run"):
            return sent(services.known("recurring_run", key, "get", "jobs"))

    @api.delete("/recurringruns/<key>")
    def delete(key: str) -> ResponseReturnValue:
        with doing("Failed to delete a recurring run"):
            services.known("recurring_run", key, "delete", "jobs")
            recurring.delete(key)
        return jsonify({})

    @api.post("/recurringruns/<key>:<verb>")
    def act(key: str, verb: str) -> ResponseReturnValue:
        verb_of({"enable": None, "disable": None}, verb)
        with doing(f"Failed to {verb} a recurring run"):
            services.known("recurring_run", key, verb, "jobs")
            recurring.switch(key, verb == "enable")
        return jsonify({})

    return api


def _http_error(error: HTTPException) -> ResponseReturnValue:
    refused = ApiError(*ROUTING.get(error.code or 500, (error.code or 500, 2, error.description or error.name)))
    return jsonify(refused.body()), refused.status
