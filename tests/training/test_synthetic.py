"""The synthetic file looks like the real one, is the same for the same seed, and its fraud is relational."""

import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from training.data.parser import RAW_SCHEMA
from training.synthetic import COLUMNS, FRAUD_RATE, generate, slices
from training.synthetic.behaviour import any_online, popular_in
from training.synthetic.world import END, START, make

FRAUD = pl.col("Is Fraud?") == "Yes"
MINUTE = (
    pl.date("Year", "Month", "Day").cast(pl.Int32) * 1440
    + pl.col("Time").str.slice(0, 2).cast(pl.Int32) * 60
    + pl.col("Time").str.slice(3).cast(pl.Int32)
)


@pytest.fixture(scope="module")
def half_million() -> pl.DataFrame:
    return generate(500_000, 7)


def test_the_columns_are_the_real_files(half_million):
    """Names and order are exactly the real file's, and its quirks are there."""
    assert tuple(half_million.columns) == COLUMNS == tuple(RAW_SCHEMA)
    assert half_million["Amount"].str.contains(r"^\$-?\d+\.\d\d$").all()
    assert half_million["Time"].str.contains(r"^\d\d:\d\d$").all()
    names = half_million["Merchant Name"]
    assert names.dtype == pl.Int64
    assert names.min() < -(2**62) < 2**62 < names.max()
    online = half_million.filter(pl.col("Use Chip") == "Online Transaction")
    assert online["Merchant State"].null_count() == online["Zip"].null_count() == len(online)
    assert half_million.head(2000).write_csv().count(".0,") > 1500  # zips are written as 91750.0


def test_rows_come_by_user_card_and_time(half_million):
    """The order is the real file's."""
    ordered = half_million.with_columns(minute=MINUTE)
    assert ordered.select("User", "Card", "minute").equals(ordered.select("User", "Card", "minute").sort(pl.all()))


def test_marginals_are_the_real_files(half_million):
    """Channel shares and empty fields are the real ones to a point, the channels' fraud rates to a quarter."""
    assert half_million.filter(FRAUD).height == round(500_000 * FRAUD_RATE)
    by_channel = half_million.group_by("Use Chip").agg(share=pl.len() / half_million.height, rate=FRAUD.mean())
    measured = {channel: (share, rate) for channel, share, rate in by_channel.rows()}
    real = {
        "Swipe Transaction": (0.631, 0.00043),
        "Chip Transaction": (0.258, 0.00077),
        "Online Transaction": (0.111, 0.00676),
    }
    for channel, (share, rate) in real.items():
        assert measured[channel][0] == pytest.approx(share, abs=0.01)
        assert measured[channel][1] == pytest.approx(rate, rel=0.25)
    empty = {
        name: half_million[name].null_count() / half_million.height for name in ("Merchant State", "Zip", "Errors?")
    }
    assert empty == pytest.approx({"Merchant State": 0.112, "Zip": 0.118, "Errors?": 0.984}, abs=0.01)


def test_the_same_seed_gives_the_same_file():
    """Same arguments, same bytes; another seed, another file."""
    assert generate(3000, 5).equals(generate(3000, 5))
    assert not generate(3000, 5).equals(generate(3000, 6))


def test_slices_continue_each_other():
    """Slices have the requested shares, do not overlap in time, and together are the whole."""
    parts = slices(20_000, 3, [0.7, 0.2, 0.1])
    assert [part.height for part in parts] == [14_000, 4_000, 2_000]
    spans = [part.select(first=MINUTE.min(), last=MINUTE.max()).row(0) for part in parts]
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    whole = generate(20_000, 3)
    assert pl.concat(parts).sort(pl.all()).equals(whole.sort(pl.all()))
    assert parts[0]["Year"].min() == START.year


def test_fractions_must_add_up():
    """Fractions that lose rows are refused."""
    with pytest.raises(ValueError, match=r"add up to 0\.8"):
        slices(1000, 0, [0.5, 0.3])


def test_too_little_to_simulate_is_refused():
    """So few rows that no relation could form are refused in words."""
    with pytest.raises(ValueError, match="at least 100 rows"):
        generate(50, 0)


def test_frauds_come_in_bursts_at_few_merchants(half_million):
    """Most frauds are one of several on their card within days, and a few merchants take most of the money."""
    frauds = half_million.filter(FRAUD).with_columns(minute=MINUTE).sort("User", "Card", "minute")
    gap = pl.col("minute").diff().over("User", "Card")
    near = (gap <= 10 * 1440) | (gap.shift(-1).over("User", "Card") <= 10 * 1440)
    assert frauds.select(near.fill_null(False).mean()).item() > 0.7
    merchants = frauds["Merchant Name"].value_counts(sort=True)
    assert merchants["count"].head(80).sum() > 0.5 * frauds.height
    assert half_million["Merchant Name"].n_unique() > 1500


def test_leaked_cards_were_seen_at_one_merchant(half_million):
    """Cards whose frauds share a cash-out merchant were mostly seen at one honest merchant before."""
    frauds = half_million.filter(FRAUD).with_columns(minute=MINUTE, card=pl.col("User") * 10 + pl.col("Card"))
    honest = half_million.filter(~FRAUD).with_columns(minute=MINUTE, card=pl.col("User") * 10 + pl.col("Card"))
    first = frauds.group_by("card").agg(pl.col("minute").min(), pl.col("Merchant Name").first().alias("cashout"))
    groups = first.group_by("cashout").agg("card", "minute").filter(pl.col("card").list.len() >= 3)
    shared = 0
    for _, cards, minutes in groups.rows():
        begin = min(minutes) - 90 * 1440
        visits = honest.filter(pl.col("card").is_in(cards) & pl.col("minute").is_between(begin, max(minutes)))
        common = visits.group_by("Merchant Name").agg(pl.col("card").n_unique())
        shared += common["card"].max() >= max(3, len(cards) - 1)
    assert len(groups) >= 5
    assert shared >= 0.6 * len(groups)


def test_half_a_million_rows_take_less_than_a_second():
    """≥ 500k rows a second: the fastest of three, since the machine is shared."""
    seconds = []
    for seed in range(3):
        began = time.perf_counter()
        generate(250_000, seed)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.5


def test_the_command_line_writes_files_that_continue_each_other(tmp_path):
    """`python -m training.synthetic` writes the numbered parts."""
    command = [
        sys.executable,
        "-m",
        "training.synthetic",
        "--rows",
        "3000",
        "--parts",
        "2",
        "--out",
        str(tmp_path / "day.csv"),
    ]
    subprocess.run(command, check=True, timeout=60)
    parts = [pl.read_csv(tmp_path / f"day-{number}.csv") for number in range(2)]
    assert [part.height for part in parts] == [1500, 1500]
    assert tuple(parts[0].columns) == COLUMNS


def test_the_highest_draw_is_still_a_merchant_of_the_place():
    """A sum in float32 is rounded up where merchants are many; the draw of seed 5 at a million rows was such a one."""
    world = make(1_000_000, np.random.Generator(np.random.SFC64(5)), START, END)
    highest = Highest()
    cities = np.arange(len(world.city_first) - 1)
    assert any_online(world, 3, highest).max() == world.merchants - 1
    assert (popular_in(world, cities, highest) < world.city_first[cities + 1]).all()


class Highest(np.random.Generator):
    """Draws the highest number below 1."""

    def __init__(self) -> None:
        super().__init__(np.random.SFC64(1))

    def random(self, size=None, dtype=np.float64, out=None):
        return np.full(size, np.nextafter(dtype(1), dtype(0)))
