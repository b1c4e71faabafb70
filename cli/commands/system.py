"""`demo`, `up`, `down`, `reset`: the whole system on this machine."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cli.connection import demo_home, home, running_home
from cli.console import KEY_FILE
from cli.output import Json, Markup, console, emit, quoted
from local import footprint
from local.argocd import served
from local.state_dir import AlreadyRunning, StateDir
from local.system import DEMO_CONFIG, DEMO_TICK, ROOT, DidNotStart, Stopped, System, SystemOptions
from statemachine.contracts.errors import Misconfigured
from statemachine.core.policy import parse
from statemachine.settings import read_registry

PANEL = "On this machine"
SERVING_SECONDS = 120.0  # until what served before serves again
THREE_THINGS = """
Three things to try, in another terminal:
  1. [bold]{python} -m training.synthetic --rows 200000 --fraud-rate 0.006 --out /tmp/day.csv[/]
     [bold]{fraudloop} land /tmp/day.csv && {fraudloop} start fraud[/]
     a day's transactions land, and a run begins
  2. [bold]{fraudloop} watch fraud-1[/], then [bold]{fraudloop} show fraud-1[/]
     its progress, live; and its summary for the person on call
  3. [bold]{fraudloop} night[/]
     what happens at 02:00 UTC: nothing new, so nothing begins, and that is on record
"""


def up(
    config: Annotated[Path | None, typer.Option(help="The model registry (default: fraudloop.toml).")] = None,
    tick: Annotated[float | None, typer.Option(help="Seconds between two ticks (default: 60, as on AWS).")] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when it is ready; `fraudloop down` stops it.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what it held, and begin empty.")] = False,
    of_demo: Annotated[bool, typer.Option("--demo", help="Go on with what the last `fraudloop demo` made.")] = False,
    as_json: Json = False,
) -> None:
    """Start the local system and keep it running until Ctrl-C or `fraudloop down`.

    It goes on with what it held when it was stopped or killed: runs, objects, the champion, and what serves. A part
    that dies is started again.

    Real: the handlers, the pipelines, Triton. Stand-ins on loopback: AWS (moto), KFP's API, Argo CD's Application.
    """
    folder = _demo_that_was() if of_demo else home()
    config = config or (DEMO_CONFIG if of_demo else ROOT / "fraudloop.toml")
    parse(read_registry(config), "s3://here")  # a mistake in it is told before anything starts
    tick = tick or (DEMO_TICK if of_demo else 60.0)
    if detach:
        _detach(folder, config, tick, fresh)
        _await_what_served(folder, threading.Event(), _say(as_json))
        return _announce(folder, as_json)
    stopped = stop_on_signals()
    try:
        with System(folder, SystemOptions(config, tick, fresh=fresh, console=True), _say(as_json), stopped) as system:
            _await_what_served(folder, stopped, _say(as_json))
            _announce(folder, as_json)
            while not stopped.wait(1):
                if system.failure:
                    raise DidNotStart(system.failure)
    except Stopped as early:
        console.print(Text(str(early)))
        raise typer.Exit(130) from early
    if not as_json:
        console.print("stopped; `fraudloop up` goes on from here")
    return None


def down() -> None:
    """Stop the local system; `fraudloop up` goes on from there. One that does not run is no error."""
    folder = running_home()
    supervisor = folder.supervisor()
    process = supervisor.process() if supervisor else None
    if not folder.running() or process is None:
        console.print("no local system runs")
        return
    process.send_signal(signal.SIGTERM)
    until = time.monotonic() + 90
    while folder.running():
        if time.monotonic() > until:
            process.kill()  # its parts die with their parent
        time.sleep(0.1)
    console.print(Text(f"stopped; what it held is in {folder.path}"), soft_wrap=True)


def reset(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove everything that local systems left: runs, models, objects, logs, the demo's too. None may run."""
    there = [folder for folder in (home(), demo_home()) if folder.path.exists()]
    for folder in there:
        if folder.running():
            raise AlreadyRunning(f"a local system runs in {folder.path}; `fraudloop down` stops it")
        size = footprint.on_disk(folder.path)
        if yes or typer.confirm(f"Remove {folder.path} ({size / 1e9:.2f} GB)?"):
            folder.remove()
            console.print(Text(f"removed {folder.path}"), soft_wrap=True)
    if not there:
        console.print("there is nothing to remove")


def demo(
    rows: Annotated[int, typer.Option(help="Transactions in the first data set.")] = 200_000,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the system running afterwards.")] = False,
    as_json: Json = False,
) -> None:
    """Show the whole loop: files land, a model is trained, judged, deployed and asked; bad data and bad models are not.

    The exit status is 0 only if all of it held. A slow machine is said to be slow, and that is all.
    """
    from local.demo import run_demo

    stopped = stop_on_signals()
    words = Console(highlight=False, width=console.width)  # the demo's words are its own, with markup in them
    try:
        held = run_demo(demo_home(), rows=rows, console=words, stopped=stopped, keep=keep, as_json=as_json)
    except Stopped as early:
        console.print(Text(str(early)))
        raise typer.Exit(130) from early
    if not held:
        raise typer.Exit(130 if stopped.is_set() and not keep else 1)


def stop_on_signals() -> threading.Event:
    """An event that SIGINT, SIGTERM and SIGHUP set, instead of ending this process under its parts."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def _demo_that_was() -> StateDir:
    if not demo_home().exists():
        raise Misconfigured("no demo has left anything here; `fraudloop demo` plays it")
    return demo_home()


def _detach(folder: StateDir, config: Path, tick: float, fresh: bool) -> None:
    if folder.running():
        raise DidNotStart(f"a local system already runs in {folder.path}; `fraudloop down` stops it")
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    log = folder.path.with_name(f"{folder.path.name}-up.log")
    command = [sys.executable, "-m", "cli.main", "up", "--config", str(config), "--tick", str(tick)]
    command += ["--fresh"] if fresh else []
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"FRAUDLOOP_HOME": str(folder.path), "NO_COLOR": "1"},
            start_new_session=True,
        )
    while folder.endpoints() is None:
        if process.poll() is not None:
            raise DidNotStart(log.read_text(errors="replace")[-3000:])
        time.sleep(0.1)


def _await_what_served(folder: StateDir, stopped: threading.Event, say: Any) -> None:
    """Wait until what served before serves again; what takes too long is said, and goes on by itself."""
    endpoints, version = folder.endpoints(), served.pointed(folder.path / "cluster")
    if not version or endpoints is None:
        return
    say(f"bringing {version} back to Triton")
    until = time.monotonic() + SERVING_SECONDS
    while not served.ready(endpoints.urls["triton"]) and not stopped.wait(0.2):
        if time.monotonic() > until:
            say(f"{version} does not serve yet; {folder.logs / 'cluster.log'} may say why")
            return


def _announce(folder: StateDir, as_json: bool) -> None:
    endpoints, supervisor = folder.endpoints(), folder.supervisor()
    assert endpoints is not None
    if as_json:
        return emit({"urls": dict(endpoints.urls), "environment": dict(endpoints.environment)})
    lines = dict(endpoints.urls) | {
        **_console(folder, endpoints.urls),
        "state": f"{folder.path} ({footprint.on_disk(folder.path) / 1e9:.2f} GB)",
        "logs": str(folder.logs),
        "memory": f"{footprint.memory(supervisor.pid if supervisor else 0) / 1e9:.2f} GB; more while a model trains",
        "to end it": "fraudloop down (and fraudloop reset removes all that it left)",
    }
    for name, value in lines.items():
        console.print(Text(f"  {name:<11} {value}"), soft_wrap=True)
    here = Path(sys.executable).parent
    commands = {name: quoted(shlex.quote(str(here / name))) for name in ("python", "fraudloop")}
    console.print(Markup(THREE_THINGS.format(**commands)), soft_wrap=True)
    return None


def _console(folder: StateDir, urls: Mapping[str, str]) -> dict[str, str]:
    """The address by which a browser enters the console; the key in it is in a file that only its owner reads."""
    key = folder.path / KEY_FILE
    return {"console": f"{urls['console']}/enter?key={key.read_text().strip()}"} if "console" in urls else {}


def _say(as_json: bool) -> Any:
    return (lambda _: None) if as_json else (lambda text: console.print(Text(f"{text} …", style="dim")))


def register(app: typer.Typer) -> None:
    """Add these commands."""
    for command in (demo, up, down, reset):
        app.command(rich_help_panel=PANEL)(command)
