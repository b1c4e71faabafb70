"""What the local cluster serves: which version its Application points at, and whether Triton is ready with it."""

import json
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

VERSION = "fraudloop.io/model-version"  # the annotation that kustomize puts on the pods


def pointed(cluster: Path) -> str:
    """The version that the Application in a cluster's folder points at; "" if none."""
    with suppress(FileNotFoundError, ValueError, KeyError):
        live = json.loads((cluster / "application.json").read_text())
        return str(live["spec"]["source"]["kustomize"]["commonAnnotations"][VERSION])
    return ""


def ready(url: str) -> bool:
    """Triton behind the Service at `url` takes requests."""
    with suppress(OSError, HTTPException), urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False
