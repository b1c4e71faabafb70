import sys
from pathlib import Path

import pytest

sys.path.insert(
    0, str(Path(__file__).parents[1] / "cli")
)  # the command line's tests have runs that were played and judged


@pytest.fixture(scope="module")
def shared_system():
    """An empty deployment in a local cloud for the tests of one module; `system` is the one for a single test."""
    from moto.moto_api._internal.models import moto_api_backend

    from local.aws import resources, server
    from statemachine.bootstrap import bootstrap

    with pytest.MonkeyPatch.context() as patch, server.serving() as url:
        made = resources.create(url)
        for name, value in (resources.CREDENTIALS | made.environment() | {"AWS_ENDPOINT_URL": url}).items():
            patch.setenv(name, value)
        yield bootstrap()
    moto_api_backend.reset()
