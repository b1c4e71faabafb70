"""What the real Triton answers is what the model answers offline, and no request takes it down."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import numpy as np
import pytest
import torch
import tritonclient.http as triton
from serving_cases import Cluster, Trained
from test_request_lines import LINE, PAST
from tritonclient.utils import InferenceServerException

from training.deployment.argocd import Application
from training.deployment.verification import ask
from training.export.golden import Exchange
from training.model import head
from training.serving.fraud_score import tensors_of
from training.serving.graph_request import NODE_COLUMNS, graph_request
from training.serving.prediction_and_shapley import MAX_EXPLAINED, PredictionAndShapley
from training.serving.request import COUNTERS, Featuriser, ScoringRequest

pytestmark = [pytest.mark.triton, pytest.mark.xdist_group("triton")]

OUTPUTS = ("PROBABILITY", "DECISION", "STATE", "SHAPLEY_VALUES", "BASE_VALUE")
Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture
def server(cluster: Cluster) -> Iterator[triton.InferenceServerClient]:
    """A client of the Service."""
    with triton.InferenceServerClient(cluster.address, network_timeout=60.0) as client:
        yield client


def score(server: triton.InferenceServerClient, inputs: Arrays, outputs: tuple[str, ...] = OUTPUTS) -> Arrays:
    """The answer of `fraud_score`."""
    return ask(server, Exchange("fraud_score", inputs, dict.fromkeys(outputs, np.zeros(0))))


def raw(*lines: bytes) -> Arrays:
    """A request of bare transactions."""
    return {"TRANSACTION": np.array(list(lines), dtype=np.object_)[:, None]}


@pytest.mark.parametrize("size", [1, 2, 7, 64, 500, 1024])
def test_served_is_offline(trained: Trained, server: triton.InferenceServerClient, size: int) -> None:
    """Probabilities and decisions of any batch size are those of the model over the data set, within 1e-5."""
    ids = trained.test[torch.linspace(0, len(trained.test) - 1, max(size, 8)).long()]
    offline = trained.model.score(trained.builder.reader.block(ids))
    for part, expected in zip(ids.split(size), np.split(offline, range(size, len(ids), size)), strict=True):
        served = score(server, tensors_of(trained.builder.request(part)), ("PROBABILITY", "DECISION"))
        assert np.abs(served["PROBABILITY"][:, 0] - expected).max() <= 1e-5
        assert np.array_equal(served["DECISION"][:, 0], expected >= np.float32(trained.model.threshold))


def test_every_test_row_is_served_as_offline(trained: Trained, server: triton.InferenceServerClient) -> None:
    """Thousands of rows, from many clients at once, so that Triton batches them as they come."""
    offline = trained.model.score(trained.builder.reader.block(trained.test))
    parts = list(trained.test.split(97))

    def served(ids: torch.Tensor) -> np.ndarray[Any, Any]:
        with triton.InferenceServerClient(server._client_stub.host + f":{server._client_stub.port}") as client:
            return score(client, tensors_of(trained.builder.request(ids)), ("PROBABILITY",))["PROBABILITY"][:, 0]

    with ThreadPoolExecutor(4) as pool:
        answers = np.concatenate(list(pool.map(served, parts)))
    assert len(answers) >= 2000
    assert np.abs(answers - offline).max() <= 1e-5


def test_shapley_values_add_up(trained: Trained, server: triton.InferenceServerClient) -> None:
    """They sum to the margin minus its base value, and are those that the model gives offline."""
    ids = trained.test[:200]
    served = score(server, tensors_of(trained.builder.request(ids)))
    inputs = trained.model.head_inputs(trained.builder.reader.block(ids))
    offline = head.contributions(trained.model.booster, inputs)
    assert np.abs(served["SHAPLEY_VALUES"] - offline[:, :-1]).max() <= 1e-5
    probability = served["PROBABILITY"].astype(np.float64)
    margin = np.log(probability / (1 - probability))
    total = served["SHAPLEY_VALUES"].sum(axis=1, keepdims=True) + served["BASE_VALUE"]
    assert np.abs(margin - total).max() <= 1e-3  # the probability is float32: its logit has lost digits


def test_a_state_can_be_sent_in_later_requests(trained: Trained, server: triton.InferenceServerClient) -> None:
    """What the server answers as STATE is what training computed for that transaction: a client only has to keep it."""
    ids = trained.test[:300]
    served = score(server, tensors_of(trained.builder.request(ids)), ("STATE",))
    assert np.abs(served["STATE"] - trained.builder.reader.state[ids].numpy()).max() <= 1e-5


def test_an_unseen_merchant_and_an_empty_history(trained: Trained, server: triton.InferenceServerClient) -> None:
    """A transaction of an unknown card and merchant is scored as offline."""
    line = LINE.replace(b"3527213246127876953", b"-42").replace(b"5300", b"9999").replace(b",CA,", b",Atlantis,")
    served = score(server, raw(line))
    config = trained.model.config
    featuriser = Featuriser(trained.model.feature_schema, trained.model.row, config.k)
    nothing = ScoringRequest([line], {"card": [b""], "merchant": [b""]}, np.zeros((1, len(COUNTERS)), dtype=np.float32))
    offline = trained.model.score(featuriser.block(nothing, date(2026, 11, 24)))
    assert abs(served["PROBABILITY"][0, 0] - offline[0]) <= 1e-5


def test_the_configuration_says_what_is_served(cluster: Cluster, server: triton.InferenceServerClient) -> None:
    """Version, version policy, batching, warm-up, and the names of counters, Shapley values and columns."""
    score_config = server.get_model_config("fraud_score")
    graph_config = server.get_model_config("prediction_and_shapley")
    version = Application(cluster.argocd.record.get()).version
    for config in (score_config, graph_config):
        assert config["parameters"]["candidate_version"]["string_value"] == version
        assert config["version_policy"] == {"latest": {"num_versions": 1}}
        assert len(config["model_warmup"]) == 1
    assert "dynamic_batching" in score_config
    assert json.loads(score_config["parameters"]["counters"]["string_value"]) == list(COUNTERS)
    shapley = json.loads(score_config["parameters"]["shapley_names"]["string_value"])
    dims = {output["name"]: int(output["dims"][0]) for output in score_config["output"]}
    assert dims["SHAPLEY_VALUES"] == len(shapley)
    assert json.loads(graph_config["parameters"]["columns"]["string_value"])[-len(NODE_COLUMNS) :] == list(NODE_COLUMNS)


BAD = {
    "NaN": raw(LINE.replace(b"$134.09", b"NaN")),
    "unknown channel": raw(LINE.replace(b"Swipe", b"Sweep")),
    "from the future": raw(LINE.replace(b"2019", b"2099")),
    "history from the future": raw(LINE)
    | {"CARD_HISTORY": np.array([[PAST.replace(b"2019", b"2020")]], dtype=np.object_)},
    "not a transaction": raw(b"hello"),
    "bytes": raw(b"\x00\xff\xfe"),
    "empty": raw(b""),
    "NaN counter": raw(LINE) | {"COUNTERS": np.full((1, len(COUNTERS)), np.nan, dtype=np.float32)},
    "counters of another shape": raw(LINE) | {"COUNTERS": np.zeros((1, 3), dtype=np.float32)},
    "two columns": {"TRANSACTION": np.array([[LINE, LINE]], dtype=np.object_)},
    "a number": {"TRANSACTION": np.zeros((1, 1), dtype=np.float32)},
    "batches that differ": raw(LINE, LINE) | {"CARD_HISTORY": np.array([[b""]], dtype=np.object_)},
    "too many": raw(*[LINE] * 1025),
    "no transaction": {"COUNTERS": np.zeros((1, len(COUNTERS)), dtype=np.float32)},
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_request_gets_an_error_and_no_more(server: triton.InferenceServerClient, kind: str) -> None:
    """The error names what is wrong. The next request is answered."""
    with pytest.raises(InferenceServerException) as refused:
        score(server, BAD[kind])
    assert len(str(refused.value)) > 20
    assert server.is_server_ready()
    assert score(server, raw(LINE))["PROBABILITY"].shape == (1, 1)


def test_a_bad_request_harms_nobody_in_its_batch(server: triton.InferenceServerClient) -> None:
    """In a batch, each bad request is refused alone and each good one answered."""
    address = f"{server._client_stub.host}:{server._client_stub.port}"

    def asked(number: int) -> str:
        with triton.InferenceServerClient(address) as client:
            try:
                score(client, BAD["NaN"] if number % 3 == 0 else raw(LINE))
            except InferenceServerException as error:
                return "refused" if "TRANSACTION[" in str(error) else str(error)
            return "answered"

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(asked, range(48)))
    assert answers == ["answered" if number % 3 else "refused" for number in range(48)]


def graph(trained: Trained, ids: torch.Tensor, explain: bool, groups: int = 0) -> Arrays:
    """A request to `prediction_and_shapley`; `groups` > 0 lets the columns move in so many groups."""
    nodes, edges = graph_request(trained.builder.reader, ids)
    width = nodes.shape[1]
    mask = np.arange(width) % groups if groups else np.arange(width)
    flags = {"COMPUTE_SHAP": np.array([explain]), "FEATURE_MASK": mask.astype(np.int32)}
    return {"NODE_FEATURES": nodes, "EDGE_INDEX": edges, **flags}


def predict(server: triton.InferenceServerClient, inputs: Arrays) -> Arrays:
    """The answer of `prediction_and_shapley`."""
    outputs = dict.fromkeys(("PREDICTION", "SHAP_VALUES"), np.zeros(0))
    return ask(server, Exchange("prediction_and_shapley", inputs, outputs))


def test_a_graph_is_predicted_as_offline(trained: Trained, server: triton.InferenceServerClient) -> None:
    """The blueprint's request, for the nodes whose histories are complete, gives the same probabilities."""
    ids = trained.test[::40]
    inputs = graph(trained, ids, explain=False)
    served = predict(server, inputs)
    assert served["PREDICTION"].shape == (len(inputs["NODE_FEATURES"]), 1)
    offline = trained.model.score(trained.builder.reader.block(ids))
    assert np.abs(served["PREDICTION"][: len(ids), 0] - offline).max() <= 1e-5
    assert not served["SHAP_VALUES"].any()


def test_the_graphs_shapley_values_add_up(trained: Trained, server: triton.InferenceServerClient) -> None:
    """They sum to the margin minus the base value that the configuration names; a group's columns share evenly."""
    inputs = graph(trained, trained.test[[5, 300]], explain=True, groups=7)
    served = predict(server, inputs)
    probability = served["PREDICTION"].astype(np.float64)[:, 0]
    base = float(server.get_model_config("prediction_and_shapley")["parameters"]["base_value"]["string_value"])
    margin = np.log(probability / (1 - probability))
    assert np.abs(served["SHAP_VALUES"].sum(axis=1) - (margin - base)).max() <= 1e-3
    assert served["SHAP_VALUES"].any()
    assert np.allclose(served["SHAP_VALUES"][:, 0], served["SHAP_VALUES"][:, 7])


def test_a_bad_graph_gets_an_error(trained: Trained, server: triton.InferenceServerClient) -> None:
    """Figures that are not finite, edges that leave the graph and explanations that would take minutes are refused."""
    good = graph(trained, trained.test[:2], explain=False)
    spoiled = good["NODE_FEATURES"].copy()
    spoiled[1, 3] = np.nan
    many = np.repeat(good["NODE_FEATURES"], MAX_EXPLAINED, axis=0)
    for bad, message in (
        ({"NODE_FEATURES": spoiled}, "expected a finite number"),
        ({"EDGE_INDEX": good["EDGE_INDEX"] + 10**6}, "EDGE_INDEX names nodes"),
        ({"NODE_FEATURES": many, "COMPUTE_SHAP": np.array([True])}, "at most"),
        ({"FEATURE_MASK": good["FEATURE_MASK"][:-1]}, "FEATURE_MASK"),
        ({"NODE_FEATURES": good["NODE_FEATURES"][:, :-1]}, "NODE_FEATURES"),
    ):
        with pytest.raises(InferenceServerException, match=message):
            predict(server, good | bad)
    assert np.isfinite(predict(server, good)["PREDICTION"]).all()


def test_a_graph_without_edges_has_no_history(trained: Trained, server: triton.InferenceServerClient) -> None:
    """An empty graph and a self loop are answered, without a history."""
    good = graph(trained, trained.test[:1], explain=False)
    loop = good | {"NODE_FEATURES": good["NODE_FEATURES"][:1], "EDGE_INDEX": np.zeros((2, 1), dtype=np.int64)}
    alone = loop | {"EDGE_INDEX": np.zeros((2, 0), dtype=np.int64)}
    (offline,) = PredictionAndShapley(trained.model).answer([alone], [frozenset()])
    assert not isinstance(offline, Exception)
    assert np.allclose(predict(server, loop)["PREDICTION"], offline["PREDICTION"], atol=1e-5)
    assert np.allclose(predict(server, alone)["PREDICTION"], offline["PREDICTION"], atol=1e-5)
