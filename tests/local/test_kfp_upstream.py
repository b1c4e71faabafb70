"""What upstream 2.17.0's API server does at its edges, file by file; each docstring names where the rule was read."""

import json
import os
import time
from urllib.parse import quote

import kfp_server_api as api
import pytest
import urllib3
from kfp import compiler, dsl

from local.kfp import EmbeddedKFP

pytestmark = pytest.mark.xdist_group("kfp-upstream")
PREFIX = "/apis/v2beta1"


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def rest(seconds: float):
    import time

    time.sleep(seconds)


@dsl.pipeline(name="resting")
def resting(seconds: float = 0.0, word: str = "a", flag: bool = False, many: list = [], table: dict = {}):  # noqa: B006
    rest(seconds=seconds).set_caching_options(False)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "resting.yaml"
    compiler.Compiler().compile(resting, str(path))
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with EmbeddedKFP(tmp_path_factory.mktemp("kfp"), tick=0, grace=0.2) as running:
        yield running


@pytest.fixture(scope="module")
def ask(server):
    """One request as it goes over the wire, and what comes back: the status and the JSON."""
    pool = urllib3.PoolManager()

    def go(method, path, body=None, **fields):
        data = body if isinstance(body, str | None) else json.dumps(body)
        answer = pool.request(method, server.url + PREFIX + path, body=data, retries=False, **fields)
        return answer.status, json.loads(answer.data)

    return go


@pytest.fixture(scope="module")
def version(ask, package):
    status, pipeline = upload(ask, package, "resting")
    assert status == 200
    (found,) = ask("GET", f"/pipelines/{pipeline['pipeline_id']}/versions")[1]["pipeline_versions"]
    return {"pipeline_id": pipeline["pipeline_id"], "pipeline_version_id": found["pipeline_version_id"]}


@pytest.fixture
def run(ask, version):
    def go(name="resting", **more):
        parameters = more.pop("parameters", {})
        body = {
            "display_name": name,
            "pipeline_version_reference": version,
            "runtime_config": {"parameters": parameters},
        }
        return ask("POST", "/runs", body | more)

    return go


def upload(ask, package, name, where="upload", **query):
    encoded = "&".join(f"{key}={value}" for key, value in {"name": name, **query}.items())
    return ask("POST", f"/pipelines/{where}?{encoded}", fields={"uploadfile": ("it.yaml", package.read_bytes())})


def until(ask, run_id, *states):
    end = time.monotonic() + 60
    while (found := ask("GET", f"/runs/{run_id}")[1])["state"] not in states:
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def test_an_error_is_a_google_rpc_status(ask):
    """grpc-gateway v2 (errors.go), common/util/error.go (GRPCStatus): no `error`; the user's text in details."""
    status, body = ask("GET", "/runs/nothing")
    assert (status, sorted(body), body["code"]) == (404, ["code", "details", "message"], 5)
    assert body["message"] == (
        "Failed to get a run: Failed to fetch run nothing: ResourceNotFoundError: Run nothing not found"
    )
    assert body["details"] == [
        {"@type": "type.googleapis.com/google.rpc.Status", "code": 5, "message": "Run nothing not found"}
    ]
    assert ask("GET", "/nowhere") == (404, {"code": 5, "message": "Not Found"})
    assert ask("PUT", "/runs") == (501, {"code": 12, "message": "Method Not Allowed"})
    assert ask("POST", "/runs/nothing:explode")[0] == 404


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"display_name": "x", "colour": 1}', 'unknown field "colour"'),
        ('{"display_name": "x", "runtime_config": {"params": {}}}', 'unknown field "params"'),
        ('{"display_name": 7}', "invalid value for str field display_name"),
        ('{"display_name": "x", "display_name": "y"}', "duplicate field"),
        ('{"display_name": "x", "displayName": "y"}', "duplicate field"),
        ('{"display_name": "x", "state": "DANCING"}', "invalid value for enum"),
        ('{"display_name": "x", "runtime_config": {"parameters": {"seconds": NaN}}}', "invalid value NaN"),
        ('{"display_name": "x", "runtime_config": {"parameters": {"seconds": 1e999}}}', "out of range"),
        ('{"display_name": "x", "pipeline_spec": {}, "pipeline_version_id": "y"}', "oneof"),
        ("[]", "unexpected token"),
        ("{", "proto: "),
    ],
)
def test_a_body_is_read_strictly(ask, body, message):
    """common/utils.go, CustomMarshaler: `DiscardUnknown: false`; NaN is no JSON to protojson."""
    status, answer = ask("POST", "/runs", body)
    assert (status, answer["code"]) == (400, 3)
    assert message in answer["message"]


def test_a_field_may_be_written_in_camel_case(ask, version):
    """protojson takes both forms."""
    status, run = ask("POST", "/runs", {"displayName": "camel", "pipelineVersionReference": {"pipelineId": version["pipeline_id"], "pipelineVersionId": version["pipeline_version_id"]}, "runtimeConfig": {}})  # fmt: skip  # noqa: E501
    assert (status, run["display_name"]) == (200, "camel")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"seconds": "1"}, "input parameter seconds requires type double or integer"),
        ({"seconds": True}, "input parameter seconds requires type double or integer"),
        ({"word": 7}, "input parameter word requires type string"),
        ({"word": None}, "input parameter word requires type string"),
        ({"flag": "true"}, "input parameter flag requires type bool"),
        ({"many": {}}, "input parameter many requires type list"),
        ({"table": []}, "input parameter table requires type struct"),
        ({"wrod": "x", "colour": 1}, "not required by pipeline: colour, wrod"),
    ],
)
def test_parameters_are_typed(run, parameters, message):
    """template/v2_template.go, validatePipelineJobInputs."""
    status, answer = run(parameters=parameters)
    assert (status, answer["code"]) == (400, 3)
    assert message in answer["details"][0]["message"]


def test_numbers_come_back_as_go_writes_them(run):
    """A protobuf number is a double, and protojson writes 2.0 as `2`, at any depth."""
    _, made = run(parameters={"seconds": 0.0, "many": [1, 2.0, 2.5, {"a": 3.0}], "table": {"b": 1e6, "c": True}})
    found = made["runtime_config"]["parameters"]
    assert json.dumps(found, sort_keys=True) == json.dumps(
        {"many": [1, 2, 2.5, {"a": 3}], "seconds": 0, "table": {"b": 1000000, "c": True}}
    )


@pytest.mark.parametrize(
    ("path", "body", "cause"),
    [
        ("/runs", {}, "Run name cannot be empty"),
        ("/recurringruns", {}, "Recurring run's name cannot be empty"),
        ("/experiments", {}, "Experiment must have a non-empty name"),
        ("/experiments", {"display_name": "x" * 129}, "Experiment.Name length cannot exceed 128"),
        ("/pipelines", {"name": "ö" * 65}, "Pipeline.Name length cannot exceed 128"),
        ("/runs", {"display_name": "x", "run_id": "x" * 192}, "Run.UUID length cannot exceed 191"),
        ("/runs", {"display_name": "x"}, "empty pipeline spec manifest"),
        (
            "/runs",
            {"display_name": "x", "pipeline_version_reference": {"pipeline_version_id": "gone"}},
            "gone not found",
        ),
        ("/runs", {"display_name": "x", "pipeline_spec": {"a": 1}}, "no KFP v2 pipeline spec"),
    ],
)
def test_what_upstream_calls_an_internal_error(ask, path, body, cause):
    """server/api_converter.go, CreateRun: NewInternalServerError, so 500, and only the message says why."""
    status, answer = ask("POST", path, body)
    assert (status, answer["code"], answer["details"][0]["message"]) == (500, 13, "Internal Server Error")
    assert cause in answer["message"]


def test_a_run_in_an_experiment_that_is_gone_is_not_found(run, ask):
    """GetValidExperimentNamespacePair fetches it first; so does ListRuns (GetNamespaceFromExperimentId)."""
    assert run(experiment_id="gone")[0] == 404
    assert ask("GET", "/runs?experiment_id=gone")[0] == 404


def test_names_are_short_in_an_upload_too(server, ask, package, version):
    """pipeline_upload_server.go: http.Error, so plain text; and its errors have a form of their own."""
    pool = urllib3.PoolManager()
    url = f"{server.url}{PREFIX}/pipelines/upload?name={'x' * 129}"
    answer = pool.request("POST", url, fields={"uploadfile": ("it.yaml", package.read_bytes())})
    assert (answer.status, b"length cannot exceed 128" in answer.data) == (400, True)
    taken = "Failed to create a pipeline and a pipeline version"
    assert upload(ask, package, "resting") == (409, {"error_message": taken, "error_details": taken})
    taken = "Failed to create a pipeline version"
    assert upload(ask, package, "resting", "upload_version", pipelineid=version["pipeline_id"])[0] == 409
    gone = upload(ask, package, "v2", "upload_version", pipelineid="gone")
    assert gone == (400, {"error_message": taken, "error_details": taken})


def test_an_empty_list_is_an_empty_object(ask):
    """`EmitUnpopulated: false`: no list, no total_size, no token; nor a false or empty field anywhere."""
    name = json.dumps({"predicates": [{"operation": "EQUALS", "key": "name", "string_value": "nobody"}]})
    status, answer = ask("GET", f"/runs?filter={quote(name)}")
    assert (status, answer) == (200, {})


def test_a_terminated_run_whose_workflow_is_gone_stays_canceling(server, run, ask):
    """TerminateRun commits CANCELING before it patches the workflow: 500 once, then 400, and nothing ends it."""
    run_id = run(parameters={"seconds": 60})[1]["run_id"]
    until(ask, run_id, "RUNNING")
    server.runs.vanish(run_id)
    status, answer = ask("POST", f"/runs/{run_id}:terminate")
    assert (status, answer["code"]) == (500, 13)
    assert "error terminating its workflow" in answer["message"]
    for _ in range(2):
        status, answer = ask("POST", f"/runs/{run_id}:terminate")
        assert (status, answer["code"]) == (400, 3)
        assert answer["details"][0]["message"] == f"Failed to terminate a run {run_id}. Row not found"
        time.sleep(0.5)
        assert ask("GET", f"/runs/{run_id}")[1]["state"] == "CANCELING"
    history = [one["state"] for one in ask("GET", f"/runs/{run_id}")[1]["state_history"]]
    assert history == ["PENDING", "RUNNING"]  # "TODO(gkcalat): append CANCELLING to StateHistory"
    server.runs.delete(run_id)


def test_a_run_whose_workflow_is_gone_stays_running(server, run, ask):
    """Nothing reports on it any more."""
    run_id = run(parameters={"seconds": 60})[1]["run_id"]
    until(ask, run_id, "RUNNING")
    server.runs.vanish(run_id)
    time.sleep(1.0)
    assert ask("GET", f"/runs/{run_id}")[1]["state"] == "RUNNING"
    server.runs.delete(run_id)


def test_an_active_run_can_be_archived(run, ask):
    """resource_manager.go, ArchiveRun asks for no state; the run goes on."""
    run_id = run(parameters={"seconds": 1})[1]["run_id"]
    assert ask("POST", f"/runs/{run_id}:archive") == (200, {})
    assert ask("GET", f"/runs/{run_id}")[1]["storage_state"] == "ARCHIVED"
    assert until(ask, run_id, "SUCCEEDED")["storage_state"] == "ARCHIVED"


def test_an_archived_experiment_takes_its_runs_along(run, ask):
    """experiment_store.go: all its runs are archived, and stay so. New ones are not refused: CreateRun never looks."""
    experiment = ask("POST", "/experiments", {"display_name": "to archive"})[1]["experiment_id"]
    run_id = run(experiment_id=experiment)[1]["run_id"]
    assert ask("POST", f"/experiments/{experiment}:archive") == (200, {})
    assert ask("GET", f"/experiments/{experiment}")[1]["storage_state"] == "ARCHIVED"
    assert ask("GET", f"/runs/{run_id}")[1]["storage_state"] == "ARCHIVED"
    status, answer = ask("POST", f"/runs/{run_id}:unarchive")
    assert (status, answer["code"]) == (400, 9)
    assert "must be un-archived first" in answer["details"][0]["message"]
    assert run(experiment_id=experiment)[1]["storage_state"] == "AVAILABLE"
    assert ask("POST", f"/experiments/{experiment}:unarchive") == (200, {})
    assert ask("GET", f"/runs/{run_id}")[1]["storage_state"] == "ARCHIVED"
    assert ask("POST", f"/runs/{run_id}:unarchive") == (200, {})
    assert ask("POST", "/experiments/gone:archive") == (200, {})  # an UPDATE of no row is no error


def test_the_default_experiment_cannot_be_deleted(ask):
    """NewBadRequestError is codes.Aborted, which the gateway answers as 409."""
    listed = ask("GET", "/experiments?page_size=1")[1]["experiments"]
    status, answer = ask("DELETE", f"/experiments/{listed[0]['experiment_id']}")
    assert (status, answer["code"]) == (409, 10)
    assert "default experiment cannot be deleted" in answer["message"]


def test_a_pipeline_goes_with_its_versions_only_if_told(ask, package):
    """DeletePipeline: 400 while it has versions, unless `cascade`."""
    key = upload(ask, package, "to-delete")[1]["pipeline_id"]
    (version,) = ask("GET", f"/pipelines/{key}/versions")[1]["pipeline_versions"]
    status, answer = ask("DELETE", f"/pipelines/{key}")
    assert (status, answer["code"]) == (400, 3)
    assert "Set cascade=true" in answer["details"][0]["message"]
    assert ask("DELETE", f"/pipelines/{key}?cascade=true") == (200, {})
    assert ask("GET", f"/pipelines/{key}/versions/{version['pipeline_version_id']}")[0] == 404


def test_times_are_whole_seconds(run):
    """CreatedAtInSec and the others are integers in the database."""
    made = run()[1]
    assert made["created_at"] == made["scheduled_at"]
    assert len(made["created_at"]) == len("2026-11-24T12:00:00Z")
    assert made["finished_at"] == "1970-01-01T00:00:00Z"


def test_more_than_one_page_of_versions_is_listed(server, ask, package, version):
    """The generated client's way through 230 versions, 200 at most a page."""
    spec = package.read_bytes()
    for number in range(229):
        server.registry.create_version(version["pipeline_id"], f"v{number}", spec)
    client = api.PipelineServiceApi(api.ApiClient(api.Configuration(host=server.url)))
    names, token = [], ""
    while True:
        page = client.pipeline_service_list_pipeline_versions(version["pipeline_id"], page_size=500, page_token=token)
        assert page.total_size == 230
        names += [one.display_name for one in page.pipeline_versions]
        token = page.next_page_token
        if not token:
            break
    assert sorted(names) == sorted(["resting", *(f"v{number}" for number in range(229))])


def test_a_worker_that_cannot_import_says_why_and_is_tried_again_later(tmp_path, package):
    """After 1, 2, 4 … seconds, not as fast as processes start; its runs fail, with the reason in their log."""
    (tmp_path / "broken" / "kfp").mkdir(parents=True)
    (tmp_path / "broken" / "kfp" / "__init__.py").write_text("raise ImportError('kfp is broken here')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "broken")}
    with EmbeddedKFP(tmp_path / "state", tick=0, environment=environment) as server:
        pipeline = server.registry.create_pipeline({"name": "resting"})["pipeline_id"]
        key = server.registry.create_version(pipeline, "v1", package.read_bytes())["pipeline_version_id"]
        made = server.runs.create({"display_name": "x", "pipeline_version_reference": {"pipeline_version_id": key}})
        end = time.monotonic() + 30
        while server.runs.get(made["run_id"])["state"] != "FAILED":
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(2.0)
        assert "kfp is broken here" in server.log_of(made["run_id"]).read_text()
        assert (tmp_path / "state" / "worker.log").read_text().count("Traceback") <= 3
