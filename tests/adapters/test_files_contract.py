"""What any `Files` must do, the fake and S3 (moto) alike."""

import pytest
from botocore.exceptions import ClientError

from simulation.memory.files import MemoryFiles
from statemachine.contracts.errors import Denied, Malformed, Misconfigured, Unreachable
from statemachine.core.window import Object


def uri(name, files, key):
    return f"s3://{name}/{key}"


def test_what_was_written_is_read(files, name):
    """Whole, and byte for byte."""
    files.write(uri(name, files, "a b+ü"), b"body")
    assert files.read(uri(name, files, "a b+ü"), 100) == b"body"


def test_what_is_not_there_is_none(files, name):
    """Looked, and not there."""
    assert files.read(uri(name, files, "nothing"), 100) is None


def test_a_huge_file_is_not_taken_whole(files, name):
    """One byte more than the limit says that it is too large."""
    files.write(uri(name, files, "huge"), b"x" * 1000)
    assert len(files.read(uri(name, files, "huge"), 10)) == 11


@pytest.mark.parametrize("files", ["s3"], indirect=True)
def test_a_listing_strips_the_quotes_of_the_etag(files, name):
    """So that an object that was listed and one that was announced have one identity."""
    files.write(uri(name, files, "data/a.csv"), b"a")
    files.write(uri(name, files, "other/b.csv"), b"b")
    (found,) = files.list(name, "data/")
    announced = files.client.head_object(Bucket=name, Key="data/a.csv")["ETag"].strip('"')
    assert (found.key, found.etag, found.size) == ("data/a.csv", announced, 1)


@pytest.mark.parametrize("files", ["s3"], indirect=True)
def test_a_bucket_that_refuses_is_unreachable(files, name, monkeypatch):
    """A refusal is not an absence."""
    monkeypatch.setattr(files.client, "get_object", refusing("SlowDown"))
    with pytest.raises(Unreachable, match="SlowDown"):
        files.read(uri(name, files, "a"), 10)


def refusing(code):
    def refuse(**_):
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "GetObject")

    return refuse


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidObjectState", "KMS.DisabledException"])
@pytest.mark.parametrize("files", ["s3"], indirect=True)
def test_a_file_that_may_not_be_read_is_told_from_an_outage(files, name, monkeypatch, code):
    """No right, a key that is disabled, an object in Glacier: waiting does not mend it."""
    monkeypatch.setattr(files.client, "get_object", refusing(code))
    with pytest.raises(Denied, match=code):
        files.read(uri(name, files, "a"), 10)


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchBucket", "KMS.DisabledException"])
@pytest.mark.parametrize("files", ["s3"], indirect=True)
def test_a_file_that_may_not_be_written_is_told_from_an_outage(files, name, monkeypatch, code):
    """Somebody has to give the right; a write that failed otherwise is tried again."""
    monkeypatch.setattr(files.client, "put_object", refusing(code))
    with pytest.raises(Misconfigured, match=code):
        files.write(uri(name, files, "a"), b"x")
    monkeypatch.setattr(files.client, "put_object", refusing("SlowDown"))
    with pytest.raises(Unreachable, match="SlowDown"):
        files.write(uri(name, files, "a"), b"x")


@pytest.mark.parametrize("address", ["s3://", "s3://a b/c", "nonsense", "s3://bucket/"])
@pytest.mark.parametrize("files", ["s3"], indirect=True)
def test_what_is_no_uri_is_malformed(files, address):
    """botocore refuses it before anything is sent, each time again."""
    with pytest.raises(Malformed):
        files.read(address, 10)


def test_a_listing_goes_on_after_a_key(files, name):
    """In the order of the keys' bytes; the key itself is left out, whether it is still there or not."""
    for key in ("data/ü.csv", "data/a.csv", "data/B.csv", "data/b.csv", "other/c.csv"):
        if isinstance(files, MemoryFiles):
            files.listed.append(Object(name, key, "e", size=1))
        else:
            files.write(uri(name, files, key), b"x")

    def listed(after=""):
        return [obj.key.removeprefix("data/") for obj in files.list(name, "data/", after)]

    assert listed() == ["B.csv", "a.csv", "b.csv", "ü.csv"]
    assert listed("data/a.csv") == ["b.csv", "ü.csv"]
    assert listed("data/aa.csv") == ["b.csv", "ü.csv"]
    assert listed("data/ü.csv") == []


def test_a_listing_tells_neither_versions_nor_sequencers(files, name):
    """Of a key that was overwritten, what it holds now."""
    if isinstance(files, MemoryFiles):
        writes = [Object(name, "data/a.csv", etag, "v", sequencer=f"0{n}") for n, etag in enumerate("xy")]
        files.listed += writes
    else:
        for body in (b"x", b"y"):
            files.write(uri(name, files, "data/a.csv"), body)
    (found,) = files.list(name, "data/")
    assert (found.version_id, found.sequencer) == ("", "")
