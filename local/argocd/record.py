"""The Application as an API server keeps it: every change gives it a new resourceVersion, and it survives a restart."""

import copy
import json
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.argocd.fields import merge_patch, pruned, unknown_fields, wrong_types

Json = dict[str, Any]
IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion")


class StatusError(Exception):
    """An answer other than 200, in the words of an API server."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    def status(self) -> Json:
        """The `Status` object that a client gets."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }


class ApplicationRecord:
    """One Application in one file."""

    def __init__(self, file: Path, manifest: Mapping[str, Any]) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._live: Json = json.loads(file.read_text()) if file.exists() else _created(manifest)
        self._save()

    def get(self) -> Json:
        """A copy of the Application as it is now."""
        with self._lock:
            return copy.deepcopy(self._live)

    def patch(self, patch: Mapping[str, Any], *, strict: bool = False) -> Json:
        """A client's merge patch.

        Raises:
            StatusError: 409 for a stale resourceVersion, 422 for a wrong type, 400 for an unknown field if `strict`.
        """
        with self._lock:
            self._refuse(patch, strict)
            merged = merge_patch(self._live, pruned(patch))
            merged["metadata"] |= {name: self._live["metadata"][name] for name in IMMUTABLE}
            return self._replace(merged)

    def update(self, patch: Mapping[str, Any]) -> Json:
        """The controller's own merge patch, without a condition."""
        with self._lock:
            return self._replace(merge_patch(self._live, patch))

    def _refuse(self, patch: Mapping[str, Any], strict: bool) -> None:
        name = self._live["metadata"]["name"]
        if strict and (unknown := list(unknown_fields(patch))):
            words = ", ".join(f'unknown field "{field}"' for field in unknown)
            raise StatusError(400, "BadRequest", f"strict decoding error: {words}")
        if wrong := list(wrong_types(patch)):
            words = f'Application.argoproj.io "{name}" is invalid: {"; ".join(wrong)}'
            raise StatusError(422, "Invalid", words)
        version = (patch.get("metadata") or {}).get("resourceVersion")
        if version is not None and version != self._live["metadata"]["resourceVersion"]:
            words = (
                f'Operation cannot be fulfilled on applications.argoproj.io "{name}": the object has been modified; '
                "please apply your changes to the latest version and try again"
            )
            raise StatusError(409, "Conflict", words)

    def _replace(self, merged: Json) -> Json:
        if merged != self._live:
            metadata = merged["metadata"]
            metadata["resourceVersion"] = str(int(metadata["resourceVersion"]) + 1)
            metadata["generation"] += merged.get("spec") != self._live.get("spec")
            self._live = merged
            self._save()
        return copy.deepcopy(self._live)

    def _save(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".part")
        partial.write_text(json.dumps(self._live, indent=1))
        partial.replace(self._file)


def now() -> str:
    """The time as Kubernetes writes it: whole seconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _created(manifest: Mapping[str, Any]) -> Json:
    made = {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "resourceVersion": "1", "generation": 1}
    created: Json = merge_patch(pruned(manifest), {"metadata": made})
    return created
