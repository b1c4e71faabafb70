"""The graph that preprocess left in files is the one that is computed in memory, bit for bit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from trained_model import Trained

from training.evaluation.reference_models import own_graph, score_test
from training.graph import graph as graphs
from training.graph import store
from training.graph.graph import TEST, Graph, load_graph
from training.graph.history import FEW, Reader
from training.model import features
from training.model.model import load
from training.model.reading import head_inputs
from training.outcome import Permanent

K, OTHER_K = 8, 5  # of the data set's states, as of the small model; and another


def without_files(dataset: Path, folder: Path) -> Path:
    """The data set as earlier releases left it."""
    return Path(shutil.copytree(dataset, folder / "former", ignore=shutil.ignore_patterns(graphs.FOLDER)))


@pytest.fixture
def both(trained: Trained, tmp_path: Path) -> tuple[Graph, Graph]:
    """The graph of one data set: mapped, and computed in memory."""
    row = trained.model.row
    return load_graph(trained.dataset, row), load_graph(without_files(trained.dataset, tmp_path), row)


def test_mapped_is_computed(both: tuple[Graph, Graph]) -> None:
    """Every column, timeline, report, state and source; and what one reads of them."""
    one, other = both
    assert one.nodes
    assert not other.nodes
    for name in ("time", "label", "known_day", "split", "row"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for side in one.sides:
        assert torch.equal(one.entities[side], other.entities[side])
        for part in ("timelines", "reports"):  # and the running sums of amounts
            mapped, computed = vars(getattr(one, part)[side]), vars(getattr(other, part)[side])
            assert mapped.keys() == computed.keys()
            for name, value in computed.items():
                same = torch.equal(mapped[name], value) if isinstance(value, torch.Tensor) else mapped[name] == value
                assert same, f"{part} {side} {name}"
    mapped_reader, computed_reader = Reader(one, K), Reader(other, K)
    for name in ("state", "sources", "node_features"):
        assert torch.equal(getattr(mapped_reader, name), getattr(computed_reader, name)), name


def test_scores_are_the_same_in_parts_and_from_blocks(both: tuple[Graph, Graph], trained: Trained) -> None:
    """Offline only what is needed is read; the model gets the same inputs as from whole blocks, as in the server."""
    model = trained.model
    ids = both[0].where(TEST)[:700]
    one, other = (head_inputs(Reader(graph, model.config.k), ids, model.config, model.encoders) for graph in both)
    assert np.array_equal(one, other)
    block = Reader(both[1], model.config.k).block(ids)
    whole = features.inputs(block, model.row, model.config.groups, model.encoders, model.config.fan_out)
    assert np.array_equal(one, whole)


def test_a_block_read_in_parts_is_the_block(both: tuple[Graph, Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    """And of the mapped files nothing is held between the parts."""
    given_back = []
    monkeypatch.setattr(Graph, "release", lambda graph: given_back.append(len(graph)))
    reader, ids = Reader(both[0], K), both[0].where(TEST)[: 2 * FEW + 1]
    whole, parts = reader.block(ids), reader.block_in_parts(ids)
    for name in ("row", "volume", "risk"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name
    for side, history in whole.histories.items():
        for name, value in vars(history).items():
            assert torch.equal(value, getattr(parts.histories[side], name)), (side, name)
    assert len(given_back) == 3


def test_another_length_of_history_is_computed(both: tuple[Graph, Graph], trained: Trained) -> None:
    """The state that preprocess left is for its own k; another k never reads it."""
    assert trained.model.config.k == K
    states = [Reader(graph, OTHER_K).state for graph in both]
    assert torch.equal(*states)
    assert not torch.equal(states[0], Reader(both[0], K).state)


def test_a_changed_graph_computes_its_own(both: tuple[Graph, Graph]) -> None:
    """What was computed for the files is not taken for a graph with other labels."""
    changed = replace(both[0], label=1 - both[0].label.clamp(min=0))
    assert not changed.nodes
    assert not torch.equal(changed.reports["card"].frauds, both[0].reports["card"].frauds)


def test_a_former_data_set_scores_the_same(trained: Trained, tmp_path: Path) -> None:
    """Redriving a run of an earlier release needs no files."""
    former = without_files(trained.dataset, tmp_path)
    assert np.array_equal(score_test(trained.model, trained.dataset), score_test(trained.model, former))


def test_another_model_of_the_data_gets_its_own_features(trained: Trained, tmp_path: Path) -> None:
    """A champion's encodings were fitted on other rows: its features and states are written apart, part by part."""
    folder = Path(shutil.copytree(trained.folder, tmp_path / "model"))
    fitted = json.loads((folder / "schema.json").read_text())
    name = next(iter(fitted["encodings"]))
    fitted["encodings"][name]["share"] = [value / 2 for value in fitted["encodings"][name]["share"]]
    (folder / "schema.json").write_text(json.dumps(fitted))
    other = load(folder)
    graph = own_graph(other, trained.dataset, tmp_path)
    assert (tmp_path / "nodes.npy").is_file()
    plain = own_graph(other, without_files(trained.dataset, tmp_path), tmp_path)
    readers = [Reader(each, other.config.k) for each in (graph, plain)]
    assert torch.equal(readers[0].node_features, readers[1].node_features)
    assert not torch.equal(graph.row, load_graph(trained.dataset, other.row).row)


def test_parts_do_not_change_what_is_written(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written at once, the files have equal bytes."""
    copy = without_files(trained.dataset, tmp_path)
    monkeypatch.setattr(store, "PART", 777)
    store.write(copy, trained.model.row, trained.model.sides, 100, K)
    for name in ("nodes.npy", "sources.npy"):
        assert (copy / graphs.FOLDER / name).read_bytes() == (trained.dataset / graphs.FOLDER / name).read_bytes()


def test_another_format_is_refused(trained: Trained, tmp_path: Path) -> None:
    """And the message says what to do."""
    copy = Path(shutil.copytree(trained.dataset, tmp_path / "other"))
    record = json.loads((copy / graphs.FOLDER / graphs.RECORD).read_text())
    (copy / graphs.FOLDER / graphs.RECORD).write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(Permanent, match="run preprocess again"):
        load_graph(copy, trained.model.row)


def test_the_table_is_not_read_for_the_graph(trained: Trained, tmp_path: Path) -> None:
    """Training and scoring need the files alone."""
    copy = Path(shutil.copytree(trained.dataset, tmp_path / "other"))
    pl.DataFrame().write_parquet(copy / "transactions.parquet")
    assert len(load_graph(copy, trained.model.row)) == 20_000
