"""A month's cost: arithmetic on the price table, the manifests' requests, and the values on the install page."""

import json
from pathlib import Path

import pytest
import yaml

from cli.commands.monthly_cost import TRITON, TRITON_PODS, runs, standing
from statemachine.contracts.pod_requests import PodRequests
from statemachine.reporting.cost import Cost, Line
from statemachine.reporting.prices import Prices

ROOT = Path(__file__).parents[2]


def test_what_stands_is_paid_by_the_hour_of_the_month():
    """730 hours × each price; half a node of four CPUs for two pods that ask for one each."""
    dollars = {line.item: line.dollars for line in standing(Prices())}
    assert dollars["EKS control plane"] == pytest.approx(730 * 0.10)
    assert dollars["system nodes (m5.xlarge)"] == pytest.approx(2 * 730 * 0.192)
    assert dollars["Triton's pods (m5.xlarge)"] == pytest.approx(730 * 0.192 / 2)
    assert 43_800 * 1e-6 < dollars["ticks"] < 1


def test_nightly_runs_cost_the_mean_of_the_runs():
    """Marginal cost only: the standing cost has its own lines."""
    bills = [Cost((Line("train", 1, "s", dollars),), loaded=99.0) for dollars in (1.0, 3.0)]
    assert runs(bills, nights=30).dollars == 60.0


def test_triton_is_counted_as_its_manifest_asks():
    """The base's requests, and the fewest pods that the autoscaler keeps."""
    folder = ROOT / "deploy/triton/base"
    pod = yaml.safe_load((folder / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    [requests] = [c["resources"]["requests"] for c in pod["containers"] if c["name"] == "triton"]
    assert PodRequests.parse(requests["cpu"], requests["memory"]) == TRITON
    scaler = [o for o in yaml.safe_load_all((folder / "availability.yaml").read_text()) if "minReplicas" in o["spec"]]
    assert [o["spec"]["minReplicas"] for o in scaler] == [TRITON_PODS]


def test_the_install_page_says_what_the_command_prints():
    """Each standing line with its dollars, rounded."""
    page = (ROOT / "docs/install.md").read_text()
    for line in standing(Prices()):
        assert f"| {line.item} | ${line.dollars:,.2f} |" in page


def test_the_command_adds_thirty_nightly_runs_like_the_latest_ones(system, ran, fraudloop):
    """Without a run it says so; with one, the sum includes its cost."""
    before = json.loads(fraudloop("cost", "--month", "--json").output)
    assert "no run has ended yet" in fraudloop("cost", "--month").output
    ran(1)
    after = json.loads(fraudloop("cost", "--month", "--json").output)
    assert after["total"] - before["total"] == pytest.approx(after["lines"][-1]["dollars"])
    assert after["lines"][-1]["item"] == "runs"
