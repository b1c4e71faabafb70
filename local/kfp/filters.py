"""Translates a list request's filter, the JSON of a `Filter` message that is decoded twice, into SQL.

Read in upstream 2.17.0: backend/src/apiserver/server/list_request_util.go (parseAPIFilter), filter/filter.go
(checkPredicate, AddToSelect), and the keys in model/{run,experiment,job,pipeline,pipeline_version}.go.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from local.kfp import clock
from local.kfp.errors import invalid

Predicate = tuple[str, str, Any]  # operation, key, value

# The SDK sends an operation as its number; people write its name.
OPERATIONS = {
    1: "EQUALS",
    2: "NOT_EQUALS",
    3: "GREATER_THAN",
    5: "GREATER_THAN_EQUALS",
    6: "LESS_THAN",
    7: "LESS_THAN_EQUALS",
    8: "IN",
    9: "IS_SUBSTRING",
}
COMPARISONS = {
    "EQUALS": "=",
    "NOT_EQUALS": "<>",
    "GREATER_THAN": ">",
    "GREATER_THAN_EQUALS": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_EQUALS": "<=",
}
INTEGERS = frozenset({"int", "long"})
SCALARS = {f"{kind}_value": kind for kind in ("int", "long", "string", "timestamp")}
LISTS = {f"{kind}_values": kind for kind in ("int", "long", "string")}
CAMEL = {f"{kind}Value{s}": f"{kind}_value{s}" for kind in ("int", "long", "string", "timestamp") for s in ("", "s")}
TIMES = frozenset({"created_at", "finished_at", "scheduled_at", "updated_at", "last_run_created_at"})


def _json(*names: str) -> dict[str, str]:
    return {name: f"coalesce(json_extract(body, '$.{name}'), '')" for name in names}


NAMED = {"id": "id", "name": "name", "display_name": "name", "created_at": "created", **_json("description")}
# API key → SQL by kind, as in upstream's APIToModelFieldMap.
FIELDS: Mapping[str, Mapping[str, str]] = {
    "run": {
        **NAMED,
        **_json("finished_at", "scheduled_at", "storage_state", "namespace", "experiment_id", "state"),
        **_json("recurring_run_id", "state_history", "runtime_details"),
        "run_id": "id",
        "status": _json("state")["state"],
    },
    "experiment": {
        **NAMED,
        **_json("namespace", "storage_state", "last_run_created_at"),
        "experiment_id": "id",
    },
    "recurring_run": {**NAMED, **_json("updated_at"), "recurring_run_id": "id"},
    "pipeline": {**NAMED, **_json("name", "namespace"), "pipeline_id": "id"},
    "pipeline_version": {**NAMED, **_json("name", "status", "pipeline_spec"), "pipeline_version_id": "id"},
}


def parse(text: str) -> list[Predicate]:
    """Parse a filter into predicates, all of which must hold.

    Raises:
        ApiError: 400, it is no `Filter`: not JSON, an unknown field or operation, or a wrong value.
    """
    if not text:
        return []
    try:
        # The framework decodes it once, and the server once more: "+" and "%" do not survive.
        document = json.loads(unquote_plus(text))
        _only(document, {"predicates"})
        return [_predicate(one) for one in document.get("predicates", [])]
    except (ValueError, AttributeError, TypeError) as error:
        raise invalid(f'failed to parse valid filter from "{text}": {error}') from error


def sql(kind: str, predicate: Predicate) -> tuple[str, list[Any]]:
    """Return a predicate as an SQL expression with its values.

    Raises:
        ApiError: 400, the kind has no such key.
    """
    operation, key, value = predicate
    if key not in FIELDS[kind]:
        raise invalid(f'no support for filtering on unrecognized field "{key}"')
    field = FIELDS[kind][key]
    if key in TIMES:
        value = [_moment(one) for one in value] if isinstance(value, list) else _moment(value)
    if operation == "IS_SUBSTRING":  # as upstream: `%` and `_` in the value are wildcards, and case is ignored
        return f"{field} LIKE ?", [f"%{value}%"]
    if operation == "IN":
        return f"{field} IN ({', '.join('?' * len(value))})", list(value)
    return f"{field} {COMPARISONS[operation]} ?", [value]


def _predicate(document: Mapping[str, Any]) -> Predicate:
    given = {CAMEL.get(name, name): value for name, value in document.items()}
    _only(given, {"operation", "key", *SCALARS, *LISTS})
    operation = given.get("operation", 0)
    operation = OPERATIONS.get(operation, operation)
    if operation not in OPERATIONS.values():
        raise invalid(f"Error using Filter.Predicate.Operation with {operation}")
    found = [name for name in given if name in SCALARS or name in LISTS]
    if len(found) != 1:
        raise invalid(f"Error using Filter.Predicate.Value: it takes one value, not {len(found)}")
    (name,) = found
    value = given[name]
    if name in LISTS:
        _only(value, {"values"})
        value = [_typed(LISTS[name], one) for one in value.get("values", [])]
    else:
        value = _typed(SCALARS[name], value)
    _check(operation, name, value)
    if not given.get("key"):
        raise invalid(f"Predicate key cannot be empty for operation {operation} and value {value}")
    return operation, str(given["key"]), value


def _check(operation: str, name: str, value: Any) -> None:
    if operation == "IN" and not isinstance(value, list):
        raise invalid(f"cannot use IN operator with scalar type {SCALARS[name]}")
    if operation in COMPARISONS and isinstance(value, list):
        raise invalid(f"cannot use scalar operator {operation} on array type []{LISTS[name]}")
    if operation == "IS_SUBSTRING" and not isinstance(value, str):
        raise invalid(f"cannot use non string value type {operation} with operator {name}")


def _typed(kind: str, value: Any) -> Any:
    if kind == "timestamp":
        return int(clock.read(value).timestamp())
    if kind in INTEGERS:
        return int(value)
    if not isinstance(value, str):
        raise ValueError(f"invalid value for string field value: {value}")
    return value


def _moment(value: Any) -> Any:
    return clock.write(datetime.fromtimestamp(value, UTC)) if isinstance(value, int) else value


def _only(document: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(document) - known):
        raise ValueError(f'unknown field "{unknown[0]}"')
