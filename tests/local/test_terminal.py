"""What a user reads on a pseudo-terminal of a given width: recorded data, real rendering."""

import functools
import json
import os
import pty
import re
import subprocess
import sys

import pytest

WIDTHS = (60, 72, 80, 99, 100, 120, 160, 200)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
NARROW = (20, 30, 60, 80, 200)
STATES = ("SUCCEEDED", "ROLLED_BACK", "REJECTED")
STAGES = ("preprocess", "evaluate")
PROGRAM = """
from cli.output import console
from local.demo import summary
from local.demo.scenarios import ScenarioResult
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition
from statemachine.core.states import State

REASON = "the deployment failed: fraud-5-0a1b2c3d did not become ready:\\n tritonserver ended before it was ready: no"
def result(title, run, state, reason=""):
    made = ScenarioResult(title, [Run(run, "fraud", 1, State[state],
        metrics={"auc_roc": 0.97123, "average_precision": 0.61}, candidate=f"{run}-0a1b2c3d",
        reason=reason, verdict={"checks": [{"name": "auc_roc", "limit": 0.9}]})])
    made.check(f"it was {state}", state != "REJECTED", reason or "as it should; [brackets] and all")
    made.note("as quickly as asked", False, "14 requests/s: this machine was slow, or busy")
    return made
results = [result("three files in a burst", "fraud-1", "SUCCEEDED"), result("a bad file alone", "fraud-3", "REJECTED"),
    result("nightly event twice; the candidate fails", "fraud-5", "ROLLED_BACK", REASON),
    ScenarioResult("shuffled labels")]
dest = ["QUEUED", "PREPROCESSING", "TRAINING", "EVALUATING", "EXPORTING", "SHADOWING", "DEPLOYING", "SUCCEEDED"]
history = [
    Transition("fraud-1", n + 1, 100.0 + 9 * n, dest[n - 1] if n else "", to,
        TransitionReason.FROM_EVALUATE, REASON * (n == 3))
    for n, to in enumerate(dest)]
rows = "first 200,000, second 30,000, shuffled 90,000, nightly 30,000"
facts = {"the whole demo took": "251 s", "transactions": rows}
def show():
    console.print(summary.render(results, {f"fraud-{n}": history for n in (1, 3, 5)}, facts))
"""
LISTING = """
from cli.output import console, table
rows = [["fraud-1", "SUCCEEDED", "one reason\\nin two lines, with Österreich/日本 and \\\\[no markup"],
    ["fraud-2", "", "x" * 300]]
def show():
    console.print(table("runs", ["run", "state", "why"], rows))
"""
RESIZE = """
import fcntl, struct, sys, termios
for width in map(int, sys.argv[1:]):
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    print(f"@{width}", flush=True)
    show()
"""


@functools.cache
def screens(program, widths, **environment):
    """What a program shows on a terminal of each width: raw, and line by line without escapes."""
    master, slave = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "TERM")}
    command = [sys.executable, "-c", program + RESIZE, *map(str, widths)]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=clean | {"TERM": "xterm"} | environment
    ) as process:
        os.close(slave)
        output = b""
        while block := read(master):
            output += block
    os.close(master)
    assert process.returncode == 0, output.decode(errors="replace")
    parts = re.split(r"(?m)^@(\d+)\r?\n", output.decode())[1:]
    shown = dict(zip(map(int, parts[::2]), parts[1::2], strict=True))
    return {w: (raw, [ESCAPE.sub("", line).rstrip() for line in raw.splitlines()]) for w, raw in shown.items()}


def on_terminal(program, width, widths=WIDTHS, **environment):
    return screens(program, widths, **environment)[width]


def read(master):
    try:
        return os.read(master, 65536)
    except OSError:  # Linux: the other end is closed
        return b""


@pytest.mark.parametrize("width", WIDTHS)
def test_no_word_of_the_demo_is_cut(width):
    """Seen at 80 columns: `SUCCE|EDED`. No line is longer than the terminal, no word is in two halves."""
    _, lines = on_terminal(PROGRAM, width)
    assert max(map(len, lines)) <= width
    words = set(" ".join(lines).split())
    assert words >= {*STATES, *STAGES, "PREPROCESSING", "fraud-5-0a1b2c3d", "≥", "0.9712"}
    assert "[brackets]" in words


@pytest.mark.parametrize("width", WIDTHS)
def test_a_narrow_terminal_gets_a_card_a_run(width):
    """Below 100 columns the twelve columns of a run are lines with their names."""
    _, lines = on_terminal(PROGRAM, width)
    cards = [line.split() for line in lines if line.startswith("  outcome")]
    if width < 100:
        assert cards == [["outcome", state] for state in ("SUCCEEDED", "REJECTED", "ROLLED_BACK")]
    if width >= 120:
        assert cards == []
        assert any(re.match(r"fraud-5 +ROLLED_BACK +[0-9.]+ ", line) for line in lines)


def test_slow_is_reported_and_is_no_failure():
    """A slow note and a failed assertion have different marks; a scenario that was not reached is listed."""
    _, lines = on_terminal(PROGRAM, 120)
    assert sum(line.startswith("  slow  as quickly as asked") for line in lines) == 3
    assert [line.split()[0] for line in lines if re.match(r"  \S  +it was", line)] == ["✓", "✗", "✓"]
    assert "Not run: shuffled labels" in lines


@pytest.mark.parametrize(
    ("environment", "escapes"),
    [({}, True), ({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_only_where_they_are_wanted(environment, escapes):
    """NO_COLOR keeps bold and dim, as rich reads it; a dumb terminal gets text alone, in 80 columns."""
    raw, lines = on_terminal(PROGRAM, 100, **environment)
    assert lines == on_terminal(PROGRAM, 80 if "TERM" in environment else 100)[1]
    assert bool(ESCAPE.search(raw)) is escapes
    if environment:
        assert not re.search(r"\x1b\[(\d+;)*3[0-7]", raw)


def test_an_encoding_without_our_signs_gets_the_nearest_ones():
    """PYTHONIOENCODING=ascii: no UnicodeEncodeError, and yes and no still differ."""
    _, lines = on_terminal(PROGRAM, 120, PYTHONIOENCODING="ascii")
    assert "\n".join(lines).isascii()
    marks = [line.split()[0] for line in lines if re.match(r"  \S  +it was", line)]
    assert marks == ["+", "x", "+"]
    assert any(">= 0.90" in line for line in lines)


def test_a_pipe_gets_whole_lines_unless_a_width_is_named():
    """180 columns, or COLUMNS."""
    for columns, width in (("", 180), ("72", 72)):
        environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | (
            {"COLUMNS": columns} if columns else {}
        )
        output = subprocess.run(
            [sys.executable, "-c", PROGRAM + "show()"], capture_output=True, text=True, env=environment, check=True
        )
        longest = max(len(line.rstrip()) for line in output.stdout.splitlines())
        assert longest <= width
        assert longest > 72 or columns
        assert not ESCAPE.search(output.stdout)


@pytest.mark.parametrize("width", NARROW)
def test_reasons_of_several_lines_stay_in_their_column(width):
    """A table, or cards: each line is short enough, and nothing is lost."""
    _, lines = on_terminal(LISTING, width, NARROW)
    assert max(map(len, lines)) <= width
    text = re.sub(r"\s+", "", "".join(lines))
    assert text.count("x") == 300
    assert "inonereason" not in text
    assert "SUCCEEDED" in " ".join(lines).split()
    assert "Österreich/日本" in text


def test_data_for_programs_loses_nothing_in_any_encoding():
    """Characters are replaced for people only: JSON is escaped."""
    program = "from cli.output import emit; emit({'why': 'größer ≥ 日本'})"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=True
    )
    assert json.loads(output.stdout) == {"why": "größer ≥ 日本"}


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["nosuch"]])
def test_help_and_errors_are_printed_in_ascii_too(arguments):
    """Boxes and symbols of the help cause no UnicodeEncodeError."""
    command = [sys.executable, "-m", "cli.main", *arguments]
    output = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=False)
    assert (output.stdout + output.stderr).decode().isascii()
    assert b"Traceback" not in output.stderr
    assert output.returncode == (2 if arguments == ["nosuch"] else 0)
