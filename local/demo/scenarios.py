"""The demo's scenarios in the order in which they run. Each drives the system and checks assertions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from local.demo.client import LATE, Client, Question
from local.demo.driver import LABELS, MODEL, PREFIX, Driver
from local.demo.files import DemoFiles
from local.demo.payments import PaymentStream
from statemachine.contracts.stage import Stage
from statemachine.core.run import Run
from statemachine.core.states import State

REQUESTS = 1000
TOLERANCE = 1e-5  # of a probability, live beside offline
RATE = 25.0  # requests a second that the client sends
FAST = 20.0  # requests a second; below it the demo reports a slow machine


@dataclass(frozen=True)
class Assertion:
    """A condition, whether it held, and what was found. One that is not `binding` describes only this machine."""

    text: str
    held: bool
    found: str = ""
    binding: bool = True


@dataclass
class ScenarioResult:
    """The runs and assertions of one scenario."""

    title: str
    runs: list[Run] = field(default_factory=list)
    assertions: list[Assertion] = field(default_factory=list)

    def check(self, text: str, held: bool, found: object = "") -> None:
        """Record a binding assertion."""
        self.assertions.append(Assertion(text, bool(held), str(found)))

    def note(self, text: str, quick: bool, found: object = "") -> None:
        """Record an assertion about speed. A slow machine does not fail the scenario."""
        self.assertions.append(Assertion(text, bool(quick), str(found), binding=False))

    @property
    def held(self) -> bool:
        """True if there is at least one binding assertion and all of them held."""
        binding = [assertion.held for assertion in self.assertions if assertion.binding]
        return bool(binding) and all(binding)


Scenario = Callable[[Driver, DemoFiles, ScenarioResult], None]


def burst(driver: Driver, files: DemoFiles, result: ScenarioResult) -> None:
    """Three files arrive at once: one run, one verified version."""
    driver.land(files.first)
    run = _play(driver, result, "fraud-1")
    joined = driver.objects(1)
    result.check("three files, one run", len(joined) == 3 and len(driver.runs()) == 1, f"{len(joined)} objects")
    result.check("it SUCCEEDED", run.state is State.SUCCEEDED, run.state.value)
    how = driver.approved.get(run.id, "")
    result.check("a person said yes in the console", bool(run.approvals) and bool(how), how)
    _check_verified(driver, result, run)
    driver.stream = PaymentStream(driver.system.endpoints.urls["triton"], files.payments)


def good_and_bad(driver: Driver, files: DemoFiles, result: ScenarioResult) -> None:
    """A good and a bad file arrive together: the bad one is quarantined, the run trains on the good one."""
    driver.land({"day-2.csv": files.second, "day-2-broken.csv": files.two_faults})
    run = _play(driver, result, "fraud-2")
    objects = driver.objects(2)
    bad, good = objects.get("day-2-broken.csv"), objects.get("day-2.csv")
    result.check(
        "the good one is ACCEPTED", good is not None and good.status.value == "ACCEPTED", good and good.status.value
    )
    result.check(
        "the bad one is QUARANTINED", bad is not None and bad.status.value == "QUARANTINED", bad and bad.reason
    )
    reason = bad.reason if bad else ""
    result.check("the reason names column and expectation", "column MCC" in reason and "expected" in reason, reason)
    result.check("it SUCCEEDED", run.state is State.SUCCEEDED, run.reason or run.state.value)
    _check_verified(driver, result, run)


def bad_alone(driver: Driver, files: DemoFiles, result: ScenarioResult) -> None:
    """A bad file arrives alone: the run is rejected before training."""
    before = driver.champion()
    driver.land({"day-3-broken.csv": files.bad_alone})
    run = _play(driver, result, "fraud-3")
    reason = "; ".join(obj.reason for obj in driver.quarantined(3))
    result.check("it was REJECTED", run.state is State.REJECTED, run.reason)
    result.check("before training", set(run.attempts) == {"preprocess"}, ", ".join(run.attempts))
    result.check("the reason names row, column and expectation", "row " in reason and "column Amount" in reason, reason)
    _check_champion(driver, result, before)


def shuffled_labels(driver: Driver, files: DemoFiles, result: ScenarioResult) -> None:
    """Shuffled labels: the gate rejects the model and gives its metrics. Then an operator quarantines the file."""
    before = driver.champion()
    driver.land({"day-4-shuffled.csv": files.shuffled})
    run = _play(driver, result, "fraud-4")
    auc, floor = run.metrics.get("auc_roc", 1.0), driver.app.policies[MODEL].gate.min_auc_roc
    result.check(
        "the gate REJECTED it", run.state is State.REJECTED and not run.verdict.get("passed", True), run.reason
    )
    result.check(f"AUC below {floor}", auc < floor, f"{auc:.4f}")
    result.check("nothing was exported", "export" not in run.attempts)
    _check_champion(driver, result, before)
    driver.app.operations.quarantine(MODEL, f"{PREFIX}day-4-shuffled.csv", "the demo", "its labels are shuffled")


def does_not_load(driver: Driver, files: DemoFiles, result: ScenarioResult) -> None:
    """The nightly event is delivered twice and starts one run. Its candidate does not load on the serving image."""
    before = driver.champion()
    driver.system.shadow_faults.spoil_all_but([before])
    client = Client(driver.system.endpoints.urls["triton"], Question.of_golden(driver.golden(before)), RATE)
    try:
        driver.land({"day-5.csv": files.nightly})
        slot = _deliver_nightly_twice(driver)
        run = _play(driver, result, "fraud-5")
        client.reach(REQUESTS, 60)
        per_second = client.per_second
    finally:
        client.close()
        driver.system.shadow_faults.clear()
    _check_one_run(driver, result, slot)
    failed = run.state is State.REJECTED and run.shadow.get("outcome") == "fail"
    result.check("the shadow REJECTED it", failed, run.reason)
    result.check("it never reached the cluster", "deploy" not in run.attempts, ", ".join(run.attempts))
    _check_champion(driver, result, before)
    _check_answers(result, client, per_second)


def breaks_in_the_cluster(driver: Driver, files: DemoFiles, result: ScenarioResult) -> None:
    """An operator redrives it from shadow, where it holds now. It breaks only in the cluster, and is rolled back."""
    before = driver.champion()
    driver.system.faults.spoil_all_but([before])
    client = Client(driver.system.endpoints.urls["triton"], Question.of_golden(driver.golden(before)), RATE)
    try:
        driver.app.operations.redrive("fraud-5", Stage.SHADOW, "the demo", "the serving image is mended")
        run = _play(driver, result, "fraud-5-r1")
        client.reach(REQUESTS // 4, 60)
        per_second = client.per_second
    finally:
        client.close()
        driver.system.faults.clear()
    result.check("the shadow passed it", bool(run.shadow.get("passed")), run.shadow.get("reason", ""))
    result.check("it was ROLLED_BACK", run.state is State.ROLLED_BACK, run.reason)
    _check_champion(driver, result, before)
    _check_answers(result, client, per_second, REQUESTS // 4)


def _check_answers(result: ScenarioResult, client: Client, per_second: float, wanted: int = REQUESTS) -> None:
    """Every request got the champion's answer. Their number and latency depend on the machine, so they do not bind."""
    failures = "".join(f"; {count} × {what}" for what, count in client.failures.most_common(2))
    found = f"{client.requests} requests, {client.failed} failures{failures}"
    result.check("the champion answered throughout", bool(client.requests) and not client.failed, found)
    quick = per_second >= FAST and not client.late and client.requests >= wanted
    pace = f"{per_second:.0f} requests/s, p99 {client.slowest() * 1e3:.0f} ms, {client.late} later than {LATE:.0f} s"
    result.note("as quickly as asked", quick, pace if quick else f"{pace}: this machine was slow, or busy")


def chargebacks(driver: Driver, files: DemoFiles, result: ScenarioResult) -> None:
    """A file of chargebacks arrives: labels are corrected, and the next run learns from them."""
    before = _frauds(driver.run("fraud-5"))
    driver.land({"chargebacks.csv": files.chargebacks}, LABELS)
    run = _play(driver, result, "fraud-6")
    corrected = run.metrics.get("labels_corrected", 0)
    result.check("labels alone began a run", run.trigger.kind == "arrival", run.trigger.by)
    result.check("each chargeback corrected a label", corrected == files.reported, f"{corrected:.0f} labels corrected")
    result.check(
        "it learned from them", _frauds(run) == before + files.reported, f"{before} frauds, then {_frauds(run)}"
    )
    result.check("it SUCCEEDED", run.state is State.SUCCEEDED, run.reason or run.state.value)
    _check_verified(driver, result, run)


def _frauds(run: Run) -> int:
    """Known frauds of the data set that a run learned from."""
    return sum(int(run.metrics.get(f"{part}_frauds", 0)) for part in ("train", "validate", "test", "immature"))


def scored_live(driver: Driver, files: DemoFiles, result: ScenarioResult) -> None:
    """Payments were scored one by one since the first version served: their answers beside training's own."""
    from local.demo.comparison import compared  # it brings torch

    assert driver.stream
    driver.stream.close()
    answers, failures = driver.stream.answers, driver.stream.failures
    versions = list(dict.fromkeys(answer.score.version for answer in answers))
    degraded = sum(bool(answer.score.degraded) for answer in answers)
    result.check(
        "every payment was answered", bool(answers) and not failures, f"{len(answers)}; {failures[:1] or 'none failed'}"
    )
    result.check("also while versions switched", len(versions) > 1, ", ".join(versions))
    found = compared(driver, driver.stream)
    told = f"{found.payments} payments on {found.datasets} data sets, largest difference {found.largest:.2g}"
    told += f"; {found.between} while state changed"
    held = found.payments > 0 and found.datasets > 1 and found.largest <= TOLERANCE
    result.check("the answers are training's", held, told)
    slow = sorted(answer.answered - answer.asked for answer in answers)
    median = slow[len(slow) // 2] * 1e3 if slow else 0.0
    result.note("none was degraded", not degraded, f"{degraded} degraded, p50 {median:.0f} ms beside everything else")


SCENARIOS: tuple[tuple[str, Scenario], ...] = (
    ("three files in a burst", burst),
    ("a good and a bad file", good_and_bad),
    ("a bad file alone", bad_alone),
    ("shuffled labels", shuffled_labels),
    ("nightly event twice; the candidate does not load", does_not_load),
    ("redriven; it breaks in the cluster", breaks_in_the_cluster),
    ("chargebacks arrive", chargebacks),
    ("payments scored live throughout", scored_live),
)


def _play(driver: Driver, result: ScenarioResult, run_id: str) -> Run:
    run = driver.await_run(run_id)
    result.runs.append(run)
    return run


def _deliver_nightly_twice(driver: Driver) -> str:
    slot = datetime.now(UTC).replace(microsecond=0)
    for _ in range(2):
        driver.nightly(slot)
    driver.say("the nightly event was delivered twice")
    return slot.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_one_run(driver: Driver, result: ScenarioResult, slot: str) -> None:
    """Both deliveries were processed, one run started, and no other run is pending."""
    window = driver.app.intake.window(MODEL)
    ids = [run.id for run in driver.runs()]
    drained = window.last_slot == slot and window.asked is None and not window.count
    found = f"{', '.join(ids)}; {result.runs[-1].id} started by {result.runs[-1].trigger.kind}"
    result.check("two nightly events, one run", drained and ids == [f"fraud-{n}" for n in range(1, 6)], found)


def _check_verified(driver: Driver, result: ScenarioResult, run: Run) -> None:
    """The version is the champion, and every pod answered the golden requests."""
    details = driver.report(run, Stage.DEPLOY).get("details", {})
    served = {pod["version"] for pod in details.get("served", [])}
    golden = details.get("golden", {})
    evidence = f"{golden.get('requests', 0)} golden requests, largest difference {golden.get('max_difference')}"
    result.check("every pod serves its version", served == {run.candidate} != {""}, ", ".join(served) or "nothing")
    result.check("verified by golden requests", golden.get("requests", 0) > 0, evidence)
    result.check("it is the champion", driver.champion() == run.candidate != "", driver.champion() or "none")


def _check_champion(driver: Driver, result: ScenarioResult, before: str) -> None:
    """The champion is unchanged, and Triton answers requests with it."""
    question = Question.of_golden(driver.golden(before))
    client = Client(driver.system.endpoints.urls["triton"], question, RATE)
    client.reach(10, 120)
    client.close()
    answered = bool(client.requests) and not client.failed
    found = f"{driver.champion()}, {client.requests} answers, {client.failed} wrong"
    result.check("the champion still serves", driver.champion() == before and answered, found)
