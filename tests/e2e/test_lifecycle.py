import signal
import subprocess

import psutil
import pytest

from local.aws.resources import DATA, client
from local.system import PROGRAMS


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
    assert len(family) >= 5, "its parts, and their supervisor"
    up.process.send_signal(number)
    up.process.wait(30)
    assert survivors(family) == []
    assert not up.state_dir.running()
    assert up.state_dir.endpoints() is None


def part_of(up, name):
    return next(process for process in up.family() if PROGRAMS[name] in process.cmdline())


def test_a_part_that_dies_again_and_again_ends_the_system_with_the_reason(fraudloop):
    """Each death is printed and the part restarted. Then the command ends with the part, its log and the reason."""
    up = fraudloop("up")
    up.ready()
    family = up.family()
    (up.state_dir.path / "cloud" / "cloud.sqlite").write_bytes(b"no database")
    for left in ("cloud.sqlite-wal", "cloud.sqlite-shm"):
        (up.state_dir.path / "cloud" / left).unlink(missing_ok=True)
    part_of(up, "cloud").send_signal(signal.SIGKILL)
    assert up.process.wait(120) == 1
    assert survivors(family) == []
    output = " ".join(up.log.read_text().split())
    assert "cloud has ended (killed by SIGKILL); it is started again" in output
    assert "cloud ended 6 times within 120 s; the last time: exit status 1" in output
    assert "file is not a database" in output


def test_after_kill_9_of_the_supervisor_up_goes_on(fraudloop):
    """What landed before is there, and `fraudloop reset` removes it, but not while it runs."""
    up = fraudloop("up")
    s3 = client("s3", up.ready().urls["aws"])
    tag = s3.put_object(Bucket=DATA, Key="elsewhere/x.csv", Body=b"1")["ETag"]
    family = up.family()
    up.process.kill()
    up.process.wait()
    assert survivors(family) == []
    again = fraudloop("up")
    s3 = client("s3", again.ready().urls["aws"])
    assert s3.head_object(Bucket=DATA, Key="elsewhere/x.csv")["ETag"] == tag
    assert fraudloop("reset", "--yes").process.wait(60) == 1
    assert fraudloop("down").process.wait(60) == 0
    assert fraudloop("reset", "--yes").process.wait(60) == 0
    assert not again.state_dir.path.exists()


def test_up_down_and_a_second_up(fraudloop):
    """A second `up` is refused while the first runs. `down` stops it, and `up` works again."""
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
    assert third.state_dir.endpoints().urls != urls
    supervisor = third.state_dir.supervisor().process()
    family = [supervisor, *supervisor.children(recursive=True)]
    assert fraudloop("down").process.wait(60) == 0
    assert survivors(family) == []


def test_a_start_that_fails_leaves_nothing(fraudloop, tmp_path):
    """An error in the registry is printed at once, and the started parts are ended."""
    broken = tmp_path / "fraudloop.toml"
    broken.write_text("[models.fraud]\n")
    up = fraudloop("up", "--config", str(broken))
    assert up.process.wait(60) == 1
    assert "models.fraud.prefix is missing" in up.log.read_text().replace("\n", " ")
    assert subprocess.run(["pgrep", "-f", str(up.state_dir.path)], capture_output=True, check=False).stdout == b""
