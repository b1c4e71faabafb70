"""The console's pages: what they show, to whom, and that nothing from outside becomes markup."""

import hashlib
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import filled
import polars as pl
import pytest
from visitor import ORIGIN, Visitor, said, site_of

from cli.console import live
from cli.console.people import Role
from cli.console.site import PATHS, STATIC
from cli.console.text import fit
from training.scorelog.files import SCHEMA

PAGES = (
    "/", "/runs", "/runs/fraud-6", "/runs/fraud-5", "/runs/fraud-6/timeline", "/compare",
    "/compare?a=fraud-4&b=fraud-6",
    "/models/fraud", "/quarantine", "/quarantine?model=fraud", "/dead-letters", "/live", "/audit",
    "/audit?subject=fraud-6",
    "/act/reject?run=fraud-6", "/act/cancel?run=fraud-6",
    "/act/rollback?model=fraud&version=fraud-3-00000003",
    "/act/hold?model=fraud", "/act/quarantine?model=fraud&key=data/fraud/2026-11-26.csv",
    "/act/release-object?model=fraud&key=data/fraud/2026-11-27.csv",
)  # fmt: skip


@pytest.fixture(scope="module")
def full(shared_system):
    """A deployment with a history, which no test of this module changes."""
    filled.fill(shared_system)
    return shared_system


@pytest.fixture
def visitor(full):
    """Somebody with the key of its console."""
    return Visitor(site_of(full))


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_every_page_is_there_and_nothing_from_outside_is_markup(visitor):
    """Keys, reasons, messages and segments of an attacker are text on every page; no card number is on any."""
    approve = re.findall(r'href="(/act/approve[^"]+)"', visitor.get("/runs/fraud-6").text)
    assert len(approve) == 1
    for path in (*PAGES, unescape(approve[0])):
        answer = visitor.get(path)
        assert answer.status_code == 200, (path, said(answer)[:300])
        scripts = [attrs for tag, attrs in Elements(answer.text).found if tag in ("script", "img")]
        assert all(attrs.get("src") == "/static/htmx.js" for attrs in scripts), path
        assert not any(name.startswith("on") for _, attrs in Elements(answer.text).found for name in attrs), path
        assert filled.CARD not in answer.text, path
    nasty = said(visitor.get("/quarantine"))
    assert "onerror=" in nasty  # it is shown, as text


def test_every_route_is_walked():
    """A page that is added is added to the test above."""
    walked = {re.sub(r"\?.*", "", path) for path in PAGES}
    kinds = {re.sub(r"/(runs|models|act)/[^/]+", r"/\1/X", path) for path in walked} | {"/runs/X/report"}
    assert kinds == {re.sub(r"<[^>]+>", "X", rule.rule) for rule in PATHS.iter_rules()}


def test_the_overview_says_what_serves_and_who_is_waited_for(visitor):
    """First of all the run that waits."""
    text = said(visitor.get("/"))
    assert "fraud-6 waits for a person. Without an answer it is rejected in" in text
    assert "fraud-4-00000004" in text


def test_a_run_shows_gates_metrics_objects_and_its_report(visitor):
    """With the acts that its state allows, and no others."""
    answer = visitor.get("/runs/fraud-6")
    text = said(answer)
    for shown in (
        "Every check of the gate held",
        "Beside the champion",
        "awaiting approval",
        "Approve",
        "Reject",
        "Cancel",
    ):
        assert shown in text
    assert 'sandbox=""' in answer.text
    ended = said(visitor.get("/runs/fraud-5"))
    assert "0.88 is below 0.9" in ended
    assert "Approve" not in ended
    assert "Do it again from a stage" in ended


def test_the_timeline_polls_only_while_the_run_is_not_over(visitor):
    """htmx asks again every three seconds; a run at rest is not asked for."""
    assert 'hx-trigger="every 3s"' in visitor.get("/runs/fraud-6").text
    assert "hx-trigger" not in visitor.get("/runs/fraud-5").text


def test_two_runs_beside_each_other(visitor):
    """Whether they may be compared comes first; then figures, segments and what changed."""
    text = said(visitor.get("/compare?a=fraud-4&b=fraud-6"))
    assert "Both were measured on the same rows" in text
    assert "What changed" in text
    refused = visitor.get("/compare?a=fraud-77&b=fraud-6")
    assert refused.status_code == 404
    assert "there is no run or version" in said(refused)


def test_a_model_shows_its_versions_and_its_quality_over_time(visitor):
    """A dot for each evaluated candidate; each earlier version can be brought back."""
    html = visitor.get("/models/fraud").text
    assert html.count('<svg class="plot"') == 3
    assert html.count("roll back") == 3
    assert "fraud-5 (rejected): auc_roc 0.88" in html


def test_the_report_is_served_in_a_sandbox(visitor):
    """No script, no form and no request, whatever a stage wrote into it."""
    answer = visitor.get("/runs/fraud-6/report")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert visitor.get("/runs/fraud-1-x/report").status_code == 404


def test_live_says_so_where_there_is_no_log(visitor, monkeypatch):
    """And where polars is not installed, which the console does not need."""
    assert "No answer of the last 24 hours is in the score log" in said(visitor.get("/live"))
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError("no polars")))
    assert "The score log cannot be read here: no polars" in said(visitor.get("/live"))


def test_live_counts_what_is_in_the_log():
    """Alerts, degraded answers with their reasons, and latency in milliseconds."""
    rows = [
        {"at": 1e9 + n * 60, "decision": n % 10 == 0, "degraded": "deadline" if n % 20 == 0 else "",
         "latency_us": 1000 + n, "version": "fraud-1-00000001", "probability": 0.1}
        for n in range(200)
    ]  # fmt: skip
    frame = pl.DataFrame(rows).with_columns(
        *(pl.lit(None, kind).alias(name) for name, kind in SCHEMA.items() if name not in rows[0])
    )
    found = live.summary(frame)
    assert (found["total"]["answers"], found["total"]["alerts"], found["total"]["degraded"]) == (200, 20, 10)
    assert 1.09 < found["total"]["p50"] < 1.11
    assert found["why"] == [("deadline", 10)]
    assert set(found["plots"]) == {"latency", "shares", "answers"}


def test_a_viewer_sees_no_buttons_and_may_not_act(full):
    """Reading is for all who are let in."""
    visitor = Visitor(site_of(full, frozenset({Role.VIEWER})))
    for path in ("/", "/runs/fraud-6", "/models/fraud", "/quarantine"):
        answer = visitor.get(path)
        assert answer.status_code == 200
        assert "/act/" not in answer.text
    assert visitor.get("/act/approve?run=fraud-6").status_code == 403


def test_the_lists_are_bounded_and_paged(full, visitor):
    """Nonsense in an address is no error, or a clear one."""
    assert visitor.get("/runs?page=abc").status_code == 200
    assert visitor.get("/runs?page=99999999").status_code == 200
    assert visitor.get("/runs?model=fruad").status_code == 404
    assert visitor.get("/runs?model=" + "x" * 3000).status_code == 400
    assert visitor.get("/models/fruad").status_code == 404
    assert visitor.get("/nothing").status_code == 404


def test_an_error_that_was_not_foreseen_tells_nothing(visitor, monkeypatch, caplog):
    """The page has no trace and no message of it; the log has both."""
    monkeypatch.setattr("cli.console.reads.runs", lambda *_: (_ for _ in ()).throw(RuntimeError("secret")))
    answer = visitor.get("/runs")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret" in caplog.text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("4111 1111 1111 1111", "•••• 1111"),
        ("card 5500-0000-0000-0004.", "card •••• 0004."),
        ("378282246310005", "•••• 0005"),
        ("20261127123456", "20261127123456"),  # a time
        ("1790000000000", "1790000000000"),  # milliseconds
        ("4111111111111112", "4111111111111112"),  # no check digit
        ("a4111111111111111", "a4111111111111111"),  # part of a digest
        ("\x1b[31mred", "\\x1b[31mred"),
        (12, 12),
    ],
)
def test_what_may_stand_on_a_page(given, shown):
    """Card numbers are masked by range, length and check digit; controls are written out."""
    assert fit(given) == shown


def test_htmx_is_the_file_of_its_release():
    """Vendored unchanged: the digest is of dist/htmx.min.js in the npm archive of htmx.org 2.0.11."""
    script = STATIC["htmx.js"][0]
    digest = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"
    assert hashlib.sha256(script.read_bytes()).hexdigest() == digest
    assert (script.parent / "htmx-2.0.11.LICENSE").read_text().startswith("Zero-Clause BSD")


def test_static_files_are_those_of_a_list(visitor):
    """A path is never made of an address."""
    assert visitor.get("/static/page.css").status_code == 200
    for path in ("/static/../site.py", "/static/%2e%2e/site.py", "/static/x"):
        assert visitor.get(path).status_code == 404


def test_the_templates_have_no_inline_script_or_style():
    """The policy would refuse them, so a page would break silently."""
    for path in (Path(__file__).parents[2] / "cli/console/views").glob("*.j2"):
        text = path.read_text()
        assert " style=" not in text
        assert not re.search(r"\son\w+=", text), path
        assert "<style" not in text
        assert re.findall(r"<script[^>]*>", text) in ([], ['<script src="/static/htmx.js" defer>']), path


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "POST"])
def test_a_page_is_only_read(visitor, method):
    """A page answers no other method than GET and HEAD."""
    answer = visitor.client.open("/", method=method, base_url=ORIGIN)
    assert answer.status_code == 405
    assert visitor.client.head("/", base_url=ORIGIN).status_code == 200
