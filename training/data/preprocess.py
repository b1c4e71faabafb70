"""Preprocess: raw files in, a data set out that is checked, split by time, featurised and profiled.

`fraudloop train` calls `prepare`; the KFP component calls `preprocess`, which adds manifest and cache. The data set:

    transactions.parquet  sorted by time: time, a dense code from 1 of each entity (card, merchant), their keys
                          (card_key, merchant_key), label (−1 while not known), known_at (seconds since the epoch when
                          the label became known, `NEVER` while it is not), split (0 train, 1 validate, 2 test,
                          3 immature, 4 history alone), then what the row features are made of (clean_cents, …)
                          and the row features
    graph/                the graph of these rows, to be mapped into memory (`training.graph.store`)
    schema.json           the feature schema, fitted on train
    profile.json          the profile of all rows, and the new rows' drift against the champion's
    dataset.json          counts, boundaries, configuration, hash of the data
    MANIFEST.json         sha256 of each file, written last
"""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from statemachine.contracts import paths
from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.object_kind import ObjectKind
from statemachine.contracts.stage_request import StageRequest
from statemachine.contracts.tables import read_table
from training import integrity, storage
from training.data import corrections, dataset, index, known_labels, manifest, parser, profile, reports, schema, split
from training.data.bounds import Bounds
from training.data.checks import Limits
from training.data.declaration import Declaration
from training.data.declared import declared
from training.data.known_labels import Delays, delay_warnings
from training.data.presets import preset
from training.data.reach import Reach, newest
from training.data.reports import ReportFile
from training.data.validation import Source, ValidationResult, scan, take_in
from training.outcome import REASON_LENGTH, Permanent, Refused, StageResult

FORMAT = 2


@dataclass(frozen=True)
class PreprocessConfig(Bounds):
    """The stage's settings. `data` declares the columns (docs/your-data.md). `train` and `validate` are shares of the
    mature rows; `min_frauds` holds for each split. A label of a column is known `label_delay_days` after its
    transaction; rows younger than `label_maturity_days` are in no split, and good if a labels feed does not name them
    until then. The last `validate_gap_days` of train and of validate are in no split, so that their labels are as old
    as they are when a model is used. Seeds are rows of the last `training_window_days`; their histories reach back
    `history_days` before the first of these (0: all there is). The state of each transaction is computed once, from its
    last `k`: as many as train's `k`, or train does it again.

    Those that begin with `max_` or `conversion_` limit what is read from outside (docs/data.md).
    """

    split: str = "quantiles"
    train: float = 0.7
    validate: float = 0.15
    label_delay_days: float = 30
    label_maturity_days: float = 30
    validate_gap_days: float = 0
    strict: bool = False
    min_rows: int = 1000
    min_frauds: int = 1
    min_file_rows: int = 1
    training_window_days: int = 0
    history_days: int = 0
    k: int = 32
    max_duplicate_share: float = 0.01
    order: str = "any"
    data: Declaration = field(default_factory=preset)

    def limits(self, today: date) -> Limits:
        """What is tolerated in one file; a day ahead of us may be today elsewhere."""
        return Limits(self.min_file_rows, self.max_duplicate_share, self.order, today + timedelta(days=1))

    def reach(self, newest: int) -> Reach:
        """How far back a run looks whose newest row is at `newest`, in seconds since the epoch."""
        return Reach.of(newest, self.training_window_days, self.history_days)

    def bounds(self) -> Bounds:
        """How much an object, and all of them, may ask for."""
        return Bounds(**{field.name: getattr(self, field.name) for field in fields(Bounds)})


def configured(parameters: Mapping[str, Any]) -> PreprocessConfig:
    """The settings from plain values.

    Raises:
        Permanent: a name is unknown, a value has another type, a limit is one that nothing can keep, or the
            declaration of the columns is wrong.
    """
    plain = {name: value for name, value in parameters.items() if name != "data"}
    try:
        config = replace(read_table(PreprocessConfig, plain, "preprocess"), data=declared(parameters.get("data", {})))
    except Misconfigured as error:
        raise Permanent(f"preprocess: {error}") from error
    if config.k < 1:
        raise Permanent(f"preprocess: k is {config.k}; it must be at least 1")
    if senseless := config.bounds().senseless():
        raise Permanent(f"preprocess cannot work with {', '.join(senseless)}: a limit is a number above 0")
    if min(config.training_window_days, config.history_days) < 0:
        raise Permanent("preprocess: training_window_days and history_days are numbers of days; 0 means all there are")
    if min(config.label_maturity_days, config.label_delay_days, config.validate_gap_days) < 0:
        raise Permanent("preprocess: label_maturity_days, label_delay_days and validate_gap_days are not below 0")
    if config.history_days and not config.training_window_days:
        raise Permanent("preprocess: history_days counts back from the training window; set training_window_days too")
    return config


@dataclass(frozen=True)
class Prepared:
    """What was made: the folder, its `dataset.json`, its `profile.json` and the verdict on each file by its name."""

    folder: Path
    dataset: Mapping[str, Any]
    profile: Mapping[str, Any]
    verdicts: Mapping[str, ValidationResult]


@dataclass(frozen=True)
class Admitted:
    """Every object's verdict, and where the accepted ones' clean rows are, by identity and in the order given.

    `clean` are transactions, `reports` labels files.
    """

    names: Mapping[str, str]
    verdicts: Mapping[str, ValidationResult]
    clean: Mapping[str, Path]
    reports: Mapping[str, ReportFile] = field(default_factory=dict)


def prepare(
    files: Sequence[str | Path],
    out: str | Path,
    config: PreprocessConfig,
    *,
    today: date,
    reference: Mapping[str, Any] | None = None,
    labels: Sequence[str | Path] = (),
) -> Prepared:
    """Makes the data set of local files, with these labels files, in the folder `out`: `admit`, then `build`."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-preprocess-") as scratch:
        admitted = admit(local_sources(files, labels), config, today=today, scratch=Path(scratch))
        return build(admitted, out, config, reference=reference)


def admit(
    sources: Sequence[Source], config: PreprocessConfig, *, today: date, scratch: Path, cache: str | None = None
) -> Admitted:
    """Judges each object by itself: a bad one does not reject its good neighbours. Kept in the order of delivery."""
    verdicts = take_in(sources, config.limits(today), config.bounds(), cache, scratch, config.data)
    delivered = sorted(sources, key=lambda source: source.order)
    accepted = [source for source in delivered if verdicts[source.identity].accepted]
    return Admitted(
        names={source.identity: source.name for source in sources},
        verdicts=verdicts,
        clean={one.identity: _clean(scratch, one) for one in accepted if one.kind is ObjectKind.DATA},
        reports={
            one.identity: ReportFile(_clean(scratch, one), one.arrived_at or _midnight(today))
            for one in accepted
            if one.kind is ObjectKind.LABELS
        },
    )


def _clean(scratch: Path, source: Source) -> Path:
    return scratch / f"{source.identity}.parquet"


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def build(
    admitted: Admitted,
    out: str | Path,
    config: PreprocessConfig,
    *,
    new: Collection[str] | None = None,
    reference: Mapping[str, Any] | None = None,
) -> Prepared:
    """Makes the data set of what was admitted in the local folder `out`.

    `new` are the identities that this run brings in (default: all); `reference` is the champion's `profile.json`.

    Raises:
        Refused: nothing new was accepted, a file is bad and the model is `strict`, or a split has too few frauds.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = [identity for identity in admitted.verdicts if new is None or identity in new]
    _refuse_admission(admitted, fresh, config)
    reach = config.reach(newest(admitted.verdicts[identity].last for identity in admitted.clean))
    clean = {name: path for name, path in admitted.clean.items() if admitted.verdicts[name].last >= reach.history}
    accepted = [admitted.verdicts[identity] for identity in clean]
    rows, delivered_again = dataset.gathered(list(clean.values()), accepted, config.data, reach.history)
    feed = reports.read(list(admitted.reports.values()), config.data, reach.history)
    delays = Delays(config.label_delay_days, config.label_maturity_days)
    rows, labels, as_of = known_labels.timed(rows, config.data, delays, feed)
    labels = replace(labels, labels_corrected=labels.labels_corrected + delivered_again.labels)
    bounds = _boundaries(rows["time"], config, as_of, reach.seeds)
    parted = dataset.parted(rows, bounds, as_of)
    counts = dataset.counts(parted)
    _refuse_unlearnable(counts, config, rows, feed is not None)
    fitted = schema.fit(parted.filter(pl.col("split") == split.TRAIN), config.data)
    nodes = dataset.write(parted, fitted, folder / "transactions.parquet")
    profiled = _profiled(
        parted, [admitted.clean[name] for name in fresh if name in admitted.clean], reference, config.data
    )
    described = nodes | {
        "format": FORMAT,
        "rows": len(rows),
        "splits": counts,
        "boundaries": asdict(bounds),
        "labels": labels.as_dict(),
        "as_of": as_of,
        "first": int(rows["time"][0]),
        "last": int(rows["time"][-1]),
        "config": asdict(config) | {"data": config.data.as_dict()},
        "schema_sha256": fitted.sha256,
        "data_sha256": _data_sha256(accepted, admitted, config.data),
        **{name: count for name, count in asdict(delivered_again).items() if name != "labels"},
    }
    described |= {"warnings": delay_warnings(described)}
    if config.k:
        from training.graph import store  # it brings torch, which whoever only checks a file has no use for

        del rows, parted
        sides, unit = tuple(sorted(config.data.relations)), 10**config.data.amount.minor_units
        store.write(folder, fitted.features, sides, unit, config.k)
    storage.write_bytes(str(folder / "schema.json"), fitted.dumps())
    storage.write_json(str(folder / "profile.json"), profiled)
    storage.write_json(str(folder / "dataset.json"), described)
    integrity.write_manifest(folder)
    told = {admitted.names[identity]: verdict for identity, verdict in admitted.verdicts.items()}
    return Prepared(folder, described, profiled, told)


def local_sources(files: Sequence[str | Path], labels: Sequence[str | Path] = ()) -> list[Source]:
    """Sources for local files, numbered; a file given twice is found out by its rows."""
    kinds = [(ObjectKind.DATA, file) for file in files] + [(ObjectKind.LABELS, file) for file in labels]
    return [
        Source(str(file), f"{number:06d}", str(file), kind=kind, order=(number,))
        for number, (kind, file) in enumerate(kinds)
    ]


def _boundaries(times: pl.Series, config: PreprocessConfig, as_of: int, begin: int) -> split.Boundaries:
    immature = split.maturity(as_of, config.label_maturity_days)
    found = split.boundaries(times, config.split, config.train, config.validate, immature, begin)
    return replace(found, gap=round(config.validate_gap_days * split.DAY))


def _refuse_admission(admitted: Admitted, fresh: Sequence[str], config: PreprocessConfig) -> None:
    bad = [
        f"{admitted.names[identity]}: {admitted.verdicts[identity].problems[0].sentence()}"
        for identity in fresh
        if not admitted.verdicts[identity].accepted
    ]
    if bad and config.strict:
        raise Refused(f"a file is bad and the model is strict: {bad[0]}"[:REASON_LENGTH])
    if not admitted.clean and admitted.reports and not bad:
        raise Refused("only labels were accepted so far, and no transactions: land the files that they speak of")
    # A run without new objects was asked for by a person or by the night: it learns again from what there is.
    if not admitted.clean or (fresh and len(bad) == len(fresh)):
        raise Refused(f"nothing new was accepted ({len(bad)} objects): {'; '.join(bad[:3])}"[:REASON_LENGTH])


def _refuse_unlearnable(
    counts: Mapping[str, Mapping[str, int]], config: PreprocessConfig, all_rows: pl.DataFrame, fed: bool
) -> None:
    learnable = {name: counts[name] for name in split.NAMES[: split.IMMATURE]}
    rows = sum(part["rows"] for part in learnable.values())
    if rows < config.min_rows:
        told = f"too few rows: {rows} with known labels, at least {config.min_rows} are needed (min_rows)"
        window = config.training_window_days
        limit = f"training_window_days is {window}; " if window else ""
        raise Refused(f"{told}; {limit}{_why_unknown(all_rows, config, fed)}", {"splits": counts})
    for name, part in learnable.items():
        told = f"the {name} split has {part['rows']} rows and {part['frauds']} frauds"
        if part["frauds"] < config.min_frauds:
            needed = f"at least {config.min_frauds} are needed (min_frauds; train = {config.train} and validate = "
            raise Refused(f"{told}; {needed}{config.validate} say where the splits begin)", {"splits": counts})
        if part["frauds"] == part["rows"]:
            raise Refused(f"{told}: one class only", {"splits": counts})


def _why_unknown(rows: pl.DataFrame, config: PreprocessConfig, fed: bool) -> str:
    """What keeps labels from being known: the file's, or the time since."""
    days = (rows["time"][-1] - rows["time"][0]) / split.DAY
    empty = (rows["label"] == parser.UNKNOWN).sum()
    since = f"label_maturity_days is {config.label_maturity_days:g} and the data span {days:.2g} days"
    if fed:
        return since
    if config.data.label is None:
        return f"data.label is not declared, and no labels file was accepted (fraudloop land FILE --labels); {since}"
    return f"{empty} of {len(rows)} rows have no label in {config.data.label.column!r}; {since}"


def _profiled(
    rows: pl.LazyFrame, fresh: Sequence[Path], reference: Mapping[str, Any] | None, data: Declaration
) -> dict[str, Any]:
    found: dict[str, Any] = {"format": profile.FORMAT, "columns": profile.profile(rows, data), "drift": {}}
    if reference is not None:
        found["drift"] = profile.drift(scan(list(fresh), data) if fresh else rows, reference["columns"], data)
    return found


def _data_sha256(verdicts: Sequence[ValidationResult], admitted: Admitted, data: Declaration) -> str:
    """One digest for the accepted contents, whatever order they came in, unless the order decides which row counts.

    Of a labels file that does not say when, it counts when it arrived.
    """
    digests = [verdict.sha256 for verdict in verdicts]
    if not corrections.contested(verdicts, data):
        digests.sort()
    told = ((admitted.verdicts[identity], report.arrived_at) for identity, report in admitted.reports.items())
    digests += sorted(f"{verdict.sha256} {at if verdict.last == parser.NEVER else ''}" for verdict, at in told)
    return integrity.sha256_bytes("\n".join(digests).encode())


def preprocess(order: StageRequest, today: date | None = None) -> StageResult:
    """The stage: the manifest's objects and those of its index become `dataset`, `profile`, `objects` and `index`."""
    config = configured(order.parameters)
    listed = storage.read_json(order.inputs["manifest"])
    now = today or datetime.now(UTC).date()
    with tempfile.TemporaryDirectory(prefix="fraudloop-preprocess-") as scratch:
        taken = _taken(listed, config, now, Path(scratch), _cache(order, config))
        new = {taken.sources[at].identity for at, entry in enumerate(taken.entries) if entry.get("new")}
        known = _left(order, taken, config)
        try:
            made = build(taken.admitted, Path(scratch) / "dataset", config, new=new, reference=_champion_profile(order))
        except Refused as refusal:
            tally = _tally(taken.admitted, new)
            details = dict(refusal.result.details) | tally
            raise Refused(refusal.reason, details, known, _counted(tally)) from refusal
        uri = storage.join(order.output_uri, "dataset")
        storage.upload_folder(made.folder, uri, intermediate=True)
    outputs = {"dataset": uri, "profile": storage.join(uri, "profile.json"), **known}
    tally = _tally(taken.admitted, new)
    details = tally | {name: made.dataset[name] for name in ("splits", "corrected", "duplicates", "labels", "warnings")}
    return StageResult(outputs, _metrics(made) | _counted(tally), details)


@dataclass(frozen=True)
class Taken:
    """The manifest's entries (`listed` of them), then the rows of its index that still teach; and what they gave.

    `past` are the rows of the index whose objects lie before the history: they stay on record and are not fetched.
    """

    listed: int
    entries: Sequence[index.Entry]
    sources: Sequence[Source]
    admitted: Admitted
    past: Sequence[index.Entry] = ()


def _taken(listed: Mapping[str, Any], config: PreprocessConfig, today: date, scratch: Path, cache: str | None) -> Taken:
    """What the run brings in is judged first: only an accepted write takes the place of the one before it."""
    entries = listed["objects"]
    sources = [manifest.source(entry) for entry in entries]
    brought = admit(sources, config, today=today, scratch=scratch, cache=cache)
    accepted = [brought.verdicts[source.identity].accepted for source in sources]
    former = index.former(index.read(listed), entries, accepted)
    lasts = [brought.verdicts[identity].last for identity in brought.clean]
    reach = config.reach(newest([*lasts, *(int(entry["last"]) for entry in former if index.is_data(entry))]))
    older, past = index.parted(former, reach.history)
    known = [manifest.source(entry) for entry in older]
    before = admit(known, config, today=today, scratch=scratch, cache=cache)
    names = {source.identity: source.name for source in (*sources, *known)}
    delivered = sorted((*sources, *known), key=lambda source: (source.order, source.name))
    ordered = list(dict.fromkeys(source.identity for source in delivered))
    verdicts, clean = {**before.verdicts, **brought.verdicts}, {**before.clean, **brought.clean}
    reports = {**before.reports, **brought.reports}
    admitted = Admitted(
        names={identity: names[identity] for identity in ordered},
        verdicts={identity: verdicts[identity] for identity in ordered},
        clean={identity: clean[identity] for identity in ordered if identity in clean},
        reports={identity: reports[identity] for identity in ordered if identity in reports},
    )
    return Taken(len(entries), [*entries, *older], [*sources, *known], admitted, past)


def _left(order: StageRequest, taken: Taken, config: PreprocessConfig) -> dict[str, str]:
    """Writes `objects` and `index`, also for a run that is refused: what was accepted teaches later runs.

    `objects` tells of the manifest's entries, and of those of the index that teach no more.
    """
    triples = [
        (entry, source, taken.admitted.verdicts[source.identity])
        for entry, source in zip(taken.entries, taken.sources, strict=True)
    ]
    uris = {
        name: storage.join(order.output_uri, file)
        for name, file in (("objects", "objects.json"), ("index", index.NAME))
    }
    told = [
        manifest.told(entry, verdict)
        for at, (entry, _, verdict) in enumerate(triples)
        if at < taken.listed or not verdict.accepted
    ]
    storage.write_json(uris["objects"], told)
    kept = [triple for triple in triples if triple[2].accepted]
    storage.write_bytes(uris["index"], index.dumps(kept, _cache(order, config), taken.past))
    return uris


def _cache(order: StageRequest, config: PreprocessConfig) -> str | None:
    """`cache/<model>/<schema hash>` beside `runs/`; none if the launch writes elsewhere."""
    root = paths.root_of(order.output_uri)
    return storage.join(paths.cache_folder(root, order.model), schema.definition(config.data)[:16]) if root else None


def _champion_profile(order: StageRequest) -> Mapping[str, Any] | None:
    champion = order.inputs.get("champion")
    return storage.read_json(storage.join(champion, "profile.json")) if champion else None


def _tally(admitted: Admitted, new: Collection[str]) -> dict[str, Any]:
    accepted = sum(admitted.verdicts[identity].accepted for identity in new)
    return {"accepted": accepted, "quarantined": len(new) - accepted}


def _counted(tally: Mapping[str, int]) -> dict[str, float]:
    """Also among the metrics, since those reach the history and from there CloudWatch."""
    return {f"objects_{name}": float(count) for name, count in tally.items()}


def _metrics(made: Prepared) -> dict[str, float]:
    splits = {name: part for name, part in made.dataset["splits"].items() if name not in split.ASKED_FOR}
    parts = {f"{name}_frauds": float(part["frauds"]) for name, part in splits.items()}
    counts = {name: float(made.dataset[name]) for name in ("rows", "corrected", "duplicates")}
    labels = {"reports": "reported", "reports_waiting": "waiting", "labels_corrected": "labels_corrected"}
    counts |= {name: float(made.dataset["labels"][key]) for name, key in labels.items()}
    return {**counts, **parts, "max_drift": max(made.profile["drift"].values(), default=0.0)}
