"""Keys, reasons and reports are data: nothing in them is a command to the terminal, a style or a line of ours."""

import ast
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played_runs import HAPPY, played

from cli import output
from cli.output import Markup, Terminal, colored, quoted, table
from statemachine.core.characters import UNSAFE, clean
from statemachine.core.reason import TransitionReason
from statemachine.core.states import State
from statemachine.core.window import Object

CLI = Path(output.__file__).parent
HOSTILE = (
    "data/fraud/[red]x[/red].csv",
    "data/fraud/[link=https://evil.example]a[/link].csv",
    "data/fraud/[/]unbalanced",
    "back\\slash\\",
    ":smiley:",
    "\x1b[2J\x1b]0;title\x07",
    "\x1b]8;;https://evil.example\x1b\\free money\x1b]8;;\x1b\\",
    "\x9b31mred\x9c",
    "safe\u202egnp.exe\u2066x",
    "one\rtwo\x08\x7f\x00",
    "lone \ud800 surrogate",
)
# What the terminal may get: line breaks, and Rich's own colours (SGR), nothing else that begins with ESC.
SGR = re.compile(r"\x1b\[[0-9;]*m")
words = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(max_codepoint=0x2FFF), max_size=40))


def drawn(*objects, color=True, width=500):
    screen = Terminal(
        file=io.StringIO(), force_terminal=color, width=width, color_system="truecolor" if color else None
    )
    screen.print(*objects)
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def unstyled(text):
    """The text without our colours; fails on any other control character, and on a hyperlink."""
    bare = SGR.sub("", text)
    assert not UNSAFE.search(bare), repr(text)
    return bare


def said(text):
    """How the text must be seen."""
    return clean(text)


@given(words)
def test_a_printed_text_is_seen_as_it_is(text):
    """Markup is not read, and unsafe characters are written out; the text itself stays whole."""
    observed = unstyled(drawn(text))
    assert "".join(observed.split()) == "".join(said(text).split())


@given(words, words, words)
def test_a_table_shows_its_cells_as_they_are(title, header, cell):
    """Title, header and cell alike, and a cell is one row: a line break in it makes no other."""
    header = header.lstrip(">")
    observed = unstyled(drawn(table(title, [header, "state"], [[cell, colored(State.FAILED)]]), width=2000))
    for text in (title, header, said(cell.replace("\n", "\\n"))):
        assert "".join(said(text).split()) in "".join(observed.split())
    assert "FAILED" in observed.rstrip("\n").split("\n")[-1]


@given(words)
def test_data_in_our_markup_is_no_markup(text):
    """`quoted` is what stands between: our style stays ours."""
    observed = drawn(Markup(f"[bold]{quoted(text)}[/]!"), color=False)
    assert "".join(observed.split()) == "".join(f"{said(text)}!".split())


@given(st.recursive(words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)))
def test_json_says_the_same_without_a_control_character(value):
    """Programs read back what was there, and a terminal that is shown it stays as it was."""
    with pytest.MonkeyPatch.context() as patch:
        stream = io.StringIO()
        patch.setattr("sys.stdout", stream)
        output.emit(value)
    assert not UNSAFE.search(stream.getvalue())
    assert json.loads(stream.getvalue()) == value


def test_our_own_markup_is_read():
    """Else the guards above would hold for a console that shows no style at all."""
    assert "\x1b[1;31m" in drawn(colored(State.FAILED))
    assert "[bold" not in drawn(colored(State.FAILED))


def test_no_command_prints_by_another_way():
    """Rich's Console, Table and markup, and print itself, stay in cli/output.py; each other use is named here."""
    known = {
        "system.py": {"Console"},  # the demo's words are its own
        "runs.py": {"print"},  # JSON lines, in ASCII
        "reference.py": {"print"},
    }
    for file in sorted(CLI.rglob("*.py")):
        if file.name == "output.py":
            continue
        tree = ast.parse(file.read_text())
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        used = {f.id for f in calls if isinstance(f, ast.Name)} & {"print", "Console", "Table", "pprint"}
        used |= {f.attr for f in calls if isinstance(f, ast.Attribute)} & {"from_markup", "from_ansi", "echo", "secho"}
        assert used <= known.get(file.name, set()), f"{file.name}: {used}"


def test_no_text_with_data_becomes_markup_unquoted():
    """In each `Markup(f"…")` what is put in is quoted, coloured by us, or a number."""
    for file in sorted(CLI.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Markup":
                for part in ast.walk(node):
                    if isinstance(part, ast.FormattedValue):
                        written = ast.unparse(part.value)
                        safe = re.match(r"(quoted|colored)\(", written) or written in QUOTED_BEFORE
                        assert safe or part.format_spec, f"{file.name}:{node.lineno}: {written}"


QUOTED_BEFORE = {
    "name",
    "said",
    "asked",
    "answer",
    "mark",
    "style",
}  # assigned from `quoted`, or words of ours, on the lines above


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_a_hostile_run_changes_nothing_of_what_a_person_sees(system, fraudloop, monkeypatch, text):
    """A reason, a version, an object's key and its reason: through `runs`, `show`, `quarantine list` and `dlq list`."""
    text = text.replace("\ud800", "")  # DynamoDB takes none
    path = [*HAPPY[:3], ("FAILED", 20, TransitionReason.FAILED, text)]
    run = played(system, path=path, candidate=text, metrics={"auc_roc": 0.9})
    assert run.state is State.FAILED
    key = f"data/fraud/{text}.csv"
    system.intake.arrive([Object("fraudloop-data", key, etag="e" * 8, size=9)])
    system.operations.quarantine("fraud", key, "somebody", text)
    monkeypatch.setattr(output.console, "_force_terminal", True, raising=False)
    sqs = system.client("sqs")
    dead = sqs.get_queue_url(QueueName="fraudloop-arrivals-dlq")["QueueUrl"]
    if text.isprintable():  # SQS itself refuses most control characters
        sqs.send_message(QueueUrl=dead, MessageBody=text)
    for command in (["runs"], ["show", "fraud-1"], ["quarantine", "list"], ["dlq", "list"], ["cost"], ["slo"]):
        done = fraudloop(*command)
        assert done.exception is None or isinstance(done.exception, SystemExit), f"{command}: {done.exception!r}"
        unstyled(done.output)
    for command in (["runs", "--json"], ["show", "fraud-1", "--json"], ["quarantine", "list", "--json"]):
        done = fraudloop(*command)
        assert not UNSAFE.search(done.output)
        json.loads(done.stdout)
    for command in (["show", "fraud-1"], ["quarantine", "list"]):
        assert "".join(said(text).split()) in "".join(unstyled(fraudloop(*command).output).split())


def test_an_error_that_quotes_data_is_data(system, fraudloop):
    """`Error:` is ours, what follows is not."""
    done = fraudloop("show", "\x1b]0;x\x07[red]fraud[/red]-9")
    assert done.exit_code == 1
    assert "[red]fraud[/red]-9" in unstyled(done.output)


def test_facts_end_where_their_words_end():
    """Piped, a line is not filled up to the width with spaces."""
    file = io.StringIO()
    Terminal(file=file, width=180).print(output.facts("fraud", [("serves", "nothing yet")]))
    assert max(map(len, file.getvalue().splitlines())) < 40
