"""Uses Katib through the Kubernetes API: submits an Experiment, follows its trials, reads the optimum."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client

from clients.kubernetes import ApiDenied, translated
from statemachine.contracts.errors import Conflict, OperationRefused, Unreachable
from training.tuning.experiment import GROUP, PLURAL, VERSION
from training.tuning.katib_validation import admit
from training.tuning.space import OBJECTIVE, Optimum, read_assignments

TIMEOUT = (5.0, 15.0)
SILENCE = 120.0  # seconds until a restarted API server answers with its RBAC rules loaded


@dataclass(frozen=True)
class Standing:
    """The progress of an Experiment. `best` are the settings of the best trial so far, as text, as Katib writes
    them.
    """

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
        """Create an Experiment and return its name.

        Raises:
            Misconfigured: Katib would refuse it.
            OperationRefused: the name exists, or the cluster's webhook refuses it.
            Unreachable: the answer was lost, or the API is unreachable.
        """
        admit(manifest)
        try:
            body = self._call(
                "create", lambda objects, where: objects.create_namespaced_custom_object(*where, dict(manifest))
            )
        except ApiDenied as error:
            raise OperationRefused(str(error)) from error
        return str(body["metadata"]["name"])

    def standing(self, name: str) -> Standing:
        """Return its progress. Raises OperationRefused, Unreachable."""
        try:
            return self._standing(name)
        except ApiDenied as error:
            raise OperationRefused(str(error)) from error

    def _standing(self, name: str) -> Standing:
        body = self._call("read", lambda objects, where: objects.get_namespaced_custom_object(*where, name))
        return _standing(body.get("status") or {})

    def follow(self, name: str, pause: float = 10.0, sleep: Callable[[float], None] = time.sleep) -> Iterator[Standing]:
        """Yield its progress at each change until it ends. Restarts of the API server are tolerated.

        Raises:
            OperationRefused, Unreachable: for two minutes the API denied access or did not answer.
        """
        last, silent = None, 0.0
        while True:
            try:
                now = self._standing(name)
            except Unreachable as error:
                silent += pause
                if silent > SILENCE:
                    if isinstance(error, ApiDenied):
                        raise OperationRefused(str(error)) from error
                    raise
                sleep(pause)
                continue
            silent = 0.0
            if now != last:
                yield now
            if now.over:
                return
            last = now
            sleep(pause)

    def _call(self, doing: str, call: Callable[[client.CustomObjectsApi, tuple[str, ...]], Any]) -> Any:
        objects = client.CustomObjectsApi(self.api)
        try:
            with translated(f"to {doing} the Experiment"):
                return call(objects, (GROUP, VERSION, self.namespace, PLURAL))
        except Conflict as error:
            raise OperationRefused(str(error)) from error


def optimum(name: str, standing: Standing) -> Optimum:
    """Return the best trial of the Experiment. Raises `OperationRefused` if there is none."""
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
