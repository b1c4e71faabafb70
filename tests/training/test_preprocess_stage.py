"""The stage in S3: manifest in; data set, profile and verdicts out; old objects come from the cache."""

import io
import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import boto3
import polars as pl
import pytest
from moto import mock_aws

from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training import integrity, storage
from training.data import conversion
from training.data.collection import write_manifest
from training.data.known_labels import LabelCounts
from training.data.preprocess import preprocess
from training.data.presets import preset
from training.data.reports import columns
from training.outcome import Permanent, Refused
from training.synthetic import slices

TODAY = date(2026, 1, 1)
CASES = Path(__file__).parents[1] / "cases/data"
RUN = "s3://artifacts/runs/fraud-1"


@pytest.fixture(scope="module")
def parts() -> list[pl.DataFrame]:
    return slices(20_000, 4, [0.8, 0.2], fraud_rate=0.01)


@pytest.fixture
def s3(monkeypatch):
    """The data bucket and the artifacts bucket."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("s3")
        for bucket in ("data", "artifacts"):
            client.create_bucket(Bucket=bucket)
        yield client


def landed(s3, key: str, body: bytes | pl.DataFrame, new: bool = True) -> dict[str, object]:
    """An object in the data bucket, as the manifest names it."""
    content = body if isinstance(body, bytes) else body.write_csv().encode()
    etag = s3.put_object(Bucket="data", Key=key, Body=content)["ETag"].strip('"')
    return {"bucket": "data", "key": key, "etag": etag, "version_id": None, "size": len(content), "new": new}


def ordered(*objects: dict[str, object], launch: str = "0123456789ab", **inputs: str) -> StageRequest:
    manifest = {"format": 1, "run_id": "fraud-1", "model": "fraud", "epoch": 1, "objects": list(objects)}
    storage.write_json(f"{RUN}/manifest.json", manifest)
    output = f"{RUN}/preprocess/1/{launch}"
    fields = {"manifest": f"{RUN}/manifest.json", **inputs}
    return StageRequest("fraud-1", "fraud", Stage.PREPROCESS, 1, launch, output, fields, {"split": "quantiles"})


def test_a_manifest_becomes_a_data_set(s3, parts, tmp_path):
    """Outputs lie under the launch's own URI; the data set is proven by its manifest; figures are of the data."""
    first, second = landed(s3, "data/a b+c.csv", parts[0]), landed(s3, "data/2.csv", parts[1])
    order = ordered(first, second)
    result = preprocess(order, TODAY)
    assert all(uri.startswith(order.output_uri) for uri in result.outputs.values())
    folder = storage.download_folder(result.outputs["dataset"], tmp_path)
    assert "transactions.parquet" in integrity.listed(str(folder))
    assert integrity.differing(folder, integrity.listed(str(folder))) == []
    assert pl.read_parquet(folder / "transactions.parquet").height == 20_000 == result.metrics["rows"]
    assert {k: result.details[k] for k in ("accepted", "quarantined")} == {"accepted": 2, "quarantined": 0}
    objects = storage.read_json(result.outputs["objects"])
    assert [(entry["key"], entry["status"], entry["rows"]) for entry in objects] == [
        ("data/a b+c.csv", "ACCEPTED", 16_000),
        ("data/2.csv", "ACCEPTED", 4_000),
    ]
    json.dumps(dict(result.details), allow_nan=False)


def test_the_bad_object_is_quarantined_alone(s3, parts):
    """Its row, column, finding and expectation stand in objects.json; the good one is learned from."""
    bad = parts[1].drop("MCC").with_columns(Amount=pl.lit("n/a"))
    result = preprocess(ordered(landed(s3, "good.csv", parts[0]), landed(s3, "bad.csv", bad)), TODAY)
    assert (result.details["accepted"], result.details["quarantined"]) == (1, 1)
    entry = storage.read_json(result.outputs["objects"])[1]
    assert entry["status"] == "QUARANTINED"
    assert {problem["column"] for problem in entry["problems"]} == {"MCC", "Amount"}
    assert entry["problems"][1] | {"expected": ""} == {"row": 1, "column": "Amount", "found": "n/a", "expected": ""}


def test_labels_that_come_later_are_counted(s3):
    """The same transactions again, 40 of them reported as fraud by now: the report says so, the later labels count."""
    first, later = ((CASES / f"labels_{name}.csv").read_bytes() for name in ("first", "later"))
    order = ordered(landed(s3, "z-first.csv", first, new=False), landed(s3, "a-later.csv", later))
    order = replace(order, parameters={**order.parameters, "min_rows": 100, "label_maturity_days": 1})
    result = preprocess(order, TODAY)
    for fields in (result.details, result.metrics):
        assert (fields["corrected"], fields["duplicates"]) == (40, 533)
    assert result.metrics["rows"] == 573
    assert sum(part["frauds"] for part in result.details["splits"].values()) >= 45  # 10 by the first labels


def reported(s3, key: str, transactions: pl.DataFrame, label: str, at: str, **more: object) -> dict[str, object]:
    """A labels file in the data bucket: these transactions, all with this label."""
    named = transactions.select(*(name for name in columns(preset()) if name != "Is Fraud?"))
    entry = landed(s3, key, named.with_columns(**{"Is Fraud?": pl.lit(label), "reported_at": pl.lit(at)}))
    return entry | {"kind": "labels", "epoch": 1, "arrived_at": 1.0} | more


def test_a_labels_file_corrects_what_was_learned(s3, parts, tmp_path):
    """Yesterday's payments, today's reports alone: the next data set says so, and so does the index, which has both."""
    first = preprocess(ordered(landed(s3, "data/day.csv", parts[0])), TODAY)
    good = parts[0].filter(pl.col("Is Fraud?") == "No").head(200).unique(columns(preset())[:-1], keep="none")
    chargebacks = reported(s3, "labels/monday.csv", good, "Yes", "2025-01-05")
    order = ordered(chargebacks, launch="ba9876543210")
    manifest = storage.read_json(f"{RUN}/manifest.json") | {"format": 2, "index": first.outputs["index"]}
    storage.write_json(f"{RUN}/manifest.json", manifest)
    second = preprocess(order, TODAY)
    assert second.metrics["rows"] == first.metrics["rows"] == 16_000
    assert (second.metrics["labels_corrected"], second.metrics["reports"]) == (len(good), len(good))
    assert second.details["labels"]["labels_corrected"] == len(good)
    frauds = [sum(part["frauds"] for part in run.details["splits"].values()) for run in (first, second)]
    assert frauds[1] - frauds[0] == len(good)
    (told,) = storage.read_json(second.outputs["objects"])
    assert (told["key"], told["status"], told["rows"]) == ("labels/monday.csv", "ACCEPTED", len(good))
    table = pl.read_parquet(io.BytesIO(storage.read_bytes(second.outputs["index"])))
    assert dict(table.select("key", "kind").rows()) == {"data/day.csv": "data", "labels/monday.csv": "labels"}
    third = ordered(launch="aaaaaaaaaaaa")
    storage.write_json(f"{RUN}/manifest.json", manifest | {"objects": [], "index": second.outputs["index"]})
    assert preprocess(third, TODAY).metrics == dict(second.metrics) | {"objects_accepted": 0.0}


def test_a_bad_labels_file_is_quarantined_alone(s3, parts):
    """The run goes on with the transactions; the reason is on record like theirs."""
    entry = landed(s3, "labels/a.csv", b"User,Is Fraud?\n1,Yes\n") | {"kind": "labels"}
    result = preprocess(ordered(landed(s3, "data/day.csv", parts[0]), entry), TODAY)
    assert (result.details["accepted"], result.details["quarantined"]) == (1, 1)
    told = storage.read_json(result.outputs["objects"])[1]
    assert {problem["column"] for problem in told["problems"]} >= {"Card", "Amount", "Merchant Name"}


def test_an_index_of_an_earlier_release_is_of_data(s3, parts):
    """It has no column that says so."""
    first = preprocess(ordered(landed(s3, "data/day.csv", parts[0])), TODAY)
    body = io.BytesIO()
    pl.read_parquet(io.BytesIO(storage.read_bytes(first.outputs["index"]))).drop("kind").write_parquet(body)
    storage.write_bytes(f"{RUN}/former.parquet", body.getvalue())
    order = ordered(launch="ba9876543210")
    manifest = storage.read_json(f"{RUN}/manifest.json") | {"format": 2, "index": f"{RUN}/former.parquet"}
    storage.write_json(f"{RUN}/manifest.json", manifest)
    assert preprocess(order, TODAY).metrics["rows"] == 16_000


def test_nothing_new_is_refused_with_the_evidence(s3, parts):
    """Old objects are good, the only new one is bad: refused, and objects.json is there all the same."""
    order = ordered(landed(s3, "old.csv", parts[0], new=False), landed(s3, "new.csv", b"nonsense"))
    with pytest.raises(Refused, match=r"nothing new was accepted \(1 objects\): s3://data/new\.csv") as refusal:
        preprocess(order, TODAY)
    result = refusal.value.result
    assert result.details == {"accepted": 0, "quarantined": 1}
    assert [entry["status"] for entry in storage.read_json(result.outputs["objects"])] == ["ACCEPTED", "QUARANTINED"]


def test_a_run_without_new_objects_learns_again(s3, parts):
    """The night, or a person, may ask for a run over what there is; with nothing at all it is refused."""
    result = preprocess(ordered(landed(s3, "old.csv", parts[0], new=False)), TODAY)
    fields = {"accepted": 0, "quarantined": 0, "corrected": 0, "duplicates": 0, "splits": None}
    assert {**result.details, "splits": None} == fields | {"labels": LabelCounts().as_dict(), "warnings": []}
    with pytest.raises(Refused, match="nothing new was accepted"):
        preprocess(ordered(), TODAY)


def test_an_old_object_is_not_read_again(s3, parts, monkeypatch):
    """The second run finds the first one's clean rows in the cache: even a deleted object serves."""
    old = landed(s3, "old.csv", parts[0])
    first = preprocess(ordered(old), TODAY)
    s3.delete_object(Bucket="data", Key="old.csv")
    opened = []
    real = conversion.Converter.convert

    def converting(*given):
        opened.append(given[1])
        return real(*given)

    monkeypatch.setattr(conversion.Converter, "convert", converting)
    both = [old | {"new": False}, landed(s3, "night.csv", parts[1])]
    second = preprocess(ordered(*both, launch="ba9876543210"), TODAY)
    assert len(opened) == 1
    assert (first.metrics["rows"], second.metrics["rows"]) == (16_000, 20_000)
    kept = storage.list_uris("s3://artifacts/cache")
    assert {uri.rpartition(".")[2] for uri in kept} == {"parquet", "json"}
    assert len(kept) == 4


@pytest.mark.parametrize("harm", ["changed", "cut", "deleted"])
def test_a_cache_that_lies_is_made_anew(s3, parts, harm):
    """The cache may be deleted at any time, and what does not match its digest is not used."""
    old = landed(s3, "old.csv", parts[0])
    preprocess(ordered(old), TODAY)
    (clean,) = (uri for uri in storage.list_uris("s3://artifacts/cache") if uri.endswith(".parquet"))
    body = storage.read_bytes(clean)
    if harm == "deleted":
        s3.delete_object(Bucket="artifacts", Key=storage.split(clean)[1])
    else:
        storage.write_bytes(clean, body[:-100] if harm == "cut" else body[:-100] + bytes(100))
    assert preprocess(ordered(old, launch="ba9876543210"), TODAY).metrics["rows"] == 16_000
    assert storage.read_bytes(clean) == body


def test_an_overwritten_object_is_not_taken_for_the_old_one(s3, parts):
    """Without versioning only the etag tells that the key now holds something else: it is quarantined."""
    entry = landed(s3, "k.csv", parts[0])
    s3.put_object(Bucket="data", Key="k.csv", Body=parts[1].write_csv().encode())
    result = preprocess(ordered(entry, landed(s3, "good.csv", parts[0].tail(9_000))), TODAY)
    problem = storage.read_json(result.outputs["objects"])[0]["problems"][0]
    assert "overwritten since" in problem["found"]
    assert result.details["quarantined"] == 1


def test_drift_is_of_the_new_rows_against_the_champion(s3, parts):
    """The next night drifts little; rows with tripled amounts show it in that column alone."""
    old = landed(s3, "old.csv", parts[0])
    first = preprocess(ordered(old), TODAY)
    champion = "s3://artifacts/models/fraud/fraud-1-01234567"
    storage.write_bytes(f"{champion}/profile.json", storage.read_bytes(first.outputs["profile"]))
    tripled = pl.col("Amount").str.replace("$", "", literal=True).cast(pl.Float64) * 3
    drifts = []
    for number, frame in enumerate((parts[1], parts[1].with_columns(tripled.alias("Amount")))):
        objects = [old | {"new": False}, landed(s3, f"new{number}.csv", frame)]
        order = ordered(*objects, launch=f"{number:012x}", champion=champion)
        drifts.append(storage.read_json(preprocess(order, TODAY).outputs["profile"])["drift"])
    calm, shifted = drifts
    assert max(calm.values()) < 0.25
    assert shifted["amount"] > 0.5
    assert {name: value for name, value in shifted.items() if name != "amount"} == {
        name: value for name, value in calm.items() if name != "amount"
    }


def test_a_prefix_is_collected_without_side_files(s3, parts):
    """What no controller has kept is listed by the same rule; when each object came goes along."""
    landed(s3, "in/part-0000.csv", parts[0])
    for name in ("_temporary/0/part-0000.csv", "_committed_1", ".part-0000.csv.crc", "_SUCCESS"):
        s3.put_object(Bucket="data", Key=f"in/{name}", Body=b"x")
    uri = write_manifest("nightly", "fraud", "0123456789ab", "s3://data/in/", "s3://artifacts")
    (entry,) = storage.read_json(uri)["objects"]
    assert entry["key"] == "in/part-0000.csv"
    assert entry["arrived_at"] > 1.7e9


# -- the index ----------------------------------------------------------------------------------------------------


def following(s3, result, *objects, removed=(), launch="ba9876543210"):
    """The next run's order: the manifest names the index that `result` left, and only what is new."""
    uri = result.outputs["index"]
    manifest = {"format": 2, "run_id": "fraud-2", "model": "fraud", "epoch": 2, "objects": list(objects)}
    manifest |= {"index": uri, "index_sha256": integrity.sha256_bytes(storage.read_bytes(uri))}
    storage.write_json(f"{RUN}/manifest.json", manifest | {"removed": list(removed)})
    fields = {"manifest": f"{RUN}/manifest.json"}
    return StageRequest("fraud-2", "fraud", Stage.PREPROCESS, 1, launch, f"{RUN}/preprocess/1/{launch}", fields, {})


def indexed(result):
    frame = pl.read_parquet(storage.read_bytes(result.outputs["index"]))
    return {row["key"]: row for row in frame.to_dicts()}


def test_the_index_is_extended_by_what_is_new(s3, parts):
    """The same data set as from all objects at once; the verdicts are on the new object only."""
    old, new = landed(s3, "old.csv", parts[0]), landed(s3, "new.csv", parts[1])
    whole = preprocess(ordered(old, new), TODAY)
    first = preprocess(ordered(old, launch="a" * 12), TODAY)
    second = preprocess(following(s3, first, new), TODAY)
    hashes = [storage.read_json(f"{made.outputs['dataset']}/dataset.json")["data_sha256"] for made in (whole, second)]
    assert hashes[0] == hashes[1]
    assert [entry["key"] for entry in storage.read_json(second.outputs["objects"])] == ["new.csv"]
    rows = indexed(second)
    assert [(key, row["rows"], row["etag"]) for key, row in rows.items()] == [
        ("new.csv", 4_000, new["etag"]),
        ("old.csv", 16_000, old["etag"]),
    ]
    assert storage.exists(rows["old.csv"]["clean"])
    assert rows["old.csv"]["first"] < rows["old.csv"]["last"] < rows["new.csv"]["last"]


def test_objects_before_the_history_are_not_fetched_but_stay_on_record(s3, parts, monkeypatch):
    """Their bytes and cached rows are not asked for; a wider window reads them again."""
    day, days = pl.date("Year", "Month", "Day"), sorted(parts[0].select(day=pl.date("Year", "Month", "Day"))["day"])
    cut, late = days[4_800], days[9_600]
    old, middle, new = (parts[0].filter(w) for w in (day < cut, (day >= cut) & (day <= late), day > late))
    first = preprocess(ordered(landed(s3, "old.csv", old), landed(s3, "middle.csv", middle)), TODAY)
    fetched: list[str] = []
    read, download = storage.read_bytes, storage.download

    def noted(call):
        def noting(uri, *given):
            fetched.append(uri)
            return call(uri, *given)

        return noting

    monkeypatch.setattr(storage, "read_bytes", noted(read))
    monkeypatch.setattr(storage, "download", noted(download))
    order = following(s3, first, landed(s3, "new.csv", new))
    whole = preprocess(order, TODAY)
    both = [uri for uri in fetched if "/cache/" in uri]
    assert len(both) >= 4  # verdict and rows of each
    fetched.clear()
    newest = storage.read_json(f"{whole.outputs['dataset']}/dataset.json")["last"]
    window = (newest - int(indexed(whole)["new.csv"]["first"])) // 86_400 + 1
    limits = {"training_window_days": window, "history_days": (late - cut).days // 2, "min_frauds": 0}
    narrow = replace(order, parameters=limits)
    second = preprocess(narrow, TODAY)
    read_again = {Path(uri).stem for uri in fetched if "/cache/" in uri}
    assert read_again == {Path(indexed(whole)[name]["clean"]).stem for name in ("middle.csv", "new.csv")}
    assert len(new) < second.metrics["rows"] < len(middle) + len(new)
    assert indexed(second)["old.csv"] == indexed(first)["old.csv"]
    again = preprocess(following(s3, second, launch="c" * 12), TODAY)
    assert again.metrics["rows"] == len(parts[0])


def test_what_was_removed_is_learned_from_no_more(s3, parts):
    """It leaves the data set and the index; its bytes are not asked for."""
    old, bad = landed(s3, "old.csv", parts[0]), landed(s3, "bad.csv", parts[1])
    first = preprocess(ordered(old, bad), TODAY)
    second = preprocess(following(s3, first, removed=[bad]), TODAY)
    assert second.metrics["rows"] == 16_000
    assert list(indexed(second)) == ["old.csv"]


def test_the_newest_accepted_write_of_a_key_wins(s3, parts):
    """A good write takes the place of the one before; a bad one leaves it where it is, and is told alone."""
    first = preprocess(ordered(landed(s3, "k.csv", parts[0])), TODAY)
    bad = landed(s3, "k.csv", b"nonsense")
    more = landed(s3, "more.csv", parts[1])
    second = preprocess(following(s3, first, bad, more), TODAY)
    assert (second.metrics["rows"], indexed(second)["k.csv"]["rows"]) == (20_000, 16_000)
    statuses = {entry["key"]: entry["status"] for entry in storage.read_json(second.outputs["objects"])}
    assert statuses == {"k.csv": "QUARANTINED", "more.csv": "ACCEPTED"}
    good = landed(s3, "k.csv", parts[0].tail(9_000))
    third = preprocess(following(s3, second, good, launch="c" * 12), TODAY)
    assert (third.metrics["rows"], indexed(third)["k.csv"]["etag"]) == (13_000, good["etag"])


def test_an_index_that_is_gone_or_changed_fails_for_good_and_says_what_to_do(s3, parts):
    """Never a run over less than there is."""
    first = preprocess(ordered(landed(s3, "old.csv", parts[0])), TODAY)
    order = following(s3, first, landed(s3, "new.csv", parts[1]))
    storage.write_bytes(first.outputs["index"], b"PAR1")
    with pytest.raises(Permanent, match="was changed since it was reported"):
        preprocess(order, TODAY)
    s3.delete_object(Bucket="artifacts", Key=storage.split(first.outputs["index"])[1])
    with pytest.raises(Permanent, match=r"is gone; `fraudloop reindex fraud`"):
        preprocess(order, TODAY)


def test_a_refused_run_leaves_its_index_too(s3, parts):
    """What was removed stays removed, although nothing new was accepted."""
    old, bad = landed(s3, "old.csv", parts[0]), landed(s3, "bad.csv", parts[1])
    first = preprocess(ordered(old, bad), TODAY)
    with pytest.raises(Refused) as refusal:
        preprocess(following(s3, first, landed(s3, "new.csv", b"nonsense"), removed=[bad]), TODAY)
    assert list(indexed(refusal.value.result)) == ["old.csv"]
