"""Parses the parameters of a deploy or restore order, and reads the golden requests of the version it names."""

import json
from dataclasses import dataclass
from typing import Any

from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.export.golden import Golden
from training.integrity import MANIFEST, listed, sha256_bytes
from training.outcome import Permanent

GOLDEN = "golden.json"


@dataclass(frozen=True)
class DeployRequest:
    """The version to serve, the generation to write, and the timeout.

    `manifest` is the sha256 of the version's MANIFEST.json as it was judged and approved; "" if nobody says.
    """

    repository: str
    version: str
    generation: int
    operation_id: str
    timeout_seconds: float
    manifest: str = ""


def deploy_request(order: StageRequest) -> DeployRequest:
    """Parses an order's parameters.

    Raises:
        Permanent: a parameter is missing or wrong, or the repository belongs to another version.
    """
    repository = order.inputs.get("repository", "").rstrip("/")
    request = DeployRequest(
        repository=repository,
        version=str(parameter(order, "version")),
        generation=int(parameter(order, "generation")),
        operation_id=f"{order.name}.{order.launch_id}",
        timeout_seconds=float(parameter(order, "timeout_seconds")),
        manifest=str(order.parameters.get("manifest", "")),
    )
    if repository.rpartition("/")[2] != request.version:
        raise Permanent(f"the order names version {request.version}, but its repository is {repository or 'missing'}")
    return request


def golden_of(repository: str, manifest: str = "") -> Golden:
    """Reads the golden requests of an exported version and compares them with its manifest.

    Raises:
        Permanent: the version is not finished, its golden requests were changed, or its manifest is not `manifest`.
    """
    try:
        found = sha256_bytes(storage.read_bytes(storage.join(repository, MANIFEST))) if manifest else ""
        expected = listed(repository).get(GOLDEN)
        body = storage.read_bytes(storage.join(repository, GOLDEN))
    except FileNotFoundError as error:
        raise Permanent(f"this version is not finished: {error}") from error
    if found != manifest:
        raise Permanent(f"{repository}/{MANIFEST} was changed since this version was exported and judged")
    if expected != sha256_bytes(body):
        raise Permanent(f"{repository}/{GOLDEN} is not what {MANIFEST} says; export the version again")
    return Golden.from_dict(json.loads(body))


def parameter(order: StageRequest, name: str) -> Any:
    """Returns one of an order's parameters. Raises Permanent if it is missing."""
    try:
        return order.parameters[name]
    except KeyError:
        raise Permanent(f"the {order.stage.value} order lacks the parameter {name!r}") from None
