"""What an API server does to a custom resource by its schema: prune, warn about pruned fields, validate.

From k8s.io/apiextensions-apiserver: `schema/pruning`, `schema/defaulting/prune.go` (null), `apiserver/validation`.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from local.argocd.crd import application

PRESERVED = "x-kubernetes-preserve-unknown-fields"
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
INVALID, REQUIRED, UNSUPPORTED = "FieldValueInvalid", "FieldValueRequired", "FieldValueNotSupported"
Cause = tuple[str, str, str]  # reason, message, field: as in a Status' details


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` changed by a JSON merge patch (RFC 7386): objects merge, null removes, other values replace."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def pruned(value: Any, schema: Mapping[str, Any] | None = None) -> Any:
    """Return `value` without fields that the schema lacks, and without null where it is not allowed."""
    schema = application() if schema is None else schema
    if isinstance(value, list) and "items" in schema:
        return [pruned(item, schema["items"]) for item in value]
    if not isinstance(value, Mapping) or schema.get("type") != "object":
        return value
    known_fields = {}
    for name, item in value.items():
        known = _field(schema, name)
        if known is not None and item is not None:
            known_fields[name] = pruned(item, known)
    return known_fields


def unknown_fields(value: Any, schema: Mapping[str, Any] | None = None, path: str = "") -> Iterator[str]:
    """Return the paths of the fields that `pruned` drops because they are unknown."""
    schema = application() if schema is None else schema
    if isinstance(value, list) and "items" in schema:
        for position, item in enumerate(value):
            yield from unknown_fields(item, schema["items"], f"{path}[{position}]")
    elif isinstance(value, Mapping) and schema.get("type") == "object":
        for name, item in value.items():
            known, at = _field(schema, name), f"{path}.{name}".lstrip(".")
            yield from [at] if known is None else unknown_fields(item, known, at)


def problems(value: Any, schema: Mapping[str, Any] | None = None, path: str = "") -> Iterator[Cause]:
    """Yield the violations of the schema, in the words of kube-openapi's validator."""
    schema = application() if schema is None else schema
    kind = schema.get("type")
    if kind is None:
        return
    if not _is_a(value, kind):
        yield _invalid(path, _go_type(value), f"must be of type {kind}: {_quoted(_go_type(value))}")
        return
    if kind == "string":
        yield from _string(value, schema, path)
    elif kind == "array":
        for position, item in enumerate(value):
            yield from problems(item, schema.get("items", {}), f"{path}[{position}]")
    elif kind == "object":
        for name in schema.get("required", ()):
            if name not in value:
                at = f"{path}.{name}".lstrip(".")
                yield REQUIRED, f"{at}: Required value", at
        for name, item in value.items():
            yield from problems(item, _field(schema, name) or {}, f"{path}.{name}".lstrip("."))


def _is_a(value: Any, kind: str) -> bool:
    return isinstance(value, TYPES[kind]) and not (isinstance(value, bool) and kind in ("integer", "number"))


def _string(value: str, schema: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if schema.get("format") == "date-time" and not _is_time(value):
        yield _invalid(path, value, f"must be of type date-time: {_quoted(value)}")
    if "enum" in schema and value not in schema["enum"]:
        known = ", ".join(map(_quoted, schema["enum"]))
        yield UNSUPPORTED, f"{path}: Unsupported value: {_quoted(value)}: supported values: {known}", path
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield _invalid(path, value, f"should match '{schema['pattern']}'")
    if len(value) < schema.get("minLength", 0):
        yield _invalid(path, value, f"should be at least {schema['minLength']} chars long")


def _invalid(path: str, value: str, rule: str) -> Cause:
    return INVALID, f"{path}: Invalid value: {_quoted(value)}: {path} in body {rule}", path


def _is_time(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", text):
        return False
    try:
        datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    named = {type(None): "null", str: "string", int: "integer", float: "number", list: "array"}
    return named.get(type(value), "object")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'


def _field(schema: Mapping[str, Any], name: str) -> Any:
    """Return the schema of a field; None for an unknown one, {} for one that accepts any value."""
    known = schema.get("properties", {}).get(name)
    if known is None:
        known = schema.get("additionalProperties")
    if known is None and (schema.get(PRESERVED) or not {"properties", "additionalProperties"} & set(schema)):
        return {} if schema.get(PRESERVED) else None
    return known
