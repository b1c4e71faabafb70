"""Prints measurements as a table and merges them by name into `benchmarks/results.json` (not committed)."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

RESULTS = Path(__file__).parent / "results.json"


class Measurement(TypedDict):
    """One measured value. `peer_value` was measured in the same run; `ratio` is value / peer_value."""

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float | None
    ratio: float | None


def measurement(name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None) -> Measurement:
    """Return a measurement with its ratio to the peer: value / peer_value."""
    ratio = value / peer_value if peer_value else None
    return Measurement(name=name, value=value, unit=unit, peer=peer, peer_value=peer_value, ratio=ratio)


def record(measurements: Iterable[Measurement]) -> None:
    """Print the measurements, and replace those with the same names in the results file."""
    fresh = list(measurements)
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    names = {f["name"] for f in fresh}
    RESULTS.write_text(json.dumps([f for f in earlier if f["name"] not in names] + fresh, indent=1) + "\n")
    for f in fresh:
        beside = f"   {f['peer']}: {f['peer_value']:.6g}" if f["peer_value"] is not None else ""
        ratio = f"   ratio {f['ratio']:.3g}" if f["ratio"] is not None else ""
        print(f"{f['name']:<42} {f['value']:>12.6g} {f['unit']}{beside}{ratio}", flush=True)
