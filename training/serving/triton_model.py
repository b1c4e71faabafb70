"""The `model.py` that Triton loads: verifies every file of this version, then passes requests to the code beside it."""

import gc
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
# Spinning threads of one library slow down another (torch beside XGBoost). Set before either is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# XGBoost imports these if installed, for wrappers that are not used here. They take a fifth of the start.
OPTIONAL = ("sklearn", "pandas")


class TritonPythonModel:
    """One of the models in `training.serving`, behind Triton's python backend."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model. Raises ValueError if a file differs from the exported one."""
        verify(FOLDER)
        sys.path.insert(0, str(FOLDER / "code"))
        sys.modules.update(dict.fromkeys(OPTIONAL))  # type: ignore[arg-type]
        gc.disable()  # until all is loaded: it would walk what stays again and again, which takes a third of the start
        from training.serving import adapter

        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config.get("parameters", {}).items()}
        self._model = adapter.load(args["model_name"], FOLDER / "model", parameters)
        gc.freeze()  # what is loaded stays; a full collection that looks at it would delay a payment by milliseconds
        gc.enable()
        self._outputs = [output["name"] for output in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response per request. An invalid request gets an error; the others are answered."""
        from training.serving import adapter

        return adapter.respond(self._model, requests, self._outputs)


def verify(folder: Path) -> None:
    """Compare each file with MANIFEST.json, before any of them is imported or read."""
    listed = json.loads((folder / "MANIFEST.json").read_text())["files"]
    for name, sha256 in listed.items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            raise ValueError(f"{file} is not what MANIFEST.json says: the version is damaged; fetch or export it again")
