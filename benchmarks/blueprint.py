"""The transformation of NVIDIA's fraud blueprint (v1.0.1), once the pandas way and once with our columns in polars.

What it makes of each row: `Amount` scaled by median and quartiles of train, the ids of card, merchant and category as
binary digits, errors, channel, city and zip as binary digits or one-hot (eight values or fewer), the label and the
part. Left out on both sides, because they throw rows away or only print: de-duplication, under-sampling, correlations.
Its own encoders come from category_encoders; here the digits are computed with plain pandas, which gives the same.
"""

from pathlib import Path

import pandas as pd
import polars as pl

from training.data import canonical

IDS = ("Card", "Merchant", "MCC")  # fitted on all rows, as there
NOMINAL = ("Errors", "Chip", "City", "Zip")  # fitted on train
ONE_HOT_AT_MOST = 8
QUARTILES = (0.25, 0.5, 0.75)
NAMES = {
    "Merchant Name": "Merchant",
    "Merchant State": "State",
    "Merchant City": "City",
    "Errors?": "Errors",
    "Use Chip": "Chip",
    "Is Fraud?": "Fraud",
}


def pandas_way(path: Path) -> pd.DataFrame:
    """Step by step as the blueprint does it."""
    data = pd.read_csv(path).rename(columns=NAMES)
    data["State"] = data["State"].fillna("XX")
    data["Errors"] = data["Errors"].fillna("XX")
    data["Zip"] = data["Zip"].fillna(0)
    data["Amount"] = data["Amount"].str.replace("$", "", regex=False).astype("float")
    data["Fraud"] = data["Fraud"].map({"No": 0, "Yes": 1}).astype("int8")
    data["Errors"] = data["Errors"].str.replace(",", "", regex=False)
    parts = data["Time"].str.split(":", expand=True)
    data["Time"] = (parts[0].astype("int32") * 60 + parts[1].astype("int32")).astype("int32")
    data["Merchant"] = data["Merchant"].astype("str")
    data["Card"] = data["User"] * data["Card"].nunique() + data["Card"]
    train = data["Year"] < 2018
    made: dict[str, pd.Series] = {}
    for name in IDS:
        made |= _digits(name, data[name], data[name])
    for name in NOMINAL:
        few = data[name].nunique() <= ONE_HOT_AT_MOST
        made |= _one_hot(name, data[name], data[name][train]) if few else _digits(name, data[name], data[name][train])
    low, middle, high = data["Amount"][train].quantile(list(QUARTILES))
    made["Amount"] = (data["Amount"] - middle) / (high - low)
    made["Fraud"] = data["Fraud"]
    made["part"] = (data["Year"] >= 2018).astype("int8") + (data["Year"] > 2018).astype("int8")
    return pd.DataFrame(made)


def _digits(name: str, column: pd.Series, fitted: pd.Series) -> dict[str, pd.Series]:
    values = fitted.unique()
    ordinal = column.map(dict(zip(values, range(1, len(values) + 1), strict=True))).fillna(0).astype("int64")
    width = len(values).bit_length()
    return {f"{name}_{n}": ((ordinal // 2 ** (width - 1 - n)) % 2).astype("int8") for n in range(width)}


def _one_hot(name: str, column: pd.Series, fitted: pd.Series) -> dict[str, pd.Series]:
    return {f"{name}_{value}": (column == value).astype("int8") for value in sorted(fitted.unique())}


def our_way(path: Path) -> pl.DataFrame:
    """The same columns from our parser's clean ones."""
    clean = canonical.canonical()
    text = {"Chip": pl.col("Use Chip"), "City": pl.col("Merchant City"), "Errors": pl.col("Errors?")}
    data = (
        pl.scan_csv(path, schema=dict(canonical.RAW_SCHEMA))
        .select(
            **{name: value.cast(pl.Categorical) for name, value in text.items()},
            Merchant=clean["merchant_key"],
            MCC=clean["mcc"],
            Zip=clean["zip"],
            Amount=clean["cents"] / 100,
            Fraud=clean["label"],
            Year=pl.col("Year"),
            user=clean["user"],
            number=clean["number"],
        )
        .with_columns(Errors=pl.col("Errors").fill_null("XX"), Card=pl.col("user") * 10 + pl.col("number"))
        .collect(engine="streaming")
    )
    fitted = _fitted(data)
    values = {name: fitted[name].item() for name in (*IDS, *NOMINAL)}
    few = {name for name in NOMINAL if fitted[f"{name} values"].item() <= ONE_HOT_AT_MOST}
    ordinals = {name: _ordinal(name, values[name]) for name in values if name not in few}
    made: dict[str, pl.Expr] = {}
    for name, known in values.items():
        made |= _flags(name, known) if name in few else _bits(name, len(known))
    low, middle, high = (fitted[f"Amount {q}"].item() for q in QUARTILES)
    part = (pl.col("Year") >= 2018).cast(pl.Int8) + (pl.col("Year") > 2018).cast(pl.Int8)
    return (
        data.lazy()
        .with_columns(**ordinals)
        .select(**made, Amount=(pl.col("Amount") - middle) / (high - low), Fraud="Fraud", part=part)
        .collect(engine="streaming")
    )


def _fitted(data: pl.DataFrame) -> pl.DataFrame:
    """All that is fitted, in one pass: values in the order of their appearance, their number, the quartiles."""
    train = pl.col("Year") < 2018
    return (
        data.lazy()
        .select(
            *(pl.col(name).unique(maintain_order=True).implode() for name in IDS),
            *(pl.col(name).filter(train).unique(maintain_order=True).implode() for name in NOMINAL),
            *(pl.col(name).n_unique().alias(f"{name} values") for name in NOMINAL),
            *(pl.col("Amount").filter(train).quantile(q, "linear").alias(f"Amount {q}") for q in QUARTILES),
        )
        .collect()
    )


def _ordinal(name: str, values: pl.Series) -> pl.Expr:
    numbers = pl.Series(range(1, len(values) + 1), dtype=pl.Int32)
    return pl.col(name).replace_strict(values, numbers, default=0, return_dtype=pl.Int32)


def _bits(name: str, values: int) -> dict[str, pl.Expr]:
    width = values.bit_length()
    return {f"{name}_{n}": (pl.col(name) & 2 ** (width - 1 - n)).ne(0).cast(pl.Int8) for n in range(width)}


def _flags(name: str, fitted: pl.Series) -> dict[str, pl.Expr]:
    values = sorted(fitted.cast(pl.String))
    return {f"{name}_{value}": (pl.col(name) == value).cast(pl.Int8) for value in values}


def differences(theirs: pd.DataFrame, ours: pl.DataFrame) -> list[str]:
    """Names of the columns that differ in place or in any value; amounts may differ in the last digits of a double."""
    if list(theirs.columns) != ours.columns:
        return ["the columns themselves"]
    same = {
        name: abs(theirs[name].to_numpy().astype("float64") - ours[name].to_numpy().astype("float64")).max() < 1e-9
        for name in ours.columns
    }
    return [name for name, equal in same.items() if not equal]
