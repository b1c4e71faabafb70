"""A browser's part of a conversation with the console, without a browser."""

import re
from typing import Any

from werkzeug.test import Client, TestResponse

from cli.console.door import COOKIE, LocalDoor
from cli.console.people import EVERYTHING, Person, Role
from cli.console.site import Site
from local.demo.reviewer import FormFields

HOST = "127.0.0.1:8000"
ORIGIN = f"http://{HOST}"
WHO = "arn:aws:iam::123456789012:user/eve"


def site_of(app: Any, roles: frozenset[Role] = EVERYTHING) -> Site:
    """The console of an app; whoever holds the key `k` has these roles."""
    door = LocalDoor(lambda: WHO, "k")
    site = Site(app, door, (HOST,), (ORIGIN,))
    if roles != EVERYTHING:
        object.__setattr__(door, "person", lambda request: Person(WHO, roles))
    return site


class Visitor:
    """Somebody with the key, unless `key` says otherwise."""

    def __init__(self, site: Site, key: str = "k") -> None:
        self.client = Client(site)
        if key:
            self.client.set_cookie(COOKIE, key, domain="127.0.0.1")

    def get(self, path: str, **more: Any) -> TestResponse:
        """One page."""
        return self.client.get(path, base_url=ORIGIN, **more)

    def post(self, path: str, data: dict[str, str], **headers: str) -> TestResponse:
        """One form, as a browser sends it, unless `headers` say otherwise."""
        sent = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"} | {
            k.replace("_", "-"): v for k, v in headers.items()
        }
        return self.client.post(path, base_url=ORIGIN, data=data, headers={k: v for k, v in sent.items() if v})

    def act(self, path: str, why: str = "looked at it", **changes: str) -> TestResponse:
        """Open the form at `path`, fill it in and send it."""
        opened = self.get(path)
        assert opened.status_code == 200, opened.text
        fields = FormFields(opened.text).fields | {"why": why, "sure": "yes"} | changes
        return self.post(path.split("?")[0], fields)


def said(answer: TestResponse) -> str:
    """The text of a page without its markup."""
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())
