"""Several workers at once, each overtaken at any call of a port; the invariants hold after every step.

Workers die, freeze and go on late; messages come twice, late, in any order or never; clocks differ and jump; KFP loses
answers and lists late; pods lie, hang and work on while they are being stopped; people wish at any time.
"""

import json
import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simulation.memory.interleaving import MOST_LAG, InterleavedWorld
from simulation.memory.kfp import PIN
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from statemachine.core.approval import subject_digest
from statemachine.core.model import Model
from statemachine.core.policy import ApprovalPolicy, IntakePolicy, Policy, StagePolicy
from statemachine.core.run import RequestKind, Run, RunKind
from statemachine.core.states import State
from statemachine.core.window import Object, Status
from statemachine.intake import Intake

SOAK = bool(os.environ.get("FRAUDLOOP_SOAK"))
EXAMPLES = int(os.environ.get("FRAUDLOOP_EXAMPLES", "10000" if SOAK else "150"))
POLICY = Policy(
    "fraud",
    "data/fraud/",
    root="s3://artifacts",
    max_attempts=2,
    approval_deadline=1500,
    keep_versions=2,
    intake=IntakePolicy(quiet_period=60, max_wait=300),
    stages=dict.fromkeys(Stage, StagePolicy(start_deadline=300, run_deadline=600)),
)
SKEWS = st.sampled_from([0.0, 0.0, 0.0, -20.0, 20.0])
PODS = ["works"] * 6 + ["reports", "starts", "is evicted", "has a bug", "refuses", "is weak", "breaks"]
PODS += ["writes garbage", "claims without proof", "vanishes"]


class Interleavings(RuleBasedStateMachine):
    """The machine that hypothesis drives."""

    def __init__(self) -> None:
        super().__init__()
        self.world = InterleavedWorld({"fraud": POLICY})
        self.resting: dict[str, Run] = {}
        self.versions: dict[str, int] = {}
        self.epochs: dict[str, int] = {}
        self.model = Model("fraud")
        self.broken = False  # a restore failed: what serves is not known
        self.foreign: set[str] = set()
        self.unasked: set[str] = set()  # deployed before anybody had to approve
        self.seen: dict[str, str] = {}  # the digest of each run when somebody last looked at it

    @initialize(approvers=st.integers(0, 2), live=st.booleans(), champion=st.booleans(), under_way=st.integers(0, 20))
    def begin(self, approvers: int, live: bool, champion: bool, under_way: int) -> None:
        """Half of the examples begin with a champion that serves, and most with a run on its way."""
        if champion:
            self.world.intake.arrive([self.world.object("data/fraud/first.csv")])
            for _ in range(60):
                self.world.quiet_minute()
            assert self.world.onlooker.model("fraud").champion
            self.unasked = {"fraud-1"}
        policy = replace(POLICY, live=live)
        if approvers:
            policy = replace(policy, require_approval=True, approval=ApprovalPolicy(approvers, expiry=600))
        self.world.policies["fraud"] = policy
        self.world.intake.arrive([self.world.object("data/fraud/second.csv")])
        for _ in range(under_way):
            self.world.quiet_minute()

    # -- data ---------------------------------------------------------------------------------------------------

    @rule(names=st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True), content=st.sampled_from("123"))
    def objects_land(self, names: list[str], content: str) -> None:
        """Some keys are written, some of them again; the events are under way."""
        batch = tuple(self.world.object(f"data/fraud/{name}.csv", etag=f"{name}-{content}") for name in names)
        self.world.files.listed += batch
        self.world.messages.append(batch)

    @rule(data=st.data(), skew=SKEWS, late=st.booleans(), calls=st.integers(0, 6))
    def an_event_comes(self, data: st.DataObject, skew: float, late: bool, calls: int) -> None:
        """Any of the messages that were not acknowledged, once more."""
        if self.world.messages:
            batch = data.draw(st.sampled_from(self.world.messages))
            self.start("arrival", self.world.arrival(batch), skew, late, calls)

    @rule(slot=st.sampled_from(["2026-11-24", "2026-11-25"]), skew=SKEWS, calls=st.integers(0, 9))
    def the_nightly_event_arrives(self, slot: str, skew: float, calls: int) -> None:
        """Perhaps again, perhaps late."""
        self.start("night", self.world.nightly(slot), skew, False, calls)

    # -- workers ------------------------------------------------------------------------------------------------

    def start(self, name: str, job: Any, skew: float, late: bool, calls: int) -> None:
        """A worker that makes a few calls, and then stands before the next one."""
        self.world.make_room(5)
        self.world.go_on(self.world.begin(name, job, skew, late), calls)

    @rule(skew=SKEWS, late=st.booleans(), calls=st.integers(0, 12))
    def a_tick(self, skew: float, late: bool, calls: int) -> None:
        """One, or two at once."""
        self.start("tick", self.world.tick, skew, late, calls)

    @rule(data=st.data(), skew=SKEWS, late=st.booleans(), calls=st.integers(0, 12))
    def a_hint(self, data: st.DataObject, skew: float, late: bool, calls: int) -> None:
        """A look at any run, also one that nobody hinted at, also while another worker looks at it."""
        runs = [run.id for run in self.world.all_runs() if not run.state.terminal] or ["fraud-1"]
        run_id = data.draw(st.sampled_from(runs))
        self.start("look", lambda: self.world.reconciler.look_at(run_id), skew, late, calls)

    @rule(data=st.data(), call=st.sampled_from([".create", ".create", ".stop", ".write", ".list"]), late=st.booleans())
    def a_worker_freezes(self, data: st.DataObject, call: str, late: bool) -> None:
        """Right before it would launch, stop or write something, on a run that is alive."""
        runs = [run.id for run in self.world.all_runs() if not run.state.terminal]
        if runs:
            run_id = data.draw(st.sampled_from(runs))
            self.world.make_room(5)
            worker = self.world.begin("look", lambda: self.world.reconciler.look_at(run_id), 0.0, late)
            self.world.go_until(worker, call)

    @rule(minutes=st.integers(6, 14))
    def a_launch_comes_late(self, minutes: int) -> None:
        """A worker freezes right before CreateRun, its claim runs out, others go on; then it makes the call."""
        self.world.freeze = True
        self.more_minutes_pass(minutes)
        self.world.freeze = False
        for worker in [each for each in self.world.workers if each.late and each.before.endswith(".create")]:
            self.world.go_on(worker, 1000)

    @precondition(lambda self: self.world.workers)
    @rule(data=st.data(), calls=st.integers(1, 10))
    def a_worker_goes_on(self, data: st.DataObject, calls: int) -> None:
        """Whoever stands before a call makes it, and a few more."""
        worker = data.draw(st.sampled_from(range(len(self.world.workers))))
        self.world.go_on(self.world.workers[worker], calls)

    @precondition(lambda self: self.world.workers)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        """Before the call that it stands before, so after the one it made."""
        worker = self.world.workers.pop(data.draw(st.sampled_from(range(len(self.world.workers)))))
        worker.kill()

    @rule()
    def hints_are_lost(self) -> None:
        """All of them."""
        self.world.hints.queue.clear()

    @rule(stage=st.sampled_from(Stage), hows=st.lists(st.sampled_from(PODS), min_size=1, max_size=3))
    def the_next_pods(self, stage: Stage, hows: list[str]) -> None:
        """What the next launches of a stage will do."""
        plays = self.world.plays()
        self.world.stages.plays[stage.value] = [plays[how] for how in hows if how in plays]

    @rule(count=st.integers(1, 12))
    def more_minutes_pass(self, count: int) -> None:
        """A file lands, and things go well for longer."""
        batch = (self.world.object(f"data/fraud/{self.world.now:.0f}.csv"),)
        self.world.files.listed += batch
        self.world.messages.append(batch)
        self.start("arrival", self.world.arrival(batch), 0.0, False, 100)
        self.minutes_pass(count)

    @rule(count=st.integers(1, 6))
    def minutes_pass(self, count: int) -> None:
        """Things go well for a while: whoever is due is looked at, pods work."""
        for _ in range(count):
            self.world.quiet_minute()

    @rule(seconds=st.sampled_from([1.0, 20.0, 70.0, 160.0, 320.0, 2000.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        """Nothing happened for so long, or somebody set the clock."""
        self.world.now += seconds

    # -- the world ----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.pipelines.working())
    @rule(data=st.data(), how=st.sampled_from(PODS))
    def a_pod(self, data: st.DataObject, how: str) -> None:
        """Any pod that may be working, also of a run that is being stopped."""
        jobs = self.world.pipelines.working()
        self.world.pod(jobs[data.draw(st.sampled_from(range(len(jobs))))], how)

    @rule(
        lost=st.integers(0, 2), lag=st.sampled_from([0.0, 30.0, MOST_LAG]), stopping=st.sampled_from([0.0, 30.0, 90.0])
    )
    def kfp_falters(self, lost: int, lag: float, stopping: float) -> None:
        """Answers get lost, runs are listed late, stopping takes a while."""
        self.world.pipelines.lose_answers, self.world.pipelines.lag, self.world.pipelines.stopping = lost, lag, stopping

    @rule(what=st.sampled_from(["pipelines", "files", "table"]), minutes=st.integers(0, 4), back=st.booleans())
    def a_service_goes_down(self, what: str, minutes: int, back: bool) -> None:
        """For a few minutes, or until something else goes down."""
        self.world.pipelines.down = self.world.files.down = self.world.table.down = False
        getattr(self.world, what).down = True
        self.minutes_pass(minutes)
        getattr(self.world, what).down = not back

    @rule(count=st.integers(1, 2))
    def answers_of_the_table_are_lost(self, count: int) -> None:
        """What was written was written."""
        self.world.table.lose_answers = count

    @precondition(lambda self: self.world.pipelines.working())
    @rule(data=st.data(), delete=st.booleans())
    def somebody_stops_or_deletes_it_in_the_ui(self, data: st.DataObject, delete: bool) -> None:
        """Any KFP run."""
        jobs = self.world.pipelines.working()
        job = jobs[data.draw(st.sampled_from(range(len(jobs))))]
        if delete:
            self.world.pipelines.jobs.pop(job.kfp_run.kfp_id)
        else:
            self.world.pipelines.end(job.kfp_run.kfp_id, KfpRunState.FAILED, "terminated")

    @rule(data=st.data(), attempt=st.integers(1, 2))
    def another_stack_launches_something(self, data: st.DataObject, attempt: int) -> None:
        """Under the name that a run of ours uses, or will use."""
        runs = [run.id for run in self.world.all_runs() if not run.state.terminal] or ["fraud-1"]
        run_id = data.draw(st.sampled_from(runs))
        number = len(self.foreign)
        order = StageRequest(
            run_id, "fraud", Stage.TRAIN, attempt, f"ffffffff-{number:012x}", f"s3://artifacts/other/{number}"
        )
        losing, self.world.pipelines.lose_answers = self.world.pipelines.lose_answers, 0
        if not self.world.pipelines.down:
            self.foreign.add(self.world.pipelines.create(order, PIN).kfp_id)
        self.world.pipelines.lose_answers = losing

    # -- people -------------------------------------------------------------------------------------------------

    @rule(data=st.data(), kind=st.sampled_from(RequestKind), calls=st.integers(0, 4))
    def a_wish(self, data: st.DataObject, kind: RequestKind, calls: int) -> None:
        """At any time, of any run."""
        runs = [run.id for run in self.world.all_runs()] or ["fraud-1"]
        run_id = data.draw(st.sampled_from(runs))
        if kind is RequestKind.APPROVE:
            run, who = self.world.onlooker.load(run_id), data.draw(st.sampled_from(["ann", "bob"]))
            seen = self.seen.setdefault(run_id, subject_digest(run) if run else "")
            if data.draw(st.booleans()) and run:
                self.seen[run_id] = subject_digest(run)
            self.start("person", lambda: self.world.operations.approve(run_id, seen, "why", who), 0.0, True, calls)
            return
        self.start(
            "person", lambda: self.world.operations.operator_request(run_id, kind, "ann", "why"), 0.0, True, calls
        )

    @rule(data=st.data(), stage=st.sampled_from([s for s in Stage if s is not Stage.RESTORE]), calls=st.integers(0, 9))
    def a_redrive(self, data: st.DataObject, stage: Stage, calls: int) -> None:
        """Of any run, from any stage."""
        runs = [run.id for run in self.world.all_runs()] or ["fraud-1"]
        run_id = data.draw(st.sampled_from(runs))
        self.start("person", lambda: self.world.operations.redrive(run_id, stage, "ann", "why"), 0.0, True, calls)

    @rule(data=st.data(), calls=st.integers(0, 9))
    def a_rollback(self, data: st.DataObject, calls: int) -> None:
        """To any version that ever served."""
        model = self.world.onlooker.model("fraud")
        versions = [release.version for release in (model.champion, *model.predecessors) if release]
        if versions:
            version = data.draw(st.sampled_from(versions))
            self.start(
                "person", lambda: self.world.operations.rollback("fraud", version, "ann", "why"), 0.0, True, calls
            )

    @rule(what=st.sampled_from(["hold", "release", "start"]))
    def a_word_about_the_model(self, what: str) -> None:
        """Hold it, release it, start it now."""
        self.start("person", lambda: getattr(self.world.operations, what)("fraud", "ann", "why"), 0.0, True, 9)

    # -- what always holds --------------------------------------------------------------------------------------

    @invariant()
    def every_object_is_in_exactly_one_epoch(self) -> None:
        """And stays there; none is ahead of the window."""
        window = self.intake().window("fraud")
        for obj in self.objects():
            assert 1 <= obj.epoch <= window.epoch, f"{obj.key} is in epoch {obj.epoch} of {window.epoch}"
            assert self.epochs.setdefault(obj.identity, obj.epoch) == obj.epoch, f"{obj.key} changed its epoch"

    @invariant()
    def every_closed_epoch_is_one_run(self) -> None:
        """And the open one is none."""
        closed = set(range(1, self.intake().window("fraud").epoch))
        own = [r.epoch for r in self.world.all_runs() if r.kind is RunKind.TRAINING and not r.parent]
        assert sorted(own) == sorted(closed)

    @invariant()
    def nothing_deploys_but_what_was_approved(self) -> None:
        """Enough persons said yes to exactly the candidate, evaluation and shadow of each run that deploys."""
        policy = self.world.policies["fraud"]
        for run in self.world.all_runs() if policy.require_approval else ():
            if run.state is State.DEPLOYING and run.id not in self.unasked:
                persons = {one.who for one in run.approvals if one.digest == subject_digest(run)}
                assert len(persons) >= policy.approval.approvers, f"{run.id} deploys, approved by {persons}"

    @invariant()
    def nothing_deploys_that_the_shadow_failed(self) -> None:
        """What reaches the cluster passed on the serving image."""
        for run in self.world.all_runs():
            if run.kind is RunKind.TRAINING and run.generation:
                assert run.shadow.get("passed"), f"{run.id} reached the cluster: {run.shadow}"

    @invariant()
    def slots_have_one_holder(self) -> None:
        """At most one run trains and one deploys, and the model item says which."""
        model, active = self.world.onlooker.model("fraud"), [r for r in self.world.all_runs() if not r.state.terminal]
        training = [r.id for r in active if r.kind is RunKind.TRAINING]
        assert training in ([], [model.training]), f"{training} train, the slot says {model.training!r}"
        deploying = [r.id for r in active if r.state in (State.DEPLOYING, State.ROLLING_BACK)]
        holder = model.deploying.run_id if model.deploying else ""
        assert deploying in ([], [holder]), f"{deploying} deploy, the slot says {holder!r}"

    @invariant()
    def terminal_is_final_and_versions_grow(self) -> None:
        """A terminal run never changes again."""
        for run in self.world.all_runs():
            assert run.version >= self.versions.get(run.id, 0)
            self.versions[run.id] = run.version
            if run.state.terminal:
                assert self.resting.setdefault(run.id, run) == run, f"{run.id} came back to life"

    @invariant()
    def of_an_attempt_one_launch_is_read(self) -> None:
        """Reports and outputs alike."""
        read: dict[str, set[str]] = {}
        for uri in self.world.files.read_reports:
            *_, run_id, stage, attempt, launch_id, _name = uri.split("/")
            read.setdefault(f"{run_id}.{stage}.{attempt}", set()).add(launch_id)
        assert all(len(ids) == 1 for ids in read.values()), read

    @invariant()
    def the_champion_changes_by_a_proof(self) -> None:
        """Only together with a run that ends SUCCEEDED, and only to the version that this run made the pods serve.

        What the pointer says now is the next rule's: in the minutes that have passed others may have deployed and lost.
        """
        before, now = self.model.champion, self.world.onlooker.model("fraud").champion
        self.model = self.world.onlooker.model("fraud")
        if before != now:
            assert now is not None
            wins = [r for r in self.world.all_runs() if r.state is State.SUCCEEDED]
            proven = [r.generation for r in wins if (r.target or r.candidate) == now.version]
            assert any((generation, now.version) in self.world.stages.application.patches for generation in proven)

    @invariant()
    def what_serves_is_the_champion(self) -> None:
        """Whenever nobody deploys; unless a restore failed, which is what the hold is for."""
        lost = [r for r in self.world.all_runs() if r.state is State.FAILED and r.generation and not r.stage]
        self.broken = any(r.generation == self.model.generation for r in lost)
        if self.model.deploying is None and self.model.champion and not self.broken:
            assert self.world.stages.application.version == self.model.champion.version

    @invariant()
    def a_run_at_rest_leaves_nothing_working(self) -> None:
        """But the launch whose report was its last act, and what a worker launched that should have been dead."""
        for run in self.resting.values():
            for job in self.world.pipelines.working(f"{run.id}."):
                if job.kfp_run.kfp_id in self.foreign:
                    continue
                reported = f"{job.order.output_uri}/report.json" in self.world.files.bodies
                assert reported or job.order.launch_id in self.world.undead, f"{job.kfp_run.name} works on"

    @invariant()
    def what_another_stack_launched_is_left_alone(self) -> None:
        """Neither adopted nor stopped, nor is its report read."""
        assert not self.foreign & set(self.world.pipelines.stopped)
        assert not self.foreign & {run.kfp_id for run in self.world.all_runs()}
        assert not [uri for uri in self.world.files.read_reports if "/other/" in uri]

    @invariant()
    def history_tells_every_step(self) -> None:
        """Each line begins where the one before it ended, and the last one ends where the run is."""
        for run in self.world.all_runs():
            lines = list(self.world.onlooker.history(run.id))
            assert lines[-1].dest == run.state.value
            assert [line.source for line in lines[1:]] == [line.dest for line in lines[:-1]]

    # -- and in the end -----------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Nothing falters any more; messages come at last, ticks tick, people release: then every run ends."""
        world = self.world
        for worker in world.workers:
            worker.kill()
        world.workers.clear()
        world.table.down = world.files.down = world.pipelines.down = False
        world.table.lose_answers = world.pipelines.lose_answers = 0
        world.hints.queue.clear()
        for batch in list(world.messages):
            world.begin("arrival", world.arrival(batch)).finish()
        for _ in range(300):
            if world.onlooker.model("fraud").hold:  # a roll-back that fails holds the model, in these minutes too
                world.operations.release("fraud", "ann", "the end")
            runs = world.all_runs()
            if all(run.state.terminal for run in runs) and not world.intake.window("fraud").count:
                break
            world.quiet_minute()
        else:
            raise AssertionError(f"does not end: {[(r.id, r.state.value, r.reason) for r in world.all_runs()]}")
        landed = {obj.identity for obj in world.files.listed}
        assert landed <= {obj.identity for obj in self.objects()}, "an object was lost"
        model = world.onlooker.model("fraud")
        assert (model.training, model.deploying) == ("", None)
        self.the_index_holds_what_was_accepted()
        for check in (
            self.every_object_is_in_exactly_one_epoch,
            self.every_closed_epoch_is_one_run,
            self.terminal_is_final_and_versions_grow,
            self.of_an_attempt_one_launch_is_read,
            self.the_champion_changes_by_a_proof,
            self.what_serves_is_the_champion,
            self.a_run_at_rest_leaves_nothing_working,
            self.history_tells_every_step,
        ):
            check()

    def the_index_holds_what_was_accepted(self) -> None:
        """Of each key the newest accepted write of the epochs that it covers, and nothing else of them."""
        model = self.world.onlooker.model("fraud")
        index = json.loads(self.world.files.bodies[model.index.uri]) if model.index else []
        accepted = [t for t in self.objects() if t.status is Status.ACCEPTED and t.epoch <= model.indexed]
        newest = {obj.key: obj.etag for obj in sorted(accepted, key=lambda obj: obj.order)}
        assert {entry["key"]: entry["etag"] for entry in index} == newest

    def intake(self) -> Intake:
        """As an onlooker sees it."""
        return Intake(self.world.onlooker, self.world.policies, "data", self.world.clock, str, lambda _: None)

    def objects(self) -> list[Object]:
        """All that is on record."""
        return list(self.intake().objects("fraud"))


Interleavings.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    derandomize=not SOAK,
    phases=[Phase.generate] if os.environ.get("FRAUDLOOP_NO_SHRINK") else list(Phase),
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(0 if SOAK else 600)
class TestInterleavings(Interleavings.TestCase):  # type: ignore[valid-type,misc]  # hypothesis makes it at run time
    """Run by hypothesis: every step of every example."""


def test_a_launch_by_a_worker_that_should_be_dead_is_known_although_its_answer_was_lost() -> None:
    """Kept from a soak: it came after its run rested, and the invariant blamed the controller for it."""
    world = InterleavedWorld({"fraud": POLICY})
    world.intake.arrive([world.object("data/fraud/first.csv")])
    world.freeze = True
    for _ in range(6):
        world.quiet_minute()
    (frozen,) = world.workers
    assert frozen.before.endswith(".create")
    world.pipelines.lose_answers = 1
    launched = set(world.pipelines.jobs)
    world.go_on(frozen, 1000)
    (late,) = set(world.pipelines.jobs) - launched
    assert world.pipelines.jobs[late].order.launch_id in world.undead
