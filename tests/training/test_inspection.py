"""`data inspect` guesses a table that reads the file; `data check` gives the loop's verdict, whatever a file holds."""

import gzip
import json
import tomllib
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from cli.main import app
from training.data.checks import Limits
from training.data.declared import declared
from training.data.inspection import inspect, toml
from training.data.judging import judge

CASES = Path(__file__).parents[1] / "cases"
KNOWN = ("sparkov", "fdh", "paysim", "ieee", "seconds", "eurocomma", "yen", "nomcc", "nolabel", "label01")


def ran(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["data", *words])
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit), done.exception
    assert "Traceback" not in done.output
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize("name", [*KNOWN, "merchantname", "uuiduser", "labels_first"])
def test_the_table_to_paste_reads_the_file(name: str, tmp_path: Path) -> None:
    """What inspect prints, read as TOML, is a declaration under which the very file is accepted."""
    file = CASES / "data" / f"{name}.csv"
    found = inspect(file, tmp_path)
    data = declared(tomllib.loads(toml(found.table))["data"])
    assert judge(file, tmp_path / "clean", Limits(), tmp_path, None, data).accepted
    assert not found.missing
    assert {column.name for column in found.columns} == set(pl.read_csv(file).columns)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_no_preset_knows(tmp_path: Path, packed: bool) -> None:
    """Roles are guessed from names and values, each with its reason; the table reads the file."""
    table = pl.DataFrame(
        {
            "trace_id": [f"t{n}" for n in range(40)],
            "booked": ["27.11.2026 08:30:00", "28.11.2026 09:00:00"] * 20,
            "booking_date": [f"{n % 28 + 1:02d}.11.2026 08:30:00" for n in range(40)],
            "Betrag": ["1.234,50 €", "-5,00 €"] * 20,
            "device_id": ["a", "b"] * 20,
            "account": ["x", "y", "z", "x"] * 10,
            "kind": ["p", "q"] * 20,
            "lat": [1.0, 2.5] * 20,
            "first": ["Ann", "Bob"] * 20,
            "is_fraud": ["true", "false"] * 20,
        }
    )
    body = table.write_csv().encode()
    (tmp_path / "f").write_bytes(gzip.compress(body) if packed else body)
    found = inspect(tmp_path / "f", tmp_path)
    roles = {column.name: column.role for column in found.columns}
    assert roles == {
        "trace_id": "id",
        "booked": "categories",
        "booking_date": "time",
        "Betrag": "amount",
        "device_id": "entities",
        "account": "entities",
        "kind": "categories",
        "lat": "numbers",
        "first": "ignore",
        "is_fraud": "label",
    }
    assert all(column.why for column in found.columns)
    data = declared(tomllib.loads(toml(found.table))["data"])
    assert judge(tmp_path / "f", tmp_path / "clean", Limits(), tmp_path, None, data).accepted


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """A table without a time is no declaration: the person is told which role nothing seems to have."""
    (tmp_path / "f.csv").write_text("a,b\nx,1\ny,2\n")
    assert inspect(tmp_path / "f.csv", tmp_path).missing == ("time", "amount", "entities")
    code, said = ran("inspect", str(tmp_path / "f.csv"))
    assert code == 0
    assert "no column looks like time, amount, entities" in said


def test_a_table_of_too_many_columns_is_refused_at_once(tmp_path: Path) -> None:
    """Each column is looked at in turn: thousands would take minutes, and are no transactions."""
    (tmp_path / "f.csv").write_text(",".join(f"c{n}" for n in range(5000)) + "\n")
    code, said = ran("inspect", str(tmp_path / "f.csv"))
    assert code != 0
    assert "found 5,000 columns, expected at most 1,000" in said


def test_check_says_yes_and_no_with_its_status(tmp_path: Path) -> None:
    """A refusal of a cell names the setting; one of the whole names the settings; a good set of files ends with 0."""
    code, said = ran("check", str(CASES / "data" / "eurocomma.csv"))
    assert code == 1
    assert "found €89,91" in said
    assert "(data.amount)" in said
    code, said = ran("check", str(CASES / "data" / "fdh.csv"), "--data", "handbook")
    assert code == 1
    assert "too few rows: 0 with known labels" in said
    assert "label_maturity_days is 30 and the data span 0.34 days" in said
    from training.synthetic import generate

    generate(4000, 3, fraud_rate=0.03).write_csv(tmp_path / "good.csv")
    code, said = ran("check", str(tmp_path / "good.csv"), "--model", "fraud")
    assert (code, said.endswith("a run can train on this")) == (0, True), said
    code, said = ran("check", str(tmp_path / "good.csv"), "--json")
    assert (
        json.loads(CliRunner().invoke(app, ["data", "check", str(tmp_path / "good.csv"), "--json"]).stdout)["reason"]
        == ""
    )


def test_check_reads_the_models_own_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The declaration and limits of `[models.NAME]`; a mistake in them is told and no traceback."""
    (tmp_path / "fraudloop.toml").write_text('[models.mine]\nprefix = "m/"\n[models.mine.data]\npreset = "sparkov"\n')
    monkeypatch.setenv("FRAUDLOOP_CONFIG", str(tmp_path / "fraudloop.toml"))
    assert "sparkov.csv yes 300 2" in ran("check", str(CASES / "data" / "sparkov.csv"), "--model", "mine")[1]
    code, said = ran("check", str(CASES / "data" / "sparkov.csv"), "--model", "yours")
    assert (code, "no model 'yours'; fraudloop.toml names mine" in said) == (1, True)
    (tmp_path / "fraudloop.toml").write_text('[models.mine]\nprefix = "m/"\n[models.mine.data]\npreset = "x"\n')
    code, said = ran("check", str(CASES / "data" / "sparkov.csv"), "--model", "mine")
    assert (code, "[models.mine]: preprocess: data.preset is 'x'; known are" in said) == (1, True)


BAD = {
    "empty": b"",
    "no text": bytes(range(256)) * 8,
    "only a header": b"Amount,Year\n",
    "a header that is too long": b"x" * 70_000,
    "a column twice": b"a,a\n1,2\n",
    "zip": b"PK\x03\x04 and more",
    "torn gzip": gzip.compress(b"a,b\n1,2\n" * 999)[:50],
    "gzip in gzip": gzip.compress(gzip.compress(b"a,b\n1,2\n")),
    "torn parquet": b"PAR1 and no more",
    "ragged": b"a,b\n1,2,3,4\n",
    "quotes": b'a,b\n"1,2\n3,4\n',
    "not UTF-8": b"time,amount\n\xff\xfe,1\n",
    "one column": b"x\n1\n",
    "markup": b"[red]time[/red],amount\n[bold]x,1\n",
}


@pytest.mark.parametrize("name", BAD)
def test_whatever_a_file_holds_there_is_an_answer(name: str, tmp_path: Path) -> None:
    """One sentence and a status; never a traceback."""
    (tmp_path / "file").write_bytes(BAD[name])
    assert ran("inspect", str(tmp_path / "file"))[0] in (0, 1)
    assert ran("check", str(tmp_path / "file"))[0] == 1


@pytest.mark.parametrize("number", [1, 2])
def test_a_file_that_panics_the_reader_is_told_too(number: int) -> None:
    """The flipped Parquet files that end polars in a panic."""
    file = str(CASES / "files" / f"parquet_flipped_panics_{number}.parquet")
    assert ran("inspect", file)[0] == 1
    code, said = ran("check", file)
    assert code == 1
    assert "no run could train on this" in said
