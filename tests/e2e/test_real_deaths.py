"""`kill -9` in the running local system, at moments that a seed draws: every round ends right.

Real: the handlers under awslambdaric, the KFP pipelines with their pods' processes, the deploy stage, Triton.
Stand-ins: what the stages before deploy compute (`simulation.quick_stages`, a toy model for Triton), so that a round
takes seconds; moto, the embedded KFP and the Application API, as everywhere in `local/`. What dies is started again as
its platform would: a runtime by the next invocation, the KFP server and Triton as Kubernetes restarts a container.
"""

import os
from pathlib import Path

import pytest
from killing import KFP, STAGE, TRITON, VICTIMS, WIRE, Killer, Plan
from relay import Relay
from rounds import HEADER, Ring

from local.aws.resources import FED_BY_QUEUE, client
from local.state_dir import StateDir
from local.system import System, SystemOptions
from simulation import quick_stages
from statemachine.bootstrap import bootstrap

SOAK = bool(os.environ.get("FRAUDLOOP_SOAK"))
# No Lambda runtime: one that dies while it holds a claim is waited out for 150 s.
FEW = [(STAGE, 14), (KFP, 13), (TRITON, 4), (WIRE, 5)]
MANY = [(VICTIMS[number % len(VICTIMS)], number) for number in range(20)]


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """A running system with a relay before its cloud; at the end it prints the table."""
    folder, relays, urls = tmp_path_factory.mktemp("deaths"), [], []

    def wire(url):
        urls.append(url)
        relays.append(Relay(url))
        return relays[0].url

    registry = Path(__file__).with_name("deaths.toml")
    options = SystemOptions(registry, tick_seconds=2.0, environment=quick_stages.environment(), wire=wire)
    with pytest.MonkeyPatch.context() as patch, System(StateDir(folder / "home"), options) as system:
        for name, value in system.endpoints.environment.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", urls[0])
        sooner(urls[0])
        ring = Ring(system, bootstrap(), urls[0], Killer(system, relays[0]), relays[0])
        yield ring
    relays[0].close()
    print("\n".join(["", HEADER, *map(str, ring.rounds)]))


def sooner(url):
    """Messages of a killed function become visible after 90 s instead of 365, because the tick is short here, too."""
    sqs = client("sqs", url)
    for name in FED_BY_QUEUE:
        where = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=where, Attributes={"VisibilityTimeout": "90"})


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("victim", "seed"), MANY if SOAK else FEW)
def test_whatever_is_killed_the_round_ends_right(ring, victim, seed):
    """The run rests where it should, nothing is lost or twice or orphaned, and Triton serves the champion."""
    played = ring.play(Plan.drawn(victim, seed), seed)
    print(f"\n{HEADER}\n{played}")
    assert played.wrong == []
