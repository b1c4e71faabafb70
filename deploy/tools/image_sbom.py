"""Writes an image's contents as a CycloneDX 1.5 bill of materials: Python's distributions and Debian's packages.

The list is read inside the image, so it includes what an installer changed. On a replaced base, Debian's part is that
of
the replacement.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

# Runs in the image with its Python and no other packages.
ASK = r"""
import json, re
from importlib.metadata import distributions
from pathlib import Path

python = {}
for found in distributions():
    meta = found.metadata
    license_name = meta.get("License-Expression") or next(
        (c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or () if c.startswith("License :: ")), "")
    python[re.sub(r"[-_.]+", "-", meta["Name"]).lower()] = [found.version, license_name]
status = Path("/var/lib/dpkg/status")
debian = {}
for block in status.read_text(errors="replace").split("\n\n") if status.exists() else ():
    fields = dict(re.findall(r"^([A-Z][\w-]*): (.*)$", block, re.M))
    if fields.get("Status", "").endswith(" installed"):
        debian[fields["Package"]] = [fields["Version"], fields["Architecture"]]
print(json.dumps({"python": python, "debian": debian}))
"""


def bill(name: str, digest: str, found: Mapping[str, Mapping[str, Sequence[str]]], made: datetime) -> dict[str, Any]:
    """Return the bill of the image `name` from the packages that `ASK` found."""
    python = [_python(*entry) for entry in sorted(found["python"].items())]
    debian = [_debian(*entry) for entry in sorted(found["debian"].items())]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": made.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "container", "bom-ref": name, "name": name, "version": digest},
        },
        "components": [*python, *debian],
    }


def dumps(record: Mapping[str, Any]) -> str:
    """Return the bill as text."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _python(name: str, fields: Sequence[str]) -> dict[str, Any]:
    version, license_name = fields
    licenses = {"licenses": [{"license": {"name": license_name}}]} if license_name else {}
    return _component(name, version, f"pkg:pypi/{name}@{quote(version)}") | licenses


def _debian(name: str, fields: Sequence[str]) -> dict[str, Any]:
    version, architecture = fields
    return _component(name, version, f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}")


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
