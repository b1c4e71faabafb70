"""Files of the shapes that are known, large enough to train on, and the tables that declare their columns."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CASES = Path(__file__).parents[1] / "cases" / "data"
BEGIN = datetime(2019, 1, 1)
TABFORMER = {"time": "Year", "label": "Is Fraud?", "words": ("No", "Yes")}


def _of(time: str, label: str, **more: str) -> dict[str, Any]:
    return {"time": time, "label": label, "words": ("0", "1"), **more}


# By file: the table of fraudloop.toml, then which columns are varied to make more rows of it.
SHAPES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sparkov": ({"preset": "sparkov"}, _of("trans_date_trans_time", "is_fraud", id="trans_num")),
    "fdh": ({"preset": "handbook"}, _of("TX_DATETIME", "TX_FRAUD", id="TRANSACTION_ID")),
    "paysim": ({"preset": "paysim"}, _of("step", "isFraud", unit="3600")),
    "ieee": ({"preset": "ieee-cis"}, _of("TransactionDT", "isFraud", id="TransactionID", unit="1")),
    "seconds": ({"time": {"resolution": "second"}}, {**TABFORMER, "clock": "%H:%M:%S"}),
    "eurocomma": ({"amount": {"prefixes": ["€"], "decimal": ","}}, TABFORMER),
    "yen": ({"amount": {"prefixes": [], "minor_units": 0, "limit": 10_000_000}}, TABFORMER),
    "nomcc": ({"categories": {"mcc": {"empty": True}}}, TABFORMER),
    "nolabel": ({"label": {"empty": True}}, TABFORMER),
    "label01": ({"label": {"fraud": ["1"], "good": ["0"]}}, {**TABFORMER, "words": ("0", "1")}),
    "merchantname": ({"entities": {"merchant": {"whole": []}}}, TABFORMER),
    "uuiduser": ({"entities": {"card": {"whole": []}}}, TABFORMER),
}


def larger(name: str, folder: Path, rows: int = 900, days: int = 90) -> Path:
    """A file of that shape: the case's rows again and again, with other times and labels, each id once."""
    told, rng = SHAPES[name][1], np.random.default_rng(5)
    case = pl.read_csv(CASES / f"{name}.csv", infer_schema=False)
    table = pl.concat([case] * (rows // len(case) + 1)).head(rows)
    seconds = np.sort(rng.integers(0, days * 86_400, rows)).tolist()
    labels = [told["words"][int(fraud)] for fraud in rng.random(rows) < 0.1]
    table = table.with_columns(_times(told, seconds)).with_columns(pl.Series(told["label"], labels))
    if "id" in told:
        table = table.with_columns(pl.Series(told["id"], [f"{100_000 + number}" for number in range(rows)]))
    table.write_csv(folder / f"{name}.csv")
    return folder / f"{name}.csv"


def _times(told: Mapping[str, Any], seconds: list[int]) -> list[pl.Series]:
    if "unit" in told:
        return [pl.Series(told["time"], [str(second // int(told["unit"])) for second in seconds])]
    moments = [BEGIN + timedelta(seconds=second) for second in seconds]
    if told["time"] != "Year":
        return [pl.Series(told["time"], [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in moments])]
    parts = {"Year": "%Y", "Month": "%-m", "Day": "%-d", "Time": told.get("clock", "%H:%M")}
    return [pl.Series(name, [moment.strftime(form) for moment in moments]) for name, form in parts.items()]
