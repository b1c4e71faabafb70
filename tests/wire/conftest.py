"""Proxies before the servers of a test, and one local cloud."""

import pytest
from faulty_wire import Proxy


@pytest.fixture
def proxied():
    """`proxied(url)`: a proxy before that server."""
    made = []

    def before(url):
        host, port = url.removeprefix("http://").rstrip("/").split(":")
        made.append(Proxy((host, int(port))))
        return made[-1]

    yield before
    for proxy in made:
        proxy.close()
