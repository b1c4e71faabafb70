"""The person who says yes in the console, in a headless Chromium if there is one, else by the same form over HTTP."""

import http.cookiejar
import re
import tempfile
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

from local.browser import CHROMIUM, browser
from statemachine.contracts.errors import Unreachable

FORM = re.compile(r'href="(/act/approve[^"]*)"')
SECONDS = 60.0


class Reviewer:
    """Somebody who has the `key` of the console at `url`."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def approve(self, run_id: str, why: str, chromium: bool = True) -> str:
        """Open the run's page, follow its link to the approval, give the reason and send. Returns how it was done.

        A Chromium is started only if it is there and wanted.

        Raises:
            Unreachable: the page has no approval to give, or did not take it.
        """
        return self._in_chromium(run_id, why) if CHROMIUM and chromium else self._by_form(run_id, why)

    def _in_chromium(self, run_id: str, why: str) -> str:
        with (
            tempfile.TemporaryDirectory(prefix="fraudloop-chromium-", ignore_cleanup_errors=True) as folder,
            browser(Path(folder)) as tab,
        ):
            tab.open(self._entrance)
            tab.open(f"{self._url}/runs/{run_id}")
            tab.open(tab.value("document.querySelector('a[href^=\"/act/approve\"]').href"))
            tab.value(f"document.querySelector('#why').value = {why!r}; document.querySelector('#sure').click()")
            tab.value("document.querySelector('form[method=post] button').click()")
            tab.until("document.readyState === 'complete' && !document.querySelector('#why')", SECONDS)
            said = str(tab.value("document.querySelector('[role=status], h1').textContent"))
        return _taken(said, "with Chromium")

    def _by_form(self, run_id: str, why: str) -> str:
        self._text(self._entrance)
        link = FORM.search(self._text(f"{self._url}/runs/{run_id}"))
        if link is None:
            raise Unreachable(f"{run_id}'s page in the console has no approval to give")
        form = urllib.parse.urljoin(self._url, link[1].replace("&amp;", "&"))
        fields = FormFields(self._text(form)).fields | {"why": why, "sure": "yes"}
        request = urllib.request.Request(form.split("?")[0], urllib.parse.urlencode(fields).encode())
        request.add_header("Origin", self._url)
        with self._opener.open(request, timeout=SECONDS) as answer:
            return _taken(
                answer.read().decode(), "by its form" if CHROMIUM else "by its form: there is no Chromium here"
            )

    @property
    def _entrance(self) -> str:
        return f"{self._url}/enter?{urllib.parse.urlencode({'key': self._key})}"

    def _text(self, url: str) -> str:
        with self._opener.open(url, timeout=SECONDS) as answer:
            return str(answer.read().decode())


def _taken(said: str, how: str) -> str:
    if "approval is on record" not in said:
        raise Unreachable(f"the console did not take the approval: {said[:200]}")
    return how


class FormFields(HTMLParser):
    """The hidden fields of the forms that are sent by POST."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inside, self.fields = False, dict[str, str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.inside = found.get("method") == "post"
        if self.inside and tag == "input" and found.get("type") == "hidden":
            self.fields[found["name"]] = found["value"]
