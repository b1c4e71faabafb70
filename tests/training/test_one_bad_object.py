"""Whatever one object is or becomes, it alone is quarantined, with its key and a bounded reason; the others teach."""

import gzip
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import polars as pl
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from statemachine.contracts.report import MAX_BYTES
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.data import fetching
from training.data.preprocess import preprocess
from training.data.source import Source
from training.outcome import Permanent, Refused, StageResult
from training.synthetic import generate, slices

TODAY = date(2026, 1, 1)
RUN = "s3://artifacts/runs/fraud-1"
FILES = Path(__file__).parents[1] / "cases/files"


@pytest.fixture(scope="module")
def parts() -> list[pl.DataFrame]:
    return slices(12_000, 4, [0.8, 0.1, 0.1], fraud_rate=0.02)


@pytest.fixture
def s3(monkeypatch):
    """A data bucket with versions, and the artifacts bucket."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        for bucket in ("data", "artifacts"):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
        yield client


class Answering:
    """S3 that answers GetObject of some keys of one bucket with an error of its own."""

    def __init__(self, client: Any, code: str, status: int, refused: Callable[[str], bool]) -> None:
        self.client, self.code, self.status, self.refused = client, code, status, refused
        self.bucket = "data"

    def get_object(self, **asked: Any) -> Any:
        if asked["Bucket"] == self.bucket and self.refused(asked["Key"]):
            fields = {"Error": {"Code": self.code, "Message": f"{self.code} said S3"}}
            raise ClientError(fields | {"ResponseMetadata": {"HTTPStatusCode": self.status}}, "GetObject")
        return self.client.get_object(**asked)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


@pytest.fixture
def answering(s3, monkeypatch):
    """Makes S3 answer so for the keys that `refused` names."""

    def make(code: str, status: int, refused: Callable[[str], bool]) -> Answering:
        made = Answering(s3, code, status, refused)
        monkeypatch.setattr(storage, "_s3", lambda: made)
        return made

    return make


def landed(s3, key: str, body: bytes | pl.DataFrame, new: bool = True, **more: Any) -> dict[str, Any]:
    """An object in the data bucket, as the manifest names it."""
    content = body if isinstance(body, bytes) else body.write_csv().encode()
    put = s3.put_object(Bucket="data", Key=key, Body=content, **more)
    named = {"bucket": "data", "key": key, "etag": put["ETag"].strip('"'), "version_id": put["VersionId"]}
    return named | {"size": len(content), "new": new}


def run(*objects: dict[str, Any], launch: str = "0123456789ab", **parameters: Any) -> StageResult:
    manifest = {"format": 1, "run_id": "fraud-1", "model": "fraud", "epoch": 1, "objects": list(objects)}
    storage.write_json(f"{RUN}/manifest.json", manifest)
    fields = {"manifest": f"{RUN}/manifest.json"}
    output = f"{RUN}/preprocess/1/{launch}"
    settings = {"min_frauds": 0} | parameters
    return preprocess(StageRequest("fraud-1", "fraud", Stage.PREPROCESS, 1, launch, output, fields, settings), TODAY)


def quarantined(result: StageResult) -> dict[str, str]:
    """Why each object that is not accepted is not, by its key."""
    fields = storage.read_json(result.outputs["objects"])
    return {
        one["key"]: "; ".join(f"{p['found']} | {p['expected']}" for p in one["problems"])
        for one in fields
        if one["status"] == "QUARANTINED"
    }


# -- what an object becomes -------------------------------------------------------------------------------------------


def deleted(s3, entry: dict[str, Any]) -> dict[str, Any]:
    s3.delete_object(Bucket="data", Key=entry["key"])
    return entry | {"version_id": ""}


def version_gone(s3, entry: dict[str, Any]) -> dict[str, Any]:
    s3.delete_object(Bucket="data", Key=entry["key"], VersionId=entry["version_id"])
    return entry


def a_delete_marker(s3, entry: dict[str, Any]) -> dict[str, Any]:
    return entry | {"version_id": s3.delete_object(Bucket="data", Key=entry["key"])["VersionId"]}


def replaced(s3, entry: dict[str, Any]) -> dict[str, Any]:
    s3.put_object(Bucket="data", Key=entry["key"], Body=b"something else")
    return entry | {"version_id": ""}


def archived(storage_class: str) -> Callable[[Any, dict[str, Any]], dict[str, Any]]:
    def change(s3, entry: dict[str, Any]) -> dict[str, Any]:
        source = {"Bucket": "data", "Key": entry["key"]}
        copied = s3.copy_object(Bucket="data", Key=entry["key"], CopySource=source, StorageClass=storage_class)
        return entry | {"version_id": copied["VersionId"]}

    return change


BECOMES = [
    ("deleted", deleted, "it is gone (NoSuchKey)"),
    ("version gone", version_gone, "is gone (NoSuchVersion)"),
    ("a delete marker", a_delete_marker, "is gone ("),
    ("replaced", replaced, "overwritten since"),
    ("Glacier", archived("GLACIER"), "archived, as in Glacier (InvalidObjectState"),
    ("Deep Archive", archived("DEEP_ARCHIVE"), "archived, as in Glacier (InvalidObjectState"),
]


@pytest.mark.parametrize(("change", "fields"), [pytest.param(*row[1:], id=row[0]) for row in BECOMES])
def test_what_an_object_becomes_costs_it_alone(s3, parts, change, fields):
    """The stage learns from its neighbours, and says the key and the reason."""
    good, bad = landed(s3, "good.csv", parts[0]), change(s3, landed(s3, "bad.csv", parts[1]))
    result = run(bad, good)
    assert list(quarantined(result)) == ["bad.csv"]
    assert fields in quarantined(result)["bad.csv"]
    assert (result.details["accepted"], result.details["quarantined"]) == (1, 1)
    assert result.metrics["rows"] == len(parts[0])


def test_a_delete_marker_that_is_asked_for_is_gone(s3, parts, answering):
    """S3: "If the specified version is a delete marker, the response is 405 MethodNotAllowed"; moto says 404."""
    objects = landed(s3, "bad.csv", parts[1]), landed(s3, "good.csv", parts[0])
    answering("MethodNotAllowed", 405, lambda key: key == "bad.csv")
    assert "is gone (MethodNotAllowed)" in quarantined(run(*objects))["bad.csv"]


def test_an_old_object_that_is_gone_from_raw_and_cache_is_quarantined(s3, parts):
    """It was accepted once; with neither its bytes nor its clean rows the model goes on with the others."""
    old = landed(s3, "old.csv", parts[1], new=False)
    version_gone(s3, old)
    result = run(old, landed(s3, "good.csv", parts[0]))
    assert list(quarantined(result)) == ["old.csv"]
    assert (result.details["accepted"], result.details["quarantined"]) == (1, 0)


REFUSALS = [
    ("AccessDenied", 403),
    ("403", 403),
    ("KMS.DisabledException", 400),
    ("KMS.NotFoundException", 400),
    ("KMS.KMSInvalidStateException", 400),
    ("AllAccessDisabled", 403),
    ("InvalidRequest", 400),
]


@pytest.mark.parametrize(("code", "status"), REFUSALS)
def test_a_refusal_of_one_object_is_its_own(s3, parts, answering, code, status):
    """Another object of the bucket can be read, so the role is not to blame."""
    objects = landed(s3, "bad.csv", parts[1]), landed(s3, "good.csv", parts[0])
    answering(code, status, lambda key: key == "bad.csv")
    result = run(*objects)
    assert list(quarantined(result)) == ["bad.csv"]
    assert f"{code}: {code} said S3" in quarantined(result)["bad.csv"]


@pytest.mark.parametrize(("code", "status"), REFUSALS)
def test_a_refusal_of_every_object_is_the_roles(s3, parts, answering, code, status):
    """No object is judged; the stage fails with the permissions that it lacks."""
    objects = landed(s3, "1.csv", parts[0]), landed(s3, "2.csv", parts[1])
    answering(code, status, lambda _: True)
    with pytest.raises(Permanent, match=rf"no object of s3://data .*{code}.*s3:GetObject .*kms:Decrypt"):
        run(*objects)
    assert not storage.exists(f"{RUN}/preprocess/1/0123456789ab/objects.json")


def test_a_refusal_is_tried_against_an_object_that_the_cache_had(s3, parts, answering):
    """All others came from the cache: one of them is asked whether the bucket can be read at all."""
    old = landed(s3, "old.csv", parts[0])
    run(old)
    new = landed(s3, "new.csv", parts[1])
    answering("AccessDenied", 403, lambda key: key == "new.csv")
    with pytest.raises(Refused, match="nothing new was accepted"):
        run(old | {"new": False}, new, launch="ba9876543210")
    answering("AccessDenied", 403, lambda _: True)
    with pytest.raises(Permanent, match="s3:GetObject"):
        run(old | {"new": False}, new, launch="aa9876543210")


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("InternalError", 500), ("ExpiredToken", 400)])
def test_an_outage_says_nothing_about_the_data(s3, parts, answering, code, status):
    """Throttling, 5xx and expired credentials are raised as they are: the attempt fails, nothing is quarantined."""
    objects = landed(s3, "bad.csv", parts[1]), landed(s3, "good.csv", parts[0])
    answering(code, status, lambda key: key == "bad.csv")
    with pytest.raises(ClientError, match=code):
        run(*objects)
    assert not storage.exists(f"{RUN}/preprocess/1/0123456789ab/objects.json")


def test_every_passing_code_is_raised(s3, answering):
    """The table is walked."""
    source = Source("s3://data/k", "i", "k", etag="e")
    for code in fetching.PASSING:
        answering(code, 400, lambda _: True)
        with pytest.raises(ClientError):
            fetching.fetch(source, Path("unused"))


# -- what an object is ------------------------------------------------------------------------------------------------


def packed(body: bytes, times: int) -> bytes:
    for _ in range(times):
        body = gzip.compress(body, mtime=0)
    return body


def bomb(mebibytes: int) -> bytes:
    """Zeros as one gzip file."""
    made, piece = io.BytesIO(), bytes(1 << 20)
    with gzip.GzipFile(fileobj=made, mode="wb", mtime=0) as file:
        for _ in range(mebibytes):
            file.write(piece)
    return made.getvalue()


def repeated(rows: int) -> bytes:
    """One transaction so many times as a Parquet file, which packs it into next to nothing."""
    one = generate(300, 0).head(1)
    columns = {name: pl.repeat(one[name][0], rows, eager=True, dtype=one[name].dtype) for name in one.columns}
    made = io.BytesIO()
    pl.DataFrame(columns).write_parquet(made)
    return made.getvalue()


def huge_header() -> bytes:
    return b"\x01" * 32_700 + b"," + b"\x01" * 32_700 + b"\nx,y\n"


def panics(number: int) -> bytes:
    return (FILES / f"parquet_flipped_panics_{number}.parquet").read_bytes()


IS = [
    ("a panic in the footer", lambda csv: panics(1), {}, "panicked"),
    ("a panic in a page", lambda csv: panics(2), {}, "panicked"),
    ("gzip in gzip", lambda csv: packed(csv, 2), {}, "gzip inside of gzip"),
    ("gzip 26 times", lambda csv: packed(csv, 26), {}, "gzip inside of gzip"),
    ("gzip beyond its size", lambda csv: packed(csv, 1), {"max_unpacked_bytes": 10_000}, "max_unpacked_bytes"),
    ("gzip beyond its ratio", lambda csv: bomb(64), {}, "max_unpack_ratio"),
    ("a bomb in a gzip", lambda csv: packed(bomb(64), 1), {}, "gzip inside of gzip"),
    ("Parquet beyond its size", lambda csv: repeated(400_000), {"max_unpacked_bytes": 100_000}, "max_unpacked_bytes"),
    ("a zip archive", lambda csv: b"PK\x03\x04" + csv, {}, "a zip archive | CSV, gzipped CSV or Parquet"),
    ("a header of 65 kB", lambda csv: huge_header(), {}, "the column twice"),
    ("a header without an end", lambda csv: b"x" * 70_000, {}, "a first line of more than 65,536 bytes"),
]


@pytest.mark.parametrize(("make", "settings", "fields"), [pytest.param(*row[1:], id=row[0]) for row in IS])
def test_what_an_object_is_costs_it_alone(s3, parts, make, settings, fields):
    """It is quarantined with a reason of bounded length; the neighbours before and after it teach."""
    bad = make(parts[1].write_csv().encode())
    objects = [landed(s3, "a.csv", parts[0]), landed(s3, "b.csv", bad), landed(s3, "c.csv", parts[2])]
    result = run(*objects, **settings)
    assert list(quarantined(result)) == ["b.csv"]
    assert fields in quarantined(result)["b.csv"]
    assert result.metrics["rows"] == len(parts[0]) + len(parts[2])
    (entry,) = (one for one in storage.read_json(result.outputs["objects"]) if one["key"] == "b.csv")
    assert max(len(text) for p in entry["problems"] for text in (p["column"], p["found"], p["expected"])) <= 300


def test_the_length_and_number_of_problems_are_settings(s3, parts):
    """A file that is wrong in every way is told in a few short words."""
    bad = parts[1].select(pl.all().cast(pl.String) + "?" * 200)
    result = run(landed(s3, "a.csv", parts[0]), landed(s3, "b.csv", bad), max_problems=2, max_message_length=20)
    entry = storage.read_json(result.outputs["objects"])[1]
    assert len(entry["problems"]) == 2
    assert all(len(text) <= 20 for p in entry["problems"] for text in (p["column"], p["found"], p["expected"]))


def test_many_bad_objects_make_a_report_of_bounded_size(s3, parts):
    """Two headers of 65 kB made a report of 393 kB, which no run could read."""
    bad = [landed(s3, f"bad{number}.csv", huge_header() + bytes([number])) for number in range(5)]
    with pytest.raises(Refused) as refusal:
        run(*bad)
    assert len(refusal.value.reason) <= 2000
    assert len(storage.read_bytes(refusal.value.result.outputs["objects"])) < MAX_BYTES


# -- what all of them may take ----------------------------------------------------------------------------------------


def test_more_files_than_the_limit_end_the_stage(s3, parts):
    """The limit is told."""
    with pytest.raises(Permanent, match="2 objects are more than max_files = 1"):
        run(landed(s3, "1.csv", parts[0]), landed(s3, "2.csv", parts[1]), max_files=1)


@pytest.mark.parametrize("pack", [lambda csv: csv, lambda csv: packed(csv, 1)])
def test_an_object_that_takes_more_than_half_of_the_scratch_space_is_bad_alone(s3, parts, pack):
    """As it is, or unpacked: its neighbours fit."""
    large = pack(parts[0].write_csv().encode())
    small = landed(s3, "1.csv", parts[1]), landed(s3, "3.csv", parts[2])
    result = run(small[0], landed(s3, "2.csv", large), small[1], max_scratch_bytes=4 * small[0]["size"])
    assert list(quarantined(result)) == ["2.csv"]
    assert "max_scratch_bytes" in quarantined(result)["2.csv"]
    assert result.metrics["rows"] == len(parts[1]) + len(parts[2])


def test_scratch_space_that_all_of_them_exceed_is_the_stages_trouble(s3, parts):
    """No object is too large, and good data is not quarantined for a small disk: the stage says what is too small."""
    slices = [landed(s3, f"{at:02}.csv", parts[0].slice(at * 800, 800)) for at in range(12)]
    with pytest.raises(Permanent, match=r"max_scratch_bytes = .* is not enough"):
        run(*slices, max_scratch_bytes=3 * slices[0]["size"])


def test_downloads_run_ahead_within_bounds(s3, parts, monkeypatch):
    """At most `max_downloads` raw files, and no more than the scratch space, lie there at once; in the end none."""
    seen: list[int] = []
    real = storage.fetch

    def fetch(uri: str, path: Path, *more: Any) -> storage.Fetched:
        found = real(uri, path, *more)
        seen.append(len(list(path.parent.glob("*.raw"))))
        return found

    monkeypatch.setattr(storage, "fetch", fetch)
    frames = [parts[0], *(parts[1].slice(at * 100, 100) for at in range(11))]
    result = run(*(landed(s3, f"{n:02}.csv", frame) for n, frame in enumerate(frames)), max_downloads=3)
    assert result.details["accepted"] == len(seen) == 12
    assert max(seen) <= 3


# -- what was read is what was judged ---------------------------------------------------------------------------------


def test_bytes_are_those_of_the_version_though_the_key_holds_others(s3, parts):
    """Replaced between the event and the read: the version that was judged new is what is learned from."""
    entry = landed(s3, "k.csv", parts[0])
    landed(s3, "k.csv", parts[1])
    assert run(entry).metrics["rows"] == len(parts[0])


def test_the_cache_says_what_was_read(s3, parts):
    """etag, version and digest of the bytes stand beside the verdict; an entry of other bytes is not used."""
    entry = landed(s3, "k.csv", parts[0])
    run(entry)
    (uri,) = (uri for uri in storage.list_uris("s3://artifacts/cache") if uri.endswith(".json"))
    record = storage.read_json(uri)
    assert (record["read"]["etag"], record["read"]["version_id"]) == (entry["etag"], entry["version_id"])
    assert len(record["read"]["sha256"]) == 64
    storage.write_json(uri, record | {"read": record["read"] | {"etag": "another"}})
    version_gone(s3, entry)
    with pytest.raises(Refused, match="is gone"):
        run(entry, launch="ba9876543210")


def test_a_cache_that_says_403_of_what_is_not_there_is_empty(s3, parts, answering):
    """S3 says so to a role that may not list the bucket: the object is converted, and put there."""
    entry = landed(s3, "k.csv", parts[0])
    answering("AccessDenied", 403, lambda key: key.startswith("cache/")).bucket = "artifacts"
    assert run(entry).metrics["rows"] == len(parts[0])
    assert len([uri for uri in storage.list_uris("s3://artifacts/cache") if uri.endswith(".parquet")]) == 1
    answering("SlowDown", 503, lambda key: key.startswith("cache/")).bucket = "artifacts"
    with pytest.raises(ClientError, match="SlowDown"):
        run(entry, launch="ba9876543210")


def test_content_that_returns_is_learned_from(s3, parts):
    """A, B, A under one key, without versions: the manifest's newest write is what the key holds now."""
    a, b = (frame.write_csv().encode() for frame in (parts[0], parts[1]))
    first = landed(s3, "k.csv", a) | {"version_id": ""}
    assert run(first).metrics["rows"] == len(parts[0])
    second = landed(s3, "k.csv", b) | {"version_id": ""}
    good = landed(s3, "good.csv", parts[0], new=False)
    assert run(second, good, launch="ba9876543210").metrics["rows"] == len(parts[0]) + len(parts[1])
    third = landed(s3, "k.csv", a) | {"version_id": ""}
    assert third["etag"] == first["etag"]
    assert run(third, launch="aa9876543210").metrics["rows"] == len(parts[0])
