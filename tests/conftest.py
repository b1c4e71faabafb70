import os

# XGBoost's and torch's threads wait for each other by spinning otherwise, which costs several times the work itself.
# It counts only if it is set before either is loaded, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# readline sets these two in pytest's process, and xdist's workers inherit them. A test that needs a width sets its own.
os.environ.pop("COLUMNS", None)
os.environ.pop("LINES", None)

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from outcome import ROOT, SLOW_FOLDERS, folder_of, last_line, reasons, seconds_by_folder

from local.process import serving
from training.ports import free_port

if TYPE_CHECKING:
    from statemachine.bootstrap import App

DOUBLE_CONFIG = """
name: "double"
backend: "python"
input [{ name: "X" data_type: TYPE_FP32 dims: [ 1 ] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [ 1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
parameters: { key: "candidate_version" value: { string_value: "fraud-1-00000000" } }
"""
DOUBLE = """
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        answer = lambda r: pb.Tensor("Y", 2 * pb.get_input_tensor_by_name(r, "X").as_numpy())
        return [pb.InferenceResponse([answer(request)]) for request in requests]
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder says whether a test is slow, so that nobody has to mark one."""
    for item in items:
        if folder_of(item.path.relative_to(ROOT).as_posix()) in SLOW_FOLDERS:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How long each folder's tests took, added up over all processes."""
    reports = [one for group in terminalreporter.stats.values() for one in group if hasattr(one, "duration")]
    parts = [f"{folder} {seconds:.0f} s" for folder, seconds in seconds_by_folder(reports).items() if seconds >= 1]
    if len(parts) > 1:
        terminalreporter.write_line("time of each folder, all processes together: " + ", ".join(parts))


def pytest_unconfigure(config: pytest.Config) -> None:
    """The very last line says what was skipped, and how to have it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(config, "workerinput"):  # a worker of xdist, whose reports the controller has
        return
    if said := last_line(reasons(reporter.stats.get("skipped", ()))):
        reporter.write_line(said)


@pytest.fixture
def double(tmp_path: Path) -> Callable[..., Path]:
    """A model repository for Triton with one toy model, which doubles a number or does what it is told instead."""

    def repository(model: str = DOUBLE) -> Path:
        folder = tmp_path / "repository"
        (folder / "double/1").mkdir(parents=True)
        (folder / "double/config.pbtxt").write_text(DOUBLE_CONFIG)
        (folder / "double/1/model.py").write_text(model)
        return folder

    return repository


@pytest.fixture(autouse=True)
def _logging_is_put_back() -> Iterator[None]:
    """A component takes over the root logger, as is right in a pod. It writes to a stream that its test closes."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(scope="session")
def own_cloud(tmp_path_factory):
    """A local cloud in a process of its own: moto's state is one a process, and other tests reset it."""
    port, log = free_port(), tmp_path_factory.mktemp("cloud") / "log"
    url = f"http://127.0.0.1:{port}"
    with serving([sys.executable, "-m", "local.aws.server", str(port)], url, log):
        yield url


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> "Iterator[App]":
    """An empty deployment in a local cloud, named by the environment as one on AWS would be."""
    from moto.moto_api._internal.models import moto_api_backend

    from local.aws import resources, server
    from statemachine.bootstrap import bootstrap

    monkeypatch.setenv("FRAUDLOOP_HOME", str(tmp_path / "none"))
    with server.serving() as url:
        made = resources.create(url)
        for name, value in (resources.CREDENTIALS | made.environment() | {"AWS_ENDPOINT_URL": url}).items():
            monkeypatch.setenv(name, value)
        yield bootstrap()
    moto_api_backend.reset()
