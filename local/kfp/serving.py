"""What all routes share: the services behind them, parsing of requests, and rendering of objects and lists."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flask import jsonify, request
from flask.typing import ResponseReturnValue

from local.kfp import listing, messages
from local.kfp.access import KfpAccess
from local.kfp.errors import INVALID_ARGUMENT, ApiError, doing, invalid
from local.kfp.pipelines import Registry
from local.kfp.recurring import RecurringRuns
from local.kfp.runs import RunService
from local.kfp.store import Document, DocumentStore

NO_METHOD = (404, 5, "Not Found")


@dataclass(frozen=True)
class Services:
    """The services behind the routes; `hidden` returns the runs that lists do not show yet."""

    store: DocumentStore
    registry: Registry
    runs: RunService
    recurring: RecurringRuns
    hidden: Callable[[], Sequence[str]]
    access: KfpAccess

    def check(self, verb: str, resource: str, namespace: str) -> None:
        """Check the right of the request's user."""
        self.access.check(request.headers.get("Authorization", ""), verb, resource, namespace)

    def known(self, kind: str, key: str, verb: str, resource: str) -> Document:
        """Return an experiment, run or recurring run, if the request's user has the right."""
        if kind == "run":
            document = self.runs.get(key)
        elif kind == "recurring_run":
            document = self.recurring.get(key)
        else:
            document = self.registry.get(kind, key)
        self.check(verb, resource, document["namespace"])
        return document

    def namespace_of(self, experiment: str | None) -> str:
        """Return an experiment's namespace. In multi-user mode the experiment is required."""
        if not experiment:
            if self.access.multi_user:
                raise invalid("Experiment id can not be empty in multi-user mode")
            return ""
        return str(self.registry.get("experiment", experiment)["namespace"])


def listed_by_experiment(
    services: Services, kind: str, name: str, resource: str, hidden: Sequence[str] = ()
) -> ResponseReturnValue:
    """Return a page of an experiment's or a namespace's objects. A missing experiment is an error."""
    experiment = request.args.get("experiment_id")
    namespace = (
        services.namespace_of(experiment) if experiment else services.access.namespace(request.args.get("namespace"))
    )
    services.check("list", resource, namespace)
    return listed(services, kind, name, experiment or None, hidden, "" if experiment else namespace)


def listed(
    services: Services, kind: str, name: str, scope: str | None, hidden: Sequence[str] = (), within: str = ""
) -> ResponseReturnValue:
    """Return a page by the request's filter, sort key and token. An empty list is omitted."""
    arguments = request.args
    try:
        size = int(arguments.get("page_size") or 0)
    except ValueError as error:
        message = f'parsing field "page_size": strconv.ParseInt: parsing "{arguments["page_size"]}": invalid syntax'
        raise ApiError(400, INVALID_ARGUMENT, message) from error
    wanted = listing.ListRequest(
        size, arguments.get("page_token", ""), arguments.get("sort_by", ""), arguments.get("filter", "")
    )
    with doing("Failed to create list options"):
        found = listing.page(services.store, kind, wanted, scope, hidden, within)
    documents = [_shown(one) for one in found.documents]
    return jsonify(_filled({name: documents, "total_size": found.total, "next_page_token": found.token}))


def sent(document: Document) -> ResponseReturnValue:
    """Return one object, without the endpoint's internal fields."""
    return jsonify(_shown(document))


def _shown(document: Document) -> Document:
    return _filled({name: value for name, value in document.items() if not name.startswith("_")})


def _filled(document: Document) -> Document:
    """protojson with `EmitUnpopulated: false`: omit empty, zero and false values."""
    return {name: value for name, value in document.items() if value}


def body_of(message: str) -> Document:
    """Parse the request's body as this message of the API."""
    return messages.read(request.get_data(), message)


def verb_of(verbs: dict[str, Any], verb: str) -> Any:
    """Return the value of a `POST …:verb`; 404 for an unknown verb."""
    if verb not in verbs:
        raise ApiError(*NO_METHOD)
    return verbs[verb]
