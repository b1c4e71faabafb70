"""`demo`, `up`, `down`: the whole system on this machine."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.connection import home
from cli.output import Json, Markup, console, emit, quoted
from local.state_dir import Endpoints
from local.system import ROOT, DidNotStart, Options, System

PANEL = "On this machine"
Config = Annotated[Path, typer.Option(help="The model registry.")]
THREE_THINGS = """
Three things to try, in another terminal:
  1. [bold]{python} -m training.synthetic --rows 200000 --fraud-rate 0.006 --out /tmp/day.csv[/]
     [bold]{fraudloop} land /tmp/day.csv && {fraudloop} start fraud[/]
     a day's transactions land, and a run begins
  2. [bold]{fraudloop} watch fraud-1[/], then [bold]{fraudloop} show fraud-1[/]
     what becomes of it, live; and how it is told to somebody who was asleep
  3. [bold]{fraudloop} night[/]
     what happens at 02:00 UTC: nothing new, so nothing begins, and that is on record
"""


def up(
    config: Config = ROOT / "fraudloop.toml",
    tick: Annotated[float, typer.Option(help="Seconds between two ticks (on AWS: 60).")] = 60.0,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when it is ready; `fraudloop down` stops it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start the local system and keep it running until Ctrl-C or `fraudloop down`.

    Real: the handlers, the pipelines, Triton. Stand-ins on loopback: AWS (moto), KFP's API, Argo CD's Application.
    """
    if detach:
        endpoints = _detach(config, tick)
        return _announce(endpoints, as_json)
    stopped = stop_on_signals()
    with System(home(), Options(config, tick), say=_say(as_json)) as system:
        _announce(system.endpoints, as_json)
        while not stopped.wait(1):
            if dead := system.dead():
                raise DidNotStart(f"{dead} has ended; its log is {system.home.logs / f'{dead}.log'}")
    return None


def down() -> None:
    """Stop the local system. One that does not run is no error."""
    folder = home()
    supervisor = folder.supervisor()
    process = supervisor.process() if supervisor else None
    if not folder.running() or process is None:
        console.print("no local system runs")
        return
    process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 90
    while folder.running():
        if time.monotonic() > until:
            process.kill()  # its parts are on a leash and end with it
        time.sleep(0.1)
    console.print("stopped")


def demo(
    rows: Annotated[int, typer.Option(help="Transactions in the first data set.")] = 200_000,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the system running afterwards.")] = False,
    as_json: Json = False,
) -> None:
    """Show the whole loop: files land, a model is trained, judged, deployed and asked; bad data and bad models are not.

    The exit status is 0 only if all of it held.
    """
    from local.demo import run_demo

    stopped = stop_on_signals()
    words = Console(highlight=False, width=console.width)  # the demo's words are its own, with markup in them
    held = run_demo(home(), rows=rows, console=words, stopped=stopped, keep=keep, as_json=as_json)
    if not held:
        raise typer.Exit(1)


def stop_on_signals() -> threading.Event:
    """An event that SIGINT, SIGTERM and SIGHUP set, instead of ending this process under its parts."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def _detach(config: Path, tick: float) -> Endpoints:
    folder = home()
    if folder.running():
        raise DidNotStart(f"a local system already runs in {folder.path}; `fraudloop down` stops it")
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    log = folder.path.with_name(f"{folder.path.name}-up.log")
    command = [sys.executable, "-m", "cli.main", "up", "--config", str(config), "--tick", str(tick)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"FRAUDLOOP_HOME": str(folder.path), "NO_COLOR": "1"},
            start_new_session=True,
        )
    while (endpoints := folder.endpoints()) is None:
        if process.poll() is not None:
            raise DidNotStart(log.read_text()[-3000:])
        time.sleep(0.1)
    return endpoints


def _announce(endpoints: Endpoints, as_json: bool) -> None:
    if as_json:
        return emit({"urls": dict(endpoints.urls), "environment": dict(endpoints.environment)})
    for name, url in endpoints.urls.items():
        console.print(f"  {name:<11} {url}")
    console.print(f"  {'logs':<11} {home().logs}")
    here = Path(sys.executable).parent
    things = THREE_THINGS.format(python=quoted(here / "python"), fraudloop=quoted(here / "fraudloop"))
    console.print(Markup(things), soft_wrap=True)
    return None


def _say(as_json: bool) -> Any:
    return (lambda _: None) if as_json else (lambda text: console.print(Markup(f"[dim]{quoted(text)} …[/]")))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (demo, up, down):
        app.command(rich_help_panel=PANEL)(command)
