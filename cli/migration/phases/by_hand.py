"""A version deployed by a person: pointer, owner and a raised generation in one write, then a sync. Safe to repeat."""

import time
from typing import Any

from cli.migration.phases.environment import Environment
from cli.migration.phases.release import applications
from clients.kubernetes import Applications
from statemachine.contracts.errors import Conflict, Misconfigured, Unreachable
from training.deployment.argocd import GENERATION, OWNER, Application

PERSON = "person"  # the owner while somebody deploys by hand
PATIENCE = 120.0  # seconds in which an API server that was restarted answers again, and knows its rights


def deployed(world: Environment, version: str) -> bool:
    """Whether the pointer is there and a sync of ours is under way or has succeeded: a pointer alone serves nothing.

    Raises:
        Misconfigured: no version is named.
    """
    if not version:
        raise Misconfigured("say which version to go back to: --to VERSION (`fraudloop runs` lists them)")
    live = Application(applications(world).read())
    ours = _operation(live)
    done = not live.operating and live.last_operation_id == ours and live.succeeded
    return _pointed(live, version) and (live.operation_id == ours or done)


def deploy(world: Environment, version: str) -> None:
    """Move the pointer unless it is there, wait for others' operations, ask for our sync. The loop is fenced off by it.

    Raises:
        Misconfigured: another operation does not end in time.
        Unreachable, Conflict: the API was silent, denied or kept changing for too long.
    """
    there = applications(world)
    until, troubled = time.monotonic() + world.wait, None
    while True:
        try:
            if _stepped(there, version):
                return
            troubled = None
        except (Conflict, Unreachable):  # somebody was faster, or we do not know: the next reading tells
            troubled = time.monotonic() if troubled is None else troubled
            if time.monotonic() - troubled > min(world.wait, PATIENCE):
                raise
        if time.monotonic() > until:
            raise Misconfigured("another operation of Argo CD does not end: `argocd app terminate-op triton-fraud`")
        time.sleep(world.pause)


def _stepped(there: Applications, version: str) -> bool:
    """One reading and at most one write on condition of it; True once our sync is asked for."""
    live = Application(there.read())
    if not _pointed(live, version):
        there.patch(_pointing(live, version))
    elif live.operation_id == _operation(live):
        return True
    elif not live.operating:
        there.patch(live.syncing(_operation(live)))
        return True
    return False


def _pointed(live: Application, version: str) -> bool:
    return live.version == version and live.owner == PERSON


def _pointing(live: Application, version: str) -> dict[str, Any]:
    patch: dict[str, Any] = {**live.pointing(version, live.generation + 1)}
    patch["metadata"]["annotations"] = {GENERATION: str(live.generation + 1), OWNER: PERSON}
    return patch


def _operation(live: Application) -> str:
    """The correlation id of this deployment by hand: its generation names it, so a repetition knows its own sync."""
    return f"by-hand-{live.generation}"
