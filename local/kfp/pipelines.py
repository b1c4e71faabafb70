"""Experiments, pipelines and their versions."""

import uuid
from typing import Any

import yaml

from local.kfp import clock
from local.kfp.errors import exists, invalid, not_found
from local.kfp.store import Document, DocumentStore

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Registry:
    """What has been defined, as the API's own JSON objects."""

    def __init__(self, store: DocumentStore, now: clock.Clock) -> None:
        self._store, self._now = store, now
        with store.lock:
            if not store.all("experiment"):
                self.create_experiment({"display_name": "Default"})

    def create_experiment(self, body: Document) -> Document:
        """A new experiment; its name must be free."""
        name = _named(body, "experiment")
        with self._store.lock:
            if any(one["display_name"] == name for one in self._store.all("experiment")):
                raise exists("experiment", name)
            return self._put("experiment", {**_texts(body), "storage_state": "AVAILABLE"})

    def create_pipeline(self, body: Document) -> Document:
        """A new pipeline without versions; its name must be free."""
        name = _named(body, "pipeline")
        with self._store.lock:
            if any(one["name"] == name for one in self._store.all("pipeline")):
                raise exists("pipeline", name)
            return self._put("pipeline", {"name": name, **_texts(body)})

    def create_version(self, pipeline_id: str, name: str, package: bytes, description: str = "") -> Document:
        """A new version of a known pipeline; its name must be free within the pipeline."""
        self.get("pipeline", pipeline_id)
        spec = read_package(package)
        with self._store.lock:
            if any(one["name"] == name for one in self.versions(pipeline_id)):
                raise exists("pipeline version", name)
            version = {"name": name, "display_name": name, "description": description, "pipeline_id": pipeline_id}
            return self._put("pipeline_version", {**version, "pipeline_spec": spec})

    def versions(self, pipeline_id: str) -> list[Document]:
        """All versions of a pipeline, the oldest first."""
        return [one for one in self._store.all("pipeline_version") if one["pipeline_id"] == pipeline_id]

    def pipeline_named(self, name: str) -> Document:
        """The pipeline of this name."""
        for one in self._store.all("pipeline"):
            if one["name"] == name:
                return one
        raise not_found("pipeline", name)

    def get(self, kind: str, key: str) -> Document:
        """One experiment, pipeline or pipeline version."""
        document = self._store.get(kind, key)
        if document is None:
            raise not_found(kind.replace("_", " "), key)
        return document

    def default_experiment(self) -> str:
        """Where a run goes that names no experiment."""
        return str(self._store.all("experiment")[0]["experiment_id"])

    def delete(self, kind: str, key: str) -> None:
        """Forget a definition; a pipeline that still has versions is kept, as the real server does."""
        self.get(kind, key)
        if kind == "pipeline" and self.versions(key):
            raise invalid(f"pipeline {key} still has versions; delete them first")
        self._store.delete(kind, key)

    def spec_of(self, body: Document) -> Document:
        """The compiled pipeline that a run or recurring run names or brings along."""
        if inline := body.get("pipeline_spec"):
            return checked(inline)
        reference = body.get("pipeline_version_reference") or {}
        if version_id := reference.get("pipeline_version_id") or body.get("pipeline_version_id"):
            return dict(self.get("pipeline_version", version_id)["pipeline_spec"])
        if pipeline_id := reference.get("pipeline_id"):
            self.get("pipeline", pipeline_id)
            if versions := self.versions(pipeline_id):
                return dict(versions[-1]["pipeline_spec"])
            raise not_found("version of pipeline", pipeline_id)
        raise invalid("it names no pipeline: give pipeline_spec or pipeline_version_reference")

    def _put(self, kind: str, body: Document) -> Document:
        key = str(uuid.uuid4())
        document = {f"{kind}_id": key, "created_at": clock.write(self._now()), **body}
        self._store.put(kind, key, document)
        return document


def read_package(package: bytes) -> Document:
    """The pipeline spec in a compiled YAML, with its platform spec if there is one."""
    try:
        documents = [one for one in yaml.load_all(package, Loader=LOADER) if one]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise invalid(f"the package is no compiled pipeline in YAML: {error}") from error
    if not 1 <= len(documents) <= 2 or not all(isinstance(one, dict) for one in documents):
        raise invalid("the package is no compiled pipeline: it takes one pipeline spec and at most one platform spec")
    spec, *platform = documents
    return checked({"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec)


def checked(spec: Any) -> Document:
    """The spec, if it looks like one."""
    inner = spec.get("pipeline_spec", spec) if isinstance(spec, dict) else {}
    if not {"pipelineInfo", "root", "deploymentSpec"} <= set(inner):
        raise invalid("it is no KFP v2 pipeline spec: pipelineInfo, root or deploymentSpec is missing")
    return dict(spec)


def _named(body: Document, kind: str) -> str:
    name = body.get("display_name") or body.get("name")
    if not name:
        raise invalid(f"{kind} has no display_name")
    return str(name)


def _texts(body: Document) -> Document:
    return {
        "display_name": body.get("display_name") or body.get("name"),
        "description": body.get("description") or "",
        "namespace": body.get("namespace") or "",
    }
