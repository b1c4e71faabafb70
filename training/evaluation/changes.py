"""What a candidate was made of, and what of it is not as it was for the champion: data, settings, code, images.

A version keeps its evaluation.json, and the evaluation its `identity`; so the next candidate can say what changed.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from training import storage
from training.model.model import FraudModel

DATA = ("rows", "first", "last", "corrected", "duplicates", "data_sha256", "schema_sha256")
CODE = {"image": "FRAUDLOOP_IMAGE", "code_version": "FRAUDLOOP_CODE_VERSION"}
MOST = 100  # changes on record


def identity(model: FraudModel, dataset: Path, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return `evaluation["identity"]`: what the model was trained on, with which settings, by which code."""
    data = storage.read_json(str(dataset / "dataset.json"))
    splits = {
        f"{part} {name}": count for part, counts in data.get("splits", {}).items() for name, count in counts.items()
    }
    return {
        "data": {name: data[name] for name in DATA if name in data} | splits,
        "settings": model.config.as_dict(),
        "code": {name: environment[variable] for name, variable in CODE.items() if environment.get(variable)},
    }


def since(champion: str | None, now: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `evaluation["changes"]`: by kind and name [champion's, candidate's]; None without a champion.

    `unknown` says why there is nothing to compare with: a version of a release that kept no identity.
    Raises what the store raises where it cannot be reached.
    """
    if not champion:
        return None
    try:
        former = storage.read_json(storage.join(champion, "evaluation.json")).get("identity")
    except (BotoCoreError, ClientError):
        raise
    except (OSError, ValueError, AttributeError) as error:
        return {"unknown": f"the champion's evaluation.json cannot be read: {type(error).__name__}"}
    if not isinstance(former, Mapping):
        return {"unknown": "the champion was evaluated by a release that kept no record of its data and settings"}
    return {kind: _changed(former.get(kind), now[kind]) for kind in ("data", "settings", "code")}


def _changed(before: Any, now: Mapping[str, Any]) -> dict[str, list[Any]]:
    known = before if isinstance(before, Mapping) else {}
    names = [name for name in (*now, *(name for name in known if name not in now)) if known.get(name) != now.get(name)]
    return {str(name): [known.get(name), now.get(name)] for name in names[:MOST]}
