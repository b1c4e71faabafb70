"""Katib through the Kubernetes API: submit an Experiment, follow its trials, read the optimum."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from statemachine.contracts.errors import OperationRefused, Unreachable
from training.tuning.experiment import GROUP, PLURAL, VERSION
from training.tuning.katib_validation import admit
from training.tuning.space import OBJECTIVE, Optimum, read_assignments

TIMEOUT = (5.0, 15.0)


@dataclass(frozen=True)
class Standing:
    """How far an Experiment is. `best` are the settings of the best trial so far, as Katib writes them: text."""

    trials: int
    running: int
    succeeded: int
    failed: int
    best: Mapping[str, str]
    value: float | None
    over: str = ""
    message: str = ""


@dataclass(frozen=True)
class Katib:
    """The Experiments of one namespace."""

    api: client.ApiClient
    namespace: str

    def submit(self, manifest: Mapping[str, Any]) -> str:
        """Create it and return its name.

        Raises:
            Misconfigured: Katib would refuse it.
            OperationRefused: one of this name exists, or the cluster's webhook says no.
            Unreachable: the answer was lost, or the API is away.
        """
        admit(manifest)
        body = self._call(
            "create", lambda objects, where: objects.create_namespaced_custom_object(*where, dict(manifest))
        )
        return str(body["metadata"]["name"])

    def standing(self, name: str) -> Standing:
        """How far it is."""
        body = self._call("read", lambda objects, where: objects.get_namespaced_custom_object(*where, name))
        return _standing(body.get("status") or {})

    def follow(self, name: str, pause: float = 10.0, sleep: Callable[[float], None] = time.sleep) -> Iterator[Standing]:
        """Its standing each time that it changes, until it is over."""
        last = None
        while True:
            now = self.standing(name)
            if now != last:
                yield now
            if now.over:
                return
            last = now
            sleep(pause)

    def _call(self, doing: str, call: Callable[[client.CustomObjectsApi, tuple[str, ...]], Any]) -> Any:
        objects = client.CustomObjectsApi(self.api)
        try:
            return call(objects, (GROUP, VERSION, self.namespace, PLURAL))
        except ApiException as error:
            if error.status in (400, 403, 404, 409, 422):
                raise OperationRefused(
                    f"Kubernetes will not {doing} the Experiment: {error.status} {error.body}"[:800]
                ) from error
            raise Unreachable(f"Kubernetes cannot {doing} the Experiment: {error.status} {error.reason}") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"the Kubernetes API is unreachable: {error}") from error


def optimum(name: str, standing: Standing) -> Optimum:
    """What the Experiment found. Raises `OperationRefused` if it found nothing."""
    if standing.over != "Succeeded" or standing.value is None:
        raise OperationRefused(f"Experiment {name} ended {standing.over or 'without an end'}: {standing.message}")
    return Optimum(read_assignments(standing.best), standing.value, standing.trials, None, f"Katib experiment {name}")


def _standing(status: Mapping[str, Any]) -> Standing:
    best = status.get("currentOptimalTrial") or {}
    metrics = (best.get("observation") or {}).get("metrics") or []
    conditions = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
    over = next((end for end in ("Failed", "Succeeded") if end in conditions), "")
    return Standing(
        trials=int(status.get("trials", 0)),
        running=int(status.get("trialsRunning", 0)),
        succeeded=int(status.get("trialsSucceeded", 0)),
        failed=int(status.get("trialsFailed", 0)),
        best={each["name"]: each["value"] for each in best.get("parameterAssignments") or ()},
        value=next((float(each["latest"]) for each in metrics if each["name"] == OBJECTIVE), None),
        over=over,
        message=str(conditions.get(over, {}).get("message", "")),
    )
