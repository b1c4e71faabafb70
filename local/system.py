"""The whole system on one machine: which processes it has, in which order they start, and that all of them end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.aws import resources
from local.aws.resources import ARTIFACTS, CREDENTIALS
from local.faults import FILE, Faults
from local.process import answers, end, free_port, spawn
from local.state_dir import FOREIGN, Endpoints, StateDir
from local.triton import missing_system_library
from statemachine import settings

ROOT = Path(__file__).resolve().parents[1]
PIPELINES = ROOT / "build" / "pipelines"
READY_SECONDS = 60.0
DIRECT = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}

Say = Callable[[str], object]


class DidNotStart(Exception):
    """A part ended or did not answer in time; the message carries the end of its log."""


@dataclass(frozen=True)
class Options:
    """How a system is run. `config` is its fraudloop.toml; the tick comes each `tick_seconds`.

    For tests and figures: `parallelism` is how many pods KFP has room for, `environment` what the parts are given
    besides, and `wire` puts something before the cloud: given its URL, it gives the one that everybody is told.
    """

    config: Path = ROOT / "fraudloop.toml"
    tick_seconds: float = 60.0
    model: str = "fraud"
    definitions: Path = PIPELINES / "definitions.json"
    parallelism: int = 4
    environment: Mapping[str, str] = field(default_factory=dict)
    wire: Callable[[str], str] = str


@dataclass
class System:
    """A running system: its processes and where they answer. Use it as a context manager."""

    home: StateDir
    options: Options = field(default_factory=Options)
    say: Say = lambda _: None
    endpoints: Endpoints = field(default_factory=lambda: Endpoints({}, {}))
    _parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _orders: dict[str, tuple[Sequence[str], str, Mapping[str, str]]] = field(default_factory=dict)

    def __enter__(self) -> "System":
        self.home.take()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def faults(self) -> Faults:
        """What may be broken on purpose."""
        return Faults(self.home.path / "cluster" / FILE)

    def dead(self) -> str:
        """The name of a part that has ended by itself; "" while all run."""
        return next((name for name, process in self._parts.items() if process.poll() is not None), "")

    def pid(self, part: str) -> int:
        """A part's process number, for those who want to kill it."""
        return self._parts[part].pid

    def ended(self, part: str) -> bool:
        """The part has ended by itself."""
        return self._parts[part].poll() is not None

    def restart(self, part: str) -> None:
        """Start a part that has ended as it was started; it finds what it kept on disk (the cloud keeps nothing)."""
        end(self._parts[part])
        self._run(part, *self._orders[part])

    def stop(self) -> None:
        """End the parts in the reverse order of their start, and leave the folder to the next."""
        for process in reversed(self._parts.values()):
            end(process, grace=15)
        self._parts.clear()
        self.home.leave()

    def _start(self) -> None:
        if lacks := missing_system_library():
            raise DidNotStart(lacks)
        urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("aws", "kfp", "kubernetes", "triton", "lambda")}
        self._run("cloud", [_port(urls["aws"])], urls["aws"], _basic(urls))
        urls["aws"] = self.options.wire(urls["aws"])
        made = resources.create(urls["aws"]).environment()
        environment = {**_basic(urls), **self.options.environment, **made, **self._settings(urls)}
        settings.read(environment)  # a mistake in the registry is told now, not by each handler
        kfp = ["--port", _port(urls["kfp"]), "--state", str(self.home.path / "kfp")]
        kfp += ["--parallelism", str(self.options.parallelism)]
        self._run("kfp", kfp, urls["kfp"] + "/apis/v2beta1/healthz", environment)
        models = f"s3://{ARTIFACTS}/models/{self.options.model}"
        cluster = [str(self.home.path / "cluster"), models, _port(urls["kubernetes"]), _port(urls["triton"])]
        self._run("cluster", cluster, urls["kubernetes"] + "/healthz", environment)
        self._publish(environment)
        dispatcher = [_port(urls["lambda"]), str(self.home.logs), str(self.options.tick_seconds)]
        self._run("dispatcher", dispatcher, urls["lambda"], environment)
        self.endpoints = Endpoints(urls, _ours(environment))
        self.home.publish(self.endpoints)

    def _publish(self, environment: Mapping[str, str]) -> None:
        """Upload the compiled pipelines, as `fraudloop publish` does against a real KFP."""
        self.say("publishing the pipelines")
        with (self.home.logs / "publish.log").open("ab") as log:
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
        }

    def _run(self, name: str, arguments: Sequence[str], ready: str, environment: Mapping[str, str]) -> None:
        """Start the program `local.<name>` and wait until it answers at `ready`, with anything."""
        self._orders[name] = (arguments, ready, environment)
        self.say(f"starting {name}")
        with (self.home.logs / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", f"local.{name}", *arguments]
            process = spawn(command, log=log, environment=environment, folder=ROOT)
        self._parts[name] = process
        self.home.record({"supervisor": os.getpid()} | {n: p.pid for n, p in self._parts.items() if p.poll() is None})
        until = time.monotonic() + READY_SECONDS
        while not answers(ready):
            if process.poll() is not None or time.monotonic() > until:
                how = f"ended with status {process.returncode}" if process.poll() is not None else "does not answer"
                raise DidNotStart(f"{name} {how}; its log ends so:\n{self._tail(name)}")
            time.sleep(0.05)

    def _tail(self, name: str) -> str:
        return (self.home.logs / f"{name}.log").read_text(errors="replace")[-3000:]


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
            "OMP_WAIT_POLICY": "passive",  # the threads of torch and XGBoost share two cores: spinning costs ten times
        }
    )


def _ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Of an environment what a client of the system needs."""
    return {k: v for k, v in environment.items() if k.startswith(FOREIGN) or k in DIRECT}


def _port(url: str) -> str:
    return url.rsplit(":", 1)[-1]
