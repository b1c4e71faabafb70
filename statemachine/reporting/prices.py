"""What things cost: AWS list prices, us-east-1, on demand, in dollars.

A table to be replaced, not trusted: `[prices]` in fraudloop.toml overrides any field, since discounts, spot and
regions differ. Each block names the page that its prices come from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.tables import read_table

MONTH_HOURS = 730.0


@dataclass(frozen=True)
class Node:
    """An instance type: dollars an hour, and what a pod can be given of it."""

    dollars_per_hour: float
    cpus: float
    memory_gib: float
    gpus: int = 0


# aws.amazon.com/ec2/pricing/on-demand, Linux.
NODES = {
    "m5.xlarge": Node(0.192, 4, 16),
    "m5.2xlarge": Node(0.384, 8, 32),
    "r5.xlarge": Node(0.252, 4, 32),
    "g4dn.xlarge": Node(0.526, 4, 16, 1),
    "g4dn.2xlarge": Node(0.752, 8, 32, 1),
    "g5.xlarge": Node(1.006, 4, 16, 1),
    "g6.xlarge": Node(0.8048, 4, 16, 1),
}

# aws.amazon.com/sagemaker/pricing, training, dollars an hour.
SAGEMAKER = {
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.g4dn.xlarge": 0.7364,
    "ml.g4dn.2xlarge": 0.94,
    "ml.g5.xlarge": 1.408,
    "ml.p3.2xlarge": 3.825,
}


@dataclass(frozen=True)
class Prices:
    """One price table. Fields are dollars per what their name says."""

    as_of: str = "2025-12"
    region: str = "us-east-1"
    cpu_node: str = "m5.xlarge"
    gpu_node: str = "g4dn.xlarge"
    nodes: Mapping[str, Node] = field(default_factory=lambda: dict(NODES))
    sagemaker: Mapping[str, float] = field(default_factory=lambda: dict(SAGEMAKER))

    lambda_request: float = 0.20e-6
    lambda_gb_second: float = 13.3334e-6  # arm64
    dynamodb_write: float = 0.625e-6  # one write request unit: 1 KB, twice in a transaction
    dynamodb_read: float = 0.125e-6  # one read request unit: 4 KB, strongly consistent
    sqs_request: float = 0.40e-6
    event: float = 1.00e-6  # EventBridge, custom events
    scheduler_invocation: float = 1.00e-6
    log_gb: float = 0.50
    s3_put: float = 5e-6
    s3_get: float = 0.4e-6
    s3_gb_month: float = 0.023
    step_functions_transition: float = 25e-6  # Standard

    eks_cluster_hour: float = 0.10
    system_node: str = "m5.xlarge"
    system_nodes: float = 2.0  # KFP, Argo CD, Prometheus: there whether a run comes or not
    idle_share: float = 0.15  # node time that is paid but used by no pod: boot, consolidation, what the kubelet keeps

    def node(self, gpus: float) -> Node:
        """The kind of node that a pod with so many GPUs lands on."""
        return self.nodes[self.gpu_node if gpus else self.cpu_node]

    @property
    def standing_month(self) -> float:
        """Dollars a month that are paid without a single run."""
        nodes = self.system_nodes * self.nodes[self.system_node].dollars_per_hour
        return (self.eks_cluster_hour + nodes) * MONTH_HOURS

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Prices":
        """The table with the overrides of `[prices]`; `nodes` and `sagemaker` add to what is known.

        Raises:
            Misconfigured: a key is unknown, or names an instance type that has no price.
        """
        read = read_table(cls, table, "prices")
        prices = replace(read, nodes={**NODES, **read.nodes}, sagemaker={**SAGEMAKER, **read.sagemaker})
        for role in ("cpu_node", "gpu_node", "system_node"):
            if getattr(prices, role) not in prices.nodes:
                raise Misconfigured(f"prices.{role} is {getattr(prices, role)!r}, which has no price in prices.nodes")
        return prices


LIST_PRICES = Prices()
