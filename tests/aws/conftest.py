"""One deployment for the session: all tests that use it run in one worker (`xdist_group`)."""

import moto_cloudformation
import pytest
from deployment import TOOLS, Deployment

from local import cloud


def pytest_collection_modifyitems(items):
    for item in items:
        if "deployed" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("aws"))
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def deployed(tmp_path_factory):
    """The stack, deployed into moto with its defaults."""
    if not (TOOLS / "sam").exists():
        pytest.skip("no .venv-aws: `make aws-tools` installs sam")
    moto_cloudformation.wire()
    with cloud.serving() as url:
        deployment = Deployment(url.replace("127.0.0.1", "localhost"), tmp_path_factory.mktemp("stack"))
        deployment.client("s3").create_bucket(Bucket="code")
        deployment.build()
        deployment.package()
        deployment.deploy(KfpUrl="http://127.0.0.1:9")
        yield deployment
