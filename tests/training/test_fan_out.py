"""Preprocess fanned out: shares of the manifest in pods of their own, joined by the cache, with the same result."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_preprocess_stage import TODAY, landed, ordered, parts, s3

from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.stage import Stage
from training import storage
from training.data import conversion
from training.data.fan_out import convert
from training.data.preprocess import preprocess
from training.outcome import Permanent
from training.pipelines.definitions import build
from training.pipelines.settings import PipelineSettings
from training.runtime.share import convert_share

__all__ = ["parts", "s3"]  # fixtures
pytestmark = pytest.mark.xdist_group("pipelines")


def test_shares_take_every_object_once_and_preprocess_finds_them(s3: Any, parts: Any, monkeypatch: Any) -> None:
    """Two shares convert all; preprocess converts none, and its data set is that of a stage that did all by itself."""
    objects = [landed(s3, f"data/fraud/{n}.csv", part) for n, part in enumerate([*parts, b"no,transactions\n1,2\n"])]
    alone = preprocess(ordered(*objects, launch="aaaaaaaaaaaa"), TODAY)
    for uri in storage.list_uris("s3://artifacts/cache"):
        storage.delete(uri)
    order = ordered(*objects, launch="bbbbbbbbbbbb")
    assert [convert(order, share, 2, TODAY) for share in (0, 1)] == [2, 1]
    cached = storage.list_uris("s3://artifacts/cache")

    again, real = [], conversion.Converter.convert

    def converting(*given: Any) -> Any:
        again.append(given[1].name)
        return real(*given)

    monkeypatch.setattr(conversion.Converter, "convert", converting)
    joined = preprocess(order, TODAY)
    assert len(again) == 1, "only the bad object, whose verdict is not kept, is judged again"
    assert storage.list_uris("s3://artifacts/cache") == cached
    said = [storage.read_json(f"{one.outputs['dataset']}/dataset.json") for one in (alone, joined)]
    assert said[0] == said[1]
    assert [storage.read_json(one.outputs["objects"]) for one in (alone, joined)] == [
        storage.read_json(alone.outputs["objects"])
    ] * 2
    assert (joined.details["accepted"], joined.details["quarantined"]) == (2, 1)


def test_a_share_that_never_ran_costs_time_only(s3: Any, parts: Any) -> None:
    """Preprocess converts what it does not find."""
    objects = [landed(s3, f"data/fraud/{n}.csv", part) for n, part in enumerate(parts)]
    order = ordered(*objects)
    convert(order, 1, 2, TODAY)
    assert preprocess(order, TODAY).details["accepted"] == 2


def test_the_first_share_says_that_the_launch_has_started(s3: Any, parts: Any) -> None:
    """Else its start deadline would run out while the objects are converted. A later share changes nothing."""
    order = ordered(landed(s3, "data/fraud/0.csv", parts[0]))
    assert convert_share(order, 0, 2) == 1
    started = storage.read_bytes(f"{order.output_uri}/started.json")
    assert json.loads(started)["launch_id"] == order.launch_id
    assert convert_share(order, 1, 2) == 0
    assert storage.read_bytes(f"{order.output_uri}/started.json") == started


def test_without_a_common_cache_it_is_refused(s3: Any, parts: Any, tmp_path: Path) -> None:
    """A launch that writes elsewhere would convert everything twice, silently."""
    order = replace(ordered(landed(s3, "data/fraud/0.csv", parts[0])), output_uri=str(tmp_path))
    with pytest.raises(Permanent, match="no cache in common"):
        convert(order, 0, 2, TODAY)


@pytest.fixture(scope="module")
def fanned(tmp_path_factory: Any) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """The compiled preprocess pipeline with three shares; its definitions, and those without."""
    folder = tmp_path_factory.mktemp("fanned")
    with_shares = build(folder / "with", PipelineSettings(fan_out=3))
    without = build(folder / "without", PipelineSettings())
    spec = next(yaml.safe_load_all((folder / "with/fraudloop-preprocess.yaml").read_text()))
    return spec, with_shares, without


def test_kfp_s_own_loop_runs_the_shares(fanned: Any) -> None:
    """ParallelFor over three items; the stage's step waits for it, and runs whatever became of it. No caching."""
    spec, with_shares, without = fanned
    tasks = spec["root"]["dag"]["tasks"]
    [loop] = [task for task in tasks.values() if "parameterIterator" in task]
    assert json.loads(loop["parameterIterator"]["items"]["raw"]) == [0, 1, 2]
    assert loop["iteratorPolicy"]["parallelismLimit"] == 3
    join = tasks["preprocess"]
    assert join["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert len(join["dependentTasks"]) == 1
    inner = spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"]
    assert all(not task.get("cachingOptions", {}).get("enableCache") for task in (*inner.values(), join))
    assert spec["root"]["inputDefinitions"]["parameters"].keys() >= {"run_id", "inputs", "parameters"}
    changed = {name for name in without if without[name] != with_shares[name]}
    assert changed == {f"fraudloop-{Stage.PREPROCESS.value}"}


@pytest.mark.parametrize("fan_out", [0, 65])
def test_a_senseless_number_of_shares_is_named(fan_out: int) -> None:
    """Before anything is compiled."""
    with pytest.raises(Misconfigured, match="fan_out"):
        PipelineSettings.from_dict({"fan_out": fan_out})
