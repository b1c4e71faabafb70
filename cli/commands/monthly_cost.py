"""A month's bill: what stands without a single run, by the price table, and so many runs like the latest ones."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from statemachine.contracts.pod_requests import PodRequests
from statemachine.reporting.cost import ControlUse, Cost, Line, control_lines, node_share
from statemachine.reporting.prices import MONTH_HOURS, Prices
from statemachine.reporting.usage import Pass

NIGHTS = 30
TRITON = PodRequests(cpus=1, memory_gib=2)  # deploy/triton/base asks for that, and for at least so many pods
TRITON_PODS = 2


def standing(prices: Prices) -> Iterator[Line]:
    """The cluster, Triton and the ticks. Not in it: alarms, NAT gateways, the data's own storage."""
    yield Line("EKS control plane", MONTH_HOURS, "hours", prices.eks_cluster_hour * MONTH_HOURS)
    system = prices.nodes[prices.system_node].dollars_per_hour
    hours = prices.system_nodes * MONTH_HOURS
    yield Line(f"system nodes ({prices.system_node})", hours, "hours", system * hours)
    node = prices.node(gpus=0)
    share = node_share(TRITON, node) * TRITON_PODS
    yield Line(
        f"Triton's pods ({prices.cpu_node})", share * MONTH_HOURS, "hours", share * node.dollars_per_hour * MONTH_HOURS
    )
    yield Line("ticks", 60 * MONTH_HOURS, "invocations", 60 * MONTH_HOURS * _tick(prices))


def runs(bills: Sequence[Cost], nights: int = NIGHTS) -> Line:
    """So many nights like the mean of `bills`, each one's marginal cost."""
    return Line("runs", nights, "nights", nights * fmean(bill.marginal for bill in bills))


def _tick(prices: Prices) -> float:
    """One tick that finds nothing due: Lambda, the index and a model's header read, the schedule, the log."""
    one = Pass()
    use = ControlUse(
        lambda_requests=1, lambda_gb_seconds=one.lambda_gb_seconds, dynamodb_reads=one.reads, log_gb=one.log_gb
    )
    return sum(line.dollars for line in control_lines(use, prices)) + prices.scheduler_invocation
