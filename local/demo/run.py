"""Plays the scenarios on a fresh system and says whether all of it held."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from local.demo import files, summary
from local.demo.driver import Broken, Driver, Interrupted, TooSlow
from local.demo.memory import Peak
from local.demo.scenarios import SCENARIOS, ScenarioResult
from local.state_dir import StateDir
from local.system import DEMO_CONFIG, DEMO_TICK, Options, System
from statemachine.bootstrap import bootstrap
from statemachine.contracts.errors import FraudloopError

CONFIG, TICK = DEMO_CONFIG, DEMO_TICK
AFTERWARDS = """
What it made stays in {home} until the next demo. To look at it:
  fraudloop up --demo --detach   bring it back, with the version that serves
  fraudloop runs                 all runs
  fraudloop show fraud-5         why the last one was rolled back
  fraudloop down                 stop it; and fraudloop reset removes it all
"""
Say = Callable[[str], object]
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
    """Play everything; true if all promises held. `keep` leaves the system running until `stopped` is set.

    What the last demo left in `home` is forgotten; what this one makes stays there.
    """
    began, peak, scenes = time.monotonic(), Peak(), [ScenarioResult(title) for title, _ in SCENARIOS]
    quiet = Console(stderr=True, highlight=False) if as_json else console

    def say(text: str) -> None:
        line = Table.grid(Column(width=8, justify="right"), Column(overflow="fold"), padding=(0, 2, 0, 0))
        line.add_row(Text(f"{time.monotonic() - began:.1f} s", style="dim"), Text.from_markup(text))
        quiet.print(line)

    say(f"making {rows:,} synthetic transactions, and those that come later")
    making = ThreadPoolExecutor(1).submit(files.make, rows, SEED, FRAUD_RATE)
    with System(home, Options(CONFIG, TICK, fresh=True), say, stopped) as system:
        system.endpoints.enter()
        theatre = Driver(system, bootstrap(), say, stopped)
        interrupted = _play(theatre, making.result(), scenes, say)
        peak.close()
        facts = _facts(time.monotonic() - began, peak.bytes, making.result())
        _show(theatre, scenes, facts, console, as_json)
        if interrupted:
            done = sum(bool(scene.promises) for scene in scenes)
            quiet.print(f"Interrupted; {done} of {len(scenes)} scenarios had been played, to the end or in part.")
        if keep and not stopped.is_set():
            say("kept running: `fraudloop show fraud-5` explains the last run; Ctrl-C ends it")
            stopped.wait()
    quiet.print(Text(AFTERWARDS.format(home=home.path)), soft_wrap=True)
    return not interrupted and all(scene.held for scene in scenes)


def _play(theatre: Driver, made: files.DemoFiles, scenes: Sequence[ScenarioResult], say: Say) -> bool:
    """Play one scenario after the other, until one cannot be played to its end. True if somebody interrupted it."""
    for (title, play), scene in zip(SCENARIOS, scenes, strict=True):
        say(f"[bold cyan]{title}[/]: {play.__doc__}")
        try:
            play(theatre, made, scene)
        except Interrupted:
            return True
        except (Broken, TooSlow, FraudloopError, KeyError) as trouble:
            scene.promise("it was played to its end", False, f"{type(trouble).__name__}: {trouble}")
            return False
        say("[green]held[/]" if scene.held else "[bold red]did not hold[/]")
        if not theatre.champion():  # without one there is nothing to defend
            return False
    return False


def _facts(seconds: float, memory: int, made: files.DemoFiles) -> dict[str, str]:
    return {
        "the whole demo took": f"{seconds:.0f} s",
        "peak memory of all processes": f"{memory / 1e9:.1f} GB",
        "transactions": ", ".join(f"{name} {count:,}" for name, count in made.rows.items()),
    }


def _show(
    theatre: Driver, scenes: list[ScenarioResult], facts: dict[str, str], console: Console, as_json: bool
) -> None:
    runs = [run for scene in scenes for run in scene.runs]
    histories = {run.id: list(theatre.app.store.history(run.id)) for run in runs}
    if as_json:
        print(json.dumps(summary.as_data(scenes, histories, facts), indent=1))  # noqa: T201 — the result of `fraudloop demo --json`
    else:
        console.print(summary.render(scenes, histories, facts))
