import threading

import pytest

from local.demo import files
from local.demo.performance import CONFIG, TICK
from local.demo.scenarios import SCENARIOS, Scene
from local.demo.theatre import Theatre
from local.home import Home
from local.system import Options, System
from statemachine.bootstrap import bootstrap

ROWS, SEED, FRAUD_RATE = 20_000, 7, 0.02


@pytest.fixture(scope="module")
def theatre(tmp_path_factory):
    """A running system; the scenarios follow each other in it, as in the demo."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch, System(Home(folder / "home"), Options(CONFIG, TICK)) as system:
        for name, value in system.endpoints.environment.items():
            patch.setenv(name, value)
        yield Theatre(system, bootstrap(), print, threading.Event())


@pytest.fixture(scope="module")
def made():
    return files.make(ROWS, SEED, FRAUD_RATE)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("title", "play"), SCENARIOS, ids=[play.__name__ for _, play in SCENARIOS])
def test_what_the_demo_promises_holds_on_small_data(theatre, made, title, play):
    """Each scenario of `make demo`, on a tenth of its data: every promise is kept."""
    scene = Scene(title)
    play(theatre, made, scene)
    assert scene.promises
    assert [promise for promise in scene.promises if not promise.held] == []
