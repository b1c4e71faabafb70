"""The server reads raw transactions as training does: same parser, same features, same histories."""

from dataclasses import fields, replace
from datetime import date

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_cases import Trained

from training.data import parser, schema
from training.data.presets import preset
from training.graph.block import History
from training.graph.velocity import STATE
from training.serving.csv_codec import BadRequest, parse, write
from training.serving.request import COUNTERS, MAX_LINES, Featuriser, ScoringRequest
from training.serving.request_lines import MANY, RequestLines

pytestmark = pytest.mark.xdist_group("triton")

TODAY = date(2026, 11, 24)
LINE = b"7,1,2019,5,17,06:21,$134.09,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No"
PAST = LINE + b",0.5" * len(STATE)  # as a line of history: with its state
EARLIER = PAST.replace(b",17,", b",16,")
NO_COUNTERS = np.zeros((1, len(COUNTERS)), dtype=np.float32)


def asked(card: bytes, merchant: bytes) -> ScoringRequest:
    """A request for one transaction with these histories."""
    return ScoringRequest([LINE], {"card": [card], "merchant": [merchant]}, NO_COUNTERS)


@pytest.fixture(scope="session")
def featuriser(trained: Trained) -> Featuriser:
    config = trained.model.config
    return Featuriser(trained.builder.fitted, trained.model.row, config.k)


def test_a_request_makes_the_block_that_training_reads(trained: Trained, featuriser: Featuriser) -> None:
    """Every row of the data set, written as raw lines and read again, gives the very same block."""
    ids = torch.arange(len(trained.builder.table))[::7]
    found, expected = featuriser.block(trained.builder.request(ids), TODAY), trained.builder.reader.block(ids)
    for name in ("row", "volume", "risk"):
        assert np.array_equal(getattr(found, name), getattr(expected, name).numpy()), name
    for side in ("card", "merchant"):
        for field in fields(History):
            served, trained_on = (getattr(block.histories[side], field.name) for block in (found, expected))
            assert np.array_equal(served, trained_on.numpy()), (side, field.name)


def test_lines_are_the_inverse_of_parsing(trained: Trained) -> None:
    """Rows written as lines have the same time, card, merchant and features when they are parsed."""
    table = trained.builder.table
    state = trained.builder.reader.state.numpy()
    clean = parse([line.encode() for line in write(table, state, trained.builder.fitted)], TODAY)
    assert np.array_equal(clean.select(f"state {name}" for name in STATE).to_numpy(), state)
    again = schema.row_features(clean, trained.builder.fitted)
    for name in ("time", "card_key", "merchant_key", *preset().row):
        assert again[name].cast(pl.Float64).to_list() == table[name].cast(pl.Float64).to_list(), name


def test_a_real_line_is_read_as_the_file_is() -> None:
    """Server and files have one parser; the label may be left out, and a quoted comma is no separator."""
    lines = [LINE, LINE.removesuffix(b",No"), LINE.replace(b",,No", b',"Bad PIN,Insufficient Balance",Yes')]
    clean = parse(lines, TODAY)
    assert clean["cents"].to_list() == [13409] * 3
    assert clean["errors"].to_list() == [0, 0, 0b11]
    assert clean["label"].to_list() == [0, None, 1]
    assert clean["time"][0] == 1558074060
    assert set(parser.canonical()) <= set(clean.columns)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"$134.09", b"NaN", "Amount is 'NaN', expected dollars"),
        (b"$134.09", b"$1e9", "Amount"),
        (b"$134.09", b"", "Amount is ''"),
        (b"Swipe Transaction", b"Carrier Pigeon", "Use Chip is 'Carrier Pigeon', expected Swipe, Chip or Online"),
        (b"2019,5,17", b"2019,2,30", "Year/Month/Day is '2019-2-30', expected a date"),
        (b"2019,5,17", b"2099,5,17", "expected a date up to"),
        (b"06:21", b"24:00", "Time is '24:00'"),
        (b"5300", b"12", "MCC is '12'"),
        (b"3527213246127876953", b"Amazon", "Merchant Name is 'Amazon'"),
        (b",No", b",Perhaps", "Is Fraud? is 'Perhaps', expected Yes, No or empty"),
        (b",No", b",No" + b",1" * (len(STATE) + 1), f"{16 + len(STATE)} fields"),
        (b"La Verne", b"La \nVerne", "not one line"),
        (b"La Verne", b'La "Verne', "not one line"),
        (b"La Verne", b"La \xff", "UTF-8"),
        (LINE, b"", "not one line"),
        (LINE, b"hello", "User is 'hello'"),
    ],
)
def test_the_error_for_a_bad_line_names_the_column(
    featuriser: Featuriser, old: bytes, new: bytes, message: str
) -> None:
    """What is wrong, where, and what was expected; the good line before it is not blamed."""
    nothing = {"card": [b"", b""], "merchant": [b"", b""]}
    request = ScoringRequest([LINE, LINE.replace(old, new)], nothing, np.repeat(NO_COUNTERS, 2, axis=0))
    with pytest.raises(BadRequest) as refused:
        featuriser.block(request, TODAY)
    assert str(refused.value).startswith("TRANSACTION[1]: "), refused.value
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("card", "merchant", "message"),
    [
        (PAST.replace(b",17,", b",18,"), b"", "CARD_HISTORY[0] line 1 lies in the future"),
        (b"", EARLIER + b"\n" + PAST.replace(b"06:21", b"06:22"), "MERCHANT_HISTORY[0] line 2 lies in the future"),
        (EARLIER.replace(b"7,1", b"8,1", 1), b"", "CARD_HISTORY[0] line 1 belongs to another card"),
        (b"", EARLIER.replace(b"3527", b"9527"), "MERCHANT_HISTORY[0] line 1: Merchant Name"),
        (b"", EARLIER.replace(b"3527", b"1527"), "MERCHANT_HISTORY[0] line 1 belongs to another merchant"),
        (EARLIER + b"\n" + EARLIER.replace(b"$134.09", b"nan"), b"", "CARD_HISTORY[0] line 2: Amount is 'nan'"),
        (EARLIER + b"\n", b"", "CARD_HISTORY[0] line 2"),
        (EARLIER + b"\n" + EARLIER.removesuffix(b",0.5"), b"", "CARD_HISTORY[0] line 2 lacks its STATE"),
        (EARLIER.removesuffix(b"0.5") + b"inf", b"", "CARD_HISTORY[0] line 1 lacks its STATE"),
        (b"\n".join([EARLIER] * (MAX_LINES + 1)), b"", "CARD_HISTORY holds 1001 lines for one transaction"),
    ],
)
def test_the_error_for_a_bad_history_names_the_line(
    featuriser: Featuriser, card: bytes, merchant: bytes, message: str
) -> None:
    """A history from the future, of another card, or unreadable is refused."""
    with pytest.raises(BadRequest, match="^" + message.replace("[", r"\[").replace("?", r"\?")):
        featuriser.block(asked(card, merchant), TODAY)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1.0])
def test_counters_are_counts(featuriser: Featuriser, wrong: float) -> None:
    """A counter that cannot be a count is named."""
    counters = NO_COUNTERS.copy()
    counters[0, 7] = wrong
    with pytest.raises(BadRequest, match=COUNTERS[7]):
        featuriser.block(replace(asked(b"", b""), counters=counters), TODAY)


def test_a_sum_of_amounts_may_be_negative(featuriser: Featuriser) -> None:
    """Refunds can exceed payments; a count can never be below zero."""
    counters = NO_COUNTERS.copy()
    counters[0, COUNTERS.index("card_amount_7d")] = -12.5
    block = featuriser.block(replace(asked(b"", b""), counters=counters), TODAY)
    assert block.volume[0, COUNTERS.index("card_amount_7d")] == -12.5


def test_the_same_minute_is_not_earlier(featuriser: Featuriser) -> None:
    """Ties say nothing, as in training; what a minute earlier happened does."""
    minute_before = PAST.replace(b"06:21", b"06:20")
    block = featuriser.block(asked(minute_before + b"\n" + PAST, PAST), TODAY)
    assert block.histories["card"].present.sum() == 1
    assert block.histories["card"].gap[0, 0] == 60
    assert block.histories["merchant"].present.sum() == 0


def test_a_label_is_known_if_the_line_says_it_and_is_of_an_earlier_day(featuriser: Featuriser) -> None:
    """An empty label is not known; that of a payment of the same day cannot be, whatever the client says."""
    same_day = PAST.replace(b"06:21", b"06:20").replace(b",No", b",Yes")
    lines = b"\n".join([EARLIER.replace(b",No", b",Yes"), EARLIER, EARLIER.replace(b",No", b","), same_day])
    block = featuriser.block(asked(lines, b""), TODAY)
    assert block.histories["card"].label[0, :4].tolist() == [0.0, 0.0, 0.0, 1.0]
    assert block.histories["card"].matured[0, :4].tolist() == [False, False, True, True]


def test_transactions_of_one_request_do_not_see_each_other(trained: Trained, featuriser: Featuriser) -> None:
    """An answer depends only on its own lines, whatever else is in the batch."""
    ids = trained.test[:50]
    request = trained.builder.request(ids)
    together = trained.model.score(featuriser.block(request, TODAY))
    for number in (0, 17, 49):
        alone = replace(
            request,
            transaction=request.transaction[number : number + 1],
            histories={side: texts[number : number + 1] for side, texts in request.histories.items()},
            counters=request.counters[number : number + 1],
        )
        assert trained.model.score(featuriser.block(alone, TODAY))[0] == together[number]


@settings(max_examples=200, deadline=None)
@given(
    transactions=st.lists(st.binary(max_size=4), max_size=5),
    texts=st.lists(st.lists(st.sampled_from([b"a", b"b,", b'"', b"\r", b"", "é".encode(), b"\xff"])).map(b"\n".join)),
)
def test_many_texts_are_split_as_few_are(transactions: list[bytes], texts: list[bytes]) -> None:
    """Whatever bytes they are; each line that differs is there once, in the order of its first appearance."""
    few = RequestLines.of(transactions, texts)
    many = RequestLines.of(transactions, [*texts, *[b""] * MANY])
    lines = [*transactions, *(line for text in texts if text for line in text.split(b"\n"))]
    for found in (few, many):
        assert [found.different[number] for number in found.number] == lines
        assert found.different == list(dict.fromkeys(lines))
        assert found.counts[: len(texts)].tolist() == [len(text.split(b"\n")) if text else 0 for text in texts]
    assert not many.counts[len(texts) :].any()


def test_the_error_for_a_bad_line_among_many_says_where_it_is(featuriser: Featuriser) -> None:
    """Also where histories are so many that they are split together."""
    count = MANY
    cards = [EARLIER] * count
    cards[-1] = EARLIER + b"\n" + EARLIER.replace(b"$134.09", b"nan")
    request = ScoringRequest([LINE] * count, {"card": cards, "merchant": [b""] * count}, NO_COUNTERS.repeat(count, 0))
    with pytest.raises(BadRequest, match=rf"^CARD_HISTORY\[{count - 1}\] line 2: Amount is 'nan'"):
        featuriser.block(request, TODAY)
    mended = replace(request, histories={**request.histories, "card": [EARLIER] * count})
    assert len(featuriser.block(mended, TODAY)) == count
