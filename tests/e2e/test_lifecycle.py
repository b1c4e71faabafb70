import signal
import subprocess

import psutil
import pytest


def survivors(family, seconds=20.0):
    """Those of a family that still run after a while."""
    _, alive = psutil.wait_procs(family, timeout=seconds)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_no_process_is_left(fraudloop, number):
    """Ctrl-C, `kill`, a closed terminal, `kill -9`: all parts end, and the folder is free for the next."""
    up = fraudloop("up")
    up.ready()
    family = up.family()
    assert len(family) >= 5, "four parts, and their supervisor"
    up.process.send_signal(number)
    up.process.wait(30)
    assert survivors(family) == []
    assert not up.home.running()
    assert up.home.endpoints() is None


def test_a_part_that_dies_takes_the_system_with_it(fraudloop):
    """Half a system would only puzzle: the command ends, names the part and its log, and leaves nothing."""
    up = fraudloop("up")
    up.ready()
    family = up.family()
    part = next(process for process in family if "local.kfp" in process.cmdline())
    part.send_signal(signal.SIGKILL)
    assert up.process.wait(30) == 1
    assert survivors(family) == []
    assert "kfp has ended; its log is" in up.log.read_text().replace("\n", " ")


def test_up_down_and_a_second_up(fraudloop):
    """A second `up` is refused while the first runs; `down` stops it; then it may start again."""
    first = fraudloop("up")
    urls = first.ready().urls
    second = fraudloop("up")
    assert second.process.wait(30) == 1
    assert "already runs" in second.log.read_text()
    family = first.family()
    assert fraudloop("down").process.wait(60) == 0
    assert first.process.wait(10) == 0
    assert survivors(family) == []
    third = fraudloop("up", "--detach")
    assert third.process.wait(90) == 0
    assert third.home.endpoints().urls != urls
    supervisor = third.home.supervisor().process()
    family = [supervisor, *supervisor.children(recursive=True)]
    assert fraudloop("down").process.wait(60) == 0
    assert survivors(family) == []


def test_a_start_that_fails_leaves_nothing(fraudloop, tmp_path):
    """A mistake in the registry is said at once, and the parts that ran by then are ended."""
    broken = tmp_path / "fraudloop.toml"
    broken.write_text("[models.fraud]\n")
    up = fraudloop("up", "--config", str(broken))
    assert up.process.wait(60) == 1
    assert "models.fraud.prefix is missing" in up.log.read_text().replace("\n", " ")
    assert subprocess.run(["pgrep", "-f", str(up.home.path)], capture_output=True, check=False).stdout == b""
