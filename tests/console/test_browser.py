"""The console in a real Chromium: each page at three widths and in both themes, each act, keyboard, no JavaScript."""

import base64
import hashlib
import json
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import filled
import pytest

from cli.console.serving import serving
from local.browser import CHROMIUM, MISSING, browser
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Transition
from statemachine.core.states import State

WIDTHS = (390, 1024, 1600)
AXE = Path(__file__).parents[1] / "vendor/axe-core-4.14.1.tgz"
INTEGRITY = "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ=="
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"], "resultTypes": ["violations"]}
KEY = "data/fraud/2026-11-26.csv"
NASTY = f"data/fraud/{filled.NASTY}.csv"
PAGES = (
    "/", "/runs", "/runs/fraud-6", "/runs/fraud-5", "/compare?a=fraud-4&b=fraud-6", "/models/fraud", "/quarantine",
    "/dead-letters", "/live", "/audit", "/act/reject?run=fraud-6", "/nothing",
)  # fmt: skip


@pytest.fixture(scope="module")
def console(shared_system):
    """A console that is served; gives the system and the address to enter by."""
    if not CHROMIUM:
        pytest.skip(MISSING)
    filled.fill(shared_system)
    with serving(shared_system, None, key="k" * 32) as (server, address):
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield shared_system, address
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def tab(console, tmp_path_factory):
    """A tab that has entered."""
    with browser(tmp_path_factory.mktemp("chromium")) as one:
        one.open(console[1])
        yield one


@pytest.fixture(scope="module")
def base(console):
    """The address of the console, without its key."""
    return console[1].partition("/enter")[0]


@pytest.fixture(scope="module")
def axe():
    """The script of axe-core, from the archive that the npm registry gives."""
    assert base64.b64encode(hashlib.sha512(AXE.read_bytes()).digest()).decode() == INTEGRITY
    with tarfile.open(AXE) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script
        return script.read().decode()


def test_the_key_leaves_the_address(tab, base):
    """After entering, neither the address nor a script has it."""
    assert tab.value("location.href") == f"{base}/"
    assert tab.value("document.cookie") == ""


@pytest.mark.parametrize("width", WIDTHS)
def test_each_page_fits_breaks_no_rule_of_its_policy_and_asks_nobody_else(tab, base, width):
    """No wider than the window, no error in the console, no request to another host, no script of an attacker."""
    tab.theme("light")
    for path in PAGES:
        tab.errors.clear()
        tab.requests.clear()
        tab.open(base + path, width)
        assert tab.value("document.documentElement.scrollWidth") <= width, path
        assert tab.value("document.title") != "taken", path
        assert [each for each in tab.errors if "404" not in each] == [], path
        assert {urlsplit(each).netloc for each in tab.requests if each.startswith("http")} == {urlsplit(base).netloc}, (
            path
        )


@pytest.mark.parametrize(("theme", "width"), [("light", 1600), ("dark", 390)])
def test_axe_finds_nothing(tab, base, axe, theme, width):
    """Labels, names, roles, order of headings and contrast, by WCAG 2.1 AA and axe's best practices, in both themes."""
    tab.theme(theme)
    for path in PAGES:
        tab.open(base + path, width)
        assert violations(tab, axe) == [], path
    tab.value("document.querySelector('h1').insertAdjacentHTML('afterend', '<img src=x><button></button>')")
    assert {found.partition(":")[0] for found in violations(tab, axe)} >= {"image-alt", "button-name"}


def violations(tab, axe: str) -> list[str]:
    """What axe says of the page that is open: rules, each with the first elements that break it."""
    tab.call("Runtime.evaluate", expression=axe)
    told = "v => `${v.id}: ${v.nodes.slice(0, 3).map(n => n.html).join(' | ')}`"
    return tab.value(f"axe.run({json.dumps(RULES)}).then(found => found.violations.map({told}))")


def test_the_report_stands_in_its_frame_and_can_do_nothing(tab, base, console):
    """It is shown; a script that somebody put into it does not run, and it has an origin of its own."""
    system, _ = console
    place = system.store.run("fraud-6").outputs["evaluate"]["report_html"].uri
    html = system.files.read(place, 10**7)
    system.files.write(place, html.replace(b"</main>", b"<script>parent.document.title='taken'</script></main>"))
    tab.open(f"{base}/runs/fraud-6", 1024)
    tab.value("document.querySelector('iframe').scrollIntoView()")
    tab.until("document.querySelector('iframe').contentDocument === null")
    tab.open(f"{base}/runs/fraud-6/report", 390)
    assert "candidate" in tab.value("document.querySelector('h1').textContent")
    assert tab.value("document.documentElement.scrollWidth") <= 390
    assert tab.value("origin") == "null"
    assert tab.value("document.title") == "fraud-6: report"


def test_the_timeline_moves_by_itself(tab, base, console):
    """htmx swaps it in place: no reload, and what was typed elsewhere stays."""
    system, _ = console
    tab.open(f"{base}/runs/fraud-6", 1024)
    tab.value("window.here = true")
    before = system.store.model("fraud")
    run = system.store.run("fraud-6")
    entry = Transition(
        run.id, run.version + 1, time.time(), "AWAITING_APPROVAL", "DEPLOYING", TransitionReason.APPROVED
    )
    moved = replace(run, version=run.version + 1, state=State.DEPLOYING, entered_at=entry.at)
    system.store.move(moved, before, before, entry)
    tab.until("document.querySelector('#timeline li[aria-current=step]').textContent.includes('deploying')", 20)
    assert tab.value("window.here") is True
    back = replace(moved, version=moved.version + 1, state=State.AWAITING_APPROVAL)
    entry = replace(entry, version=back.version, source="DEPLOYING", dest="AWAITING_APPROVAL")
    system.store.move(back, before, before, entry)


def sent(tab, address: str, why: str) -> str:
    """Open a form, fill it in with the keyboard's own fields and send it; gives the text of the page that follows."""
    tab.open(address, 1024)
    told = json.dumps(why)
    tab.value(f"document.querySelector('#why').value = {told}; document.querySelector('#sure').click()")
    tab.value("document.querySelector('form[method=post] button').click()")
    tab.until("document.readyState === 'complete' && !document.querySelector('#why')")
    return tab.value("document.querySelector('[role=status], h1').textContent")


ACTS = (
    ("/act/hold?model=fraud", "on hold"),
    ("/act/release?model=fraud", "free"),
    (f"/act/quarantine?model=fraud&key={quote(KEY)}", "set aside"),
    (f"/act/release-object?model=fraud&key={quote(KEY)}", "joins the next run"),
    (f"/act/release-object?model=fraud&key={quote(NASTY)}", "joins the next run"),
    ("/act/rollback?model=fraud&version=fraud-3-00000003", "rollback begins"),
    ("/act/redrive?run=fraud-5&stage=preprocess", "new run begins"),
)


def test_each_act_can_be_asked_for_in_the_browser(tab, base, console):
    """Reason, tick, button; each is on record afterwards, in order."""
    system, _ = console
    for address, told in ACTS:
        if "redrive" in address:
            system.store.change_model("fraud", lambda model: replace(model, training=""))
        assert told in sent(tab, base + address, f"because of {address[5:9]}"), address
    tab.open(f"{base}/runs/fraud-6", 1024)
    form = tab.value("document.querySelector('a[href^=\"/act/approve\"]').href")
    assert "approval is on record" in sent(tab, form, "the segments look right")
    assert [yes.why for yes in system.store.run("fraud-6").approvals] == ["the segments look right"]
    assert system.store.run("fraud-5-r1").trigger.why == "because of redr"
    for run_id, kind in (("fraud-5-r1", "cancel"),):
        assert "wish to cancel" in sent(tab, f"{base}/act/{kind}?run={run_id}", "enough")


def test_a_no_can_be_said_without_javascript(tab, base, console):
    """Reading and acting need none: the form is a form."""
    system, _ = console
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        for path in PAGES[:-2]:
            tab.open(base + path, 1024)
            assert len(tab.elements("h1")) == 1, path
        tab.open(f"{base}/act/reject?run=fraud-6", 1024)
        for field in ("why", "sure"):
            tab.call("DOM.focus", nodeId=_node(tab, f"#{field}"))
            tab.call("Input.insertText", text="no") if field == "why" else _key(tab, " ", "Space")
        tab.call("DOM.focus", nodeId=_node(tab, "form[method=post] button"))
        _key(tab, "\r", "Enter")
        end = time.monotonic() + 15
        while system.store.run("fraud-6").operator_request is None:
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
    asked = system.store.run("fraud-6").operator_request
    assert (asked.kind.value, asked.why) == ("reject", "no")


def _node(tab, selector: str) -> int:
    root = tab.call("DOM.getDocument")["root"]["nodeId"]
    return tab.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]


def _key(tab, text: str, code: str) -> None:
    told = {
        "key": text if code == "Space" else code,
        "code": code,
        "windowsVirtualKeyCode": 32 if code == "Space" else 13,
    }
    tab.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
    tab.call("Input.dispatchKeyEvent", type="keyUp", **told)


def test_the_keyboard_reaches_everything_in_order(tab, base):
    """The first tab leads to the skip link, and each stop shows where it is."""
    tab.open(f"{base}/models/fraud", 1024)
    stops = []
    for _ in range(14):
        tab.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        tab.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9)
        stops.append(tab.value("document.activeElement.textContent.trim()"))
        assert tab.value("getComputedStyle(document.activeElement).outlineStyle") != "none", stops
    assert stops[0] == "Skip to the content"
    assert stops[1:4] == ["fraudloop", "Overview", "Model fraud"]
    assert "Put on hold …" in stops
