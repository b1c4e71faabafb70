"""The Kubernetes API: one Argo CD Application, a Service's pods, what the caller may do. Vendor errors stop here.

Objects are read as JSON, not as the client's models: those refuse what the API server sends (`endpoints: null`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from statemachine.contracts.errors import Conflict, Misconfigured, OperationRefused, Unreachable

GROUP, VERSION, PLURAL = "argoproj.io", "v1alpha1", "applications"
SERVICE_LABEL = "kubernetes.io/service-name"
PORT = "http"
PATIENCE = (5.0, 15.0)  # seconds to connect, to read
FIELD_MANAGER = "fraudloop"
HOPELESS = frozenset({400, 405, 413, 415, 422})
DENIED = frozenset({401, 403, 404})

Json = Mapping[str, Any]


class ApiDenied(Unreachable):
    """401, 403 or 404. An API server says so for minutes after a restart, too: it is final only if it persists."""


@dataclass(frozen=True)
class Pod:
    """A pod that answers, and where: `host:port`."""

    name: str
    address: str


@dataclass(frozen=True)
class Right:
    """A permission. `namespace` is "" for cluster-scoped resources; `name` "" means any."""

    verb: str
    resource: str
    namespace: str = ""
    group: str = ""
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        obj = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        named = f" {self.name}" if self.name else ""
        return f"{self.verb} {obj}{named}" + (f" in {self.namespace}" if self.namespace else "")


def connect(url: str = "", *, in_pod: bool = False) -> client.ApiClient:
    """By `url` (plain HTTP: the local system), else by the pod's service account or the person's kubeconfig.

    Raises:
        Misconfigured: there is neither.
    """
    configuration = client.Configuration()
    try:
        if url:
            configuration.host = url
        elif in_pod:
            config.load_incluster_config(configuration)
        else:
            config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as error:
        other = "a pod's service account" if in_pod else "a kubeconfig"
        raise Misconfigured(f"neither KUBERNETES_API_URL nor {other}: {error}") from error
    configuration.retries = False
    return client.ApiClient(configuration)


@dataclass(frozen=True)
class Applications:
    """One Argo CD Application, read and changed.

    Every method raises Unreachable, ApiDenied or OperationRefused; `patch` also Conflict.
    """

    api: client.ApiClient
    namespace: str
    name: str

    def read(self) -> Json:
        """The Application now."""
        with translated(f"reading {self._what}"):
            found: Json = self._objects.get_namespaced_custom_object(*self._path, _request_timeout=PATIENCE)
        return found

    def patch(self, patch: Json) -> None:
        """A merge patch under our field manager; a field that the server does not know is an error."""
        with translated(f"changing {self._what}"):
            self._objects.patch_namespaced_custom_object(
                *self._path,
                dict(patch),
                field_manager=FIELD_MANAGER,
                field_validation="Strict",
                _request_timeout=PATIENCE,
            )

    @property
    def _what(self) -> str:
        return f"Application {self.namespace}/{self.name}"

    @property
    def _path(self) -> tuple[str, str, str, str, str]:
        return GROUP, VERSION, self.namespace, PLURAL, self.name

    @property
    def _objects(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self.api)


def pods_of(api: client.ApiClient, namespace: str, service: str) -> list[Pod]:
    """The pods behind a headless Service that serve and are not about to end, each once.

    Not `ready`: with publishNotReadyAddresses that is true of pods that start or end, too. Raises as `Applications`.
    """
    label = f"{SERVICE_LABEL}={service}"
    with translated(f"listing the pods of Service {namespace}/{service}"):
        slices = client.CustomObjectsApi(api).list_namespaced_custom_object(
            "discovery.k8s.io", "v1", namespace, "endpointslices", label_selector=label, _request_timeout=PATIENCE
        )["items"]
    found: dict[str, Pod] = {}
    for entry in slices:
        for pod in _serving(entry):
            found.setdefault(pod.name, pod)  # a dual-stack Service lists each pod twice
    return list(found.values())


def _serving(entry: Json) -> Iterator[Pod]:
    port = next((port.get("port") for port in entry.get("ports") or () if port.get("name") == PORT), None)
    for endpoint in entry.get("endpoints") or ():
        conditions = endpoint.get("conditions") or {}
        # discovery/v1: an unknown `serving` is to be read as true, an unknown `terminating` as false.
        if port is not None and conditions.get("serving") is not False and not conditions.get("terminating"):
            address = endpoint["addresses"][0]
            name = (endpoint.get("targetRef") or {}).get("name") or address
            yield Pod(name, host_port(address, port))


def host_port(address: str, port: int) -> str:
    """`host:port`, with the brackets that an IPv6 address needs in a URL."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def allowed(api: client.ApiClient, right: Right) -> bool:
    """Whether the caller has this right (SelfSubjectAccessReview). Raises as `Applications`."""
    attributes = {name: value for name, value in vars(right).items() if value}
    review = {"spec": {"resourceAttributes": attributes}}
    with translated(f"asking for the right to {right}"):
        answer = client.AuthorizationV1Api(api).create_self_subject_access_review(review, _request_timeout=PATIENCE)
    return bool(answer.status.allowed)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turns the client's errors into ours; `doing` begins the message."""
    try:
        yield
    except ApiException as error:
        message = f"{doing}: the Kubernetes API answers {error.status} {error.reason}: {error.body}"[:500]
        if error.status == 409:
            raise Conflict("resourceVersion", message) from error
        if error.status in DENIED:
            raise ApiDenied(message) from error
        raise (OperationRefused if error.status in HOPELESS else Unreachable)(message) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable(f"{doing}: the Kubernetes API is unreachable: {error}") from error
