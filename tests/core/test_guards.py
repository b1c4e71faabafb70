"""Every guard of the table, true and false, from cases written by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from simulation.memory.cases import (
    NEW,
    NOW,
    OLD,
    OTHER,
    OUTPUTS,
    approved_by,
    done,
    kfp_run,
    model,
    operator_request,
    snapshot,
)
from simulation.memory.kfp import PIN
from simulation.memory.stages import failed, honest, measured, ok, refused, replayed
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.contracts.report import Artifact, Report
from statemachine.contracts.shadow import ShadowPolicy
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core import guards, proof
from statemachine.core.model import Deploying, Hold
from statemachine.core.policy import ApprovalPolicy
from statemachine.core.run import RequestKind, RunKind, Trigger
from statemachine.core.snapshot import Snapshot
from statemachine.core.states import ACTIVE, WORKING, State
from statemachine.core.table import TABLE

S = State


def asked(state: State, kind: RequestKind, **more: Any) -> Snapshot:
    return snapshot(state, of_run={"operator_request": operator_request(kind), **more})


def begun(at: Stage, **more: Any) -> Snapshot:
    return snapshot(S.QUEUED, of_run={"start_at": at, **more})


def restoring(**more: Any) -> Snapshot:
    return snapshot(S.QUEUED, of_run={"kind": RunKind.RESTORE, "target": OTHER, "manifest": ""}, **more)


def weak(order: StageRequest) -> Report:
    return ok(order, {"evaluation": measured(order, auc=0.5)}, {"evaluation": "s3://artifacts/e"})


def transient(order: StageRequest) -> Report:
    return failed(order, "evicted")


def permanent(order: StageRequest) -> Report:
    return failed(order, "a bug", permanent=True)


def no(order: StageRequest) -> Report:
    return refused(order, "no")


def nameless(order: StageRequest) -> Report:
    return ok(order, {}, {"repository": "s3://artifacts/x"})


def worse(order: StageRequest) -> Report:
    return ok(order, {"shadow": replayed(order, disagreements=200)}, {"shadow": "s3://artifacts/shadow.json"})


def begun_live(at: Stage) -> Snapshot:
    return snapshot(S.QUEUED, of_run={"start_at": at}, of_policy=LIVE)


LIVE, UNSHADOWED = {"live": True}, {"shadow": ShadowPolicy(enabled=False)}
TWO, SEPARATE = {"approval": ApprovalPolicy(approvers=2)}, {"approval": ApprovalPolicy(separate=True)}
BY_ANN = Trigger("person", "ann", "she wanted to see")
# What an approval is of: each change of it, after the approval was given.
CHANGES: list[dict[str, Any]] = [
    {"candidate": "fraud-7-00000008"},
    {"champion": ""},
    {"verdict": {"passed": True}},
    {"shadow": {"passed": True}},
    {"outputs": OUTPUTS | {"evaluate": {"evaluation": Artifact("s3://artifacts/evaluation", "another")}}},
    {"outputs": OUTPUTS | {"export": {}}},
]
APPROVAL = {"require_approval": True}
HELD = Hold("ann", "why", NOW)
TAKEN = Deploying("fraud-rollback-9", 9)
RESTORED = {"target": OLD}

# guard → the cases in which it holds, and those in which it does not
TRUTHS: dict[Callable[[Snapshot], bool], tuple[list[Snapshot], list[Snapshot]]] = {
    guards.from_preprocess: (
        [begun(Stage.PREPROCESS), snapshot(S.QUEUED, of_run={"pins": {}}, pins={"train": PIN})],
        [
            begun(Stage.PREPROCESS, pins={}),
            begun(Stage.PREPROCESS, manifest=""),
            begun(Stage.TRAIN),
            restoring(),
        ],
    ),
    guards.from_materialise: (
        [begun_live(Stage.MATERIALISE)],
        [begun(Stage.MATERIALISE), begun_live(Stage.TRAIN), begun_live(Stage.PREPROCESS)],
    ),
    guards.from_train: (
        [begun(Stage.TRAIN), begun(Stage.MATERIALISE)],
        [begun(Stage.PREPROCESS), begun(Stage.TRAIN, manifest=""), begun_live(Stage.MATERIALISE)],
    ),
    guards.from_shadow: (
        [begun(Stage.SHADOW)],
        [begun(Stage.EXPORT), snapshot(S.QUEUED, of_run={"start_at": Stage.SHADOW}, of_policy=UNSHADOWED)],
    ),
    guards.from_evaluate: (
        [
            begun(Stage.EVALUATE),
            begun(Stage.EXPORT, champion=OTHER),
            begun(Stage.SHADOW, champion=OTHER),
            begun(Stage.DEPLOY, champion=""),
        ],
        [begun(Stage.EXPORT), begun(Stage.SHADOW), begun(Stage.DEPLOY), begun(Stage.TRAIN, champion=OTHER)],
    ),
    guards.from_export: (
        [
            begun(Stage.EXPORT),
            begun(Stage.DEPLOY),
            snapshot(S.QUEUED, of_run={"start_at": Stage.SHADOW}, of_policy=UNSHADOWED),
        ],
        [begun(Stage.EVALUATE), begun(Stage.SHADOW)],
    ),
    guards.to_restore: (
        [restoring(), restoring(of_model={"hold": HELD}), restoring(of_model={"deploying": Deploying("fraud-7", 4)})],
        [restoring(of_model={"deploying": TAKEN}), begun(Stage.PREPROCESS)],
    ),
    guards.cancelled: (
        [asked(state, RequestKind.CANCEL) for state in ACTIVE],
        [snapshot(S.TRAINING), asked(S.AWAITING_APPROVAL, RequestKind.APPROVE)],
    ),
    guards.reported: (
        [done(S.TRAINING)],
        [
            snapshot(S.TRAINING),
            snapshot(S.TRAINING, no),
            snapshot(S.TRAINING, transient),
            snapshot(S.TRAINING, lambda o: ok(o)),
        ],
    ),
    guards.preprocessed: (
        [done(S.PREPROCESSING)],
        [done(S.PREPROCESSING, of_run={"marked": False}), snapshot(S.PREPROCESSING, no), snapshot(S.PREPROCESSING)],
    ),
    guards.refused_data: (
        [snapshot(S.PREPROCESSING, no)],
        [snapshot(S.PREPROCESSING, no, of_run={"marked": False}), done(S.PREPROCESSING)],
    ),
    guards.preprocessed_for_live: (
        [done(S.PREPROCESSING, of_policy=LIVE)],
        [
            done(S.PREPROCESSING),
            snapshot(S.PREPROCESSING, of_policy=LIVE),
            done(S.PREPROCESSING, of_policy=LIVE, of_run={"marked": False}),
            done(S.PREPROCESSING, of_policy=LIVE, of_run={"pins": {"train": PIN}}),
        ],
    ),
    guards.refused: ([snapshot(S.TRAINING, no), snapshot(S.EVALUATING, no)], [done(S.TRAINING), snapshot(S.TRAINING)]),
    guards.outdated: (
        [
            done(S.EVALUATING, of_run={"champion": OTHER}),
            done(S.EVALUATING, of_run={"champion": ""}),
            done(S.EVALUATING, of_model={"champion": None}),
        ],
        [done(S.EVALUATING), snapshot(S.EVALUATING, of_run={"champion": OTHER})],
    ),
    guards.passed: (
        [done(S.EVALUATING)],
        [snapshot(S.EVALUATING, weak), snapshot(S.EVALUATING), snapshot(S.EVALUATING, no)],
    ),
    guards.failed_gate: (
        [
            snapshot(S.EVALUATING, weak),
            snapshot(S.EVALUATING, lambda order: ok(order, {}, {"evaluation": "s3://artifacts/e"})),
            snapshot(S.EVALUATING, lambda order: ok(order, {"evaluation": [1]}, {"evaluation": "s3://artifacts/e"})),
        ],
        [done(S.EVALUATING), snapshot(S.EVALUATING), snapshot(S.EVALUATING, no)],
    ),
    guards.disapproved: (
        [
            asked(S.AWAITING_APPROVAL, RequestKind.REJECT),
            snapshot(S.AWAITING_APPROVAL, now=NOW - 60 + 172_800),
        ],
        [
            snapshot(S.AWAITING_APPROVAL, now=NOW - 61 + 172_800),
            approved_by("ann", at=NOW + 172_000, now=NOW + 172_800),
        ],
    ),
    guards.not_exported: (
        [snapshot(S.AWAITING_APPROVAL, of_run={"candidate": ""})],
        [snapshot(S.AWAITING_APPROVAL), approved_by("ann")],
    ),
    guards.approved: (
        [
            approved_by("ann"),
            approved_by("ann", "bob", of_policy=TWO),
            approved_by("bob", of_run={"trigger": BY_ANN}, of_policy=SEPARATE),
            approved_by("ann", of_run={"trigger": BY_ANN}),
        ],
        [
            snapshot(S.AWAITING_APPROVAL),
            asked(S.AWAITING_APPROVAL, RequestKind.REJECT),
            asked(S.AWAITING_APPROVAL, RequestKind.APPROVE),
            approved_by("ann", of_policy=TWO),
            approved_by("ann", "ann", of_policy=TWO),
            approved_by("ann", at=NOW - 172_800),
            approved_by("ann", of_model={"hold": HELD}),
            approved_by("ann", of_model={"deploying": TAKEN}),
            approved_by("ann", of_run={"trigger": BY_ANN}, of_policy=SEPARATE),
            approved_by("ann", of_run={"parameters_by": "ann"}, of_policy=SEPARATE),
            *(
                replace(given, run=replace(given.run, **changed))
                for given in [approved_by("ann")]
                for changed in CHANGES
            ),
        ],
    ),
    guards.approved_anew: (
        [approved_by("ann", of_run={"champion": OTHER})],
        [approved_by("ann"), snapshot(S.AWAITING_APPROVAL, of_run={"champion": OTHER})],
    ),
    guards.exported_for_shadow: (
        [done(S.EXPORTING), done(S.EXPORTING, of_model={"deploying": TAKEN, "hold": HELD})],
        [done(S.EXPORTING, of_policy=UNSHADOWED), done(S.EXPORTING, of_run={"pins": {"deploy": PIN}})],
    ),
    guards.exported_for_approval: (
        [done(S.EXPORTING, of_policy=APPROVAL)],
        [done(S.EXPORTING), snapshot(S.EXPORTING, of_policy=APPROVAL)],
    ),
    guards.failed_shadow: (
        [snapshot(S.SHADOWING, worse), snapshot(S.SHADOWING, lambda o: ok(o, {"shadow": [1]}, {"shadow": "s3://x"}))],
        [done(S.SHADOWING), snapshot(S.SHADOWING), snapshot(S.SHADOWING, no)],
    ),
    guards.shadow_outdated: (
        [done(S.SHADOWING, of_run={"champion": OTHER}), done(S.SHADOWING, of_model={"champion": None})],
        [done(S.SHADOWING), snapshot(S.SHADOWING, of_run={"champion": OTHER})],
    ),
    guards.passed_shadow_for_approval: (
        [done(S.SHADOWING, of_policy=APPROVAL), done(S.SHADOWING, of_policy=APPROVAL, of_model={"hold": HELD})],
        [done(S.SHADOWING), snapshot(S.SHADOWING, worse, of_policy=APPROVAL)],
    ),
    guards.passed_shadow: (
        [done(S.SHADOWING)],
        [
            snapshot(S.SHADOWING),
            snapshot(S.SHADOWING, worse),
            done(S.SHADOWING, of_model={"hold": HELD}),
            done(S.SHADOWING, of_model={"deploying": TAKEN}),
        ],
    ),
    guards.exported: (
        [done(S.EXPORTING), done(S.EXPORTING, of_model={"deploying": Deploying("fraud-7", 4)})],
        [
            done(S.EXPORTING, of_model={"hold": HELD}),
            done(S.EXPORTING, of_model={"deploying": TAKEN}),
            snapshot(S.EXPORTING),
            snapshot(S.EXPORTING, nameless),
        ],
    ),
    guards.exported_outdated: (
        [done(S.EXPORTING, of_run={"champion": OTHER})],
        [done(S.EXPORTING), snapshot(S.EXPORTING, of_run={"champion": OTHER})],
    ),
    guards.exported_refused: (
        [snapshot(S.EXPORTING, honest, of_model={"refused": ("7a0e4a5f", "1c1a9824")})],
        [done(S.EXPORTING), snapshot(S.EXPORTING, of_model={"refused": ("",)})],
    ),
    proof.proven: (
        [done(S.DEPLOYING), done(S.ROLLING_BACK, of_run=RESTORED)],
        [
            snapshot(S.DEPLOYING),
            snapshot(S.DEPLOYING, transient),
            snapshot(S.DEPLOYING, lambda o: ok(o, {"served": [{"version": OLD}], "generation": 4})),
            snapshot(S.DEPLOYING, lambda o: ok(o, {"served": [{"version": NEW}], "generation": 3})),
            snapshot(S.DEPLOYING, lambda o: ok(o, {"served": [], "generation": 4})),
        ],
    ),
    guards.failed_with_champion: (
        [
            snapshot(S.DEPLOYING, permanent),
            snapshot(S.DEPLOYING, transient, of_run={"failures": 2}),
            asked(S.DEPLOYING, RequestKind.CANCEL),
        ],
        [
            snapshot(S.DEPLOYING, transient),
            snapshot(S.DEPLOYING, permanent, of_model={"champion": None}),
            snapshot(S.DEPLOYING),
        ],
    ),
    guards.restored: (
        [done(S.ROLLING_BACK, of_run=RESTORED)],
        [done(S.ROLLING_BACK, of_run={**RESTORED, "kind": RunKind.RESTORE}), snapshot(S.ROLLING_BACK, transient)],
    ),
    guards.restored_for_cancel: (
        [done(S.ROLLING_BACK, of_run={**RESTORED, "operator_request": operator_request(RequestKind.CANCEL)})],
        [done(S.ROLLING_BACK, of_run=RESTORED), asked(S.ROLLING_BACK, RequestKind.CANCEL)],
    ),
    guards.restored_on_demand: (
        [done(S.ROLLING_BACK, of_run={**RESTORED, "kind": RunKind.RESTORE})],
        [done(S.ROLLING_BACK, of_run=RESTORED), snapshot(S.ROLLING_BACK, of_run={"kind": RunKind.RESTORE})],
    ),
    guards.failed: (
        [snapshot(state, permanent) for state in WORKING]
        + [
            snapshot(S.TRAINING, transient, of_run={"failures": 2}),
            snapshot(S.TRAINING, report_error="not JSON"),
            snapshot(S.PREPROCESSING, honest, of_run={"report_error": "verdicts that cannot be read"}),
            snapshot(S.EXPORTING, no),
            snapshot(S.EXPORTING, nameless),
            snapshot(S.DEPLOYING, lambda order: ok(order)),
        ],
        [snapshot(S.TRAINING, transient), snapshot(S.TRAINING), done(S.TRAINING), snapshot(S.TRAINING, no)],
    ),
    guards.retryable_failure: (
        [snapshot(state, transient) for state in WORKING]
        + [
            snapshot(S.TRAINING, kfp_run=None),
            snapshot(S.TRAINING, kfp_run=kfp_run(KfpRunState.FAILED)),
            snapshot(S.TRAINING, kfp_run=kfp_run(KfpRunState.CANCELED)),
            snapshot(S.TRAINING, kfp_run=kfp_run(KfpRunState.SKIPPED)),
            snapshot(S.TRAINING, kfp_run=kfp_run(KfpRunState.SUCCEEDED)),
            snapshot(S.TRAINING, of_run={"stop": "it did not start"}),
        ],
        [
            snapshot(S.TRAINING, permanent),
            snapshot(S.TRAINING),
            snapshot(S.TRAINING, kfp_run=kfp_run(KfpRunState.CANCELING)),
            snapshot(S.TRAINING, kfp_run=kfp_run(KfpRunState.UNKNOWN)),
            snapshot(S.TRAINING, kfp_run=None, of_run={"kfp_id": ""}),
        ],
    ),
    guards.overdue: (
        [
            snapshot(S.TRAINING, started=None, now=NOW - 60 + 900),
            snapshot(S.TRAINING, started=NOW - 50, now=NOW - 50 + 3600),
        ],
        [
            snapshot(S.TRAINING, started=None, now=NOW - 61 + 900),
            snapshot(S.TRAINING, started=NOW - 50, now=NOW - 51 + 3600),
            snapshot(S.TRAINING, now=NOW + 1e6, of_run={"stop": "already"}),
            snapshot(S.TRAINING, now=NOW + 1e6, of_run={"kfp_id": ""}),
            snapshot(S.TRAINING, now=NOW + 1e6, kfp_run=None),
            done(S.TRAINING, now=NOW + 1e6),
        ],
    ),
}
HOLDS = [(guard, given, True) for guard, (true, _) in TRUTHS.items() for given in true]
FAILS = [(guard, given, False) for guard, (_, false) in TRUTHS.items() for given in false]


def test_every_guard_of_the_table_is_here() -> None:
    """A guard without a case in which it holds and one in which it does not fails here."""
    assert {row.guard for row in TABLE} == set(TRUTHS)
    assert all(true and false for true, false in TRUTHS.values())


@pytest.mark.parametrize(
    ("guard", "given", "expected"), HOLDS + FAILS, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_guard(guard: Callable[[Snapshot], bool], given: Snapshot, expected: bool) -> None:
    """It holds where it should, and only there."""
    assert guard(given) is expected


@pytest.mark.parametrize("state", WORKING, ids=lambda state: state.value)
def test_a_failure_to_look_at_kfp_is_no_failure_of_the_stage(state: State) -> None:
    """Nothing adopted yet, nothing reported: there is nothing to decide on."""
    assert not guards.failed(snapshot(state, kfp_run=None, of_run={"kfp_id": ""}))


def test_the_first_model_ever_has_no_anchor_and_a_later_one_has_it() -> None:
    """The anchor is a rival of its own only while it is not the champion."""
    assert proof.anchor(snapshot(S.EVALUATING)) == ""
    champion = model(anchor=model().predecessors[0])
    assert proof.anchor(snapshot(S.EVALUATING, of_model={"anchor": champion.anchor})) == OTHER
