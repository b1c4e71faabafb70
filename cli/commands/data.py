"""`reindex`: rebuild the data index. `data`: look at your own files."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.connection import application, whoami
from cli.output import Json, console, emit, table
from cli.reasons import Why
from statemachine.contracts.errors import FraudloopError, Misconfigured, Unknown
from statemachine.core.policy import parse
from statemachine.settings import registry_of


def reindex(
    model: Annotated[str, typer.Argument(help="A model of fraudloop.toml.")],
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Have the next run rebuild the model's index from the table, if the index was deleted or changed.

    The manifest of that run lists every object on record, so the run costs as much as a first run over all data.
    Example: `fraudloop reindex fraud --why "somebody deleted the index"`
    """
    app = application()
    item = app.operations.reindex(model, whoami(app), why)
    if as_json:
        return emit({"model": item.name, "index": None})
    console.print(f"the next run of {model} builds its index anew; `fraudloop start {model}` begins one now")
    return None


data = typer.Typer(
    no_args_is_help=True, help="Files of your own: what their columns are, and what the loop says of them."
)
Readable = typer.Argument(exists=True, dir_okay=False, help="A CSV (also gzipped) or Parquet file.")


@data.command()
def inspect(file: Annotated[Path, Readable], as_json: Json = False) -> None:
    """Say what the columns of a file look like, which role each seems to have, and the table to paste.

    It guesses from the first rows. Correct what it guessed, and ask `fraudloop data check`. Example:
    `fraudloop data inspect transactions.csv`
    """
    from training.data.inspection import toml

    found = _inspected(file)
    if as_json:
        return emit(asdict(found))
    rows = [[column.name, column.role, column.why, column.example] for column in found.columns]
    console.print(table(f"{file.name}, its first {found.rows:,} rows", ["column", "role", "why", "example"], rows))
    if found.missing:
        console.print(f"no column looks like {', '.join(found.missing)}: name it in the table before you use it")
    console.print("\nthe table, under [models.NAME] of fraudloop.toml or as a file of its own:\n")
    console.print(toml(found.table), soft_wrap=True)
    return None


@data.command()
def check(
    files: Annotated[list[Path], Readable],
    labels: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A file of reports of fraud that come later; may be repeated."),
    ] = None,
    model: Annotated[str, typer.Option(help="A model of fraudloop.toml: its declaration and limits.")] = "fraud",
    declared: Annotated[
        str | None, typer.Option("--data", help="A preset or a TOML file, in place of the model's declaration.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say of each file what the loop would say, and whether a run could train on these files alone.

    Ends with status 1 if it could not; the reason names the setting that would admit them. Example:
    `fraudloop data check january.csv february.csv --labels chargebacks.csv --model fraud`
    """
    found = _checked(files, labels or [], model, declared)
    if as_json:
        emit(asdict(found))
        raise typer.Exit(0 if found.accepted else 1)
    rows = [
        [Path(name).name, "yes" if one.accepted else "no", f"{one.rows:,}", f"{one.frauds:,}", _first(one.problems)]
        for name, one in found.verdicts.items()
    ]
    console.print(table("Each file", ["file", "accepted", ">rows", ">frauds", "why not"], rows))
    if found.splits:
        split_rows = [[name, f"{part['rows']:,}", f"{part['frauds']:,}"] for name, part in found.splits.items()]
        console.print(table("The data set", ["part", ">rows", ">frauds"], split_rows))
    if found.counts:
        console.print(", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.counts.items()))
    for warning in found.warnings:
        console.print(f"warning: {warning}")
    console.print("a run can train on this" if found.accepted else f"no run could train on this: {found.reason}")
    raise typer.Exit(0 if found.accepted else 1)


def _inspected(file: Path) -> Any:
    from training.data.inspection import inspect as look
    from training.data.unpacking import Unreadable

    with tempfile.TemporaryDirectory(prefix="fraudloop-inspect-") as scratch, _quiet():
        try:
            return look(file, Path(scratch))
        except Unreadable as error:
            raise FraudloopError(f"{file}: {error.problem.sentence()}") from error
        except BaseException as error:  # polars' PanicException is none of Exception
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            raise FraudloopError(f"{file} cannot be read: {str(error).partition(chr(10))[0][:200]}") from error


def _checked(files: Sequence[Path], labels: Sequence[Path], model: str, declared: str | None) -> Any:
    from training.data.checking import check as judge
    from training.data.declared import table_of
    from training.data.preprocess import configured
    from training.outcome import Permanent

    policies = parse(registry_of(), "s3://nowhere")
    if model not in policies:
        raise Unknown(f"there is no model {model!r}; fraudloop.toml names {', '.join(policies)}")
    settings = dict(policies[model].parameters.get("preprocess", {}))
    try:
        config = configured(settings | ({"data": table_of(declared)} if declared else {}))
    except Permanent as error:
        raise Misconfigured(f"[models.{model}]: {error}") from error
    with _quiet():
        return judge(files, config, datetime.now(UTC).date(), labels)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what libraries and our own children say on standard error: a panic's backtrace helps nobody here."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _first(problems: Sequence[Any]) -> str:
    others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return problems[0].sentence() + others if problems else ""


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(data, name="data", rich_help_panel="Models")
    app.command(rich_help_panel="Runs")(reindex)
