"""Uploads the compiled pipelines to KFP as versions named by content hash. Existing versions stay unchanged.

`python -m training.pipelines.publish build/pipelines` reads `FRAUDLOOP_KFP_URL`, `FRAUDLOOP_KFP_NAMESPACE`,
`FRAUDLOOP_KFP_TOKEN` and `FRAUDLOOP_KFP_CA` from the environment. It ignores HTTPS_PROXY.
"""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api
from kfp_server_api.exceptions import ApiException

from training.pipelines.definitions import DEFINITIONS, content_hash

TIMEOUT = (5, 60)  # seconds to connect, and to read
CONFLICT = 409


class StaleVersion(ValueError):
    """A compiled pipeline differs from `definitions.json`; `make build` writes both again."""


@dataclass(frozen=True)
class Published:
    """One pipeline's version in KFP; `created` is False if it existed before."""

    name: str
    pipeline_id: str
    version_id: str
    version_name: str
    created: bool


def publish(
    kfp_url: str, directory: str | Path, token: str | None = None, namespace: str = "", ca: str = ""
) -> list[Published]:
    """Uploads every pipeline in `directory`'s definitions.json that KFP does not have yet.

    A multi-user KFP looks pipelines up in one namespace, so they are created in it; a single-user KFP ignores it.

    Raises:
        StaleVersion: a file's hash differs from the definitions. All files are checked before the first upload.
        ApiException, urllib3's errors: KFP refused the request, or is unreachable.
    """
    folder = Path(directory)
    definitions: dict[str, str] = json.loads((folder / DEFINITIONS).read_text(encoding="utf-8"))
    for name, version in definitions.items():
        if (found := content_hash(_package(folder, name).read_bytes())) != version:
            raise StaleVersion(
                f"{_package(folder, name)} has hash {found}, definitions.json says {version}: run `make build`"
            )
    with _connect(kfp_url, token, ca) as connection:
        uploads = _Uploads(connection, namespace)
        return [uploads.ensure(name, version, _package(folder, name)) for name, version in definitions.items()]


class _Uploads:
    """Ensures a pipeline or version by name: get, create if missing, get again if another client was first."""

    def __init__(self, connection: Any, namespace: str) -> None:
        self._namespace = {"namespace": namespace} if namespace else {}
        self._pipelines = kfp_server_api.PipelineServiceApi(connection)
        self._uploads = kfp_server_api.PipelineUploadServiceApi(connection)

    def ensure(self, name: str, version: str, package: Path) -> Published:
        pipeline_id = self._pipeline(name) or self._create_pipeline(name)
        if known := self._version(pipeline_id, version):
            return Published(name, pipeline_id, known, version, created=False)
        try:
            made = self._uploads.upload_pipeline_version(
                str(package), name=version, pipelineid=pipeline_id, _request_timeout=TIMEOUT
            )
        except ApiException as error:
            if error.status != CONFLICT or not (known := self._version(pipeline_id, version)):
                raise
            return Published(name, pipeline_id, known, version, created=False)
        return Published(name, pipeline_id, made.pipeline_version_id, version, created=True)

    def _create_pipeline(self, name: str) -> str:
        # upload_pipeline would also create a version, named like the pipeline and not by its content.
        try:
            body = kfp_server_api.V2beta1Pipeline(name=name, display_name=name, **self._namespace)
            made = self._pipelines.pipeline_service_create_pipeline(body, _request_timeout=TIMEOUT)
        except ApiException as error:
            if error.status != CONFLICT or not (known := self._pipeline(name)):
                raise
            return known
        return str(made.pipeline_id)

    def _pipeline(self, name: str) -> str | None:
        found = self._pipelines.pipeline_service_list_pipelines(
            filter=_named(name), _request_timeout=TIMEOUT, **self._namespace
        )
        return next((one.pipeline_id for one in _exactly(found.pipelines, name)), None)

    def _version(self, pipeline_id: str, name: str) -> str | None:
        found = self._pipelines.pipeline_service_list_pipeline_versions(
            pipeline_id, filter=_named(name), _request_timeout=TIMEOUT
        )
        return next((one.pipeline_version_id for one in _exactly(found.pipeline_versions, name)), None)


def _connect(kfp_url: str, token: str | None, ca: str) -> Any:
    configuration = kfp_server_api.Configuration(host=kfp_url.rstrip("/"))
    configuration.ssl_ca_cert = ca or None
    if token:
        configuration.api_key["authorization"] = token
        configuration.api_key_prefix["authorization"] = "Bearer"
    return kfp_server_api.ApiClient(configuration)


def _exactly(found: Iterable[Any] | None, name: str) -> Iterable[Any]:
    return (one for one in found or () if one.display_name == name)


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _package(folder: Path, name: str) -> Path:
    return folder / f"{name}.yaml"


if __name__ == "__main__":
    options = {name: os.environ.get(f"FRAUDLOOP_KFP_{name.upper()}", "") for name in ("token", "namespace", "ca")}
    for one in publish(os.environ["FRAUDLOOP_KFP_URL"], sys.argv[1], **options):
        print(f"{one.name} {one.version_name} {'uploaded' if one.created else 'exists'}")
