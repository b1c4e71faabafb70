"""Real adapters against loopback endpoints, beside the fakes that must behave the same."""

import boto3
import pytest
from botocore.config import Config

from simulation.memory.files import MemoryFiles
from simulation.memory.table import MemoryTable
from statemachine.adapters.dynamodb import SCHEMA, DynamoTable
from statemachine.adapters.s3 import S3Files

ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"}, connect_timeout=2, read_timeout=5)


@pytest.fixture(scope="session")
def aws(own_cloud):
    """Clients of one local cloud; each test takes its own table and bucket."""
    return lambda service: boto3.client(
        service,
        endpoint_url=own_cloud,
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=ONCE,
    )


@pytest.fixture
def name(request):
    """A name that no other test uses."""
    return f"t{abs(hash(request.node.nodeid)) % 10**12}"


@pytest.fixture(params=["memory", "dynamodb"])
def table(request, name):
    """The fake and the real table, one after the other."""
    if request.param == "memory":
        return MemoryTable()
    client = request.getfixturevalue("aws")("dynamodb")
    client.create_table(TableName=name, **SCHEMA)
    return DynamoTable(client, name)


@pytest.fixture(params=["memory", "s3"])
def files(request, name):
    """The fake and the real files."""
    if request.param == "memory":
        return MemoryFiles()
    client = request.getfixturevalue("aws")("s3")
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return S3Files(client)
