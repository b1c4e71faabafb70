"""The export stage: an immutable version of the model for Triton, named by its contents, with golden requests.

models/<model>/<version>/
    repository/     what Triton loads
    model/          as trained
    evaluation.json  profile.json  golden.json  requests.json
    MANIFEST.json   sha256 of each file, written last
"""

import tempfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from statemachine.contracts import paths
from statemachine.contracts.stage_request import StageRequest
from training import storage
from training.export.golden import REQUESTS, Exchange, Golden
from training.graph.block import Block, History
from training.graph.graph import TEST
from training.graph.velocity import state_names
from training.integrity import MANIFEST, differing, listed, sha256_folder, write_manifest
from training.model import head
from training.model.model import FraudModel, load
from training.outcome import Permanent, StageResult
from training.serving import Tensors
from training.serving.fraud_score import FraudScore, tensors_of
from training.serving.graph_request import graph_request, identities
from training.serving.prediction_and_shapley import PredictionAndShapley
from training.serving.repository import stamp, write_repository
from training.serving.request import counters
from training.serving.request_builder import RequestBuilder

TOLERANCE = 1e-5
COMPARED = 512  # transactions that are compared before the stage writes anything
GOLDEN = 48
EXPLAINED = 4
REPLAYED = 300  # test rows for the shadow stage, where no live request is logged yet


def export(order: StageRequest) -> StageResult:
    """The work of the export stage (docs/contracts.md).

    Raises:
        Permanent: the server computes other features than training, or the version exists with other contents.
    """
    with tempfile.TemporaryDirectory(prefix="fraudloop-export-") as scratch:
        folder = Path(scratch)
        dataset = storage.local(_input(order, "dataset"), folder / "dataset")
        trained = storage.local(_input(order, "model"), folder / "model")
        made = folder / "version"
        version = build(made, trained, dataset, order.run_id, order.model)
        for name in ("evaluation", "profile"):
            storage.download(_input(order, name), made / f"{name}.json")
        uri = storage.join(models_uri(order), version)
        publish(made, uri)
        size = sum(file.stat().st_size for file in storage.walk(made))
    return StageResult(
        outputs={"repository": uri}, metrics={"repository_bytes": float(size)}, details={"version": version}
    )


def _input(order: StageRequest, name: str) -> str:
    try:
        return order.inputs[name]
    except KeyError:
        raise Permanent(f"the export order lacks the input {name!r}") from None


def models_uri(order: StageRequest) -> str:
    """Returns the folder of a model's versions, in the bucket (or local folder) that contains runs/."""
    root = paths.root_of(order.output_uri, order.run_id)
    if not root:
        raise Permanent(f"output_uri {order.output_uri} is not under runs/{order.run_id}/")
    return paths.versions_folder(root, order.model)


def build(folder: Path, trained: Path, dataset: Path, run_id: str, name: str = "fraud") -> str:
    """Writes a version without evaluation, profile and manifest into `folder`. Returns its name, `<run>-<hash8>`.

    The hash is that of the repository before the name is written into it, so equal models have equal hashes.
    """
    model = load(trained)
    builder = RequestBuilder.of(dataset, model)
    check_featurisation(model, builder)
    repository = folder / "repository"
    write_repository(repository, name, model, builder.request(builder.reader.graph.where(TEST)[:1]).transaction[0])
    version = f"{run_id}-{sha256_folder(repository)[:8]}"
    stamp(repository, version)
    model.save(folder / "model")
    storage.write_json(str(folder / "golden.json"), golden(model, builder, version).as_dict())
    storage.write_json(str(folder / REQUESTS), replayed(model, builder).as_dict())
    return version


def publish(folder: Path, uri: str) -> None:
    """Uploads a version, manifest last. If the version exists with the same contents, the call succeeds.

    Raises:
        Permanent: the version exists with other contents; a version never changes.
    """
    write_manifest(folder)
    if not storage.exists(storage.join(uri, MANIFEST)):
        storage.upload_folder(folder, uri)
        return
    if names := differing(folder, listed(uri)):
        raise Permanent(f"{uri} exists with other contents ({', '.join(names[:5])}); a version never changes")


def check_featurisation(model: FraudModel, builder: RequestBuilder) -> None:
    """Raises Permanent unless the server's code scores raw requests as the model scores the data set."""
    ids = spread(builder.reader.graph.where(TEST), COMPARED)
    (served,) = FraudScore(model).answer([tensors_of(builder.request(ids))], [frozenset({"PROBABILITY"})])
    if isinstance(served, Exception):
        raise Permanent(f"the server's code refuses test rows: {served}") from served
    difference = float(np.abs(served["PROBABILITY"][:, 0] - offline(model, builder, ids)).max())
    if not difference <= TOLERANCE:
        raise Permanent(f"the server's features are not training's: probabilities differ by {difference:.2g}")


def offline(model: FraudModel, builder: RequestBuilder, ids: torch.Tensor) -> NDArray[np.float32]:
    """Returns the model's probabilities [B] of transactions of the data set."""
    return model.score(builder.reader.block_in_parts(ids))


def golden(model: FraudModel, builder: RequestBuilder, version: str) -> Golden:
    """Returns golden requests: test transactions as a batch, alone and live, and a graph. The answers come from the
    data set.
    """
    ids = chosen(model, builder)
    few = ids[:EXPLAINED]
    scored = (_scored(model, builder, ids), _scored(model, builder, few[:1]), _live(model, builder, few, version))
    return Golden((*scored, _predicted(model, builder, few)))


def replayed(model: FraudModel, builder: RequestBuilder) -> Golden:
    """Returns test transactions evenly spaced in time, as one batch with the probabilities of the data set."""
    ids = spread(builder.reader.graph.where(TEST), REPLAYED)
    answers = {"PROBABILITY": offline(model, builder, ids)[:, None]}
    return Golden((Exchange("fraud_score", tensors_of(builder.request(ids)), answers),))


def chosen(model: FraudModel, builder: RequestBuilder) -> torch.Tensor:
    """Returns ids of test transactions: the likeliest frauds, first transactions of an entity, and others."""
    graph = builder.reader.graph
    everything = graph.where(TEST)
    sample = spread(everything, 20 * GOLDEN)
    scores = torch.from_numpy(offline(model, builder, sample))
    likely = sample[scores.argsort(descending=True)[: GOLDEN // 3]]
    firsts = []
    for line in graph.timelines.values():
        firsts.append(everything[line.before[everything] == line.first[everything]][: GOLDEN // 6])
        graph.release()
    return torch.cat([likely, *firsts, spread(sample, GOLDEN // 3)])


def spread(ids: torch.Tensor, count: int) -> torch.Tensor:
    """Returns at most `count` of `ids`, evenly spaced."""
    return ids[torch.linspace(0, len(ids) - 1, min(count, len(ids))).long()]


def _scored(model: FraudModel, builder: RequestBuilder, ids: torch.Tensor) -> Exchange:
    inputs = model.head_inputs(builder.reader.block_in_parts(ids))
    probability = head.predict(model.booster, inputs)[:, None]
    contributions = head.contributions(model.booster, inputs)
    outputs = {
        "PROBABILITY": probability,
        "DECISION": probability >= np.float32(model.threshold),
        "STATE": builder.reader.state[ids].numpy(),
        "SHAPLEY_VALUES": contributions[:, :-1],
        "BASE_VALUE": contributions[:, -1:],
    }
    return Exchange("fraud_score", tensors_of(builder.request(ids)), outputs)


def _live(model: FraudModel, builder: RequestBuilder, ids: torch.Tensor, version: str) -> Exchange:
    """Transactions as `fraud_live` takes them. It is told to leave the store alone, so each is scored by its row."""
    lines = np.array(builder.request(ids).transaction, dtype=np.object_)[:, None]
    probability = model.score(alone(builder.reader.block_in_parts(ids)))[:, None]
    outputs = {
        "PROBABILITY": probability,
        "DECISION": probability >= np.float32(model.threshold),
        "HISTORY_USED": np.zeros((len(ids), len(model.sides)), dtype=np.int32),
        "VERSION": np.full((len(ids), 1), version.encode(), dtype=np.object_),
        "DEGRADED": np.full((len(ids), 1), b"not asked", dtype=np.object_),
    }
    return Exchange("fraud_live", {"TRANSACTION": lines, "STORE": np.zeros((len(ids), 1), dtype=bool)}, outputs)


def alone(block: Block) -> Block:
    """The same transactions without any history."""
    histories = {
        side: History(*(torch.zeros_like(getattr(one, field.name)) for field in fields(one)))
        for side, one in block.histories.items()
    }
    return Block(block.row, histories, torch.zeros_like(block.volume), torch.zeros_like(block.risk))


def _predicted(model: FraudModel, builder: RequestBuilder, ids: torch.Tensor) -> Exchange:
    """Builds a graph whose first nodes are `ids`. The other nodes are their histories."""
    nodes, edges = graph_request(builder.reader, ids)
    named = (identities(model.sides), state_names(model.sides), counters(model.sides))
    sizes = [len(model.row), *(len(names) for names in named)]
    mask = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    inputs: Tensors = {
        "NODE_FEATURES": nodes,
        "EDGE_INDEX": edges,
        "COMPUTE_SHAP": np.array([True]),
        "FEATURE_MASK": mask,
    }
    (answer,) = PredictionAndShapley(model).answer([inputs], [frozenset()])
    if isinstance(answer, Exception):
        raise Permanent(f"the server's code refuses a graph of test rows: {answer}") from answer
    prediction = answer["PREDICTION"].copy()
    prediction[: len(ids), 0] = offline(model, builder, ids)
    return Exchange("prediction_and_shapley", inputs, {**answer, "PREDICTION": prediction})
