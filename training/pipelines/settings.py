"""Reads images, resources, nodes and environment of the pipelines' steps from `pipelines.toml`."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.tables import read_table

FILE = "FRAUDLOOP_PIPELINES"
DEFAULT_FILE = "pipelines.toml"
MOST_SHARES = 64


@dataclass(frozen=True)
class Toleration:
    """A Kubernetes toleration; `operator` is Exists (no value) or Equal."""

    key: str
    operator: str = "Exists"
    value: str = ""
    effect: str = "NoSchedule"


@dataclass(frozen=True)
class StepSettings:
    """One step's pod: requests and limits in Kubernetes' units, and GPUs by the device plugin's resource name.

    Each of `secret_keys` in the Kubernetes Secret `secret`, if it is there, is an environment variable of that name.
    """

    image: str = "fraudloop-training:0.1.0"
    cpu_request: str = "1"
    cpu_limit: str = "2"
    memory_request: str = "2Gi"
    memory_limit: str = "4Gi"
    accelerator: str = ""
    accelerators: int = 0
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    secret: str = ""
    secret_keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class PipelineSettings:
    """The contents of `pipelines.toml`. `environment` is set in every pod; `code_version` goes into reports.

    `fan_out` is in how many shares, each a pod, preprocess converts its objects (1: in its own pod).
    """

    default: StepSettings = field(default_factory=StepSettings)
    steps: Mapping[str, StepSettings] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    code_version: str = ""
    fan_out: int = 1

    def step(self, name: str) -> StepSettings:
        """Returns the settings of a step, or the default settings."""
        return self.steps.get(name, self.default)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "PipelineSettings":
        """Parses `pipelines.toml`.

            Raises:
        Misconfigured: a key is unknown or a value of the wrong type; the message names it.
        """
        base = table.get("default", {})
        steps = {name: {**base, **own} for name, own in table.get("steps", {}).items()}
        environment = {name: str(value) for name, value in table.get("environment", {}).items()}
        settings = read_table(cls, {**table, "steps": steps, "environment": environment}, "pipelines.toml")
        if not 1 <= settings.fan_out <= MOST_SHARES:
            raise Misconfigured(f"pipelines.toml.fan_out is {settings.fan_out}; it can be 1 to {MOST_SHARES}")
        for name, step in [("default", settings.default), *settings.steps.items()]:
            if (step.accelerators > 0) != bool(step.accelerator):
                where = name if step is settings.default else f"steps.{name}"
                raise Misconfigured(f"pipelines.toml.{where}: set both accelerator and accelerators, or neither")
        return settings


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
