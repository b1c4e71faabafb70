import pytest

from local.aws import resources, server


@pytest.fixture
def url():
    """An empty local cloud."""
    from moto.moto_api._internal.models import moto_api_backend

    with server.serving() as address:
        yield address
    moto_api_backend.reset()


@pytest.fixture
def made(url):
    """The local cloud's resources."""
    return resources.create(url)
