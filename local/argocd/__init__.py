"""A stand-in for what a cluster does with the Triton deployment, behind the same REST API.

It imitates, on loopback: the Kubernetes API server for one Argo CD `Application` (get, list, put, merge and JSON
patches, server-side apply, dry runs, resourceVersion, validation by upstream's CRD, users' rights, a restart) and for
the EndpointSlices of one headless Service; Argo CD's application controller (operations, history, sync status, health,
refresh); the Deployment's rolling update; and the Service, one stable port. It does not imitate: creating and deleting,
watches, tables, Git (the manifests are taken as given), hooks, waves, sync windows, more than one replica.

What it starts is real: each pod is a tritonserver that loads what was exported to S3.
"""

from local.argocd.cluster import ArgoCD
from local.argocd.settings import ArgoCDSettings

__all__ = ["ArgoCD", "ArgoCDSettings"]
