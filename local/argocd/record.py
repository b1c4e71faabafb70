"""Stores the Application like an API server: every change gives a new resourceVersion, and it survives a restart.

The order of the rules is that of k8s.io/apiserver (`endpoints/handlers/patch.go`, `registry/generic/registry/store.go`)
and of k8s.io/apiextensions-apiserver (`registry/customresource/strategy.go`).
"""

import copy
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.argocd import managed, metadata
from local.argocd.crd import METADATA
from local.argocd.errors import GROUP, KIND, StatusError, bad_request, conflict, denied, invalid, stale
from local.argocd.fields import INVALID, Cause, merge_patch, problems, pruned, unknown_fields
from local.argocd.patches import json_patched

Json = dict[str, Any]
API_VERSION = f"{GROUP}/v1alpha1"
CONTROLLER = "argocd-application-controller"


@dataclass
class WriteOptions:
    """The query parameters and the user of a write; `warnings` become headers of the response."""

    manager: str = "unknown"
    user: str = ""
    validation: str = "Warn"  # fieldValidation: Ignore, Warn, Strict
    dry_run: bool = False
    duplicates: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


Admit = Callable[[Json, Json, str], str]  # old, new, user → the reason for a refusal, "" if admitted


def admit_all(_old: Json, _new: Json, _user: str) -> str:
    """Admit every change: there is no admission policy by default."""
    return ""


class ApplicationRecord:
    """One Application in one file."""

    def __init__(self, file: Path, manifest: Mapping[str, Any], admit: Admit = admit_all) -> None:
        self._file = file
        self._admit = admit
        self._lock = threading.RLock()
        self._live: Json = json.loads(file.read_text()) if file.exists() else _created(manifest)
        self._save()

    def get(self) -> Json:
        """Return a copy of the Application."""
        with self._lock:
            return copy.deepcopy(self._live)

    def patch(self, patch: Mapping[str, Any], options: WriteOptions | None = None) -> Json:
        """Apply a client's merge patch. Raises StatusError, as all changes do."""
        with self._lock:
            options = options or WriteOptions()
            return self._update(_decoded(merge_patch(self._live, patch), options, "patch"), options)

    def json_patch(self, operations: list[Any], options: WriteOptions) -> Json:
        """Apply a client's JSON patch (RFC 6902)."""
        with self._lock:
            return self._update(_decoded(json_patched(self._live, operations), options, "patch"), options)

    def put(self, body: Mapping[str, Any], options: WriteOptions) -> Json:
        """Replace the whole Application."""
        with self._lock:
            new = _decoded(body, options, "")
            uid = new.get("metadata", {}).get("uid", "")
            if uid and uid != self._live["metadata"]["uid"]:
                live = self._live["metadata"]["uid"]
                words = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {live}"
                raise conflict(
                    self._name, f'Operation cannot be fulfilled on applications.{GROUP} "{self._name}": {words}'
                )
            return self._update(new, options)

    def apply(self, configuration: Json, options: WriteOptions, *, force: bool) -> Json:
        """Do a server-side apply."""
        with self._lock:
            if configuration.get("metadata", {}).get("managedFields"):
                raise bad_request("metadata.managedFields must be nil")
            if (configuration.get("apiVersion"), configuration.get("kind")) != (API_VERSION, KIND):
                raise bad_request(f"the patch is of {configuration.get('kind')}, not of {KIND} in {API_VERSION}")
            metadata_of = configuration.get("metadata", {})
            metadata.names_match(metadata_of, self._live["metadata"]["namespace"], self._name)
            if metadata_of.get("resourceVersion", self._version) != self._version:
                raise stale(self._name)
            if strange := next(unknown_fields(configuration), ""):
                what = f"{metadata_of.get('namespace', '')}/{self._name}; {API_VERSION}, Kind={KIND}"
                words = f"failed to create typed patch object ({what}): .{strange}: field not declared in schema"
                raise StatusError(500, "", words)  # structuredmerge.go: an error without a status
            configuration = _decoded(configuration, options, "")
            merged, owners = managed.applied(self._live, configuration, options.manager, now(), force=force)
            return self._update(merged, options, owners)

    def update(self, patch: Mapping[str, Any]) -> Json:
        """Apply the controller's own merge patch, without a condition."""
        with self._lock:
            return self._replace(self._finished(merge_patch(self._live, patch), CONTROLLER, None))

    @property
    def _name(self) -> str:
        return str(self._live["metadata"]["name"])

    @property
    def _version(self) -> str:
        return str(self._live["metadata"]["resourceVersion"])

    def _update(self, new: Json, options: WriteOptions, owners: list[Json] | None = None) -> Json:
        live = self._live
        metadata.names_match(new.get("metadata", {}), live["metadata"]["namespace"], self._name)
        self._condition(str(new["metadata"].get("resourceVersion", "")))
        if wrong := list(_wrong(new, live)):
            raise invalid(f"{KIND}.{GROUP}", self._name, wrong)
        new = self._finished(new, options.manager, owners)
        if reason := self._admit(copy.deepcopy(live), copy.deepcopy(new), options.user):
            raise denied(self._name, reason)
        return copy.deepcopy(new) if options.dry_run else self._replace(new)

    def _condition(self, version: str) -> None:
        """Refuse an update without a version (AllowUnconditionalUpdate is false for custom resources)."""
        try:
            number = int(version or "0")
            if number < 0 or not version.isascii():
                raise ValueError
        except ValueError:
            words = f'strconv.ParseUint: parsing "{version}": invalid syntax'
            raise StatusError(500, "", words) from None
        if not number:
            at = "metadata.resourceVersion"
            raise invalid(
                f"applications.{GROUP}",
                self._name,
                [(INVALID, f"{at}: Invalid value: 0x0: must be specified for an update", at)],
            )
        if version != self._version:
            raise stale(self._name)

    def _finished(self, new: Json, manager: str, owners: list[Json] | None) -> Json:
        """Set the metadata that the server owns. The generation rises with every change outside metadata."""
        live, new = self._live, copy.deepcopy(new)
        kept = {name: live["metadata"][name] for name in ("uid", "namespace", "creationTimestamp", "generation")}
        new["metadata"] |= kept
        new["metadata"]["resourceVersion"] = self._version
        # The CRD has no status subresource (`subresources: {}`), so a changed status counts as well.
        new["metadata"]["generation"] += _content(new) != _content(live)
        fields = managed.updated(live, new, manager, now()) if owners is None else owners
        if fields:
            new["metadata"]["managedFields"] = fields
        return new

    def _replace(self, merged: Json) -> Json:
        if merged != self._live:
            merged["metadata"]["resourceVersion"] = str(int(self._version) + 1)
            self._live = merged
            self._save()
        return copy.deepcopy(self._live)

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".part")
        partial.write_text(json.dumps(self._live, indent=1))
        partial.replace(self._file)


def now() -> str:
    """Return the time as Kubernetes writes it: whole seconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _created(manifest: Mapping[str, Any]) -> Json:
    made = {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "resourceVersion": "1", "generation": 1}
    created: Json = merge_patch(pruned(manifest), {"metadata": made})
    return created


def _content(body: Json) -> Json:
    return {name: value for name, value in body.items() if name != "metadata"}


def _decoded(body: Any, options: WriteOptions, path: str) -> Json:
    """Drop unknown fields. Under Strict they are an error: 422 for a patch, 400 for an object."""
    malformed = list(problems(body, {"type": "object", "properties": {"metadata": METADATA}}))
    if malformed:
        raise _undecodable(body, malformed[0][1], path)
    strict = [*options.duplicates, *(f'unknown field "{name}"' for name in unknown_fields(body))]
    if strict and options.validation == "Strict":
        raise _undecodable(body, f"strict decoding error: {', '.join(strict)}", path)
    if options.validation == "Warn":
        options.warnings += strict
    found: Json = pruned(body)
    return found


def _undecodable(body: Any, words: str, path: str) -> StatusError:
    if not path:
        return bad_request(words)
    return invalid("", "", [(INVALID, f'{path}: Invalid value: "{json.dumps(body)}": {words}', path)])


def _wrong(new: Json, live: Json) -> list[Cause]:
    for name, expected in (("kind", KIND), ("apiVersion", API_VERSION)):
        if new.get(name) != expected:
            return [(INVALID, f'{name}: Invalid value: "{new.get(name, "")}": must be {expected}', name)]
    return [*metadata.problems(new["metadata"], live["metadata"]), *problems(new)]
