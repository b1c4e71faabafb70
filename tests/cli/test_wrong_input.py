"""Every command with wrong input: status ≠ 0, one sentence that says what to do, no traceback and no Python repr."""

import os
import re
from collections.abc import Iterator

import pytest
from played_runs import HAPPY, played
from typer.main import get_command

from cli.main import app

# Each command, and calls of it that are wrong, each with a part of what has to be said.
WRONG: dict[str, list[tuple[list[str], str]]] = {
    "approve": [(["fraud-9", "--why", "fine"], "`fraudloop runs`"), (["fraud-1", "--why", " "], "--why")],
    "audit": [
        (["nosuch"], "fraudloop.toml names fraud"),
        (["fraud-9", "--out", "{tmp}/a.zip", "--key", "no.pem"], "`fraudloop runs`"),
        (["fraud-1", "--out", "{tmp}/a.zip"], "--kms"),
        (["fraud-1", "README.md"], "`fraudloop audit verify"),
        (["verify"], "`fraudloop audit verify"),
        (["verify", "README.md"], "--key"),
        (["verify", "README.md", "--key", "no.pem"], "no.pem"),
    ],
    "baseline import": [(["--training-job", "no-arn"], "--training-job")],
    "cancel": [(["fraud-9", "--why", "x"], "`fraudloop runs`"), (["fraud-1"], "--why")],
    "compare": [(["fraud-1", "nosuch-1"], "`fraudloop runs`"), (["fraud-1", "fraud-1"], "`fraudloop why fraud-1`")],
    "console": [(["--port", "99999"], "--port")],
    "cost": [
        (["fraud-9"], "`fraudloop runs`"),
        (["--model", "nosuch"], "names fraud"),
        (["--prices", "no.toml"], "no.toml"),
    ],
    "data check": [(["no.csv"], "no.csv"), (["README.md", "--data", "nosuch"], "nosuch")],
    "data inspect": [(["no.csv"], "no.csv"), (["README.md"], "README.md")],
    "demo": [(["--rows", "many"], "--rows")],
    "diff": [(["fraud-9", "fraud-1"], "`fraudloop runs`")],
    "dlq list": [(["--queue", "nosuch"], "queues are arrivals, hints")],
    "dlq replay": [(["--queue", "nosuch"], "queues are arrivals, hints")],
    "doctor": [(["--only", "nosuch"], "tools")],
    "drift": [(["--model", "nosuch"], "names fraud"), (["--first-days", "0"], "--first-days")],
    "down": [(["now"], "`fraudloop down --help`")],
    "hold": [(["nosuch", "--why", "x"], "names fraud"), (["fraud"], "--why")],
    "land": [(["no.csv"], "no.csv"), (["README.md", "--model", "nosuch"], "names fraud")],
    "live fill": [
        (["nofolder"], "FRAUDLOOP_LIVE_URL"),
        (["--model", "nosuch"], "names fraud"),
        ([], "`fraudloop start fraud`"),
    ],
    "live forget": [
        (["--entity", "card"], "--entity"),
        (["--entity", "shop=1"], "card, merchant"),
        (["--entity", "card=x,1"], "whole number"),
        (["--entity", "card=1,1"], "FRAUDLOOP_LIVE_URL"),
    ],
    "live state": [(["--model", "nosuch"], "names fraud"), ([], "FRAUDLOOP_LIVE_URL")],
    "night": [(["--slot", "yesterday"], "yesterday")],
    "open": [(["fraud-9"], "`fraudloop runs`"), (["fraud-1"], "`fraudloop show fraud-1`")],
    "parity": [
        (["fraud-1", "--baseline", "no.json"], "no.json"),
        (["fraud-1", "--baseline", "README.md"], "README.md"),
    ],
    "phase check": [(["9"], "4"), (["1", "--only", "nosuch"], "nosuch")],
    "phase undo": [(["9", "--why", "x"], "4"), (["1", "--why", "", "--yes"], "--why")],
    "publish": [(["nofolder"], "FRAUDLOOP_KFP_URL")],
    "quarantine list": [(["--model", "nosuch"], "names fraud")],
    "quarantine put": [(["no.csv", "--why", "x"], "`fraudloop quarantine list`"), (["no.csv"], "--why")],
    "quarantine release": [(["no.csv", "--why", "x"], "`fraudloop quarantine list`"), (["no.csv"], "--why")],
    "redrive": [
        (["fraud-9", "--why", "x"], "`fraudloop runs`"),
        (["fraud-1", "--why", "x", "--from", "cooking"], "preprocess"),
        (["fraud-1"], "--why"),
    ],
    "reindex": [(["nosuch", "--why", "x"], "names fraud"), (["fraud"], "--why")],
    "reject": [(["fraud-9", "--why", "x"], "`fraudloop runs`"), (["fraud-1"], "--why")],
    "release": [(["nosuch", "--why", "x"], "names fraud"), (["fraud"], "--why")],
    "reset": [(["all"], "`fraudloop reset --help`")],
    "rollback": [
        (["fraud", "--to", "v9", "--why", "x"], "known:"),
        (["fraud", "--to", "v9"], "--why"),
        (["fraud"], "--to"),
    ],
    "runs": [(["--model", "nosuch"], "names fraud"), (["--limit", "few"], "--limit")],
    "sagemaker archive": [(["now"], "--help")],
    "sagemaker decommission": [(["--nosuch"], "--help")],
    "sagemaker export-history": [(["now"], "--help")],
    "sagemaker uses": [(["now"], "--help")],
    "schedule eventbridge": [(["--nightly", "nosuch"], "FRAUDLOOP_KFP_URL")],
    "schedule kfp": [(["--nightly", "nosuch"], "`make build`")],
    "schedule list": [(["now"], "--help")],
    "schedule pause": [(["now"], "--help")],
    "schedule resume": [(["now"], "--help")],
    "score": [
        (["no.csv"], "no.csv"),
        (["README.md", "--url", "nowhere"], "nowhere"),
        (["README.md", "--url", "grpc://nowhere"], "grpc://127.0.0.1:8001"),
        (["README.md"], "--url"),
        (["README.md", "--out", "README.md"], "--out README.md is the file that is read"),
    ],
    "serve": [(["nofolder"], "`fraudloop train")],
    "show": [(["fraud-9"], "`fraudloop runs`")],
    "slo": [(["--model", "nosuch"], "names fraud"), (["--baseline", "no.json"], "no.json")],
    "start": [(["nosuch"], "names fraud"), (["fraud", "--manifest", "no.json"], "no.json")],
    "status": [(["--model", "nosuch"], "names fraud")],
    "train": [
        (["no.csv", "--out", "{tmp}/out"], "no.csv"),
        (["README.md", "--out", "{tmp}/out"], "README.md"),
        (["README.md", "--out", "{tmp}/out", "--config", "README.md"], "JSON"),
        (["README.md", "--out", "{tmp}/out", "--split", "thirds"], "thirds"),
        (["README.md", "--out", "README.md"], "name a folder"),
    ],
    "tune": [
        (["nosuch", "--local"], "names fraud"),
        (["--settings", "{", "--local"], "--settings"),
        (["--dataset", "nofolder", "--local"], "nofolder"),
    ],
    "up": [(["--config", "no.toml", "--fresh"], "no.toml"), (["--tick", "slow"], "--tick")],
    "watch": [(["fraud-9"], "`fraudloop runs`")],
    "why": [(["fraud-9"], "`fraudloop runs`")],
}
REPR = re.compile(r"Traceback|<\w+[ .]|\w(Error|Exception)\(|\{'|\[\('|File \"|b'")
CALLS = [(command, *call) for command, calls in WRONG.items() for call in calls]
# Commands that speak to a system; what is wrong with the way to it is told by each of them alike.
SPEAKS = {
    "approve": ["fraud-1", "--why", "x"], "audit": ["fraud"], "cost": [], "dlq list": [], "drift": [],
    "hold": ["fraud", "--why", "x"], "land": ["README.md"], "night": [], "open": ["fraud-1"],
    "quarantine list": [], "runs": [], "show": ["fraud-1"],
    "slo": [], "start": ["fraud"], "status": [], "watch": ["fraud-1"], "why": ["fraud-1"], "publish": [],
    "compare": ["fraud-1", "fraud-1"], "diff": ["fraud-1", "fraud-1"], "schedule list": [], "tune": ["--local"],
}  # fmt: skip


def commands(group, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The names of all that can be called, from the Typer app itself."""
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))


def test_every_command_is_called_wrongly_below():
    """A new command has to be named here, with what it says when it is called wrongly."""
    assert set(WRONG) == set(commands(get_command(app)))
    assert set(SPEAKS) < set(WRONG)


def one_sentence(done, part: str) -> None:
    """Status ≠ 0, and one line on stderr that names what to do."""
    assert done.exit_code not in (0, None), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    lines = done.stderr.strip().splitlines()
    assert [line.startswith("Error: ") for line in lines] == [True], done.stderr
    assert part in lines[0]
    assert not REPR.search(done.output), done.output


@pytest.fixture
def one_run(system, monkeypatch):
    """`fraud-1` trains."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return played(system, path=HAPPY[:3])


@pytest.mark.parametrize(
    ("command", "arguments", "part"),
    CALLS,
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
@pytest.mark.usefixtures("one_run")
def test_a_wrong_call_is_told_in_one_sentence(fraudloop, tmp_path, command, arguments, part):
    """Unknown run, model, queue or version; a file that is not there or not what it should be; a wrong option."""
    given = [argument.format(tmp=tmp_path) if "{tmp}" in argument else argument for argument in arguments]
    one_sentence(fraudloop(*command.split(), *given), part)


@pytest.mark.parametrize("command", sorted(WRONG))
def test_an_option_that_is_none_is_told_in_one_sentence(fraudloop, command):
    """With the command whose help to read."""
    done = fraudloop(*command.split(), "--nosuch")
    one_sentence(done, f"`fraudloop {command} --help`")
    assert done.exit_code == 2


def no_region(monkeypatch, tmp_path):
    monkeypatch.setenv("FRAUDLOOP_STACK", "prod")
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ENDPOINT_URL", "FRAUDLOOP_TABLE"):
        monkeypatch.delenv(name, raising=False)


def no_credentials(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)


def no_profile(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_PROFILE", "nosuch")


def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


def no_system(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("FRAUDLOOP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("FRAUDLOOP_HOME", str(tmp_path / "none"))


def torn_config(monkeypatch, tmp_path):
    (tmp_path / "f.toml").write_text("[models.fraud\n")
    monkeypatch.setenv("FRAUDLOOP_CONFIG", str(tmp_path / "f.toml"))


def binary_config(monkeypatch, tmp_path):
    (tmp_path / "f.toml").write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("FRAUDLOOP_CONFIG", str(tmp_path / "f.toml"))


def odd_config(monkeypatch, tmp_path):
    (tmp_path / "f.toml").write_text("[models]\nfraud = 3\n")
    monkeypatch.setenv("FRAUDLOOP_CONFIG", str(tmp_path / "f.toml"))


def no_config(monkeypatch, tmp_path):
    monkeypatch.setenv("FRAUDLOOP_CONFIG", str(tmp_path / "none.toml"))


BROKEN = [
    (no_region, "AWS_REGION"),
    (no_credentials, "`aws sso login`"),
    (no_profile, "AWS_PROFILE"),
    (no_network, "`fraudloop up`"),
    (no_system, "`fraudloop up`"),
    (torn_config, "is not TOML"),
    (binary_config, "is not TOML"),
    (odd_config, "models.fraud"),
    (no_config, "cannot be read"),
]


BREAKING = [breaks for breaks, _ in BROKEN]
# What these meet of it: two ask KFP first, one reads no registry.
ALONE = {
    "publish": [no_region, no_system],
    "schedule list": [no_region, no_system, torn_config],
    "night": [no_region, no_credentials, no_profile, no_network, no_system],
}


@pytest.mark.parametrize(("breaks", "part"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_no_way_to_the_system_is_told_in_one_sentence(system, fraudloop, monkeypatch, tmp_path, breaks, part):
    """By each command that speaks to one: no region, credentials, network, system, or registry."""
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    breaks(monkeypatch, tmp_path)
    before = dict(os.environ)
    for command, arguments in SPEAKS.items():
        if breaks not in ALONE.get(command, BREAKING):
            continue
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # each command is a process of its own
        one_sentence(fraudloop(*command.split(), *arguments), part)
        os.environ.clear()
        os.environ.update(before)


def test_a_question_is_not_followed_by_a_semicolon(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped command is told what may have been meant, in two sentences."""
    with pytest.raises(SystemExit):
        app(["shwo"])
    assert "Did you mean 'show'? `" in capsys.readouterr().err
