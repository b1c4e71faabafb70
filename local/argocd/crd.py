"""The Application's schema, from upstream's CRD. `python -m local.argocd.crd application-crd.yaml` generates it.

It contains what the API server uses to prune and validate. Repeated subschemas are under `$defs`.
"""

import json
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("application.schema.json")
KEPT = ("type", "format", "enum", "required", "pattern", "minLength")
FLAGS = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")
LONG = 200  # characters from which a repeated subschema gets a name

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{
            name: {"type": "string"}
            for name in ("name", "namespace", "uid", "resourceVersion", "generateName", "selfLink")
        },
        "creationTimestamp": {"type": "string", "format": "date-time"},
        "deletionTimestamp": {"type": "string", "format": "date-time"},
        "generation": {"type": "integer"},
        "deletionGracePeriodSeconds": {"type": "integer"},
        "annotations": STRINGS,
        "labels": STRINGS,
        "finalizers": {"type": "array", "items": {"type": "string"}},
        **{
            name: {"type": "array", "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
            for name in ("ownerReferences", "managedFields")
        },
    },
}


@cache
def application() -> dict[str, Any]:
    """Return the schema of an Application, including `metadata`."""
    stored = json.loads(FILE.read_text())
    found: dict[str, Any] = _resolved(stored["schema"], stored["$defs"])
    found["properties"]["metadata"] = METADATA
    return found


def _resolved(schema: Any, names: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_resolved(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if name := schema.get("$ref"):
        return _resolved(names[name], names)
    return {key: _resolved(value, names) for key, value in schema.items()}


def trimmed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a subschema without descriptions and without keywords that neither prune nor validate."""
    found = {name: schema[name] for name in (*KEPT, *FLAGS) if name in schema}
    if "properties" in schema:
        found["properties"] = {name: trimmed(each) for name, each in schema["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            found[name] = trimmed(schema[name])
    return found


def shared(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with `$defs` for repeated subschemas."""
    counted: Counter[str] = Counter()
    _count(schema, counted)
    names = {text: f"d{n}" for n, text in enumerate(t for t, times in counted.items() if times > 1 and len(t) > LONG)}
    defs = {
        name: {key: _named(value, names) for key, value in json.loads(text).items()} for text, name in names.items()
    }
    return {"schema": _named(schema, names), "$defs": defs}


def _count(schema: Any, counted: Counter[str]) -> None:
    if isinstance(schema, dict):
        counted[json.dumps(schema, sort_keys=True)] += "type" in schema
        for each in schema.values():
            _count(each, counted)


def _named(schema: Any, names: dict[str, str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    if name := names.get(json.dumps(schema, sort_keys=True)):
        return {"$ref": name}
    return {key: _named(value, names) for key, value in schema.items()}


if __name__ == "__main__":
    import yaml

    crd = yaml.safe_load(Path(sys.argv[1]).read_text())["spec"]["versions"][0]
    known_fields = {"from": sys.argv[2] if sys.argv[2:] else "", **shared(trimmed(crd["schema"]["openAPIV3Schema"]))}
    FILE.write_text(
        json.dumps(known_fields, indent=None, separators=(",", ":"), sort_keys=True).replace('"d', '\n"d') + "\n"
    )
