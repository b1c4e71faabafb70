"""Goodbye to SageMaker: everything covered, exported, archived; and nothing removed that was not."""

import io
import json
from typing import Any

import boto3
import polars as pl
import pytest

from cli.main import app as commands
from cli.migration.decommission import COLUMNS, Resource, SageMakerExit
from cli.migration.sagemaker import USES
from statemachine.contracts.errors import OperationRefused

ROLE = "arn:aws:iam::123456789012:role/training"


@pytest.fixture
def client(system):
    """A SageMaker with two training jobs, a model, an endpoint with its config, a pipeline and a notebook."""
    made = boto3.client("sagemaker")
    for number in (1, 2):
        made.create_training_job(
            TrainingJobName=f"fraud-{number}",
            AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
            RoleArn=ROLE,
            OutputDataConfig={"S3OutputPath": "s3://b/o"},
            ResourceConfig={"InstanceType": "ml.g4dn.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
            StoppingCondition={"MaxRuntimeInSeconds": 3600},
            HyperParameters={"seed": str(number)},
        )
    made.create_model(ModelName="fraud", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})
    variant = {"VariantName": "v", "ModelName": "fraud", "InitialInstanceCount": 1, "InstanceType": "ml.m5.xlarge"}
    made.create_endpoint_config(EndpointConfigName="fraud", ProductionVariants=[variant])
    made.create_endpoint(EndpointName="fraud", EndpointConfigName="fraud")
    made.create_pipeline(PipelineName="fraud", PipelineDefinition="{}", RoleArn=ROLE, ClientRequestToken="x" * 32)
    made.create_notebook_instance(NotebookInstanceName="fraud-notebook", InstanceType="ml.t2.medium", RoleArn=ROLE)
    return made


@pytest.fixture
def leaving(client, system):
    return SageMakerExit(client, boto3.client("s3"), system.settings.artifacts_bucket)


def read(leaving, key):
    return leaving.s3.get_object(Bucket=leaving.bucket, Key=key)["Body"].read()


def test_every_use_is_covered_by_a_command_that_exists():
    """Each thing SageMaker was used for names who does it now; the group's own commands are among them."""
    import typer

    group: Any = typer.main.get_command(commands)
    names = set(group.commands) | {
        "baseline",
        "cost",
        "parity",
        "schedule",
        "slo",
        "tune",
        "rollback",
    }
    assert {use.command.split()[1] for use in USES} <= names
    assert all(use.use and use.now for use in USES)


def test_the_history_is_exported_as_parquet(leaving):
    """One row a training job, with its seed and metrics, under a fixed schema."""
    uri, rows = leaving.export_history()
    table = pl.read_parquet(io.BytesIO(read(leaving, "sagemaker/history.parquet")))
    assert uri.endswith("/sagemaker/history.parquet")
    assert (rows, table.columns) == (2, list(COLUMNS))
    assert {json.loads(archived)["seed"] for archived in table["hyperparameters"]} == {"1", "2"}
    assert set(table["instance_type"]) == {"ml.g4dn.xlarge"}


def test_an_empty_history_is_a_table_without_rows(system):
    """Nothing was ever trained there."""
    empty = SageMakerExit(boto3.client("sagemaker"), boto3.client("s3"), system.settings.artifacts_bucket)
    assert empty.export_history()[1] == 0


def test_the_archive_holds_each_description_and_goes_on_where_it_stopped(leaving):
    """The second time nothing is new; what is added later is archived then."""
    first = leaving.archive()
    assert [resource.kind for resource in first] == ["endpoint", "endpoint-config", "model", "pipeline", "notebook"]
    assert leaving.archive() == []
    leaving.client.create_model(ModelName="later", ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "image"})
    assert [resource.key for resource in leaving.archive()] == ["model/later"]
    assert json.loads(read(leaving, "sagemaker/archive/pipeline/fraud.json"))["PipelineName"] == "fraud"


def test_nothing_is_removed_that_was_not_archived(leaving):
    """Not archived at all, or changed since."""
    with pytest.raises(OperationRefused, match="endpoint/fraud is not archived"):
        leaving.remove(leaving.found()[0])
    leaving.archive()
    changed = Resource("model", "fraud", "another description")
    with pytest.raises(OperationRefused, match="not archived as it is now"):
        leaving.remove(changed)
    assert len(leaving.found()) == 5


def test_removal_by_the_typed_name_and_resumable(leaving, fraudloop):
    """A resource whose name is not typed stays. The second call offers only the rest."""
    refused = fraudloop("sagemaker", "decommission")
    assert "5 of 5 are not archived" in str(refused.exception)
    fraudloop("sagemaker", "archive")
    assert "the history was not exported" in str(fraudloop("sagemaker", "decommission").exception)
    fraudloop("sagemaker", "export-history")
    dry = fraudloop("sagemaker", "decommission", "--dry-run")
    assert (dry.exit_code, len(leaving.found())) == (0, 5)
    some = fraudloop("sagemaker", "decommission", input="fraud\nfraud\nno\nfraud\nno\n")
    assert some.exit_code == 0, some.output
    assert [resource.key for resource in leaving.found()] == ["model/fraud", "notebook/fraud-notebook"]
    assert leaving.store()["removed"] == ["endpoint-config/fraud", "endpoint/fraud", "pipeline/fraud"]
    boto3.client("sagemaker").stop_notebook_instance(NotebookInstanceName="fraud-notebook")
    fraudloop("sagemaker", "archive")
    fraudloop("sagemaker", "decommission", input="fraud\nfraud-notebook\n")
    assert leaving.found() == []


def test_a_match_limits_all_of_it(leaving, fraudloop):
    """An account may hold other things than ours."""
    archived = json.loads(fraudloop("sagemaker", "archive", "--match", "notebook", "--json").output)
    assert archived == ["notebook/fraud-notebook"]
