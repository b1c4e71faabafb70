"""The runbook's table of silent failures: each is played as far as its metric, and the alarm must ring in time.

An alarm is evaluated as CloudWatch does ("Evaluating an alarm"): of the last `EvaluationPeriods` periods, so many as
`DatapointsToAlarm` says (all of them, if it says nothing) must breach; a period without data breaches only if
`TreatMissingData` says so. The alarm looks when a period is over.
"""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulation.memory.stages import failed
from simulation.memory.world import World
from statemachine.contracts.metrics import METRICS
from statemachine.contracts.stage import Stage
from statemachine.core.policy import StagePolicy
from statemachine.core.run import Run
from statemachine.core.states import State
from statemachine.reporting.notifications import metric_samples

ROOT = Path(__file__).parents[2]
MINUTE = 60.0


class Loader(yaml.SafeLoader):
    """The template's short forms (`!Ref`, …) as plain values."""


Loader.add_multi_constructor("!", lambda loader, suffix, node: {suffix: getattr(node, "value", "")})


@dataclass(frozen=True)
class Alarm:
    """The parameters of an alarm. `metric` is a name of ours, or of AWS."""

    metric: str
    statistic: str
    period: int
    periods: int
    of_them: int
    threshold: float
    below: bool
    missing_breaches: bool

    def rings(self, data: Mapping[float, float], until: float) -> float | None:
        """Returns when it first alarms, given the values by second; `None` if it does not."""
        breached: list[bool] = []
        for begin in range(0, int(until), self.period):
            values = [value for at, value in data.items() if begin <= at < begin + self.period]
            breached.append(self._breaches(values))
            if sum(breached[-self.periods :]) >= self.of_them:
                return begin + self.period
        return None

    def _breaches(self, values: list[float]) -> bool:
        if not values:
            return self.missing_breaches
        value = sum(values) if self.statistic == "SUM" else max(values)
        return value < self.threshold if self.below else value > self.threshold


@pytest.fixture(scope="module")
def alarms() -> dict[str, Alarm]:
    """The alarms of `template.yaml` by their logical names, as far as they watch one metric."""
    resources = yaml.load((ROOT / "template.yaml").read_text(), Loader)["Resources"]
    found = {name: r["Properties"] for name, r in resources.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    return {name: alarm for name, properties in found.items() if (alarm := parsed(properties))}


def parsed(properties: Mapping[str, Any]) -> Alarm | None:
    statistic, metric, period = properties.get("Statistic"), properties.get("MetricName"), properties.get("Period")
    if query := (properties.get("Metrics") or [{}])[0]:
        match = re.search(r"SELECT (SUM|MAX)\((\w+)\)", str(query.get("Expression")))
        if not match:
            return None
        statistic, metric, period = match[1], match[2], query["Period"]
    return Alarm(
        metric=str(metric),
        statistic={"Sum": "SUM", "Maximum": "MAX"}.get(str(statistic), str(statistic)),
        period=int(str(period)),
        periods=int(properties["EvaluationPeriods"]),
        of_them=int(properties.get("DatapointsToAlarm", properties["EvaluationPeriods"])),
        threshold=float(properties["Threshold"]),
        below=properties["ComparisonOperator"] == "LessThanThreshold",
        missing_breaches=properties["TreatMissingData"] == "breaching",
    )


# -- the table --------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| (?P<failure>[^|]+?) \| (?P<alarm>\w+Alarm) \| (?P<minutes>\d+) min \|", re.M)


def table() -> dict[str, tuple[str, int]]:
    """Alarm → the failure and the minutes within which it alarms, as in the runbook."""
    text = (ROOT / "docs/runbook.md").read_text().partition("## Silent failures")[2].partition("\n## ")[0]
    return {row["alarm"]: (row["failure"], int(row["minutes"])) for row in ROW.finditer(text)}


def every_minute(value: float, minutes: int = 30) -> dict[float, float]:
    return {MINUTE * n + 5: value for n in range(minutes)}


def once(value: float = 1) -> dict[float, float]:
    return {5.0: value}


def dead_letter() -> dict[float, float]:
    """SQS emits each minute how many messages a queue holds; one stays until it is removed."""
    return every_minute(1)


def ended(stage: Stage, *more: Stage) -> dict[str, float]:
    """The metrics of a run in which these stages fail permanently."""
    world = World()
    world.land("a.csv")
    world.until_rest("fraud-1")
    for each in (stage, *more):
        world.stages.every(each, lambda order: failed(order, "broken", permanent=True))
    world.land("b.csv")
    return emitted(world, world.until_rest("fraud-2"))


def emitted(world: World, run: Run) -> dict[str, float]:
    values: dict[str, float] = {}
    history = list(world.store.history(run.id))
    for entry in history:
        for metric in metric_samples(entry, run, history if State(entry.dest).terminal else ()):
            values[metric.name] = values.get(metric.name, 0) + metric.value
    return values


def a_run_fails() -> dict[float, float]:
    return once(ended(Stage.TRAIN)["RunsFailed"])


def a_restore_fails() -> dict[float, float]:
    return once(ended(Stage.DEPLOY, Stage.RESTORE)["RestoreFailed"])


def a_stage_hangs() -> dict[float, float]:
    world = World()
    limits = StagePolicy(start_deadline=300, run_deadline=300)
    world.policies["fraud"] = replace(world.policies["fraud"], stages=dict.fromkeys(Stage, limits))
    world.stages.unschedulable.add("fraud-1.train.1")
    world.land("a.csv")
    return once(emitted(world, world.until_rest("fraud-1"))["StageOverdue"])


def objects_wait() -> dict[float, float]:
    """The tick's metric of a window that a hold keeps open; its age starts at the alarm's threshold."""
    world = World()
    world.operations.hold("fraud", "ann", "a freeze")
    world.land("a.csv")
    values = {}
    for minute in range(30):
        world.now += MINUTE
        world.tick()
        values[minute * MINUTE + 5] = 21_600 + world.now - world.intake.window("fraud").opened_at
    return values


def no_tick() -> dict[float, float]:
    return {}


PLAYS: dict[str, Callable[[], Mapping[float, float]]] = {
    "RunFailedAlarm": a_run_fails,
    "RestoreFailedAlarm": a_restore_fails,
    "StageOverdueAlarm": a_stage_hangs,
    "IntakeStuckAlarm": objects_wait,
    "MalformedAlarm": once,
    "TickSilentAlarm": no_tick,
    "ArrivalsDeadAlarm": dead_letter,
    "HintsDeadAlarm": dead_letter,
    "EventsDeadAlarm": dead_letter,
    "NightlyDeadAlarm": dead_letter,
    "AnnounceDeadAlarm": dead_letter,
}
BEYOND = {
    "UnreachableAlarm",
    "ErrorRateAlarm",
    "TokenStaleAlarm",
}  # simulated below; an expression; a CronJob's own metric


@pytest.mark.parametrize("name", sorted(PLAYS))
def test_each_failure_raises_its_alarm_in_time(name: str, alarms: dict[str, Alarm]) -> None:
    """As far as its metric by our own code, then by the alarm's definition; CloudWatch itself takes a minute more."""
    _, minutes = table()[name]
    rang = alarms[name].rings(PLAYS[name](), until=3600)
    assert rang is not None, "it never rings"
    assert rang / MINUTE + 1 <= minutes


@pytest.mark.parametrize("name", sorted(set(PLAYS) - {"TickSilentAlarm"}))
def test_no_alarm_rings_for_nothing(name: str, alarms: dict[str, Alarm]) -> None:
    """While everything works, the metric is 0 or not emitted."""
    assert alarms[name].rings({}, until=3600) is None
    assert alarms[name].rings(every_minute(0, 60), until=3600) is None


def test_the_table_is_of_the_alarms_that_are(alarms: dict[str, Alarm]) -> None:
    """Each row names an alarm of the template; what is played here stands in it."""
    text = (ROOT / "template.yaml").read_text()
    rows = table()
    assert all(f"\n  {name}:\n    Type: AWS::CloudWatch::Alarm" in text for name in rows)
    assert set(PLAYS) | {"UnreachableAlarm"} <= set(rows)


def test_alarms_watch_metrics_that_are_emitted(alarms: dict[str, Alarm]) -> None:
    """A renamed metric would leave an alarm silent for ever."""
    ours = {a.metric for a in alarms.values()} - {"ApproximateNumberOfMessagesVisible", "Invocations", "Rotated"}
    by_aws = {"ApproximateAgeOfOldestMessage", "IteratorAge", "Throttles", "Errors"}
    assert ours - by_aws <= set(METRICS)


# -- an outage of KFP -------------------------------------------------------------------------------------------------


def outage(draw: random.Random) -> Iterator[float]:
    """A world with one active run in any state, in which KFP goes down; yields the metric of each tick."""
    world = World()
    world.reconciler = replace(world.reconciler, roll=draw.random)
    never = (State.ROLLING_BACK, State.MATERIALISING)  # the deployment holds, and the model is not scored live
    state = draw.choice([s for s in State if s.stage and s not in never])
    assert state.stage is not None
    world.stages.every(state.stage, lambda order: None)
    world.land("a.csv")
    while (run := world.store.load("fraud-1")) is None or run.state is not state or not run.kfp_id:
        world.minute()
    for _ in range(draw.randrange(12)):  # it has run for a while
        world.minute()
    for _ in range(40):
        world.now += MINUTE
        world.stages.run()
        unreachable = world.tick()
        yield float(unreachable)
        world.pipelines.down = (
            True  # between this tick and its hints, so the first failing pass is this tick's or a later one's
        )
        world.deliver()


def test_an_outage_of_kfp_rings_within_a_quarter_of_an_hour(alarms: dict[str, Alarm]) -> None:
    """For any start of the outage and any state of the run, with the real retry pauses."""
    alarm, late = alarms["UnreachableAlarm"], []
    for seed in range(150):
        draw = random.Random(seed)
        phase = draw.uniform(0, alarm.period)  # of the alarm's periods against the ticks
        begins = draw.uniform(0, MINUTE)  # of the outage against the next tick
        values = {phase + MINUTE * n: value for n, value in enumerate(outage(draw))}
        rang = alarm.rings(values, until=2400)
        taken = float("inf") if rang is None else rang - phase + begins
        if taken / MINUTE + 1 > table()["UnreachableAlarm"][1]:
            late.append((seed, taken))
    assert table()["UnreachableAlarm"][1] <= 15
    assert late == []


def test_a_short_outage_raises_no_alarm(alarms: dict[str, Alarm]) -> None:
    """KFP restarts: three minutes without an answer."""
    for seed in range(30):
        draw, world = random.Random(seed), World()
        world.reconciler = replace(world.reconciler, roll=draw.random)
        world.stages.every(Stage.TRAIN, lambda order: None)
        world.land("a.csv")
        for _ in range(12):
            world.minute()
        values = {}
        for minute in range(40):
            world.now += MINUTE
            values[minute * MINUTE] = float(world.tick())
            world.pipelines.down = 2 <= minute < 5
            world.deliver()
        assert max(values.values()) == 1
        assert alarms["UnreachableAlarm"].rings(values, until=2400) is None, seed
