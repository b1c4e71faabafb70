"""What people ask for in the browser is the wish that the command line writes, and nothing gets by without a reason."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote

import filled
import pytest
from visitor import WHO, FormFields, Visitor, said, site_of

from cli.console.acts import ACTS
from cli.console.people import Role
from cli.console.security import VALID, Tokens
from statemachine.contracts.stage import Stage
from statemachine.core.approval import subject_digest
from statemachine.store import put_run

KEY = "data/fraud/2026-11-26.csv"


@pytest.fixture
def full(system):
    """A deployment with a short history."""
    filled.fill(system, past=False)
    return system


@pytest.fixture
def visitor(full):
    """Somebody with the key of its console."""
    return Visitor(site_of(full))


def test_an_approval_is_a_wish_in_the_persons_name(full, visitor):
    """The run's state is the reconciler's to change; who and why are on record."""
    answer = visitor.act(approving(full), "checked  with\nthe fraud desk")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/runs/fraud-6?done=approve")
    run = full.store.run("fraud-6")
    (yes,) = run.approvals
    assert run.state.value == "AWAITING_APPROVAL"
    assert (yes.who, yes.why, yes.digest) == (WHO, "checked with the fraud desk", subject_digest(run))
    assert "said yes: checked with the fraud desk" in said(visitor.get("/runs/fraud-6"))
    assert "Your approval is on record" in said(visitor.get("/runs/fraud-6?done=approve"))


def approving(system) -> str:
    """The address of the form for what `fraud-6` would deploy now."""
    return f"/act/approve?run=fraud-6&digest={subject_digest(system.store.run('fraud-6'))}"


def test_who_may_not_approve_is_named_as_written(full, visitor):
    """A name keeps its capitals, on the run's page and on the form."""
    policy, ann = full.policies["fraud"], "arn:aws:iam::123456789012:user/Ann"
    full.policies["fraud"] = replace(policy, approval=replace(policy.approval, separate=True))
    run = full.store.run("fraud-6")
    full.store.table.write(put_run(replace(run, parameters_by=ann, version=run.version + 1), "w"))
    for page in ("/runs/fraud-6", approving(full)):
        assert f"One person has to say yes, not {ann}." in said(visitor.get(page)), page


def test_an_approval_is_of_what_was_seen(full, visitor):
    """What changed since the page was opened is refused when the form is opened, and when it is sent."""
    seen = approving(full)
    fields = FormFields(visitor.get(seen).text).fields | {"why": "fine", "sure": "yes"}
    run = full.store.run("fraud-6")
    changed = replace(run, version=run.version + 1, shadow={"outcome": "fail", "passed": False, "checks": []})
    full.store.table.write(put_run(changed, "w"))
    for answer in (visitor.get(seen), visitor.post("/act/approve", fields)):
        assert answer.status_code == 409
    assert full.store.run("fraud-6").approvals == ()


@pytest.mark.parametrize("kind", ["reject", "cancel"])
def test_a_no_is_a_wish_too(full, visitor, kind):
    """With its reason."""
    assert visitor.act(f"/act/{kind}?run=fraud-6", "recall fell").status_code == 303
    asked = full.store.run("fraud-6").operator_request
    assert (asked.kind.value, asked.who, asked.why) == (kind, WHO, "recall fell")


def test_a_redrive_shows_what_it_keeps_and_begins_a_run(full, visitor):
    """The preview names the outputs, and compares their digests; what is gone is refused there already."""
    form = "/act/redrive?run=fraud-5&stage=train"
    assert "is gone" in said(visitor.get(form))
    place = full.store.run("fraud-5").output(Stage.PREPROCESS, "dataset")
    full.files.write(f"{place}/MANIFEST.json", b"{}")
    assert "fraud-6 is training fraud; redrive when it has ended" in said(visitor.get(form))
    full.store.change_model("fraud", lambda model: replace(model, training=""))
    assert f"preprocess dataset {place}" in said(visitor.get(form))
    assert visitor.get("/act/redrive?run=fraud-5&stage=nothing").status_code == 404
    assert visitor.act(form, "the node group was full").headers["Location"] == "/runs/fraud-5-r1?done=redrive"
    run = full.store.run("fraud-5-r1")
    assert (run.parent, run.start_at, run.trigger.by) == ("fraud-5", Stage.TRAIN, WHO)


def test_a_rollback_begins_a_restore(full, visitor):
    """To a version that served; another one is not known."""
    answer = visitor.act("/act/rollback?model=fraud&version=fraud-3-00000003", "complaints since noon")
    assert answer.status_code == 303
    run = full.store.run(answer.headers["Location"].removeprefix("/runs/").partition("?")[0])
    assert (run.kind.value, run.target, run.trigger.by) == ("restore", "fraud-3-00000003", WHO)
    assert visitor.get("/act/rollback?model=fraud&version=fraud-9-00000009").status_code == 404


def test_hold_and_release(full, visitor):
    """A held model says who held it; a free one cannot be released."""
    assert visitor.get("/act/release?model=fraud").status_code == 409
    visitor.act("/act/hold?model=fraud", "labels are being corrected")
    assert full.store.model("fraud").hold.who == WHO
    assert "labels are being corrected" in said(visitor.get("/models/fraud"))
    visitor.act("/act/release?model=fraud", "they are right again")
    assert full.store.model("fraud").hold is None


def test_an_object_is_set_aside_and_released(full, visitor):
    """A key of an attacker goes through forms and addresses unchanged."""
    nasty = f"data/fraud/{filled.NASTY}.csv"
    assert visitor.act(f"/act/quarantine?model=fraud&key={quote(KEY)}", "shuffled").status_code == 303
    assert {KEY, nasty} <= {each.key for each in full.intake.quarantined("fraud")}
    links = [
        unescape(link) for link in re.findall(r'href="(/act/release-object[^"]+)"', visitor.get("/quarantine").text)
    ]
    for key in (KEY, nasty):
        (place,) = [link for link in links if key in unquote(link)]
        assert visitor.act(place, "a mistake").status_code == 303
        assert key not in {each.key for each in full.intake.quarantined("fraud")}


def test_every_act_has_a_test_and_a_word_when_it_is_done():
    """The table is walked."""
    from cli.console.site import DONE

    text = Path(__file__).read_text()
    assert set(DONE) == set(ACTS)
    assert [name for name in ACTS if f"/act/{name}" not in text and f'"{name}"' not in text] == []


def test_no_act_without_a_reason_and_a_tick(full, visitor):
    """The form comes back with what was written, and nothing is on record."""
    blank = visitor.act(approving(full), why="  ")
    assert blank.status_code == 400
    assert "Say why" in said(blank)
    unticked = visitor.act(approving(full), why="because", sure="")
    assert unticked.status_code == 400
    assert "because" in unticked.text
    assert full.store.run("fraud-6").approvals == ()


def test_what_the_state_forbids_is_refused_with_the_reason(full, visitor):
    """As on the command line."""
    answer = visitor.act("/act/reject?run=fraud-5")
    assert answer.status_code == 409
    assert "fraud-5 is over (REJECTED)" in said(answer)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"token": ""}, "too old or was made for something else"),
        ({"token": "9999999999.00"}, "too old or was made for something else"),
        ({"token": "x" * 1000}, "too old or was made for something else"),
        ({"run": "fraud-5"}, "too old or was made for something else"),
    ],
)
def test_a_forged_form_does_nothing(full, visitor, change, told):
    """A token is for one person, one act and one target."""
    answer = visitor.act("/act/cancel?run=fraud-6", **change)
    assert answer.status_code == 403
    assert told in said(answer)
    assert full.store.run("fraud-6").operator_request is None


def test_a_token_of_one_act_does_nothing_else(full, visitor):
    """A form for cancelling approves nothing."""
    fields = FormFields(visitor.get("/act/cancel?run=fraud-6").text).fields
    fields["digest"] = subject_digest(full.store.run("fraud-6"))
    answer = visitor.post("/act/approve", fields | {"why": "x", "sure": "yes"})
    assert answer.status_code == 403
    assert full.store.run("fraud-6").approvals == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_form_from_another_site_does_nothing(full, visitor, headers):
    """Even with a token of ours."""
    fields = FormFields(visitor.get("/act/cancel?run=fraud-6").text).fields
    answer = visitor.post("/act/cancel", fields | {"why": "x", "sure": "yes"}, **headers)
    assert answer.status_code == 403
    assert full.store.run("fraud-6").operator_request is None


def test_a_token_ends():
    """After an hour, and for anybody else at once."""
    tokens = Tokens(b"s" * 32)
    made = tokens.made("ann", "hold", {"model": "fraud"}, 1000.0)
    assert tokens.valid(made, "ann", "hold", {"model": "fraud"}, 1000.0 + VALID)
    assert not tokens.valid(made, "ann", "hold", {"model": "fraud"}, 1001.0 + VALID)
    assert not tokens.valid(made, "bob", "hold", {"model": "fraud"}, 1000.0)
    assert not Tokens(b"t" * 32).valid(made, "ann", "hold", {"model": "fraud"}, 1000.0)
    assert not tokens.valid(made.replace("4600", "9600"), "ann", "hold", {"model": "fraud"}, 1000.0)


@pytest.mark.parametrize(
    ("role", "may"),
    [(Role.APPROVER, {"approve", "reject"}), (Role.OPERATOR, set(ACTS) - {"approve", "reject"}), (Role.VIEWER, set())],
)
def test_a_role_may_do_its_own_acts(full, role, may):
    """The form of any other act is not even shown."""
    visitor = Visitor(site_of(full, frozenset({role})))
    target = {"run": "fraud-6", "model": "fraud", "stage": "preprocess", "version": "fraud-3-00000003", "key": KEY}
    target["digest"] = subject_digest(full.store.run("fraud-6"))
    refused = {name for name in ACTS if visitor.get(f"/act/{name}", query_string=target).status_code == 403}
    assert refused == set(ACTS) - may


def test_a_form_is_bounded(visitor):
    """In bytes, fields and characters."""
    assert visitor.post("/act/hold", {"model": "fraud", "why": "x" * 100_000}).status_code == 413
    assert visitor.post("/act/hold", {"model": "fraud", "why": "x" * 2001}).status_code == 400
    assert visitor.post("/act/nothing", {"model": "fraud"}).status_code == 404
    assert visitor.get("/act/hold").status_code == 400


def test_the_door_is_closed_without_the_key(full):
    """Another user of the machine reaches the port and nothing else."""
    stranger = Visitor(site_of(full), key="")
    for path in (
        "/",
        "/runs/fraud-6",
        "/runs/fraud-6/report",
        "/act/approve?run=fraud-6&digest=0",
        "/enter",
        "/enter?key=x",
    ):
        assert stranger.get(path).status_code == 401, path
    assert stranger.post("/act/hold", {"model": "fraud"}).status_code == 401
    entered = stranger.get("/enter?key=k")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/")
    cookie = entered.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert stranger.get("/").status_code == 200
    assert stranger.get("/healthz").text == "ok\n"


def test_a_rebound_name_is_refused(full):
    """A page of another site whose name leads to 127.0.0.1 is another host."""
    visitor = Visitor(site_of(full))
    answer = visitor.client.get("/", base_url="http://evil.example:8000")
    assert answer.status_code == 400


def test_every_answer_has_the_headers(full):
    """Errors too; nothing is kept by a cache, framed by others or sniffed."""
    visitor = Visitor(site_of(full))
    for path in ("/", "/nothing", "/static/page.css", "/runs/fraud-6/report"):
        headers = visitor.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "'unsafe-eval'" not in headers["Content-Security-Policy"]
    policy = visitor.get("/").headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert visitor.get("/").headers["Cache-Control"] == "no-store"


def test_the_record_is_the_same_as_the_command_lines(full, visitor):
    """One history, whoever asked where."""
    visitor.act("/act/hold?model=fraud", "labels")
    last = list(full.store.model_acts("fraud"))[-1]
    assert json.loads(json.dumps(vars(last)))["what"] == "hold"
    assert (last.who, last.why) == (WHO, "labels")
