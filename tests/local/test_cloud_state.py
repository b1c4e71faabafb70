"""The local cloud with a folder, as a process that is killed and restarted."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from local.aws import resources
from local.aws.resources import ARTIFACTS, DATA, TABLE, client
from local.process import answers, end, spawn
from training.ports import free_port


class Cloud:
    """One folder and one port; `kill` is `kill -9`."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        command = [sys.executable, "-m", "local.aws.server", str(self.port), str(self.folder)]
        self.process = spawn(command, log=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not answers(self.url):
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self):
        self.kill()
        self.start()


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path / "cloud")
    yield made
    end(made.process)


def versions(s3, bucket):
    """All versions in a bucket, as S3 lists them."""
    listed = s3.list_object_versions(Bucket=bucket)
    fields = ("Key", "VersionId", "ETag", "Size", "IsLatest", "LastModified")
    return [
        sorted(tuple(str(one.get(name)) for name in fields) for one in listed.get(kind, []))
        for kind in ("Versions", "DeleteMarkers")
    ]


def test_objects_come_back_with_their_versions(cloud):
    """Bytes, etags, version ids, times, delete markers and the order of versions, after kill -9."""
    s3 = client("s3", cloud.url)
    first = s3.put_object(Bucket=DATA, Key="Tag 1/ä+b.csv", Body=b"one", Metadata={"who": "me"})["VersionId"]
    s3.put_object(Bucket=DATA, Key="Tag 1/ä+b.csv", Body=b"two")
    s3.put_object(Bucket=DATA, Key="gone", Body=b"three")
    s3.delete_object(Bucket=DATA, Key="gone")
    s3.put_object(Bucket=DATA, Key="purged", Body=b"four")
    purged = s3.put_object(Bucket=DATA, Key="purged", Body=b"five")["VersionId"]
    s3.delete_object(Bucket=DATA, Key="purged", VersionId=purged)
    part = bytes(range(256)) * 4096 * 6
    upload = s3.create_multipart_upload(Bucket=ARTIFACTS, Key="parts")["UploadId"]
    where = {"Bucket": ARTIFACTS, "Key": "parts", "UploadId": upload}
    tags = [s3.upload_part(**where, PartNumber=n, Body=part)["ETag"] for n in (1, 2)]
    listed = [{"ETag": tag, "PartNumber": n} for n, tag in enumerate(tags, 1)]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": listed})
    s3.create_bucket(Bucket="another")
    s3.put_object(Bucket="another", Key="x", Body=b"")
    before = [versions(s3, bucket) for bucket in (DATA, ARTIFACTS, "another")]
    for _ in range(2):
        cloud.restart()
        assert [versions(s3, bucket) for bucket in (DATA, ARTIFACTS, "another")] == before
    assert s3.get_object(Bucket=DATA, Key="Tag 1/ä+b.csv")["Body"].read() == b"two"
    old = s3.get_object(Bucket=DATA, Key="Tag 1/ä+b.csv", VersionId=first)
    assert (old["Body"].read(), old["Metadata"]) == (b"one", {"who": "me"})
    assert s3.get_object(Bucket=DATA, Key="purged")["Body"].read() == b"four"
    assert s3.get_object(Bucket=ARTIFACTS, Key="parts", Range="bytes=1-3")["Body"].read() == b"\1\2\3"
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=DATA, Key="gone")


def test_items_come_back_in_the_table_and_its_index(cloud):
    """Puts, updates, deletes and transactions, and not a failed one."""
    dynamodb = client("dynamodb", cloud.url)

    def item(n, **more):
        due = {"due_shard": {"S": "DUE#0"}, "due_at": {"N": str(n)}, "run_id": {"S": f"r{n}"}}
        return {"pk": {"S": f"run#{n}"}, "sk": {"S": "run"}, "nested": {"M": {"ä": {"NULL": True}}}, **due, **more}

    for n in range(4):
        dynamodb.put_item(TableName=TABLE, Item=item(n))
    key = {name: item(0)[name] for name in ("pk", "sk")}
    dynamodb.delete_item(TableName=TABLE, Key=key)
    change = {"UpdateExpression": "SET version = :v", "ExpressionAttributeValues": {":v": {"N": "7"}}}
    dynamodb.update_item(TableName=TABLE, Key={name: item(1)[name] for name in ("pk", "sk")}, **change)
    dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": TABLE, "Item": item(5)}}])
    impossible = {"TableName": TABLE, "Item": item(1), "ConditionExpression": "attribute_not_exists(pk)"}
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException):
        dynamodb.transact_write_items(
            TransactItems=[{"Put": {"TableName": TABLE, "Item": item(6)}}, {"Put": impossible}]
        )
    cloud.restart()
    found = {one["pk"]["S"]: one for one in dynamodb.scan(TableName=TABLE)["Items"]}
    assert found == {f"run#{n}": item(n) for n in (2, 3, 5)} | {"run#1": item(1, version={"N": "7"})}
    assert {one["run_id"]["S"] for one in dynamodb.scan(TableName=TABLE, IndexName="due")["Items"]} == {
        "r1",
        "r2",
        "r3",
        "r5",
    }


def test_the_stream_goes_on_under_its_name(cloud):
    """A reader finds the next record after a restart, by the same ARN and a higher sequence number."""
    dynamodb, streams = client("dynamodb", cloud.url), client("dynamodbstreams", cloud.url)
    dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": "a"}, "sk": {"S": "a"}})
    arn = resources.find(cloud.url).stream_arn

    def read(**where):
        shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, **where)["ShardIterator"]
        return streams.get_records(ShardIterator=iterator)["Records"]

    (first,) = read(ShardIteratorType="TRIM_HORIZON")
    cloud.restart()
    assert resources.find(cloud.url).stream_arn == arn
    dynamodb.put_item(TableName=TABLE, Item={"pk": {"S": "b"}, "sk": {"S": "b"}})
    (second,) = read(ShardIteratorType="TRIM_HORIZON")
    assert second["dynamodb"]["Keys"]["pk"] == {"S": "b"}
    assert int(second["dynamodb"]["SequenceNumber"]) == int(first["dynamodb"]["SequenceNumber"]) + 1


def test_messages_come_back_and_deleted_ones_do_not(cloud):
    """Waiting messages, dead letters and messages in flight, in their order."""
    sqs = client("sqs", cloud.url)
    queue = resources.find(cloud.url).queues[resources.HINTS]
    for n in range(4):
        sqs.send_message(QueueUrl=queue, MessageBody=f"m{n}")
    recorded = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=2)["Messages"]
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=recorded[0]["ReceiptHandle"])
    cloud.restart()
    left = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert [message["Body"] for message in left] == ["m1", "m2", "m3"]
    assert (
        "fraudloop-hints-dlq"
        in sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]["RedrivePolicy"]
    )


def test_an_object_and_its_event_are_one(cloud):
    """The event of an object is stored with it; the rules work after a restart."""
    s3, sqs = client("s3", cloud.url), client("sqs", cloud.url)
    queue = resources.find(cloud.url).queues[resources.S3_EVENTS]
    s3.put_object(Bucket=DATA, Key="one", Body=b"1")
    cloud.restart()
    s3.put_object(Bucket=DATA, Key="two", Body=b"2")
    bodies = [m["Body"] for m in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]]
    assert [key in body for key, body in zip(('"one"', '"two"'), bodies, strict=True)] == [True, True]


def test_nothing_that_was_acknowledged_is_lost(cloud):
    """Killed five times at random moments under four writers: every acknowledged write is there, objects before
    items.
    """
    acknowledged, stop = [], threading.Event()

    def write(writer):
        s3, dynamodb = client("s3", cloud.url), client("dynamodb", cloud.url)
        n = 0
        while not stop.is_set():
            n += 1
            name = f"{writer}-{n}"
            with suppress(BotoCoreError, ClientError):
                tag = s3.put_object(Bucket=ARTIFACTS, Key=name, Body=name.encode() * 1000)["ETag"]
                item = {"pk": {"S": name}, "sk": {"S": "x"}, "etag": {"S": tag}}
                dynamodb.put_item(TableName=TABLE, Item=item)
                acknowledged.append(name)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for n in range(5):
        time.sleep(0.3 + 0.11 * n)
        cloud.restart()
    stop.set()
    for writer in writers:
        writer.join()
    cloud.restart()
    s3, dynamodb = client("s3", cloud.url), client("dynamodb", cloud.url)
    pages = dynamodb.get_paginator("scan").paginate(TableName=TABLE)
    items = {one["pk"]["S"]: one["etag"]["S"] for page in pages for one in page["Items"]}
    assert len(acknowledged) > 20
    assert set(acknowledged) <= items.keys()
    for name, tag in items.items():
        found = s3.get_object(Bucket=ARTIFACTS, Key=name)
        assert (found["ETag"], found["Body"].read()) == (tag, name.encode() * 1000)
    assert len(list((cloud.folder / "objects").iterdir())) >= len(items)


def test_a_cloud_that_cannot_write_answers_nothing(cloud):
    """A full disk ends it before it acknowledges. After the restart it has what it had acknowledged."""
    s3 = client("s3", cloud.url)
    s3.put_object(Bucket=DATA, Key="kept", Body=b"1")
    objects = cloud.folder / "objects"
    objects.rename(cloud.folder / "elsewhere")
    with pytest.raises(BotoCoreError):
        s3.put_object(Bucket=DATA, Key="lost", Body=b"2")
    cloud.process.wait(10)
    (cloud.folder / "elsewhere").rename(objects)
    cloud.start()
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=DATA)["Contents"]] == ["kept"]
