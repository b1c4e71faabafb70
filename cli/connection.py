"""Which system the command line speaks to: the stack or table that the environment names, else the local system."""

import os
from pathlib import Path

import boto3

from cli import stack
from local.state_dir import FOLDER, StateDir
from local.system import ROOT
from statemachine.bootstrap import App, bootstrap
from statemachine.contracts.errors import Misconfigured

NAMED = "FRAUDLOOP_TABLE"  # set for a deployment: then the environment is meant


def home() -> StateDir:
    """The state folder of the local system: FRAUDLOOP_HOME, else `.fraudloop` in the checkout."""
    return StateDir(Path(os.environ.get("FRAUDLOOP_HOME") or ROOT / FOLDER))


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
            f"no system to speak to: {NAMED} is not set, and no local system runs in {home().path}. "
            f"Start one with `fraudloop up`, or name a deployed stack by {stack.NAMED}."
        )
    return f"the local system in {home().path}"


def enter_local() -> bool:
    """Become a client of the local system, if one runs here and nothing else is named."""
    endpoints = None if os.environ.get(NAMED) or os.environ.get(stack.NAMED) else home().endpoints()
    if endpoints:
        endpoints.enter()
    return endpoints is not None


def application() -> App:
    """The wired system, connected."""
    connect()
    return bootstrap()


def whoami(app: App) -> str:
    """Who asks, from STS and not from `$USER`: anybody can set that."""
    return str(app.client("sts").get_caller_identity()["Arn"])
