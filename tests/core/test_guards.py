"""Every guard of the table, true and false, from cases written by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from local.simulated.cases import NEW, NOW, OLD, OTHER, case, done, launch, model, wish
from local.simulated.kfp import PIN
from local.simulated.stages import failed, honest, measured, ok, refused
from statemachine.core import guards, proof
from statemachine.core.case import Case
from statemachine.core.launch import LaunchState
from statemachine.core.model import Deploying, Hold
from statemachine.core.order import Order
from statemachine.core.report import Report
from statemachine.core.run import Kind, WishKind
from statemachine.core.states import ACTIVE, WORKING, Stage, State
from statemachine.core.table import TABLE

S = State


def asked(state: State, kind: WishKind, **more: Any) -> Case:
    return case(state, of_run={"wish": wish(kind), **more})


def begun(at: Stage, **more: Any) -> Case:
    return case(S.QUEUED, of_run={"start_at": at, **more})


def restoring(**more: Any) -> Case:
    return case(S.QUEUED, of_run={"kind": Kind.RESTORE, "target": OTHER, "manifest": ""}, **more)


def weak(order: Order) -> Report:
    return ok(order, {"evaluation": measured(order, auc=0.5)}, {"evaluation": "s3://artifacts/e"})


def transient(order: Order) -> Report:
    return failed(order, "evicted")


def permanent(order: Order) -> Report:
    return failed(order, "a bug", permanent=True)


def no(order: Order) -> Report:
    return refused(order, "no")


def nameless(order: Order) -> Report:
    return ok(order, {}, {"repository": "s3://artifacts/x"})


APPROVAL = {"require_approval": True}
HELD = Hold("ann", "why", NOW)
TAKEN = Deploying("fraud-rollback-9", 9)
RESTORED = {"target": OLD}

# guard → the cases in which it holds, and those in which it does not
TRUTHS: dict[Callable[[Case], bool], tuple[list[Case], list[Case]]] = {
    guards.from_preprocess: (
        [begun(Stage.PREPROCESS), case(S.QUEUED, of_run={"pins": {}}, pins={"train": PIN})],
        [
            begun(Stage.PREPROCESS, pins={}),
            begun(Stage.PREPROCESS, manifest=""),
            begun(Stage.TRAIN),
            restoring(),
        ],
    ),
    guards.from_train: ([begun(Stage.TRAIN)], [begun(Stage.PREPROCESS), begun(Stage.TRAIN, manifest="")]),
    guards.from_evaluate: (
        [begun(Stage.EVALUATE), begun(Stage.EXPORT, champion=OTHER), begun(Stage.DEPLOY, champion="")],
        [begun(Stage.EXPORT), begun(Stage.DEPLOY), begun(Stage.TRAIN, champion=OTHER)],
    ),
    guards.from_export: ([begun(Stage.EXPORT), begun(Stage.DEPLOY)], [begun(Stage.EVALUATE)]),
    guards.to_restore: (
        [restoring(), restoring(of_model={"hold": HELD}), restoring(of_model={"deploying": Deploying("fraud-7", 4)})],
        [restoring(of_model={"deploying": TAKEN}), begun(Stage.PREPROCESS)],
    ),
    guards.cancelled: (
        [asked(state, WishKind.CANCEL) for state in ACTIVE],
        [case(S.TRAINING), asked(S.AWAITING_APPROVAL, WishKind.APPROVE)],
    ),
    guards.reported: (
        [done(S.TRAINING)],
        [case(S.TRAINING), case(S.TRAINING, no), case(S.TRAINING, transient), case(S.TRAINING, lambda o: ok(o))],
    ),
    guards.learned: (
        [done(S.PREPROCESSING)],
        [done(S.PREPROCESSING, of_run={"marked": False}), case(S.PREPROCESSING, no), case(S.PREPROCESSING)],
    ),
    guards.refused_data: (
        [case(S.PREPROCESSING, no)],
        [case(S.PREPROCESSING, no, of_run={"marked": False}), done(S.PREPROCESSING)],
    ),
    guards.refused: ([case(S.TRAINING, no), case(S.EVALUATING, no)], [done(S.TRAINING), case(S.TRAINING)]),
    guards.outdated: (
        [
            done(S.EVALUATING, of_run={"champion": OTHER}),
            done(S.EVALUATING, of_run={"champion": ""}),
            done(S.EVALUATING, of_model={"champion": None}),
        ],
        [done(S.EVALUATING), case(S.EVALUATING, of_run={"champion": OTHER})],
    ),
    guards.passed: ([done(S.EVALUATING)], [case(S.EVALUATING, weak), case(S.EVALUATING), case(S.EVALUATING, no)]),
    guards.passed_for_approval: (
        [done(S.EVALUATING, of_policy=APPROVAL)],
        [done(S.EVALUATING), case(S.EVALUATING, weak, of_policy=APPROVAL)],
    ),
    guards.failed_gate: (
        [
            case(S.EVALUATING, weak),
            case(S.EVALUATING, lambda order: ok(order, {}, {"evaluation": "s3://artifacts/e"})),
            case(S.EVALUATING, lambda order: ok(order, {"evaluation": [1]}, {"evaluation": "s3://artifacts/e"})),
        ],
        [done(S.EVALUATING), case(S.EVALUATING), case(S.EVALUATING, no)],
    ),
    guards.disapproved: (
        [
            asked(S.AWAITING_APPROVAL, WishKind.REJECT),
            case(S.AWAITING_APPROVAL, now=NOW - 60 + 172_800),
        ],
        [case(S.AWAITING_APPROVAL, now=NOW - 61 + 172_800), asked(S.AWAITING_APPROVAL, WishKind.APPROVE)],
    ),
    guards.approved: (
        [asked(S.AWAITING_APPROVAL, WishKind.APPROVE)],
        [case(S.AWAITING_APPROVAL), asked(S.AWAITING_APPROVAL, WishKind.REJECT)],
    ),
    guards.approved_anew: (
        [asked(S.AWAITING_APPROVAL, WishKind.APPROVE, champion=OTHER)],
        [asked(S.AWAITING_APPROVAL, WishKind.APPROVE), case(S.AWAITING_APPROVAL, of_run={"champion": OTHER})],
    ),
    guards.exported: (
        [done(S.EXPORTING), done(S.EXPORTING, of_model={"deploying": Deploying("fraud-7", 4)})],
        [
            done(S.EXPORTING, of_model={"hold": HELD}),
            done(S.EXPORTING, of_model={"deploying": TAKEN}),
            case(S.EXPORTING),
            case(S.EXPORTING, nameless),
        ],
    ),
    guards.exported_outdated: (
        [done(S.EXPORTING, of_run={"champion": OTHER})],
        [done(S.EXPORTING), case(S.EXPORTING, of_run={"champion": OTHER})],
    ),
    guards.exported_refused: (
        [case(S.EXPORTING, honest, of_model={"refused": ("7a0e4a5f", "1c1a9824")})],
        [done(S.EXPORTING), case(S.EXPORTING, of_model={"refused": ("",)})],
    ),
    proof.proven: (
        [done(S.DEPLOYING), done(S.ROLLING_BACK, of_run=RESTORED)],
        [
            case(S.DEPLOYING),
            case(S.DEPLOYING, transient),
            case(S.DEPLOYING, lambda o: ok(o, {"served": [{"version": OLD}], "generation": 4})),
            case(S.DEPLOYING, lambda o: ok(o, {"served": [{"version": NEW}], "generation": 3})),
            case(S.DEPLOYING, lambda o: ok(o, {"served": [], "generation": 4})),
        ],
    ),
    guards.failed_with_champion: (
        [
            case(S.DEPLOYING, permanent),
            case(S.DEPLOYING, transient, of_run={"failures": 2}),
            asked(S.DEPLOYING, WishKind.CANCEL),
        ],
        [
            case(S.DEPLOYING, transient),
            case(S.DEPLOYING, permanent, of_model={"champion": None}),
            case(S.DEPLOYING),
        ],
    ),
    guards.restored: (
        [done(S.ROLLING_BACK, of_run=RESTORED)],
        [done(S.ROLLING_BACK, of_run={**RESTORED, "kind": Kind.RESTORE}), case(S.ROLLING_BACK, transient)],
    ),
    guards.restored_for_cancel: (
        [done(S.ROLLING_BACK, of_run={**RESTORED, "wish": wish(WishKind.CANCEL)})],
        [done(S.ROLLING_BACK, of_run=RESTORED), asked(S.ROLLING_BACK, WishKind.CANCEL)],
    ),
    guards.restored_on_demand: (
        [done(S.ROLLING_BACK, of_run={**RESTORED, "kind": Kind.RESTORE})],
        [done(S.ROLLING_BACK, of_run=RESTORED), case(S.ROLLING_BACK, of_run={"kind": Kind.RESTORE})],
    ),
    guards.failed: (
        [case(state, permanent) for state in WORKING]
        + [
            case(S.TRAINING, transient, of_run={"failures": 2}),
            case(S.TRAINING, misreport="not JSON"),
            case(S.PREPROCESSING, honest, of_run={"misreport": "verdicts that cannot be read"}),
            case(S.EXPORTING, no),
            case(S.EXPORTING, nameless),
            case(S.DEPLOYING, lambda order: ok(order)),
        ],
        [case(S.TRAINING, transient), case(S.TRAINING), done(S.TRAINING), case(S.TRAINING, no)],
    ),
    guards.failed_for_a_while: (
        [case(state, transient) for state in WORKING]
        + [
            case(S.TRAINING, launch=None),
            case(S.TRAINING, launch=launch(LaunchState.FAILED)),
            case(S.TRAINING, launch=launch(LaunchState.CANCELED)),
            case(S.TRAINING, launch=launch(LaunchState.SKIPPED)),
            case(S.TRAINING, launch=launch(LaunchState.SUCCEEDED)),
            case(S.TRAINING, of_run={"stop": "it did not start"}),
        ],
        [
            case(S.TRAINING, permanent),
            case(S.TRAINING),
            case(S.TRAINING, launch=launch(LaunchState.CANCELING)),
            case(S.TRAINING, launch=launch(LaunchState.UNKNOWN)),
            case(S.TRAINING, launch=None, of_run={"kfp_id": ""}),
        ],
    ),
    guards.overdue: (
        [
            case(S.TRAINING, started=None, now=NOW - 60 + 900),
            case(S.TRAINING, started=NOW - 50, now=NOW - 50 + 3600),
        ],
        [
            case(S.TRAINING, started=None, now=NOW - 61 + 900),
            case(S.TRAINING, started=NOW - 50, now=NOW - 51 + 3600),
            case(S.TRAINING, now=NOW + 1e6, of_run={"stop": "already"}),
            case(S.TRAINING, now=NOW + 1e6, of_run={"kfp_id": ""}),
            case(S.TRAINING, now=NOW + 1e6, launch=None),
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
def test_the_guard(guard: Callable[[Case], bool], given: Case, expected: bool) -> None:
    """It holds where it should, and only there."""
    assert guard(given) is expected


@pytest.mark.parametrize("state", WORKING, ids=lambda state: state.value)
def test_a_failure_to_look_at_kfp_is_no_failure_of_the_stage(state: State) -> None:
    """Nothing adopted yet, nothing reported: there is nothing to decide on."""
    assert not guards.failed(case(state, launch=None, of_run={"kfp_id": ""}))


def test_the_first_model_ever_has_no_anchor_and_a_later_one_has_it() -> None:
    """The anchor is a rival of its own only while it is not the champion."""
    assert proof.anchor(case(S.EVALUATING)) == ""
    champion = model(anchor=model().predecessors[0])
    assert proof.anchor(case(S.EVALUATING, of_model={"anchor": champion.anchor})) == OTHER
