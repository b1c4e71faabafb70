"""A stand-in for the cluster of the Triton deployment, behind the same REST API.

On loopback it imitates four components. The Kubernetes API server for one Argo CD `Application`: get, list, put, merge
and JSON patches, server-side apply, dry runs, resourceVersion, validation by upstream's CRD, users' rights, a restart;
and for the EndpointSlices of one headless Service. Argo CD's application controller: operations, history, sync status,
health, refresh. The Deployment's rolling update. The Service, one stable port.

Not imitated: create and delete, watches, tables, Git (the manifests are fixed), hooks, waves, sync windows, and more
than one replica. The pods are real: each is a tritonserver that loads what was exported to S3.
"""

from local.argocd.cluster import ArgoCD
from local.argocd.settings import ArgoCDSettings

__all__ = ["ArgoCD", "ArgoCDSettings"]
