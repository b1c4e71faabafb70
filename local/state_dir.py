"""The state folder of a local system: who runs it, what runs in it, and where its endpoints are."""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from local.process import Identity, sweep
from statemachine.contracts.errors import Misconfigured

FOLDER = ".fraudloop"
DEMO = "-demo"  # what the demo's folder is called beyond that
FORMAT = {"format": 1, "moto": version("moto")}  # of what lies in the folder; moto's own records are part of it
OF_A_LIFE = ("endpoints.json", "processes.json", "parts.json")  # files that mean nothing once the system is over
LONG_LOG = 10_000_000  # bytes; a longer one is set aside when a system starts
# What of a caller's environment would lead the system's processes and clients astray: another account, another cluster.
FOREIGN = ("AWS_", "FRAUDLOOP_", "KUBERNETES_", "KF_PIPELINES_")


class AlreadyRunning(Exception):
    """Another process runs a local system in this folder."""


class LeftByAnotherVersion(Misconfigured):
    """The folder's content was written by another version of fraudloop or moto."""


@dataclass(frozen=True)
class Endpoints:
    """Where a running system answers. `environment` is what its handlers, stages and clients are given."""

    urls: Mapping[str, str]
    environment: Mapping[str, str]

    def enter(self) -> None:
        """Make this process a client of the system, and of no other: an AWS profile must not reach into it."""
        for name in [name for name in os.environ if name.startswith(FOREIGN)]:
            del os.environ[name]
        os.environ.update(self.environment)


class StateDir:
    """The folder `path`. Whoever holds the lock on it runs the system; the kernel frees it when he dies."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self._lock: int | None = None

    # -- for the one who runs it ----------------------------------------------------------------------------------

    def take(self, fresh: bool = False) -> None:
        """Lock the folder and end what a killed predecessor may have left; its state stays, unless it begins `fresh`.

        Raises:
            AlreadyRunning: somebody holds the lock.
            LeftByAnotherVersion: the state cannot be read.
        """
        self._lock_folder()
        for identity in self._recorded().values():
            if identity.pid != os.getpid():
                sweep(identity)
        try:
            self._make_ready(fresh)
        except LeftByAnotherVersion:
            self.leave()
            raise
        self.record({"supervisor": os.getpid()})

    def _make_ready(self, fresh: bool) -> None:
        if fresh or not self.exists():
            self._empty()
            self._write("format.json", FORMAT)
        if (found := self._read("format.json")) != FORMAT:
            raise LeftByAnotherVersion(
                f"{self.path} was left by another version ({found}, now {FORMAT}): `fraudloop up --fresh` begins anew"
            )
        for name in OF_A_LIFE:
            (self.path / name).unlink(missing_ok=True)
        self.logs.mkdir(exist_ok=True)
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LONG_LOG:
                log.replace(log.with_suffix(".log.1"))

    def _lock_folder(self) -> None:
        self._refuse_foreign_files()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            owner = self.supervisor()
            raise AlreadyRunning(
                f"a local system already runs in {self.path} (process {owner and owner.pid})"
            ) from None
        self._lock = lock

    def record(self, pids: Mapping[str, int]) -> None:
        """Write down who runs, so that a successor can end them."""
        who = {name: asdict(Identity.of(pid)) for name, pid in pids.items()}
        self._write("processes.json", who)

    def publish(self, endpoints: Endpoints) -> None:
        """Let the command line find the system."""
        self._write("endpoints.json", asdict(endpoints))

    def record_status(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Let the command line know how each part is: its process, since when, and how often it has died."""
        self._write("parts.json", parts)

    def leave(self) -> None:
        """The system is over: no endpoints, no processes, no lock. Its state and its logs stay."""
        for name in OF_A_LIFE:
            (self.path / name).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- for everybody ----------------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Somebody holds the lock."""
        try:
            lock = os.open(self.path / "lock", os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def supervisor(self) -> Identity | None:
        """The process that runs the system, if it said so."""
        return self._recorded().get("supervisor")

    def endpoints(self) -> Endpoints | None:
        """Where the system answers; `None` while none runs or it is not ready."""
        with suppress(FileNotFoundError, ValueError):
            if self.running():
                return Endpoints(**json.loads((self.path / "endpoints.json").read_text()))
        return None

    def parts(self) -> dict[str, dict[str, Any]]:
        """How each part of a running system is, as `tell` was told; empty while none runs."""
        return self._read("parts.json") if self.running() else {}

    def exists(self) -> bool:
        """A local system has been here, and has left its state."""
        return (self.path / "format.json").exists()

    def remove(self) -> None:
        """Remove the folder and all that is in it.

        Raises:
            AlreadyRunning: a system runs in it.
            FileExistsError: it is not a local system's.
        """
        if self.path.exists():
            self._lock_folder()
            shutil.rmtree(self.path)
            self.leave()

    def _recorded(self) -> dict[str, Identity]:
        try:
            return {name: Identity(**identity) for name, identity in self._read("processes.json").items()}
        except TypeError:
            return {}

    def _read(self, name: str) -> dict[str, Any]:
        """A file's JSON object; empty if it is not there, or torn as a machine that lost its power leaves it."""
        try:
            found = json.loads((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _refuse_foreign_files(self) -> None:
        if self.path.exists() and any(self.path.iterdir()) and not (self.path / "lock").exists():
            raise FileExistsError(
                f"{self.path} holds files that no local system left there; name another: FRAUDLOOP_HOME"
            )

    def _empty(self) -> None:
        for entry in self.path.iterdir():
            if entry.name != "lock":
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        written = self.path / f"{name}.new"
        written.write_text(json.dumps(content, indent=1))
        written.replace(self.path / name)
