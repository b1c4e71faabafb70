"""The model's input: a transaction, the last K transactions of each of its entities, and windowed counts of each.

The model is computed from a `Block` and nothing else. Training reads blocks from the graph (`training.graph.history`);
the server builds the same record from a request. Every feature is a function of a `Block`, so offline and online
features cannot differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from training.graph.arrays import Array, double, library, there
from training.graph.days import DAY as DAY

DEFINITION = 3  # of volumes, risks and known labels; a model of another one is not scored with these
VOLUME_DAYS = (1, 7, 30)
RISK_DAYS = (1, 7, 30, 90, 365)
SIDES = ("card", "merchant")  # the relations of the default preset; a model's own are the entities it declares
FLOATS = ("row", "state", "gap", "label")


# Windows are calendar days (UTC); D is the day of the transaction. Per side: how many strictly earlier transactions of
# the days D − N + 1 … D there were for N = 1, 7 and 30, and the sums of their amounts; then transactions, and frauds
# among them, whose labels became known on the days D − N … D − 1 for N = 1, 7, 30, 90 and 365: what a nightly load of
# label reports knows. The served model's caller keeps these counters.
def volumes(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Names of the volumes: by side all counts, then all sums of amounts."""
    return tuple(f"{side}_{what}_{days}d" for side in sides for what in ("volume", "amount") for days in VOLUME_DAYS)


def risks(sides: Sequence[str] = SIDES) -> tuple[str, ...]:
    """Names of the risks."""
    return tuple(f"{side}_{what}_{days}d" for side in sides for what in ("matured", "frauds") for days in RISK_DAYS)


VOLUMES, RISKS = volumes(), risks()


@dataclass(frozen=True)
class Edges:
    """A history as an edge list of E edges, earlier transaction → transaction.

    `target` [E]: row of the block that the edge leads to. `rank` [E]: 0 for the most recent entry. `source` [E, F + S]:
    row features and state of the earlier transaction. `gap`, `label`, `matured`, `same` [E]: as in `History`.
    """

    target: Array
    rank: Array
    source: Array
    gap: Array
    label: Array
    matured: Array
    same: Array

    def double(self) -> "Edges":
        """The same edges in float64."""
        return replace(self, source=double(self.source), gap=double(self.gap), label=double(self.label))


@dataclass(frozen=True)
class History:
    """The last K strictly earlier transactions of one entity, most recent first; zeros where absent.

    `row` [B, K, F]: row features. `state` [B, K, S]: the velocity features of each neighbour, computed at its own
    timestamp (`training.graph.velocity.STATE`); they give the model two-hop information without loading the
    neighbour's history. `gap` [B, K]: seconds before the transaction (≥ 1). `matured` [B, K]: the label became known
    before the day of the transaction. `label` [B, K]: 1 if it did and says fraud. `same` [B, K]: all entities are those
    of the transaction. `present` [B, K]: there is an entry.
    """

    row: Array
    state: Array
    gap: Array
    label: Array
    matured: Array
    same: Array
    present: Array

    def edges(self) -> Edges:
        """Converts the padded history to an edge list, dropping the padding."""
        target, rank = there(self.present)
        source = library(self.row).concatenate([self.row[target, rank], self.state[target, rank]], 1)
        columns = (self.gap, self.label, self.matured, self.same)
        return Edges(target, rank, source, *(column[target, rank] for column in columns))

    def recent(self, count: int) -> "History":
        """Only the `count` most recent."""
        return History(*(getattr(self, field.name)[:, :count] for field in fields(self)))

    def only(self, columns: list[int]) -> "History":
        """The same history with these row features alone."""
        return replace(self, row=picked(self.row, columns))

    def to(self, device: torch.device) -> "History":
        """The same history on another device."""
        return History(*(getattr(self, field.name).to(device) for field in fields(self)))

    def double(self) -> "History":
        """The same history in float64."""
        return replace(self, **{name: double(getattr(self, name)) for name in FLOATS})


@dataclass(frozen=True)
class Block:
    """B transactions: `row` [B, F], a history by relation, the counts and sums `volume` [B, 6 S], the counts `risk`
    [B, 10 S].

    Their columns are named by `volumes` and `risks` of the S relations; an amount is in whole units of the currency.
    """

    row: Array
    histories: Mapping[str, History]
    volume: Array
    risk: Array

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def joined(cls, blocks: Sequence["Block"]) -> "Block":
        """Many blocks as one."""

        def together(parts: Sequence[Any]) -> Array:
            return library(parts[0]).concatenate(list(parts))

        def history(parts: Sequence[History]) -> History:
            return History(*(together([getattr(one, field.name) for one in parts]) for field in fields(History)))

        histories = {side: history([block.histories[side] for block in blocks]) for side in blocks[0].histories}
        row, volume, risk = (together([getattr(one, name) for one in blocks]) for name in ("row", "volume", "risk"))
        return cls(row, histories, volume, risk)

    def halves(self) -> tuple["Block", "Block"]:
        """The first half of the transactions, and the others."""
        cut = len(self) // 2
        return self._some(slice(cut)), self._some(slice(cut, None))

    def _some(self, rows: slice) -> "Block":
        histories = {
            side: History(*(getattr(history, field.name)[rows] for field in fields(History)))
            for side, history in self.histories.items()
        }
        return Block(self.row[rows], histories, self.volume[rows], self.risk[rows])

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the relations, in order."""
        return tuple(self.histories)

    def recent(self, count: int) -> "Block":
        """The same transactions with only the `count` most recent of each history."""
        return replace(self, histories={side: one.recent(count) for side, one in self.histories.items()})

    def edges(self) -> dict[str, Edges]:
        """The edges of all relations, in float64."""
        return {side: history.double().edges() for side, history in self.histories.items()}

    def only(self, columns: list[int]) -> "Block":
        """The same transactions with these row features alone; -1 is one that is always 0."""
        histories = {side: one.only(columns) for side, one in self.histories.items()}
        return replace(self, row=picked(self.row, columns), histories=histories)

    def to(self, device: torch.device) -> "Block":
        """The same block on another device."""
        row, volume, risk = (tensor.to(device) for tensor in (self.row, self.volume, self.risk))
        return Block(row, {side: one.to(device) for side, one in self.histories.items()}, volume, risk)

    def double(self) -> "Block":
        """The same block in float64."""
        row, volume, risk = (double(counts) for counts in (self.row, self.volume, self.risk))
        return Block(row, {side: one.double() for side, one in self.histories.items()}, volume, risk)


def picked(row: Array, columns: Sequence[int]) -> Array:
    """Some of the last dimension; zeros in place of column -1."""
    chosen = row[..., list(columns)]
    for position in (at for at, column in enumerate(columns) if column < 0):
        chosen[..., position] = 0
    return chosen
