"""An unmodified `kfp.Client` uses the embedded endpoint as it uses a real one."""

import json
import warnings

import kfp
import kfp_server_api
import pytest
from kfp import compiler, dsl

from local.kfp import EmbeddedKFP

pytestmark = pytest.mark.xdist_group("kfp-client")


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def say(word: str, seconds: float, table: dict) -> str:
    import time

    time.sleep(seconds)
    if word == "fail":
        raise RuntimeError("told to fail")
    print(f"said {word} {sorted(table)}")
    return word


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def leave(text: str, note: dsl.Output[dsl.Artifact]):
    with open(note.path, "w") as file:
        file.write(text)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def take(note: dsl.Input[dsl.Artifact]) -> str:
    with open(note.path) as file:
        return file.read()


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def after(status: dsl.PipelineTaskFinalStatus):
    print("state", status.state)


@dsl.pipeline(name="one-step")
def one_step(word: str = "hello", seconds: float = 0.0, table: dict = {"a": 1}):  # noqa: B006
    say(word=word, seconds=seconds, table=table).set_caching_options(False)


@dsl.pipeline(name="steps")
def steps(text: str):
    with dsl.ExitHandler(after().set_caching_options(False)):
        left = leave(text=text).set_caching_options(False)
        taken = take(note=left.outputs["note"]).set_caching_options(False)
        with dsl.If(taken.output == "open"):
            say(word="inside", seconds=0.0, table={}).set_caching_options(False)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")

    def compiled(pipeline):
        path = folder / f"{pipeline.name}.yaml"
        if not path.exists():
            compiler.Compiler().compile(pipeline, str(path))
        return str(path)

    return compiled


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with EmbeddedKFP(tmp_path_factory.mktemp("kfp"), tick=0) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client greets with a FutureWarning
        return kfp.Client(host=server.url)


def wait(client, run_id):
    return client.wait_for_run_completion(run_id, timeout=60, sleep_duration=0.05)


def test_upload_run_and_wait(server, client, package):
    """Upload a pipeline and a version, run the version with parameters, wait, and read it all back."""
    pipeline = client.upload_pipeline(package(one_step), pipeline_name="greeting")
    version = client.upload_pipeline_version(package(one_step), "v2", pipeline_id=pipeline.pipeline_id)
    assert client.get_pipeline_id("greeting") == pipeline.pipeline_id
    listed = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions
    assert {one.display_name for one in listed} == {"greeting", "v2"}  # in one second, so in the order of their ids
    experiment = client.create_experiment("demo")
    run = client.run_pipeline(
        experiment.experiment_id,
        "fraud-1.train.1",
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
        params={"word": "moin", "table": {"b": [1, {"c": None}]}},
    )
    done = wait(client, run.run_id)
    assert done.state == "SUCCEEDED"
    assert done.runtime_config.parameters == {"word": "moin", "table": {"b": [1, {"c": None}]}}
    assert done.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert [one.state for one in done.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
    (step,) = done.run_details.task_details
    assert (step.display_name, step.state) == ("say", "SUCCEEDED")
    assert done.created_at <= step.start_time <= step.end_time <= done.finished_at
    assert "said moin ['b']" in server.log_of(run.run_id).read_text()
    (found,) = client.list_runs(experiment_id=experiment.experiment_id).runs
    assert (found.run_id, found.display_name) == (run.run_id, "fraud-1.train.1")
    assert found.runtime_config.parameters["word"] == "moin"


def test_a_step_that_fails_fails_the_run(server, client, package):
    """The run is FAILED, names the step, and the traceback is in its log."""
    run = client.create_run_from_pipeline_package(package(one_step), arguments={"word": "fail"}, run_name="fails")
    done = wait(client, run.run_id)
    assert done.state == "FAILED"
    assert done.error is None  # upstream sets it only for a run that it cannot read: api_converter.go, toApiRun
    assert [one.error for one in done.state_history] == [None, None, None]
    (step,) = done.run_details.task_details
    assert (step.display_name, step.state, step.error) == ("say", "FAILED", None)
    assert "told to fail" in server.log_of(run.run_id).read_text()


@pytest.mark.parametrize(("text", "inside"), [("open", True), ("shut", False)])
def test_artifacts_conditions_and_exit_handlers(server, client, package, text, inside):
    """An artifact is passed between steps, `dsl.If` decides on an output, the exit handler runs at the end."""
    run = client.create_run_from_pipeline_package(package(steps), arguments={"text": text}, run_name="graph")
    done = wait(client, run.run_id)
    assert done.state == "SUCCEEDED"
    names = [step.display_name for step in done.run_details.task_details]
    assert names == ["leave", "take", *(["say"] if inside else []), "after"]
    assert "state COMPLETE" in server.log_of(run.run_id).read_text()


def test_what_does_not_exist_is_404_and_what_is_wrong_is_400(client, package):
    """The client's exceptions carry the status and a message that says what was wrong."""
    with pytest.raises(kfp_server_api.ApiException) as missing:
        client.get_run("nothing")
    assert missing.value.status == 404
    for arguments, message in (({"text": "x", "wrod": "x"}, "wrod"), ({}, "text")):
        with pytest.raises(kfp_server_api.ApiException) as wrong:
            client.create_run_from_pipeline_package(package(steps), arguments=arguments)
        assert wrong.value.status == 400
        assert message in json.loads(wrong.value.body)["message"]


def test_names_of_pipelines_and_versions_are_unique(client, package):
    """A second upload under a taken name is a conflict, so that `publish` can be idempotent."""
    pipeline = client.upload_pipeline(package(one_step), pipeline_name="unique")
    with pytest.raises(kfp_server_api.ApiException) as taken:
        client.upload_pipeline(package(one_step), pipeline_name="unique")
    assert taken.value.status == 409
    with pytest.raises(kfp_server_api.ApiException) as taken:
        client.upload_pipeline_version(package(one_step), "unique", pipeline_id=pipeline.pipeline_id)
    assert taken.value.status == 409


def test_archive_and_delete(client, package):
    """An archived run can still be read; a deleted one is gone."""
    run = client.create_run_from_pipeline_package(package(one_step), run_name="old")
    wait(client, run.run_id)
    client.archive_run(run.run_id)
    assert client.get_run(run.run_id).storage_state == "ARCHIVED"
    client.unarchive_run(run.run_id)
    assert client.get_run(run.run_id).storage_state == "AVAILABLE"
    client.delete_run(run.run_id)
    with pytest.raises(kfp_server_api.ApiException, match="404"):
        client.get_run(run.run_id)


def test_a_second_equal_run_really_runs(client, package):
    """Nothing is cached: two equal runs are two executions with two logs."""
    runs = [client.create_run_from_pipeline_package(package(one_step), run_name="twice") for _ in range(2)]
    done = [wait(client, run.run_id) for run in runs]
    assert len({one.run_id for one in done}) == 2
    assert all(one.run_details.task_details for one in done)


def test_experiments_as_the_client_means_them(client):
    """Upstream's client_test.py: an existing one is given back, a missing one is a ValueError, one must be named."""
    made = client.create_experiment("client-test", description="what it is for")
    assert client.create_experiment("client-test").experiment_id == made.experiment_id
    assert client.get_experiment(experiment_name="client-test").description == "what it is for"
    assert client.get_experiment(experiment_id=made.experiment_id).display_name == "client-test"
    with pytest.raises(ValueError, match="No experiment is found"):
        client.get_experiment(experiment_name="nobody's")
    with pytest.raises(ValueError, match="Either experiment_id or experiment_name"):
        client.get_experiment()
    client.archive_experiment(made.experiment_id)
    assert client.get_experiment(experiment_id=made.experiment_id).storage_state == "ARCHIVED"
    client.unarchive_experiment(made.experiment_id)
    client.delete_experiment(made.experiment_id)
    with pytest.raises(kfp_server_api.ApiException, match="404"):
        client.get_experiment(experiment_id=made.experiment_id)


def test_pipelines_as_the_client_means_them(client, package):
    """client_test.py: uploads by function, with and without a name; list, read, delete."""
    made = client.upload_pipeline_from_pipeline_func(one_step)
    assert (made.name, made.display_name) == ("one-step", "one-step")
    named = client.upload_pipeline_from_pipeline_func(one_step, pipeline_name="Named", description="told")
    assert client.get_pipeline(named.pipeline_id).description == "told"
    version = client.upload_pipeline_version_from_pipeline_func(one_step, "second", pipeline_name="Named")
    read = client.get_pipeline_version(named.pipeline_id, version.pipeline_version_id)
    assert (read.display_name, read.pipeline_spec["pipelineInfo"]["name"]) == ("second", "one-step")
    listed = client.list_pipelines(page_size=200, sort_by="created_at desc").pipelines
    assert {"one-step", "Named"} <= {one.display_name for one in listed}
    with pytest.raises(kfp_server_api.ApiException, match="cascade"):
        client.delete_pipeline(named.pipeline_id)
    for one in client.list_pipeline_versions(named.pipeline_id).pipeline_versions:
        client.delete_pipeline_version(named.pipeline_id, one.pipeline_version_id)
    client.delete_pipeline(named.pipeline_id)
    assert client.get_pipeline_id("Named") is None


def test_runs_as_the_client_means_them(client, package):
    """A filter as client.py's docstring has it, terminate, and health."""
    run = client.create_run_from_pipeline_package(package(one_step), arguments={"seconds": 60}, run_name="to terminate")
    predicates = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": "to terminate"}]}
    assert [one.run_id for one in client.list_runs(filter=json.dumps(predicates)).runs] == [run.run_id]
    client.terminate_run(run.run_id)
    assert wait(client, run.run_id).state == "FAILED"
    assert client.get_kfp_healthz().multi_user is False
