import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from local.aws import resources
from local.aws.resources import TABLE, client

KEY = {"pk": {"S": "run#1"}, "sk": {"S": "run"}}


def bump(dynamodb, transactional):
    """An optimistic increment: read, then write on the condition that nobody wrote in between, and repeat."""
    while True:
        seen = dynamodb.get_item(TableName=TABLE, Key=KEY, ConsistentRead=True)["Item"]["version"]["N"]
        change = {
            "TableName": TABLE,
            "Key": KEY,
            "UpdateExpression": "SET version = :new",
            "ConditionExpression": "version = :seen",
            "ExpressionAttributeValues": {":new": {"N": str(int(seen) + 1)}, ":seen": {"N": seen}},
        }
        with suppress(
            dynamodb.exceptions.ConditionalCheckFailedException, dynamodb.exceptions.TransactionCanceledException
        ):
            if transactional:
                dynamodb.transact_write_items(TransactItems=[{"Update": change}])
            else:
                dynamodb.update_item(**change)
            return


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("transactional", [False, True])
def test_no_conditional_write_is_lost_between_threads(url, transactional):
    """Eight writers increment on the condition of their reading: each increment counts."""
    dynamodb = client("dynamodb", url)
    dynamodb.put_item(TableName=TABLE, Item=KEY | {"version": {"N": "0"}})
    with ThreadPoolExecutor(8) as writers:
        list(writers.map(lambda _: bump(client("dynamodb", url), transactional), range(40)))
    assert dynamodb.get_item(TableName=TABLE, Key=KEY)["Item"]["version"]["N"] == "40"


@pytest.mark.usefixtures("made")
def test_a_transaction_that_fails_leaves_nothing(url):
    """All or nothing in the table, its index and its stream, although copies of the table share items."""
    dynamodb = client("dynamodb", url)
    first, second = (KEY | {"pk": {"S": f"run#{n}"}, "version": {"N": "1"}} for n in (1, 2))
    dynamodb.put_item(TableName=TABLE, Item=first)
    puts = [
        {"Put": {"TableName": TABLE, "Item": second | {"due_shard": {"S": "DUE#0"}, "due_at": {"N": "1"}}}},
        {"Put": {"TableName": TABLE, "Item": first | {"version": {"N": "2"}}}},
        {"Put": {"TableName": TABLE, "Item": KEY | {"pk": {"S": "x"}}, "ConditionExpression": "attribute_exists(pk)"}},
    ]
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
        dynamodb.transact_write_items(TransactItems=puts)
    assert dynamodb.scan(TableName=TABLE)["Items"] == [first]
    assert dynamodb.scan(TableName=TABLE, IndexName="due")["Items"] == []
    dynamodb.transact_write_items(TransactItems=puts[:2])
    assert {item["version"]["N"] for item in dynamodb.scan(TableName=TABLE)["Items"]} == {"1", "2"}


def test_a_consumer_that_waits_for_a_message_holds_up_nobody(url, made):
    """Long polling does not hold the lock: others write, and a message of theirs ends the wait."""
    queue = made.queues[resources.HINTS]
    with ThreadPoolExecutor(1) as consumer:
        began = time.monotonic()
        receiving = consumer.submit(client("sqs", url).receive_message, QueueUrl=queue, WaitTimeSeconds=10)
        time.sleep(0.3)
        client("sqs", url).send_message(QueueUrl=queue, MessageBody="hello")
        assert receiving.result()["Messages"][0]["Body"] == "hello"
        assert time.monotonic() - began < 5


def test_a_consumer_waits_as_long_as_it_asked(url, made):
    """An empty queue answers after WaitTimeSeconds, without messages."""
    began = time.monotonic()
    assert "Messages" not in client("sqs", url).receive_message(
        QueueUrl=made.queues[resources.HINTS], WaitTimeSeconds=1
    )
    assert 1 <= time.monotonic() - began < 3


@pytest.mark.usefixtures("made")
def test_objects_keep_their_bytes_in_every_kind_of_upload(url):
    """Single, multipart and zero-byte uploads come back byte for byte, each with a version id."""
    s3 = client("s3", url)
    big = bytes(range(256)) * 4096 * 6
    s3.put_object(Bucket=resources.DATA, Key="empty", Body=b"")
    s3.put_object(Bucket=resources.DATA, Key="a b+c.csv", Body=big)
    parts = s3.create_multipart_upload(Bucket=resources.DATA, Key="parts")["UploadId"]
    where = {"Bucket": resources.DATA, "Key": "parts", "UploadId": parts}
    tags = [s3.upload_part(**where, PartNumber=n, Body=big)["ETag"] for n in (1, 2)]
    listed = [{"ETag": tag, "PartNumber": n} for n, tag in enumerate(tags, 1)]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": listed})
    for key, expected in {"empty": b"", "a b+c.csv": big, "parts": big + big}.items():
        found = s3.get_object(Bucket=resources.DATA, Key=key)
        assert found["Body"].read() == expected
        assert found["VersionId"]
