"""Parses request bodies like an API server: JSON with its strict errors, YAML, and the four kinds of change."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

from local.argocd.errors import StatusError, bad_request

MERGE, JSON_PATCH, APPLY = (
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)
KINDS = (JSON_PATCH, MERGE, APPLY)
MISSING = object()


class _Object(dict[str, Any]):
    """A JSON object that records its duplicate keys."""

    twice: tuple[str, ...] = ()


def _no_number(text: str) -> None:
    raise ValueError(f"invalid character in {text}: JSON has no such number")


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    names = [name for name, _ in pairs]
    made.twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    return made


def json_of(body: bytes, expected: type, prefix: str = "") -> tuple[Any, list[str]]:
    """Return a JSON body and its strict errors, `duplicate field "…"`. Raises StatusError (400)."""
    try:
        found = json.loads(body, object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if not isinstance(found, expected):
        wanted = "map[string]interface {}" if expected is dict else "[]handlers.jsonPatchOp"
        raise bad_request(f"error decoding patch: json: cannot unmarshal into Go value of type {wanted}")
    return found, [f'{prefix}duplicate field "{path}"' for path in _twice(found)]


def _twice(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, _Object):
        yield from (f"{path}.{name}".lstrip(".") for name in value.twice)
        for name, item in value.items():
            yield from _twice(item, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _twice(item, f"{path}[{position}]")


def yaml_of(body: bytes) -> dict[str, Any]:
    """Return a YAML or JSON object, with timestamps as text. Raises StatusError (400)."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own class attribute)
            first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith(":timestamp")]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        found = yaml.load(body, Loader)  # noqa: S506 — the loader is a SafeLoader that leaves times as text
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if not isinstance(found, dict):
        raise bad_request("error decoding patch: it is no object")
    return found


def json_patched(target: Any, operations: list[Any]) -> Any:
    """Return `target` changed by a JSON patch (RFC 6902). Raises StatusError (422) if an operation does not apply."""
    target = copy.deepcopy(target)
    for operation in operations:
        try:
            target = _operated(target, operation)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            words = "the server rejected our request due to an error in our request"
            raise StatusError(422, "Invalid", words) from error
    return target


def _operated(target: Any, operation: Mapping[str, Any]) -> Any:
    kind, path = operation["op"], _pointer(operation["path"])
    if kind == "test":
        if _at(target, path) != operation.get("value"):
            raise ValueError("test failed")
        return target
    if kind == "remove":
        return _changed(target, path, MISSING, add=False)
    if kind in ("move", "copy"):
        value = copy.deepcopy(_at(target, _pointer(operation["from"])))
        if kind == "move":
            target = _changed(target, _pointer(operation["from"]), MISSING, add=False)
        return _changed(target, path, value, add=True)
    if kind in ("add", "replace"):
        return _changed(target, path, operation["value"], add=kind == "add")
    raise ValueError(f"unexpected kind: {kind}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise ValueError(text)
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _at(value: Any, path: list[str]) -> Any:
    for name in path:
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def _changed(target: Any, path: list[str], value: Any, *, add: bool) -> Any:
    if not path:
        return value
    holder, last = _at(target, path[:-1]), path[-1]
    if isinstance(holder, list):
        position = len(holder) if last == "-" else int(last)
        if add:
            if position > len(holder):
                raise IndexError(last)
            holder.insert(position, value)
        else:
            holder[position : position + 1] = [] if value is MISSING else [value]
        return target
    if not add and last not in holder:
        raise KeyError(last)
    if value is MISSING:
        del holder[last]
    else:
        holder[last] = value
    return target
