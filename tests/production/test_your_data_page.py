"""What "Bring your own data" shows is run: its tables declare something, its commands end as the page says."""

import re
import shlex
import tomllib
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from statemachine.core.policy import parse
from training.data.declared import declared
from training.data.preprocess import configured
from training.data.presets import PRESETS
from training.synthetic import generate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "your-data.md").read_text()
TABLES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line, comments=True) for line in re.findall(r"^\$ fraudloop (.+)$", PAGE, re.MULTILINE)]


@pytest.mark.parametrize("table", TABLES)
def test_each_table_is_a_declaration(table: str) -> None:
    """Pasted into fraudloop.toml it is read by the controller and by preprocess."""
    models = tomllib.loads(table)["models"]
    for name, model in models.items():
        policy = parse({"models": {name: {"prefix": "x/", **model}}}, "s3://a")[name]
        assert configured(policy.parameters["preprocess"]).data == declared(model["data"])


def test_every_preset_is_on_the_page() -> None:
    """A preset that nobody reads of is not used."""
    assert [name for name in PRESETS if f'`preset = "{name}"`' not in PAGE] == []


@pytest.mark.usefixtures("system")
def test_the_commands_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each ends with 0; `data check` of 300 rows with 1, for the reason that the page quotes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    generate(4000, 3, fraud_rate=0.03, start=date(2018, 1, 1)).write_csv(tmp_path / "day.csv")
    ran = []
    for words in COMMANDS:
        if words == ["up"]:  # `system` is there
            continue
        result = CliRunner().invoke(app, words)
        small = words[:2] == ["data", "check"] and "day.csv" not in words
        assert result.exit_code == (1 if small else 0), f"{words}: {result.output}{result.exception!r}"
        ran.append(words[0])
    assert {"data", "train", "land", "start"} == set(ran)
    result = CliRunner().invoke(app, ["data", "check", "tests/cases/data/fdh.csv", "--data", "handbook"])
    quoted = re.search(r"`(too few rows: .*?)`", PAGE)
    assert quoted is not None
    assert quoted[1] in " ".join(result.output.split())
