"""Runs a container as the kubelet would, with podman and runc: user, read-only root, limits, variables, volumes.

podman applies a seccomp profile like `RuntimeDefault`, and enforces the limits in a cgroup. The caller sets the
network.
"""

import json
import os
import re
import resource
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from image_build import STORE, WORK

UNITS = {"": 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
RUN_SECONDS = 600
PROCESSES = 4096
CLOSED: Mapping[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
USER: Mapping[str, Any] = {"runAsUser": 1000, "runAsGroup": 1000}


class Failed(Exception):
    """A container ended with an error; the message contains the end of its output."""


@dataclass(frozen=True)
class Container:
    """One container of a pod. `volumes`: path in the container → folder here.

    As in a pod, `command` takes the place of the image's ENTRYPOINT and of its CMD, `args` of its CMD alone.
    """

    name: str
    image: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)
    volumes: Mapping[str, Path] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()
    shared_memory: str = ""
    security: Mapping[str, Any] = field(default_factory=lambda: dict(CLOSED))
    user: Mapping[str, Any] = field(default_factory=lambda: dict(USER))
    args: Sequence[str] = ()

    def arguments(self) -> list[str]:
        """Return the arguments of `podman run`."""
        entrypoint = [f"--entrypoint={program}" for program in self.command[:1]]
        given = [*self._process(), *self._mounted(), *self._variables(), *entrypoint]
        return [*given, self.image, *self.command[1:], *self.args]

    def _process(self) -> Iterator[str]:
        yield from ("--rm", f"--name={self.name}", "--network=host")
        yield f"--user={self.user['runAsUser']}:{self.user['runAsGroup']}"
        if self.security.get("readOnlyRootFilesystem"):
            yield from ("--read-only", "--read-only-tmpfs=false")
        if self.security.get("allowPrivilegeEscalation") is False:
            yield "--security-opt=no-new-privileges"
        for capability in self.security.get("capabilities", {}).get("drop", ()):
            yield f"--cap-drop={capability}"
        if memory := self.limits.get("memory"):
            yield f"--memory={int(quantity(memory))}b"
        if cpu := self.limits.get("cpu"):
            yield f"--cpus={min(quantity(cpu), os.cpu_count() or 1):g}"
        # podman's default limits may exceed what this machine allows; then no container starts.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        yield from (f"--ulimit=nofile={files}:{files}", f"--ulimit=nproc={PROCESSES}:{PROCESSES}")

    def _mounted(self) -> Iterator[str]:
        for target, source in self.volumes.items():
            yield f"--volume={source}:{target}:{'ro' if target in self.read_only else 'rw'}"
        if self.shared_memory:
            yield f"--shm-size={int(quantity(self.shared_memory))}b"

    def _variables(self) -> Iterator[str]:
        for name, value in self.environment.items():
            yield f"--env={name}={value}"


def run(container: Container, log: Path) -> str:
    """Run the container to its end and return its output, which `log` contains too.

    Raises:
        Failed: its exit status is not 0, or it took longer than `RUN_SECONDS`.
    """
    with log.open("wb") as out:
        process = start(container, out)
        try:
            status: int | str = process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            status = f"not over after {RUN_SECONDS} s"
        finally:
            remove(container.name)
    printed = log.read_text(errors="replace")
    if status != 0:
        tail = "\n".join(printed.splitlines()[-25:])
        raise Failed(f"{container.name} in {container.image}: {status if status != 137 else '137, killed'}\n{tail}")
    return printed


def start(container: Container, out: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the container. The returned process ends with it."""
    command = [*_podman(), "run", *container.arguments()]
    # when the kernel kills the container for its memory, conmon writes a file `oom` into its working folder
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=WORK)


def remove(name: str) -> None:
    """Kill the container if it runs, and remove it."""
    command = [*_podman(), "rm", "--force", "--ignore", "--time=0", name]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def inspect(image: str) -> dict[str, Any]:
    """Return podman's description of an image."""
    command = [*_podman(), "image", "inspect", image]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def quantity(text: str) -> float:
    """Return a Kubernetes quantity as a number: `500m` is 0.5, `4Gi` is 4 × 2³⁰. Raises ValueError for other forms."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m|Ki|Mi|Gi)?", text)
    if not found:
        raise ValueError(f"{text!r} is no quantity that is read here; units are {', '.join(filter(None, UNITS))}")
    return float(found[1]) * UNITS[found[2] or ""]


def _podman() -> list[str]:
    return ["podman", *STORE, "--runtime", "runc", "--cgroup-manager", "cgroupfs"]
