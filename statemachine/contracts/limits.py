"""What a record may hold: DynamoDB's limits, counted in the bytes that it counts, and how long a text may be.

Item and transaction limits: "Service, account, and table quotas in Amazon DynamoDB". How an item is counted: "DynamoDB
item sizes and formats".
"""

import math
from collections.abc import Mapping, Sequence

from statemachine.contracts.errors import Impossible

ITEM_BYTES = 400 * 1024
TRANSACTION_BYTES = 4 * 1024 * 1024
TRANSACTION_ITEMS = 100
LONGEST_TEXT = 2000  # characters of a reason, a name or a URI on record
OUTPUT_BYTES = 24 * 1024  # of a report's outputs as they are stored: those of eight stages fit into one item
METRIC_BYTES = 8 * 1024  # of its metrics: a model keeps those of all stages for its last versions
VERDICT_BYTES = 48 * 1024  # of the gate's verdict as it is stored
SHADOW_BYTES = 24 * 1024  # of the shadow's


def item_bytes(item: Mapping[str, str | int | float]) -> int:
    """The size of an item, names and values in UTF-8.

    A number takes a byte for two significant digits, one more, and one for a sign.
    """
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: str | int | float) -> int:
    if isinstance(value, str):
        return len(value.encode())
    text = repr(value)
    digits = text.lower().partition("e")[0].replace(".", "").strip("-0")
    return math.ceil(len(digits) / 2) + 1 + text.startswith("-")


def check_write(items: Sequence[tuple[str, Mapping[str, str | int | float]]]) -> None:
    """See to it that DynamoDB can take these items, each with its name, in one write.

    Raises:
        Impossible: an item or the transaction is too large, or a text cannot be encoded.
    """
    if len(items) > TRANSACTION_ITEMS:
        raise Impossible(f"a transaction of {len(items)} items; DynamoDB takes {TRANSACTION_ITEMS}")
    total = 0
    for name, item in items:
        try:
            size = item_bytes(item)
        except UnicodeEncodeError as error:
            raise Impossible(f"{clipped(name)} holds text that is not Unicode: {error.reason}") from error
        if size > ITEM_BYTES:
            raise Impossible(f"{clipped(name)} would have {size} bytes; DynamoDB takes items of {ITEM_BYTES}")
        total += size
    if len(items) > 1 and total > TRANSACTION_BYTES:
        raise Impossible(f"a transaction of {total} bytes; DynamoDB takes {TRANSACTION_BYTES}")


def clipped(text: str, most: int = LONGEST_TEXT) -> str:
    """The text as a record can hold it: not longer than `most` characters, and without lone surrogates."""
    whole = text.encode(errors="replace").decode()
    return whole if len(whole) <= most else f"{whole[: most - 1]}…"
