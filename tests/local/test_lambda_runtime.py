import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.aws.lambda_runtime import Function, Pool, Sandbox

LAMBDAS = Path(__file__).parent / "lambdas"


@pytest.fixture
def sandbox(tmp_path):
    made = []

    def make(handler, timeout=5.0):
        made.append(Sandbox(Function("fraudloop-test", handler, timeout, folder=LAMBDAS), tmp_path / "log"))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_handler_gets_its_event_and_its_time(sandbox):
    """The payload arrives as it is, the context knows the function's time limit, and the process is kept warm."""
    echo = sandbox("misbehaving.echo")
    first = echo.invoke({"key": "a b+ü.csv"})
    assert not first.failed
    assert first.payload["event"] == {"key": "a b+ü.csv"}
    assert 4000 < first.payload["remaining"] <= 5000
    assert echo.invoke({}).payload["pid"] == first.payload["pid"]


def test_a_warm_invocation_is_fast(sandbox):
    """Without Nagle's delay: far below the 40 ms that it costs a round trip."""
    echo = sandbox("misbehaving.echo")
    echo.invoke({})
    began = time.perf_counter()
    for _ in range(20):
        echo.invoke({})
    assert (time.perf_counter() - began) / 20 < 0.04


def test_an_exception_is_the_error_object_that_lambda_returns(sandbox):
    """errorType, errorMessage and the stack; the process lives on."""
    fail = sandbox("misbehaving.fail")
    result = fail.invoke({})
    assert result.failed
    assert result.payload["errorType"] == "ValueError"
    assert result.payload["errorMessage"] == "no such model: 'fruad'"
    assert any("in fail" in line for line in result.payload["stackTrace"])
    pid = fail.pid
    fail.invoke({})
    assert fail.pid == pid


def test_a_handler_that_outlives_its_timeout_is_killed(sandbox):
    """The caller gets Lambda's message, the process is gone, the next invocation works."""
    sleep = sandbox("misbehaving.sleep", timeout=0.5)
    sleep.invoke({"seconds": 0})
    pid = sleep.pid
    result = sleep.invoke({"seconds": 30})
    assert result.failed
    assert "Task timed out after 0.50 seconds" in result.payload["errorMessage"]
    assert not psutil.pid_exists(pid)
    assert not sleep.invoke({"seconds": 0}).failed


def test_a_handler_that_exits_fails_its_invocation(sandbox):
    """`os._exit` is Runtime.ExitError with its status; the next invocation gets a new process."""
    leave = sandbox("misbehaving.leave")
    result = leave.invoke({})
    assert result.payload["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in result.payload["errorMessage"]
    assert leave.invoke({}).payload["errorType"] == "Runtime.ExitError"


def test_a_killed_process_fails_its_invocation(sandbox):
    """`kill -9` in the middle of an invocation is an error of that invocation, not of the sandbox."""
    sleep = sandbox("misbehaving.sleep")
    sleep.invoke({"seconds": 0})
    killer = subprocess.Popen(
        [sys.executable, "-c", f"import os, time; time.sleep(.3); os.kill({sleep.pid}, {signal.SIGKILL})"]
    )
    assert "signal: 9" in sleep.invoke({"seconds": 5}).payload["errorMessage"]
    killer.wait()
    assert not sleep.invoke({"seconds": 0}).failed


@pytest.mark.parametrize("handler", ["broken_init.handler", "no_such_file.handler", "misbehaving.no_such_function"])
def test_a_handler_that_cannot_be_imported_says_so(sandbox, handler):
    """Init errors surface in the invocation that needed the init, and in the next one again."""
    broken = sandbox(handler)
    for _ in range(2):
        result = broken.invoke({})
        assert result.failed
        assert result.payload["errorType"].startswith("Runtime.")


def test_a_pool_runs_as_many_at_once_as_it_may(tmp_path):
    """Two sandboxes, two processes; the third invocation waits for a free one."""
    from concurrent.futures import ThreadPoolExecutor

    pool = Pool(Function("fraudloop-step", "misbehaving.sleep", 5.0, 2, folder=LAMBDAS), tmp_path)
    with ThreadPoolExecutor(3) as callers:
        list(callers.map(pool.invoke, [{"seconds": 0}] * 2))
        began = time.monotonic()
        list(callers.map(pool.invoke, [{"seconds": 0.6}] * 3))
        took = time.monotonic() - began
    pool.close()
    assert 1.2 <= took < 1.8


def test_no_sandbox_outlives_its_owner(tmp_path):
    """`kill -9` of the process that runs the sandboxes ends theirs too."""
    program = f"""
import sys, time
from pathlib import Path
from local.aws.lambda_runtime import Function, Sandbox
one = Sandbox(Function("f", "misbehaving.echo", folder=Path({str(LAMBDAS)!r})), Path({str(tmp_path / "log")!r}))
print(one.invoke({{}}).payload["pid"], flush=True)
time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    pid = int(owner.stdout.readline())
    assert psutil.pid_exists(pid)
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    for _ in range(50):
        if not psutil.pid_exists(pid):
            break
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
