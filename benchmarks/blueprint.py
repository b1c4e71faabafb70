"""The transformation of NVIDIA's fraud blueprint (v1.0.1), once in pandas as there and once in polars on our columns.

Output per row: `Amount` scaled by median and quartiles of train; the ids of card, merchant and category as binary
digits;
errors, channel, city and zip as binary digits or one-hot (eight values or fewer); the label and the split. Both sides
omit what drops rows or only prints: de-duplication, under-sampling, correlations. The pandas side uses the blueprint's
own encoders, category_encoders and scikit-learn.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from category_encoders import BinaryEncoder
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, RobustScaler

from training.data import parser

IDS = ("Card", "Merchant", "MCC")  # fitted on all rows, as in the blueprint
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
    """Transform step by step as the blueprint does, with its own encoders."""
    data = _cleaned(path)
    train = data["Year"] < 2018
    made = pd.concat([_ids(data), _predictors(data, train)], axis=1)
    made["Fraud"] = data["Fraud"]
    made["part"] = (data["Year"] >= 2018).astype("int8") + (data["Year"] > 2018).astype("int8")
    return made


def _cleaned(path: Path) -> pd.DataFrame:
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
    return data


def _ids(data: pd.DataFrame) -> pd.DataFrame:
    """Binary digits of the ids, fitted on one row per value. Shorter columns are padded with their first value."""
    different = {name: data[name].unique() for name in IDS}
    length = max(map(len, different.values()))
    fitted = {name: [*values, *[values[0]] * (length - len(values))] for name, values in different.items()}
    encoder = ColumnTransformer([("binary", _binary(), list(IDS))], remainder="passthrough")
    encoder.fit(pd.DataFrame(fitted).astype("category"))
    return _named(encoder, encoder.transform(data[list(IDS)].astype("category"))).astype("int8")


def _predictors(data: pd.DataFrame, train: pd.Series) -> pd.DataFrame:
    """Digits and flags of the other columns and the scaled amount, fitted on train."""
    few = [name for name in NOMINAL if data[name].nunique() <= ONE_HOT_AT_MOST]
    many = [name for name in NOMINAL if name not in few]
    robust = Pipeline([("imputer", SimpleImputer(strategy="median")), ("robust", RobustScaler())])
    encoder = ColumnTransformer(
        [("binary", _binary(), many), ("onehot", OneHotEncoder(), few), ("robust", robust, ["Amount"])],
        remainder="passthrough",
    )
    table = data[["Amount", *NOMINAL]].astype(dict.fromkeys(NOMINAL, "category"))
    made = _named(encoder.fit(table[train]), encoder.transform(table))
    return made.astype({name: "int8" for name in made.columns if name != "Amount"})


def _binary() -> BinaryEncoder:
    return BinaryEncoder(handle_missing="value", handle_unknown="value")


def _named(encoder: ColumnTransformer, values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[name.split("__")[1] for name in encoder.get_feature_names_out()])


def our_way(path: Path) -> pl.DataFrame:
    """The same columns from the columns of our parser."""
    clean = parser.canonical()
    text = {"Chip": pl.col("Use Chip"), "City": pl.col("Merchant City"), "Errors": pl.col("Errors?")}
    data = (
        pl.scan_csv(path, schema=dict(parser.RAW_SCHEMA))
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
    for name, known in sorted(values.items(), key=lambda item: item[0] in few):  # one-hot columns come last
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
    """Fit everything in one pass: values in order of appearance, their number, and the quartiles."""
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
    width = pl.Int16 if len(values) < 2**15 else pl.Int32
    numbers = pl.Series(range(1, len(values) + 1), dtype=width)
    return pl.col(name).replace_strict(values, numbers, default=0, return_dtype=width)


def _bits(name: str, values: int) -> dict[str, pl.Expr]:
    width = values.bit_length()
    return {f"{name}_{n}": (pl.col(name) & 2 ** (width - 1 - n)).ne(0).cast(pl.Int8) for n in range(width)}


def _flags(name: str, fitted: pl.Series) -> dict[str, pl.Expr]:
    values = sorted(fitted.cast(pl.String))
    return {f"{name}_{value}": (pl.col(name) == value).cast(pl.Int8) for value in values}


def differences(theirs: pd.DataFrame, ours: pl.DataFrame) -> list[str]:
    """Names of the columns that differ in position or value. Amounts may differ in the last digits of a double."""
    if list(theirs.columns) != ours.columns:
        return ["the columns themselves"]
    same = {
        name: abs(theirs[name].to_numpy().astype("float64") - ours[name].to_numpy().astype("float64")).max() < 1e-9
        for name in ours.columns
    }
    return [name for name, equal in same.items() if not equal]
