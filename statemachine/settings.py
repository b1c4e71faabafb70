"""The settings of this deployment, read once from environment variables and the model registry."""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from statemachine.contracts.errors import Misconfigured
from statemachine.core.policy import Policy, parse
from statemachine.reporting.prices import LIST_PRICES, Prices


@dataclass(frozen=True)
class Settings:
    """Deployment facts. A Lambda that needs one that is missing fails at once, and says which."""

    table: str
    data_bucket: str
    artifacts_bucket: str
    policies: Mapping[str, Policy]
    definitions: Mapping[str, str] = field(default_factory=dict)
    hints_queue_url: str = ""
    kfp_url: str = ""
    kfp_ca: str = ""
    kfp_namespace: str = ""
    kfp_experiment: str = "fraudloop"
    kfp_service_account: str = ""
    kfp_token: str = ""
    kfp_token_secret: str = ""
    kfp_ui_url: str = ""
    console_url: str = ""
    slack_webhook: str = ""
    slack_webhook_secret: str = ""
    sagemaker: Mapping[str, Any] = field(default_factory=dict)
    prices: Prices = LIST_PRICES


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings in the environment.

    Raises:
        Misconfigured: a variable or file is missing or wrong; the message names it.
    """
    artifacts = _required(environment, "FRAUDLOOP_ARTIFACTS_BUCKET")
    root = f"s3://{artifacts}"
    registry = registry_of(environment)
    return Settings(
        table=_required(environment, "FRAUDLOOP_TABLE"),
        data_bucket=_required(environment, "FRAUDLOOP_DATA_BUCKET"),
        artifacts_bucket=artifacts,
        policies=parse(registry, root),
        prices=Prices.from_dict(registry.get("prices", {})),
        definitions=_definitions(environment.get("FRAUDLOOP_DEFINITIONS", "")),
        hints_queue_url=environment.get("FRAUDLOOP_HINTS_QUEUE_URL", ""),
        kfp_url=environment.get("FRAUDLOOP_KFP_URL", ""),
        kfp_ca=environment.get("FRAUDLOOP_KFP_CA", ""),
        kfp_namespace=environment.get("FRAUDLOOP_KFP_NAMESPACE", ""),
        kfp_experiment=_experiment(environment),
        kfp_service_account=environment.get("FRAUDLOOP_KFP_SERVICE_ACCOUNT", ""),
        kfp_token=environment.get("FRAUDLOOP_KFP_TOKEN", ""),
        kfp_token_secret=environment.get("FRAUDLOOP_KFP_TOKEN_SECRET", ""),
        kfp_ui_url=environment.get("FRAUDLOOP_KFP_UI_URL", ""),
        console_url=environment.get("FRAUDLOOP_CONSOLE_URL", ""),
        slack_webhook=environment.get("FRAUDLOOP_SLACK_WEBHOOK", ""),
        slack_webhook_secret=environment.get("FRAUDLOOP_SLACK_WEBHOOK_SECRET", ""),
        sagemaker=_object(environment, "FRAUDLOOP_SAGEMAKER"),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise Misconfigured(
            f"{name} is not set; template.yaml sets it for the Lambdas, `fraudloop up` for this machine"
        )
    return value


def _experiment(environment: Mapping[str, str]) -> str:
    """Two deployments in one KFP do not share an experiment unless somebody says so."""
    return environment.get("FRAUDLOOP_KFP_EXPERIMENT") or environment.get("FRAUDLOOP_STACK_NAME") or "fraudloop"


def _object(environment: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        return dict(json.loads(environment.get(name) or "{}"))
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"{name} is not a JSON object: {error}") from error


def registry_of(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the model registry of `FRAUDLOOP_CONFIG`, else the repository's. Raises `Misconfigured`."""
    here = Path(__file__).resolve().parent.parent
    return read_registry(Path(environment.get("FRAUDLOOP_CONFIG") or here / "fraudloop.toml"))


def read_registry(path: Path) -> dict[str, Any]:
    """Return the tables of a fraudloop.toml.

    Raises:
        Misconfigured: it, or a file with a model's `data` table that it names, cannot be read.
    """
    registry = _toml(path, "the model registry")
    models = registry.get("models")
    for name, table in models.items() if isinstance(models, dict) else ():
        if isinstance(table, dict) and isinstance(table.get("data"), str):
            table["data"] = _toml(path.parent / table["data"], f"models.{name}.data:")
    return registry


def _toml(path: Path, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise Misconfigured(f"{what} {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{what} {path} is not TOML: {error}") from error


def _definitions(path: str) -> dict[str, str]:
    if not path:
        return {}
    try:
        return dict(json.loads(Path(path).read_text()))
    except (OSError, ValueError) as error:
        raise Misconfigured(
            f"FRAUDLOOP_DEFINITIONS: {path} cannot be read ({error}); `make build` writes it"
        ) from error
