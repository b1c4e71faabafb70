"""Hypothesis strategies for any snapshot that `decide` could meet, false reports included."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from simulation.memory.cases import (
    NEW,
    NOW,
    OLD,
    OTHER,
    POLICY,
    approval_of,
    model,
    operator_request,
    release,
    snapshot,
)
from simulation.memory.stages import evaluation, figures_of
from statemachine.contracts.kfp_run import KfpRun, KfpRunState
from statemachine.contracts.report import Artifact, Outcome, Report
from statemachine.contracts.shadow import ShadowPolicy
from statemachine.contracts.stage import Stage
from statemachine.core.model import Deploying, Hold, Model
from statemachine.core.policy import ApprovalPolicy
from statemachine.core.run import Claim, RequestKind, Run, RunKind, Trigger
from statemachine.core.snapshot import Observation, Snapshot
from statemachine.core.states import State

VERSIONS = st.sampled_from(["", OLD, OTHER, NEW, "no-version", "x"])
SECONDS = st.floats(-2e5, 2e5)
NUMBERS = st.integers(-2, 2**40) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def details(draw: st.DrawFn) -> dict[str, Any]:
    """What a report may contain: correct metrics, and any JSON under the names that we read."""
    served = st.lists(st.fixed_dictionaries({"pod": st.just("p"), "version": VERSIONS}), max_size=3)
    honest = st.builds(
        evaluation, auc=st.floats(0.4, 1), champion=VERSIONS, anchor=VERSIONS, difference=st.floats(-0.1, 0.1)
    )
    tried = st.builds(
        figures_of, VERSIONS, VERSIONS, disagreements=st.integers(0, 300), error=st.sampled_from(["", "no"])
    )
    known = {
        "evaluation": honest | JSON,
        "shadow": tried | JSON,
        "version": VERSIONS | JSON,
        "served": served | JSON,
        "generation": st.integers(0, 9) | JSON,
        "live_generation": st.integers(0, 20) | JSON,
    }
    names = draw(st.sets(st.sampled_from(sorted(known))))
    return {name: draw(known[name]) for name in sorted(names)}


@st.composite
def reports(draw: st.DrawFn, stage: Stage) -> Report:
    """Any report that parses."""
    every = ["dataset", "objects", "model", "evaluation", "repository", "shadow", "profile"]
    outputs = {
        name: Artifact(f"s3://artifacts/{name}") for name in draw(st.sets(st.sampled_from(every)) | st.just(every))
    }
    return Report(
        "fraud-7",
        stage.value,
        1,
        "L1",
        draw(st.sampled_from(Outcome)),
        draw(st.text(max_size=10)),
        draw(st.booleans()),
        outputs=outputs,
        metrics=draw(st.dictionaries(st.text(max_size=5), st.floats(0, 1), max_size=2)),
        details=draw(details()),
        finished_at=draw(st.sampled_from([0.0, NOW, NOW - 1e5])),
    )


LAUNCHES = st.builds(
    KfpRun,
    st.sampled_from(["kfp-1", "kfp-2", "kfp-3"]),
    st.just("fraud-7.train.1"),
    st.sampled_from(["", "L1", "L2"]),
    st.sampled_from(KfpRunState),
)


@st.composite
def runs(draw: st.DrawFn, state: State) -> Run:
    """A run in that state, more or less ordinary."""
    ordinary = snapshot(state).run
    stage = state.stage
    approvals = tuple(approval_of(ordinary, who) for who in draw(st.lists(st.sampled_from(["ann", "bob"]), max_size=2)))
    return replace(
        ordinary,
        approvals=approvals,
        version=draw(st.integers(1, 1000)),
        kind=draw(st.sampled_from(RunKind)) if state in (State.QUEUED, State.ROLLING_BACK) else RunKind.TRAINING,
        trigger=Trigger(draw(st.sampled_from(["arrival", "nightly", "person", "redrive"]))),
        start_at=draw(st.sampled_from([s for s in Stage if s is not Stage.RESTORE])),
        failures=draw(st.integers(0, 4)),
        attempts=draw(st.sampled_from([ordinary.attempts, {**ordinary.attempts, "train": 3}])) if stage else {},
        kfp_id=draw(st.sampled_from(["", "kfp-1"])) if stage else "",
        launched_at=NOW + draw(SECONDS),
        entered_at=NOW + draw(SECONDS),
        create_uncertain_until=draw(st.sampled_from([0.0, NOW + 100])),
        retry_at=draw(st.sampled_from([0.0, NOW + 50])),
        stop=draw(st.sampled_from(["", "it is late"])),
        report_error=draw(st.sampled_from(["", "", "not JSON"])),
        manifest=draw(st.sampled_from(["", "s3://artifacts/m"])),
        marked=draw(st.booleans()),
        pins=draw(st.sampled_from([ordinary.pins, {}])),
        outputs=draw(st.sampled_from([ordinary.outputs, {}])),
        champion=draw(VERSIONS),
        candidate=draw(VERSIONS),
        target=draw(VERSIONS),
        generation=draw(st.integers(0, 9)),
        operator_request=draw(st.sampled_from([None, *(operator_request(kind) for kind in RequestKind)])),
        claim=draw(st.sampled_from([None, Claim("o", NOW + 10)])),
        deployment=draw(st.sampled_from(["", "0000000b"])),
        launch_ids=draw(st.sampled_from([(), ("L1",), ("L1", "L2")])),
        lapsed=draw(st.integers(0, 6)),
        stopping_since=draw(st.sampled_from([0.0, NOW - 1e4, NOW])),
        condemned=draw(st.booleans()),
    )


@st.composite
def models(draw: st.DrawFn) -> Model:
    """The model item: with or without a champion, held, being deployed by us or another."""
    return model(
        champion=draw(st.sampled_from([None, release(OLD), release(OTHER)])),
        anchor=draw(st.sampled_from([None, release(OLD), release(OTHER)])),
        training=draw(st.sampled_from(["", "fraud-7", "fraud-9"])),
        deploying=draw(st.sampled_from([None, Deploying("fraud-7", 4), Deploying("fraud-9", 5)])),
        hold=draw(st.sampled_from([None, Hold("ann", "why", NOW), Hold("fraudloop", "why", NOW)])),
        generation=draw(st.integers(0, 12)),
        refused=draw(st.sampled_from([(), ("00000007",), ("00000007", "00000006")])),
    )


@st.composite
def cases(draw: st.DrawFn, states: st.SearchStrategy[State] | None = None) -> Snapshot:
    """Any case."""
    state = draw(states if states is not None else st.sampled_from(State))
    run = draw(runs(state))
    report = draw(st.none() | reports(state.stage)) if state.stage and run.kfp_id else None
    observed = Observation(
        draw(models()),
        kfp_run=draw(st.none() | LAUNCHES),
        started=draw(st.none() | SECONDS.map(lambda s: NOW + s)),
        report=report,
        report_error="" if report else draw(st.sampled_from(["", "", "too large"])),
        duplicates=draw(st.none() | st.lists(LAUNCHES, max_size=3).map(tuple)),
        pins=draw(st.sampled_from([{}, snapshot(State.TRAINING).run.pins])),
        missing=draw(st.sampled_from(["", "not published"])),
    )
    policy = replace(
        POLICY,
        require_approval=draw(st.booleans()),
        max_attempts=draw(st.integers(1, 4)),
        live=draw(st.booleans()),
        shadow=ShadowPolicy(enabled=draw(st.booleans()), insufficient_passes=draw(st.booleans())),
        approval=ApprovalPolicy(draw(st.integers(1, 2)), draw(st.booleans())),
    )
    return Snapshot(run, observed, policy, NOW + draw(SECONDS), draw(st.floats(0, 1, exclude_max=True)))
