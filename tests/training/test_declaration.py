"""A declaration says what a file's columns are; a mistake is found when it is read, and the message names the key."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statemachine.contracts.errors import Misconfigured
from statemachine.core.policy import parse
from statemachine.settings import registry_of
from training.data import checks, parser, schema
from training.data.declaration import Declaration, restored
from training.data.declared import declared, table_of
from training.data.preprocess import configured
from training.data.presets import PRESETS, preset
from training.outcome import Permanent

OWN: dict[str, Any] = {
    "time": {"column": "when"},
    "amount": {"column": "paid"},
    "entities": {"payer": {"columns": ["from"]}, "payee": {"columns": ["to"]}},
    "label": {"column": "bad"},
}


def with_(**change: Any) -> dict[str, Any]:
    return {**OWN, **change}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_table_like_any_other(name: str) -> None:
    """It is read as a person's table is, and comes back from schema.json as it was."""
    assert declared({"preset": name}) == preset(name) == declared(dict(PRESETS[name]))
    again = restored(json.loads(json.dumps(preset(name).as_dict(), sort_keys=True)))
    assert again == preset(name)
    assert (again.row, again.known, again.sha256) == (preset(name).row, preset(name).known, preset(name).sha256)


def test_nothing_declared_is_tabformer() -> None:
    """A model without a `data` table reads what it always read."""
    assert declared({}) == preset() == configured({}).data
    assert parser.RAW_SCHEMA.keys() == set(preset().columns)


def test_who_wrote_a_table_gives_it_no_order() -> None:
    """Entities and categories are sorted by name, so two spellings of one declaration have one definition."""
    one, other = OWN["entities"].items()
    turned = declared(with_(entities=dict([other, one])))
    assert turned == declared(OWN)
    assert schema.definition(turned) == schema.definition(declared(OWN))


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"preset": "nobody"}, "data.preset is 'nobody'; known are tabformer"),
        ({"colour": 1}, "data: unknown colour"),
        ({"amount": {"column": "x"}}, "data: entities, time is missing"),
        ({"amount": {"decimal": ",,"}}, "data.amount.decimal"),
        ({"amount": {"minor_units": 9}}, "data.amount.minor_units is 9"),
        ({"amount": {"limit": 1e16}}, "data.amount.limit"),
        ({"preset": "tabformer", "amount": {"column": 5}}, "data.amount.column is 5; it takes text"),
        ({"time": {"zone": "Mars/Base"}}, "data.time.zone is 'Mars/Base'"),
        ({"time": {"resolution": "hour"}}, "data.time.resolution is 'hour'"),
        ({"preset": "tabformer", "time": {"column": "x"}}, "data.time: it takes either column or parts"),
        (with_(time={"column": "x", "format": "iso8601"}), "data.time.format is 'iso8601'"),
        (with_(time={"column": "x", "format": "epoch", "origin": "then"}), "data.time.origin is 'then'"),
        (with_(time={"column": "x", "format": "epoch", "unit": 0}), "data.time.unit"),
        (with_(entities={}), "data.entities: there are 0; it takes 1 to 4"),
        (with_(entities={f"e{n}": {"columns": ["x"]} for n in range(5)}), "data.entities: there are 5"),
        (with_(entities={"Card No": {"columns": ["x"]}}), "data.entities.Card No: a name matches"),
        (with_(entities={"card": {"columns": []}}), "data.entities.card.columns is empty"),
        ({"entities": {"card": {"whole": [[0, 9]]}}}, "data.entities.card.whole"),
        (with_(categories={"label": {"column": "x"}}), "data.categories.label: this name is taken"),
        (with_(categories={"kind": {"column": "x", "whole": [1]}}), "data.categories.kind.whole"),
        (
            with_(categories={"kind": {"column": "x", "values": ["a"], "names": ["a", "b"]}}),
            "data.categories.kind.names",
        ),
        (with_(categories={"a": {"column": "x"}}, numbers={"a": {"column": "y"}}), "a is there 2 times"),
        (with_(numbers={"n": {"column": "x", "least": 2, "most": 1}}), "data.numbers.n"),
        (with_(flags={"f": {"column": "x", "values": []}}), "data.flags.f"),
        (with_(label={"column": "x", "fraud": ["1"], "good": ["1"]}), "data.label"),
        (with_(features=["refund"]), "data.features: amount_log is missing"),
        (with_(features=["amount_log", "luck"]), "data.features: unknown luck"),
        (with_(preset="paysim", entities=3), "data.entities"),
    ],
)
def test_a_mistake_is_named(table: dict[str, Any], named: str) -> None:
    """As the loop meets it too: the preprocess stage fails for good, and says which key."""
    with pytest.raises(Misconfigured) as refused:
        declared(table)
    assert named in str(refused.value)
    with pytest.raises(Permanent, match="preprocess: "):
        configured({"data": table})


def test_a_preset_is_changed_key_by_key() -> None:
    """A table within is merged, false takes one out, and the features follow in the preset's order."""
    made = declared({"categories": {"mcc": False}, "numbers": {"age": {"column": "Age"}}, "label": False})
    assert [name for name in preset().row if not name.startswith("mcc")] + ["age"] == list(made.row)
    assert made.label is None
    assert declared({"amount": {"limit": 5}}).amount.prefixes == ("$",)


def test_the_table_of_a_model_reaches_preprocess(tmp_path: Path) -> None:
    """As a table in fraudloop.toml, or as the name of a file beside it."""
    (tmp_path / "columns.toml").write_text('preset = "sparkov"\n')
    (tmp_path / "fraudloop.toml").write_text(
        '[models.one]\nprefix = "one/"\ndata = "columns.toml"\n[models.one.parameters.preprocess]\nmin_rows = 5\n'
        '[models.two]\nprefix = "two/"\n[models.two.data]\npreset = "paysim"\n'
    )
    policies = parse(registry_of({"FRAUDLOOP_CONFIG": str(tmp_path / "fraudloop.toml")}), "s3://a")
    assert policies["one"].parameters["preprocess"] == {"min_rows": 5, "data": {"preset": "sparkov"}}
    assert configured(policies["two"].parameters["preprocess"]).data == preset("paysim")
    (tmp_path / "columns.toml").unlink()
    with pytest.raises(Misconfigured, match=r"models\.one\.data: .*columns\.toml cannot be read"):
        registry_of({"FRAUDLOOP_CONFIG": str(tmp_path / "fraudloop.toml")})
    with pytest.raises(Misconfigured, match=r"models\.x\.data is 7"):
        parse({"models": {"x": {"prefix": "x/", "data": 7}}}, "s3://a")
    twice = {"prefix": "x/", "data": {}, "parameters": {"preprocess": {"data": {}}}}
    with pytest.raises(Misconfigured, match="give one of them"):
        parse({"models": {"x": twice}}, "s3://a")


def test_a_file_holds_a_table_alone_or_under_data(tmp_path: Path) -> None:
    """And what is neither a preset nor a file is said."""
    (tmp_path / "a.toml").write_text('preset = "paysim"')
    (tmp_path / "b.toml").write_text('[data]\npreset = "paysim"')
    assert table_of(str(tmp_path / "a.toml")) == table_of(str(tmp_path / "b.toml")) == table_of("paysim")
    (tmp_path / "c.toml").write_text("not = toml = at all")
    for wrong in ("nobody", str(tmp_path / "c.toml")):
        with pytest.raises(Misconfigured, match=wrong):
            table_of(wrong)


# -- reading values -------------------------------------------------------------------------------------------------


def read(data: Declaration, **cells: list[str | None]) -> pl.DataFrame:
    columns = {name: cells.get(name, [None] * len(next(iter(cells.values())))) for name in data.known}
    raw = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return raw.select(**parser.canonical(data)).with_columns(**parser.keyed(data))


AT = int(datetime(2026, 11, 27, 8, 30, 5, tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("time", "text", "second"),
    [
        ({}, "2026-11-27 08:30:05", AT),
        ({}, "2026-11-27T08:30:05.999Z", AT),
        ({}, "2026-11-27T09:30:05+01:00", AT),
        ({}, "2026-11-27T04:00:05-0430", AT),
        ({"zone": "Europe/Berlin"}, "2026-11-27 09:30:05", AT),
        ({"zone": "Europe/Berlin"}, "2026-11-27T08:30:05Z", AT),
        ({"zone": "Europe/Berlin"}, "2026-03-29 02:30:00", None),
        ({"resolution": "minute"}, "2026-11-27 08:30:05", AT - 5),
        ({}, "2026-11-27", AT - 8 * 3600 - 30 * 60 - 5),
        ({}, "2026-02-30 00:00:00", None),
        ({}, "2026-11-27 24:00:00", None),
        ({}, "yesterday", None),
        ({"format": "epoch"}, str(AT), AT),
        ({"format": "epoch", "unit": 0.001}, f"{AT}999", AT),
        ({"format": "epoch", "unit": 3600, "origin": "2026-11-27"}, "8", AT - 30 * 60 - 5),
        ({"format": "epoch"}, "soon", None),
        ({"format": "%d.%m.%Y %H:%M:%S"}, "27.11.2026 08:30:05", AT),
        ({"format": "%d.%m.%Y %H:%M:%S", "zone": "Asia/Tokyo"}, "27.11.2026 17:30:05", AT),
        ({"format": "%d.%m.%Y %H:%M:%S %z"}, "27.11.2026 09:30:05 +0100", AT),
        ({"format": "%d.%m.%Y %H:%M:%S"}, "2026-11-27", None),
    ],
)
def test_times_are_read_as_declared(time: dict[str, Any], text: str, second: int | None) -> None:
    """ISO, numbers since an origin, formats and zones all become seconds in UTC; what is none becomes null."""
    data = declared(with_(time={"column": "when", **time}))
    assert read(data, when=[text])["time"].to_list() == [second]


@pytest.mark.parametrize(
    ("amount", "text", "minor"),
    [
        ({}, "12.05", 1205),
        ({}, "-12.05", -1205),
        ({"prefixes": ["$"]}, "-$12.05", -1205),
        ({"prefixes": ["$"]}, "$-12.05", -1205),
        ({"prefixes": ["€"], "decimal": ","}, "€12,05", 1205),
        ({"suffixes": [" €"], "decimal": ",", "thousands": "."}, "1.234,50 €", 123450),
        ({"decimal": ",", "thousands": "."}, "1.5", None),
        ({"decimal": ","}, "12.05", None),
        ({"thousands": ","}, "1,234,567.8", 123456780),
        ({"minor_units": 0}, "969700", 969700),
        ({"minor_units": 3}, "18.448", 18448),
        ({}, "nan", None),
        ({}, "", None),
        ({}, "12,05", None),
    ],
)
def test_amounts_are_read_as_declared(amount: dict[str, Any], text: str, minor: int | None) -> None:
    """Separators, marks and minor units; an amount that would be misread is refused and not guessed."""
    data = declared(with_(amount={"column": "paid", **amount}))
    assert read(data, paid=[text])["cents"].to_list() == [minor]


def test_a_key_is_of_all_columns_and_of_the_salt() -> None:
    """Which column a value stands in counts, `12.0` is `12`, all empty is no entity; keys are blake2b of 64 bits."""
    table = with_(entities={"payer": {"columns": ["from", "bank"]}})
    cells = {"from": ["a", "ab", "12", "12.0", None, "a"], "bank": ["bc", "c", None, "", None, "bc"]}
    keys = read(declared(table), **cells)["payer_key"].to_list()
    assert keys[0] == keys[5] == parser.digits(["a", "bc"])
    assert keys[2] == keys[3]
    assert keys[4] is None
    assert len(set(keys)) == 4
    assert read(declared({**table, "salt": "s"}), **cells)["payer_key"].to_list()[0] == parser.digits(["a", "bc"], "s")


def test_flags_are_whole_words() -> None:
    """A word within another is not found; an unknown one is `other`."""
    data = declared(with_(flags={"f": {"column": "codes", "values": ["A", "AB"], "separator": "|"}}))
    assert read(data, codes=["A", "AB", "A| AB", "ABC", None])["f"].to_list() == [1, 2, 3, 4, 0]


def test_labels_that_are_not_known_yet() -> None:
    """An empty label is unknown where that is declared, and a broken row where it is not; without a column all are."""
    for empty, expected in ((True, -1), (False, None)):
        data = declared(with_(label={"column": "bad", "fraud": ["Y"], "good": ["N"], "empty": empty}))
        assert read(data, bad=["Y", "N", None, "?"])["label"].to_list() == [1, 0, expected, None]
    assert read(declared({k: v for k, v in OWN.items() if k != "label"}), paid=["1"])["label"].to_list() == [-1]


NAMES = st.text("abcdefgh", min_size=1, max_size=6)
VALUES = st.text(
    st.characters(categories=["L", "N", "P", "Zs"], exclude_characters='"\n\r\x1f'), min_size=1, max_size=8
)


@settings(max_examples=40, deadline=None)
@given(
    entities=st.dictionaries(NAMES, st.integers(1, 3), min_size=1, max_size=4),
    kinds=st.dictionaries(NAMES, st.booleans(), max_size=3),
    numbers=st.dictionaries(NAMES, st.booleans(), max_size=3),
    minor=st.integers(0, 4),
    seed=st.data(),
)
def test_any_declared_row_is_the_same_offline_and_in_a_request(
    entities: dict[str, int], kinds: dict[str, bool], numbers: dict[str, bool], minor: int, seed: st.DataObject
) -> None:
    """For any declaration and any valid values, the row of a file, written as a request's line, is read as the same."""
    from training.graph.velocity import state_names
    from training.serving.csv_codec import parse, write

    table = {
        "time": {"column": "when"},
        "amount": {"column": "paid", "minor_units": minor},
        "entities": {f"e_{n}": {"columns": [f"E{n}{i}" for i in range(count)]} for n, count in entities.items()},
        "categories": {f"c_{name}": {"column": f"C{name}", "empty": empty} for name, empty in kinds.items()},
        "numbers": {f"n_{name}": {"column": f"N{name}", "empty": empty} for name, empty in numbers.items()},
        "label": {"column": "bad", "empty": True},
    }
    data = declared(table)
    draw = seed.draw
    cells: dict[str, list[str | None]] = {
        "when": ["2026-01-02 03:04:05"],
        "bad": [draw(st.sampled_from(["1", "0", None]))],
    }
    cells["paid"] = [f"{draw(st.integers(-(10**6), 10**6)) / 10**minor:.{minor}f}"]
    cells |= {column: [draw(VALUES)] for entity in data.entities.values() for column in entity.columns}
    cells |= {one.column: [draw(VALUES)] for one in data.categories.values()}
    cells |= {
        one.column: [draw(st.floats(-1e6, 1e6).map(repr)) if not one.empty else draw(st.sampled_from(["1.5", None]))]
        for one in data.numbers.values()
    }
    offline = read(data, **cells)
    fitted = schema.fit(offline.lazy().with_columns(label=pl.lit(0, dtype=pl.Int8)), data)
    stored = offline.with_columns(**{f"clean_{name}": pl.col(name) for name in data.source})
    names = state_names(data.relations)
    (line,) = write(stored, pl.zeros(len(names), eager=True).to_numpy()[None, :].astype("float32"), fitted)
    online = parse([line.encode()], date(2026, 11, 27), data)
    keys = ["time", *data.keys]
    assert online.select(keys).rows() == offline.select(keys).rows()
    one, other = (schema.row_features(frame, fitted).select(data.row) for frame in (offline, online))
    assert one.equals(other, null_equal=False)
    raw = ",".join(f'"{cells[name][0] or ""}"' for name in data.known)
    again = schema.row_features(parse([raw.encode()], date(2026, 11, 27), data), fitted)
    assert again.select(keys).rows() == offline.select(keys).rows()
    assert again.select(data.row).equals(one, null_equal=False)


def test_each_rule_of_a_preset_names_its_setting() -> None:
    """Whoever reads a refusal knows what to change in fraudloop.toml."""
    for name in PRESETS:
        for rule in checks.rules(checks.Limits(), preset(name)):
            dated = "up to" in rule.expected or rule.expected.startswith("a date that exists")
            told = dated or "data." in rule.expected or rule.columns in (preset(name).present, (preset(name).id,))
            assert told or rule.expected.startswith("a value: it says which"), rule
