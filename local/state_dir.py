"""The state folder of a local system: its lock, its processes and its endpoints."""

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
DEMO = "-demo"  # suffix of the demo's folder
FORMAT = 1  # of the folder's contents
OF_A_LIFE = ("endpoints.json", "processes.json", "parts.json")  # files that are only valid while the system runs
LONG_LOG = 10_000_000  # bytes; a longer log is moved aside when a system starts
# Variables of the caller's environment that would point the system at another account or cluster.
FOREIGN = ("AWS_", "FRAUDLOOP_", "KUBERNETES_", "KF_PIPELINES_")


class AlreadyRunning(Exception):
    """Another process runs a local system in this folder."""


class LeftByAnotherVersion(Misconfigured):
    """Another version of fraudloop or moto wrote the folder."""


@dataclass(frozen=True)
class Endpoints:
    """The URLs of a running system. `environment` is that of its handlers, stages and clients."""

    urls: Mapping[str, str]
    environment: Mapping[str, str]

    def enter(self) -> None:
        """Make this process a client of this system only; an AWS profile must not redirect it."""
        for name in [name for name in os.environ if name.startswith(FOREIGN)]:
            del os.environ[name]
        os.environ.update(self.environment)


def _format() -> dict[str, Any]:
    """Return the folder's format. moto's own records are part of the folder, so its version is part of the format.

    A client image has no moto, so nothing asks for its version at import.
    """
    return {"format": FORMAT, "moto": version("moto")}


class StateDir:
    """The folder `path`. The process that holds its lock runs the system. The kernel releases the lock at its exit."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self._lock: int | None = None

    # -- for the process that runs the system -------------------------------------------------------------------------

    def take(self, fresh: bool = False) -> None:
        """Lock the folder and end the processes that a killed predecessor left. `fresh` deletes the old state.

        Raises:
            AlreadyRunning: another process holds the lock.
            LeftByAnotherVersion: another version wrote the state.
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
            self._write("format.json", _format())
        if (found := self._read("format.json")) != (now := _format()):
            raise LeftByAnotherVersion(
                f"{self.path} was left by another version ({found}, now {now}): `fraudloop up --fresh` deletes it"
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
        """Record the running processes, so that a successor can end them."""
        who = {name: asdict(Identity.of(pid)) for name, pid in pids.items()}
        self._write("processes.json", who)

    def publish(self, endpoints: Endpoints) -> None:
        """Record the endpoints for the command line."""
        self._write("endpoints.json", asdict(endpoints))

    def record_status(self, parts: Mapping[str, Mapping[str, Any]]) -> None:
        """Record for the command line each part's process, its start and its deaths."""
        self._write("parts.json", parts)

    def leave(self) -> None:
        """Remove endpoints and processes and release the lock. State and logs stay."""
        for name in OF_A_LIFE:
            (self.path / name).unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- for all processes ---------------------------------------------------------------------------------------------

    def running(self) -> bool:
        """Whether a process holds the lock."""
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
        """Return the process that runs the system, if it is recorded."""
        return self._recorded().get("supervisor")

    def endpoints(self) -> Endpoints | None:
        """Return the system's endpoints; `None` if it does not run or is not ready."""
        with suppress(FileNotFoundError, ValueError):
            if self.running():
                return Endpoints(**json.loads((self.path / "endpoints.json").read_text()))
        return None

    def parts(self) -> dict[str, dict[str, Any]]:
        """Return the status of each part of a running system, from `record_status`; empty if none runs."""
        return self._read("parts.json") if self.running() else {}

    def exists(self) -> bool:
        """Return whether the folder holds the state of a local system."""
        return (self.path / "format.json").exists()

    def remove(self) -> None:
        """Remove the folder with all its contents.

        Raises:
            AlreadyRunning: a system runs in it.
            FileExistsError: it is not the folder of a local system.
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
        """Return a file's JSON object; empty if the file is missing, or torn by a power cut."""
        try:
            found = json.loads((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _refuse_foreign_files(self) -> None:
        if self.path.exists() and any(self.path.iterdir()) and not (self.path / "lock").exists():
            raise FileExistsError(f"{self.path} holds files of something else; set FRAUDLOOP_HOME to another folder")

    def _empty(self) -> None:
        for entry in self.path.iterdir():
            if entry.name != "lock":
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        written = self.path / f"{name}.new"
        written.write_text(json.dumps(content, indent=1))
        written.replace(self.path / name)
