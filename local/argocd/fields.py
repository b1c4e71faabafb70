"""The part of the Application's CRD schema that we imitate, and what an API server does with it."""

from collections.abc import Iterator, Mapping
from typing import Any

ANY_NAME = "*"
_STRINGS = {ANY_NAME: str}
_SOURCE = {
    "repoURL": str,
    "path": str,
    "targetRevision": str,
    "kustomize": {
        "commonAnnotations": _STRINGS,
        "commonLabels": _STRINGS,
        "images": [str],
        "namePrefix": str,
        "version": str,
    },
}
_RETRY = {"limit": int, "backoff": {"duration": str, "factor": int, "maxDuration": str}}
_INITIATED_BY = {"username": str, "automated": bool}
_INFO = [{"name": str, "value": str}]
_OPERATION = {
    "initiatedBy": _INITIATED_BY,
    "info": _INFO,
    "retry": _RETRY,
    "sync": {
        "revision": str,
        "prune": bool,
        "dryRun": bool,
        "syncStrategy": {"apply": {"force": bool}, "hook": {"force": bool}},
        "syncOptions": [str],
        "source": _SOURCE,
    },
}
_STATUS = {
    "sync": {"status": str, "revision": str},
    "health": {"status": str, "message": str, "lastTransitionTime": str},
    "operationState": {
        "operation": _OPERATION,
        "phase": str,
        "message": str,
        "startedAt": str,
        "finishedAt": str,
        "retryCount": int,
        "syncResult": {"revision": str, "source": _SOURCE},
    },
    "history": [
        {
            "id": int,
            "revision": str,
            "deployStartedAt": str,
            "deployedAt": str,
            "source": _SOURCE,
            "initiatedBy": _INITIATED_BY,
        }
    ],
    "reconciledAt": str,
    "conditions": [{"type": str, "message": str, "lastTransitionTime": str}],
}
APPLICATION: dict[str, Any] = {
    "apiVersion": str,
    "kind": str,
    "metadata": {
        "name": str,
        "namespace": str,
        "uid": str,
        "creationTimestamp": str,
        "resourceVersion": str,
        "generation": int,
        "annotations": _STRINGS,
        "labels": _STRINGS,
        "finalizers": [str],
    },
    "spec": {
        "project": str,
        "destination": {"server": str, "name": str, "namespace": str},
        "source": _SOURCE,
        "syncPolicy": {
            "automated": {"prune": bool, "selfHeal": bool, "allowEmpty": bool},
            "syncOptions": [str],
            "retry": _RETRY,
        },
        "ignoreDifferences": [{"group": str, "kind": str, "name": str, "jsonPointers": [str]}],
        "revisionHistoryLimit": int,
        "info": _INFO,
    },
    "operation": _OPERATION,
    "status": _STATUS,
}


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` changed by a JSON merge patch (RFC 7386): objects merge, null removes, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def pruned(value: Any, schema: Any = APPLICATION) -> Any:
    """`value` without the fields that the schema does not know."""
    if isinstance(schema, list) and isinstance(value, list):
        return [pruned(item, schema[0]) for item in value]
    if not isinstance(schema, dict) or not isinstance(value, Mapping):
        return value
    return {name: pruned(item, _field(schema, name)) for name, item in value.items() if _field(schema, name)}


def unknown_fields(value: Any, schema: Any = APPLICATION, path: str = "") -> Iterator[str]:
    """The paths of the fields that `pruned` would drop."""
    if isinstance(schema, list) and isinstance(value, list):
        for position, item in enumerate(value):
            yield from unknown_fields(item, schema[0], f"{path}[{position}]")
    elif isinstance(schema, dict) and isinstance(value, Mapping):
        for name, item in value.items():
            known = _field(schema, name)
            at = f"{path}.{name}".lstrip(".")
            yield from unknown_fields(item, known, at) if known else [at]


def wrong_types(value: Any, schema: Any = APPLICATION, path: str = "") -> Iterator[str]:
    """What is of another type than the schema says, each as one sentence. Null stands for absent."""
    kind: type = schema if isinstance(schema, type) else type(schema)
    if value is None:
        return
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        yield f"{path}: Invalid value: {type(value).__name__!r}: must be of type {kind.__name__}"
    elif isinstance(schema, list) and isinstance(value, list):
        for position, item in enumerate(value):
            yield from wrong_types(item, schema[0], f"{path}[{position}]")
    elif isinstance(schema, dict) and isinstance(value, Mapping):
        for name, item in value.items():
            if known := _field(schema, name):
                yield from wrong_types(item, known, f"{path}.{name}".lstrip("."))


def _field(schema: dict[str, Any], name: str) -> Any:
    return schema.get(name, schema.get(ANY_NAME))
