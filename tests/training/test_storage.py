"""One API over S3 and local folders. A missing file differs from a failed request. Manifests notice any change."""

import io
import time

import boto3
import pytest
from botocore.exceptions import ClientError, IncompleteReadError
from botocore.response import StreamingBody
from moto import mock_aws

from training import integrity, storage


@pytest.fixture(params=["local", "s3"])
def root(request, tmp_path, monkeypatch):
    """A place to write to: the same contract holds for a folder and for a bucket."""
    if request.param == "local":
        yield str(tmp_path / "root")
        return
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket/root"


def test_what_was_written_is_read(root):
    """Bytes and JSON come back as they went in."""
    storage.write_bytes(storage.join(root, "a", "b.bin"), b"\x00\x01")
    storage.write_json(storage.join(root, "c.json"), {"b": 1, "a": [None]})
    assert storage.read_bytes(f"{root}/a/b.bin") == b"\x00\x01"
    assert storage.read_json(f"{root}/c.json") == {"a": [None], "b": 1}
    assert storage.list_uris(root) == [f"{root}/a/b.bin", f"{root}/c.json"]


def test_absent_is_file_not_found(root):
    """A missing file is `FileNotFoundError` in every function, and `exists` is false."""
    assert not storage.exists(f"{root}/none")
    assert storage.list_uris(f"{root}/none") == []
    with pytest.raises(FileNotFoundError, match="none"):
        storage.read_bytes(f"{root}/none")
    with pytest.raises(FileNotFoundError, match="none"):
        storage.download_folder(f"{root}/none", "unused")


def test_a_failed_download_leaves_nothing(root, tmp_path):
    """A file is complete or not there."""
    with pytest.raises(FileNotFoundError):
        storage.download(f"{root}/none", tmp_path / "x" / "y")
    assert list((tmp_path / "x").glob("y")) == []


def test_a_folder_travels_whole(root, tmp_path):
    """Upload and download keep names and bytes, and the manifest is the last to arrive."""
    folder = tmp_path / "folder"
    storage.write_bytes(str(folder / "zz" / "weights"), b"w")
    storage.write_bytes(str(folder / "aa"), b"a")
    integrity.write_manifest(folder)
    storage.upload_folder(folder, f"{root}/there")
    back = storage.download_folder(f"{root}/there", tmp_path / "back")
    assert set(integrity.listed(str(back))) == {"aa", "zz/weights"}
    assert integrity.differing(back, integrity.listed(str(back))) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../../b", "a//b", "/etc/passwd", "./a", ".."])
def test_a_name_that_leads_out_of_the_folder_is_refused(monkeypatch, tmp_path, name):
    """S3 takes any key; a folder on disk does not. Nothing is written, not even the good files."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for key in ("root/good", f"root/{name}"):
            client.put_object(Bucket="bucket", Key=key, Body=b"x")
        with pytest.raises(ValueError, match="no name for a file in a folder"):
            storage.download_folder("s3://bucket/root", tmp_path / "inside")
        assert list(tmp_path.rglob("*")) == []


class Breaking:
    """S3 whose first answers break in the middle of the body."""

    def __init__(self, client, times: int) -> None:
        self.client, self.times = client, times

    def get_object(self, **asked):
        answer = self.client.get_object(**asked)
        if self.times:
            self.times -= 1
            short = StreamingBody(io.BytesIO(answer["Body"].read()[:2]), content_length=answer["ContentLength"])
            return answer | {"Body": short}
        return answer


@pytest.fixture
def versions(monkeypatch):
    """A bucket with two versions of `k`: the client, and the version ids."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        client.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
        yield client, [client.put_object(Bucket="bucket", Key="k", Body=body) for body in (b"one", b"two")]


def test_bytes_are_fetched_by_version_or_by_etag(versions, tmp_path):
    """The result has etag, version and digest. S3 itself refuses another content than the etag's."""
    _, (first, second) = versions
    etags = [put["ETag"].strip('"') for put in (first, second)]
    found = storage.fetch("s3://bucket/k", tmp_path / "k", first["VersionId"], etags[0])
    assert (found.path.read_bytes(), found.etag, found.version_id) == (b"one", etags[0], first["VersionId"])
    assert found.sha256 == integrity.sha256_bytes(b"one")
    assert storage.fetch("s3://bucket/k", tmp_path / "k", "", etags[1]).path.read_bytes() == b"two"
    with pytest.raises(ClientError, match="PreconditionFailed"):
        storage.fetch("s3://bucket/k", tmp_path / "k", "", etags[0])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_body_that_breaks_off_is_read_again(versions, tmp_path, monkeypatch, times):
    """A few times; then it is an outage, not a property of the object."""
    client, _ = versions
    breaking = Breaking(client, times)
    monkeypatch.setattr(storage, "_s3", lambda: breaking)
    if times < storage.READS:
        assert storage.fetch("s3://bucket/k", tmp_path / "k").path.read_bytes() == b"two"
    else:
        with pytest.raises(IncompleteReadError):
            storage.fetch("s3://bucket/k", tmp_path / "k")


def test_the_manifest_is_uploaded_last(tmp_path, monkeypatch):
    """Whoever sees the manifest sees everything that it lists."""
    folder, order = tmp_path / "folder", []
    for name in ("zz", "MANIFEST.json", "aa", "model/MANIFEST.json"):  # a folder in it has one too
        storage.write_bytes(str(folder / name), b"x")
    monkeypatch.setattr(storage, "upload", lambda path, uri, **_: order.append(str(path.relative_to(folder))))
    storage.upload_folder(folder, "s3://bucket/there")
    assert (sorted(order[:-1]), order[-1]) == (["aa", "model/MANIFEST.json", "zz"], "MANIFEST.json")


def test_calls_of_which_one_fails_end_with_its_error():
    """Answers come in the calls' order. After a failure no call is begun, and those under way end first, however long
    the first one takes.
    """
    assert storage.at_once(lambda number: number * 2, [(one,) for one in range(40)]) == list(range(0, 80, 2))
    begun, ended = [], []

    def work(number):
        begun.append(number)
        if number == 1:
            raise FileNotFoundError("number 1")
        time.sleep(0.05 if number else 1)
        ended.append(number)

    with pytest.raises(FileNotFoundError, match="number 1"):
        storage.at_once(work, [(one,) for one in range(200)])
    assert len(begun) < 100
    assert sorted([*ended, 1]) == sorted(begun)


def test_only_what_is_said_to_be_intermediate_is_tagged_as_such(tmp_path, monkeypatch):
    """The lifecycle rule uses that tag. Reports, manifests and JSON never have it, whatever their size."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    folder = tmp_path / "dataset"
    for name in ("transactions.parquet", "dataset.json", "MANIFEST.json"):
        storage.write_bytes(str(folder / name), b"x" * 300_000)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        storage.upload_folder(folder, "s3://bucket/runs/r/dataset", intermediate=True)
        storage.upload_folder(folder, "s3://bucket/models/m")
        storage.write_bytes("s3://bucket/runs/r/state.pt", b"x", intermediate=True)
        storage.write_bytes("s3://bucket/runs/r/report.json", b"x" * 300_000)
        storage.write_json("s3://bucket/runs/r/manifest.json", ["x" * 300_000])
        keys = [found["Key"] for found in client.list_objects_v2(Bucket="bucket")["Contents"]]
        tags = {key: client.get_object_tagging(Bucket="bucket", Key=key)["TagSet"] for key in keys}
    assert [key for key in keys if tags[key]] == ["runs/r/dataset/transactions.parquet", "runs/r/state.pt"]
    name, value = storage.INTERMEDIATE.split("=")
    assert tags["runs/r/state.pt"] == [{"Key": name, "Value": value}]
    assert len(keys) == 9


def test_an_object_has_versions(monkeypatch):
    """A version id fetches what it names; the local stand-in's "null" means none."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        client.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
        first = client.put_object(Bucket="bucket", Key="k", Body=b"one")
        client.put_object(Bucket="bucket", Key="k", Body=b"two")
        assert storage.read_bytes("s3://bucket/k", first["VersionId"]) == b"one"
        assert storage.read_bytes("s3://bucket/k", "null") == b"two"
        assert storage.etag("s3://bucket/k", first["VersionId"]) == first["ETag"].strip('"')


@pytest.mark.parametrize(("change", "name"), [("changed", "a"), ("missing", "a"), ("added", "c")])
def test_a_manifest_notices_every_change(tmp_path, change, name):
    """The comparison names the file that is missing, changed or not listed."""
    for file in ("a", "b"):
        storage.write_bytes(str(tmp_path / file), file.encode())
    integrity.write_manifest(tmp_path)
    if change == "missing":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(b"another")
    assert integrity.differing(tmp_path, integrity.listed(str(tmp_path))) == [name]


def test_a_folder_without_a_manifest_is_not_finished(tmp_path):
    """Reading the list of its files raises FileNotFoundError."""
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(FileNotFoundError):
        integrity.listed(str(tmp_path))


def test_nan_is_no_json():
    """What other readers could not parse is refused when it is written."""
    with pytest.raises(ValueError, match="JSON"):
        storage.dump_json({"x": float("nan")})
