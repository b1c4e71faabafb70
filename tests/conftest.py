import os

# XGBoost's and torch's threads wait for each other by spinning otherwise, which costs several times the work itself.
# It counts only if it is set before either is loaded, so it stands here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import subprocess
import sys
import time
import urllib.request

import pytest

from local.process import end, free_port, spawn


@pytest.fixture(scope="session")
def own_cloud():
    """A local cloud in a process of its own: moto's state is one a process, and other tests reset it."""
    port = free_port()
    process = spawn([sys.executable, "-m", "local.cloud", str(port)], log=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield url
    end(process)
