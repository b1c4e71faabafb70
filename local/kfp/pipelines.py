"""Experiments, pipelines and their versions."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from local.kfp import clock
from local.kfp.errors import ABORTED, ApiError, exists, internal, invalid, not_found, refusal
from local.kfp.store import Document, DocumentStore

DEFAULT = "Default"
NAMED = "json_extract(body, '$.name') = ?"
TITLES = {"experiment": "Experiment", "pipeline": "Pipeline", "pipeline_version": "PipelineVersion"}
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Registry:
    """Experiments, pipelines and versions, as the API's own JSON objects."""

    def __init__(self, store: DocumentStore, now: clock.Clock) -> None:
        self._store, self._now = store, now
        with store.lock:
            if not store.count("experiment", "1", ()):
                self.create_experiment({"display_name": DEFAULT})

    def create_experiment(self, body: Document) -> Document:
        """Create an experiment. Its name must be unique in its namespace."""
        name, namespace = body.get("display_name", ""), body.get("namespace") or ""
        converting = "Failed to convert API experiment to model experiment"
        if not name:
            raise internal(converting, invalid("Experiment must have a non-empty name"))
        with as_internal(converting):
            short("Experiment", Name=(name, 128), Namespace=(namespace, 63))
        with self._store.lock:
            if self._store.count("experiment", "scope = ? AND name = ?", (namespace, name)):
                raise exists("experiment", name)
            states = {"storage_state": "AVAILABLE", "last_run_created_at": clock.NEVER}
            return self._put("experiment", {**_texts(body), **states})

    def create_pipeline(self, body: Document) -> Document:
        """Create a pipeline without versions. Its name must be unique in its namespace."""
        name, namespace = body.get("name") or body.get("display_name") or "", body.get("namespace") or ""
        if not name:
            raise invalid("name is required")
        with as_internal("Failed to convert API pipeline to model pipeline"):
            short("Pipeline", Name=(name, 128), Namespace=(namespace, 63))
        with self._store.lock:
            if self._named("pipeline", namespace, name):
                raise exists("pipeline", name)
            return self._put("pipeline", {**_texts(body), "name": name})

    def create_version(self, pipeline_id: str, name: str, package: bytes, description: str = "") -> Document:
        """Create a version of a pipeline. Its name must be unique in the pipeline."""
        self.get("pipeline", pipeline_id)
        short("PipelineVersion", Name=(name, 127))
        spec = read_package(package)
        with self._store.lock:
            if self._named("pipeline_version", pipeline_id, name):
                raise exists("pipeline version", name)
            version = {"name": name, "display_name": name, "description": description, "pipeline_id": pipeline_id}
            return self._put("pipeline_version", {**version, "pipeline_spec": spec})

    def versions(self, pipeline_id: str) -> list[Document]:
        """Return all versions of a pipeline, oldest first."""
        return self._store.find("pipeline_version", "scope = ?", (pipeline_id,))

    def pipeline_named(self, name: str, namespace: str = "") -> Document:
        """Return the newest pipeline with this name, in exactly this namespace if one is given."""
        everywhere = self._store.find("pipeline", NAMED, (name,))
        found = [one for one in everywhere if not namespace or one["namespace"] == namespace]
        if not found:
            raise not_found("Pipeline", name)
        return found[-1]

    def get(self, kind: str, key: str) -> Document:
        """Return one experiment, pipeline or pipeline version."""
        document = self._store.get(kind, key)
        if document is None:
            raise not_found(TITLES[kind], key)
        return document

    def default_experiment(self) -> str:
        """Return the experiment of runs that name none."""
        (first,) = self._store.find("experiment", "name = ?", (DEFAULT,), "ORDER BY number LIMIT 1")
        return str(first["experiment_id"])

    def delete(self, kind: str, key: str, cascade: bool = False) -> None:
        """Delete a definition. A pipeline with versions is only deleted together with them."""
        document = self.get(kind, key)
        if kind == "experiment" and document["display_name"] == DEFAULT and key == self.default_experiment():
            message = f"Failed to delete experiment {key}. The default experiment cannot be deleted"
            raise refusal(ABORTED, "BadRequestError", message)
        versions = self.versions(key) if kind == "pipeline" else []
        if versions and not cascade:
            raise invalid(
                f"Failed to delete pipeline with id {key} as it has existing pipeline versions "
                f"(e.g. {versions[-1]['pipeline_version_id']}). Set cascade=true to delete all versions"
            )
        for version in versions:
            self._store.delete("pipeline_version", version["pipeline_version_id"])
        self._store.delete(kind, key)

    def keep_experiment(self, key: str, **changed: str) -> None:
        """Change an experiment. A missing one is no error, like an SQL update of no row."""
        with self._store.lock:
            if experiment := self._store.get("experiment", key):
                self._store.put("experiment", key, experiment | changed)

    def _named(self, kind: str, scope: str, name: str) -> list[Document]:
        return self._store.find(kind, f"scope = ? AND {NAMED}", (scope, name))

    def spec_of(self, body: Document) -> Document:
        """Return the compiled pipeline that a run or recurring run names or contains."""
        if inline := body.get("pipeline_spec"):
            return checked(inline)
        reference = body.get("pipeline_version_reference") or {}
        if version_id := reference.get("pipeline_version_id") or body.get("pipeline_version_id"):
            return dict(self.get("pipeline_version", version_id)["pipeline_spec"])
        if pipeline_id := reference.get("pipeline_id"):
            self.get("pipeline", pipeline_id)
            if versions := self.versions(pipeline_id):
                return dict(versions[-1]["pipeline_spec"])  # the latest version, read when the run is created
            raise not_found("PipelineVersion", f"of pipeline {pipeline_id}")
        raise invalid("Failed to fetch a template with an empty pipeline spec manifest")

    def _put(self, kind: str, body: Document) -> Document:
        key = str(uuid.uuid4())
        document = {f"{kind}_id": key, "created_at": clock.write(self._now()), **body}
        self._store.put(kind, key, document)
        return document


def read_package(package: bytes) -> Document:
    """Return the pipeline spec in a compiled YAML, with its platform spec if there is one."""
    try:
        documents = [one for one in yaml.load_all(package, Loader=LOADER) if one]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid(f"the package is no compiled pipeline in YAML: {error}") from error
    if not 1 <= len(documents) <= 2 or not all(isinstance(one, dict) for one in documents):
        raise invalid("the package is no compiled pipeline: it takes one pipeline spec and at most one platform spec")
    spec, *platform = documents
    return checked({"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec)


def checked(spec: Any) -> Document:
    """Return the spec if it has the required fields."""
    inner = spec.get("pipeline_spec", spec) if isinstance(spec, dict) else {}
    if not {"pipelineInfo", "root", "deploymentSpec"} <= set(inner):
        raise invalid("it is no KFP v2 pipeline spec: pipelineInfo, root or deploymentSpec is missing")
    return dict(spec)


def short(model: str, **fields: tuple[str, int]) -> None:
    """Check lengths in bytes, as in backend/src/apiserver/validation/length.go.

    Raises:
        ApiError: 400, a text is too long.
    """
    for name, (value, most) in fields.items():
        if len(value.encode()) > most:
            raise invalid(f"{model}.{name} length cannot exceed {most}")


@contextmanager
def as_internal(doing: str) -> Iterator[None]:
    """Turn any error into a 500, as upstream's converters do."""
    try:
        yield
    except ApiError as error:
        raise internal(doing, error) from error


def _texts(body: Document) -> Document:
    return {
        "display_name": body.get("display_name") or body.get("name"),
        "description": body.get("description") or "",
        "namespace": body.get("namespace") or "",
    }
