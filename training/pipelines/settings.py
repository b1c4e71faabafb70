"""Reads images, resources, nodes and environment of the pipelines' steps from `pipelines.toml`."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from statemachine.contracts.errors import Misconfigured

FILE = "FRAUDLOOP_PIPELINES"
DEFAULT_FILE = "pipelines.toml"


@dataclass(frozen=True)
class Toleration:
    """A Kubernetes toleration; `operator` is Exists (no value) or Equal."""

    key: str
    operator: str = "Exists"
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True)
class StepSettings:
    """One step's pod: requests and limits in Kubernetes' units, and GPUs by the device plugin's resource name."""

    image: str = "fraudloop-training:0.1.0"
    cpu_request: str = "1"
    cpu_limit: str = "2"
    memory_request: str = "2Gi"
    memory_limit: str = "4Gi"
    accelerator: str = ""
    accelerators: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()


@dataclass(frozen=True)
class PipelineSettings:
    """The contents of `pipelines.toml`. `environment` is set in every pod; `code_version` goes into reports."""

    default: StepSettings = field(default_factory=StepSettings)
    steps: Mapping[str, StepSettings] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    code_version: str = ""

    def step(self, name: str) -> StepSettings:
        """Returns the settings of a step, or the default settings."""
        return self.steps.get(name, self.default)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "PipelineSettings":
        """Parses `pipelines.toml`.

            Raises:
        Misconfigured: a key is unknown or a value of the wrong type; the message names it.
        """
        _only(table, {"default", "steps", "environment", "code_version"}, "pipelines.toml")
        default = _step(table.get("default", {}), {}, "default")
        base = dict(table.get("default", {}))
        steps = {name: _step(own, base, f"steps.{name}") for name, own in table.get("steps", {}).items()}
        environment = {str(name): str(value) for name, value in table.get("environment", {}).items()}
        return cls(default, steps, environment, str(table.get("code_version", "")))


def read_settings(environment: Mapping[str, str] = os.environ, folder: Path = Path()) -> PipelineSettings:
    """Reads the file that `FRAUDLOOP_PIPELINES` names, else `pipelines.toml` in `folder`.

    `FRAUDLOOP_IMAGE` and `FRAUDLOOP_CODE_VERSION` replace the default image and code version, because CI knows both
    only after it has built and pushed the image.
    """
    path = Path(environment.get(FILE) or folder / DEFAULT_FILE)
    if not path.is_file():
        raise Misconfigured(f"{path} is not there; {FILE} names the settings of the pipelines' steps")
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    if image := environment.get("FRAUDLOOP_IMAGE"):
        table["default"] = {**table.get("default", {}), "image": image}
    if version := environment.get("FRAUDLOOP_CODE_VERSION"):
        table["code_version"] = version
    return PipelineSettings.from_dict(table)


def _step(own: Mapping[str, Any], base: Mapping[str, Any], where: str) -> StepSettings:
    known = {one.name: one for one in fields(StepSettings)}
    _only(own, set(known), where)
    values = {**base, **own}
    try:
        tolerations = tuple(Toleration(**one) for one in values.pop("tolerations", ()))
        step = StepSettings(**values, tolerations=tolerations)
    except TypeError as error:
        raise Misconfigured(f"{where}: {error}") from error
    if (step.accelerators > 0) != bool(step.accelerator):
        raise Misconfigured(f"{where}: accelerator and accelerators must both be set, or neither")
    return step


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(table) - known):
        raise Misconfigured(f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
