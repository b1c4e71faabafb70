"""What a run cost, from what it used: pod seconds × the share of a node, and the controller's calls.

*Marginal* is what this run added to the bill, the idle time of the nodes that it brought included: it compares with a
SageMaker job. *Loaded* adds its share of what is paid without any run: the control plane, the nodes of KFP,
Argo CD and Prometheus.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.pod_requests import UNKNOWN, PodRequests
from statemachine.reporting.prices import Node, Prices

HOUR = 3600.0


@dataclass(frozen=True)
class StageUse:
    """One attempt of one stage: all attempts are paid for, also those that failed."""

    stage: str
    seconds: float
    requests: PodRequests = UNKNOWN
    sagemaker_instance: str = ""


@dataclass(frozen=True)
class ControlUse:
    """What the controller used for one run. Units are the price table's."""

    lambda_requests: float = 0
    lambda_gb_seconds: float = 0
    dynamodb_writes: float = 0
    dynamodb_reads: float = 0
    sqs_requests: float = 0
    events: float = 0
    log_gb: float = 0
    s3_puts: float = 0
    s3_gets: float = 0


UNIT_PRICE = {
    "lambda_requests": "lambda_request",
    "lambda_gb_seconds": "lambda_gb_second",
    "dynamodb_writes": "dynamodb_write",
    "dynamodb_reads": "dynamodb_read",
    "sqs_requests": "sqs_request",
    "events": "event",
    "log_gb": "log_gb",
    "s3_puts": "s3_put",
    "s3_gets": "s3_get",
}


@dataclass(frozen=True)
class Line:
    """One line of the bill."""

    item: str
    quantity: float
    unit: str
    dollars: float
    stage: str = ""


@dataclass(frozen=True)
class Cost:
    """A run's bill; `sagemaker` is what the same seconds would have cost there, None if nothing says so."""

    lines: tuple[Line, ...]
    loaded: float
    sagemaker: float | None = None

    @property
    def marginal(self) -> float:
        """Dollars that this run added."""
        return sum(line.dollars for line in self.lines)

    @property
    def by_stage(self) -> dict[str, float]:
        """Dollars of each stage's pods or jobs, all attempts together."""
        dollars: dict[str, float] = {}
        for line in self.lines:
            if line.stage:
                dollars[line.stage] = dollars.get(line.stage, 0.0) + line.dollars
        return dollars


def run_cost(stages: Iterable[StageUse], control: ControlUse, prices: Prices, runs_per_month: float) -> Cost:
    """The bill of one run; standing costs are shared by `runs_per_month` runs (at least one)."""
    stages = tuple(stages)
    lines = (*(stage_line(use, prices) for use in stages), *_idle(stages, prices), *control_lines(control, prices))
    loaded = sum(line.dollars for line in lines) + prices.standing_month / max(runs_per_month, 1.0)
    return Cost(lines, loaded, sagemaker_dollars(stages, prices))


def _idle(stages: Iterable[StageUse], prices: Prices) -> tuple[Line, ...]:
    """Nodes boot before a pod and stay a while after it; SageMaker's do not run on our bill then."""
    dollars = sum(stage_line(use, prices).dollars for use in stages if not use.sagemaker_instance) * prices.idle_share
    return (Line("idle nodes", prices.idle_share * 100, "% of the pods", dollars),) if dollars else ()


def stage_line(use: StageUse, prices: Prices) -> Line:
    """The share of a node for so many seconds; a SageMaker job pays for its whole instance."""
    if use.sagemaker_instance:
        hourly = sagemaker_hour(use.sagemaker_instance, prices)
        return Line(
            f"{use.stage} ({use.sagemaker_instance})", use.seconds, "seconds", use.seconds / HOUR * hourly, use.stage
        )
    node = prices.node(use.requests.gpus)
    hourly = node_share(use.requests, node) * node.dollars_per_hour
    return Line(use.stage, use.seconds, "pod seconds", use.seconds / HOUR * hourly, use.stage)


def node_share(requests: PodRequests, node: Node) -> float:
    """The part of a node that nobody else can use: the largest of its CPU, memory and GPU shares.

    Above 1 it is a number of nodes: a pod that asks for more than this kind of node has lands on a larger one, which
    costs in proportion.
    """
    gpus = requests.gpus / node.gpus if node.gpus else 0.0
    return max(requests.cpus / node.cpus, requests.memory_gib / node.memory_gib, gpus)


def control_lines(use: ControlUse, prices: Prices) -> tuple[Line, ...]:
    """Lambda, DynamoDB, queues, logs and S3, without what was not used."""
    used = ((each.name, float(getattr(use, each.name))) for each in fields(use))
    return tuple(
        Line(name, amount, name, amount * float(getattr(prices, UNIT_PRICE[name]))) for name, amount in used if amount
    )


def sagemaker_dollars(stages: Iterable[StageUse], prices: Prices) -> float | None:
    """The same seconds as SageMaker jobs: each on the `ml.` instance type of the node that its pod would land on.

    An instance is billed whole there, however little of it a job needs. None if that type has no price.
    """
    total = 0.0
    for use in stages:
        instance = use.sagemaker_instance or f"ml.{prices.gpu_node if use.requests.gpus else prices.cpu_node}"
        if instance not in prices.sagemaker:
            return None
        total += use.seconds / HOUR * prices.sagemaker[instance]
    return total


def sagemaker_hour(instance: str, prices: Prices) -> float:
    """Dollars an hour of a SageMaker instance. Raises `Misconfigured`."""
    if instance not in prices.sagemaker:
        raise Misconfigured(f"prices.sagemaker has no {instance!r}; add it under [prices.sagemaker] in fraudloop.toml")
    return prices.sagemaker[instance]


def as_dict(cost: Cost) -> dict[str, Any]:
    """The bill as plain JSON values."""
    lines: list[Mapping[str, Any]] = [vars(line) for line in cost.lines]
    return {"marginal": cost.marginal, "loaded": cost.loaded, "sagemaker": cost.sagemaker, "lines": lines}
