"""Who is let in on this machine: whoever holds the key of this console, in the name of its AWS credentials.

Every user of a machine can reach 127.0.0.1; the key keeps the others from acting with somebody else's credentials.
"""

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from werkzeug.exceptions import Unauthorized
from werkzeug.wrappers import Request, Response

from cli.console.people import EVERYTHING, Person

COOKIE = "fraudloop-console"
CLOSED = (
    "This console is its owner's. Open the address that `fraudloop console` or `fraudloop up` printed; it has a key."
)


class Door(Protocol):
    """Says who a request comes from."""

    def person(self, request: Request) -> Person:
        """The person. Raises `Unauthorized` or `Forbidden`."""

    def enter(self, request: Request) -> Response | None:
        """The answer to a visit of `/enter`; None if there is nothing to enter by."""


@dataclass(frozen=True)
class LocalDoor:
    """One person with one key. `who` asks STS when it is first needed."""

    who: Callable[[], str]
    key: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    def person(self, request: Request) -> Person:
        """The owner, if the browser has the key."""
        if not self._holds(request.cookies.get(COOKIE, "")):
            raise Unauthorized(CLOSED)
        return Person(self.who(), EVERYTHING)

    def enter(self, request: Request) -> Response | None:
        """Keep the key in a cookie that no script and no other site can use, and take it out of the address."""
        if not self._holds(request.args.get("key", "")):
            raise Unauthorized(CLOSED)
        answer = Response(status=303, headers={"Location": "/"})
        answer.set_cookie(COOKIE, self.key, httponly=True, samesite="Strict", path="/")
        return answer

    def _holds(self, key: str) -> bool:
        return hmac.compare_digest(key.encode(), self.key.encode())
