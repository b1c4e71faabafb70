"""The built site in a browser: diagrams are drawn, nobody else's server is asked, every page is two clicks away."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest

from local.browser import CHROMIUM, MISSING, Browser, browser, served

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "vendor" not in page.parts)
DRAWN = [page for page in PAGES if "```mermaid" in page.read_text()]
WIDTHS = (390, 1024, 1600)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return folder


@pytest.fixture(scope="module")
def url(site):
    """Where the site answers."""
    with served(site) as address:
        yield address


@pytest.fixture
def tab(tmp_path) -> Iterator[Browser]:
    """A browser of this test alone."""
    if not CHROMIUM:
        pytest.skip(MISSING)
    with browser(tmp_path) as one:
        yield one


def address(page: Path) -> str:
    """A page's path in the site."""
    name = page.relative_to(ROOT / "docs").with_suffix("")
    return "/" + "".join(f"{part}/" for part in name.parts if part != "index")


class Links(HTMLParser):
    """What a page links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        """`a` leads somewhere; the others make the browser ask."""
        found = dict(attrs)
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe", "link"):
            self.loaded += [found[name] for name in ("src", "href") if found.get(name)]


def test_no_page_loads_from_elsewhere(site):
    """Scripts, styles, pictures and preconnects of every page are the site's own."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    assert [
        (page.name, each) for page in pages for each in Links(page.read_text()).loaded if urlsplit(each).netloc
    ] == []


def test_no_script_knows_a_cdn(site):
    """The theme asks unpkg.com for Mermaid where none is there; the hook takes the address out."""
    scripts = list(site.rglob("*.js"))
    assert any("mermaid" in script.name for script in scripts)
    cdn = re.compile(r"https?://(?:unpkg\.com|cdn\.|cdnjs\.|fonts\.|[a-z.]*jsdelivr|[a-z.]*googleapis)")
    assert [script.name for script in scripts if cdn.search(script.read_text())] == []
    assert "Permission is hereby granted" in (site / "assets/mermaid/LICENSE").read_text()


def test_only_pages_with_a_diagram_load_mermaid(site):
    """It is 2.5 MB."""
    for page in PAGES:
        html = (site / address(page).lstrip("/") / "index.html").read_text()
        assert ("mermaid.tiny.js" in html) == (page in DRAWN), page


@pytest.mark.parametrize("page", DRAWN, ids=lambda page: page.stem)
def test_every_diagram_is_drawn_and_nobody_else_is_asked(url, tab, page):
    """As many SVGs with text as there are blocks, and no request to another host."""
    blocks = page.read_text().count("```mermaid")
    tab.open(url + address(page))
    tab.until(f"document.querySelectorAll('div.mermaid').length === {blocks}")
    tab.until("document.querySelectorAll('pre.mermaid').length === 0")
    drawn = [node for node in tab.elements("svg") if "aria-roledescription" in node["attributes"]]
    assert len(drawn) == blocks
    assert "error" not in {dict(zip(each[::2], each[1::2], strict=True)).get("aria-roledescription")
                           for each in (node["attributes"] for node in drawn)}  # fmt: skip
    assert {urlsplit(each).netloc for each in tab.requests if each.startswith("http")} == {urlsplit(url).netloc}
    assert any("mermaid.tiny.js" in each for each in tab.requests)


def test_a_wide_diagram_scrolls_on_a_phone(url, tab):
    """Drawn as wide as a phone its text had three pixels; half its natural size is the least."""
    tab.open(url + "/state-machine/", 390)
    tab.until("document.querySelectorAll('div.mermaid').length === 1")
    seen, drawn = tab.value("(one => [one.clientWidth, one.scrollWidth])(document.querySelector('div.mermaid'))")
    [diagram] = [node["attributes"] for node in tab.elements("svg") if "aria-roledescription" in node["attributes"]]
    natural = float(dict(zip(diagram[::2], diagram[1::2], strict=True))["viewBox"].split()[2])
    assert seen < 390 < drawn
    assert drawn >= natural / 2 - 1


def test_mermaid_understands_the_diagrams_that_github_draws(url, tab):
    """The README's; a semicolon in a message ended the statement, and a page showed its source instead."""
    texts = [
        (page.name, text)
        for page in sorted(ROOT.glob("*.md"))
        for text in re.findall(r"^```mermaid\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert texts
    tab.open(url + "/architecture/")
    parsed = "mermaid.parse({}).then(() => '', error => String(error))"
    assert {name: tab.value(parsed.format(json.dumps(text))) for name, text in texts} == dict.fromkeys(dict(texts), "")
    assert "Error" in tab.value(parsed.format(json.dumps("sequenceDiagram\n  A->>B: one; two\n")))


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_window(url, tab, width):
    """Wide tables and code scroll inside of themselves."""
    wider = {}
    for page in PAGES:
        tab.open(url + address(page), width)
        if (found := tab.value("document.documentElement.scrollWidth")) > width:
            wider[page.stem] = found
    assert wider == {}


def test_every_page_is_two_clicks_from_the_home_page(site):
    """By links of the text itself: the theme's menu is not counted."""

    def leads(place: str) -> set[str]:
        text = (site / place.lstrip("/") / "index.html").read_text()
        article = text[text.index("<article") : text.index("</article>")]
        return {urljoin(place, link).split("#")[0] for link in Links(article).links if not urlsplit(link).netloc}

    first = leads("/")
    reached = {"/"} | first | {place for one in first if one.endswith("/") for place in leads(one)}
    assert {address(page) for page in PAGES} - reached == set()
