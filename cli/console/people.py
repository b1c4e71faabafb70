"""Who uses the console, and what they may do there."""

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """What a person may do: everyone who is let in may read."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"


@dataclass(frozen=True)
class Person:
    """A person with the name that goes on record: an ARN from STS, or the email and `oidc` with the subject.

    `shown` is the name on the page.
    """

    name: str
    roles: frozenset[Role]
    shown: str = ""

    def may(self, role: Role) -> bool:
        """Whether the person has that role; all may read."""
        return role is Role.VIEWER or role in self.roles


EVERYTHING = frozenset(Role)  # with one's own credentials, IAM says what one may do
