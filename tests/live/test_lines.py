"""What a payment may look like, what is logged of it, and that no card number is in clear anywhere."""

import json
from pathlib import Path

import numpy as np
import pytest
from live_cases import KEY, Replayed, Server, ask, pod, settings

from training.data.declared import declared
from training.live.definition import DAY
from training.live.keys import EntityHash
from training.live.settings import LiveSettings
from training.scorelog.record import parse, stream
from training.serving.csv_codec import BadRequest, columns
from training.serving.fraud_score import FraudScore
from training.serving.live_line import pseudonymous, stand_in, transaction_line


@pytest.fixture
def rows(replayed: Replayed) -> list[int]:
    return list(range(len(replayed.table) - 60, len(replayed.table)))


def test_json_is_the_line(replayed: Replayed, rows: list[int]) -> None:
    """An object of the declared columns, its numbers as numbers or as texts, is the line of the same values."""
    data = replayed.definition.data
    names = columns(data)[:-1]
    for line in replayed.lines(rows[:20]):
        cells = dict(zip(names, line.decode().split(",", 13), strict=True))
        cells["Errors?"] = cells["Errors?"].strip('"')
        told = {name: int(cell) if cell.isdigit() else cell or None for name, cell in cells.items()}
        assert transaction_line(json.dumps(told).encode(), data) == line


WRONG = {
    b'{"Amont": 3}': "names Amont",
    b"{": "is no JSON",
    b'{"Amount": [1]}': "Amount is",
    b'{"Amount": NaN}': "Amount is nan",
    b'{"Year": "20' + b"1" * 20_000 + b'"}': "20013 bytes|bytes, expected at most",
    b"a,b": "fields|is",
    b'{"Use Chip": "\\ud800"}': "half of a surrogate pair",
}


@pytest.mark.parametrize("told", WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named(replayed: Replayed, told: bytes) -> None:
    """A payment that cannot be read is refused with the place and what was expected."""
    with pod(replayed.model, LiveSettings()) as (live, _), pytest.raises(BadRequest, match=WRONG[told]):
        ask(live, told)


def test_a_long_request_id_is_refused(replayed: Replayed, rows: list[int]) -> None:
    """What is kept in the store has a limit."""
    with pod(replayed.model, LiveSettings()) as (live, _), pytest.raises(BadRequest, match="REQUEST_ID"):
        ask(live, replayed.lines(rows[:1])[0], "x" * 257)


def test_too_many_request_ids_fail_one_request(replayed: Replayed, rows: list[int]) -> None:
    """The other requests of the batch are answered."""
    line = np.array([[replayed.lines(rows[:1])[0]]], dtype=np.object_)
    wrong = {"TRANSACTION": line, "REQUEST_ID": np.array([[b"a"], [b"b"]], dtype=np.object_)}
    with pod(replayed.model, LiveSettings()) as (live, _):
        refused, answered = live.answer([wrong, {"TRANSACTION": line}], [frozenset(), frozenset()])
    assert isinstance(refused, BadRequest)
    assert "PROBABILITY" in answered


def test_no_card_number_is_in_the_store(replayed: Replayed, server: Server, tmp_path: Path, rows: list[int]) -> None:
    """Neither a key, nor a value, nor the file on disk holds what an entity is called; the hash is there."""
    given = settings(server, sample_share=1.0)
    secret = {"User": b"87654321", "Merchant Name": b"-8765432112345678765"}
    line = replayed.lines(rows[:1])[0].split(b",", 9)
    line[0], line[8] = secret["User"], secret["Merchant Name"]
    with pod(replayed.model, given) as (live, _):
        for number in range(3):
            ask(live, b",".join(line), f"id-{number}")
    client = server.client()
    client.save()
    everything = b"".join(file.read_bytes() for file in (tmp_path / "valkey").rglob("*") if file.is_file())
    everything += b"".join(client.keys("*")) + repr(client.xrange(stream("fraud"))).encode()
    key = int(secret["User"]) * 10 + int(line[1])
    for clear in (*secret.values(), key.to_bytes(8, "little"), key.to_bytes(8, "big")):
        assert clear not in everything
    assert EntityHash(KEY).of("card", key).hex().encode() in everything


def test_another_key_gives_other_names(replayed: Replayed) -> None:
    """Who has the store without the key cannot tell which card is which."""
    assert EntityHash("a").of("card", 7) != EntityHash("b").of("card", 7) != EntityHash("b").of("merchant", 7)
    assert len({EntityHash("a").of("card", key) for key in range(10_000)}) == 10_000


def test_a_logged_request_gives_the_score(replayed: Replayed, server: Server, tmp_path: Path, rows: list[int]) -> None:
    """`fraud_score` without a store answers a sampled request with the logged score; the share is the setting's."""
    given = settings(server, sample_share=0.5)
    replayed.night(tmp_path, given, int(replayed.times()[rows[0]]) // DAY * DAY, whole=True)
    with pod(replayed.model, given) as (live, _):
        for row, line in zip(rows, replayed.lines(rows), strict=True):
            ask(live, line, f"row-{row}")
    logged = [parse(fields) for _, fields in server.client().xrange(stream("fraud"))]
    sampled = [record for record in logged if record.request]
    assert len(rows) * 0.2 < len(sampled) < len(rows) * 0.8
    served = FraudScore(replayed.model)
    for record in sampled:
        tensors = {one["name"]: _array(one) for one in json.loads(record.request)["inputs"]}
        (answer,) = served.answer([tensors], [frozenset({"PROBABILITY"})])
        assert not isinstance(answer, Exception), answer
        assert abs(float(answer["PROBABILITY"][0, 0]) - record.probability) <= 1e-6


def _array(tensor: dict) -> np.ndarray:
    if tensor["datatype"] == "BYTES":
        return np.array([[text.encode() for text in tensor["data"]]], dtype=np.object_)
    return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])


def test_entities_of_text_are_told_by_their_hash() -> None:
    """The form that the request's parser reads; a column that is a category too keeps that, and no other is clear."""
    table = {
        "time": {"column": "when"},
        "amount": {"column": "value"},
        "entities": {"card": {"columns": ["pan", "expiry"]}, "shop": {"columns": ["shop"]}},
        "categories": {"kind": {"column": "shop"}},
        "label": {"column": "fraud"},
        "columns": ["when", "value", "pan", "expiry", "shop", "fraud"],
    }
    data = declared(table)
    hashes = {"card": b"\x01" * 8, "shop": b"\xff" * 8}
    told = pseudonymous(b"2020-01-01,3.5,4111111111111111,12/30,grocer", hashes, data)
    assert told == "2020-01-01,3.5,key:card=0101010101010101;,,key:shop=ffffffffffffffff;grocer"
    whole = stand_in("card", replace_whole(data), b"\xff" * 8)
    assert 5 <= int(whole["pan"]) <= 9
    assert 0 <= int(whole["expiry"]) <= 99


def replace_whole(data):
    """The card as two whole numbers."""
    from dataclasses import replace

    return replace(data.entities["card"], whole=((5, 9), (0, 99)))
