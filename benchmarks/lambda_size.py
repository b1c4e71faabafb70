"""Unzipped size of each Lambda as `sam build` packages it, beside the naive package with everything in the `lambda`
group.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HANDLERS = ("arrival", "nightly", "tick", "step", "announce")
BAR = 30.0  # MB
# What a requirements.txt with the plan's SDKs installs: kfp, kubernetes, boto3, and their dependencies.
NAIVE = ("kfp", "kubernetes", "boto3", "aws-lambda-powertools", "transitions")
MB = 1_000_000


def run() -> list[dict[str, Any]]:
    """Package each handler and print its bytes beside the limit."""
    naive = _installed(*NAIVE)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for handler in HANDLERS:
            size = packaged(handler, Path(folder) / handler) / MB
            print(f"lambda.unzipped_mb.{handler:<9} {size:6.1f} MB   (bar: < {BAR:.0f}; naive: {naive / MB:.0f} MB)")
            results.append(
                {
                    "name": f"lambda.unzipped_mb.{handler}",
                    "value": round(size, 2),
                    "unit": "MB",
                    "peer": f"{' + '.join(NAIVE)} and what they need",
                    "peer_value": round(naive / MB, 1),
                    "ratio": round(size * MB / naive, 3),
                }
            )
    return results


def packaged(handler: str, destination: Path) -> int:
    """Bytes of one function's folder, packaged by the tool that `sam build` calls."""
    tool = ROOT / "deploy/tools/lambda_package.py"
    subprocess.run([sys.executable, tool, f"handlers.{handler}", destination], check=True, stdout=subprocess.DEVNULL)
    return sum(file.stat().st_size for file in destination.rglob("*") if file.is_file())


def _installed(*names: str) -> int:
    """Bytes of the installed files of these distributions and their dependencies, without byte code."""
    sys.path.insert(0, str(ROOT / "deploy/tools"))
    from distributions import distributions

    files = [
        Path(str(dist.locate_file(file)))
        for name in distributions((), extras=names)
        for dist in [distribution(name)]
        for file in dist.files or ()
        if file.suffix != ".pyc"
    ]
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    run()
