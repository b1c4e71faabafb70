"""Kubeflow Trainer's TrainJobs through the Kubernetes API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from clients.kubernetes import FIELD_MANAGER, PATIENCE, translated
from statemachine.contracts.errors import Conflict

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
ENDS = ("Complete", "Failed")  # pkg/apis/trainer/v1alpha1/trainjob_types.go


@dataclass(frozen=True)
class TrainJobs:
    """The TrainJobs of one namespace. Every method raises Unreachable, ApiDenied or OperationRefused."""

    api: client.ApiClient
    namespace: str

    def create(self, body: Mapping[str, Any]) -> None:
        """Submit one; one of this name that is there already is no error. A field that is unknown is one."""
        try:
            with translated(f"creating TrainJob {body['metadata']['name']}"):
                self._objects.create_namespaced_custom_object(
                    *self._where,
                    dict(body),
                    field_manager=FIELD_MANAGER,
                    field_validation="Strict",
                    _request_timeout=PATIENCE,
                )
        except Conflict:
            return

    def ended(self, name: str) -> tuple[str, str]:
        """`Complete` or `Failed` with the reason in words; "" while it runs."""
        with translated(f"reading TrainJob {name}"):
            found = self._objects.get_namespaced_custom_object(*self._where, name, _request_timeout=PATIENCE)
        conditions = (found.get("status") or {}).get("conditions") or ()
        true = {c.get("type"): c for c in conditions if c.get("status") == "True"}
        end = next((kind for kind in ENDS if kind in true), "")
        told = true.get(end, {})
        return end, f"{told.get('reason', '')}: {told.get('message', '')}".strip(": ")

    def delete(self, name: str) -> None:
        """Delete one with its pods; one that is gone is no error."""
        with translated(f"deleting TrainJob {name}"):
            try:
                self._objects.delete_namespaced_custom_object(
                    *self._where, name, propagation_policy="Background", _request_timeout=PATIENCE
                )
            except ApiException as error:
                if error.status != 404:
                    raise

    def named(self, label: str) -> list[str]:
        """The names of those with the label `key=value`."""
        with translated(f"listing TrainJobs with {label}"):
            found = self._objects.list_namespaced_custom_object(
                *self._where, label_selector=label, _request_timeout=PATIENCE
            )
        return [str(each["metadata"]["name"]) for each in found["items"]]

    @property
    def _where(self) -> tuple[str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURAL

    @property
    def _objects(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self.api)
