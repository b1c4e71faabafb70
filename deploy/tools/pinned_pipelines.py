"""Prints pipelines.toml with the pushed images by digest: the GPU image for train, the other for all other steps.

python3 deploy/tools/pinned_pipelines.py > build/pipelines.toml
FRAUDLOOP_PIPELINES=build/pipelines.toml make build
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pinned(text: str, images: Mapping[str, str]) -> str:
    """Return the settings with `images["training"]` as default and `images["training_gpu"]` for train; comments
    stay.
    """
    default, steps = text.split("[steps.", 1)
    default = re.sub(r"(?m)^image = .*$", f'image = "{images["training"]}"', default)
    train = re.sub(r"(?m)^(\[steps\.train\].*)$", rf'\1\nimage = "{images["training_gpu"]}"', "[steps." + steps)
    table = tomllib.loads(default + train)
    found = (table["default"]["image"], table["steps"]["train"]["image"])
    if found != (images["training"], images["training_gpu"]):
        raise SystemExit(f"pipelines.toml would name {found}: its form has changed, adapt {Path(__file__).name}")
    return default + train


if __name__ == "__main__":
    recorded = json.loads((ROOT / "build/images.json").read_text())
    print(pinned((ROOT / "pipelines.toml").read_text(), recorded), end="")
