"""The process dies before and after every call to a port, in every scenario; ticks alone bring it to the same end."""

import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
from crash_scenarios import SCENARIOS, Ending, Scenario, played

from simulation.memory.crash_injection import CrashPoint
from simulation.memory.driver import CrashDriver
from statemachine.contracts.kfp_run import KfpRunState
from statemachine.intake import Intake
from statemachine.store import Store

# A death after one call leaves the world as a death before the next one does, so `make test` sweeps all of the former
# and a sample of the latter; `make soak` sweeps them all.
SAMPLE = 1 if os.environ.get("FRAUDLOOP_SOAK") else 5
STRIDE = int(os.environ.get("FRAUDLOOP_CRASH_STRIDE", "1"))  # `make mutants` has no time for every point


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_it_ends_the_same_wherever_the_process_dies(
    scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    """State, rows of the history, champion, what serves, objects, slots, launches: all as written in the table."""
    undisturbed = played(scenario, CrashDriver)
    assert problems(undisturbed, scenario.ending) == []
    calls = len(undisturbed.fate.calls)
    points = [(at, True) for at in range(1, calls + 1)] + [(at, False) for at in range(1, calls + 1, SAMPLE)]
    points = points[::STRIDE]
    wrong = {}
    for at, after in points:
        drive = played(scenario, partial(CrashDriver, fate=CrashPoint(at, after)))
        if found := problems(drive, scenario.ending):
            wrong[f"{'after' if after else 'before'} {at} {drive.fate.calls[at - 1]}"] = found
    print(f"crash sweep: {scenario.name}: {len(points)} deaths at {calls} calls")
    record_property("deaths", len(points))
    assert wrong == {}


def problems(drive: CrashDriver, ending: Ending) -> list[str]:
    """In words, what is not as the table says."""
    return [*_runs(drive, ending), *_release(drive, ending), *_launches(drive, ending), *_objects(drive, ending)]


def _runs(drive: CrashDriver, ending: Ending) -> list[str]:
    store, found = Store(drive.world.table, str), []
    if drive.runs() != sorted(ending.runs):
        found.append(f"runs are {drive.runs()}")
    for run_id, (state, reasons) in ending.runs.items():
        run, history = store.load(run_id), list(store.history(run_id))
        if run is None:
            continue
        if run.state is not state:
            found.append(f"{run_id} is {run.state.value}: {run.reason}")
        if tuple(entry.reason for entry in history) != reasons:
            found.append(f"{run_id} went by {[entry.reason.value for entry in history]}")
        if any(old.dest != new.source for old, new in pairwise(history)):
            found.append(f"{run_id}'s history has a gap")
        if history and (history[-1].dest, history[-1].version) != (run.state.value, run.version):
            found.append(f"{run_id} is not where its history ends")
    return found


def _release(drive: CrashDriver, ending: Ending) -> list[str]:
    model, live = Store(drive.world.table, str).model("fraud"), drive.world.stages.application
    champion = model.champion.version if model.champion else ""
    expected = ending.serves if ending.champion is None else ending.champion
    observed = {
        "served": (live.version, ending.serves),
        "champion": (champion, expected),
        "training slot": (model.training, ""),
        "deploying slot": (model.deploying, None),
        "hold": (model.hold is not None, ending.hold),
        "refused": (model.refused, ending.refused),
    }
    generations = [generation for generation, _ in live.patches]
    order = [] if generations == sorted(generations) else [f"patched in the order {generations}"]
    return order + [f"{name}: {is_}, not {should}" for name, (is_, should) in observed.items() if is_ != should]


def _launches(drive: CrashDriver, ending: Ending) -> list[str]:
    pipelines, found = drive.world.pipelines, []
    working = pipelines.working()
    foreign = [job for job in working if job.order.launch_id.startswith("ffffffff")]
    endless = [job for job in working if job.kfp_run.state is KfpRunState.CANCELING]
    left = {"another stack's": (len(foreign), ending.foreign), "never ended": (len(endless), ending.never_ended)}
    found += [f"{name}: {is_}, not {should} work on" for name, (is_, should) in left.items() if is_ != should]
    found += [f"{job.kfp_run.name} still works" for job in working if job not in foreign and job not in endless]
    read: dict[str, set[str]] = {}
    for uri in drive.world.files.read_reports:
        *_, run_id, stage, attempt, launch_id, _name = uri.split("/")
        read.setdefault(f"{run_id}.{stage}.{attempt}", set()).add(launch_id)
    found += [f"of {name} {len(ids)} launches were read" for name, ids in read.items() if len(ids) > 1]
    attempts: dict[str, set[int]] = {}
    for order in pipelines.created:
        attempts.setdefault(f"{order.run_id}.{order.stage.value}", set()).add(order.attempt)
    many = {name: len(numbers) for name, numbers in attempts.items() if len(numbers) > 1}
    if many != dict(ending.kfp_runs):
        found.append(f"attempts: {many}, not {dict(ending.kfp_runs)}")
    return found


def _objects(drive: CrashDriver, ending: Ending) -> list[str]:
    world = drive.world
    intake = Intake(Store(world.table, str), world.policies, "data", world.clock, str, lambda _: None)
    found = {t.key.removeprefix("data/fraud/"): (t.epoch, t.status.value) for t in intake.objects("fraud")}
    return [] if found == dict(ending.objects) else [f"objects are {found}"]
