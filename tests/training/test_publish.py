"""Publishing to a KFP: names by content, idempotent, and safe beside another publisher."""

import json
import shutil

import kfp_server_api
import pytest

from local.kfp import EmbeddedKFP
from simulation.kfp_faults import inject
from training.pipelines.definitions import build, content_hash
from training.pipelines.publish import StaleVersion, publish
from training.pipelines.settings import PipelineSettings


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    build(folder, PipelineSettings())
    return folder


@pytest.fixture
def directory(compiled, tmp_path):
    """Two of the pipelines, to be changed at will."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    definitions = json.loads((compiled / "definitions.json").read_text())
    kept = {name: definitions[name] for name in ("fraudloop-train", "fraudloop-deploy")}
    for name in kept:
        shutil.copy(compiled / f"{name}.yaml", folder)
    (folder / "definitions.json").write_text(json.dumps(kept))
    return folder


@pytest.fixture
def server(tmp_path):
    with EmbeddedKFP(tmp_path / "kfp", tick=0) as running:
        yield running


def change(directory, name):
    path = directory / f"{name}.yaml"
    path.write_bytes(path.read_bytes() + b"# changed\n")
    definitions = json.loads((directory / "definitions.json").read_text())
    definitions[name] = content_hash(path.read_bytes())
    (directory / "definitions.json").write_text(json.dumps(definitions))


def test_versions_are_named_by_content_and_a_second_time_changes_nothing(server, directory):
    """Publishing twice gives the same ids, and only the first creates."""
    first, second = publish(server.url, directory), publish(server.url, directory)
    definitions = json.loads((directory / "definitions.json").read_text())
    assert {one.name: one.version_name for one in first} == definitions
    assert all(one.created for one in first)
    assert not any(one.created for one in second)
    assert [(one.pipeline_id, one.version_id) for one in first] == [(one.pipeline_id, one.version_id) for one in second]


def test_changed_content_is_a_new_version_beside_the_old_one(server, directory):
    """Runs that pinned the old version keep it."""
    before = {one.name: one for one in publish(server.url, directory)}
    change(directory, "fraudloop-train")
    after = {one.name: one for one in publish(server.url, directory)}
    assert after["fraudloop-train"].created
    assert after["fraudloop-train"].pipeline_id == before["fraudloop-train"].pipeline_id
    assert not after["fraudloop-deploy"].created
    versions = server.registry.versions(before["fraudloop-train"].pipeline_id)
    assert [one["name"] for one in versions] == [
        before["fraudloop-train"].version_name,
        after["fraudloop-train"].version_name,
    ]


def test_a_stale_file_stops_everything_before_the_first_upload(server, directory):
    """What `sam deploy` ships and what KFP holds must be the same bytes."""
    (directory / "fraudloop-deploy.yaml").write_text("other: content\n")
    with pytest.raises(StaleVersion, match="make build"):
        publish(server.url, directory)
    assert (
        kfp_server_api.PipelineServiceApi(kfp_server_api.ApiClient(kfp_server_api.Configuration(host=server.url)))
        .pipeline_service_list_pipelines()
        .pipelines
        is None
    )


def test_another_publisher_may_be_first(tmp_path, directory):
    """If the name is taken between our look and our upload, the other's pipeline and version are taken over."""
    raced = set()

    def somebody_else(method, path):
        if method == "POST" and path not in raced and ("upload" in path or path.endswith("/pipelines")):
            raced.add(path)
            publish_by_hand(server, directory, "fraudloop-train", with_version="upload" in path)

    def publish_by_hand(server, directory, name, with_version):
        if with_version:
            pipeline = server.registry.pipeline_named(name)["pipeline_id"]
            package = (directory / f"{name}.yaml").read_bytes()
            server.registry.create_version(pipeline, content_hash(package), package)
        else:
            server.registry.create_pipeline({"name": name})

    with EmbeddedKFP(tmp_path / "kfp", tick=0, instrument=inject(somebody_else)) as server:
        published = {one.name: one for one in publish(server.url, directory)}
        assert len(raced) == 2
        assert not published["fraudloop-train"].created
        assert published["fraudloop-deploy"].created


def test_a_token_is_borne(tmp_path, directory):
    """A server that asks for one refuses without, and takes the pipelines with it."""
    with EmbeddedKFP(tmp_path / "kfp", tick=0, token="secret") as server:
        with pytest.raises(kfp_server_api.ApiException, match="401"):
            publish(server.url, directory)
        assert len(publish(server.url, directory, "secret")) == 2
