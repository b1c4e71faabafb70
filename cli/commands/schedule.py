"""`schedule`: who keeps the night, EventBridge Scheduler or a KFP recurring run; never both."""

import warnings
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.commands.recurring import NIGHT, PIPELINE, EventBridge, NoNightly, Schedules
from cli.connection import application, known
from cli.output import Json, console, emit, table
from statemachine.bootstrap import App
from statemachine.contracts.errors import Misconfigured, Unknown

schedule = typer.Typer(help="Who keeps the night: EventBridge (default) or KFP. Never both.", no_args_is_help=True)
NIGHTLY = "fraudloop-night"  # the output FraudloopNightlySchedule names a stack's own
Name = Annotated[str, typer.Option("--nightly", help="The EventBridge schedule.", envvar="FRAUDLOOP_NIGHTLY_SCHEDULE")]
Without = Annotated[bool, typer.Option("--no-nightly", help="This deployment has no EventBridge schedule.")]


@schedule.command("list")
def show(nightly: Name = NIGHTLY, no_nightly: Without = False, as_json: Json = False) -> None:
    """Show both schedulers."""
    both = _schedules(application(), nightly, no_nightly)
    try:
        fires = both.nightly.enabled()
    except Unknown:
        fires = False
    found = [asdict(each) for each in both.all()]
    if as_json:
        return emit({"eventbridge": {"name": nightly, "enabled": fires}, "kfp": found})
    rows = [["EventBridge", nightly, "", "fires" if fires else "off"]]
    rows += [["KFP", each["name"], each["cron"], "fires" if each["enabled"] else "paused"] for each in found]
    console.print(table("the night", ["kept by", "name", "cron", ""], rows))
    return None


@schedule.command("kfp")
def use_kfp(
    model: Annotated[str, typer.Argument(help="A model of fraudloop.toml.")] = "fraud",
    cron: Annotated[str, typer.Option(help="Six fields, seconds first, or @daily; UTC.")] = NIGHT,
    nightly: Name = NIGHTLY,
    no_nightly: Without = False,
    as_json: Json = False,
) -> None:
    """Let KFP keep the schedule: one recurring run of the end-to-end pipeline; EventBridge's is switched off first.

    Its deploy step refuses while the Argo CD Application says that the controller owns it. Run again to change it.
    """
    app = application()
    version = app.settings.definitions.get(PIPELINE)
    if not version:
        raise Misconfigured(f"FRAUDLOOP_DEFINITIONS does not name {PIPELINE}; `make build` writes that file")
    made = _schedules(app, nightly, no_nightly).use_kfp(version, arguments(app, model), cron)
    if as_json:
        return emit(asdict(made))
    console.print(
        f"KFP keeps the night: {made.cron} (seconds first, UTC); set NightlyState=DISABLED in samconfig.toml too"
    )
    return None


@schedule.command("eventbridge")
def use_eventbridge(nightly: Name = NIGHTLY) -> None:
    """Let EventBridge keep the schedule: KFP's recurring runs are deleted first."""
    _schedules(application(), nightly, False).use_eventbridge()
    console.print(f"EventBridge keeps the night: {nightly} fires; set NightlyState=ENABLED in samconfig.toml too")


@schedule.command()
def pause(nightly: Name = NIGHTLY) -> None:
    """Stop KFP's recurring run from firing."""
    _schedules(application(), nightly, False).pause()
    console.print("paused; `fraudloop schedule resume` goes on, and what was missed is not caught up")


@schedule.command()
def resume(nightly: Name = NIGHTLY, no_nightly: Without = False) -> None:
    """Let KFP's recurring run fire again."""
    made = _schedules(application(), nightly, no_nightly).resume()
    console.print(f"resumed: {made.cron}")


def arguments(app: App, model: str) -> dict[str, Any]:
    """The parameters of the end-to-end pipeline's nightly run."""
    policy, item = app.policies[known(app, model)], app.store.model(model)
    serving = policy.serving
    told = {f"{stage}_parameters": dict(table) for stage, table in app.intake.parameters(model, item).items()}
    return {
        "data_uri": f"s3://{app.settings.data_bucket}/{policy.prefix}",
        "output_uri": f"{policy.root}/",
        "model": model,
        "gate": {name: _plain(value) for name, value in vars(policy.gate).items()},
        "deploy_parameters": {
            "application": serving.application,
            "application_namespace": serving.application_namespace,
            "namespace": serving.namespace,
            "service": serving.service,
            "timeout_seconds": serving.timeout_seconds,
        },
        **{name: value for name, value in told.items() if name.split("_")[0] in STAGES},
    }


STAGES = ("preprocess", "train", "evaluate", "export")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if hasattr(value, "items") else value


def _schedules(app: App, nightly: str, without: bool) -> Schedules:
    import kfp

    settings = app.settings
    if not settings.kfp_url:
        raise Misconfigured("FRAUDLOOP_KFP_URL is not set: where KFP's API answers, an output of the stack")
    with warnings.catch_warnings():  # kfp tells each client that it needs KFP 2
        warnings.simplefilter("ignore", FutureWarning)
        client = kfp.Client(
            host=settings.kfp_url,
            namespace=settings.kfp_namespace or "kubeflow",
            existing_token=settings.kfp_token or None,
            ssl_ca_cert=settings.kfp_ca or None,
        )
    nightly_schedule = NoNightly() if without else EventBridge(app.client("scheduler"), nightly)
    return Schedules(
        client, settings.kfp_experiment, nightly_schedule, settings.kfp_namespace, settings.kfp_service_account
    )


def register(app: typer.Typer) -> None:
    """Add this group."""
    app.add_typer(schedule, name="schedule", rich_help_panel="Production")
