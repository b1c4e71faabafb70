"""A moto of its own, in a process of its own, and one deployment in it for the session."""

import sys
from pathlib import Path

import pytest
from deployment import TOOLS, Deployment

from local.process import serving
from training.ports import free_port

PROGRAM = Path(__file__).with_name("moto_cloudformation.py")


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory):
    """Its URL, by the name localhost: moto parses S3's URLs by host."""
    port, log = free_port(), tmp_path_factory.mktemp("moto") / "log"
    with serving([sys.executable, str(PROGRAM), str(port)], f"http://127.0.0.1:{port}/moto-api/", log):
        yield f"http://localhost:{port}"


@pytest.fixture(scope="session")
def deployed(moto_url, tmp_path_factory):
    """The stack, deployed with its defaults."""
    if not (TOOLS / "sam").exists():
        pytest.skip("no .venv-aws: `make aws-tools` installs sam")
    deployment = Deployment(moto_url, tmp_path_factory.mktemp("stack"))
    deployment.client("s3").create_bucket(Bucket="code")
    deployment.build()
    deployment.package()
    deployment.deploy(KfpUrl="http://127.0.0.1:9")
    return deployment
