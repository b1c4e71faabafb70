"""Serves the console on 127.0.0.1, with its owner's AWS credentials."""

import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from cli.connection import whoami
from cli.console import KEY_FILE
from cli.console.door import LocalDoor
from cli.console.site import Site
from local.state_dir import StateDir
from statemachine.bootstrap import App
from statemachine.contracts.errors import Misconfigured

HOST = "127.0.0.1"


class _Plain(WSGIRequestHandler):
    """Logs nothing but errors (the first address has the key in it), and does not name its software."""

    server_version, sys_version = "fraudloop", ""
    timeout = 30  # seconds that a connection may be silent

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing."""


@contextmanager
def serving(app: App, home: StateDir | None, port: int = 0, key: str = "") -> Iterator[tuple[BaseWSGIServer, str]]:
    """A server that is ready to serve, and the address to open. Raises `Misconfigured` if the port cannot be had."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:  # werkzeug itself would print, and end the process
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise Misconfigured(
            f"port {port} of {HOST}: {os.strerror(error.errno or 0)}; name another one with --port"
        ) from error
    door = LocalDoor(lru_cache(lambda: whoami(app)), key) if key else LocalDoor(lru_cache(lambda: whoami(app)))
    site = Site(app, door, hosts=(), origins=(), home=home)
    server = make_server(HOST, port, site, threaded=True, request_handler=_Plain)
    names = [f"{name}:{server.server_port}" for name in (HOST, "localhost")]
    site.hosts, site.origins = tuple(names), tuple(f"http://{name}" for name in names)
    try:
        yield server, f"http://{HOST}:{server.server_port}/enter?key={door.key}"
    finally:
        server.server_close()


def kept_key(folder: Path) -> str:
    """The key of a local system's console, drawn once; other users of the machine cannot read its file."""
    path = folder / KEY_FILE
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
        with os.fdopen(descriptor, "w") as file:
            file.write(LocalDoor(str).key)
    return path.read_text().strip()
