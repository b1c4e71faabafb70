"""The case before `decide`: the run, what was seen of the world, the policy, and the moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from statemachine.contracts.kfp_run import KfpRun, PinnedVersion
from statemachine.contracts.report import Report
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.run import Run


@dataclass(frozen=True)
class Observation:
    """What a pass saw. `None` means *looked, and it is not there*; failing to look raises and ends the pass.

    `launch` is the adopted launch (GetRun, asked *before* the report is read, or a report written in between would
    be missed). `misreport` says why the report that is there cannot be trusted. `siblings` are all launches of
    the run by name, or `None` while nobody has listed them in this pass. `missing` names pipelines that were not
    published yet.
    """

    model: Model
    kfp_run: KfpRun | None = None
    started: float | None = None
    report: Report | None = None
    report_error: str = ""
    duplicates: tuple[KfpRun, ...] | None = None
    pins: Mapping[str, PinnedVersion] = field(default_factory=dict)
    missing: str = ""


@dataclass(frozen=True)
class Snapshot:
    """All that a decision depends on. `roll` is a random number in [0, 1), for jitter."""

    run: Run
    observed: Observation
    policy: Policy
    now: float
    roll: float = 0.5
