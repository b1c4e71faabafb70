"""Lines of live scoring: a payment as JSON or CSV, and what of it and its history may be logged."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import polars as pl

from training.data.declaration import Declaration, Entity
from training.graph.block import Block
from training.graph.days import DAY
from training.live.record import EntityState
from training.live.store import Payment
from training.serving.csv_codec import KEYED, UNLABELLED, BadRequest, columns, write
from training.serving.payment_block import PaymentFeaturiser
from training.serving.request import history_input

LONGEST = 16_384  # bytes of one transaction


def transaction_line(told: bytes, data: Declaration) -> bytes:
    """The line of a transaction that is a line of CSV, or an object of JSON with the declared columns.

    Raises:
        BadRequest: it is too long, or an object that is not of these columns.
    """
    if len(told) > LONGEST:
        raise BadRequest(f"TRANSACTION has {len(told)} bytes, expected at most {LONGEST}")
    if not told.lstrip().startswith(b"{"):
        return told.strip(b"\r\n")
    names = data.unlabelled
    try:
        cells = json.loads(told)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"TRANSACTION is no JSON: {error}") from None
    if unknown := sorted(set(cells) - {*columns(data)}):
        raise BadRequest(f"TRANSACTION names {', '.join(unknown)[:200]}; the columns are {', '.join(names)}")
    try:
        return _csv([_cell(name, cells.get(name)) for name in names])
    except UnicodeEncodeError:
        raise BadRequest("TRANSACTION has half of a surrogate pair, expected Unicode text") from None


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | list | dict) or (isinstance(value, float) and not math.isfinite(value)):
        raise BadRequest(f"TRANSACTION: {name} is {str(value)[:60]}, expected a text or a number")
    return str(value)


def file_line(line: bytes, data: Declaration) -> str:
    """A line as a file of the declared columns holds it, without the label, behind the columns' fingerprint.

    "" if it tells something in a way that only a request may: an entity by its key, a time as `@` and seconds, no id.
    """
    cells, at = next(csv.reader(io.StringIO(line.decode()))), _places(data)
    count = len(data.unlabelled)
    cells = [*cells, *[""] * count][:count]
    told = [cells[at[entity.columns[0]]] for entity in data.entities.values()]
    second = data.time.parts is None and cells[at[data.time.column]].startswith("@")
    if second or any(KEYED.search(cell) for cell in told) or (data.id and not cells[at[data.id]]):
        return ""
    return ",".join((data.fingerprint, _csv(cells).decode()))


def pseudonymous(line: bytes, entities: Mapping[str, bytes], data: Declaration) -> str:
    """A line in whose entities' columns stand their keyed hashes, as `key:NAME=<16 hex digits>;`, and nothing clear.

    A column that is something else as well, a category say, keeps its value.
    """
    made = {side: dict.fromkeys(data.entities[side].columns, "") for side in entities}
    for side, hashed in entities.items():
        made[side][data.entities[side].columns[0]] = f"key:{side}={hashed.hex()};"
    return _replaced(line, made.values(), data)


def _requested(line: bytes, entities: Mapping[str, bytes], data: Declaration) -> str:
    """The same, in a form that `fraud_score` reads: of whole numbers others of the same span, drawn by the hash."""
    return _replaced(line, [stand_in(side, data.entities[side], hashed) for side, hashed in entities.items()], data)


def _replaced(line: bytes, made: Iterable[Mapping[str, str]], data: Declaration) -> str:
    cells = next(csv.reader(io.StringIO(line.decode())))
    at, kept = _places(data), _kept(data)
    for column, text in (pair for one in made for pair in one.items()):
        if at[column] < len(cells):
            cells[at[column]] = text + (cells[at[column]] if column in kept else "")
    return _csv(cells[: len(at) - 1]).decode()


def _places(data: Declaration) -> Mapping[str, int]:
    """Where each column stands in a line; a declaration without a label has one that it calls otherwise, at the end."""
    return {name: number for number, name in enumerate((*data.known, *(() if data.label else (UNLABELLED,))))}


def _kept(data: Declaration) -> frozenset[str]:
    """Columns that are something else than an entity too."""
    parts = (data.categories, data.numbers, data.flags)
    return frozenset({one.column for part in parts for one in part.values()} | {*data.time.columns, data.amount.column})


def stand_in(side: str, entity: Entity, hashed: bytes) -> dict[str, str]:
    """What `fraud_score` may read in place of an entity: its hash, or whole numbers that are drawn by it."""
    if not entity.whole:
        return dict.fromkeys(entity.columns, "") | {entity.columns[0]: f"key:{side}={hashed.hex()};"}
    left, cells = int.from_bytes(hashed, "big"), {}
    for column, (low, high) in zip(entity.columns, entity.whole, strict=True):
        left, number = divmod(left, high - low + 1)
        cells[column] = str(low + number)
    return cells


def telling(data: Declaration, side: str, hashed: bytes) -> Callable[[str], bool]:
    """Whether a logged request (JSON of `fraud_score`'s tensors) holds a line of the entity, also in a history."""
    at = _places(data)
    wanted = {at[column]: text for column, text in stand_in(side, data.entities[side], hashed).items()}

    def its(line: list[str]) -> bool:
        return all(number < len(line) and line[number].startswith(text) for number, text in wanted.items())

    def tells(request: str) -> bool:
        texts = [text for tensor in json.loads(request)["inputs"] for text in tensor["data"] if isinstance(text, str)]
        return any(its(line) for text in texts for line in csv.reader(text.splitlines()))

    return tells


def _csv(cells: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue().encode()


def logged_request(
    line: bytes, block: Block, states: Mapping[str, EntityState], payment: Payment, featuriser: PaymentFeaturiser
) -> str:
    """The `fraud_score` request, as KServe v2 writes it in JSON, that gives this score without a store.

    "" if an entity of whole numbers shares a column with something else: no other number may stand there.
    """
    data = featuriser.definition.data
    if any(entity.whole and _kept(data).intersection(entity.columns) for entity in data.entities.values()):
        return ""
    counters = np.concatenate([block.volume, block.risk], axis=1)
    inputs = [_tensor("TRANSACTION", "BYTES", [_requested(line, payment.entities, data)])]
    for side, state in states.items():
        lines = _lines(state, payment.time, featuriser)
        inputs.append(_tensor(history_input(side), "BYTES", ["\n".join(reversed(lines))]))
    inputs.append(_tensor("COUNTERS", "FP32", counters[0].tolist()))
    return json.dumps({"inputs": inputs}, ensure_ascii=False)


def _tensor(name: str, datatype: str, values: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [1, len(values)], "data": values}


def _lines(state: EntityState, time: int, featuriser: PaymentFeaturiser) -> list[str]:
    """The used entries as lines of history, most recent first."""
    entries, definition = featuriser.used(state, time), featuriser.definition
    if not len(entries):
        return []
    data, today = definition.data, time // DAY
    clean = definition.clean(entries, featuriser.known)
    table = {name if name == "time" else f"clean_{name}": values for name, values in clean.items()}
    for side in data.relations:
        table[f"{side}_key"] = entries[f"key {side}"].astype(np.int64)
    known = entries["known"] < today
    table["label"] = np.where(known, entries["fraud"].astype(np.int8), -1)
    made = write(pl.DataFrame(table), entries["state"], featuriser.fitted)
    return [_with_stand_ins(text, entry, data) for text, entry in zip(made, entries, strict=True)]


def _with_stand_ins(text: str, entry: Any, data: Declaration) -> str:
    """A line of history whose whole-number entities stand for their hashes, as in the transaction's own line."""
    whole = {side: one for side, one in data.entities.items() if one.whole}
    if not whole:
        return text
    cells = next(csv.reader(io.StringIO(text)))
    at = _places(data)
    for side, entity in whole.items():
        for column, cell in stand_in(side, entity, int(entry[f"key {side}"]).to_bytes(8, "big")).items():
            cells[at[column]] = cell
    return _csv(cells).decode()
