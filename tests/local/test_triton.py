"""The real tritonserver as a process: it starts, returns its configuration, and never outlives its parent."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from local import triton
from local.faults import Faults
from local.triton import Triton, TritonFailed
from training.shadow.server import DoesNotLoad, PodServer

pytestmark = [
    pytest.mark.triton,
    pytest.mark.xdist_group("triton"),
    pytest.mark.skipif(bool(triton.missing_system_library()), reason=triton.missing_system_library()),
]

Double = Callable[..., Path]
ORPHAN_MAKER = """
import sys, time
from pathlib import Path
from local.triton import Triton
server = Triton(Path(sys.argv[1]), Path(sys.argv[2]))
server.start()
server.wait_ready()
print("ready", flush=True)
time.sleep(600)
"""


def test_it_becomes_ready_and_returns_its_configuration(double: Double, tmp_path: Path) -> None:
    """A started server answers, names the version that it serves, and is gone after `stop`, with its shared memory."""
    server = Triton(double(), tmp_path / "run")
    with server:
        server.wait_ready(60)
        config = server.config("double")
        assert server.alive
    assert config["parameters"]["candidate_version"]["string_value"] == "fraud-1-00000000"
    assert not server.alive
    assert not server.ready()
    assert not list(Path("/dev/shm").glob(f"*_{server.http_port}_*"))


def test_a_failed_load_is_reported_in_one_line(double: Double, tmp_path: Path) -> None:
    """`wait_ready` raises at once, with the reason."""
    broken = double("raise RuntimeError('weights do not fit')")
    with Triton(broken, tmp_path / "run") as server, pytest.raises(TritonFailed) as caught:
        server.wait_ready(60)
    assert str(caught.value) == (
        "tritonserver ended before it was ready: failed to load 'double' version 1: Internal: RuntimeError: "
        f"weights do not fit (its log: {server.log})"
    )


def test_it_dies_with_the_process_that_started_it(double: Double, tmp_path: Path) -> None:
    """Kill -9 of the starter leaves neither the server nor its interpreters."""
    command = [sys.executable, "-c", ORPHAN_MAKER, str(double()), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"ready\n"
        family = psutil.Process(starter.pid).children(recursive=True)
        starter.kill()
    assert family, "the server had no process to look at"
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


@pytest.mark.parametrize("name", ["with a space", "Zahlungen für Österreich", 'quote"d $(echo)', "deep/" + "long" * 50])
def test_any_path_serves(double: Double, tmp_path: Path, name: str) -> None:
    """Triton starts its interpreters by `bash -c` without quotes: all paths in that command are relative."""
    repository = tmp_path / name / "repository"
    shutil.copytree(double(), repository)
    with Triton(repository, tmp_path / name / "run") as server:
        server.wait_ready(60)
        assert server.config("double")["name"] == "double"


def test_shared_memory_of_a_killed_starter_is_freed(double: Double, tmp_path: Path) -> None:
    """The next server frees it; that of a running one stays."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, living = (Path(f"/dev/shm/fraudloop_{pid}_1_x") for pid in (gone.pid, os.getpid()))
    try:
        left.touch()
        living.touch()
        with Triton(double(), tmp_path / "run"):
            assert not left.exists()
            assert living.exists()
    finally:
        left.unlink(missing_ok=True)
        living.unlink(missing_ok=True)


def test_a_missing_library_names_the_debian_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, before anything starts."""
    monkeypatch.setattr(triton, "_library_folder", lambda: None)
    monkeypatch.setattr(triton, "_system_libraries", lambda: "")
    assert f"apt-get install libpython{triton.PYTHON}" in triton.missing_system_library()


def test_waiting_has_an_end(double: Double, tmp_path: Path) -> None:
    """A server that never becomes ready is abandoned at its deadline."""
    slow = double("import time\ntime.sleep(60)")
    begun = time.monotonic()
    with Triton(slow, tmp_path / "run") as server, pytest.raises(TritonFailed, match="not ready within 1 s"):
        server.wait_ready(1)
    assert time.monotonic() - begun < 30


def test_the_program_for_the_shadow_stage_serves_and_obeys_faults(
    double: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands for the serving image's tritonserver, even in a folder with a space. A spoiled version fails."""
    file = tmp_path / "the image's faults.json"
    for name, value in triton.program(tmp_path / "serving image", file).items():
        monkeypatch.setenv(name, value)
    repository = double()
    with PodServer(repository, tmp_path / "a server", only="double") as server:
        server.wait_ready(60)
        assert server.config("double")["name"] == "double"
    Faults(file).spoil_all_but(["fraud-2-00000000"])
    with PodServer(repository, tmp_path / "another server") as another, pytest.raises(DoesNotLoad, match="double"):
        another.wait_ready(60)
    for port in (server.port, another.port):  # another test's Triton may still run in this process
        assert not list(Path("/dev/shm").glob(f"fraudloop_{os.getpid()}_{port}_*"))
