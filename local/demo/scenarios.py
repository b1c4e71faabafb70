"""The scenarios, in the order in which they are played. Each says what it did and which of its promises held."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from local.demo.client import LATE, Client, Question
from local.demo.driver import MODEL, PREFIX, Driver
from local.demo.files import DemoFiles
from statemachine.contracts.stage import Stage
from statemachine.core.run import Run
from statemachine.core.states import State

REQUESTS = 1000
RATE = 25.0  # requests a second that are asked for
FAST = 20.0  # requests a second below which the machine is called slow


@dataclass(frozen=True)
class Assertion:
    """One thing that must hold, and what was found; one that is not `binding` tells of this machine alone."""

    text: str
    held: bool
    found: str = ""
    binding: bool = True


@dataclass
class ScenarioResult:
    """What came of a scenario."""

    title: str
    runs: list[Run] = field(default_factory=list)
    promises: list[Assertion] = field(default_factory=list)

    def promise(self, text: str, held: bool, found: object = "") -> None:
        """Put on record whether something held."""
        self.promises.append(Assertion(text, bool(held), str(found)))

    def note(self, text: str, quick: bool, found: object = "") -> None:
        """Put on record how quick it was: a slow machine breaks no promise."""
        self.promises.append(Assertion(text, bool(quick), str(found), binding=False))

    @property
    def held(self) -> bool:
        """All of it held, and there was something to hold."""
        binding = [promise.held for promise in self.promises if promise.binding]
        return bool(binding) and all(binding)


Scenario = Callable[[Driver, DemoFiles, ScenarioResult], None]


def burst(theatre: Driver, files: DemoFiles, scene: ScenarioResult) -> None:
    """Three files land in a burst: one run, one proven version."""
    theatre.land(files.first)
    run = _play(theatre, scene, "fraud-1")
    joined = theatre.objects(1)
    scene.promise("three files, one run", len(joined) == 3 and len(theatre.runs()) == 1, f"{len(joined)} objects")
    scene.promise("it SUCCEEDED", run.state is State.SUCCEEDED, run.state.value)
    _promise_proof(theatre, scene, run)


def good_and_bad(theatre: Driver, files: DemoFiles, scene: ScenarioResult) -> None:
    """A good file and a bad one together: the bad one is set aside, the good one teaches."""
    theatre.land({"day-2.csv": files.second, "day-2-broken.csv": files.two_faults})
    run = _play(theatre, scene, "fraud-2")
    things = theatre.objects(2)
    bad, good = things.get("day-2-broken.csv"), things.get("day-2.csv")
    scene.promise(
        "the good one is ACCEPTED", good is not None and good.status.value == "ACCEPTED", good and good.status.value
    )
    scene.promise(
        "the bad one is QUARANTINED", bad is not None and bad.status.value == "QUARANTINED", bad and bad.reason
    )
    told = bad.reason if bad else ""
    scene.promise("column and expectation are told", "column MCC" in told and "expected" in told, told)
    scene.promise("it SUCCEEDED", run.state is State.SUCCEEDED, run.reason or run.state.value)
    _promise_proof(theatre, scene, run)


def bad_alone(theatre: Driver, files: DemoFiles, scene: ScenarioResult) -> None:
    """A bad file alone: rejected before training."""
    before = theatre.champion()
    theatre.land({"day-3-broken.csv": files.bad_alone})
    run = _play(theatre, scene, "fraud-3")
    told = "; ".join(thing.reason for thing in theatre.quarantined(3))
    scene.promise("it was REJECTED", run.state is State.REJECTED, run.reason)
    scene.promise("before training", set(run.attempts) == {"preprocess"}, ", ".join(run.attempts))
    scene.promise("row, column, expectation are told", "row " in told and "column Amount" in told, told)
    _promise_champion(theatre, scene, before)


def shuffled_labels(theatre: Driver, files: DemoFiles, scene: ScenarioResult) -> None:
    """Labels that mean nothing: the gate says no, with figures; then a person sets the file aside."""
    before = theatre.champion()
    theatre.land({"day-4-shuffled.csv": files.shuffled})
    run = _play(theatre, scene, "fraud-4")
    auc, floor = run.metrics.get("auc_roc", 1.0), theatre.app.policies[MODEL].gate.min_auc_roc
    scene.promise(
        "the gate REJECTED it", run.state is State.REJECTED and not run.verdict.get("passed", True), run.reason
    )
    scene.promise(f"AUC below {floor}", auc < floor, f"{auc:.4f}")
    scene.promise("nothing was exported", "export" not in run.attempts)
    _promise_champion(theatre, scene, before)
    theatre.app.operations.quarantine(MODEL, f"{PREFIX}day-4-shuffled.csv", "the demo", "its labels are shuffled")


def breaks_while_loading(theatre: Driver, files: DemoFiles, scene: ScenarioResult) -> None:
    """The night comes twice and begins one run, whose candidate breaks while Triton loads it."""
    before = theatre.champion()
    theatre.system.faults.spoil_all_but([before])
    client = Client(theatre.system.endpoints.urls["triton"], Question.of_golden(theatre.golden(before)), RATE)
    try:
        theatre.land({"day-5.csv": files.night})
        tonight = _the_night_twice(theatre)
        run = _play(theatre, scene, "fraud-5")
        client.reach(REQUESTS, 60)
        per_second = client.per_second
    finally:
        client.close()
        theatre.system.faults.clear()
    _promise_one_night(theatre, scene, tonight)
    scene.promise("it was ROLLED_BACK", run.state is State.ROLLED_BACK, run.reason)
    _promise_champion(theatre, scene, before)
    _promise_answers(scene, client, per_second)


def _promise_answers(scene: ScenarioResult, client: Client, per_second: float) -> None:
    """Every request got the champion's answer; how many there were, and how soon, is the machine's affair."""
    trouble = "".join(f"; {count} × {what}" for what, count in client.failures.most_common(2))
    found = f"{client.requests} requests, {client.failed} failures{trouble}"
    scene.promise("the champion answered throughout", bool(client.requests) and not client.failed, found)
    quick = per_second >= FAST and not client.late and client.requests >= REQUESTS
    pace = f"{per_second:.0f} requests/s, p99 {client.slowest() * 1e3:.0f} ms, {client.late} later than {LATE:.0f} s"
    scene.note("as quickly as asked", quick, pace if quick else f"{pace}: this machine was slow, or busy")


SCENARIOS: tuple[tuple[str, Scenario], ...] = (
    ("three files in a burst", burst),
    ("a good and a bad file", good_and_bad),
    ("a bad file alone", bad_alone),
    ("shuffled labels", shuffled_labels),
    ("a night twice; the candidate breaks", breaks_while_loading),
)


def _play(theatre: Driver, scene: ScenarioResult, run_id: str) -> Run:
    run = theatre.await_run(run_id)
    scene.runs.append(run)
    return run


def _the_night_twice(theatre: Driver) -> str:
    tonight = datetime.now(UTC).replace(microsecond=0)
    for _ in range(2):
        theatre.night(tonight)
    theatre.say("the nightly event was delivered twice")
    return tonight.strftime("%Y-%m-%dT%H:%M:%SZ")


def _promise_one_night(theatre: Driver, scene: ScenarioResult, tonight: str) -> None:
    """Both deliveries were taken, one run came of them, and no other one waits to begin."""
    window = theatre.app.intake.window(MODEL)
    ids = [run.id for run in theatre.runs()]
    drained = window.last_slot == tonight and window.asked is None and not window.count
    found = f"{', '.join(ids)}; {scene.runs[-1].id} began by {scene.runs[-1].trigger.kind}"
    scene.promise("the night came twice, one run", drained and ids == [f"fraud-{n}" for n in range(1, 6)], found)


def _promise_proof(theatre: Driver, scene: ScenarioResult, run: Run) -> None:
    """The version is the champion, and every pod gave the golden answers."""
    details = theatre.report(run, Stage.DEPLOY).get("details", {})
    served = {pod["version"] for pod in details.get("served", [])}
    golden = details.get("golden", {})
    proof = f"{golden.get('requests', 0)} golden requests, largest difference {golden.get('max_difference')}"
    scene.promise("every pod serves its version", served == {run.candidate} != {""}, ", ".join(served) or "nothing")
    scene.promise("proven by golden requests", golden.get("requests", 0) > 0, proof)
    scene.promise("it is the champion", theatre.champion() == run.candidate != "", theatre.champion() or "none")


def _promise_champion(theatre: Driver, scene: ScenarioResult, before: str) -> None:
    """The champion is what it was, and a request to Triton gets its answer."""
    question = Question.of_golden(theatre.golden(before))
    client = Client(theatre.system.endpoints.urls["triton"], question, RATE)
    client.reach(10, 120)
    client.close()
    answered = bool(client.requests) and not client.failed
    found = f"{theatre.champion()}, {client.requests} answers, {client.failed} wrong"
    scene.promise("the champion still serves", theatre.champion() == before and answered, found)
