"""The input of `decide`: the run, the observation, the policy and the time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from statemachine.contracts.kfp_run import KfpRun, PinnedVersion
from statemachine.contracts.report import Report
from statemachine.core.model import Model
from statemachine.core.policy import Policy
from statemachine.core.run import Run


@dataclass(frozen=True)
class Observation:
    """What a pass observed. `None` means "not found"; a failed read raises and ends the pass.

    `kfp_run` is the adopted launch. GetRun is called before the report is read, or a report written in between would
    be missed. `report_error` says why the existing report is invalid. `duplicates` are all launches of the run by name,
    or `None` if this pass has not listed them. `missing` names pipelines that are not published yet.
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
