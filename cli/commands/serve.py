"""`serve`: the real Triton on this machine, on the repository that `train` or a run left."""

import json
import math
import shlex
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.commands.system import stop_on_signals
from cli.output import console
from local.triton import Triton
from statemachine.contracts.errors import Misconfigured

REPOSITORY = "repository"  # within a version's folder
ASKED = "fraud_score"
LOOK = 0.5  # seconds between two looks at the server


def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `fraudloop train --out DIR` wrote.")],
    port: Annotated[int, typer.Option(help="The HTTP port on loopback; a free one if not given.")] = 0,
    wait: Annotated[float, typer.Option(help="Seconds until it has to be ready.")] = 180.0,
) -> None:
    """Serve a trained model with Triton on 127.0.0.1 until Ctrl-C, and print a request to send to it.

    DIR may also be one version's folder. Example: `fraudloop serve out`
    """
    version = find_version(folder)
    stopped = stop_on_signals()
    with (
        tempfile.TemporaryDirectory(prefix="fraudloop-serve-") as scratch,
        Triton(version / REPOSITORY, Path(scratch), http_port=port) as triton,
    ):
        console.print(f"starting Triton on {version.name} …")
        triton.wait_ready(wait, stopped)
        console.print(f"{version.name} serves at {triton.url}; Ctrl-C ends it", soft_wrap=True)
        if request := _request(version, Path(scratch)):
            console.print(f"\n  {curl(triton.url, request)}\n", soft_wrap=True)
        while not stopped.wait(LOOK):
            if not triton.alive:
                raise Misconfigured(f"Triton has ended; the end of its log: {triton.log.read_text()[-500:]}")
    console.print("stopped")


def find_version(folder: Path) -> Path:
    """The version in what `train` wrote, or the folder itself. Raises `Misconfigured`."""
    if (folder / REPOSITORY).is_dir():
        return folder
    found = sorted((folder / "models").glob(f"*/{REPOSITORY}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise Misconfigured(
            f"{folder} holds no Triton repository: name the folder of `fraudloop train FILES --out {folder}`"
        )
    return found[-1].parent


def _request(version: Path, scratch: Path) -> Path | None:
    """A file with the first row of a golden request; `None` if the version has no golden requests."""
    try:
        exchanges = json.loads((version / "golden.json").read_text())["exchanges"]
    except (OSError, ValueError, KeyError):
        return None
    first = next((one["inputs"] for one in exchanges if one["model"] == ASKED), None)
    if first is None:
        return None
    path = scratch / "request.json"
    path.write_text(json.dumps({"inputs": [one_row(tensor) for tensor in first]}))
    return path


def one_row(tensor: dict[str, Any]) -> dict[str, Any]:
    """The first row of a flat tensor of KServe's v2 protocol."""
    shape = [1, *tensor["shape"][1:]]
    return {**tensor, "shape": shape, "data": tensor["data"][: math.prod(shape)]}


def curl(url: str, request: Path) -> str:
    """The command line that sends the request."""
    header = "Content-Type: application/json"
    return shlex.join(["curl", "-s", f"{url}/v2/models/{ASKED}/infer", "-H", header, "-d", f"@{request}"])


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Models")(serve)
