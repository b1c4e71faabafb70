"""Runs the real tritonserver (CPU, python backend) of the nvidia-pytriton wheel as one process on loopback.

It is the server of a Triton image without its GPU backends, not a stand-in. Its python backend is an embedded
interpreter
that ignores PYTHONPATH and takes the environment of the first `python3` on PATH, so ours is first there.

The backend starts that interpreter by `bash -c " exec <stub> <model path> …"` without quotes (python_backend,
src/stub_launcher.cc, `StubLauncher::Launch`). A space in a path would end the path. So all paths that the server gets
are
relative to the folder in which it runs.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from local.process import end, spawn
from statemachine.contracts.errors import FraudloopError, Misconfigured
from training.ports import LOOPBACK, free_port
from training.shadow.server import BINARY, ENVIRONMENT, SHARED_MEMORY, answers_ready, complaint, model_config

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LONGEST_COMPLAINT = 400  # characters; the log has the whole message
MODELS, BACKENDS = "models", "backends"  # in the folder of a server
REGION = "fraudloop_"


class TritonFailed(FraudloopError):
    """The server ended, or was not ready in time; the message gives the reason and the log file."""


class Killed(TritonFailed):
    """The server was killed before it was ready, for example by the kernel's OOM killer. A caller may start another."""


class Triton:
    """A tritonserver for one model repository: start, wait until ready, stop. It ends when this process ends.

    `folder` holds the log and the backend directory. It answers over gRPC only if it is given a port for it.
    """

    def __init__(
        self, repository: Path, folder: Path, *, http_port: int = 0, metrics_port: int = 0, grpc_port: int = 0
    ) -> None:
        self.repository = repository
        self.folder = folder
        self.http_port = http_port or free_port()
        self.metrics_port = metrics_port or free_port()
        self.grpc_port = grpc_port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The base URL of its HTTP API."""
        return f"http://{LOOPBACK}:{self.http_port}"

    @property
    def log(self) -> Path:
        """The file with the output of the server and its models."""
        return self.folder / "triton.log"

    @property
    def alive(self) -> bool:
        """Whether the process runs. It may not be ready yet."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and return at once.

        Raises:
            Misconfigured: the wheel or a system library is missing; the message says what to install.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _link_backends(self.folder / BACKENDS)
        models = self.folder / MODELS
        models.unlink(missing_ok=True)
        models.symlink_to(self.repository.resolve(), target_is_directory=True)
        _remove_dead_regions()
        command = [str(installed() / "bin" / "tritonserver"), *self._options()]
        with self.log.open("ab") as log:
            self._process = spawn(command, log=log, environment=_environment(), folder=self.folder)

    def ready(self) -> bool:
        """Return whether the server and all its models accept requests."""
        return answers_ready(f"{LOOPBACK}:{self.http_port}")

    def wait_ready(self, seconds: float = 120.0, given_up: threading.Event | None = None) -> None:
        """Return as soon as the server is ready.

        Raises:
            TritonFailed: the server ended, `seconds` passed, or `given_up` was set.
            Killed: the server was killed.
        """
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.alive:
                raise self._end()
            if time.monotonic() > deadline:
                raise TritonFailed(f"tritonserver was not ready within {seconds:.0f} s: {self._complaint()}")
            if given_up is not None and given_up.is_set():
                raise TritonFailed("the start of this tritonserver was cancelled")
            time.sleep(0.05)

    def config(self, model: str) -> dict[str, Any]:
        """Return the model's configuration from the server (`/v2/models/<model>/config`)."""
        return model_config(f"{LOOPBACK}:{self.http_port}", model)

    def stop(self, seconds: float = 20.0) -> None:
        """Let the server finish its requests, then end it and its interpreters."""
        if self._process is None:
            return
        process, self._process = self._process, None
        end(process, seconds)
        # A killed interpreter leaves its shared memory behind.
        for region in SHARED_MEMORY.glob(f"{self._shared_memory}*"):
            region.unlink(missing_ok=True)

    def __enter__(self) -> "Triton":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _options(self) -> list[str]:
        grpc = [f"--grpc-address={LOOPBACK}", f"--grpc-port={self.grpc_port}"] if self.grpc_port else []
        return [
            f"--model-repository={MODELS}",
            f"--backend-directory={BACKENDS}",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory}",
            f"--http-address={LOOPBACK}",
            f"--http-port={self.http_port}",
            f"--metrics-address={LOOPBACK}",
            f"--metrics-port={self.metrics_port}",
            f"--allow-grpc={'true' if grpc else 'false'}",
            *grpc,
            "--allow-gpu-metrics=false",
            "--metrics-config=summary_latencies=true",  # as in deploy/triton: quantiles for the dashboard
            "--disable-auto-complete-config",
            "--exit-timeout-secs=5",
        ]

    def _end(self) -> TritonFailed:
        """Return the error for a server that ended before it was ready."""
        if self._process is not None and self._process.poll() == -signal.SIGKILL:
            return Killed("tritonserver was killed before it was ready")
        return TritonFailed(f"tritonserver ended before it was ready: {self._complaint()}")

    @property
    def _shared_memory(self) -> str:
        return f"{REGION}{os.getpid()}_{self.http_port}_"

    def _complaint(self) -> str:
        """Return the reason in one line, preferably the model's own exception, and the log file."""
        return f"{complaint(self.log, LONGEST_COMPLAINT)} (its log: {self.log})"


def program(folder: Path, faults: Path | None = None) -> dict[str, str]:
    """Write a `tritonserver` program that stands for the serving image's, and return the variable that names it.

    It runs the wheel's server as `Triton` does, for whoever starts it in a folder of its own: the shadow stage.
    `faults` is the file of `local.faults` that it obeys.
    """
    _link_backends(folder / BACKENDS)
    environment = _environment()
    spoil = ""
    if faults is not None:
        spoiling = f"PYTHONPATH={_quoted(Path(__file__).parents[1])} {_quoted(sys.executable)} -m local.faults"
        spoil = f"[ ! -f {_quoted(faults)} ] || {spoiling} {_quoted(faults)} {MODELS} || exit 1\n"
    script = folder / "tritonserver"
    script.write_text(
        f"#!/bin/sh\n{spoil}ln -sfn {_quoted(folder / BACKENDS)} {BACKENDS}\n"
        f"export PATH={_quoted(Path(sys.executable).parent)}:$PATH\n"
        f"export LD_LIBRARY_PATH={_quoted(environment['LD_LIBRARY_PATH'])}\n"
        f'exec {_quoted(installed() / "bin" / "tritonserver")} --backend-directory={BACKENDS} "$@"\n'
    )
    script.chmod(0o755)
    return {BINARY: str(script)}


def _quoted(path: object) -> str:
    return shlex.quote(str(path))


def installed() -> Path:
    """Return the folder of the wheel's tritonserver.

    Raises:
        Misconfigured: nvidia-pytriton is not installed, or has no interpreter for this Python.
    """
    package = find_spec("pytriton")
    if package is None or not package.submodule_search_locations:
        raise Misconfigured(
            "nvidia-pytriton is not installed: pip install --no-deps -r requirements/triton-server.lock"
        )
    server = Path(package.submodule_search_locations[0]) / "tritonserver"
    if not _stub(server).exists():
        raise Misconfigured(f"nvidia-pytriton has no python backend for Python {PYTHON}; use 3.11 or 3.12")
    return server


def missing_system_library() -> str:
    """Return what to install before Triton can start, as one sentence; "" if nothing is missing."""
    name = f"libpython{PYTHON}.so.1.0"
    if _library_folder() or name in _system_libraries():
        return ""
    return f"Triton's python backend needs {name} (Debian: apt-get install libpython{PYTHON})"


def _stub(server: Path) -> Path:
    return server / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"


def _link_backends(backends: Path) -> None:
    """Link the wheel's backend into an own directory, so that several servers can start at once."""
    shutil.rmtree(backends, ignore_errors=True)
    python = backends / "python"
    python.mkdir(parents=True)
    server = installed()
    for part in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (python / part).symlink_to(server / "backends" / "python" / part)
    (python / "triton_python_backend_stub").symlink_to(_stub(server))


def _remove_dead_regions() -> None:
    """Remove the shared memory of servers whose parent was killed."""
    for region in SHARED_MEMORY.glob(f"{REGION}*"):
        owner = region.name.removeprefix(REGION).split("_")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            region.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    missing = missing_system_library()
    if missing:
        raise Misconfigured(missing)
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    libraries = [str(_library_folder() or ""), environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    return ENVIRONMENT | environment


def _library_folder() -> Path | None:
    """Return the folder of this interpreter's shared library, if it has one."""
    folder = sysconfig.get_config_var("LIBDIR")
    found = folder and (Path(folder) / f"libpython{PYTHON}.so.1.0").exists()
    return Path(folder) if found else None


def _system_libraries() -> str:
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    return subprocess.run([ldconfig, "-p"], capture_output=True, text=True).stdout if ldconfig else ""
