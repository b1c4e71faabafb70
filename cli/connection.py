"""Which system the command line speaks to: the stack or table that the environment names, else the local system."""

import os
from pathlib import Path

import boto3

from cli import stack
from local.state_dir import DEMO, FOLDER, StateDir
from local.system import ROOT
from statemachine.bootstrap import App, bootstrap
from statemachine.contracts.errors import Misconfigured, Unknown

NAMED = "FRAUDLOOP_TABLE"  # set for a deployment: then the environment is meant


def home() -> StateDir:
    """The state folder of the local system: FRAUDLOOP_HOME, else `.fraudloop` in the checkout."""
    return StateDir(Path(os.environ.get("FRAUDLOOP_HOME") or ROOT / FOLDER))


def demo_home() -> StateDir:
    """The demo's own state folder, beside the other one, which a demo leaves alone."""
    beside = home().path
    return StateDir(beside.with_name(beside.name + DEMO))


def running_home() -> StateDir:
    """The folder of the local system that runs: the usual one's, or else the demo's."""
    return demo_home() if not home().running() and demo_home().running() else home()


def connect() -> str:
    """Make this process speak to the right system; says which one that is.

    FRAUDLOOP_STACK names a deployed stack, whose outputs are the settings; variables that are set already count more.

    Raises:
        Misconfigured: no deployment is named and no local system runs.
    """
    if name := os.environ.get(stack.NAMED):
        told = stack.settings(name, boto3.client("cloudformation"))
        os.environ.update({variable: value for variable, value in told.items() if not os.environ.get(variable)})
    if os.environ.get(NAMED):
        return f"{os.environ[NAMED]} at {os.environ.get('AWS_ENDPOINT_URL') or 'AWS'}"
    if not enter_local():
        raise Misconfigured(
            f"no local system runs in {home().path}, and {stack.NAMED} names no deployed stack. "
            f"Start one with `fraudloop up`{_or_the_demo()}, or set {stack.NAMED}."
        )
    return f"the local system in {running_home().path}"


def enter_local() -> bool:
    """Become a client of the local system, if one runs here and nothing else is named."""
    endpoints = None if os.environ.get(NAMED) or os.environ.get(stack.NAMED) else running_home().endpoints()
    if endpoints:
        endpoints.enter()
    return endpoints is not None


def _or_the_demo() -> str:
    return ", or what the last demo made with `fraudloop up --demo`" if demo_home().exists() else ""


def local_home() -> StateDir | None:
    """The folder of the local system that commands speak to; None where the environment names a deployment."""
    return None if os.environ.get(NAMED) or os.environ.get(stack.NAMED) else running_home()


def application() -> App:
    """The wired system, connected."""
    connect()
    return bootstrap()


def known(app: App, model: str) -> str:
    """The model's name. Raises `Unknown` if fraudloop.toml does not name it."""
    if model not in app.policies:
        raise Unknown(f"there is no model {model!r}; fraudloop.toml names {', '.join(app.policies)}")
    return model


def whoami(app: App) -> str:
    """Who asks, from STS and not from `$USER`: anybody can set that."""
    return str(app.client("sts").get_caller_identity()["Arn"])
