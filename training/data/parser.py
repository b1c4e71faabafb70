"""From the file's quirks to clean columns: the one parser of raw TabFormer transactions, offline and in the server.

Works on strings and on typed columns alike, and never raises on a value: what cannot be understood becomes null,
which `training.data.checks` then reports with its row. Fields that may be empty get a value of their own, not null.
"""

from datetime import date

import polars as pl

RAW_SCHEMA: dict[str, type[pl.DataType]] = {
    "User": pl.Int32,
    "Card": pl.Int32,
    "Year": pl.Int32,
    "Month": pl.Int32,
    "Day": pl.Int32,
    "Time": pl.String,
    "Amount": pl.String,
    "Use Chip": pl.String,
    "Merchant Name": pl.Int64,
    "Merchant City": pl.String,
    "Merchant State": pl.String,
    "Zip": pl.Float64,
    "MCC": pl.Int32,
    "Errors?": pl.String,
    "Is Fraud?": pl.String,
}
LABEL = "Is Fraud?"
CHANNELS = ("Swipe Transaction", "Chip Transaction", "Online Transaction")  # code 1, 2, 3
ERRORS = (
    "Insufficient Balance",
    "Bad PIN",
    "Technical Glitch",
    "Bad Card Number",
    "Bad CVV",
    "Bad Expiration",
    "Bad Zipcode",
)  # bit 0 … 6; bit 7 is any other error
OTHER_ERROR = 128
FIRST_YEAR, LAST_YEAR = 1970, 2100
CARDS_PER_USER = 10
VERSION = 2  # of the columns below; cached objects of another version are not read


def canonical(labelled: bool = True) -> dict[str, pl.Expr]:
    """The clean columns by name, as expressions over raw columns.

    `user` and `number` Int32, `date` days and `minute` Int32, `cents` Int32, `channel` Int8, `merchant_key` Int64,
    `state` String ("" if empty), `zip` Int32 (0 if empty), `mcc` Int32, `errors` UInt8,
    `has_city` Boolean, `label` Int8.
    """
    columns = {
        "user": _integer("User"),
        "number": _integer("Card"),
        "date": _date(),
        "minute": _minute(),
        "cents": _cents(),
        "channel": _coded("Use Chip", CHANNELS, 1),
        "merchant_key": pl.col("Merchant Name").cast(pl.Int64, strict=False),
        "state": pl.col("Merchant State").cast(pl.String).fill_null(""),
        "zip": pl.when(pl.col("Zip").is_null()).then(0).otherwise(_whole("Zip")).cast(pl.Int32),
        "mcc": _integer("MCC"),
        "errors": _errors(),
    }
    # The city is no feature, but a file is only read in full, stray fields included, if every column is asked for.
    only_in_files = {"has_city": pl.col("Merchant City").is_not_null(), "label": _coded(LABEL, ("No", "Yes"), 0)}
    return columns | (only_in_files if labelled else {})


def keyed() -> dict[str, pl.Expr]:
    """`time` (seconds since the epoch) and `card_key` Int64 from the clean columns."""
    return {
        "time": pl.col("date").cast(pl.Int64) * 86_400 + pl.col("minute") * 60,
        "card_key": pl.col("user").cast(pl.Int64) * CARDS_PER_USER + pl.col("number"),
    }


def transactions(raw: pl.DataFrame) -> pl.DataFrame:
    """Raw transactions without labels as clean columns with `time` and `card_key`: what the server begins with."""
    return raw.select(**canonical(labelled=False)).with_columns(**keyed())


def _integer(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int32, strict=False)


def _whole(name: str) -> pl.Expr:
    """An integer that may be written as `91750.0`; null if it has a fraction or is none."""
    number = pl.col(name).cast(pl.Float64, strict=False)
    return pl.when(number == number.floor()).then(number).cast(pl.Int32, strict=False)


def _cents() -> pl.Expr:
    """`$-12.05` and `-12.05` are -1205; what is not finite or has no room becomes null."""
    dollars = pl.col("Amount").cast(pl.String).str.strip_prefix("$").cast(pl.Float64, strict=False)
    return (dollars * 100).round().cast(pl.Int32, strict=False)


def _minute() -> pl.Expr:
    """`HH:MM` as minutes since midnight."""
    text = pl.col("Time").cast(pl.String)
    hour = text.str.slice(0, 2).cast(pl.Int32, strict=False)
    minute = text.str.slice(3).cast(pl.Int32, strict=False)
    written = (text.str.len_bytes() == 5) & (text.str.slice(2, 1) == ":")
    inside = hour.is_between(0, 23) & minute.is_between(0, 59)
    return pl.when(written & inside).then(hour * 60 + minute)


def _date() -> pl.Expr:
    """Days since the epoch by table: polars' own constructor raises on 31 February instead of saying null."""
    year, month, day = (_integer(name) for name in ("Year", "Month", "Day"))
    inside = year.is_between(FIRST_YEAR, LAST_YEAR) & month.is_between(1, 12) & day.is_between(1, 31)
    slot = ((year - FIRST_YEAR) * 12 + month - 1) * 31 + day - 1
    return pl.lit(_DAYS).gather(pl.when(inside).then(slot))


def _days() -> pl.Series:
    epoch = date(1970, 1, 1).toordinal()
    slots = ((y, m, d) for y in range(FIRST_YEAR, LAST_YEAR + 1) for m in range(1, 13) for d in range(1, 32))
    return pl.Series([_ordinal(*slot, epoch) for slot in slots], dtype=pl.Int32)


def _ordinal(year: int, month: int, day: int, epoch: int) -> int | None:
    try:
        return date(year, month, day).toordinal() - epoch
    except ValueError:
        return None


_DAYS = _days()


def _coded(name: str, words: tuple[str, ...], first: int) -> pl.Expr:
    """The position of a word in a closed list, counted from `first`; null if it is none of them."""
    code = pl.lit(None, dtype=pl.Int8)
    for number, word in enumerate(words, first):
        code = pl.when(pl.col(name) == word).then(pl.lit(number, dtype=pl.Int8)).otherwise(code)
    return code


def _errors() -> pl.Expr:
    """The known errors in a comma-separated list as bits; an unknown one is `OTHER_ERROR`."""
    text = pl.col("Errors?").cast(pl.String)
    bits = pl.lit(0, dtype=pl.UInt8)
    for bit, word in enumerate(ERRORS):
        bits = bits | pl.when(text.str.contains(word, literal=True)).then(1 << bit).otherwise(0).cast(pl.UInt8)
    return (
        pl.when(text.is_null() | (text == "")).then(0).when(bits == 0).then(OTHER_ERROR).otherwise(bits).cast(pl.UInt8)
    )
