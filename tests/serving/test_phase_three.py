"""Phase 3's checks against the real Triton that the deploy stage set up, and against a wrong one."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from serving_cases import Cluster

from cli.migration.phases import release
from cli.migration.phases.check import Finding, run
from cli.migration.phases.environment import Environment
from local.aws import resources, server
from statemachine.core.model import Release
from training.deployment.deploy_request import GOLDEN
from training.integrity import MANIFEST, sha256_bytes

pytestmark = [pytest.mark.triton, pytest.mark.xdist_group("triton")]


@pytest.fixture
def world(cluster: Cluster, bucket: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """The deployed version is the champion, and S3 has its export."""
    from moto.moto_api._internal.models import moto_api_backend

    monkeypatch.delenv("TRITON_URL", raising=False)
    with server.serving() as url:
        named = {"AWS_ENDPOINT_URL": url, "KUBERNETES_API_URL": cluster.argocd.api_url}
        environment = {**resources.CREDENTIALS, **resources.create(url).environment(), **named}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        world = Environment(environment=environment)
        version = release.read_application(world).version
        champion = Release(
            version, version.rpartition("-")[0], f"s3://fraudloop-artifacts/models/fraud/{version}", 1, 1.0
        )
        world.app.store.change_model("fraud", lambda model: replace(model, champion=champion))
        for name in (MANIFEST, GOLDEN):
            put(world, name, (bucket / "models/fraud" / version / name).read_bytes())
        yield world
    moto_api_backend.reset()


def put(world: Environment, name: str, body: bytes) -> None:
    champion = world.app.store.model("fraud").champion
    assert champion
    key = f"models/fraud/{champion.version}/{name}"
    world.aws("s3").put_object(Bucket="fraudloop-artifacts", Key=key, Body=body)


def ask(world: Environment, part: str) -> Finding:
    [check] = [check for check in release.CHECKS if part in check.name]
    [finding] = run([check], world)
    return finding


def test_inference_answers_as_it_did_offline(world: Environment) -> None:
    """The golden requests that export computed offline, replayed against a pod that the EndpointSlices name."""
    finding = ask(world, "predictions are equal")
    assert finding.ok, finding.answer
    assert "golden requests are answered" in finding.answer
    assert ask(world, "every Triton pod").ok


def test_an_answer_that_differs_is_no(world: Environment, bucket: Path) -> None:
    """Another offline answer: the check names the output and the difference."""
    champion = world.app.store.model("fraud").champion
    assert champion
    golden = json.loads((bucket / "models/fraud" / champion.version / GOLDEN).read_text())
    tensor = next(o for o in golden["exchanges"][0]["outputs"] if o["datatype"] == "FP32")
    tensor["data"] = [value + 0.25 for value in tensor["data"]]
    body = json.dumps(golden).encode()
    put(world, GOLDEN, body)
    put(world, MANIFEST, json.dumps({"files": {GOLDEN: sha256_bytes(body)}}).encode())
    finding = ask(world, "predictions are equal")
    assert not finding.ok
    assert f"{tensor['name']} differs by 0.25" in finding.answer


def test_golden_requests_that_were_changed_are_not_believed(world: Environment) -> None:
    """What the manifest does not vouch for is no measure."""
    put(world, GOLDEN, b'{"format": 1, "tolerance": 1e9, "exchanges": []}')
    finding = ask(world, "predictions are equal")
    assert not finding.ok
    assert "is not what MANIFEST.json says" in finding.answer
