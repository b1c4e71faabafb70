"""What `phase check`, `phase undo` and `doctor` do in the cluster; `doctor` asks for each right beforehand."""

from cli.migration.phases.environment import Environment
from clients.kubernetes import GROUP, PLURAL, Right


def rights(world: Environment) -> list[Right]:
    """Every right that a person needs for them; a test compares the list with what they really send."""
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
