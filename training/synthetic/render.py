"""Formats transactions like the real file: `$` amounts, 64-bit names, `91750.0` zips, empty fields online."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl

from training.synthetic import mcc
from training.synthetic.behaviour import CHANNELS, ERRORS, Events
from training.synthetic.world import COUNTRIES, FOREIGN_CITIES, STATES, TOWNS, Ints, Population

COLUMNS = (
    "User", "Card", "Year", "Month", "Day", "Time", "Amount", "Use Chip", "Merchant Name", "Merchant City",
    "Merchant State", "Zip", "MCC", "Errors?", "Is Fraud?",
)  # fmt: skip
CHUNK = 1_000_000


def render(world: Population, events: Events) -> pl.DataFrame:
    """Return transactions as a frame with the real file's `COLUMNS`; empty fields are nulls."""
    day, minute = np.divmod(events.minute, 1440)
    return (
        pl.DataFrame({"card": events.card, "day": day, "minute": minute, "merchant": events.merchant})
        .select(
            **_gathered(_card_table(world), "card"),
            **_gathered(_day_table(world), "day"),
            **_gathered(_minute_table(), "minute"),
            Amount=_dollars(events.cents),
            **{"Use Chip": pl.lit(pl.Series(CHANNELS)).gather(pl.lit(pl.Series(events.channel)))},
            **_gathered(_merchant_table(world), "merchant"),
            **{"Errors?": pl.lit(_errors()).gather(pl.lit(pl.Series(events.error)))},
            **{"Is Fraud?": pl.lit(pl.Series(["No", "Yes"])).gather(pl.lit(pl.Series(events.fraud.astype(np.int8))))},
        )
        .select(COLUMNS)
    )


def write_csv(path: str | Path, world: Population, events: Events) -> None:
    """Write transactions as CSV, a million rows at a time to limit memory."""
    with open(path, "wb") as file:
        for first in range(0, len(events), CHUNK):
            part = render(world, events.take(slice(first, first + CHUNK)))
            part.write_csv(file, include_header=first == 0)


def _gathered(table: pl.DataFrame, by: str) -> dict[str, pl.Expr]:
    return {name: pl.lit(table[name]).gather(pl.col(by)) for name in table.columns}


def _card_table(world: Population) -> pl.DataFrame:
    return pl.DataFrame({"User": world.card_user, "Card": world.card_number})


def _day_table(world: Population) -> pl.DataFrame:
    days = pl.select(
        day=pl.date_range(world.start, world.start + timedelta(days=world.minutes // 1440), interval="1d")
    )["day"]
    return pl.DataFrame({"Year": days.dt.year(), "Month": days.dt.month(), "Day": days.dt.day()})


def _minute_table() -> pl.DataFrame:
    return pl.DataFrame({"Time": [f"{minute // 60:02d}:{minute % 60:02d}" for minute in range(1440)]})


def _merchant_table(world: Population) -> pl.DataFrame:
    city = world.merchant_city
    cities = len(world.city_first) - 1
    foreign = city >= round(cities * (1 - FOREIGN_CITIES))
    town = [_town(c) for c in range(cities)] + ["ONLINE"]
    state = [STATES[c % len(STATES)] for c in range(cities)]
    abroad = [COUNTRIES[c % len(COUNTRIES)] for c in range(cities)]
    return pl.DataFrame(
        {
            "Merchant Name": world.merchant_name,
            "Merchant City": [town[c] for c in city],
            "Merchant State": [
                None if c < 0 else abroad[c] if away else state[c] for c, away in zip(city, foreign, strict=True)
            ],
            "Zip": pl.Series(world.merchant_zip).cast(pl.Float64).set(pl.Series((city < 0) | foreign), None),
            "MCC": mcc.CODES[world.merchant_mcc],
        }
    )


def _town(city: int) -> str:
    quarter = city // len(TOWNS)
    return TOWNS[city % len(TOWNS)] + (f" {quarter + 1}" if quarter else "")


def _errors() -> pl.Series:
    return pl.Series([error or None for error in ERRORS])


def _dollars(cents: Ints) -> pl.Expr:
    """Format cents as `$12.05`; a refund as `$-12.05`."""
    whole, part = np.divmod(np.abs(cents), 100)
    sign = pl.lit(pl.Series(["$", "$-"])).gather(pl.lit(pl.Series((cents < 0).astype(np.int8))))
    digits = pl.lit(pl.Series([f".{n:02d}" for n in range(100)])).gather(pl.lit(pl.Series(part)))
    return sign + pl.lit(pl.Series(whole)).cast(pl.String) + digits
