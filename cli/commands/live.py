"""`live`: the online store of live scoring: fill it, look at it, and delete one entity's data."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.connection import application, known
from cli.output import Json, Markup, clock, console, emit, quoted, table
from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.stage import Stage

live = typer.Typer(no_args_is_help=True, help="The online store of live scoring.")
Model = Annotated[str, typer.Option(help="A model of fraudloop.toml.")]


@live.command()
def fill(
    dataset: Annotated[
        str, typer.Argument(help="A data set's folder or s3:// URI; the newest run's that has one if not given.")
    ] = "",
    model: Model = "fraud",
    whole: Annotated[
        bool, typer.Option(help="Take the data set's last day as complete: after the store was lost, or paused.")
    ] = False,
    replace: Annotated[
        bool, typer.Option(help="Also if a later data set was brought in: its newest file was quarantined.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the online store up to a data set: before the first live payment, or after the store was lost.

    The loop does it each night (stage materialise). FRAUDLOOP_LIVE_URL and FRAUDLOOP_ENTITY_KEY name the store and the
    key, as in the serving pods. It may be repeated. Without `--replace` a data set that ends earlier changes nothing.
    Example: `fraudloop live fill`
    """
    from training import storage
    from training.live import settings
    from training.live.materialise import fill as brought_in

    app = application()
    parameters = app.policies[known(app, model)].parameters
    k = int(parameters.get("materialise", {}).get("k", parameters.get("train", {}).get("k", 0)))
    uri = dataset or _newest(app, model)
    with tempfile.TemporaryDirectory(prefix="fraudloop-fill-") as scratch:
        folder = storage.local(uri, Path(scratch) / "dataset")
        say = (lambda *_: None) if as_json else _say
        brought = brought_in(model, folder, k, settings.read(), whole=whole, replace=replace, progress=say)
    if as_json:
        return emit([asdict(one) for one in brought])
    for one in brought:
        done = "a later data set was there before (--replace)" if one.fenced else f"{one.entities:,} entities written"
        console.print(f"definition {one.definition}: {done}; the data set ends at {clock(one.as_of)} UTC")
    return None


def _newest(app: Any, model: str) -> str:
    for run in app.store.runs(model):
        if uri := run.output(Stage.PREPROCESS, "dataset"):
            return str(uri)
    raise Misconfigured(f"no run of {model} has made a data set yet; `fraudloop start {model}` begins one")


@live.command()
def state(model: Model = "fraud", as_json: Json = False) -> None:
    """Show which feature definitions have state in the online store, and up to when. Example: `fraudloop live state`"""
    import valkey

    from training.live import settings
    from training.live.keys import Names

    app = application()
    known(app, model)
    given = settings.read()
    if given.missing:
        raise Misconfigured(f"there is {given.missing}: FRAUDLOOP_LIVE_URL and FRAUDLOOP_ENTITY_KEY name them")
    store: Any = valkey.Valkey.from_url(given.url, password=given.password or None, socket_timeout=5)
    told = {name.decode(): json.loads(value) for name, value in store.hgetall(Names(model).definitions).items()}
    memory = int(store.info("memory")["used_memory"])
    if as_json:
        return emit({"definitions": told, "used_memory": memory})
    rows = [[name, str(one["k"]), clock(one["as_of"]), clock(one["at"])] for name, one in sorted(told.items())]
    columns = ["definition", ">k", "data up to", "brought in at"]
    console.print(table(f"{model} in the online store ({memory / 2**20:,.0f} MiB in all)", columns, rows))
    if not rows:
        console.print("nothing yet; `fraudloop live fill` brings a data set in")
    return None


@live.command()
def forget(
    entity: Annotated[
        str, typer.Option(help="RELATION=VALUE, as in card=4111…; several columns are separated by commas.")
    ],
    model: Model = "fraud",
    score_log: Annotated[
        bool, typer.Option("--score-log", help="Also from the archived score log, which takes the right to write it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete what the online store holds of one card, merchant, …: its record, its entries elsewhere, its log.

    Without `--score-log` archived answers stay until their retention ends. What lies in the data bucket stays in any
    case. Example: `fraudloop live forget --entity card=17,2 --score-log`
    """
    from training.data.preprocess import configured
    from training.live import settings
    from training.live.forget import forget as deleted
    from training.live.forget import key_of
    from training.scorelog.forget import Erased

    side, mark, values = entity.partition("=")
    if not mark or not values:
        raise typer.BadParameter(f"{entity!r} is not RELATION=VALUE", param_hint="--entity")
    app = application()
    data = configured(app.policies[known(app, model)].parameters.get("preprocess", {})).data
    key = key_of(data, side, values.split(","))
    given = settings.read()
    found = deleted(model, data, side, key, given, (lambda *_: None) if as_json else _say)
    erased = _erased(app.policies[model].root, model, data, side, key, given.entity_key) if score_log else Erased()
    if as_json:
        return emit({**asdict(found), "score_log": asdict(erased)})
    console.print(f"deleted {found.records} records, {found.entries} entries elsewhere, {found.logged} logged answers")
    if score_log:
        console.print(
            f"and {erased.answers} archived answers; {erased.requests} requests of others were emptied, "
            f"{erased.files} files rewritten. Versions of them stay in the bucket for seven days"
        )
    if found.unread:
        why = "are damaged, or of a definition or a FRAUDLOOP_ENTITY_KEY that is not in use"
        console.print(f"{found.unread} records {why}; they expire with the retention")
    return None


def _erased(root: str, model: str, data: Any, side: str, key: int, secret: str) -> Any:
    from training.live.keys import EntityHash
    from training.scorelog.files import ScoreFiles
    from training.scorelog.forget import erase
    from training.serving.live_line import telling

    hashed = EntityHash(secret).of(side, key)
    return erase(ScoreFiles(root, model), f"key:{side}={hashed.hex()};", telling(data, side, hashed))


def _say(event: str, figures: Mapping[str, float]) -> None:
    told = ", ".join(f"{name} {value:,.0f}" for name, value in figures.items())
    console.print(Markup(f"[dim]{quoted(event)}[/] {quoted(told)}"))


def register(app: typer.Typer) -> None:
    """Add this group of commands."""
    app.add_typer(live, name="live", rich_help_panel="Models")
