"""`fraudloop tune`: the manifest, the search, and the adoption of the optimum for the next run."""

import json
import re

import pytest
import typer
from typer.testing import CliRunner

from cli.commands import tune
from simulation import katib as standin


def invented(command):
    """A trial without training: the smaller the dropout, the better."""
    [dropout] = re.findall(r"--set=dropout=(\S+)", " ".join(command))
    return f"val_auc_roc={0.99 - float(dropout)}\nval_average_precision=0.5\n"


@pytest.fixture
def run():
    """Runs the command; gives its JSON."""
    app = typer.Typer()
    tune.register(app)

    def ran(*arguments):
        result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.output)

    return ran


def test_the_manifest_can_be_looked_at_without_a_cluster(run):
    """What would be submitted, as it is."""
    manifest = run("fraud", "--dataset", "s3://a/d", "--manifest", "--trials", "5", "--settings", '{"epochs": 3}')
    assert manifest["spec"]["maxTrialCount"] == 5
    assert '"epochs": 3' in json.dumps(manifest).replace('\\"', '"')


def test_an_adopted_optimum_is_what_the_next_run_trains_with(run, system, monkeypatch):
    """Versioned, with who, why and where it is from; the whole search stays in S3."""
    with standin.serving(invented) as url:
        monkeypatch.setenv("KUBERNETES_API_URL", url)
        output = run("fraud", "--dataset", "s3://a/d", "--trials", "4", "--poll", "0.01", "--adopt", "--why", "a test")
    item = system.store.model("fraud")
    found = output["optimum"]["parameters"]
    assert {name: item.parameters["train"][name] for name in found} == found
    assert system.intake.parameters("fraud", item)["train"]["hidden_dim"] == found["hidden_dim"]
    assert item.parameters_from["number"] == 1
    assert item.parameters_from["why"] == "a test"
    assert item.parameters_from["who"].startswith("arn:aws:")
    assert item.parameters_from["from"].startswith("Katib experiment fraud-tune-")
    kept = json.loads(system.files.read(item.parameters_from["uri"], 10**6))
    assert kept["optimum"] == output["optimum"]


def test_a_second_adoption_has_the_next_number_and_keeps_the_other_stages(run, system, monkeypatch):
    """Adoptions are numbered. Parameters of other stages stay."""
    system.operations.adopt("fraud", {"train": {"seed": 9}, "preprocess": {"train": 0.6}}, {"number": 4})
    with standin.serving(invented) as url:
        monkeypatch.setenv("KUBERNETES_API_URL", url)
        run("fraud", "--dataset", "s3://a/d", "--trials", "3", "--poll", "0.01", "--adopt")
    item = system.store.model("fraud")
    assert item.parameters_from["number"] == 5
    assert item.parameters["preprocess"] == {"train": 0.6}
    assert item.parameters["train"]["seed"] == 9


def test_without_adopt_nothing_is_changed(run, system, monkeypatch):
    """A search is only a search."""
    with standin.serving(invented) as url:
        monkeypatch.setenv("KUBERNETES_API_URL", url)
        run("fraud", "--dataset", "s3://a/d", "--trials", "3", "--poll", "0.01")
    assert not system.store.model("fraud").parameters


def test_without_a_data_set_it_says_what_to_do(system):
    """No run has been preprocessed yet."""
    app = typer.Typer()
    tune.register(app)
    result = CliRunner().invoke(app, ["fraud"])
    assert "start one, or name a folder by --dataset" in str(result.exception)
