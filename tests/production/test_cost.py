"""The bill of a run: what was used times the price table, beside SageMaker's for the same seconds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.pod_requests import PodRequests
from statemachine.core.reason import TransitionReason
from statemachine.core.run import Run, Transition
from statemachine.core.states import State
from statemachine.reporting.cost import ControlUse, StageUse, as_dict, node_share, run_cost, stage_line
from statemachine.reporting.prices import Node, Prices
from statemachine.reporting.usage import control_use, stage_uses

PRICES = Prices()
TRAIN = PodRequests(3, 12, 1)


def entry(at, source, dest, row=TransitionReason.REPORTED, kfp="k", version=1, **metrics):
    return Transition(
        "fraud-1", version, at, source, dest, row, kfp_id=kfp, details={"metrics": metrics} if metrics else {}
    )


def test_a_pod_pays_for_the_share_that_nobody_else_can_use():
    """The largest of its CPU, memory and GPU shares counts. A GPU pod takes its whole node."""
    node = Node(1.0, 4, 16)
    assert node_share(PodRequests(1, 8), node) == 0.5
    assert node_share(PodRequests(3, 2), node) == 0.75
    assert node_share(TRAIN, Node(1.0, 4, 16, 1)) == 1.0
    assert node_share(PodRequests(8, 16), node) == 2.0


def test_ninety_minutes_on_a_gpu_node_by_hand():
    """1.5 h × $0.526 for a whole g4dn.xlarge, with 15 % idle; $1.1046 for the same instance on SageMaker."""
    cost = run_cost([StageUse("train", 5400, TRAIN)], ControlUse(), PRICES, runs_per_month=30)
    assert cost.marginal == pytest.approx(1.5 * 0.526 * 1.15)
    assert cost.sagemaker == pytest.approx(1.5 * 0.7364)


def test_the_loaded_cost_adds_a_share_of_what_stands():
    """(0.10 + 2 × 0.192) × 730 h divided by the month's runs."""
    cost = run_cost([StageUse("train", 3600, TRAIN)], ControlUse(), PRICES, runs_per_month=73)
    assert cost.loaded == pytest.approx(0.526 * 1.15 + 0.484 * 730 / 73)


def test_the_controller_is_billed_by_the_call():
    """A million of each costs what the price list says. Unused services have no line."""
    cost = run_cost([], ControlUse(lambda_requests=1e6, dynamodb_writes=1e6, s3_puts=1e6), PRICES, 1)
    assert {line.item: round(line.dollars, 6) for line in cost.lines} == {
        "lambda_requests": 0.2,
        "dynamodb_writes": 0.625,
        "s3_puts": 5.0,
    }


def test_a_stage_that_ran_on_sagemaker_pays_for_its_instance():
    """The whole instance, whatever the requests."""
    line = stage_line(StageUse("train", 3600, TRAIN, "ml.g5.xlarge"), PRICES)
    assert line.dollars == pytest.approx(1.408)
    with pytest.raises(Misconfigured, match="no 'ml"):
        stage_line(StageUse("train", 3600, TRAIN, "ml.unknown"), PRICES)


def test_a_price_that_is_missing_is_no_price_of_zero():
    """Without a price for SageMaker's instance there is no SageMaker cost."""
    prices = replace(PRICES, gpu_node="g6.xlarge")
    assert run_cost([StageUse("train", 60, TRAIN)], ControlUse(), prices, 1).sagemaker is None


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0.1, 64), st.floats(0.1, 256), st.integers(0, 8)), max_size=8),
    st.floats(0, 1000),
)
def test_a_bill_adds_up_and_loading_never_makes_it_cheaper(pods, runs):
    """Marginal is the sum of its lines, no line is negative, and loaded ≥ marginal."""
    uses = [StageUse("train", seconds, PodRequests(cpus, memory, gpus)) for seconds, cpus, memory, gpus in pods]
    cost = run_cost(uses, ControlUse(lambda_requests=10), PRICES, runs)
    assert all(line.dollars >= 0 for line in cost.lines)
    assert cost.loaded >= cost.marginal == sum(line["dollars"] for line in as_dict(cost)["lines"])


@pytest.mark.parametrize(
    ("cpu", "memory", "cpus", "gib"),
    [("500m", "1Gi", 0.5, 1), ("3", "12Gi", 3, 12), ("2", "512Mi", 2, 0.5), ("1", "1073741824", 1, 1)],
)
def test_kubernetes_quantities(cpu, memory, cpus, gib):
    """`500m` is half a CPU, `512Mi` half a GiB, a bare number bytes."""
    assert PodRequests.parse(cpu, memory) == PodRequests(cpus, gib)


def test_a_quantity_that_is_none_is_refused():
    """The message names it and shows one that is right."""
    with pytest.raises(Misconfigured, match="'lots' is no memory quantity"):
        PodRequests.parse("1", "lots")


def test_prices_can_be_overridden_but_not_misspelt():
    """`[prices]` adds to the table; an unknown key or an unpriced node is refused."""
    spot = Prices.from_dict(
        {"cpu_node": "m5.spot", "nodes": {"m5.spot": {"dollars_per_hour": 0.06, "cpus": 4, "memory_gib": 16}}}
    )
    assert spot.node(0).dollars_per_hour == 0.06
    assert spot.node(1).dollars_per_hour == 0.526
    with pytest.raises(Misconfigured, match="unknown cpu_nod"):
        Prices.from_dict({"cpu_nod": "m5.xlarge"})
    with pytest.raises(Misconfigured, match="has no price"):
        Prices.from_dict({"gpu_node": "p5.48xlarge"})


HISTORY = [
    entry(0, "", "QUEUED", TransitionReason.ARRIVAL, kfp=""),
    entry(10, "QUEUED", "PREPROCESSING", TransitionReason.FROM_PREPROCESS, kfp=""),
    entry(100, "PREPROCESSING", "TRAINING", TransitionReason.PREPROCESSED, **{"pod_seconds.preprocess": 60.0}),
    entry(400, "TRAINING", "TRAINING", TransitionReason.OVERDUE),
    entry(500, "TRAINING", "TRAINING", TransitionReason.RETRYABLE_FAILURE),
    entry(900, "TRAINING", "EVALUATING", TransitionReason.REPORTED, **{"pod_seconds.train": 300.0, "auc": 0.9}),
    entry(950, "EVALUATING", "CANCELLED", TransitionReason.CANCELLED, kfp=""),
]


def test_every_launched_attempt_is_paid_for():
    """A report's seconds where there is one, else the time it stood in the history; what never ran costs nothing."""
    uses = stage_uses(HISTORY, {"train": TRAIN})
    assert [(use.stage, use.seconds, use.requests.gpus) for use in uses] == [
        ("preprocess", 60.0, 0),
        ("train", 400.0, 1),
        ("train", 300.0, 1),
    ]


def test_the_controller_s_share_of_a_run_is_small_and_grows_with_its_length():
    """The estimate of an ordinary run is under a tenth of a cent, the bar for the controller."""
    run = Run("fraud-1", "fraud", 1, State.SUCCEEDED, version=30)
    dollars = {}
    for hours in (1, 2):
        history = [entry(0, "", "QUEUED"), *(entry(hours * 3600 * n / 8, "QUEUED", "TRAINING") for n in range(1, 9))]
        dollars[hours] = run_cost([], control_use(run, history), PRICES, 1).marginal
    assert 0 < dollars[1] < dollars[2] < 0.001
