"""Runs the scenarios on a fresh system and reports whether all assertions held."""

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
from local.system import DEMO_CONFIG, DEMO_TICK, System, SystemOptions
from statemachine.bootstrap import bootstrap
from statemachine.contracts.errors import FraudloopError

# On two cores that carry everything a payment may wait longer for the store, and of each one the request is logged.
LIVE = {"FRAUDLOOP_LIVE_DEADLINE_MS": "2000", "FRAUDLOOP_LIVE_SAMPLE_SHARE": "1"}
OPTIONS = SystemOptions(DEMO_CONFIG, DEMO_TICK, fresh=True, console=True, environment=LIVE)
AFTERWARDS = """
What it made stays in {state_dir} until the next demo. To look at it:
  fraudloop up --demo --detach   bring it back, with the version that serves
  fraudloop runs                 all runs
  fraudloop show fraud-5-r1      why one was rolled back
  fraudloop down                 stop it; and fraudloop reset removes it all
"""
Say = Callable[[str], object]
SEED = 7
FRAUD_RATE = 0.006  # five times the real file's rate, so that the test set has a few hundred frauds


def run_demo(
    state_dir: StateDir,
    *,
    rows: int,
    console: Console,
    stopped: threading.Event,
    keep: bool = False,
    as_json: bool = False,
) -> bool:
    """Run all scenarios; true if all assertions held. `keep` leaves the system running until `stopped` is set.

    The state of the last demo in `state_dir` is deleted; the state of this one stays there.
    """
    began, peak, results = time.monotonic(), Peak(), [ScenarioResult(title) for title, _ in SCENARIOS]
    quiet = Console(stderr=True, highlight=False) if as_json else console

    def say(text: str) -> None:
        line = Table.grid(Column(width=8, justify="right"), Column(overflow="fold"), padding=(0, 2, 0, 0))
        line.add_row(Text(f"{time.monotonic() - began:.1f} s", style="dim"), Text.from_markup(text))
        quiet.print(line)

    say(f"making {rows:,} synthetic transactions, and those that come later")
    making = ThreadPoolExecutor(1).submit(files.make, rows, SEED, FRAUD_RATE)
    with System(state_dir, OPTIONS, say, stopped) as system:
        system.endpoints.enter()
        driver = Driver(system, bootstrap(), say, stopped)
        interrupted = _play(driver, making.result(), results, say)
        peak.close()
        facts = _facts(time.monotonic() - began, peak.bytes, making.result())
        _show(driver, results, facts, console, as_json)
        if interrupted:
            done = sum(bool(result.assertions) for result in results)
            quiet.print(f"Interrupted; {done} of {len(results)} scenarios had run, completely or in part.")
        if keep and not stopped.is_set():
            say("kept running: `fraudloop show fraud-5-r1` explains the last run; Ctrl-C ends it")
            stopped.wait()
    quiet.print(Text(AFTERWARDS.format(state_dir=state_dir.path)), soft_wrap=True)
    return not interrupted and all(result.held for result in results)


def _play(driver: Driver, made: files.DemoFiles, results: Sequence[ScenarioResult], say: Say) -> bool:
    """Run the scenarios until one cannot be completed. Return whether the user interrupted them."""
    for (title, play), result in zip(SCENARIOS, results, strict=True):
        say(f"[bold cyan]{title}[/]: {play.__doc__}")
        try:
            play(driver, made, result)
        except Interrupted:
            return True
        except (Broken, TooSlow, FraudloopError, KeyError) as error:
            result.check("it ran to its end", False, f"{type(error).__name__}: {error}")
            return False
        say("[green]held[/]" if result.held else "[bold red]did not hold[/]")
        if not driver.champion():  # without a champion the next scenarios have nothing to compare with
            return False
    return False


def _facts(seconds: float, memory: int, made: files.DemoFiles) -> dict[str, str]:
    return {
        "the whole demo took": f"{seconds:.0f} s",
        "peak memory of all processes": f"{memory / 1e9:.1f} GB",
        "transactions": ", ".join(f"{name} {count:,}" for name, count in made.rows.items()),
    }


def _show(
    driver: Driver, results: list[ScenarioResult], facts: dict[str, str], console: Console, as_json: bool
) -> None:
    runs = [run for result in results for run in result.runs]
    histories = {run.id: list(driver.app.store.history(run.id)) for run in runs}
    if as_json:
        print(json.dumps(summary.as_data(results, histories, facts), indent=1))  # noqa: T201 — the result of `fraudloop demo --json`
    else:
        console.print(summary.render(results, histories, facts))
