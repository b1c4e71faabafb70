"""Tracks which manager set which field (server-side apply), as far as one custom resource needs it.

After k8s.io/apimachinery `pkg/util/managedfields`. An update owns the fields that it changed and takes them from other
managers. An apply owns the fields that it names, conflicts with other owners of fields that it would change, and
removes fields that it no longer names. Objects are granular and lists are atomic, as in a CRD without
`x-kubernetes-list-type`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from local.argocd.errors import GROUP, conflict

Path = tuple[str, ...]
Json = dict[str, Any]
API_VERSION = f"{GROUP}/v1alpha1"
NOBODYS = {
    ("apiVersion",),
    ("kind",),
    *(
        ("metadata", name)
        for name in ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
    ),
}


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the fields of an object that can be owned, with their values."""
    if path in NOBODYS:
        return
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif path:
        yield path, value


def updated(old: Json, new: Json, manager: str, at: str) -> list[Json]:
    """Return `managedFields` after an update by `manager`."""
    before, after = dict(leaves(old)), dict(leaves(new))
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    owners = _owners(old)
    for key in owners:
        owners[key] = (owners[key] & set(after)) - changed
    if changed:
        owners.setdefault((manager, "Update"), set()).update(changed)
    return _entries(owners, old, at)


def applied(live: Json, configuration: Json, manager: str, at: str, *, force: bool) -> tuple[Json, list[Json]]:
    """Return the object after a server-side apply, and its `managedFields`. Raises StatusError (409)."""
    wanted, now, owners = dict(leaves(configuration)), dict(leaves(live)), _owners(live)
    me = (manager, "Apply")
    differing = {path for path, value in wanted.items() if path in now and now[path] != value}
    conflicting = {key: owners[key] & differing for key in owners if key != me and owners[key] & differing}
    if conflicting and not force:
        raise _conflict(live["metadata"]["name"], conflicting)
    dropped = owners.get(me, set()) - set(wanted)
    for key in conflicting:
        owners[key] -= differing
    owners[me] = set(wanted)
    owned = set().union(*owners.values())
    merged = _without(live, dropped - owned)
    for path, value in wanted.items():
        _put(merged, path, value)
    return merged, _entries(owners, live, at)


def _conflict(name: str, conflicting: Mapping[tuple[str, str], set[Path]]) -> Exception:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}" using {API_VERSION}',
            "field": "." + ".".join(path),
        }
        for (manager, _), paths in sorted(conflicting.items())
        for path in sorted(paths)
    ]
    many = len(causes)
    words = "; ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return conflict(name, f"Apply failed with {many} conflict{'s' if many > 1 else ''}: {words}", causes)


def _owners(live: Json) -> dict[tuple[str, str], set[Path]]:
    entries = live.get("metadata", {}).get("managedFields", ())
    return {(entry["manager"], entry["operation"]): set(_paths(entry["fieldsV1"])) for entry in entries}


def _entries(owners: Mapping[tuple[str, str], set[Path]], old: Json, at: str) -> list[Json]:
    before, times = _owners(old), {}
    for entry in old.get("metadata", {}).get("managedFields", ()):
        times[entry["manager"], entry["operation"]] = entry["time"]
    return [
        {
            "manager": manager,
            "operation": operation,
            "apiVersion": API_VERSION,
            "time": times[manager, operation] if before.get((manager, operation)) == paths else at,
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields(paths),
        }
        for (manager, operation), paths in owners.items()
        if paths
    ]


def _fields(paths: Iterable[Path]) -> Json:
    found: Json = {}
    for path in sorted(paths):
        at = found
        for name in path:
            at = at.setdefault(f"f:{name}", {})
    return found


def _paths(fields: Json, path: Path = ()) -> Iterator[Path]:
    for name, inner in fields.items():
        here = (*path, name.removeprefix("f:"))
        if inner:
            yield from _paths(inner, here)
        else:
            yield here


def _put(target: Json, path: Path, value: Any) -> None:
    for name in path[:-1]:
        inner = target.get(name)
        target[name] = inner if isinstance(inner, dict) else {}
        target = target[name]
    target[path[-1]] = value


def _without(value: Any, paths: set[Path], path: Path = ()) -> Any:
    if not isinstance(value, dict):
        return value
    owned = {name: item for name, item in value.items() if (*path, name) not in paths}
    return {name: _without(item, paths, (*path, name)) for name, item in owned.items()}
