"""The cluster rights that `phase check`, `phase undo` and `doctor` use. `doctor` checks each of them first."""

from cli.migration.phases.environment import Environment
from clients.kubernetes import GROUP, PLURAL, Right


def rights(world: Environment) -> list[Right]:
    """Return all needed rights. A test compares them with the requests that are sent."""
    serving = world.app.policies[world.model].serving
    pipelines, monitoring = world.namespace, world.monitoring
    return [
        *(Right(verb, "pods", pipelines) for verb in ("list", "create", "get", "delete")),
        Right("get", "pods", pipelines, subresource="log"),
        Right("get", "services", pipelines, subresource="proxy", name="ml-pipeline-ui:80"),
        Right("get", "services", monitoring, subresource="proxy", name="prometheus:9090"),
        Right("get", "nodes"),
        *(Right(verb, "namespaces", name=pipelines) for verb in ("get", "delete")),
        Right("list", "experiments", pipelines, group="kubeflow.org"),
        *(
            Right(verb, PLURAL, serving.application_namespace, GROUP, name=serving.application)
            for verb in ("get", "patch")
        ),
        Right("list", "endpointslices", serving.namespace, group="discovery.k8s.io"),
    ]
