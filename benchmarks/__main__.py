"""`make bench` runs every benchmark in sequence; `python -m benchmarks NAME…` runs some of them."""

import importlib
import pkgutil
import sys
from pathlib import Path

from benchmarks.results import record

APART = {"__main__", "results", "quality", "encoder_trials", "tuning"}  # these take long, and are run by themselves


def names() -> list[str]:
    """The benchmark modules in this folder."""
    return sorted(
        module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if module.name not in APART
    )


def main() -> None:
    """Run the named benchmarks, or all."""
    if sys.argv[1:2] == ["scale"] and len(sys.argv) > 2:  # it has options of its own
        importlib.import_module("benchmarks.scale").main(sys.argv[2:])
        return
    arguments = sys.argv[1:] or names()
    for name in arguments:
        module = importlib.import_module(f"benchmarks.{name}")
        if not hasattr(module, "run"):
            continue
        print(f"\n== {name}: {(module.__doc__ or '').strip().splitlines()[0]}", flush=True)
        record(module.run())


if __name__ == "__main__":
    main()
