"""The four phases of the migration, each with its questions."""

from cli.phases import core, foundation, production, release
from cli.phases.check import Check

PHASES: dict[int, tuple[str, tuple[Check, ...]]] = {
    1: ("Foundation", foundation.CHECKS),
    2: ("Core pipeline", core.CHECKS),
    3: ("End to end", release.CHECKS),
    4: ("Production", production.CHECKS),
}
