"""What happens, and how it must end whatever dies: written by hand, never computed by the code under test."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache

from simulation.memory.driver import CrashDriver
from simulation.memory.kfp import PIN
from simulation.memory.stages import failed, honest, measured, ok, refused, replayed
from simulation.memory.world import World
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.contracts.report import Report
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.policy import ApprovalPolicy, IntakePolicy, Policy, StagePolicy
from statemachine.core.reason import TransitionReason as R
from statemachine.core.run import RequestKind
from statemachine.core.states import State

PATIENT = StagePolicy(start_deadline=300, run_deadline=300)  # longer than any crash delays a stage
POLICY = Policy(
    "fraud", "data/fraud/", root="s3://artifacts", intake=IntakePolicy(), stages=dict.fromkeys(Stage, PATIENT)
)
V1, V2, V3 = "fraud-1-f5793d11", "fraud-2-6c706cab", "fraud-3-1b775c3d"
BEGUN = (R.ARRIVAL, R.FROM_PREPROCESS)
TRAINED = (*BEGUN, R.PREPROCESSED, R.REPORTED)
JUDGED = (*TRAINED, R.PASSED)
EXPORTED = (*JUDGED, R.EXPORTED_FOR_SHADOW)
SHADOWED = (*EXPORTED, R.PASSED_SHADOW)
PROVEN = (*SHADOWED, R.PROVEN)
DEPLOYED = (R.EXPORTED_FOR_SHADOW, R.PASSED_SHADOW, R.PROVEN)
ASKED = (*EXPORTED, R.PASSED_SHADOW_FOR_APPROVAL)


@dataclass(frozen=True)
class Ending:
    """How it ends: each run's state and the reasons of its transitions, what serves, what each object became."""

    runs: Mapping[str, tuple[State, tuple[R, ...]]]
    serves: str
    objects: Mapping[str, tuple[int, str]]
    champion: str | None = None  # as what serves, unless it says otherwise
    hold: bool = False
    kfp_runs: Mapping[str, int] = field(default_factory=dict)  # attempts of a stage, where there is more than one
    refused: tuple[str, ...] = ()
    never_ended: int = 0  # launches that KFP leaves CANCELING for ever
    foreign: int = 0  # launches of another stack, which work on


@dataclass(frozen=True)
class Scenario:
    """A script, the policy it plays under, and its ending. With a `champion`, `fraud-1` was there before."""

    name: str
    script: Callable[[CrashDriver], None]
    ending: Ending
    policy: Policy = POLICY

    @property
    def champion(self) -> bool:
        """It is about a second run."""
        return any(run_id in self.ending.runs for run_id in ("fraud-2", "fraud-rollback-3"))


# -- scripts -----------------------------------------------------------------------------------------------------


def one_run(drive: CrashDriver) -> None:
    drive.land("a.csv", "b.csv")
    drive.until_rest("fraud-1")


def second_run(drive: CrashDriver) -> None:
    """V1 serves already; the script says what happens to the second run."""
    drive.land("c.csv")
    drive.until_rest("fraud-2")


def first_attempt(
    play: Callable[[StageRequest], Report | bytes | None],
) -> Callable[[StageRequest], Report | bytes | None]:
    return lambda order: play(order) if order.attempt == 1 else honest(order)


def evicted_once(drive: CrashDriver) -> None:
    drive.world.stages.every(Stage.TRAIN, first_attempt(lambda order: failed(order, "evicted")))
    one_run(drive)


def never_starts(drive: CrashDriver) -> None:
    """The first train pod cannot be scheduled: KFP says RUNNING, and no `started.json` comes."""
    drive.world.stages.unschedulable.add("fraud-1.train.1")
    one_run(drive)


def hangs(drive: CrashDriver) -> None:
    drive.world.stages.every(Stage.EVALUATE, first_attempt(lambda order: None))
    one_run(drive)


def always_fails(drive: CrashDriver) -> None:
    drive.world.stages.every(Stage.TRAIN, lambda order: failed(order, "evicted"))
    one_run(drive)


def gate_says_no(drive: CrashDriver) -> None:
    def weak(order: StageRequest) -> Report:
        changes = {"auc": 0.6} if order.run_id == "fraud-2" else {}
        return ok(order, {"evaluation": measured(order, **changes)}, {"evaluation": f"{order.output_uri}/e.json"})

    drive.world.stages.every(Stage.EVALUATE, weak)
    second_run(drive)


def bad_data(drive: CrashDriver) -> None:
    def bad(order: StageRequest) -> Report:
        return refused(order, "nothing new was accepted", {"objects": f"{order.output_uri}/objects"})

    drive.world.stages.every(Stage.PREPROCESS, lambda order: bad(order) if order.run_id == "fraud-2" else honest(order))
    second_run(drive)


def breaks_on_load(drive: CrashDriver) -> None:
    stages = drive.world.stages
    stages.every(
        Stage.DEPLOY, lambda order: stages.break_on_load(order) if order.run_id == "fraud-2" else stages.release(order)
    )
    second_run(drive)


def first_deploy_fails(drive: CrashDriver) -> None:
    drive.world.stages.every(Stage.DEPLOY, drive.world.stages.break_on_load)
    one_run(drive)


def restore_fails_too(drive: CrashDriver) -> None:
    drive.world.stages.every(Stage.RESTORE, lambda order: failed(order, "no node is left", permanent=True))
    breaks_on_load(drive)


def cancelled_in(state: State, run_id: str = "fraud-2") -> Callable[[CrashDriver], None]:
    """Ann cancels the second run once it is in `state`, and its stage is working."""

    def script(drive: CrashDriver) -> None:
        if state.stage:
            drive.world.stages.every(state.stage, lambda order: None)
        if state is State.QUEUED:
            drive.world.pipelines.missing = "not published: fraudloop-train"
        drive.land("c.csv")
        drive.until_in(run_id, state)
        if state.stage:
            name = f"{run_id}.{state.stage.value}.1"
            drive.until(lambda: bool(drive.world.pipelines.working(name)))
        drive.deliver(lambda: drive.world.operations.operator_request(run_id, RequestKind.CANCEL, "ann", "wrong data"))
        drive.until_rest(run_id)

    return script


def redriven(drive: CrashDriver) -> None:
    """Training fails for good, the cause is mended, Ann redrives from train."""
    world = drive.world
    world.stages.every(
        Stage.TRAIN,
        lambda order: failed(order, "a bug", permanent=True) if order.run_id == "fraud-1" else honest(order),
    )
    one_run(drive)
    drive.deliver(lambda: world.operations.redrive("fraud-1", Stage.TRAIN, "ann", "mended"))
    drive.until_rest("fraud-1-r1")


def approved(drive: CrashDriver) -> None:
    drive.land("a.csv", "b.csv")
    drive.until_in("fraud-1", State.AWAITING_APPROVAL)
    drive.deliver(lambda: drive.world.approve("fraud-1", "ann", "looks good"))
    drive.until_rest("fraud-1")


def two_approve(drive: CrashDriver) -> None:
    """Ann's yes is not enough; Bob's makes two."""
    drive.land("a.csv", "b.csv")
    drive.until_in("fraud-1", State.AWAITING_APPROVAL)
    drive.deliver(lambda: drive.world.approve("fraud-1", "ann"))
    for _ in range(3):
        drive.minute()
    drive.deliver(lambda: drive.world.approve("fraud-1", "bob"))
    drive.until_rest("fraud-1")


def rolled_back_after_approval(drive: CrashDriver) -> None:
    """V2 serves when `fraud-3` waits. Ann rolls V2 back and approves meanwhile: she is asked again, against V1."""
    for run_id, name in (("fraud-2", "c.csv"), ("fraud-3", "d.csv")):
        drive.land(name)
        drive.until_in(run_id, State.AWAITING_APPROVAL)
        if run_id == "fraud-2":
            drive.deliver(lambda: drive.world.approve("fraud-2"))
            drive.until_rest(run_id)
    drive.deliver(lambda: drive.world.operations.rollback("fraud", V1, "ann", "complaints"))
    drive.until_rest("fraud-rollback-3")
    drive.deliver(lambda: drive.world.approve("fraud-3"))
    drive.until_in("fraud-3", State.EVALUATING)
    drive.until_in("fraud-3", State.AWAITING_APPROVAL)
    drive.deliver(lambda: drive.world.approve("fraud-3"))
    drive.until_rest("fraud-3")


def store_is_down(drive: CrashDriver) -> None:
    """The online store does not answer: nothing is trained on, and what serves goes on."""
    drive.world.stages.every(Stage.MATERIALISE, lambda order: failed(order, "Valkey does not answer"))
    second_run(drive)


def does_not_load(drive: CrashDriver) -> None:
    """The serving image lacks what the candidate imports; the image is mended, and Ann redrives from shadow."""

    def broken(order: StageRequest) -> Report:
        figures = replayed(order, error="no module named valkey")
        return ok(order, {"shadow": figures}, {"shadow": f"{order.output_uri}/shadow.json"})

    drive.world.stages.every(Stage.SHADOW, lambda order: broken(order) if order.run_id == "fraud-2" else honest(order))
    second_run(drive)
    drive.deliver(lambda: drive.world.operations.redrive("fraud-2", Stage.SHADOW, "ann", "the image is mended"))
    drive.until_rest("fraud-2-r1")


def disapproved(drive: CrashDriver) -> None:
    drive.land("a.csv", "b.csv")
    drive.until_in("fraud-1", State.AWAITING_APPROVAL)
    drive.deliver(
        lambda: drive.world.operations.operator_request("fraud-1", RequestKind.REJECT, "bob", "not on a Friday")
    )
    drive.until_rest("fraud-1")


def nobody_approves(drive: CrashDriver) -> None:
    one_run(drive)


def nightly_twice(drive: CrashDriver) -> None:
    """The event of `b.csv` was lost; the nightly listing finds it. The same slot is delivered twice."""
    drive.land("a.csv")
    drive.world.files.listed.append(drive.world.object("data/fraud/b.csv"))
    for _ in range(2):
        drive.nightly_schedule("2026-11-24T02:00:00Z")
    drive.until_rest("fraud-1")
    drive.nightly_schedule("2026-11-24T02:00:00Z")
    drive.nightly_schedule("2026-11-25T02:00:00Z")
    for _ in range(10):
        drive.minute()


def rolled_back_by_a_person(drive: CrashDriver) -> None:
    second_run(drive)
    drive.deliver(lambda: drive.world.operations.rollback("fraud", V1, "ann", "complaints"))
    drive.until_rest("fraud-rollback-3")


def stopped_in_the_ui(drive: CrashDriver) -> None:
    """Somebody terminates the first train run in the KFP UI."""
    stages, pipelines = drive.world.stages, drive.world.pipelines
    stages.every(Stage.TRAIN, first_attempt(lambda order: None))
    drive.land("a.csv", "b.csv")
    drive.until(lambda: bool(pipelines.working("fraud-1.train.1")))
    for job in pipelines.working("fraud-1.train.1"):
        pipelines.end(job.kfp_run.kfp_id, KfpRunState.FAILED, "terminated")
    drive.until_rest("fraud-1")


def deleted_in_the_ui(drive: CrashDriver) -> None:
    """Somebody deletes the first train run in the KFP UI."""
    stages, pipelines = drive.world.stages, drive.world.pipelines
    stages.every(Stage.TRAIN, first_attempt(lambda order: None))
    drive.land("a.csv", "b.csv")
    drive.until(lambda: bool((run := drive.load("fraud-1")) and run.state is State.TRAINING and run.kfp_id))
    for job in pipelines.working("fraud-1.train.1"):
        pipelines.jobs.pop(job.kfp_run.kfp_id)
    drive.until_rest("fraud-1")


def arrives_during_a_run(drive: CrashDriver) -> None:
    """What arrives while a run trains waits in the open window, and is the next run."""
    drive.land("c.csv")
    drive.until_in("fraud-2", State.TRAINING)
    drive.land("d.csv")
    drive.until_rest("fraud-3")


def fenced(drive: CrashDriver) -> None:
    """Somebody patched the Application under generation 40: the deploy goes on above it."""
    drive.world.stages.application.generation = 40
    one_run(drive)


def too_much_to_write(drive: CrashDriver) -> None:
    """The train stage's report is more than a record holds of one."""
    wide = {f"part {n}": f"{'ü' * 1500}" for n in range(5)}

    def big(order: StageRequest) -> Report:
        return ok(order, outputs={name: f"{order.output_uri}/{rest}" for name, rest in wide.items()})

    drive.world.stages.every(Stage.TRAIN, lambda order: big(order) if order.run_id == "fraud-2" else honest(order))
    second_run(drive)


def stopped_for_ever(drive: CrashDriver) -> None:
    """Ann cancels; KFP shows CANCELING from then on, and nothing ever ends it."""
    drive.world.pipelines.stopping = 1e12
    cancelled_in(State.TRAINING)(drive)


def beside_another_stack(drive: CrashDriver) -> None:
    """Another stack in the same KFP has a `fraud-2`, too, whose launches hang under every name that ours will use."""
    pipelines = drive.world.pipelines
    for stage in (Stage.PREPROCESS, Stage.TRAIN, Stage.DEPLOY):
        order = StageRequest("fraud-2", "fraud", stage, 1, "ffffffff-00000000000b", "s3://artifacts/another-stacks")
        drive.world.stages.hanging.add(pipelines.create(order, PIN).kfp_id)
    second_run(drive)


# -- endings -----------------------------------------------------------------------------------------------------

S = State
BOTH = {"a.csv": (1, "ACCEPTED"), "b.csv": (1, "ACCEPTED")}
C = {**BOTH, "c.csv": (2, "ACCEPTED")}
C_PENDING = {**BOTH, "c.csv": (2, "PENDING")}
FIRST = {"fraud-1": (S.SUCCEEDED, PROVEN)}
APPROVAL = replace(POLICY, require_approval=True)
LIVE = replace(POLICY, live=True)


def single(
    state: State, *reasons: R, serves: str = "", objects: Mapping[str, tuple[int, str]] = BOTH, **more: object
) -> Ending:
    return Ending({"fraud-1": (state, reasons)}, serves, objects, **more)  # type: ignore[arg-type]


def second(
    state: State, *reasons: R, serves: str = V1, objects: Mapping[str, tuple[int, str]] = C, **more: object
) -> Ending:
    return Ending({**FIRST, "fraud-2": (state, reasons)}, serves, objects, **more)  # type: ignore[arg-type]


RETRIED = (*BEGUN, R.PREPROCESSED, R.RETRYABLE_FAILURE, R.REPORTED, R.PASSED, *DEPLOYED)
NO_DEPLOY = (*SHADOWED, R.FAILED_WITH_CHAMPION)

SCENARIOS = (
    Scenario("happy", one_run, single(S.SUCCEEDED, *PROVEN, serves=V1)),
    Scenario("a second version", second_run, second(S.SUCCEEDED, *PROVEN, serves=V2)),
    Scenario("retry", evicted_once, single(S.SUCCEEDED, *RETRIED, serves=V1, kfp_runs={"fraud-1.train": 2})),
    Scenario(
        "start deadline",
        never_starts,
        single(
            S.SUCCEEDED,
            *(*BEGUN, R.PREPROCESSED, R.OVERDUE, R.RETRYABLE_FAILURE, R.REPORTED, R.PASSED, *DEPLOYED),
            serves=V1,
            kfp_runs={"fraud-1.train": 2},
        ),
    ),
    Scenario(
        "run deadline",
        hangs,
        single(
            S.SUCCEEDED,
            *(*TRAINED, R.OVERDUE, R.RETRYABLE_FAILURE, R.PASSED, *DEPLOYED),
            serves=V1,
            kfp_runs={"fraud-1.evaluate": 2},
        ),
    ),
    Scenario(
        "attempts run out",
        always_fails,
        single(
            S.FAILED,
            *(*BEGUN, R.PREPROCESSED, R.RETRYABLE_FAILURE, R.RETRYABLE_FAILURE, R.FAILED),
            kfp_runs={"fraud-1.train": 3},
        ),
    ),
    Scenario("the gate says no", gate_says_no, second(S.REJECTED, *TRAINED, R.FAILED_GATE)),
    Scenario(
        "bad data",
        bad_data,
        second(S.REJECTED, *BEGUN, R.REFUSED_DATA, objects={**BOTH, "c.csv": (2, "QUARANTINED")}),
    ),
    Scenario("the deploy fails", breaks_on_load, second(S.ROLLED_BACK, *NO_DEPLOY, R.RESTORED, refused=("6c706cab",))),
    Scenario(
        "the first deploy fails", first_deploy_fails, single(S.FAILED, *SHADOWED, R.FAILED, serves=V1, champion="")
    ),
    Scenario(
        "the restore fails too",
        restore_fails_too,
        second(S.FAILED, *NO_DEPLOY, R.FAILED, serves=V2, champion=V1, hold=True),
    ),
    Scenario(
        "cancel while queued", cancelled_in(S.QUEUED), second(S.CANCELLED, R.ARRIVAL, R.CANCELLED, objects=C_PENDING)
    ),
    Scenario(
        "cancel while preprocessing",
        cancelled_in(S.PREPROCESSING),
        second(S.CANCELLED, *BEGUN, R.CANCELLED, objects=C_PENDING),
    ),
    Scenario(
        "cancel while training", cancelled_in(S.TRAINING), second(S.CANCELLED, *BEGUN, R.PREPROCESSED, R.CANCELLED)
    ),
    Scenario("cancel while evaluating", cancelled_in(S.EVALUATING), second(S.CANCELLED, *TRAINED, R.CANCELLED)),
    Scenario("cancel while exporting", cancelled_in(S.EXPORTING), second(S.CANCELLED, *JUDGED, R.CANCELLED)),
    Scenario("cancel while shadowing", cancelled_in(S.SHADOWING), second(S.CANCELLED, *EXPORTED, R.CANCELLED)),
    Scenario(
        "cancel while materialising",
        cancelled_in(S.MATERIALISING),
        second(S.CANCELLED, *BEGUN, R.PREPROCESSED_FOR_LIVE, R.CANCELLED),
        LIVE,
    ),
    Scenario(
        "scored live",
        one_run,
        single(S.SUCCEEDED, *BEGUN, R.PREPROCESSED_FOR_LIVE, R.REPORTED, R.REPORTED, R.PASSED, *DEPLOYED, serves=V1),
        LIVE,
    ),
    Scenario(
        "the store is down",
        store_is_down,
        second(
            S.FAILED,
            *BEGUN,
            R.PREPROCESSED_FOR_LIVE,
            *[R.RETRYABLE_FAILURE] * 2,
            R.FAILED,
            kfp_runs={"fraud-2.materialise": 3},
        ),
        LIVE,
    ),
    Scenario(
        "the candidate does not load",
        does_not_load,
        Ending(
            {
                **FIRST,
                "fraud-2": (S.REJECTED, (*EXPORTED, R.FAILED_SHADOW)),
                "fraud-2-r1": (S.SUCCEEDED, (R.REDRIVE, R.FROM_SHADOW, R.PASSED_SHADOW, R.PROVEN)),
            },
            V2,
            C,
        ),
    ),
    Scenario(
        "two persons approve",
        two_approve,
        single(S.SUCCEEDED, *ASKED, R.APPROVED, R.PROVEN, serves=V1),
        replace(APPROVAL, approval=ApprovalPolicy(approvers=2)),
    ),
    Scenario(
        "an approval is void",
        rolled_back_after_approval,
        Ending(
            {
                **FIRST,
                "fraud-2": (S.SUCCEEDED, (*ASKED, R.APPROVED, R.PROVEN)),
                "fraud-3": (
                    S.SUCCEEDED,
                    (*ASKED, R.APPROVED_ANEW, *ASKED[len(TRAINED) :], R.APPROVED, R.PROVEN),
                ),
                "fraud-rollback-3": (S.SUCCEEDED, (R.ROLLBACK, R.TO_RESTORE, R.RESTORED_ON_DEMAND)),
            },
            V3,
            {**C, "d.csv": (3, "ACCEPTED")},
            kfp_runs={"fraud-3.evaluate": 2, "fraud-3.export": 2, "fraud-3.shadow": 2},
            refused=("6c706cab",),
        ),
        APPROVAL,
    ),
    Scenario(
        "cancel while deploying",
        cancelled_in(S.DEPLOYING),
        second(S.CANCELLED, *NO_DEPLOY, R.RESTORED_FOR_CANCEL),
    ),
    Scenario(
        "redrive",
        redriven,
        Ending(
            {
                "fraud-1": (S.FAILED, (*BEGUN, R.PREPROCESSED, R.FAILED)),
                "fraud-1-r1": (S.SUCCEEDED, (R.REDRIVE, R.FROM_TRAIN, R.REPORTED, R.PASSED, *DEPLOYED)),
            },
            "fraud-1-r1-ddd65f7b",
            BOTH,
        ),
    ),
    Scenario(
        "approval",
        approved,
        single(S.SUCCEEDED, *ASKED, R.APPROVED, R.PROVEN, serves=V1),
        APPROVAL,
    ),
    Scenario("disapproval", disapproved, single(S.REJECTED, *ASKED, R.DISAPPROVED), APPROVAL),
    Scenario(
        "nobody approves",
        nobody_approves,
        single(S.REJECTED, *ASKED, R.DISAPPROVED),
        replace(APPROVAL, approval_deadline=600),
    ),
    Scenario("nightly twice", nightly_twice, single(S.SUCCEEDED, R.NIGHTLY, *PROVEN[1:], serves=V1)),
    Scenario(
        "rollback by a person",
        rolled_back_by_a_person,
        Ending(
            {
                **FIRST,
                "fraud-2": (S.SUCCEEDED, PROVEN),
                "fraud-rollback-3": (S.SUCCEEDED, (R.ROLLBACK, R.TO_RESTORE, R.RESTORED_ON_DEMAND)),
            },
            V1,
            C,
            refused=("6c706cab",),
        ),
    ),
    Scenario(
        "stopped in the KFP UI",
        stopped_in_the_ui,
        single(S.SUCCEEDED, *RETRIED, serves=V1, kfp_runs={"fraud-1.train": 2}),
    ),
    Scenario(
        "deleted in the KFP UI",
        deleted_in_the_ui,
        single(S.SUCCEEDED, *RETRIED, serves=V1, kfp_runs={"fraud-1.train": 2}),
    ),
    Scenario(
        "arrival during a run",
        arrives_during_a_run,
        Ending(
            {**FIRST, "fraud-2": (S.SUCCEEDED, PROVEN), "fraud-3": (S.SUCCEEDED, PROVEN)},
            V3,
            {**C, "d.csv": (3, "ACCEPTED")},
        ),
    ),
    Scenario("a report that cannot be written", too_much_to_write, second(S.FAILED, *BEGUN, R.PREPROCESSED, R.FAILED)),
    Scenario(
        "a stop that never ends",
        stopped_for_ever,
        second(S.CANCELLED, *BEGUN, R.PREPROCESSED, R.CANCELLED, never_ended=1),
        replace(POLICY, cancel_deadline=300),
    ),
    Scenario("beside another stack", beside_another_stack, second(S.SUCCEEDED, *PROVEN, serves=V2, foreign=3)),
    Scenario(
        "a deploy that is fenced",
        fenced,
        single(
            S.SUCCEEDED,
            *(*SHADOWED, R.RETRYABLE_FAILURE, R.PROVEN),
            serves=V1,
            kfp_runs={"fraud-1.deploy": 2},
        ),
    ),
)


@cache
def served() -> World:
    """A world in which `fraud-1` was trained on two files and serves."""
    world = World({"fraud": POLICY})
    world.land("a.csv", "b.csv")
    world.until_rest("fraud-1")
    return world


def played(scenario: Scenario, drive_with: Callable[[World], CrashDriver]) -> CrashDriver:
    """Play the script to its end in a fresh world."""
    world = deepcopy(served()) if scenario.champion else World()
    world.policies["fraud"] = scenario.policy
    drive = drive_with(world)
    scenario.script(drive)
    return drive
