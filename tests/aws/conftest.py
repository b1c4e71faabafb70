"""A moto of its own, in a process of its own, and one deployment in it for the session."""

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from deployment import TOOLS, Deployment

from local.process import end, free_port, spawn

PROGRAM = Path(__file__).with_name("moto_cloudformation.py")


@pytest.fixture(scope="session")
def moto_url(tmp_path_factory):
    """Its URL, by the name localhost: moto parses S3's URLs by host."""
    port, log = free_port(), tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as out:
        server = spawn([sys.executable, str(PROGRAM), str(port)], log=out)
    try:
        until = time.monotonic() + 120
        while not _answers(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, "moto does not answer"
            time.sleep(0.1)
        yield f"http://localhost:{port}"
    finally:
        end(server)


def _answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=2).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError:
        return False
    return True


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
