"""Manifests as `kubectl apply -k` would send them, rendered once."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".venv-aws/bin"
SCHEMAS = ROOT / "deploy/schemas"
FOLDERS = (
    "triton/overlays/dev",
    "triton/overlays/prod",
    "triton/namespace",
    "kfp/overlays/dev",
    "kfp/overlays/prod",
    "kfp/token-rotation",
    "kfp/storage",
    "kfp/multi-user",
    "karpenter",
    "argocd",
    "katib",
    "monitoring",
    "gpu-metrics",
    "slo",
    "live/score-log",
    "live/store",
)


def kubectl() -> str:
    own = TOOLS / "kubectl"
    found = str(own) if own.exists() else shutil.which("kubectl")
    if not found:
        pytest.skip("no kubectl: `make aws-tools` installs it")
    return found


def render(folder: Path) -> list[dict]:
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(objects, kind, name=None):
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert found, f"no {kind} {name or ''}"
    return found[0]


def core_problems(objects, folder: Path) -> list[str]:
    """What the Kubernetes API server's own schema, read strictly, finds wrong with built-in kinds."""
    if not (TOOLS / "kubernetes-validate").exists():
        pytest.skip("no .venv-aws: `make aws-tools` installs kubernetes-validate")
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    command = [str(TOOLS / "kubernetes-validate"), "--strict", "--quiet", "-k", "1.33", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return [] if done.returncode == 0 else [done.stdout + done.stderr]


def custom_problems(objects) -> list[dict]:
    """What the upstream CRDs find wrong with custom resources; unknown fields and unknown kinds are wrong, too."""
    if not (SCHEMAS / "node_modules/.installed").exists():
        pytest.skip("no schemas of custom resources: `make aws-tools` makes them by npm (apt-get install npm)")
    done = subprocess.run(
        ["node", "validate.mjs"], cwd=SCHEMAS, input=json.dumps(objects), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
