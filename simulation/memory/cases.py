"""Snapshots for `decide`: the ordinary one of each state, and variations of it.

Run `fraud-7` wants to replace the champion OLD by NEW; it holds the training slot and, while it deploys, the other one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simulation.memory.kfp import PIN
from simulation.memory.stages import Play, honest
from statemachine.contracts import paths
from statemachine.contracts.kfp_run import KfpRun, KfpRunState
from statemachine.contracts.report import Artifact, Report
from statemachine.contracts.stage import Stage
from statemachine.core.approval import subject_digest
from statemachine.core.model import Deploying, Model, Release
from statemachine.core.policy import Policy
from statemachine.core.request_builder import build_request
from statemachine.core.run import Approval, OperatorRequest, RequestKind, Run, Trigger
from statemachine.core.snapshot import Observation, Snapshot
from statemachine.core.states import State

NOW = 1_000_000.0
RUN, OLD, OTHER, NEW = "fraud-7", "fraud-6-00000006", "fraud-5-00000005", "fraud-7-00000007"
POLICY = Policy("fraud", "data/fraud/", root="s3://artifacts")
OUTPUTS = {
    "preprocess": {name: Artifact(f"s3://artifacts/{name}") for name in ("dataset", "profile", "objects")},
    "train": {"model": Artifact("s3://artifacts/model")},
    "evaluate": {"evaluation": Artifact("s3://artifacts/evaluation")},
    "export": {"repository": Artifact(paths.version_folder("s3://artifacts", "fraud", NEW))},
}


def release(version: str, generation: int = 3) -> Release:
    """A version that serves, or did."""
    return Release(
        version,
        version.rsplit("-", 1)[0],
        paths.version_folder("s3://artifacts", "fraud", version),
        generation,
        NOW - 9e4,
    )


def operator_request(kind: RequestKind) -> OperatorRequest:
    """Ann asks."""
    return OperatorRequest(kind, "ann", "she has her reasons", NOW - 1)


def kfp_run(state: KfpRunState = KfpRunState.RUNNING, kfp_id: str = "kfp-1", launch_id: str = "L1") -> KfpRun:
    """A launch of the present attempt."""
    return KfpRun(kfp_id, f"{RUN}.stage.1", launch_id, state, NOW - 60)


def approval_of(run: Run, who: str = "ann", at: float = NOW - 1) -> Approval:
    """A yes to exactly what the run would deploy."""
    return Approval(who, "she has her reasons", at, subject_digest(run))


def model(**changes: Any) -> Model:
    """OLD serves, and it is also the anchor; the run trains."""
    old = release(OLD)
    return replace(Model("fraud", 5, old, (release(OTHER),), old, training=RUN, generation=4), **changes)


def run(state: State, **changes: Any) -> Run:
    """The run in `state`, with an adopted launch if the state works on a stage."""
    stage = state.stage
    working = {"attempt": 1, "attempts": {stage.value: 1}, "kfp_id": "kfp-1", "launch_id": "L1"} if stage else {}
    ordinary = Run(
        id=RUN,
        model="fraud",
        epoch=7,
        state=state,
        version=9,
        created_at=NOW - 600,
        entered_at=NOW - 60,
        launched_at=NOW - 60,
        trigger=Trigger("arrival"),
        pins={each.value: PIN for each in Stage},
        manifest="s3://artifacts/manifest.json",
        marked=True,
        outputs=OUTPUTS,
        champion=OLD,
        candidate=NEW,
        generation=4,
        **working,  # type: ignore[arg-type]
    )
    return replace(ordinary, **changes)


def snapshot(
    state: State,
    play: Play | None = None,
    *,
    of_run: Mapping[str, Any] | None = None,
    of_model: Mapping[str, Any] | None = None,
    of_policy: Mapping[str, Any] | None = None,
    now: float = NOW,
    **observed: Any,
) -> Snapshot:
    """The case of a run in `state` whose stage reported what `play` says (nothing, if there is none)."""
    slot = {"deploying": Deploying(RUN, 4)} if state in (State.DEPLOYING, State.ROLLING_BACK) else {}
    world = Observation(
        model(**{**slot, **(of_model or {})}),
        kfp_run=kfp_run() if state.stage else None,
        started=NOW - 50 if state.stage else None,
        duplicates=(),
    )
    found = Snapshot(run(state, **(of_run or {})), world, replace(POLICY, **(of_policy or {})), now)
    if play is not None:
        asked = replace(build_request(found), launch_id="L1")
        played = play(asked)
        assert isinstance(played, Report)
        world = replace(world, report=played)
    return replace(found, observed=replace(world, **observed))


def approved_by(*persons: str, at: float = NOW - 1, of_run: Mapping[str, Any] | None = None, **more: Any) -> Snapshot:
    """The case of a run that these persons approved as it stands."""
    waiting = snapshot(State.AWAITING_APPROVAL, of_run=of_run, **more)
    approvals = tuple(approval_of(waiting.run, who, at) for who in persons)
    return replace(waiting, run=replace(waiting.run, approvals=approvals))


def done(state: State, **more: Any) -> Snapshot:
    """The case of a run in `state` whose stage did its work."""
    return snapshot(state, honest, **more)
