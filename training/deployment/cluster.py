"""The Kubernetes API and the Triton pods, as the deploy stage needs them. Vendor errors stop here."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from training.deployment.argocd import Application, Json
from training.outcome import Permanent, Transient

GROUP, VERSION, PLURAL = "argoproj.io", "v1alpha1", "applications"
SERVICE_LABEL = "kubernetes.io/service-name"
PORT = "http"
PATIENCE = (5.0, 15.0)  # seconds to connect, to read
HOPELESS = frozenset({400, 401, 403, 404, 415, 422})


class ClusterUnreachable(Transient):
    """We asked and got no answer, which says nothing about the world."""


class StaleResourceVersion(Exception):
    """A conditional write lost: the Application has changed since it was read."""


@dataclass(frozen=True)
class Pod:
    """A ready pod of the headless service and where it answers, `host:port`."""

    name: str
    address: str


class Cluster(Protocol):
    """One Application and the pods behind it."""

    def application(self) -> Application:
        """The Application now. Raises ClusterUnreachable if it cannot be read, Permanent if that will not change."""

    def patch(self, patch: Json) -> None:
        """A merge patch. Raises StaleResourceVersion, ClusterUnreachable or Permanent."""

    def pods(self) -> list[Pod]:
        """The pods that take requests and are not about to end."""


class Kubernetes:
    """`Cluster` by the pod's own service account, or by `KUBERNETES_API_URL` (plain HTTP: the local system)."""

    def __init__(self, application: str, application_namespace: str, namespace: str, service: str) -> None:
        self._name = (GROUP, VERSION, application_namespace, PLURAL, application)
        self._namespace, self._service = namespace, service
        api = client.ApiClient(_configuration())
        self._objects = client.CustomObjectsApi(api)
        self._discovery = client.DiscoveryV1Api(api)

    def application(self) -> Application:
        """The Application now."""
        with self._translated("reading"):
            body: Any = self._objects.get_namespaced_custom_object(*self._name, _request_timeout=PATIENCE)
        return Application(body)

    def patch(self, patch: Json) -> None:
        """A merge patch; a field that the server does not know is an error, not a shrug."""
        with self._translated("changing"):
            self._objects.patch_namespaced_custom_object(
                *self._name,
                dict(patch),
                field_manager="fraudloop",
                field_validation="Strict",
                _request_timeout=PATIENCE,
            )

    def pods(self) -> list[Pod]:
        """The pods in the service's EndpointSlices that are ready and not terminating."""
        with self._translated("listing the pods of"):
            slices = self._discovery.list_namespaced_endpoint_slice(
                self._namespace, label_selector=f"{SERVICE_LABEL}={self._service}", _request_timeout=PATIENCE
            ).items
        return [pod for entry in slices for pod in _ready(entry)]

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        what = f"{doing} Application {self._name[2]}/{self._name[4]}"
        try:
            yield
        except ApiException as error:
            if error.status == 409:
                raise StaleResourceVersion(what) from error
            kind = Permanent if error.status in HOPELESS else ClusterUnreachable
            raise kind(
                f"{what}: the Kubernetes API answers {error.status} {error.reason}: {error.body}"[:500]
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterUnreachable(f"{what}: the Kubernetes API is unreachable: {error}") from error


def _configuration() -> client.Configuration:
    configuration = client.Configuration()
    if url := os.environ.get("KUBERNETES_API_URL"):
        configuration.host = url
    else:
        try:
            config.load_incluster_config(configuration)
        except config.ConfigException as error:
            raise Permanent(f"neither KUBERNETES_API_URL nor a pod's service account: {error}") from error
    configuration.retries = False
    return configuration


def _ready(entry: client.V1EndpointSlice) -> Iterator[Pod]:
    port = next((port.port for port in entry.ports or [] if port.name == PORT), None)
    for endpoint in entry.endpoints or []:
        conditions = endpoint.conditions
        # An unknown `ready` counts as ready: that is how the API defines it.
        if port is not None and conditions.ready is not False and not conditions.terminating:
            name = endpoint.target_ref.name if endpoint.target_ref else endpoint.addresses[0]
            yield Pod(name, f"{endpoint.addresses[0]}:{port}")
