"""Ports that no two processes get at once, and that no kernel gives away between choice and bind."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from training import ports
from training.ports import PORTS, Reservations

HOLDER = """
import sys, time
from pathlib import Path
from training import ports
ports.PORTS = range(*map(int, sys.argv[2:]))
print(ports.Reservations(Path(sys.argv[1])).take(), flush=True)
time.sleep(60)
"""
pytestmark = pytest.mark.xdist_group("ports")  # they choose from the same few
DEFAULT = 32_768  # Linux: ip-sysctl, ip_local_port_range
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture
def few(monkeypatch):
    """Three ports to choose from, which are free now."""
    first = next(first for first in range(31_000, 32_000, 3) if all(map(ports.bindable, range(first, first + 3))))
    monkeypatch.setattr(ports, "PORTS", range(first, first + 3))
    return ports.PORTS


def test_no_kernel_chooses_one_of_them():
    first = int(RANGE.read_text().split()[0]) if RANGE.exists() else 0
    if first < DEFAULT:
        pytest.skip(f"this machine gives ports from {first} on to outgoing connections; Linux does from {DEFAULT} on")
    assert PORTS.stop <= first


def test_two_processes_never_get_the_same(few, tmp_path):
    """What the other holds comes back with its end, however it ends."""
    file = tmp_path / "ports"
    command = [sys.executable, "-c", HOLDER, str(file), str(few.start), str(few.stop)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        theirs = int(holder.stdout.readline())
        ours = Reservations(file)
        assert {ours.take(), ours.take()} == set(few) - {theirs}
        with pytest.raises(OSError, match=rf"no port from {few.start} to {few.stop - 1} .* is free"):
            ours.take()
        holder.kill()
    assert ours.take() == theirs


def test_one_where_somebody_listens_is_not_given(few, tmp_path):
    with socket.create_server(("127.0.0.1", few[1])):
        ours = Reservations(tmp_path / "ports")
        assert {ours.take(), ours.take()} == {few[0], few[2]}
        with pytest.raises(OSError, match="is free"):
            ours.take()


def test_a_process_holds_a_bounded_number(few, monkeypatch, tmp_path):
    """A cluster that restarts its pods for weeks gets a port each time."""
    monkeypatch.setattr(ports, "HELD", 2)
    ours = Reservations(tmp_path / "ports")
    given = [ours.take() for _ in range(7)]
    assert all(len(set(given[at : at + 3])) == 3 for at in range(5))
