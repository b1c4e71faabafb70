"""Labels files: what they must say, what is wrong with one, and what a data set learns from them."""

import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.data import reports
from training.data.parser import NEVER
from training.data.preprocess import Prepared, PreprocessConfig, admit, configured, local_sources, prepare
from training.data.split import DAY, GAP, IMMATURE
from training.outcome import Refused
from training.serving.csv_codec import served

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from declared_files import SHAPES, larger

TODAY = date(2026, 11, 27)


def written(path: Path, table: pl.DataFrame) -> Path:
    table.write_parquet(path) if path.suffix == ".parquet" else table.write_csv(path)
    return path


def taken_apart(name: str, folder: Path) -> tuple[Path, Path, PreprocessConfig, PreprocessConfig]:
    """A file of that shape without its label column, the labels as a file of their own, and both declarations."""
    table, told = SHAPES[name]
    file = larger(name, folder)
    settings_ = {"min_rows": 1, "max_duplicate_share": 0.9, "label_delay_days": 3, "label_maturity_days": 3}
    whole, bare = configured(settings_ | {"data": table}), configured(settings_ | {"data": table | {"label": False}})
    columns = pl.read_csv(file, infer_schema=False)
    label = (columns[told["label"]] == told["words"][1]).cast(pl.Int8).cast(pl.String).alias(reports.LABEL)
    identity = [column for column in reports.columns(bare.data) if column != reports.LABEL]
    at = pl.Series("reported_at", ["2019-02-01 10:00:00"] * len(columns))
    labels = columns.select(*dict.fromkeys(identity)).with_columns(label, at)
    return (
        written(folder / "bare.csv", columns.drop(told["label"])),
        written(folder / "labels.csv", labels),
        whole,
        bare,
    )


@pytest.mark.parametrize("name", ["sparkov", "fdh", "paysim", "ieee", "seconds", "eurocomma", "yen", "merchantname"])
def test_a_labels_file_says_what_the_column_said(tmp_path: Path, name: str) -> None:
    """Of each known shape: its rows without a label, and a file of reports: the same labels, known when reported."""
    file, labels, whole, bare = taken_apart(name, tmp_path)
    one = prepare([tmp_path / f"{name}.csv"], tmp_path / "one", whole, today=TODAY).folder / "transactions.parquet"
    other = prepare([file], tmp_path / "other", bare, today=TODAY, labels=[labels])
    own, fed = pl.read_parquet(one), pl.read_parquet(other.folder / "transactions.parquet")
    there = own["label"] >= 0
    doubled = fed.select("time", *key_columns(fed), "clean_cents").is_duplicated()  # one report means all equal ones
    assert own.filter(there & ~doubled)["label"].to_list() == fed.filter(there & ~doubled)["label"].to_list()
    reported = int(datetime(2019, 2, 1, 10, tzinfo=UTC).timestamp())
    known = fed.filter(pl.col("label") == 1)
    assert known["known_at"].to_list() == [max(reported, time) for time in known["time"].to_list()]
    assert other.dataset["labels"]["reported"] == len(fed)
    assert other.dataset["labels"]["waiting"] == 0


def key_columns(table: pl.DataFrame) -> list[str]:
    return [name for name in table.columns if name.endswith("_key")]


def test_a_column_that_only_says_fraud_has_a_word_for_good_in_requests() -> None:
    """A feed may say that a transaction was good; a line of history must be able to."""
    data = configured({"data": {"label": {"fraud": ["1"], "good": [], "empty": True}}}).data
    told = served(data).label
    assert told is not None
    assert (told.fraud, told.good, told.empty) == (("1",), ("0",), True)


LINE = {
    "User": "1", "Card": "0", "Year": "2025", "Month": "3", "Day": "4", "Time": "10:15", "Amount": "$12.50",
    "Merchant Name": "77", "Is Fraud?": "Yes", "reported_at": "2025-03-09", "number": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Is Fraud?": ""}, "row 1, column Is Fraud?: found empty, expected Yes or No"),
        ({"Is Fraud?": "Perhaps"}, "found Perhaps"),
        ({"reported_at": "yesterday"}, "column reported_at: found yesterday, expected a time such as"),
        ({"reported_at": "2093-01-01"}, "column reported_at: found 2093-01-01"),
        ({"number": "0"}, "column number: found 0, expected a running number from 1, or empty"),
        ({"number": "one"}, "column number: found one"),
        ({"Amount": "12 coins"}, "column Amount: found 12 coins"),
        ({"User": None}, "column User: found no such column, expected the column in the header"),
        ({"Is Fraud?": None}, "column Is Fraud?: found no such column"),
        ({"Day": "31", "Month": "2"}, "found 2025-2-31, expected a date that exists"),
    ],
)
def test_a_labels_file_that_is_wrong_is_judged_with_its_reason(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """Row, column, what was found and what was expected, as for transactions."""
    line = {name: value for name, value in (LINE | change).items() if value is not None}
    verdict = judged(tmp_path, pl.DataFrame({name: [value] for name, value in line.items()}))
    assert said in verdict.problems[0].sentence()


def judged(folder: Path, table: pl.DataFrame, name: str = "labels.csv") -> Any:
    sources = local_sources([], [written(folder / name, table)])
    return next(iter(admit(sources, configured({}), today=TODAY, scratch=folder).verdicts.values()))


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_what_may_be_left_out_may_be_left_out(tmp_path: Path, name: str) -> None:
    """`reported_at` and `number`; other columns are not looked at."""
    table = pl.DataFrame({key: [value] for key, value in LINE.items()}).drop("reported_at", "number")
    verdict = judged(tmp_path, table.with_columns(Note=pl.lit("?")), name)
    assert verdict.accepted
    assert (verdict.rows, verdict.frauds, verdict.last) == (1, 1, NEVER)


def test_no_table_at_all_is_unreadable(tmp_path: Path) -> None:
    """A binary file, a file of other columns, and an empty one end in a verdict."""
    for number, body in enumerate((b"\x00\x01", b"a,b\n1,2\n", b"", b"User,Is Fraud?\n")):
        file = tmp_path / f"{number}.csv"
        file.write_bytes(body)
        sources = local_sources([], [file])
        verdict = next(iter(admit(sources, configured({}), today=TODAY, scratch=tmp_path).verdicts.values()))
        assert not verdict.accepted


# -- the data set -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("fed")
    file, labels, _, bare = taken_apart("fdh", folder)
    return prepare([file], folder / "dataset", bare, today=TODAY, labels=[labels])


def test_the_delay_is_estimated_and_warned_of(fed: Prepared) -> None:
    """All frauds of 90 days were reported on 1 February: half of them within a few days of nothing."""
    labels = json.loads((fed.folder / "dataset.json").read_text())["labels"]
    table = pl.read_parquet(fed.folder / "transactions.parquet").filter(pl.col("label") == 1)
    days = ((table["known_at"] - table["time"]) / DAY).sort()
    assert labels["delay_median_days"] == pytest.approx(days.median(), abs=1)
    assert labels["delay_p90_days"] == pytest.approx(days.quantile(0.9, "nearest"), abs=1e-3)
    (warning,) = fed.dataset["warnings"]
    assert warning.startswith(f"nine of ten frauds are reported within {labels['delay_p90_days']:.3g} days")
    assert "more than a tenth of the 89.9 days that the data span" in warning


def test_a_column_delay_that_is_long_for_the_data_is_warned_of(tmp_path: Path) -> None:
    """It names the setting; a shorter one is no trouble."""
    file = larger("fdh", tmp_path)
    for days, warned in ((10, True), (8, False)):
        config = configured({"data": {"preset": "handbook"}, "min_rows": 1, "label_delay_days": days})
        made = prepare([file], tmp_path / f"{days}", config, today=TODAY)
        assert [one.startswith("label_delay_days is 10: ") for one in made.dataset["warnings"]] == [True] * warned


def test_a_reported_label_of_a_young_row_is_shown_and_no_seed(fed: Prepared) -> None:
    """It teaches the histories of later rows; the row itself is in no split, and neither are its silent neighbours."""
    table = pl.read_parquet(fed.folder / "transactions.parquet")
    young = table.filter(pl.col("split") == IMMATURE)
    assert (young["time"].min() or 0) > table["time"].max() - 3 * DAY  # type: ignore[operator]
    assert set(young["label"]) <= {0, 1}
    assert (young["known_at"] < NEVER).all()


def test_a_gap_keeps_the_last_days_before_a_split_out_of_it(tmp_path: Path) -> None:
    """Neither train nor validate reach up to what comes after them; without one nothing is left out."""
    file = larger("fdh", tmp_path)
    plain = {"data": {"preset": "handbook"}, "min_rows": 1, "label_delay_days": 5}
    for days in (0, 5):
        made = prepare([file], tmp_path / f"{days}", configured(plain | {"validate_gap_days": days}), today=TODAY)
        table, bounds = pl.read_parquet(made.folder / "transactions.parquet"), made.dataset["boundaries"]
        outside = table.filter(pl.col("split") == GAP)
        assert ("gap" in made.dataset["splits"]) == bool(days) == (len(outside) > 0)
        for begin in (bounds["validate"], bounds["test"]):
            near = table.filter((pl.col("time") < begin) & (pl.col("time") >= begin - days * DAY))
            assert set(near["split"]) == ({GAP} if days else set())
        assert (outside["label"] >= 0).all()


def test_without_labels_a_run_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    """No column and no feed; or a feed and no transactions."""
    file, labels, _, bare = taken_apart("fdh", tmp_path)
    with pytest.raises(Refused, match=r"no labels file was accepted \(fraudloop land FILE --labels\)"):
        prepare([file], tmp_path / "one", bare, today=TODAY)
    with pytest.raises(Refused, match="only labels were accepted so far, and no transactions"):
        prepare([], tmp_path / "two", bare, today=TODAY, labels=[labels])
