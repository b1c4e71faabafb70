"""The real tritonserver (CPU, python backend) that the nvidia-pytriton wheel carries, as one process on loopback.

Not a stand-in: the same server that a Triton image runs, without its GPU backends. Its python backend is an embedded
interpreter that ignores PYTHONPATH and takes the environment of the first `python3` on PATH: we put ours there. It
starts that interpreter by an unquoted `bash -c` line (python_backend, `stub_launcher.cc`), where a space in a path ends
the path: so all paths that it gets are relative to the folder in which it runs.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Any

import psutil

from local.process import end, free_port, spawn
from statemachine.contracts.errors import FraudloopError, Misconfigured

LOOPBACK = "127.0.0.1"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
LONGEST_COMPLAINT = 400  # characters; the log has the rest
MODELS, BACKENDS = "models", "backends"  # within the folder of a server
SHARED_MEMORY, REGION = Path("/dev/shm"), "fraudloop_"  # noqa: S108 — where Triton's own stubs put their shared memory
ERROR_LINE = re.compile(r"E\d{4} [^]]*\] |error: ")
ASK_SECONDS = 5.0


class TritonFailed(FraudloopError):
    """The server ended, or was not ready in time; the message says why and names its log."""


class Killed(TritonFailed):
    """It was killed before it was ready, as the kernel does when memory is short; whoever runs pods starts another."""


class Triton:
    """A tritonserver over one model repository: start, wait until it is ready, stop. It cannot outlive this process.

    `folder` receives the log and the backend directory.
    """

    def __init__(self, repository: Path, folder: Path, *, http_port: int = 0, metrics_port: int = 0) -> None:
        self.repository = repository
        self.folder = folder
        self.http_port = http_port or free_port()
        self.metrics_port = metrics_port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers HTTP, without a path."""
        return f"http://{LOOPBACK}:{self.http_port}"

    @property
    def log(self) -> Path:
        """What the server and its models print."""
        return self.folder / "triton.log"

    @property
    def alive(self) -> bool:
        """Whether the process runs; ready is more."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and return at once.

        Raises:
            Misconfigured: the wheel or a system library is missing; says what to install.
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
        """Whether the server and all of its models take requests."""
        try:
            with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=ASK_SECONDS) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def wait_ready(self, seconds: float = 120.0, given_up: threading.Event | None = None) -> None:
        """Return as soon as it is ready.

        Raises:
            TritonFailed: it ended, `seconds` went by, or `given_up` was set meanwhile.
            Killed: it was killed.
        """
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.alive:
                raise self._end()
            if time.monotonic() > deadline:
                raise TritonFailed(f"tritonserver was not ready within {seconds:.0f} s: {self._complaint()}")
            if given_up is not None and given_up.is_set():
                raise TritonFailed("nobody waits for this tritonserver any more")
            time.sleep(0.05)

    def config(self, model: str) -> dict[str, Any]:
        """The model's configuration as the server sees it (`/v2/models/<model>/config`)."""
        with urllib.request.urlopen(f"{self.url}/v2/models/{model}/config", timeout=ASK_SECONDS) as answer:
            config: dict[str, Any] = json.load(answer)
        return config

    def stop(self, seconds: float = 20.0) -> None:
        """Let it finish what it is answering, then end it and the interpreters that it started."""
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
        return [
            f"--model-repository={MODELS}",
            f"--backend-directory={BACKENDS}",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory}",
            f"--http-address={LOOPBACK}",
            f"--http-port={self.http_port}",
            f"--metrics-address={LOOPBACK}",
            f"--metrics-port={self.metrics_port}",
            "--allow-grpc=false",
            "--allow-gpu-metrics=false",
            "--metrics-config=summary_latencies=true",  # as in deploy/triton: quantiles for the dashboard
            "--disable-auto-complete-config",
            "--exit-timeout-secs=5",
        ]

    def _end(self) -> TritonFailed:
        """Why it ended before it was ready."""
        if self._process is not None and self._process.poll() == -signal.SIGKILL:
            return Killed("tritonserver was killed before it was ready")
        return TritonFailed(f"tritonserver ended before it was ready: {self._complaint()}")

    @property
    def _shared_memory(self) -> str:
        return f"{REGION}{os.getpid()}_{self.http_port}_"

    def _complaint(self) -> str:
        """What went wrong in one line, the model's own exception if there was one, and where the log is."""
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"{shorten(telling_line(log), LONGEST_COMPLAINT, placeholder=' …')} (its log: {self.log})"


def telling_line(log: str) -> str:
    """The one line of a server's log that tells best why it failed, without the model's stack."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(("|", "+"))]
    errors = [line for line in lines if ERROR_LINE.match(line) and "CudaDriverHelper" not in line]
    first = (errors or lines[-1:] or ["the log is empty"])[0]
    best = next((line for line in errors if "failed to load '" in line), first)
    return ERROR_LINE.sub("", best).split(r"\n\nAt:")[0].strip('"')


def installed() -> Path:
    """The folder of the wheel's tritonserver.

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
    """What a person has to install before Triton can start here, as one sentence; "" if nothing."""
    name = f"libpython{PYTHON}.so.1.0"
    if _library_folder() or name in _system_libraries():
        return ""
    return f"Triton's python backend needs {name} (Debian: apt-get install libpython{PYTHON})"


def _stub(server: Path) -> Path:
    return server / "python_backend_stubs" / PYTHON / "triton_python_backend_stub"


def _link_backends(backends: Path) -> None:
    """A backend directory of links into the wheel, so that several servers can start at once and it stays as it is."""
    shutil.rmtree(backends, ignore_errors=True)
    python = backends / "python"
    python.mkdir(parents=True)
    server = installed()
    for part in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (python / part).symlink_to(server / "backends" / "python" / part)
    (python / "triton_python_backend_stub").symlink_to(_stub(server))


def _remove_dead_regions() -> None:
    """Free the shared memory of servers whose starter was killed, and could not."""
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
    # Spinning threads of one library starve the other one's: https://github.com/dmlc/xgboost/issues/3815
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    return environment


def _library_folder() -> Path | None:
    """Where this very interpreter keeps its shared library, if it has one."""
    folder = sysconfig.get_config_var("LIBDIR")
    found = folder and (Path(folder) / f"libpython{PYTHON}.so.1.0").exists()
    return Path(folder) if found else None


def _system_libraries() -> str:
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    return subprocess.run([ldconfig, "-p"], capture_output=True, text=True).stdout if ldconfig else ""
