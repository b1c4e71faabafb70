import signal
import time

import pytest

from local.demo import files
from local.demo.scenarios import SCENARIOS, ScenarioResult
from local.state_dir import StateDir

ROWS, SEED, FRAUD_RATE = 20_000, 7, 0.02


@pytest.fixture(scope="module")
def made():
    return files.make(ROWS, SEED, FRAUD_RATE)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("title", "play"), SCENARIOS, ids=[play.__name__ for _, play in SCENARIOS])
def test_each_demo_scenario_holds_on_small_data(driver, made, title, play):
    """Each scenario of `make demo`, on a tenth of its data: every binding assertion holds."""
    result = ScenarioResult(title)
    play(driver, made, result)
    assert result.assertions
    assert [check for check in result.assertions if check.binding and not check.held] == []


@pytest.mark.timeout(300)
def test_an_interrupted_demo_reports_and_keeps_its_state(fraudloop):
    """Ctrl-C: no assertion is reported as failed, the exit status is that of SIGINT, and the state stays."""
    demo = fraudloop("demo", "--rows", "3000")
    state_dir = StateDir(demo.state_dir.path.with_name(f"{demo.state_dir.path.name}-demo"))
    until = time.monotonic() + 200
    while "landed" not in demo.log.read_text():
        assert demo.process.poll() is None, demo.log.read_text()
        assert time.monotonic() < until
        time.sleep(0.2)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(90) == 130
    output = demo.log.read_text()
    assert "Interrupted; 0 of 8 scenarios had run" in output
    assert "Not run: three files in a burst, a good and a bad file" in output
    assert "✗" not in output
    assert "Traceback" not in output
    assert "fraudloop up --demo" in output
    assert state_dir.exists()
    assert not state_dir.running()
