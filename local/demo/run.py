"""Plays the scenarios on a fresh system and says whether all of it held."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console

from local.demo import files, summary
from local.demo.driver import Driver, Interrupted, TooSlow
from local.demo.memory import Peak
from local.demo.scenarios import SCENARIOS, ScenarioResult
from local.state_dir import StateDir
from local.system import DEMO_CONFIG, DEMO_TICK, Options, System
from statemachine.bootstrap import bootstrap
from statemachine.contracts.errors import FraudloopError

CONFIG, TICK = DEMO_CONFIG, DEMO_TICK
SEED = 7
FRAUD_RATE = 0.006  # five times the real file's, so that the test set holds a few hundred frauds


def run_demo(
    home: StateDir,
    *,
    rows: int,
    console: Console,
    stopped: threading.Event,
    keep: bool = False,
    as_json: bool = False,
) -> bool:
    """Play everything; true if all promises held. `keep` leaves the system running until `stopped` is set."""
    began, peak, scenes = time.monotonic(), Peak(), [ScenarioResult(title) for title, _ in SCENARIOS]
    quiet = Console(stderr=True, highlight=False) if as_json else console

    def say(text: str) -> None:
        quiet.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {text}", soft_wrap=True)

    say(f"making {rows:,} synthetic transactions, and those that come later")
    making = ThreadPoolExecutor(1).submit(files.make, rows, SEED, FRAUD_RATE)
    with System(home, Options(CONFIG, TICK), say=say) as system:
        system.endpoints.enter()
        theatre = Driver(system, bootstrap(), say, stopped)
        made = making.result()
        for (title, play), scene in zip(SCENARIOS, scenes, strict=True):
            say(f"[bold cyan]{title}[/]: {play.__doc__}")
            if not _played(theatre, made, scene, play, say):
                break
        peak.close()
        facts = {
            "the whole demo took": f"{time.monotonic() - began:.0f} s",
            "peak memory of all processes": f"{peak.bytes / 1e9:.1f} GB",
            "transactions": ", ".join(f"{name} {count:,}" for name, count in made.rows.items()),
        }
        _show(theatre, scenes, facts, console, as_json)
        if keep and not stopped.is_set():
            say("kept running: `fraudloop show fraud-5` explains the last run; Ctrl-C ends it")
            stopped.wait()
    return all(scene.held for scene in scenes)


def _played(theatre: Driver, made: files.DemoFiles, scene: ScenarioResult, play: object, say: object) -> bool:
    """False if nothing more can be played."""
    assert callable(play)
    assert callable(say)
    try:
        play(theatre, made, scene)
    except Interrupted as end:
        scene.promise("it was played to its end", False, end)
        return False
    except (TooSlow, FraudloopError, KeyError) as trouble:
        scene.promise("it was played to its end", False, f"{type(trouble).__name__}: {trouble}")
        return False
    say("[green]held[/]" if scene.held else "[bold red]did not hold[/]")
    return bool(theatre.champion())  # without one there is nothing to defend


def _show(
    theatre: Driver, scenes: list[ScenarioResult], facts: dict[str, str], console: Console, as_json: bool
) -> None:
    runs = [run for scene in scenes for run in scene.runs]
    histories = {run.id: list(theatre.app.store.history(run.id)) for run in runs}
    if as_json:
        print(json.dumps(summary.as_data(scenes, histories, facts), indent=1))
    else:
        console.print(summary.render(scenes, histories, facts))
