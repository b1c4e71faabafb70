"""An operator's deployment of a version: pointer, owner and a higher generation in one write, then a sync."""

import time
from typing import Any

from cli.migration.phases.environment import Environment
from cli.migration.phases.release import applications
from clients.kubernetes import Applications
from statemachine.contracts.errors import Conflict, Misconfigured, Unreachable
from training.deployment.argocd import GENERATION, OWNER, Application

PERSON = "person"  # the owner during an operator's deployment
PATIENCE = 120.0  # seconds until a restarted API server answers with its RBAC rules loaded


def deployed(world: Environment, version: str) -> bool:
    """Whether the pointer names the version and our sync is running or has succeeded.

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
    """Move the pointer if needed, wait for other operations, and request our sync. The generation fences the loop off.

    The call can be repeated.

    Raises:
        Misconfigured: another operation does not end in time.
        Unreachable, Conflict: for too long the API did not answer, denied access, or the Application kept changing.
    """
    there = applications(world)
    failing_since: float | None = None

    def look() -> bool | None:
        nonlocal failing_since
        try:
            done = _stepped(there, version)
            failing_since = None
        except (Conflict, Unreachable):  # another write came first, or its outcome is unknown: read again
            failing_since = time.monotonic() if failing_since is None else failing_since
            if time.monotonic() - failing_since > min(world.wait, PATIENCE):
                raise
            return None
        return done or None

    late = "another operation of Argo CD does not end: `argocd app terminate-op triton-fraud`"
    world.poll(look, lambda: Misconfigured(late))


def _stepped(there: Applications, version: str) -> bool:
    """Read once and write at most once, on the condition of that reading; True once our sync is requested."""
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
    """Return the correlation id of this deployment. It contains the generation, so a repeated call knows its own
    sync.
    """
    return f"by-hand-{live.generation}"
