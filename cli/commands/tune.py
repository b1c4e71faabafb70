"""`tune`: the search for better training parameters, on Katib or on this machine, and their adoption."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from cli.connection import application, known, whoami
from cli.output import Json, console, emit, table
from statemachine.bootstrap import App
from statemachine.contracts.errors import OperationRefused, Unknown
from statemachine.contracts.stage import Stage

Model = Annotated[str, typer.Argument(help="A model of fraudloop.toml.")]
TUNED = "train"


def tune(
    model: Model = "fraud",
    local: Annotated[bool, typer.Option("--local", help="Search on this machine with Optuna, not on Katib.")] = False,
    run: Annotated[str, typer.Option(help="Tune on this run's data set; the last one that has one if not given.")] = "",
    dataset: Annotated[str, typer.Option(help="A data set: a folder, or a preprocess stage's s3:// output.")] = "",
    trials: Annotated[int, typer.Option(help="At most so many.")] = 15,
    parallel: Annotated[int, typer.Option(help="Trials at a time (Katib).")] = 3,
    failed: Annotated[int, typer.Option(help="Give up when more than so many trials have failed.")] = 3,
    algorithm: Annotated[str, typer.Option(help="Katib's suggestion algorithm.")] = "tpe",
    settings: Annotated[str, typer.Option(help="Other training settings of the trials, as JSON.")] = "{}",
    namespace: Annotated[str, typer.Option(help="Where Katib runs the trials.")] = "kubeflow",
    show_manifest: Annotated[bool, typer.Option("--manifest", help="Print the Experiment, submit nothing.")] = False,
    poll: Annotated[float, typer.Option(help="Seconds between two looks at Katib.")] = 10.0,
    adopt: Annotated[bool, typer.Option("--adopt", help="The next run trains with what was found.")] = False,
    why: Annotated[str, typer.Option("--why", help="The reason, for the record.")] = "tuned",
    as_json: Json = False,
) -> None:
    """Search learning rate, hidden dim and dropout for the best validation AUC.

    Example: `fraudloop tune fraud --local --trials 6 --adopt`
    """
    from training.model.config import TrainConfig

    given, app = _object(settings), None if dataset and not adopt else application()
    if app:
        known(app, model)
    if dataset and "://" not in dataset and not Path(dataset).is_dir():
        raise Unknown(f"there is no folder {dataset}; name a data set, as `fraudloop train` leaves in OUT/dataset")
    found_in = dataset or _dataset(_need(app), model, run)
    told = {**(_told(app, model) if app else {}), **given}
    config = TrainConfig.from_dict(told)
    if local:
        optimum, tried = _locally(found_in, config, trials, failed, quiet=as_json)
    else:
        from training.tuning.experiment import Budget

        budget = Budget(parallel, trials, failed)
        manifest = _manifest(model, found_in, config, namespace, budget, algorithm)
        if show_manifest:
            return emit(manifest)
        optimum, tried = _on_katib(manifest, namespace, poll, quiet=as_json), ()
    result = {"dataset": found_in, "optimum": asdict(optimum), "trials": [asdict(trial) for trial in tried]}
    if adopt:
        result["adopted"] = _adopt(_need(app), model, optimum.parameters, result, why)
    return _tell(result, as_json)


def _object(settings: str) -> dict[str, Any]:
    try:
        return dict(json.loads(settings))
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(f"not a JSON object: {error}", param_hint="--settings") from error


def _need(app: App | None) -> App:
    return app or application()


def _told(app: App, model: str) -> Mapping[str, Any]:
    return app.intake.parameters(model, app.store.model(model)).get(TUNED, {})


def _dataset(app: App, model: str, run_id: str) -> str:
    """The data set of a run that was preprocessed. Raises `OperationRefused`."""
    runs = [app.store.run(run_id)] if run_id else app.store.runs(model)
    found = next((uri for run in runs if (uri := run.output(Stage.PREPROCESS, "dataset"))), "")
    if not found:
        raise OperationRefused(f"no run of {model} has a data set yet; start one, or name a folder by --dataset")
    return found


def _locally(dataset: str, config: Any, trials: int, failed: int, *, quiet: bool) -> tuple[Any, Any]:
    from training.tuning.search import search
    from training.tuning.space import OBJECTIVE
    from training.tuning.trial import score

    seen: list[list[str]] = []
    with Live(console=console, refresh_per_second=2, transient=quiet) as live:

        def show(trial: Any) -> None:
            value = trial.reason if trial.value is None else f"{trial.value:.4f}"
            seen.append(
                [str(trial.number) if trial.number else "default", *map(_short, trial.parameters.values()), value]
            )
            if not quiet:
                live.update(table("trials", ["trial", *map(str, trial.parameters), f">{OBJECTIVE}"], seen))

        return search(
            lambda tried: score(dataset, tried)[OBJECTIVE],
            config,
            trials=trials,
            seed=config.seed,
            show=show,
            failed=failed,
        )


def _manifest(model: str, dataset: str, config: Any, namespace: str, budget: Any, algorithm: str) -> dict[str, Any]:
    from training.pipelines.settings import read_settings
    from training.tuning.experiment import TrialPlacement, experiment

    name = f"{model[:20]}-tune-{int(time.time())}"
    placement = TrialPlacement(namespace=namespace)
    return experiment(name, dataset, config, read_settings(), placement=placement, budget=budget, algorithm=algorithm)


def _on_katib(manifest: Mapping[str, Any], namespace: str, poll: float, *, quiet: bool) -> Any:
    from training.tuning.katib import Katib, optimum

    katib = Katib(_kubernetes(), namespace)
    name = katib.submit(manifest)
    with Live(console=console, transient=quiet) as live:
        for standing in katib.follow(name, poll):
            if not quiet:
                live.update(_standing(name, standing))
    return optimum(name, standing)


def _standing(name: str, standing: Any) -> Table:
    best = ", ".join(f"{k} {v}" for k, v in standing.best.items()) or "–"
    counts = [standing.trials, standing.running, standing.succeeded, standing.failed]
    value = "–" if standing.value is None else f"{standing.value:.4f}"
    return table(
        name, [">trials", ">running", ">succeeded", ">failed", ">best", "with"], [[*map(str, counts), value, best]]
    )


def _kubernetes() -> Any:
    """By KUBERNETES_API_URL (plain HTTP), else by the caller's kubeconfig."""
    import os

    from clients import kubernetes

    return kubernetes.connect(os.environ.get("KUBERNETES_API_URL", ""))


def _adopt(app: App, model: str, found: Mapping[str, Any], result: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Keep the whole search in S3, and tell the next runs; returns the provenance."""
    item = app.store.model(model)
    number = int(item.parameters_from.get("number", 0)) + 1
    uri = f"{app.policies[model].root}/tuning/{model}/{number:04d}.json"
    provenance = {
        "number": number,
        "uri": uri,
        "who": whoami(app),
        "why": why,
        "at": time.time(),
        "from": result["optimum"]["source"],
        "dataset": result["dataset"],
        "value": result["optimum"]["value"],
        "default_value": result["optimum"]["default_value"],
    }
    app.files.write(uri, json.dumps({**result, "provenance": provenance}, indent=1).encode())
    tuned = {**dict(item.parameters), TUNED: {**dict(item.parameters.get(TUNED, {})), **found}}
    app.operations.adopt(model, tuned, provenance)
    return provenance


def _tell(result: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        return emit(result)
    optimum = result["optimum"]
    beside = f" (the defaults reach {optimum['default_value']:.4f})" if optimum["default_value"] is not None else ""
    settings = ", ".join(f"{name} = {_short(value)}" for name, value in optimum["parameters"].items())
    console.print(f"best of {optimum['trials']} trials: {optimum['value']:.4f}{beside} with {settings}")
    if adopted := result.get("adopted"):
        console.print(f"adopted as number {adopted['number']}: the next run trains with it ({adopted['uri']})")
    else:
        console.print("nothing was changed; `--adopt` makes the next run train with it")
    return None


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Models")(tune)
