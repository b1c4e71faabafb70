"""From files to a data set: split by time, fitted on train only, the same every time, or refused with the reason."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training import integrity, storage
from training.data import parser, schema, split
from training.data.preprocess import PreprocessConfig, configured, prepare
from training.data.presets import preset
from training.outcome import Permanent, Refused
from training.synthetic import generate, slices

TODAY = date(2026, 1, 1)
REAL = Path(__file__).parents[3] / "shared/data/tabformer_user0_first_5000.csv"
ROWS = 30_000
FRAUD = "Is Fraud?"


@pytest.fixture(scope="module")
def parts() -> list[pl.DataFrame]:
    """Three files of one world that continue each other."""
    return slices(ROWS, 11, [0.6, 0.25, 0.15], fraud_rate=0.01)


def written(folder: Path, *frames: pl.DataFrame) -> list[Path]:
    paths = [folder / f"{number}.csv" for number in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        frame.write_csv(path)
    return paths


@pytest.fixture(scope="module")
def made(parts, tmp_path_factory):
    """The data set of those files."""
    folder = tmp_path_factory.mktemp("made")
    return prepare(written(folder, *parts), folder / "dataset", PreprocessConfig(), today=TODAY)


def table(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "transactions.parquet")


def test_the_folder_is_what_the_readers_expect(made):
    """Columns, types and order of `transactions.parquet`; the folder is proven by its manifest."""
    rows = table(made.folder)
    names = ["time", "card", "merchant", "card_key", "merchant_key", "label", "known_at", "split"]
    types = [pl.Int64, pl.Int32, pl.Int32, pl.Int64, pl.Int64, pl.Int8, pl.Int64, pl.Int8]
    assert rows.columns[:8] == names
    assert rows.dtypes[:8] == types
    assert tuple(rows.columns[-len(preset().row) :]) == preset().row
    assert set(rows.select(preset().row).dtypes) == {pl.Float32}
    assert rows.null_count().sum_horizontal().item() == 0
    assert rows["time"].is_sorted()
    assert len(rows) == ROWS == made.dataset["rows"]
    assert integrity.differing(made.folder, integrity.listed(str(made.folder))) == []
    listed = set(integrity.listed(str(made.folder)))
    assert {name for name in listed if not name.startswith("graph/")} == {
        "transactions.parquet", "schema.json", "profile.json", "dataset.json",
    }  # fmt: skip
    assert {"graph/graph.json", "graph/nodes.npy", "graph/card.order.npy", "graph/merchant.key.npy"} < listed


def test_codes_are_dense_and_faithful(made, parts):
    """Codes run from 1 without gaps, and each stands for one card or merchant."""
    rows = table(made.folder)
    for name in ("card", "merchant"):
        pairs = rows.select(name, f"{name}_key").unique()
        assert sorted(pairs[name]) == list(range(1, len(pairs) + 1))
        assert pairs[f"{name}_key"].n_unique() == len(pairs) == made.dataset[f"{name}s"]
    assert rows["merchant_key"].n_unique() == pl.concat(parts)["Merchant Name"].n_unique()


def test_later_parts_are_later(made):
    """Train < validate < test < immature in time, ties never across a boundary, and the shares are as configured."""
    rows = table(made.folder)
    spans = (
        rows.group_by("split")
        .agg(pl.col("time").min().alias("a"), pl.col("time").max().alias("b"), pl.len())
        .sort("split")
    )
    assert spans["split"].to_list() == [0, 1, 2, 3]
    assert all(earlier < later for earlier, later in zip(spans["b"], spans["a"][1:], strict=False))
    mature = spans["len"][:3]
    assert (mature / mature.sum()).to_list() == pytest.approx([0.7, 0.15, 0.15], abs=0.01)
    assert {name: part["rows"] for name, part in made.dataset["splits"].items()} == dict(
        zip(split.NAMES[: split.GAP], spans["len"], strict=True)  # no gap, no history
    )


def test_a_window_bounds_seeds_and_histories(parts, made, tmp_path):
    """Seeds are rows of the last days alone, earlier ones are history with their labels, and earlier still are none."""
    config = PreprocessConfig(training_window_days=400, history_days=100, min_frauds=0)
    windowed = prepare(written(tmp_path, *parts), tmp_path / "d", config, today=TODAY)
    everything, rows = table(made.folder), table(windowed.folder)
    last_day = int(everything["time"][-1]) // split.DAY  # calendar days: the last one is the newest row's own
    seeds, history = (last_day - 399) * split.DAY, (last_day - 499) * split.DAY
    kept = everything.filter(pl.col("time") >= history)
    assert len(rows) == len(kept) < len(everything)
    assert rows.select("time", "card_key", "clean_cents", "label").equals(
        kept.select("time", "card_key", "clean_cents", "label")
    )
    assert ((rows["split"] == split.HISTORY) == (rows["time"] < seeds)).all()
    assert (rows.filter(pl.col("split") == split.HISTORY)["label"] >= 0).all()
    assert windowed.dataset["splits"]["history"]["rows"] == (kept["time"] < seeds).sum() > 0
    assert (windowed.dataset["first"], windowed.dataset["boundaries"]["train"]) == (int(rows["time"][0]), seeds)
    mature = rows.filter(pl.col("split") < split.IMMATURE)["split"].value_counts(sort=True)["count"]
    assert (mature / mature.sum()).to_list() == pytest.approx([0.7, 0.15, 0.15], abs=0.01)


def test_a_window_of_zero_is_everything_and_senseless_ones_are_refused():
    """history_days counts from the window, so it needs one."""
    assert (PreprocessConfig().reach(10**9).seeds, PreprocessConfig().reach(10**9).history) == (split.ALWAYS,) * 2
    assert PreprocessConfig(training_window_days=7).reach(10**9).history == split.ALWAYS
    with pytest.raises(Permanent, match="set training_window_days too"):
        configured({"history_days": 30})
    with pytest.raises(Permanent, match="numbers of days"):
        configured({"training_window_days": -1})


@pytest.mark.parametrize("name", ["label_maturity_days", "label_delay_days", "validate_gap_days"])
def test_a_label_is_not_known_before_its_transaction(name):
    """A span of days below 0 would put it there."""
    with pytest.raises(Permanent, match="not below 0"):
        configured({name: -1})


def test_labels_that_are_too_young_are_unknown(made):
    """Rows younger than `label_maturity_days` are in the graph and in no split; their labels are -1 unless they were
    known by the end of the newest row's day.
    """
    rows = table(made.folder)
    newest: Any = rows["time"].max()
    young = rows["time"] > newest - 30 * 86_400
    assert ((rows["label"] == -1) == ((rows["time"] + 30 * 86_400) // 86_400 > newest // 86_400)).all()
    assert ((rows["split"] == split.IMMATURE) == young).all()


def test_years_split_as_the_blueprint_does(parts, tmp_path):
    """Train before 2018, validate 2018, test from 2019 on."""
    made = prepare(written(tmp_path, *parts), tmp_path / "d", PreprocessConfig(split="years"), today=TODAY)
    rows = table(made.folder).filter(pl.col("split") < split.IMMATURE)
    year = pl.from_epoch("time").dt.year()
    expected = pl.when(year < 2018).then(0).when(year < 2019).then(1).otherwise(2)
    assert rows.select((pl.col("split") == expected).all()).item()
    assert rows["split"].n_unique() == 3


def test_nothing_is_fitted_on_later_rows(parts, tmp_path, made):
    """Other labels and other categories after the train split change no fitted value and no train feature."""
    after = datetime.fromtimestamp(made.dataset["boundaries"]["validate"], UTC).date()
    later = pl.date("Year", "Month", "Day") > after
    swapped = pl.when(pl.col(FRAUD) == "Yes").then(pl.lit("No")).otherwise(pl.lit("Yes"))
    changed = [
        part.with_columns(
            pl.when(later).then(swapped).otherwise(FRAUD).alias(FRAUD),
            pl.when(later).then(7995).otherwise("MCC").alias("MCC"),
        )
        for part in parts
    ]
    other = prepare(written(tmp_path, *changed), tmp_path / "d", PreprocessConfig(), today=TODAY)
    assert other.dataset["schema_sha256"] == made.dataset["schema_sha256"]
    assert other.dataset["data_sha256"] != made.dataset["data_sha256"]
    was, now = (table(x.folder).filter(pl.col("split") == split.TRAIN) for x in (made, other))
    assert was.equals(now)


def test_labels_teach_no_feature_of_the_row(parts, tmp_path, made):
    """No rate is fitted on labels: other labels of the train split change no fitted value; other categories do."""
    first = parts[0].with_columns(pl.col(FRAUD).shuffle(1))
    other = prepare(written(tmp_path, first, *parts[1:]), tmp_path / "d", PreprocessConfig(), today=TODAY)
    assert other.dataset["schema_sha256"] == made.dataset["schema_sha256"]
    moved = parts[0].with_columns(pl.col("MCC").shuffle(1).replace(5411, 5412))
    changed = prepare(written(tmp_path, moved, *parts[1:]), tmp_path / "e", PreprocessConfig(), today=TODAY)
    assert changed.dataset["schema_sha256"] != made.dataset["schema_sha256"]


def test_the_same_files_give_the_same_data_set(parts, tmp_path, made):
    """Byte for byte, in whatever order the files are named."""
    paths = written(tmp_path, *parts)
    again = prepare(paths, tmp_path / "again", PreprocessConfig(), today=TODAY)
    turned = prepare(paths[::-1], tmp_path / "turned", PreprocessConfig(), today=TODAY)
    assert integrity.digests(again.folder) == integrity.digests(made.folder)
    assert turned.dataset["data_sha256"] == made.dataset["data_sha256"]
    keys = ["time", "card", "merchant", *preset().row]
    assert table(turned.folder).select(keys).sort(keys).equals(table(made.folder).select(keys).sort(keys))


def test_the_features_do_not_depend_on_the_data(tmp_path, made):
    """Another world gives the same features in the same order, and the definition has one digest."""
    other = prepare(
        written(tmp_path, generate(5000, 99, fraud_rate=0.02)), tmp_path / "d", PreprocessConfig(), today=TODAY
    )
    assert tuple(table(other.folder).columns) == tuple(table(made.folder).columns)
    schemas = [storage.read_json(str(x.folder / "schema.json")) for x in (made, other)]
    assert schemas[0]["definition"] == schemas[1]["definition"] == schema.definition()
    assert schemas[0]["features"] == list(preset().row)


@pytest.mark.parametrize("typed", [True, False])
def test_the_server_computes_the_very_same_features(made, parts, typed):
    """Raw transactions through the shipped schema, typed or as text, equal the data set's rows bit for bit."""
    fitted = schema.loads((made.folder / "schema.json").read_bytes())
    raw = parts[2].drop(FRAUD).sample(500, seed=1)
    if not typed:
        raw = pl.read_csv(raw.write_csv().encode(), infer_schema=False)
    served = schema.row_features(parser.transactions(raw), fitted)
    keys = ["time", "card_key", "merchant_key", "amount_log"]
    stored = table(made.folder).unique(keys)
    both = served.select("time", "card_key", "merchant_key", *preset().row).join(stored, on=keys, suffix="_stored")
    assert len(both) == 500
    for name in preset().row:
        if name not in keys:
            assert both[name].equals(both[f"{name}_stored"], check_names=False), name


def test_unseen_categories_have_codes_of_their_own(made, parts):
    """A category that train has not seen has the lowest share; nothing raises."""
    fitted = schema.loads((made.folder / "schema.json").read_bytes())
    odd = parts[2].drop(FRAUD).head(1).with_columns(MCC=pl.lit(9998), **{"Merchant State": pl.lit("Atlantis")})
    row = schema.row_features(parser.transactions(odd), fitted)
    for name in preset().open_categories:
        encoding = fitted.encodings[name]
        assert row[f"{name}_share"].item() == pytest.approx(encoding.unseen_share)
        assert encoding.unseen_share < min(encoding.share)


def test_a_schema_of_other_features_is_refused(made):
    """A model never reads another version's schema by accident."""
    body = (made.folder / "schema.json").read_bytes()
    with pytest.raises(ValueError, match="definition"):
        schema.loads(body.replace(schema.definition().encode(), b"0" * 64))


def test_a_bad_file_does_not_reject_its_good_neighbours(parts, tmp_path, made):
    """The good files are learned from; the verdicts say why the bad one is not."""
    bad = parts[1].with_columns(Amount=pl.lit("n/a"))
    paths = written(tmp_path, *parts, bad)
    other = prepare(paths, tmp_path / "d", PreprocessConfig(), today=TODAY)
    assert other.dataset["data_sha256"] == made.dataset["data_sha256"]
    verdicts = list(other.verdicts.values())
    assert [verdict.accepted for verdict in verdicts] == [True, True, True, False]
    assert verdicts[3].problems[0].column == "Amount"
    with pytest.raises(Refused, match=r"strict.*3\.csv.*row 1, column Amount: found n/a"):
        prepare(paths, tmp_path / "s", PreprocessConfig(strict=True), today=TODAY)


def test_nothing_good_is_refused(parts, tmp_path):
    """Only bad files: refused, with the first reasons."""
    bad = parts[1].drop("MCC")
    with pytest.raises(Refused, match=r"nothing new was accepted.*column MCC: found no such column"):
        prepare(written(tmp_path, bad), tmp_path / "d", PreprocessConfig(), today=TODAY)


def test_rows_that_come_again_are_learned_from_once(parts, tmp_path, made):
    """A file delivered again under another name, or one that overlaps an earlier one, adds only what is new."""
    again = [parts[1], pl.concat([parts[1].tail(100), parts[2]])]
    other = prepare(written(tmp_path, parts[0], parts[1], *again), tmp_path / "d", PreprocessConfig(), today=TODAY)
    assert other.dataset["rows"] == made.dataset["rows"]
    keys = ["time", "card", "merchant", *preset().row]
    assert table(other.folder).select(keys).sort(keys).equals(table(made.folder).select(keys).sort(keys))


REFUSALS = [
    ("one class only", lambda frame: frame.with_columns(pl.lit("No").alias(FRAUD)), {}, "0 frauds"),
    ("frauds only", lambda frame: frame.with_columns(pl.lit("Yes").alias(FRAUD)), {}, "one class only"),
    ("too few rows", lambda frame: frame.head(400), {}, "too few rows"),
    ("few frauds", lambda frame: frame, {"min_frauds": 10**6}, "at least 1000000 are needed"),
    ("all too young", lambda frame: frame, {"label_maturity_days": 10_000}, "too few rows: 0 with known labels"),
]


@pytest.mark.parametrize(("change", "settings", "expected"), [pytest.param(*r[1:], id=r[0]) for r in REFUSALS])
def test_what_cannot_be_learned_is_refused(parts, tmp_path, change, settings, expected):
    """The refusal says which split lacks what."""
    paths = written(tmp_path, change(pl.concat(parts).sort("Year", "Month", "Day")))
    with pytest.raises(Refused, match=expected):
        prepare(paths, tmp_path / "d", replace(PreprocessConfig(), **settings), today=TODAY)


def test_dates_in_the_future_are_refused(parts, tmp_path):
    """Today is an argument; a transaction from tomorrow's tomorrow cannot be true."""
    with pytest.raises(Refused, match="a date up to 2016-06-02"):
        prepare(written(tmp_path, *parts), tmp_path / "d", PreprocessConfig(), today=date(2016, 6, 1))


def test_unknown_settings_are_permanent_failures():
    """A typing error in the configuration is told, with the names that exist."""
    assert configured({"min_frauds": 3}).min_frauds == 3
    with pytest.raises(Permanent, match=r"unknown min_fraud; known are .*min_frauds"):
        configured({"min_fraud": 3})
    with pytest.raises(Permanent, match="'quantiles' or 'years'"):
        split.boundaries(pl.Series([0, 1]), "random", 0.7, 0.15, 1)


@pytest.mark.parametrize(("name", "value"), [("max_downloads", 0), ("max_unpack_ratio", -1.0)])
def test_limits_that_nothing_can_keep_are_permanent_failures(name, value):
    """It is the configuration's fault and not the data's: 0 downloads would hang."""
    with pytest.raises(Permanent, match=f"{name} = {value!r}: a limit is a number above 0"):
        configured({name: value})
    with pytest.raises(Permanent, match=r"preprocess\.max_problems is 'many'; it takes a whole number"):
        configured({"max_problems": "many"})
    assert configured({"max_scratch_bytes": 0, "conversion_memory_bytes": 0}) == PreprocessConfig()


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here: the 5,000 real rows")
def test_the_real_rows_go_through(tmp_path):
    """5,000 rows of the real file are all read as what they say; one user's 13 frauds in one month cannot be split."""
    made = prepare([REAL], tmp_path / "d", PreprocessConfig(min_frauds=0), today=TODAY)
    raw, rows = pl.read_csv(REAL), table(made.folder)
    assert made.dataset["rows"] == 5000 == len(raw)
    assert made.dataset["cards"] == 1
    assert made.dataset["merchants"] == raw["Merchant Name"].n_unique()
    dollars = raw["Amount"].str.strip_prefix("$").cast(pl.Float64)
    undone = rows["amount_log"].sign() * (rows["amount_log"].abs().cast(pl.Float64).exp() - 1)
    assert sorted(undone.round(2)) == pytest.approx(sorted(dollars), rel=1e-5, abs=1e-2)
    assert rows["no_state"].sum() == raw["Merchant State"].null_count()
    assert rows["no_zip"].sum() == raw["Zip"].null_count()
    assert rows["online"].sum() == (raw["Use Chip"] == "Online Transaction").sum()
    pins = raw["Errors?"].fill_null("").str.contains("Bad PIN").sum()
    assert rows["error_bad_pin"].sum() == pins
    assert rows["error_other"].sum() == 0
    first = pl.from_epoch(rows["time"].head(1)).item()
    assert first == datetime(2002, 9, 1, 6, 21)
    with pytest.raises(Refused, match="the train split has 3488 rows and 0 frauds; at least 1 are needed"):
        prepare([REAL], tmp_path / "e", PreprocessConfig(), today=TODAY)
