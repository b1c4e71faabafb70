"""What an object of the data bucket holds, as manifests, indexes and records say it."""

from enum import Enum


class ObjectKind(Enum):
    """Transactions, or reports of which of them were fraud. A record that says nothing means transactions."""

    DATA = "data"
    LABELS = "labels"
