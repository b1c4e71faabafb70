"""`fraudloop console`, and the console as a part of the local system."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from http.cookiejar import CookieJar

import filled
import pytest
from typer.testing import CliRunner

from cli.console import KEY_FILE
from cli.console.serving import kept_key
from cli.main import app as commands
from local.process import answers, end
from local.system import PROGRAMS, ROOT
from training.ports import free_port


def visited(address: str) -> str:
    """The page that a browser comes to: it keeps the cookie that it is given."""
    opener = urllib.request.build_opener(
        urllib.request.HTTPCookieProcessor(CookieJar()), urllib.request.ProxyHandler({})
    )
    with opener.open(address, timeout=20) as answer:
        return answer.read().decode()


def test_a_port_that_is_taken_is_told_in_one_sentence(system):
    """Werkzeug would print two lines of its own, and end the process."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = CliRunner().invoke(commands, ["console", "--print", "--port", str(port)])
    assert ran.exit_code == 1
    assert (
        ran.stderr.strip() == f"Error: port {port} of 127.0.0.1: Address already in use; name another one with --port"
    )


def test_the_command_serves_until_it_is_stopped_and_prints_the_address(system, monkeypatch):
    """With a key of its own each time; without it the port answers nobody."""
    port, seen = free_port(), list[str]()
    filled.fill(system, past=False)

    class Stopped:
        """Stands for Ctrl-C, after somebody has looked."""

        def wait(self) -> None:
            seen.append(visited(f"http://127.0.0.1:{port}/healthz"))
            with pytest.raises(urllib.error.HTTPError, match="401"):
                visited(f"http://127.0.0.1:{port}/")

    monkeypatch.setattr("cli.commands.console.stop_on_signals", Stopped)
    ran = CliRunner().invoke(commands, ["console", "--print", "--port", str(port)])
    assert ran.exit_code == 0, ran.output
    assert seen == ["ok\n"]
    assert f"the console is at http://127.0.0.1:{port}/enter?key=" in ran.output
    assert "stopped" in ran.output


def test_a_part_of_the_local_system_keeps_its_key(system, tmp_path):
    """`fraudloop up` starts it as a process; its key is in a file that only its owner reads, and is kept."""
    filled.fill(system, past=False)
    port = free_port()
    command = [sys.executable, "-m", PROGRAMS["console"], str(port), str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ))
    try:
        for _ in range(600):
            if answers(f"http://127.0.0.1:{port}/healthz") or process.poll() is not None:
                break
            time.sleep(0.1)
        key = (tmp_path / KEY_FILE).read_text()
        assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
        assert "waits for a person" in visited(f"http://127.0.0.1:{port}/enter?key={key}")
        assert kept_key(tmp_path) == key
    finally:
        end(process)
