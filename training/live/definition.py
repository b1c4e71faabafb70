"""A feature definition: what an entry of history holds, and its digest, which names the state in the online store.

An entry has the clean columns of one transaction and not its features: what is fitted belongs to a version, and
versions with the same definition share their state. A text is kept as a hash and its length; a version knows which of
the texts that it was fitted on this is, and of any other text its features are made of the length alone.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.declaration import Category, Declaration, Flags, Number
from training.data.parser import BITS, INT32
from training.data.schema import FeatureSchema, definition
from training.graph.block import DEFINITION
from training.graph.days import DAY as DAY
from training.graph.velocity import state_names

FORMAT = 2
NEVER = 65_535  # a day of report that has not come
TAG = 8  # bytes
LATE = 60  # seconds: a payment that arrives so much later than another of its entity is answered as if it were in order
SPARE = 96  # entries that are kept beyond k, for payments of one instant and late ones
UNKNOWN_TEXT = "~"  # stands, as often as the text is long, for a text that the version was not fitted on

Columns = Mapping[str, Any]


@dataclass(frozen=True)
class LiveDefinition:
    """The declaration of the columns, and `k` transactions of history."""

    data: Declaration
    k: int

    @cached_property
    def digest(self) -> str:
        """12 hex digits; another declaration, state, `k` or layout has another one."""
        layout = [
            FORMAT,
            DEFINITION,
            definition(self.data),
            list(state_names(self.data.relations)),
            self.k,
            self.entry.descr,
        ]
        return hashlib.sha256(json.dumps(layout).encode()).hexdigest()[:12]

    @cached_property
    def entry(self) -> "np.dtype[np.void]":
        """The layout of an entry, without gaps. The scripts rely on `time` and `tag` to come first."""
        columns: list[tuple[Any, ...]] = [("time", "<i8"), ("tag", f"V{TAG}"), ("known", "<u2"), ("fraud", "u1")]
        columns += [(f"key {side}", "<u8") for side in self.data.relations]
        narrow = self.data.amount.limit * 10**self.data.amount.minor_units < INT32
        columns += [("clean cents", "<i4" if narrow else "<i8")]
        for name, category in self.data.categories.items():
            columns += _category(f"clean {name}", category)
        columns += [(f"clean {name}", _number(one)) for name, one in self.data.numbers.items()]
        columns += [(f"clean {name}", _flags(one)) for name, one in self.data.flags.items()]
        return np.dtype([*columns, ("state", "<f4", (len(state_names(self.data.relations)),))])

    @property
    def most(self) -> int:
        """How many entries an entity has at most."""
        return self.k + SPARE

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The categories that are texts."""
        return tuple(name for name in self.data.open_categories if not self.data.categories[name].whole)

    def entries(self, clean: Columns, keys: Mapping[str, NDArray[np.uint64]], state: NDArray[np.float32]) -> NDArray:  # type: ignore[type-arg]
        """Entries [N] of clean columns, hashed `keys` [N] by relation and states [N, S]; no label is known."""
        made = np.zeros(len(state), self.entry)
        made["known"] = NEVER
        for side in self.data.relations:
            made[f"key {side}"] = keys[side]
        made["time"] = clean["time"]
        for name in self.data.source:
            if name in self.texts:
                made[f"clean {name}"], made[f"clean {name} length"] = _hashed(clean[name])
            else:
                made[f"clean {name}"] = np.asarray(clean[name])
        made["state"] = state
        return made

    def known_texts(self, fitted: FeatureSchema) -> dict[str, dict[int, str]]:
        """By category the texts that a version was fitted on, by their hash."""
        return {
            name: {text_hash(value): value for value in fitted.encodings[name].values if value is not None}
            for name in self.texts
        }

    def clean(self, entries: NDArray, known: Mapping[str, Mapping[int, str]]) -> dict[str, Any]:  # type: ignore[type-arg]
        """The clean columns of entries: what features are made of, and the time."""
        columns: dict[str, Any] = {"time": entries["time"]}
        for name in self.data.source:
            values = entries[f"clean {name}"]
            if name in self.texts:
                told = zip(values.tolist(), entries[f"clean {name} length"].tolist(), strict=True)
                texts = [known[name].get(one) or UNKNOWN_TEXT * length for one, length in told]
                columns[name] = np.array([*texts, None], dtype=object)[:-1]
            else:
                columns[name] = values
        return columns


def text_hash(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _hashed(texts: Sequence[str | None]) -> tuple[list[int], list[int]]:
    known: dict[str, tuple[int, int]] = {}
    rows = []
    for text in ("" if one is None else one for one in texts):
        if text not in known:
            known[text] = (text_hash(text), min(len(text.encode()), 255))
        rows.append(known[text])
    return [one for one, _ in rows], [length for _, length in rows]


def _category(name: str, category: Category) -> list[tuple[Any, ...]]:
    if category.values:
        return [(name, "i1")]
    return [(name, "<i4")] if category.whole else [(name, "<u8"), (f"{name} length", "u1")]


def _number(number: Number) -> str:
    return "<f4" if number.whole and max(abs(number.least), abs(number.most)) <= 2**24 else "<f8"


def _flags(flags: Flags) -> str:
    size = next(bits for bits in BITS.values() if len(flags.values) < bits)
    return {8: "u1", 16: "<u2", 32: "<u4", 63: "<i8"}[size]
