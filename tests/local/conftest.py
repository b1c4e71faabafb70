import pytest

from local import cloud, resources


@pytest.fixture
def url():
    """An empty local cloud."""
    from moto.moto_api._internal.models import moto_api_backend

    with cloud.serving() as address:
        yield address
    moto_api_backend.reset()


@pytest.fixture
def made(url):
    """The local cloud's resources."""
    return resources.create(url)
