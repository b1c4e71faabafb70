"""`fraudloop train`: runs the stages on local files without the controller, by the components' own functions."""

import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from statemachine.contracts.gate import GatePolicy, gate
from training import storage
from training.data.declared import table_of
from training.data.preprocess import configured, prepare
from training.evaluation.evaluate import EvaluateConfig, measured, pages_of, score, write
from training.export import export
from training.model.checkpoint import StoredCheckpoints
from training.model.config import TrainConfig
from training.model.fit import Progress
from training.model.train import train_model
from training.outcome import Permanent

RUN = "local"


def run(
    files: Sequence[str | Path],
    out: str | Path,
    split: str = "quantiles",
    config: str | Path | None = None,
    progress: Progress | None = None,
    data: str | None = None,
    labels: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Validate, split, train, evaluate and export. All output is in `out`; a killed run continues from there.

    `config` names a TOML or JSON file with tables `data`, `preprocess`, `train`, `evaluate` and `gate`, as in
    fraudloop.toml; `data` a preset, or a file with the table that declares the columns; `labels` files of reports.
    Returns the metrics, the baselines, the verdict and the paths of the output.
    """
    folder, say, settings = Path(out), progress or _print_progress, _settings(config)
    say("preprocess", {"files": len(files)})
    table = table_of(data) if data else settings.get("data")
    columns = {} if table is None else {"data": table}
    wanted = configured({"split": split} | columns | settings.get("preprocess", {}))
    made = prepare(files, folder / "dataset", wanted, today=datetime.now(UTC).date(), labels=labels)
    for warning in made.dataset["warnings"]:
        say(f"warning: {warning}", {})
    say("split", {f"{name}_frauds": part["frauds"] for name, part in made.dataset["splits"].items()})
    trained = TrainConfig.from_dict(settings.get("train", {}))
    model = train_model(made.folder, trained, StoredCheckpoints(str(folder / "checkpoints")), say)
    model.save(folder / "model")
    judging = EvaluateConfig.from_dict(settings.get("evaluate", {}) | {"gate": settings.get("gate", {})})
    scored = score(model, made.folder, {}, judging)
    evaluation = measured(model, made.folder, scored, judging)
    say("evaluated", {name: evaluation["metrics"][name] for name in ("auc_roc", "average_precision")})
    pages = write(str(folder), evaluation, pages_of(RUN, model, made.folder, evaluation, scored, judging))
    repository = _exported(folder, made.folder)
    say("exported", {})
    verdict = gate(evaluation, GatePolicy.from_dict(settings.get("gate", {})))
    metrics = {"metrics": evaluation["metrics"], "baselines": evaluation["baselines"]}
    return metrics | {"passed": verdict.passed, "reason": verdict.reason, "repository": str(repository), **pages}


def _exported(folder: Path, dataset: Path) -> Path:
    """Write the Triton repository of the model in `folder` and return it."""
    made = folder / "version"
    version = export.build(made, folder / "model", dataset, RUN)
    for name, source in (("evaluation", folder), ("profile", dataset)):
        storage.download(str(source / f"{name}.json"), made / f"{name}.json")
    target = folder / "models" / version
    export.publish(made, str(target))
    return target


def _settings(config: str | Path | None) -> Mapping[str, Any]:
    if config is None:
        return {}
    path = Path(config)
    read = tomllib.loads if path.suffix == ".toml" else json.loads
    try:
        settings: dict[str, Any] = read(path.read_text())
    except OSError as error:
        raise Permanent(f"the configuration {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Permanent(
            f"the configuration {path} is not {'TOML' if read is tomllib.loads else 'JSON'}: {error}"
        ) from error
    known = ("data", "preprocess", "train", "evaluate", "gate")
    if unknown := sorted(set(settings) - set(known)):
        raise Permanent(f"{path}: unknown {', '.join(unknown)}; it may have tables {', '.join(known)}")
    return settings


def _print_progress(event: str, metrics: Mapping[str, float]) -> None:
    """Print one line per step to stderr; the result goes to stdout."""
    print(event, *(f"{name}={value:.4g}" for name, value in metrics.items()), file=sys.stderr)  # noqa: T201 — progress, on standard error
