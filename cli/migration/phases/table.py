"""The four phases of the migration with their checks."""

from cli.migration.phases import core, foundation, production, release
from cli.migration.phases.check import PhaseCheck

PHASES: dict[int, tuple[str, tuple[PhaseCheck, ...]]] = {
    1: ("Foundation", foundation.CHECKS),
    2: ("Core pipeline", core.CHECKS),
    3: ("End to end", release.CHECKS),
    4: ("Production", production.CHECKS),
}
