"""The whole system on one machine: starts its processes in order, supervises them, and ends all of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.aws import resources
from local.aws.resources import ARTIFACTS, CREDENTIALS
from local.faults import FILE, OF_SHADOW, Faults
from local.process import answers, end, listens, spawn
from local.state_dir import FOREIGN, Endpoints, StateDir
from local.supervised import Supervisor
from local.triton import missing_system_library, program
from local.valkey import STORE, entity_key, pings
from statemachine import settings
from statemachine.contracts import paths
from training.live.settings import variable
from training.ports import free_port

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = ROOT / "build" / "pipelines"
READY_SECONDS = 60.0
DEMO_CONFIG = Path(__file__).with_name("demo") / "fraudloop.toml"  # the demo closes windows within seconds
DEMO_TICK = 2.0  # seconds
LOG_LINES = variable("log_lines")
DIRECT = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}

# The module that each part runs, by the part's name.
PROGRAMS = {
    "cloud": "local.aws.server",
    "store": "local.valkey",
    "kfp": "local.kfp",
    "cluster": "local.argocd.server",
    "dispatcher": "local.aws.dispatcher",
    "console": "cli.console",
    "scores": "training.scorelog.archive",
}

Say = Callable[[str], object]


class DidNotStart(Exception):
    """A part ended or did not answer in time; the message contains the end of its log."""


class Stopped(DidNotStart):
    """The start was interrupted before all parts answered."""


@dataclass(frozen=True)
class SystemOptions:
    """The options of a system: its fraudloop.toml `config`, seconds between ticks, `fresh` to delete its state,
    `console` to serve the web console too.

    For tests and benchmarks: `parallelism` is the number of pods that KFP runs at once, `environment` adds variables to
    every part. `wire` inserts a proxy in front of the AWS stand-in: it maps the real URL to the URL given to all parts.
    """

    config: Path = ROOT / "fraudloop.toml"
    tick_seconds: float = 60.0
    model: str = "fraud"
    fresh: bool = False
    console: bool = False
    definitions: Path = PIPELINES / "definitions.json"
    parallelism: int = 4
    environment: Mapping[str, str] = field(default_factory=dict)
    wire: Callable[[str], str] = str


@dataclass
class System:
    """A running system: its processes and endpoints. Use it as a context manager.

    It continues with the state in its folder. A part that ends is restarted (`local.supervised`), until `failure` gives
    the
    reason to stop. `stopped` interrupts the start.
    """

    state_dir: StateDir
    options: SystemOptions = field(default_factory=SystemOptions)
    say: Say = lambda _: None
    stopped: threading.Event = field(default_factory=threading.Event)
    endpoints: Endpoints = field(default_factory=lambda: Endpoints({}, {}))
    _parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _orders: dict[str, tuple[Sequence[str], str, Mapping[str, str]]] = field(default_factory=dict)
    _part_status: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._supervisor = Supervisor(self, self._note)

    def __enter__(self) -> "System":
        self.state_dir.take(self.options.fresh)
        try:
            self.faults.clear()
            self.shadow_faults.clear()
            self._start()
        except BaseException:
            self.stop()
            raise
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def faults(self) -> Faults:
        """The faults that can be injected into the cluster's pods."""
        return Faults(self.state_dir.path / "cluster" / FILE)

    @property
    def shadow_faults(self) -> Faults:
        """The same for the pods of the shadow stage."""
        return Faults(self.state_dir.path / "kfp" / OF_SHADOW)

    @property
    def failure(self) -> str:
        """Why the system must end: a part died too often, with the end of its log; "" while it runs."""
        if not self._supervisor.failure:
            return ""
        part = self._supervisor.failure.split()[0]
        return f"{self._supervisor.failure}; its log is {self._log(part)} and ends so:\n{self._tail(part)}"

    def names(self) -> Sequence[str]:
        """Return the parts in the order of their start."""
        return list(self._parts)

    def pid(self, part: str) -> int:
        """Return a part's process id, for tests that kill it."""
        return self._parts[part].pid

    def ended(self, part: str) -> str:
        """Return how a part ended by itself; "" while it runs."""
        status = self._parts[part].poll()
        if status is None:
            return ""
        return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    def revive(self, part: str) -> str:
        """Restart a part that has ended. It continues with its state on disk. Return the error, if any."""
        self._part_status[part]["deaths"] += 1
        self._part_status[part]["last_death"] = {"at": time.time(), "how": self.ended(part)}
        end(self._parts[part])
        try:
            self._run(part, *self._orders[part])
        except DidNotStart as error:
            return str(error)
        return ""

    def stop(self) -> None:
        """End the parts in the reverse order of their start, and release the folder."""
        self._supervisor.stop()
        for process in reversed(self._parts.values()):
            end(process, grace=15)
        self._parts.clear()
        self.state_dir.leave()

    def _start(self) -> None:
        if lacks := missing_system_library():
            raise DidNotStart(lacks)
        urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("aws", "kfp", "kubernetes", "triton", "lambda")}
        urls["store"] = f"{STORE}127.0.0.1:{free_port()}"
        self._run("cloud", [_port(urls["aws"]), str(self.state_dir.path / "cloud")], urls["aws"], _basic(urls))
        urls["aws"] = self.options.wire(urls["aws"])
        made = resources.find(urls["aws"]).environment()
        server = program(self.state_dir.path / "tritonserver", self.state_dir.path / "kfp" / OF_SHADOW)
        environment = {**_basic(urls), **server, **self.options.environment, **made, **self._settings(urls)}
        settings.read(environment)  # reports an error in the model registry once, instead of in each handler
        self._run("store", [_port(urls["store"]), str(self._store)], urls["store"], environment)
        kfp = ["--port", _port(urls["kfp"]), "--state", str(self.state_dir.path / "kfp")]
        kfp += ["--parallelism", str(self.options.parallelism)]
        self._run("kfp", kfp, urls["kfp"] + "/apis/v2beta1/healthz", environment)
        models = paths.versions_folder(f"s3://{ARTIFACTS}", self.options.model)
        cluster = [str(self.state_dir.path / "cluster"), models, _port(urls["kubernetes"]), _port(urls["triton"])]
        self._run("cluster", cluster, urls["kubernetes"] + "/healthz", environment)
        self._publish(environment)
        dispatcher = [_port(urls["lambda"]), str(self.state_dir.logs), str(self.options.tick_seconds)]
        self._run("dispatcher", dispatcher, urls["lambda"], environment)
        scores = ["--model", self.options.model, "--root", f"s3://{ARTIFACTS}"]
        self._run("scores", scores, "", environment)
        if self.options.console:
            urls["console"] = f"http://127.0.0.1:{free_port()}"
            folder = str(self.state_dir.path)
            self._run("console", [_port(urls["console"]), folder], urls["console"] + "/healthz", environment)
        self.endpoints = Endpoints(urls, _ours(environment))
        self.state_dir.publish(self.endpoints)

    def _publish(self, environment: Mapping[str, str]) -> None:
        """Upload the compiled pipelines, as `fraudloop publish` does to a real KFP."""
        self.say("publishing the pipelines")
        with (self.state_dir.logs / "publish.log").open("ab") as log:
            command = [sys.executable, "-m", "training.pipelines.publish", str(self.options.definitions.parent)]
            done = subprocess.run(command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise DidNotStart(f"the pipelines could not be published:\n{self._tail('publish')}")

    def _settings(self, urls: Mapping[str, str]) -> dict[str, str]:
        return {
            "FRAUDLOOP_CONFIG": str(self.options.config.resolve()),
            "FRAUDLOOP_DEFINITIONS": str(self.options.definitions),
            "FRAUDLOOP_KFP_URL": urls["kfp"],
            "FRAUDLOOP_KFP_EXPERIMENT": "fraudloop",
            "FRAUDLOOP_KFP_NAMESPACE": "kubeflow",
            "KUBERNETES_API_URL": urls["kubernetes"],
            "FRAUDLOOP_LIVE_URL": urls["store"],
            "FRAUDLOOP_ENTITY_KEY": entity_key(self._store),
        }

    def _run(self, name: str, arguments: Sequence[str], ready: str, environment: Mapping[str, str]) -> None:
        """Start a part's program and wait until it answers at `ready`, with any status; nobody asks a part at "".

        An answer counts only if the part itself listens there: its port may be another program's.
        """
        if name not in self._orders:
            self.say(f"starting {name}")
        self._orders[name] = (arguments, ready, environment)
        with self._log(name).open("ab") as log:
            command = [sys.executable, "-m", PROGRAMS[name], *arguments]
            process = spawn(command, log=log, environment=environment, folder=ROOT)
        self._parts[name] = process
        self.state_dir.record(
            {"supervisor": os.getpid()} | {n: p.pid for n, p in self._parts.items() if p.poll() is None}
        )
        self._await(name, process, ready)
        status = self._part_status.setdefault(name, {"deaths": 0})
        status |= {"pid": process.pid, "since": time.time()}
        self.state_dir.record_status(self._part_status)

    def _await(self, name: str, process: subprocess.Popen[bytes], ready: str) -> None:
        until = time.monotonic() + READY_SECONDS
        asked = pings if ready.startswith(STORE) else answers
        while ready and not (asked(ready) and listens(process.pid, ready)):
            if self.stopped.is_set() or self._supervisor.stopping.is_set():
                raise Stopped(f"stopped while {name} was starting")
            if process.poll() is not None or time.monotonic() > until:
                how = f"ended with status {process.returncode}" if process.poll() is not None else "does not answer"
                end(process)
                raise DidNotStart(f"{name} {how}; its log ends so:\n{self._tail(name)}")
            time.sleep(0.05)

    def _note(self, text: str) -> None:
        """Print a line about a part, and append it to a log."""
        self.say(text)
        with (self.state_dir.logs / "system.log").open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")

    @property
    def _store(self) -> Path:
        return self.state_dir.path / "store"

    def _log(self, name: str) -> Path:
        return self.state_dir.logs / f"{name}.log"

    def _tail(self, name: str) -> str:
        return self._log(name).read_text(errors="replace")[-3000:]


def _basic(urls: Mapping[str, str]) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN) and not k.lower().endswith("_proxy")}
    return (
        inherited
        | CREDENTIALS
        | {
            "AWS_ENDPOINT_URL": urls["aws"],
            "AWS_ENDPOINT_URL_LAMBDA": urls["lambda"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "PYTHONUNBUFFERED": "1",
            **DIRECT,
            LOG_LINES: os.environ.get(LOG_LINES, ""),
            "OMP_WAIT_POLICY": "passive",  # torch and XGBoost share two cores: with spinning threads, ten times slower
        }
    )


def _ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a client of the system needs."""
    return {k: v for k, v in environment.items() if k.startswith(FOREIGN) or k in DIRECT}


def _port(url: str) -> str:
    return url.rsplit(":", 1)[-1]
