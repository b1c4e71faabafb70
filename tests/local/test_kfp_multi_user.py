"""Multi-user KFP: a namespace on everything, a SubjectAccessReview before everything, by our own manifests' RBAC."""

import json
import warnings

import kfp
import kfp_server_api as api
import pytest
import yaml
from kfp import compiler, dsl

from cli.commands.recurring import PIPELINE, NoNightly, Schedules
from local.kfp import EmbeddedKFP
from local.kfp.access import GROUP, User
from local.system import ROOT
from statemachine.adapters.kfp import KfpPipelines
from statemachine.contracts.errors import Misconfigured
from statemachine.contracts.stage import Stage
from statemachine.contracts.stage_request import StageRequest
from training.pipelines.definitions import content_hash
from training.pipelines.publish import publish

pytestmark = pytest.mark.xdist_group("kfp-multi-user")
PROFILE = "fraudloop"
LOOP, PUBLISHER = "token-of-the-loop", "token-of-the-publisher"


def granted(account):
    """What deploy/kfp/multi-user grants a service account in KFP's API group."""
    documents = [
        one
        for file in ("rights.yaml", "stage.yaml")
        for one in yaml.safe_load_all((ROOT / "deploy/kfp/multi-user" / file).read_text())
    ]
    roles = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in documents if one["kind"] == "Role"}
    may = set()
    for binding in documents:
        if binding["kind"] == "RoleBinding" and binding["subjects"][0]["name"] == account:
            namespace = binding["metadata"]["namespace"]
            for rule in roles.get((namespace, binding["roleRef"]["name"]), {"rules": []})["rules"]:
                if GROUP in rule["apiGroups"]:
                    may |= {(namespace, resource, verb) for resource in rule["resources"] for verb in rule["verbs"]}
    return may


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def nothing():
    pass


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two pipelines with their definitions."""
    folder, definitions = tmp_path_factory.mktemp("built"), {}

    @dsl.pipeline(name="fraudloop-train")
    def train(run_id: str, model: str, attempt: int, launch_id: str, output_uri: str, inputs: dict, parameters: dict):
        nothing().set_caching_options(False)

    @dsl.pipeline(name=PIPELINE)
    def end_to_end(word: str = ""):
        nothing().set_caching_options(False)

    for pipeline in (train, end_to_end):
        path = folder / f"{pipeline.name}.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        definitions[pipeline.name] = content_hash(path.read_bytes())
    (folder / "definitions.json").write_text(json.dumps(definitions))
    return folder, definitions


@pytest.fixture
def server(tmp_path):
    users = {
        LOOP: User("system:serviceaccount:kubeflow:fraudloop-token", granted("fraudloop-token")),
        PUBLISHER: User("system:serviceaccount:kubeflow:fraudloop-publisher", granted("fraudloop-publisher")),
        "nobody": User("system:serviceaccount:kubeflow:nobody"),
    }
    with EmbeddedKFP(tmp_path / "kfp", tick=0, users=users) as running:
        yield running


def loop(server, definitions, token=LOOP, namespace=PROFILE):
    return KfpPipelines(server.url, "fraudloop", definitions, namespace, token=lambda *, fresh=False: token)


def client_of(server, token):
    configuration = api.Configuration(host=server.url)
    client = api.ApiClient(configuration)
    client.default_headers["Authorization"] = f"Bearer {token}"
    return client


def test_the_loop_works_with_the_rights_that_its_manifest_gives(server, built):
    """Publish into the namespace, find the pins in it, launch, list, read, stop: nothing is refused."""
    folder, definitions = built
    assert all(one.created for one in publish(server.url, folder, PUBLISHER, PROFILE))
    assert not any(one.created for one in publish(server.url, folder, PUBLISHER, PROFILE))
    kfp_ = loop(server, definitions)
    pin = kfp_.pins([Stage.TRAIN]).found["train"]
    launch = kfp_.create(StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "abc", "s3://a/x", {}, {}), pin)
    assert [one.kfp_id for one in kfp_.list("fraud-1.")] == [launch.kfp_id]
    assert kfp_.get(launch.kfp_id).name == "fraud-1.train.1"
    kfp_.stop(launch.kfp_id)


def test_no_right_is_granted_that_the_loop_does_not_use(server, built):
    """The token's Role against what KFP was asked for on its behalf."""
    folder, definitions = built
    publish(server.url, folder, PUBLISHER, PROFILE)
    server.access.checked.clear()
    kfp_ = loop(server, definitions)
    launch = kfp_.create(
        StageRequest("fraud-1", "fraud", Stage.TRAIN, 1, "abc", "s3://a/x", {}, {}),
        kfp_.pins([Stage.TRAIN]).found["train"],
    )
    kfp_.list("fraud-1.")
    kfp_.get(launch.kfp_id)
    kfp_.stop(launch.kfp_id)
    assert set(server.access.checked) == granted("fraudloop-token")


@pytest.mark.parametrize("namespace", ["", "another"])
def test_a_pipeline_lives_in_one_namespace_only(server, built, namespace):
    """Elsewhere it is not found; without a namespace it would be KFP's own, which the account may not write."""
    folder, definitions = built
    with pytest.raises(api.ApiException) as refused:
        publish(server.url, folder, PUBLISHER, namespace)
    body = json.loads(refused.value.body)
    assert (refused.value.status, body["code"]) == (403, 7)
    assert "User 'system:serviceaccount:kubeflow:fraudloop-publisher' is not authorized" in body["message"]
    pipeline = server.registry.create_pipeline({"name": "fraudloop-train", "namespace": namespace})["pipeline_id"]
    spec = (folder / "fraudloop-train.yaml").read_bytes()
    server.registry.create_version(pipeline, definitions["fraudloop-train"], spec)
    assert "train" not in loop(server, definitions).pins([Stage.TRAIN]).found


@pytest.mark.parametrize(("token", "status"), [("nobody", 403), ("not a token", 401)])
def test_a_token_without_the_rights_is_refused(server, token, status):
    """403 says who may not do what; a token that nobody has issued is 401."""
    runs = api.RunServiceApi(client_of(server, token))
    with pytest.raises(api.ApiException) as refused:
        runs.run_service_list_runs(namespace=PROFILE)
    assert refused.value.status == status
    assert json.loads(refused.value.body)["code"] == {403: 7, 401: 16}[status]


def test_an_experiment_and_a_list_need_a_namespace(server):
    """InvalidArgument, before anybody's rights are asked for."""
    client = client_of(server, LOOP)
    calls = (
        lambda: api.ExperimentServiceApi(client).experiment_service_create_experiment(
            api.V2beta1Experiment(display_name="x")
        ),
        lambda: api.ExperimentServiceApi(client).experiment_service_list_experiments(),
        lambda: api.RunServiceApi(client).run_service_list_runs(),
        lambda: api.RunServiceApi(client).run_service_create_run(api.V2beta1Run(display_name="x")),
    )
    for call in calls:
        with pytest.raises(api.ApiException) as refused:
            call()
        assert refused.value.status == 400, refused.value.body


def test_the_loop_says_what_was_refused(server, built):
    """The error has the status 403, which becomes the run's reason."""
    with pytest.raises(Misconfigured, match="403"):
        loop(server, built[1], token="nobody").list("fraud-1.")


def test_an_upload_that_is_not_allowed_is_a_400(server, built):
    """pipeline_upload_server.go answers StatusBadRequest, whatever the authorization said."""
    folder, _ = built
    uploads = api.PipelineUploadServiceApi(client_of(server, LOOP))
    with pytest.raises(api.ApiException) as refused:
        uploads.upload_pipeline(str(folder / "fraudloop-train.yaml"), name="x", namespace=PROFILE)
    assert refused.value.status == 400
    assert json.loads(refused.value.body)["error_message"] == "Failed to create a pipeline"


def test_a_multi_user_kfp_can_run_the_nightly_schedule(server, built):
    """`fraudloop schedule kfp` with the publisher's token, in the namespace; also beside 150 other versions."""
    folder, definitions = built
    publish(server.url, folder, PUBLISHER, PROFILE)
    pipeline = server.registry.pipeline_named(PIPELINE, PROFILE)["pipeline_id"]
    spec = (folder / f"{PIPELINE}.yaml").read_bytes()
    for number in range(150):
        server.registry.create_version(pipeline, f"older-{number}", spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = kfp.Client(host=server.url, existing_token=PUBLISHER)
    both = Schedules(client, "fraudloop", NoNightly(), PROFILE)
    both.use_kfp("older-149", {"word": "hi"})
    made = both.use_kfp(definitions[PIPELINE], {"word": "hi"})
    assert [one.id for one in both.all()] == [made.id]
    both.pause()
    both.resume()
    assert all(one[0] == PROFILE for one in server.access.checked)


def test_the_fixture_reads_real_rights():
    """A Role without its verbs would fail the tests above: the grants come from the manifest, not from here."""
    assert ("fraudloop", "runs", "terminate") in granted("fraudloop-token")
    assert ("fraudloop", "pipelines", "create") not in granted("fraudloop-token")
    assert not granted("fraudloop-stage")
