import pytest

from local.demo import files
from local.demo.scenarios import SCENARIOS, ScenarioResult

ROWS, SEED, FRAUD_RATE = 20_000, 7, 0.02


@pytest.fixture(scope="module")
def made():
    return files.make(ROWS, SEED, FRAUD_RATE)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("title", "play"), SCENARIOS, ids=[play.__name__ for _, play in SCENARIOS])
def test_what_the_demo_promises_holds_on_small_data(theatre, made, title, play):
    """Each scenario of `make demo`, on a tenth of its data: every promise is kept."""
    scene = ScenarioResult(title)
    play(theatre, made, scene)
    assert scene.promises
    assert [promise for promise in scene.promises if not promise.held] == []
