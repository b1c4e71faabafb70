"""Prints pipelines.toml with the pushed images by digest: one for train, one for shadow, the other for all other steps.

python3 deploy/tools/pinned_pipelines.py > build/pipelines.toml
FRAUDLOOP_PIPELINES=build/pipelines.toml make build
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = {"train": "training_gpu", "shadow": "shadow"}  # step: its image in build/images.json


def pinned(text: str, images: Mapping[str, str]) -> str:
    """Return the settings with `images["training"]` as default, those of `STEPS` for their steps; comments stay."""
    default, steps = text.split("[steps.", 1)
    default = re.sub(r"(?m)^image = .*$", f'image = "{images["training"]}"', default)
    steps = re.sub(r"(?m)^image = .*\n", "", "[steps." + steps)
    for step, name in STEPS.items():
        steps = re.sub(rf"(?m)^(\[steps\.{step}\].*)$", rf'\1\nimage = "{images[name]}"', steps)
    table = tomllib.loads(default + steps)
    found = [table["default"]["image"], *(table["steps"][step]["image"] for step in STEPS)]
    if found != [images["training"], *(images[name] for name in STEPS.values())]:
        raise SystemExit(f"pipelines.toml would name {found}: its form has changed, adapt {Path(__file__).name}")
    return default + steps


if __name__ == "__main__":
    recorded = json.loads((ROOT / "build/images.json").read_text())
    print(pinned((ROOT / "pipelines.toml").read_text(), recorded), end="")
