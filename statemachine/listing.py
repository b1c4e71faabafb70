"""The nightly listing of a model's prefixes, page by page. Each page is on record before the position moves."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

from statemachine.contracts.errors import Conflict
from statemachine.core import codec
from statemachine.intake import IngestResult, Intake
from statemachine.ports import Clause, Files, Key, Put

PAGE = 1000  # keys: what S3 lists at once


@dataclass(frozen=True)
class ListingPosition:
    """Where the listing for `slot` is: all keys up to `after` of the model's prefix number `at`, and all of those
    before it, are on record. `done`: there are no more.
    """

    slot: str = ""
    after: str = ""
    done: bool = False
    version: int = 0
    at: int = 0


@dataclass(frozen=True)
class PrefixListing:
    """Ingests all objects in the bucket, whether their events arrived or not. A crash repeats one page."""

    intake: Intake
    files: Files
    clock: Callable[[], float]

    def go_on(
        self, model: str, slot: str, enough: Callable[[], bool] = lambda: False
    ) -> tuple[ListingPosition, IngestResult]:
        """Continue the listing to its end, or until `enough()`; returns the position and what was ingested.

        Raises:
            Conflict: the listing of another slot began.
        """
        place, taken = self._place(model), IngestResult()
        if place.slot != slot:
            place = self._moved(model, replace(place, slot=slot, after="", at=0, done=False))
        while not place.done and not enough():
            following, more = self._page(model, place)
            taken, place = taken + more, self._moved(model, following)
        return place, taken

    def whole(self, model: str) -> IngestResult:
        """List all prefixes now, for an operator; no stored position changes."""
        place, taken = ListingPosition(), IngestResult()
        while not place.done:
            place, more = self._page(model, place)
            taken += more
        return taken

    def _page(self, model: str, place: ListingPosition) -> tuple[ListingPosition, IngestResult]:
        listed_at = self.clock()
        prefixes = list(self.intake.policies[model].prefixes)
        found = self.files.list(self.intake.bucket, prefixes[place.at], place.after)
        page = list(islice(found, PAGE))
        taken = self.intake.arrive(page, listed_at)
        after = page[-1].key if page else place.after  # it sorts before all keys of the next prefix
        if len(page) == PAGE:
            return replace(place, after=after), taken
        last = place.at + 1 == len(prefixes)
        return replace(place, after=after, at=place.at + (not last), done=last), taken

    def _place(self, model: str) -> ListingPosition:
        item = self.intake.store.table.get(_key(model))
        return (
            codec.loads(ListingPosition, str(item["body"]), int(item.get("format", 0))) if item else ListingPosition()
        )

    def _moved(self, model: str, place: ListingPosition) -> ListingPosition:
        """The stored position; if two workers list the same slot, the later one."""
        place = replace(place, version=place.version + 1)
        item = {"type": "listing", "format": codec.FORMAT, "version": place.version, "model": model}
        body = {"writer": self.intake.new_id(), "body": codec.dumps(place)}
        new = Clause("the listing was not moved meanwhile: it is new")
        still = Clause("the listing was not moved meanwhile", "version", place.version - 1)
        try:
            self.intake.store.table.write(Put(_key(model), {**item, **body}, new if place.version == 1 else still))
        except Conflict:
            now = self._place(model)
            if now.slot != place.slot:
                raise
            return now
        return place


def _key(model: str) -> Key:
    return Key(f"MODEL#{model}", "LISTING")
