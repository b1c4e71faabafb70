"""Preprocess: raw files in, a data set out that is checked, split by time, featurised and profiled.

`fraudloop train` calls `prepare`; the KFP component calls `preprocess`, which adds manifest and cache. The data set:

    transactions.parquet  sorted by time: time, card, merchant (dense codes from 1), card_key, merchant_key, label
                          (−1 while immature), split (0 train, 1 validate, 2 test, 3 immature), then what the row
                          features are made of (clean_cents, …) and the row features
    schema.json           the feature schema, fitted on train
    profile.json          the profile of all rows, and the new rows' drift against the champion's
    dataset.json          counts, boundaries, configuration, hash of the data
    MANIFEST.json         sha256 of each file, written last
"""

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from statemachine.contracts.stage_request import StageRequest
from training import integrity, storage
from training.data import dataset, manifest, profile, schema, split
from training.data.checks import Limits
from training.data.validation import Source, ValidationResult, scan, take_in
from training.outcome import Permanent, Refused, StageResult

FORMAT = 1


@dataclass(frozen=True)
class PreprocessConfig:
    """The stage's settings. `train` and `validate` are shares of the mature rows; `min_frauds` holds for each split."""

    split: str = "quantiles"
    train: float = 0.7
    validate: float = 0.15
    label_maturity_days: float = 30
    strict: bool = False
    min_rows: int = 1000
    min_frauds: int = 1
    min_file_rows: int = 1
    max_duplicate_share: float = 0.01
    order: str = "any"

    def limits(self, today: date) -> Limits:
        """What is tolerated in one file; a day ahead of us may be today elsewhere."""
        return Limits(self.min_file_rows, self.max_duplicate_share, self.order, today + timedelta(days=1))


def configured(parameters: Mapping[str, Any]) -> PreprocessConfig:
    """The settings from plain values.

    Raises:
        Permanent: a name that is no setting.
    """
    known = {field.name for field in fields(PreprocessConfig)}
    unknown = sorted(parameters.keys() - known)
    if unknown:
        raise Permanent(f"preprocess has no settings {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    return PreprocessConfig(**parameters)


@dataclass(frozen=True)
class Prepared:
    """What was made: the folder, its `dataset.json`, its `profile.json` and the verdict on each file by its name."""

    folder: Path
    dataset: Mapping[str, Any]
    profile: Mapping[str, Any]
    verdicts: Mapping[str, ValidationResult]


@dataclass(frozen=True)
class Admitted:
    """Every object's verdict, and where the accepted ones' clean rows are, by identity and in the order given."""

    names: Mapping[str, str]
    verdicts: Mapping[str, ValidationResult]
    clean: Mapping[str, Path]


def prepare(
    files: Sequence[str | Path],
    out: str | Path,
    config: PreprocessConfig,
    *,
    today: date,
    reference: Mapping[str, Any] | None = None,
) -> Prepared:
    """Makes the data set of local files in the folder `out`: `admit`, then `build`."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-preprocess-") as scratch:
        admitted = admit(local_sources(files), config, today=today, scratch=Path(scratch))
        return build(admitted, out, config, reference=reference)


def admit(
    sources: Sequence[Source], config: PreprocessConfig, *, today: date, scratch: Path, cache: str | None = None
) -> Admitted:
    """Judges each object by itself: a bad one does not reject its good neighbours."""
    taken = {source.identity: take_in(source, config.limits(today), cache, scratch) for source in sources}
    return Admitted(
        names={source.identity: source.name for source in sources},
        verdicts={identity: verdict for identity, (verdict, _) in taken.items()},
        clean={identity: path for identity, (verdict, path) in taken.items() if verdict.accepted},
    )


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
    accepted = [admitted.verdicts[identity] for identity in admitted.clean]
    rows = dataset.gathered(list(admitted.clean.values()), accepted)
    bounds = split.boundaries(rows["time"], config.split, config.train, config.validate, config.label_maturity_days)
    parted = dataset.parted(rows, bounds)
    counts = dataset.counts(parted)
    _refuse_unlearnable(counts, config)
    fitted = schema.fit(parted.filter(pl.col("split") == split.TRAIN))
    nodes = dataset.write(parted, fitted, folder / "transactions.parquet")
    profiled = _profiled(parted, [admitted.clean[name] for name in fresh if name in admitted.clean], reference)
    described = nodes | {
        "format": FORMAT,
        "rows": len(rows),
        "splits": counts,
        "boundaries": asdict(bounds),
        "first": int(rows["time"][0]),
        "last": int(rows["time"][-1]),
        "config": asdict(config),
        "schema_sha256": fitted.sha256,
        "data_sha256": _data_sha256(accepted),
    }
    storage.write_bytes(str(folder / "schema.json"), fitted.dumps())
    storage.write_json(str(folder / "profile.json"), profiled)
    storage.write_json(str(folder / "dataset.json"), described)
    integrity.write_manifest(folder)
    told = {admitted.names[identity]: verdict for identity, verdict in admitted.verdicts.items()}
    return Prepared(folder, described, profiled, told)


def local_sources(files: Sequence[str | Path]) -> list[Source]:
    """Sources for local files, numbered; a file given twice is found out by its rows."""
    return [Source(str(file), f"{number:06d}", str(file)) for number, file in enumerate(files)]


def _refuse_admission(admitted: Admitted, fresh: Sequence[str], config: PreprocessConfig) -> None:
    bad = [
        f"{admitted.names[identity]}: {admitted.verdicts[identity].problems[0].sentence()}"
        for identity in fresh
        if not admitted.verdicts[identity].accepted
    ]
    if bad and config.strict:
        raise Refused(f"a file is bad and the model is strict: {bad[0]}")
    # A run without new objects was asked for by a person or by the night: it learns again from what there is.
    if not admitted.clean or (fresh and len(bad) == len(fresh)):
        raise Refused(f"nothing new was accepted ({len(bad)} objects): {'; '.join(bad[:3])}")


def _refuse_unlearnable(counts: Mapping[str, Mapping[str, int]], config: PreprocessConfig) -> None:
    learnable = {name: part for name, part in counts.items() if name != "immature"}
    rows = sum(part["rows"] for part in learnable.values())
    if rows < config.min_rows:
        raise Refused(f"too few rows: {rows} with known labels, at least {config.min_rows} are needed")
    for name, part in learnable.items():
        told = f"the {name} split has {part['rows']} rows and {part['frauds']} frauds"
        if part["frauds"] < config.min_frauds:
            raise Refused(f"{told}; at least {config.min_frauds} are needed", {"splits": counts})
        if part["frauds"] == part["rows"]:
            raise Refused(f"{told}: one class only", {"splits": counts})


def _profiled(rows: pl.LazyFrame, fresh: Sequence[Path], reference: Mapping[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = {"format": profile.FORMAT, "columns": profile.profile(rows), "drift": {}}
    if reference is not None:
        found["drift"] = profile.drift(scan(list(fresh)) if fresh else rows, reference["columns"])
    return found


def _data_sha256(verdicts: Sequence[ValidationResult]) -> str:
    """One digest for the accepted contents, whatever order they came in."""
    return integrity.sha256_bytes("\n".join(sorted(verdict.sha256 for verdict in verdicts)).encode())


def preprocess(order: StageRequest, today: date | None = None) -> StageResult:
    """The stage: the manifest's objects become `dataset`, `profile` and `objects` under the launch's `output_uri`."""
    config = configured(order.parameters)
    entries = storage.read_json(order.inputs["manifest"])["objects"]
    sources = [manifest.source(entry) for entry in entries]
    new = {source.identity for source, entry in zip(sources, entries, strict=True) if entry["new"]}
    objects = storage.join(order.output_uri, "objects.json")
    with tempfile.TemporaryDirectory(prefix="fraudloop-preprocess-") as scratch:
        now = today or datetime.now(UTC).date()
        admitted = admit(sources, config, today=now, scratch=Path(scratch), cache=_cache(order))
        verdicts = [admitted.verdicts[source.identity] for source in sources]
        storage.write_json(objects, [manifest.told(*pair) for pair in zip(entries, verdicts, strict=True)])
        try:
            made = build(admitted, Path(scratch) / "dataset", config, new=new, reference=_champion_profile(order))
        except Refused as refusal:
            tally = _tally(admitted, new)
            details = dict(refusal.result.details) | tally
            raise Refused(refusal.reason, details, {"objects": objects}, _counted(tally)) from refusal
        uri = storage.join(order.output_uri, "dataset")
        storage.upload_folder(made.folder, uri, intermediate=True)
    outputs = {"dataset": uri, "profile": storage.join(uri, "profile.json"), "objects": objects}
    tally = _tally(admitted, new)
    return StageResult(outputs, _metrics(made) | _counted(tally), tally | {"splits": made.dataset["splits"]})


def _cache(order: StageRequest) -> str | None:
    """`cache/<model>/<schema hash>` beside `runs/`; none if the launch writes elsewhere."""
    root, runs, _ = order.output_uri.partition("/runs/")
    return storage.join(root, "cache", order.model, schema.definition()[:16]) if runs else None


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
    parts = {f"{name}_frauds": float(part["frauds"]) for name, part in made.dataset["splits"].items()}
    return {"rows": float(made.dataset["rows"]), **parts, "max_drift": max(made.profile["drift"].values(), default=0.0)}
