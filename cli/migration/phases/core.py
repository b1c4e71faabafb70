"""Phase 2: images, pipelines, a run that trained, and parity with the SageMaker baseline."""

import json
from pathlib import Path

from cli.migration.phases.check import CheckFailed, PhaseCheck
from cli.migration.phases.environment import Environment
from statemachine.adapters.kfp import KfpPipelines
from statemachine.adapters.secrets import Secret
from statemachine.contracts.stage import Stage
from training.pipelines.settings import read_settings

COMPILED = "build/pipelines/definitions.json"


def images(world: Environment) -> str:
    """Check that ECR has every image that pipelines.toml names."""
    named = sorted({step.image for step in _steps()})
    for image in named:
        if ".dkr.ecr." not in image:
            raise CheckFailed(f"{image} is not an image in ECR")
        registry, _, rest = image.partition("/")
        repository, tag, digest = _parts(rest)
        identity = {"imageDigest": digest} if digest else {"imageTag": tag}
        world.aws("ecr").describe_images(
            registryId=registry.split(".")[0], repositoryName=repository, imageIds=[identity]
        )
    return f"{len(named)} images are there"


def _steps() -> list:  # type: ignore[type-arg]
    settings = read_settings()
    return [settings.default, *settings.steps.values()]


def _parts(rest: str) -> tuple[str, str, str]:
    repository, _, digest = rest.partition("@")
    repository, _, tag = repository.partition(":")
    return repository, tag or "latest", digest


def published(world: Environment) -> str:
    """Check that KFP has this checkout's pipelines, by content hash. Needs no stack: CI checks it before a deploy."""
    file = Path(world.settings.get("FRAUDLOOP_DEFINITIONS") or COMPILED)
    if not file.is_file():
        raise CheckFailed(f"{file} is not there: `make build` writes it")
    pins = KfpPipelines(
        url=world.setting("FRAUDLOOP_KFP_URL"),
        experiment="fraudloop",
        definitions=json.loads(file.read_text()),
        namespace=world.namespace,
        token=Secret(world.settings.get("FRAUDLOOP_KFP_TOKEN", "")),
    ).pins(Stage)
    if pins.missing:
        raise CheckFailed(pins.missing)
    return f"{len(pins.found)} pipelines are published"


def trained(world: Environment) -> str:
    """Check that a run completed preprocess and train."""
    for run in world.app.store.runs(world.model):
        if {"preprocess", "train"} <= set(run.outputs):
            return f"{run.id} preprocessed and trained ({run.state.value})"
    raise CheckFailed(f"no run of {world.model} has completed train yet")


def parity(world: Environment) -> str:
    """Check that the comparison with the SageMaker baseline says go."""
    path = Path(world.parity)
    if not path.is_file():
        raise CheckFailed(f"{path} is not there")
    found = json.loads(path.read_text())
    if not found.get("go"):
        raise CheckFailed(f"{path} says no-go: {found.get('reason') or found.get('reasons') or 'see the file'}")
    return f"{path} says go"


CHECKS = (
    PhaseCheck(
        "2.1",
        "the images are in ECR",
        images,
        "docker/images.sh REGISTRY VERSION, then put the digests into pipelines.toml",
        needs="an AWS account",
    ),
    PhaseCheck("2.4", "the pipelines are published", published, "make build && fraudloop publish"),
    PhaseCheck("2.2–2.3", "a run preprocessed and trained", trained, "fraudloop start MODEL, then fraudloop watch RUN"),
    PhaseCheck(
        "2.5",
        "parity with the SageMaker baseline",
        parity,
        "fraudloop baseline import, then fraudloop parity RUN --baseline baseline.json --out parity/",
    ),
)
