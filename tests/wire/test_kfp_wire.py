"""KFP behind a faulty wire: a launch whose answer was lost is found by its name, and adopted."""

import json

import pytest
from faulty_wire import Fault

kfp = pytest.importorskip("local.kfp")
from statemachine.adapters.kfp import KfpPipelines  # noqa: E402 - after the skip
from statemachine.contracts.errors import Unreachable  # noqa: E402
from statemachine.contracts.kfp_run import PinnedVersion  # noqa: E402
from statemachine.contracts.stage import Stage  # noqa: E402
from statemachine.contracts.stage_request import StageRequest  # noqa: E402

ORDER = StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "abc123", "s3://a/x", {}, {})
LOST = [Fault.RESET_BEFORE, Fault.RESET_AFTER, Fault.HALF_ANSWER, Fault.UNAVAILABLE, Fault.THROTTLED]
HAPPENED = {Fault.RESET_AFTER, Fault.HALF_ANSWER}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The embedded KFP with one small pipeline that takes an order's arguments."""
    from kfp import compiler, dsl

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def rest(run_id: str):
        import time

        time.sleep(20)

    @dsl.pipeline(name="fraudloop-train")
    def stage(run_id: str, model: str, attempt: int, launch_id: str, output_uri: str, inputs: dict, parameters: dict):
        rest(run_id=run_id).set_caching_options(False)

    folder = tmp_path_factory.mktemp("kfp")
    compiler.Compiler().compile(stage, str(folder / "stage.yaml"))
    with kfp.EmbeddedKFP(folder / "state", tick=0) as running:
        from training.pipelines.publish import content_hash, publish

        build = folder / "build"
        build.mkdir()
        package = build / "fraudloop-train.yaml"
        (folder / "stage.yaml").rename(package)
        (build / "definitions.json").write_text(json.dumps({"fraudloop-train": content_hash(package.read_bytes())}))
        publish(running.url, build)
        yield running, content_hash(package.read_bytes())


@pytest.fixture
def pipelines(server, proxied):
    """The adapter through a proxy, and the same without one."""
    running, version = server
    proxy = proxied(running.url)
    faulty = KfpPipelines(proxy.url, "wire", {"fraudloop-train": version})
    plain = KfpPipelines(running.url, "wire", {"fraudloop-train": version})
    faulty.known["wire"] = plain._experiment_id()
    yield proxy, faulty, plain
    for kfp_run in plain.list("fraud-1."):
        plain.stop(kfp_run.kfp_id)


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_create_is_launched_once_at_most_and_found_by_name(pipelines, fault):
    """Nothing repeats a CreateRun by itself; what did launch is listed under its name, with its launch id."""
    proxy, faulty, plain = pipelines
    pin = plain.pins([Stage.TRAIN]).found["train"]
    assert isinstance(pin, PinnedVersion)
    name = f"fraud-1.train.{10 + LOST.index(fault)}"
    order = StageRequest("fraud-1", "fraud", Stage.TRAIN, 10 + LOST.index(fault), "abc123", "s3://a/x", {}, {})
    proxy.faults.append(fault)
    with pytest.raises(Unreachable):
        faulty.create(order, pin)
    found = [kfp_run for kfp_run in plain.list(name) if kfp_run.name == name]
    assert [kfp_run.launch_id for kfp_run in found] == (["abc123"] if fault in HAPPENED else [])


@pytest.mark.parametrize("fault", LOST)
def test_no_failure_of_the_wire_is_an_absence(pipelines, fault):
    """Neither of one run nor of a list."""
    proxy, faulty, _ = pipelines
    proxy.faults.extend([fault, fault])
    with pytest.raises(Unreachable):
        faulty.get("no-such-run")
    with pytest.raises(Unreachable):
        faulty.list("fraud-1.")


def test_what_is_really_gone_is_an_absence(pipelines):
    """The same question over a wire that holds."""
    _, faulty, _ = pipelines
    assert faulty.get("no-such-run") is None
