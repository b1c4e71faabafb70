"""Runs one tritonserver of the stage's own pod on loopback: start, wait until it is ready, stop.

The binary is `tritonserver` on PATH, as in the serving image, or what `FRAUDLOOP_TRITONSERVER` names. The python
backend takes the first `python3` on PATH and passes paths to a shell without quotes (python_backend,
src/stub_launcher.cc). So the stage's own environment is taken off PATH, and paths are relative to the folder in which
the server runs.
"""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

from training.outcome import Permanent, Transient
from training.ports import LOOPBACK, free_port

BINARY = "FRAUDLOOP_TRITONSERVER"
MODELS = "models"
READY_SECONDS, STOP_SECONDS, ASK_SECONDS, PAUSE = 240.0, 20.0, 5.0, 0.1
LOG = logging.getLogger("fraudloop.shadow")
LOG_KEPT = 20_000  # characters
LONGEST_COMPLAINT = 600  # characters; the pod's log has the whole message
NOT_THEIRS = ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "FRAUDLOOP_LIVE_", "FRAUDLOOP_ENTITY_KEY")
# As in the serving image (docker/triton.Dockerfile). Threads of one library that spin slow down another's, and a second
# one of OpenBLAS makes nothing faster. Memory that a batch of 1,024 took is kept for the next, up to 128 MiB.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(128 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 — where Triton's own stubs put their shared memory
ERROR_LINE = re.compile(r"E\d{4} [^]]*\] |error: ")
OF_A_MODEL = re.compile(r"loading: |failed to load|failed to poll|failed to parse", re.I)


class DoesNotLoad(Exception):
    """The server does not load this repository; the message is the server's reason."""


class PodServer:
    """A tritonserver for one repository. `folder` is its own: log, link to the repository.

    `only` names the models to load; without it the server loads all of them and ends if one does not load.
    """

    def __init__(self, repository: Path, folder: Path, only: str = "") -> None:
        self.repository, self.folder, self.only = repository, folder, only
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`host:port` of its HTTP API."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def log(self) -> Path:
        """The server's output."""
        return self.folder / "triton.log"

    def start(self) -> None:
        """Start the process and return at once. Raises Permanent: the image has no tritonserver."""
        binary = os.environ.get(BINARY) or shutil.which("tritonserver")
        if not binary:
            raise Permanent(f"no tritonserver on PATH: the shadow stage runs on the serving image; or set {BINARY}")
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MODELS).symlink_to(self.repository.resolve(), target_is_directory=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [binary, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(os.environ),
                cwd=self.folder,  # and in our process group: what ends the stage ends its servers
            )

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return as soon as the server answers requests.

        Raises:
            DoesNotLoad: a model does not load.
            Transient: the server was killed, ended for another reason, or was not ready in time.
        """
        deadline = time.monotonic() + seconds
        while not self.ready():
            code = self._process.poll() if self._process else 0
            if code is not None:
                raise self._ended(code)
            if time.monotonic() > deadline:
                raise Transient(f"tritonserver was not ready within {seconds:.0f} s: {self.complaint()}")
            time.sleep(PAUSE)

    def ready(self) -> bool:
        """Whether the server and its models accept requests."""
        return answers_ready(self.address)

    def config(self, model: str) -> dict[str, Any]:
        """The model's configuration as the server has it."""
        return model_config(self.address, model)

    def complaint(self) -> str:
        """The server's reason in one line."""
        return complaint(self.log, LONGEST_COMPLAINT)

    def terminate(self) -> None:
        """Ask it to end, which takes Triton two seconds, and return at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Let it finish, then end it and its interpreters' shared memory. A second call does nothing."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for region in SHARED_MEMORY.glob(f"{self._region}*"):
            region.unlink(missing_ok=True)

    def __enter__(self) -> "PodServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _region(self) -> str:
        return f"fraudloop_{os.getpid()}_{self.port}_"

    def _options(self) -> list[str]:
        some = ["--model-control-mode=explicit", f"--load-model={self.only}"] if self.only else []
        return [
            f"--model-repository={MODELS}",
            f"--backend-config=python,shm-region-prefix-name={self._region}",
            f"--http-address={LOOPBACK}",
            f"--http-port={self.port}",
            "--allow-grpc=false",
            "--allow-metrics=false",
            "--disable-auto-complete-config",
            "--exit-on-error=true",
            "--exit-timeout-secs=5",
            *some,
        ]

    def _ended(self, code: int) -> Exception:
        """Killed from outside says nothing of the version; an end of its own once it read the models does."""
        log = self.log.read_text(errors="replace") if self.log.exists() else ""
        LOG.error("tritonserver ended with status %d; the end of its log:\n%s", code, log[-LOG_KEPT:])
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            return Transient("tritonserver was killed while it loaded: it may need more memory than the pod has")
        if OF_A_MODEL.search(log):
            how = f" (it died of {signal.Signals(-code).name})" if code < 0 else ""
            return DoesNotLoad(self.complaint() + how)
        return Transient(f"tritonserver ended with status {code} before it was ready: {self.complaint()}")


def answers_ready(address: str) -> bool:
    """Whether the server at `host:port` and its models accept requests."""
    try:
        with urllib.request.urlopen(f"http://{address}/v2/health/ready", timeout=ASK_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def model_config(address: str, model: str) -> dict[str, Any]:
    """A model's configuration as the server at `host:port` has it."""
    with urllib.request.urlopen(f"http://{address}/v2/models/{model}/config", timeout=ASK_SECONDS) as answer:
        config: dict[str, Any] = json.load(answer)
    return config


def complaint(log: Path, longest: int) -> str:
    """A server's reason in one line, preferably the model's own exception, from its log file."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return shorten(telling_line(text), longest, placeholder=" …")


def telling_line(log: str) -> str:
    """The line of a server's log that best explains its failure, without the stack trace."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(("|", "+"))]
    errors = [line for line in lines if ERROR_LINE.match(line) and "CudaDriverHelper" not in line]
    first = (errors or lines[-1:] or ["the log is empty"])[0]
    best = next((line for line in errors if "failed to load '" in line), first)
    return ERROR_LINE.sub("", best).split(r"\n\nAt:")[0].strip('"')


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """The pod's environment without the stage's own packages: the models take the serving image's.

    Nor does it name the online store: what is only tried must neither read nor count a payment.
    """
    kept = {name: value for name, value in given.items() if not name.startswith(NOT_THEIRS)}
    return ENVIRONMENT | kept
