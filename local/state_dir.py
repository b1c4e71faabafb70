"""The state folder of a local system: who runs it, what runs in it, and where its endpoints are."""

import fcntl
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from local.process import Identity, sweep

FOLDER = ".fraudloop"
# What of a caller's environment would lead the system's processes and clients astray: another account, another cluster.
FOREIGN = ("AWS_", "FRAUDLOOP_", "KUBERNETES_", "KF_PIPELINES_")


class AlreadyRunning(Exception):
    """Another process runs a local system in this folder."""


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

    def take(self) -> None:
        """Lock the folder, end what a killed predecessor may have left, and begin with an empty one.

        Raises:
            AlreadyRunning: somebody holds the lock.
        """
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
        for identity in self._recorded().values():
            if identity.pid != os.getpid():
                sweep(identity)
        self._empty()
        self.record({"supervisor": os.getpid()})

    def record(self, pids: Mapping[str, int]) -> None:
        """Write down who runs, so that a successor can end them."""
        who = {name: asdict(Identity.of(pid)) for name, pid in pids.items()}
        self._write("processes.json", who)

    def publish(self, endpoints: Endpoints) -> None:
        """Let the command line find the system."""
        self._write("endpoints.json", asdict(endpoints))

    def leave(self) -> None:
        """The system is over: no endpoints, no processes, no lock. The logs stay."""
        for name in ("endpoints.json", "processes.json"):
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

    def _recorded(self) -> dict[str, Identity]:
        try:
            recorded = json.loads((self.path / "processes.json").read_text())
            return {name: Identity(**identity) for name, identity in recorded.items()}
        except (FileNotFoundError, ValueError, TypeError):
            return {}

    def _refuse_foreign_files(self) -> None:
        if self.path.exists() and any(self.path.iterdir()) and not (self.path / "lock").exists():
            raise FileExistsError(
                f"{self.path} holds files that no local system left there; name another: FRAUDLOOP_HOME"
            )

    def _empty(self) -> None:
        for entry in self.path.iterdir():
            if entry.name != "lock":
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        self.logs.mkdir()

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        written = self.path / f"{name}.new"
        written.write_text(json.dumps(content, indent=1))
        written.replace(self.path / name)
