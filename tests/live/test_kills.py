"""Two real Tritons and a real Valkey: equal to offline, and no payment unanswered whatever is killed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from live_cases import Replayed

from benchmarks.live_replay import Pods, replay, under_kills
from benchmarks.peers import Version
from local import triton
from training.export.export import build

pytestmark = [pytest.mark.triton, pytest.mark.xdist_group("triton")]


@pytest.fixture
def version(replayed: Replayed, tmp_path: Path) -> Version:
    replayed.model.save(tmp_path / "model")
    build(tmp_path / "version", tmp_path / "model", replayed.dataset, "bench-1", "bench")
    return Version(replayed.dataset, tmp_path)


@pytest.fixture
def pods(version: Version, tmp_path: Path) -> Iterator[Pods]:
    if missing := triton.missing_system_library():
        pytest.skip(missing)
    with Pods(tmp_path / "pods", version.repository) as running:
        yield running


def test_through_triton_every_payment_is_scored_as_offline(pods: Pods, version: Version, tmp_path: Path) -> None:
    """In requests of 32, in turn to two servers, every tenth again to the other one, with a night after each day."""
    differences = replay(pods, version, tmp_path / "night", 300)
    assert len(differences) >= 300
    assert differences.max() <= 1e-5


def test_kills_fail_no_payment(pods: Pods, version: Version) -> None:
    """The Valkey and both Tritons are killed with -9 under load and started again. Each payment is answered by a retry
    under its request id, none is counted twice, and none that was counted is lost: the store that is killed has handed
    its writes to the kernel before it answered (`appendfsync no`).
    """
    outcome = under_kills(pods, version, 4)
    assert outcome.asked > 100
    assert (outcome.failed, outcome.missing, outcome.doubled) == (0, 0, 0)
    assert outcome.degraded < outcome.asked
