"""What a deploy or restore order asks for, parsed once, and the golden requests of the version that it names."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.export.golden import Golden
from training.integrity import MANIFEST, sha256_bytes
from training.outcome import Permanent

GOLDEN = "golden.json"


@dataclass(frozen=True)
class DeployRequest:
    """What a deploy or restore order asks for: this version, at this generation, before the time is up."""

    repository: str
    version: str
    generation: int
    operation_id: str
    timeout_seconds: float


def deploy_request(order: StageRequest) -> DeployRequest:
    """The goal in an order's parameters.

    Raises:
        Permanent: a parameter is missing or wrong, or the repository is another version's.
    """
    repository = order.inputs.get("repository", "").rstrip("/")
    request = DeployRequest(
        repository=repository,
        version=str(parameter(order, "version")),
        generation=int(parameter(order, "generation")),
        operation_id=f"{order.name}.{order.launch_id}",
        timeout_seconds=float(parameter(order, "timeout_seconds")),
    )
    if repository.rpartition("/")[2] != request.version:
        raise Permanent(f"the order names version {request.version}, but its repository is {repository or 'missing'}")
    return request


def golden_of(repository: str) -> Golden:
    """The golden requests of an exported version, compared with its manifest.

    Raises:
        Permanent: the version is unfinished, or its golden requests were changed or cannot be read.
    """
    try:
        listed: Mapping[str, str] = storage.read_json(storage.join(repository, MANIFEST))["files"]
        body = storage.read_bytes(storage.join(repository, GOLDEN))
    except FileNotFoundError as error:
        raise Permanent(f"this is no finished version: {error}") from error
    if listed.get(GOLDEN) != sha256_bytes(body):
        raise Permanent(f"{repository}/{GOLDEN} is not what {MANIFEST} says; export the version again")
    return Golden.from_dict(json.loads(body))


def parameter(order: StageRequest, name: str) -> Any:
    """One of an order's parameters. Raises Permanent if it is missing."""
    try:
        return order.parameters[name]
    except KeyError:
        raise Permanent(f"the {order.stage.value} order lacks the parameter {name!r}") from None
