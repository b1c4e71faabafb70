"""Prints measurements as a table and merges them by name into `benchmarks/results.json` (not committed)."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

RESULTS = Path(__file__).parent / "results.json"


class Measurement(TypedDict):
    """One measured value. `peer_value` was measured in the same run; `ratio` is value / peer_value.

    `low` and `high` are the one-sided 95 % bounds of a paired difference.
    """

    name: str
    value: float
    unit: str
    peer: str
    peer_value: float | None
    ratio: float | None
    low: NotRequired[float]
    high: NotRequired[float]


def measurement(name: str, value: float, unit: str, peer: str = "", peer_value: float | None = None) -> Measurement:
    """Return a measurement with its ratio to the peer: value / peer_value."""
    ratio = value / peer_value if peer_value else None
    return Measurement(name=name, value=value, unit=unit, peer=peer, peer_value=peer_value, ratio=ratio)


def difference(name: str, gained: Mapping[str, float], unit: str, peer: str) -> Measurement:
    """Return a paired difference to the peer with its bounds: the keys `mean`, `low` and `high`."""
    return {**measurement(name, gained["mean"], unit, peer), "low": gained["low"], "high": gained["high"]}


def bounds(gained: Mapping[str, float]) -> str:
    """A paired difference as it is printed: `mean [low, high]`."""
    return f"{gained['mean']:+.4f} [{gained['low']:+.4f}, {gained['high']:+.4f}]"


def record(measurements: Iterable[Measurement]) -> None:
    """Print the measurements, and replace those with the same names in the results file."""
    fresh = list(measurements)
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    names = {f["name"] for f in fresh}
    RESULTS.write_text(json.dumps([f for f in earlier if f["name"] not in names] + fresh, indent=1) + "\n")
    for f in fresh:
        beside = f"   {f['peer']}: {f['peer_value']:.6g}" if f["peer_value"] is not None else ""
        ratio = f"   ratio {f['ratio']:.3g}" if f["ratio"] is not None else ""
        bounds = f"   [{f['low']:.4f}, {f['high']:.4f}] to {f['peer']}" if "low" in f else ""
        print(f"{f['name']:<42} {f['value']:>12.6g} {f['unit']}{beside}{ratio}{bounds}", flush=True)
