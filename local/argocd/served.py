"""Reads what the local cluster serves: the Application's version, and whether Triton is ready."""

import json
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

VERSION = "fraudloop.io/model-version"  # the annotation that kustomize sets on the pods


def pointed(cluster: Path) -> str:
    """Return the version that the Application in a cluster's folder points at; "" if none."""
    with suppress(FileNotFoundError, ValueError, KeyError):
        live = json.loads((cluster / "application.json").read_text())
        return str(live["spec"]["source"]["kustomize"]["commonAnnotations"][VERSION])
    return ""


def ready(url: str) -> bool:
    """Return whether Triton behind the Service at `url` accepts requests."""
    with suppress(OSError, HTTPException), urllib.request.urlopen(f"{url}/v2/health/ready", timeout=5) as answer:
        return bool(answer.status == 200)
    return False
